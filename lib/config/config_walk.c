/*
 * A tree through the schema.
 *
 * Maps are followed by path: a path is a row (its value is typed and stored), a section (a map of
 * more paths), or unknown. Two spellings of each path are kept, as the schema knows it
 * ("peers.NAME.session.dead_after") and as messages show it ("peers.branch-2.session.dead_after").
 *
 * Every value is checked, also where the key itself is refused afterwards: because it is of a later
 * version, or has no meaning on the chosen wire. So no mistake hides behind another.
 */
#include "config/config_key.h"
#include "config/config_loader.h"
#include "config/config_value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PATH_BYTES = 256, /* names of peers and keys of the schema are short; others are cut */
	TOP = -1,	  /* not inside a peer */
	ITEMS_MAX = 256,
	PREFIXES_MAX = 65536,
};

struct walk {
	struct loader *loader;
	const char *folder;
	bool included;
	bool overlay; /* not a file */
	bool refused; /* the section was refused as a whole: do not repeat it for each key */
	long peer;    /* index into config->peers, or TOP */
	int error;
};

struct path {
	char schema[PATH_BYTES];
	char shown[PATH_BYTES];
};

static void walk_map(struct walk *w, const struct tree_node *map, const struct path *path);

static void path_extend(const struct path *path, const char *key, struct path *ret)
{
	const char *dot = path->schema[0] ? "." : "";

	(void)snprintf(ret->schema, sizeof(ret->schema), "%.120s%s%.100s", path->schema, dot, key);
	(void)snprintf(ret->shown, sizeof(ret->shown), "%.120s%s%.100s", path->shown, dot, key);
}

static const char *kind_str(enum tree_kind kind)
{
	switch (kind) {
	case TREE_MAP:
		return "a map";
	case TREE_LIST:
		return "a list";
	case TREE_SCALAR:
	case TREE_BAD:
		break;
	}
	return "a single value";
}

static struct config_given *scope_given(const struct walk *w)
{
	struct config *config = w->loader->config;

	return w->peer == TOP ? &config->given : &config->peers[w->peer].given;
}

/* Where the row's value goes; `scratch` if it is not kept. */
static void *scope_field(
	const struct walk *w, const struct config_row *row, union value_scratch *scratch)
{
	struct config *config = w->loader->config;
	void *field = NULL;

	if (w->included && strcmp(row->key, "version") == 0)
		return scratch;
	if (w->peer == TOP)
		field = config_row_field(row, config);
	else
		field = config_row_peer_field(row, &config->peers[w->peer]);
	return field ? field : scratch;
}

static void on_problem(struct walk *w, const struct tree_node *node, const char *shown,
	const struct value_problem *problem)
{
	findings_error(&w->loader->findings, problem->code, node->place, problem->note, "%s: %s",
		shown, problem->text);
}

/* @return true if the value was taken */
static bool set_one(struct walk *w, const struct config_row *row, const struct tree_node *node,
	const char *shown, void *field)
{
	struct value_problem problem = {0};
	int error = 0;

	if (node->kind == TREE_BAD)
		return false;
	if (node->kind != TREE_SCALAR) {
		findings_error(&w->loader->findings, CONFIG_E_TYPE, node->place, NULL,
			"%s is a single value, not %s", shown, kind_str(node->kind));
		return false;
	}
	if (tree_is_empty(node)) {
		findings_error(&w->loader->findings, CONFIG_E_TYPE,
			node->key ? node->key->place : node->place, NULL, "%s has no value", shown);
		return false;
	}
	error = value_set(row, node->text, w->folder, field, &problem);
	if (error == -EINVAL)
		on_problem(w, node, shown, &problem);
	else if (error)
		w->error = error;
	return !error;
}

static bool set_list(struct walk *w, const struct config_row *row, const struct tree_node *node,
	const char *shown, void *field)
{
	size_t max = row->type == CONFIG_TYPE_PREFIXES ? PREFIXES_MAX : ITEMS_MAX;
	bool good = true;

	if (node->kind == TREE_BAD)
		return false;
	if (node->kind != TREE_LIST && !tree_is_empty(node)) {
		findings_error(&w->loader->findings, CONFIG_E_TYPE, node->place, "write [a, b]",
			"%s is a list, not %s", shown, kind_str(node->kind));
		return false;
	}
	if (node->count > max) {
		findings_error(&w->loader->findings, CONFIG_E_LIMIT, node->place, NULL,
			"%s has more than %zu items", shown, max);
		return false;
	}
	value_clear(row, field);
	for (const struct tree_node *item = node->first; item && !w->error; item = item->next)
		good = set_one(w, row, item, shown, field) && good;
	return good;
}

/* Keys that are known and cannot be used. @return true if the row was refused */
static bool refuse_row(struct walk *w, const struct config_row *row, const struct tree_node *node,
	const char *shown)
{
	struct loader *l = w->loader;

	if (w->refused)
		return true;
	if ((row->flags & CONFIG_ROW_NATIVE) && l->wire == CONFIG_WIRE_KCP_GO) {
		findings_error(&l->findings, CONFIG_E_WIRE, node->key->place, NULL,
			"%s is not used on the kcp-go wire%s", shown,
			row->flags & CONFIG_ROW_PEER ? "; there is one key for all: kcp_go.key"
						     : "");
		return true;
	}
	if ((row->flags & CONFIG_ROW_KCP_GO) && l->wire == CONFIG_WIRE_NATIVE) {
		findings_error(&l->findings, CONFIG_E_WIRE, node->key->place, NULL,
			"%s is used with `wire: kcp-go` only", shown);
		return true;
	}
	return false;
}

/* `private_key_file: KEY`: the key stands where its file belongs. */
static bool is_key_for_path(const struct config_row *row, const struct tree_node *node)
{
	uint8_t key[CONFIG_KEY_BYTES];

	if (!(row->flags & CONFIG_ROW_KEY_FILE) || node->kind != TREE_SCALAR ||
		config_key_parse(node->text, strlen(node->text), key))
		return false;
	explicit_bzero(key, sizeof(key));
	return true;
}

/* The name of the key does not say that its value is secret, so the tree has not masked it. */
static void keep_hidden(struct loader *l, const struct tree_node *node)
{
	const struct finding_place *p = &node->place;
	struct source *source = &l->findings.sources[p->source];

	/* to the end of the line */
	if (source_mask(source, (struct source_mask){p->line, p->column, p->line + 1, 1}))
		source->hidden = true;
}

static void walk_leaf(struct walk *w, const struct config_row *row, const struct tree_node *node,
	const struct path *path)
{
	struct loader *l = w->loader;
	union value_scratch scratch = {0};

	if (w->peer == TOP) {
		const struct tree_node *first = l->places[config_row_index(row)];
		bool again = w->included && strcmp(row->key, "version") == 0;
		if (w->included && strcmp(row->key, "include") == 0) {
			findings_error(&l->findings, CONFIG_E_TYPE, node->key->place, NULL,
				"include has no place in a file that is included itself");
			return;
		}
		if (first && !again) {
			findings_error(&l->findings, CONFIG_E_DUPLICATE, node->key->place, NULL,
				"%s is given twice; the first is at %s:%u", path->shown,
				l->findings.sources[first->place.source].path,
				first->key->place.line);
			return;
		}
		if (!again)
			l->places[config_row_index(row)] = node;
	}
	if (is_key_for_path(row, node)) {
		keep_hidden(l, node);
		config_refuse_inline_key(l, node, path->shown);
		return;
	}
	void *field = scope_field(w, row, &scratch);
	bool good = value_is_list(row->type) ? set_list(w, row, node, path->shown, field)
					     : set_one(w, row, node, path->shown, field);
	if (field == &scratch)
		value_clear(row, &scratch);
	if (refuse_row(w, row, node, path->shown) || !good)
		return;
	config_set_given(scope_given(w), row);
	if (row->type == CONFIG_TYPE_PREFIXES)
		l->peers[w->peer].allowed_ips = node;
	if (row->flags & CONFIG_ROW_PEER && row->type == CONFIG_TYPE_KEY)
		l->peers[w->peer].public_key = node;
	if (row->flags & CONFIG_ROW_PEER && row->flags & CONFIG_ROW_KEY_FILE)
		l->peers[w->peer].preshared_key_file = node;
	if (row->flags & CONFIG_ROW_SECRET)
		l->findings.sources[node->place.source].inline_key = true;
}

/* True if no key of the section has a meaning on the kcp-go wire. */
static bool section_is_native(const char *path)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);
	static const char PEER[] = "peers.NAME.";

	if (strncmp(path, PEER, sizeof(PEER) - 1) == 0)
		path += sizeof(PEER) - 1;
	size_t len = strlen(path);
	for (size_t i = 0; i < count; i++) {
		bool inside = strncmp(rows[i].key, path, len) == 0 && rows[i].key[len] == '.';
		if (inside && !(rows[i].flags & CONFIG_ROW_NATIVE))
			return false;
	}
	return true;
}

/* A value where a section with a secret belongs may be that secret: `kcp_go: PASSWORD`, `key:PASSWORD`. */
static bool section_has_secret(const char *path)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);
	size_t len = strlen(path);

	for (size_t i = 0; i < count; i++) {
		if (strncmp(rows[i].key, path, len) == 0 && rows[i].key[len] == '.' &&
			rows[i].flags & CONFIG_ROW_SECRET)
			return true;
	}
	return false;
}

static void walk_section(struct walk *w, const struct tree_node *node, const struct path *path)
{
	struct loader *l = w->loader;

	if (node->kind == TREE_BAD)
		return;
	if (node->kind != TREE_MAP && !tree_is_empty(node)) {
		struct finding_place place = node->place;
		place.hidden = section_has_secret(path->schema);
		findings_error(&l->findings, CONFIG_E_TYPE, place, NULL,
			"%s is a map of keys, not %s", path->shown, kind_str(node->kind));
		return;
	}
	bool was_refused = w->refused;
	if (l->wire == CONFIG_WIRE_KCP_GO && section_is_native(path->schema)) {
		findings_error(&l->findings, CONFIG_E_WIRE, node->key->place, NULL,
			"%s is not used on the kcp-go wire; kcp_go.datashard and "
			"kcp_go.parityshard rule there",
			path->shown);
		w->refused = true;
	}
	walk_map(w, node, path);
	w->refused = was_refused;
}

/* @return the index of the new peer, or TOP (then w->error is set) */
static long add_peer(struct walk *w, const struct tree_node *value)
{
	struct loader *l = w->loader;
	struct config *config = l->config;
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);

	if (config->peer_count == l->peer_capacity) {
		size_t capacity = l->peer_capacity ? 2 * l->peer_capacity : 8;
		struct config_peer *peers = reallocarray(config->peers, capacity, sizeof(*peers));
		if (peers)
			config->peers = peers;
		struct peer_places *places = reallocarray(l->peers, capacity, sizeof(*places));
		if (places)
			l->peers = places;
		if (!peers || !places)
			goto no_memory;
		l->peer_capacity = capacity;
	}
	struct config_peer *peer = &config->peers[config->peer_count];
	*peer = (struct config_peer){.name = strdup(value->key->text)};
	if (!peer->name)
		goto no_memory;
	for (size_t i = 0; i < count; i++) {
		void *field = rows[i].flags & CONFIG_ROW_PEER
				      ? config_row_peer_field(&rows[i], peer)
				      : NULL;
		if (field && value_set_default(&rows[i], field)) {
			config_peer_clear(peer);
			goto no_memory;
		}
	}
	l->peers[config->peer_count] = (struct peer_places){.name = value->key, .value = value};
	return (long)config->peer_count++;

no_memory:
	w->error = -ENOMEM;
	return TOP;
}

/* True for a peer of the files that an order took away while running. */
static bool is_without(const struct config_reader *reader, const char *name)
{
	const struct config_overlay *overlay = reader ? reader->overlay : NULL;

	for (size_t i = 0; overlay && i < overlay->without_count; i++) {
		if (strcmp(overlay->without[i], name) == 0)
			return true;
	}
	return false;
}

static void walk_peer(struct walk *w, const struct tree_node *node, const struct path *peers)
{
	struct loader *l = w->loader;
	struct path path;

	/* a note for people, unless it looks like a peer that would then be missed */
	if (strncmp(node->key->text, "x-", 2) == 0 && node->kind != TREE_MAP)
		return;
	if (!config_name_ok(node->key->text) || strncmp(node->key->text, "x-", 2) == 0) {
		findings_error(&l->findings, CONFIG_E_NAME, node->key->place, NULL,
			"\"%.60s\" is not a peer's name: 1 to %d of A-Z a-z 0-9 . _ -, not "
			"beginning with . or - or x-",
			node->key->text, CONFIG_NAME_MAX);
		return;
	}
	if (l->config->peer_count == CONFIG_PEERS_MAX) {
		findings_error(&l->findings, CONFIG_E_LIMIT, node->key->place, NULL,
			"more than %d peers", CONFIG_PEERS_MAX);
		w->error = -E2BIG;
		return;
	}
	(void)snprintf(path.schema, sizeof(path.schema), "%.120s.NAME", peers->schema);
	(void)snprintf(
		path.shown, sizeof(path.shown), "%.120s.%.100s", peers->shown, node->key->text);
	if (w->overlay ? config_peer_find(l->config, node->key->text) != NULL
		       : is_without(l->reader, node->key->text))
		return;
	w->peer = add_peer(w, node);
	if (w->peer != TOP) {
		l->config->peers[w->peer].runtime = w->overlay;
		walk_section(w, node, &path);
	}
	w->peer = TOP;
}

static void on_unknown(struct walk *w, const struct tree_node *node, const struct path *path)
{
	char near[128];
	struct path file;
	const char *key = node->key->text;

	(void)snprintf(near, sizeof(near), "%.100s_file", key);
	path_extend(path, near, &file);
	const struct config_row *row = config_schema_find(file.schema);
	if (row && row->flags & CONFIG_ROW_KEY_FILE) {
		path_extend(path, key, &file);
		config_refuse_inline_key(w->loader, node, file.shown);
		return;
	}
	const char *hint = config_schema_nearest(path->schema, key, near, sizeof(near));
	const char *in = path->shown[0] ? " in " : "";

	if (hint)
		findings_error(&w->loader->findings, CONFIG_E_UNKNOWN_KEY, node->key->place, NULL,
			"unknown key \"%.60s\"%s%s; did you mean \"%s\"?", key, in, path->shown,
			hint);
	else
		findings_error(&w->loader->findings, CONFIG_E_UNKNOWN_KEY, node->key->place, NULL,
			"unknown key \"%.60s\"%s%s", key, in, path->shown);
}

static void walk_entry(struct walk *w, const struct tree_node *node, const struct path *path)
{
	struct findings *findings = &w->loader->findings;
	struct path inner;

	if (node->key->kind == TREE_BAD)
		return;
	if (node->key->kind != TREE_SCALAR) {
		findings_error(findings, CONFIG_E_TYPE, node->key->place, NULL,
			"a key is a single word, not %s", kind_str(node->key->kind));
		return;
	}
	path_extend(path, node->key->text, &inner);
	if (node->twin) {
		findings_error(findings, CONFIG_E_DUPLICATE, node->key->place, NULL,
			"%s is given twice; the first is at line %u", inner.shown,
			node->twin->key->place.line);
		return;
	}
	if (strcmp(path->schema, "peers") == 0) {
		walk_peer(w, node, path);
		return;
	}
	if (strncmp(node->key->text, "x-", 2) == 0)
		return;
	/* a dot in a key does not make it a path; long keys are cut in `inner` */
	bool one = strlen(node->key->text) <= 64 && !strchr(node->key->text, '.');
	const struct config_row *row = one ? config_schema_find(inner.schema) : NULL;
	if (row)
		walk_leaf(w, row, node, &inner);
	else if (one && config_schema_is_section(inner.schema))
		walk_section(w, node, &inner);
	else
		on_unknown(w, node, path);
}

static void walk_map(struct walk *w, const struct tree_node *map, const struct path *path)
{
	for (const struct tree_node *node = map->first; node && !w->error; node = node->next)
		walk_entry(w, node, path);
}

int config_walk(struct loader *loader, const struct tree_node *root, const char *folder,
	bool included, bool overlay)
{
	struct walk w = {.loader = loader,
		.folder = folder,
		.included = included,
		.overlay = overlay,
		.peer = TOP};
	struct path path = {0};

	if (root->kind == TREE_BAD || tree_is_empty(root))
		return 0;
	if (root->kind != TREE_MAP) {
		findings_error(&loader->findings, CONFIG_E_TYPE, root->place, NULL,
			"a configuration is a map of keys, not %s", kind_str(root->kind));
		return 0;
	}
	walk_map(&w, root, &path);
	return w.error == -ENOMEM ? -ENOMEM : 0;
}
