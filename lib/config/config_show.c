/*
 * A configuration as YAML. Rows stand by section in the table, so one pass writes one section after the
 * other; what is printed reads back as the same configuration. Keys are never printed: a secret shows as
 * a text that the parser refuses, so that nobody runs with it by mistake.
 */
#include "config/config_loader.h"
#include "config/config_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct show {
	FILE *out;
	bool effective;
	enum config_wire wire;
	char section[64]; /* that was opened last at this level */
};

/* Opens the row's section if it is another than the last. @return what is left of the key */
static const char *enter(struct show *s, const char *key, const char *indent)
{
	const char *dot = strchr(key, '.');
	size_t len = dot ? (size_t)(dot - key) : 0;

	if (!dot) {
		s->section[0] = '\0';
		return key;
	}
	if (strlen(s->section) != len || strncmp(s->section, key, len) != 0) {
		(void)snprintf(s->section, sizeof(s->section), "%.*s", (int)len, key);
		(void)fprintf(s->out, "%s%s:\n", indent, s->section);
	}
	return dot + 1;
}

static void show_value(
	struct show *s, const struct config_row *row, const char *key, const void *field, int depth)
{
	static const char INDENT[] = "    ";
	const char *indent = INDENT + 4 - depth;
	const char *name = enter(s, key, indent);

	(void)fprintf(s->out, "%s%s%s: ", indent, name == key ? "" : "  ", name);
	value_write(row, field, s->out);
	(void)fputc('\n', s->out);
}

static bool is_shown(const struct show *s, const struct config_row *row,
	const struct config_given *given, const void *field)
{
	if (!field || value_is_absent(row, field))
		return false;
	if (row->flags & (s->wire == CONFIG_WIRE_KCP_GO ? CONFIG_ROW_NATIVE : CONFIG_ROW_KCP_GO))
		return false;
	/* the key of a key_file is known, but was not written here */
	if (row->flags & CONFIG_ROW_SECRET)
		return config_is_given(given, row);
	return s->effective || config_is_given(given, row);
}

static void show_peer(struct show *s, const struct config_peer *peer)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);
	struct config_peer *fields = (struct config_peer *)(uintptr_t)peer; /* only read */
	bool any = false;

	(void)fputs("  ", s->out);
	value_write_text(peer->name, s->out);
	(void)fputc(':', s->out);
	s->section[0] = '\0';
	/* the peer's own keys first, then the sections it shares with the network */
	for (int round = 0; round < 2; round++) {
		bool own = round == 0;
		for (size_t i = 0; i < count; i++) {
			const struct config_row *row = &rows[i];
			const void *field = config_row_peer_field(row, fields);
			if (((row->flags & CONFIG_ROW_PEER) != 0) != own ||
				!is_shown(s, row, &peer->given, field))
				continue;
			if (!any)
				(void)fputc('\n', s->out);
			any = true;
			show_value(s, row, own ? row->key + strlen("peers.NAME.") : row->key, field,
				4);
		}
	}
	if (!any)
		(void)fputs(" {}\n", s->out);
}

int config_show(const struct config *config, bool effective, char **ret_text)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);
	struct config *fields = (struct config *)(uintptr_t)config; /* only read */
	struct show s = {.effective = effective, .wire = (enum config_wire)config->wire};
	char *text = NULL;
	size_t len = 0;

	s.out = open_memstream(&text, &len);
	if (!s.out)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const void *field = config_row_field(&rows[i], fields);
		/* what was included is merged in already */
		if (strcmp(rows[i].key, "include") == 0)
			(void)fputs("include: []\n", s.out);
		else if (is_shown(&s, &rows[i], &config->given, field))
			show_value(&s, &rows[i], rows[i].key, field, 0);
	}
	if (config->peer_count)
		(void)fputs("peers:\n", s.out);
	for (size_t i = 0; i < config->peer_count; i++)
		show_peer(&s, &config->peers[i]);
	int failed = ferror(s.out);
	if (fclose(s.out) != 0 || failed) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	return 0;
}
