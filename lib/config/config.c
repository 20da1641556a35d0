/*
 * Loading: sources -> trees -> schema -> cross checks -> plain values.
 *
 *     main file ──┐                           config_walk()         config_check()
 *     includes ───┴─ tree_parse() ── trees ── types, ranges, ────── requirements, keys, ── config
 *                                             unknown keys          MTU, overlaps
 *
 * All files are parsed before the first is walked: which keys have a meaning depends on `wire`, which
 * may stand in any of them. Each step goes on after mistakes, so that one run tells them all; the
 * result is given out only if there is none.
 */
#include "config/config.h"

#include "config/config_key.h"
#include "config/config_loader.h"
#include "config/config_secrets.h"
#include "config/config_value.h"
#include "core/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOTAL_MAX_BYTES = 64 << 20 };

/* ---- places of rows ------------------------------------------------------------------------------------------- */

size_t config_row_index(const struct config_row *row)
{
	size_t count = 0;

	return (size_t)(row - config_schema_rows(&count));
}

void *config_row_field(const struct config_row *row, struct config *config)
{
	if (row->flags & CONFIG_ROW_PEER)
		return NULL;
	return (char *)config + row->offset;
}

void *config_row_peer_field(const struct config_row *row, struct config_peer *peer)
{
	if (!(row->flags & (CONFIG_ROW_PEER | CONFIG_ROW_INHERIT)))
		return NULL;
	return (char *)peer + (row->flags & CONFIG_ROW_PEER ? row->offset : row->peer_offset);
}

bool config_is_given(const struct config_given *given, const struct config_row *row)
{
	size_t index = config_row_index(row);

	return (given->bits[index / 64] >> (index % 64)) & 1;
}

void config_set_given(struct config_given *given, const struct config_row *row)
{
	size_t index = config_row_index(row);

	given->bits[index / 64] |= UINT64_C(1) << (index % 64);
}

int config_set_defaults(struct config *config)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);

	for (size_t i = 0; i < count; i++) {
		void *field = config_row_field(&rows[i], config);
		int error = field ? value_set_default(&rows[i], field) : 0;
		if (error)
			return error;
	}
	return 0;
}

/* ---- freeing -------------------------------------------------------------------------------------------------- */

void config_peer_clear(struct config_peer *peer)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);

	for (size_t i = 0; i < count; i++) {
		void *field = config_row_peer_field(&rows[i], peer);
		if (field)
			value_clear(&rows[i], field);
	}
	free(peer->name);
	peer->name = NULL;
}

void config_forget_secrets(struct config *config)
{
	if (config->kcp_go.key) {
		explicit_bzero(config->kcp_go.key, strlen(config->kcp_go.key));
		free(config->kcp_go.key);
		config->kcp_go.key = NULL;
	}
	config->identity.private_key = NULL;
	config->identity.network_key = NULL;
	for (size_t i = 0; i < config->peer_count; i++)
		config->peers[i].preshared_key = NULL;
	secrets_free(config->secrets);
	config->secrets = NULL;
}

void config_free(struct config *config)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);

	if (!config)
		return;
	for (size_t i = 0; i < count; i++) {
		void *field = config_row_field(&rows[i], config);
		if (field)
			value_clear(&rows[i], field);
	}
	for (size_t i = 0; i < config->peer_count; i++)
		config_peer_clear(&config->peers[i]);
	free(config->peers);
	free(config->file);
	secrets_free(config->secrets);
	free(config);
}

/* ---- reading files -------------------------------------------------------------------------------------------- */

struct finding_place loader_file(unsigned source)
{
	return (struct finding_place){.source = source};
}

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strndup(path, slash ? (size_t)(slash - path) + 1 : 0);
}

/* Takes `data` and parses it. */
static int add_tree(struct loader *l, const char *path, char *data, size_t len,
	const struct config_file_stat *st)
{
	int error = findings_add_source(&l->findings, path, data, len, st->mode);

	if (error)
		return error;
	l->findings.sources[l->findings.source_count - 1].exposure = st->exposure;
	struct tree *grown = reallocarray(l->trees, l->findings.source_count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	l->trees = grown;
	error = tree_parse(
		&l->findings, (unsigned)l->findings.source_count - 1, &l->trees[l->tree_count]);
	l->tree_count++;
	return error;
}

static bool has_source(const struct loader *l, const char *path)
{
	for (size_t i = 0; i < l->findings.source_count; i++) {
		if (strcmp(l->findings.sources[i].path, path) == 0)
			return true;
	}
	return false;
}

static const char *why_unread(int error)
{
	return error == -EINVAL	 ? "it is not a regular file"
	       : error == -ELOOP ? "it is a link that others than root may have laid"
				 : err_str(error);
}

static int include_file(struct loader *l, const char *path, struct finding_place place)
{
	char *data = NULL;
	size_t len = 0;
	struct config_file_stat st = {0};
	size_t total = 0;

	if (has_source(l, path))
		return 0;
	for (size_t i = 0; i < l->findings.source_count; i++)
		total += l->findings.sources[i].len;
	if (l->findings.source_count == CONFIG_FILES_MAX || total > TOTAL_MAX_BYTES) {
		findings_error(&l->findings, CONFIG_E_LIMIT, place, NULL,
			"too many files are included: at most %d, of %d MiB in total",
			CONFIG_FILES_MAX, TOTAL_MAX_BYTES >> 20);
		return -E2BIG;
	}
	int error = l->reader->read_file(
		l->reader->ctx, path, CONFIG_FILE_MAX_BYTES, CONFIG_READ_SECRET, &data, &len, &st);
	if (error == -ENOMEM)
		return error;
	if (error) {
		findings_error(&l->findings, CONFIG_E_READ, place, NULL,
			"the included file %s cannot be read: %s", path, why_unread(error));
		if (!l->findings.report->read_error)
			l->findings.report->read_error = error;
		return 0;
	}
	return add_tree(l, path, data, len, &st);
}

/* The folder's name is not part of the pattern, whatever characters it has. */
static char *pattern_in(const char *folder, const char *pattern)
{
	size_t len = 0;
	char *joined = malloc(2 * strlen(folder) + strlen(pattern) + 1);

	if (!joined)
		return NULL;
	for (const char *at = folder; *at && pattern[0] != '/'; at++) {
		if (strchr("*?[]\\", *at))
			joined[len++] = '\\';
		joined[len++] = *at;
	}
	memcpy(joined + len, pattern, strlen(pattern) + 1);
	return joined;
}

static int include_pattern(struct loader *l, const char *text, struct finding_place place)
{
	char **paths = NULL;
	size_t count = 0;
	char *pattern = pattern_in(l->folder, text);

	if (!pattern)
		return -ENOMEM;
	int error = l->reader->list_files(l->reader->ctx, pattern, &paths, &count);
	if (error == 0 && count == 0 && !strpbrk(text, "*?["))
		error = -ENOENT;
	if (error && error != -ENOMEM) {
		findings_error(&l->findings, CONFIG_E_READ, place, NULL,
			"include: %.200s cannot be read: %s", text, err_str(error));
		if (!l->findings.report->read_error)
			l->findings.report->read_error = error;
		error = 0;
	}
	for (size_t i = 0; i < count && !error; i++)
		error = include_file(l, paths[i], place);
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
	free(pattern);
	return error;
}

static int include_all(struct loader *l)
{
	const struct tree_node *list = tree_get(l->trees[0].root, "include");
	const struct config_row *row = config_schema_find("include");
	int error = 0;

	if (!l->reader)
		return 0;
	if (!list)
		return include_pattern(l, row->def, loader_file(0));
	if (list->kind != TREE_LIST)
		return 0; /* the walk tells what is wrong with it */
	for (const struct tree_node *item = list->first; item && !error; item = item->next) {
		if (item->kind == TREE_SCALAR && item->text[0])
			error = include_pattern(l, item->text, item->place);
	}
	return error;
}

/* As one more file, behind all others: what is wrong with it is told like what is wrong with them. */
static int add_overlay(struct loader *l)
{
	const struct config_overlay *overlay = l->reader ? l->reader->overlay : NULL;
	const struct config_file_stat none = {0};

	l->overlay_tree = SIZE_MAX;
	if (!overlay || !overlay->text)
		return 0;
	char *data = malloc(overlay->len ? overlay->len : 1);
	if (!data)
		return -ENOMEM;
	memcpy(data, overlay->text, overlay->len);
	l->overlay_tree = l->tree_count;
	return add_tree(l, CONFIG_OVERLAY_FILE, data, overlay->len, &none);
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

/*
 * Which wire, before any key is judged by it. If the word is none of them, or is not there and reading
 * ended early, what else stands there tells what was meant, so that one mistake is told and not ten.
 */
static enum config_wire find_wire(const struct loader *l)
{
	const struct config_row *row = config_schema_find("wire");
	bool given = false, known = false, kcp_go = false;

	for (size_t i = 0; i < l->tree_count; i++) {
		const struct tree_node *node = tree_get(l->trees[i].root, "wire");
		if (node && node->kind == TREE_SCALAR) {
			if (strcmp(node->text, "kcp-go") == 0)
				return CONFIG_WIRE_KCP_GO;
			given = true;
			known = known || config_words_index(row->words, node->text) >= 0;
		}
		kcp_go = kcp_go || tree_get(l->trees[i].root, "kcp_go");
	}
	bool unsure = given ? !known : !loader_whole(l);
	return unsure && kcp_go ? CONFIG_WIRE_KCP_GO : CONFIG_WIRE_NATIVE;
}

static int walk_all(struct loader *l)
{
	l->wire = find_wire(l);
	for (size_t i = 0; i < l->tree_count; i++) {
		if (!l->trees[i].root)
			continue;
		char *folder = folder_of(l->findings.sources[i].path);
		int error = folder ? config_walk(l, l->trees[i].root, folder, i > 0,
					     i == l->overlay_tree)
				   : -ENOMEM;
		free(folder);
		if (error)
			return error;
	}
	return config_check(l);
}

/* Takes `data`. */
static int load(const char *path, char *data, size_t len, const struct config_file_stat *st,
	const struct config_reader *reader, struct config **ret_config,
	struct config_report *report)
{
	struct loader l = {.reader = reader, .findings.report = report};
	int error = add_tree(&l, path, data, len, st);

	if (error)
		goto free_loader;
	error = -ENOMEM;
	l.folder = folder_of(path);
	l.config = calloc(1, sizeof(*l.config));
	if (!l.folder || !l.config)
		goto free_loader;
	l.config->file = strdup(path);
	if (!l.config->file || config_set_defaults(l.config))
		goto free_loader;
	error = include_all(&l);
	if (error != -ENOMEM && add_overlay(&l) == -ENOMEM)
		error = -ENOMEM;
	if (error != -ENOMEM)
		error = walk_all(&l);
	if (!error && report->error_total)
		error = -ERR_CONFIG;
	findings_quote(&l.findings);
	if (!error) {
		*ret_config = l.config;
		l.config = NULL;
	}

free_loader:
	config_free(l.config);
	free(l.folder);
	free(l.peers);
	for (size_t i = 0; i < l.tree_count; i++)
		tree_free(&l.trees[i]);
	free(l.trees);
	findings_fini(&l.findings);
	return error;
}

/* A file that has no text to point into. */
static int refuse_file(struct config_report *report, const char *path, int error)
{
	struct source source = {0};
	struct findings findings = {.report = report, .sources = &source, .source_count = 1};

	source.path = strdup(path);
	if (!source.path)
		return -ENOMEM;
	if (error == -EFBIG)
		findings_error(&findings, CONFIG_E_LIMIT, loader_file(0), NULL,
			"the file is larger than %d MiB", CONFIG_FILE_MAX_BYTES >> 20);
	else
		findings_error(&findings, CONFIG_E_READ, loader_file(0), NULL, "cannot be read: %s",
			why_unread(error));
	free(source.path);
	report->read_error = error;
	return -ERR_CONFIG;
}

int config_load(const char *path, const struct config_reader *reader, struct config **ret_config,
	struct config_report *report)
{
	char *data = NULL;
	size_t len = 0;
	struct config_file_stat st = {0};

	config_report_init(report);
	if (!reader)
		reader = config_reader_default();
	int error = reader->read_file(
		reader->ctx, path, CONFIG_FILE_MAX_BYTES, CONFIG_READ_SECRET, &data, &len, &st);
	if (error == -ENOMEM)
		return error;
	if (error)
		return refuse_file(report, path, error);
	return load(path, data, len, &st, reader, ret_config, report);
}

int config_parse_text(const char *path, const char *text, size_t len,
	const struct config_reader *reader, struct config **ret_config,
	struct config_report *report)
{
	const struct config_file_stat none = {0};

	config_report_init(report);
	if (len > CONFIG_FILE_MAX_BYTES)
		return refuse_file(report, path, -EFBIG);
	char *data = malloc(len ? len : 1);
	if (!data)
		return -ENOMEM;
	memcpy(data, text, len);
	return load(path, data, len, &none, reader, ret_config, report);
}

/* ---- small answers -------------------------------------------------------------------------------------------- */

int config_default_path(const char *name, char **ret_path)
{
	char *path = NULL;

	if (!config_name_ok(name))
		return -EINVAL;
	if (asprintf(&path, "/etc/vpnd/%s.yaml", name) < 0)
		return -ENOMEM;
	*ret_path = path;
	return 0;
}

const struct config_peer *config_peer_find(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->peer_count; i++) {
		if (strcmp(config->peers[i].name, name) == 0)
			return &config->peers[i];
	}
	return NULL;
}

const struct config_peer *config_set_public_key(
	struct config *config, const uint8_t public_key[CONFIG_KEY_BYTES])
{
	memcpy(config->identity.public_key, public_key, CONFIG_KEY_BYTES);
	(void)config_key_format(public_key, config->identity.public_key_text);
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct config_peer *peer = &config->peers[i];
		if (peer->public_key_text &&
			memcmp(peer->public_key, public_key, CONFIG_KEY_BYTES) == 0)
			return peer;
	}
	return NULL;
}

bool config_keys_locked(const struct config *config)
{
	return !config->secrets || secrets_locked(config->secrets);
}

int config_kcp_go_mss(const struct config_kcp_go *kcp_go)
{
	enum {
		SEGMENT_HEADER = 24,
		FEC_HEADER = 8,
		CRC_HEADER = 20,  /* nonce 16, CRC-32 */
		AEAD_HEADER = 28, /* nonce 12, tag 16 */
	};
	int crypt = CRC_HEADER;

	if (strcmp(kcp_go->crypt, "null") == 0)
		crypt = 0;
	else if (strcmp(kcp_go->crypt, "aes-128-gcm") == 0)
		crypt = AEAD_HEADER;
	bool fec = kcp_go->datashard > 0 && kcp_go->parityshard > 0;
	return kcp_go->mtu - crypt - (fec ? FEC_HEADER : 0) - SEGMENT_HEADER;
}

int config_keepalive_ms(const struct config_session *session, enum config_wire wire)
{
	if (session->keepalive_ms == CONFIG_OFF)
		return 0;
	if (session->keepalive_ms != CONFIG_AUTO)
		return session->keepalive_ms;
	return wire == CONFIG_WIRE_KCP_GO ? session->dead_after_ms / 3 : 0;
}
