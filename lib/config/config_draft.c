/*
 * Peers as text: what `kcpctl peer add` writes into peers.d, and what a daemon lays over its files. Both go through the one
 * parser again, so that a peer given at run time is judged like any other; here nothing is judged, only quoted.
 */
#include "config/config.h"
#include "config/config_value.h"

#include <errno.h>
#include <stdlib.h>

static void write_list(const char *key, const char *const *items, size_t count, FILE *out)
{
	if (count == 0)
		return;
	(void)fprintf(out, "    %s: [", key);
	for (size_t i = 0; i < count; i++) {
		(void)fputs(i ? ", " : "", out);
		value_write_text(items[i], out);
	}
	(void)fputs("]\n", out);
}

static void write_line(const char *key, const char *text, FILE *out)
{
	if (!text || !*text)
		return;
	(void)fprintf(out, "    %s: ", key);
	value_write_text(text, out);
	(void)fputc('\n', out);
}

static void write_peer(const struct config_draft *draft, FILE *out)
{
	(void)fputs("  ", out);
	value_write_text(draft->name, out);
	(void)fputs(":\n", out);
	write_line("public_key", draft->public_key, out);
	write_line("preshared_key_file", draft->preshared_key_file, out);
	write_list("endpoints", draft->endpoints, draft->endpoint_count, out);
	write_list("allowed_ips", draft->allowed_ips, draft->allowed_ip_count, out);
}

int config_peers_write(const struct config_draft *drafts, size_t count, char **ret_text)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	(void)fputs(count ? "peers:\n" : "", out);
	for (size_t i = 0; i < count; i++)
		write_peer(&drafts[i], out);
	int failed = ferror(out);
	if (fclose(out) != 0 || failed) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	return 0;
}
