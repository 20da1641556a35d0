/*
 * A configuration as one JSON object, for programs: the keys of the file, sections as objects, peers by their names. What is
 * shown and hidden is as in config_show.c.
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
	int depth;	  /* of objects that are open */
	bool any;	  /* something stands in the innermost of them */
	char section[64]; /* that is open; "" = none */
};

static void line(struct show *s)
{
	(void)fprintf(s->out, "%s\n%*s", s->any ? "," : "", 2 * s->depth, "");
	s->any = true;
}

static void open_object(struct show *s, const char *key)
{
	line(s);
	value_write_json_text(key, s->out);
	(void)fputs(": {", s->out);
	s->depth++;
	s->any = false;
}

static void close_object(struct show *s)
{
	s->depth--;
	if (s->any)
		(void)fprintf(s->out, "\n%*s", 2 * s->depth, "");
	(void)fputc('}', s->out);
	s->any = true;
}

static void leave_section(struct show *s)
{
	if (s->section[0])
		close_object(s);
	s->section[0] = '\0';
}

static void show_value(
	struct show *s, const struct config_row *row, const char *key, const void *field)
{
	const char *dot = strchr(key, '.');
	size_t len = dot ? (size_t)(dot - key) : 0;

	if (strlen(s->section) != len || strncmp(s->section, key, len) != 0) {
		leave_section(s);
		if (dot) {
			char section[sizeof(s->section)];
			(void)snprintf(section, sizeof(section), "%.*s", (int)len, key);
			open_object(s, section);
			memcpy(s->section, section, sizeof(section));
		}
	}
	line(s);
	value_write_json_text(dot ? dot + 1 : key, s->out);
	(void)fputs(": ", s->out);
	value_write_json(row, field, s->out);
}

static bool is_shown(const struct show *s, const struct config_row *row,
	const struct config_given *given, const void *field)
{
	if (!field || value_is_absent(row, field))
		return false;
	if (row->flags & (s->wire == CONFIG_WIRE_KCP_GO ? CONFIG_ROW_NATIVE : CONFIG_ROW_KCP_GO))
		return false;
	if (row->flags & CONFIG_ROW_SECRET)
		return config_is_given(given, row);
	return s->effective || config_is_given(given, row);
}

static void show_peer(struct show *s, const struct config_peer *peer)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);
	struct config_peer *fields = (struct config_peer *)(uintptr_t)peer; /* only read */

	open_object(s, peer->name);
	for (size_t i = 0; i < 2 * count; i++) { /* its own keys, then what it shares */
		const struct config_row *row = &rows[i % count];
		bool own = (row->flags & CONFIG_ROW_PEER) != 0;
		const void *field = config_row_peer_field(row, fields);
		if (own == (i < count) && is_shown(s, row, &peer->given, field))
			show_value(
				s, row, own ? row->key + strlen("peers.NAME.") : row->key, field);
	}
	leave_section(s);
	close_object(s);
}

int config_show_json(const struct config *config, bool effective, char **ret_text)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);
	struct config *fields = (struct config *)(uintptr_t)config; /* only read */
	struct show s = {
		.effective = effective, .wire = (enum config_wire)config->wire, .depth = 1};
	char *text = NULL;
	size_t len = 0;

	s.out = open_memstream(&text, &len);
	if (!s.out)
		return -ENOMEM;
	(void)fputc('{', s.out);
	for (size_t i = 0; i < count; i++) {
		const void *field = config_row_field(&rows[i], fields);
		/* what was included is merged in already */
		if (strcmp(rows[i].key, "include") != 0 &&
			is_shown(&s, &rows[i], &config->given, field))
			show_value(&s, &rows[i], rows[i].key, field);
	}
	leave_section(&s);
	open_object(&s, "peers");
	for (size_t i = 0; i < config->peer_count; i++)
		show_peer(&s, &config->peers[i]);
	close_object(&s);
	(void)fputs("\n}\n", s.out);
	int failed = ferror(s.out);
	if (fclose(s.out) != 0 || failed) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	return 0;
}
