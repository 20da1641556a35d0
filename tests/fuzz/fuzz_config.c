/* Any text as a configuration: no crash, and what is accepted can be shown, read again and compared. */
#include "config/config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Shown as it holds, with the key put back, a configuration must be accepted and be the same. */
static void check_again(const struct config *config)
{
	static struct config_report report;
	static const char KEY[] = "  key: \"(hidden)\"\n";
	static const size_t before = sizeof("  key: ") - 1;
	struct config *again = NULL;
	struct config_diff diff;
	char *text = NULL;

	if (config_show(config, true, &text))
		abort();
	char *at = strstr(text, KEY);
	if (at)
		memset(at + before, 'k', sizeof(KEY) - 2 - before);
	if (config_parse_text("fuzz.yaml", text, strlen(text), NULL, &again, &report))
		abort();
	if (config_diff(config, again, &diff))
		abort();
	for (size_t i = 0; i < diff.global_count; i++) {
		const char *key = diff.globals[i].row->key;
		if (strcmp(key, "include") != 0 && strcmp(key, "kcp_go.key") != 0)
			abort();
	}
	if (diff.peer_count)
		abort();
	config_diff_fini(&diff);
	config_free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct config_report report;
	struct config *config = NULL;
	char *text = NULL;
	int error = config_parse_text("fuzz.yaml", (const char *)data, len, NULL, &config, &report);

	if ((error == 0) != (report.error_total == 0) || (error == 0) != (config != NULL))
		abort();
	if (config_report_format(&report, "vpnd", &text))
		abort();
	for (const char *c = text; *c; c++) {
		if ((*c > 0 && *c < ' ' && *c != '\n') || *c == 0x7f)
			abort();
	}
	free(text);
	if (config)
		check_again(config);
	config_free(config);
	return 0;
}
