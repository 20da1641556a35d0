/*
 * What a reload changes. Two whole configurations are compared by the schema's rows, so a new key takes part
 * without a line here. Peers are matched by name, through sorted indexes because there may be
 * thousands. A peer that inherits a changed value has changed: the daemon then need not know where
 * a value comes from.
 */
#include "config/config_loader.h"
#include "config/config_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The fields of a configuration that is only read. */
static const void *top_field(const struct config_row *row, const struct config *config)
{
	return config_row_field(row, (struct config *)(uintptr_t)config);
}

static const void *peer_field(const struct config_row *row, const struct config_peer *peer)
{
	return config_row_peer_field(row, (struct config_peer *)(uintptr_t)peer);
}

static void write_change(
	FILE *out, const struct config_row *row, const void *before, const void *after)
{
	if (row->flags & CONFIG_ROW_SECRET) {
		(void)fputs("changed", out);
		return;
	}
	if (value_is_absent(row, before))
		(void)fputs("none", out);
	value_write(row, before, out);
	(void)fputs(" -> ", out);
	if (value_is_absent(row, after))
		(void)fputs("none", out);
	value_write(row, after, out);
}

static const char OTHER_KEY[] = "another key";

/* True for the same key, or none in both. */
static bool keys_equal(const uint8_t *a, const uint8_t *b)
{
	return a && b ? memcmp(a, b, CONFIG_KEY_BYTES) == 0 : a == b;
}

static int close_text(FILE *out, char **text)
{
	int failed = ferror(out);

	if (fclose(out) != 0 || failed) {
		free(*text);
		*text = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* ---- globals -------------------------------------------------------------------------------------------------- */

/* @before  NULL: the key in a file is another, wherever the file is */
static int add_global(struct config_diff *diff, const struct config_row *row, unsigned effects,
	const void *before, const void *after)
{
	char *text = NULL;
	size_t len = 0;
	struct config_change *grown =
		reallocarray(diff->globals, diff->global_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	diff->globals = grown;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return -ENOMEM;
	(void)fprintf(out, "%s: ", row->key);
	if (before)
		write_change(out, row, before, after);
	else
		(void)fputs(OTHER_KEY, out);
	if (close_text(out, &text))
		return -ENOMEM;
	diff->globals[diff->global_count++] =
		(struct config_change){.row = row, .effects = effects, .text = text};
	diff->effects |= effects;
	return 0;
}

/* On the native wire peers tell each other when they shake hands how long packets may be. */
static unsigned mtu_effects(const struct config *config)
{
	return config->wire == CONFIG_WIRE_NATIVE ? CONFIG_EFFECT_SESSIONS : 0;
}

static int diff_globals(
	const struct config *before, const struct config *after, struct config_diff *diff)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);

	for (size_t i = 0; i < count; i++) {
		const void *a = top_field(&rows[i], before);
		const void *b = top_field(&rows[i], after);
		if (!a || value_equal(&rows[i], a, b))
			continue;
		int error = add_global(diff, &rows[i], rows[i].effects, a, b);
		if (error)
			return error;
	}
	int error = 0;
	if (!keys_equal(before->identity.private_key, after->identity.private_key))
		error = add_global(diff, config_schema_find("identity.private_key_file"),
			CONFIG_EFFECT_SESSIONS, NULL, NULL);
	if (!error && !keys_equal(before->identity.network_key, after->identity.network_key))
		error = add_global(diff, config_schema_find("identity.network_key_file"),
			CONFIG_EFFECT_SESSIONS, NULL, NULL);
	if (error)
		return error;
	if (before->interface.mtu_bytes != after->interface.mtu_bytes)
		diff->effects |= CONFIG_EFFECT_LINK | mtu_effects(after);
	return 0;
}

/* ---- peers ---------------------------------------------------------------------------------------------------- */

/* The file of the preshared key may move: what counts is the key, which is compared apart. */
static unsigned peer_effect(const struct config_row *row)
{
	if (strcmp(row->key, "peers.NAME.public_key") == 0)
		return CONFIG_PEER_KEYS;
	if (strcmp(row->key, "peers.NAME.preshared_key_file") == 0)
		return CONFIG_PEER_SESSION;
	if (strcmp(row->key, "peers.NAME.endpoints") == 0)
		return CONFIG_PEER_ENDPOINTS;
	if (strcmp(row->key, "peers.NAME.allowed_ips") == 0)
		return CONFIG_PEER_ALLOWED_IPS;
	if (strcmp(row->key, "peers.NAME.enabled") == 0)
		return CONFIG_PEER_ENABLED;
	if (strncmp(row->key, "session.", strlen("session.")) == 0)
		return CONFIG_PEER_SESSION;
	return CONFIG_PEER_TRANSPORT;
}

/* Compares two versions of a peer, or tells one that came or went. Appends to the diff if they differ. */
static int diff_peer(
	struct config_diff *diff, const struct config_peer *before, const struct config_peer *after)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);
	struct config_peer_change change = {.before = before, .after = after};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	(void)fprintf(out, "%s: ", after ? after->name : before->name);
	if (!before || !after)
		(void)fputs(before ? "removed" : "added", out);
	for (size_t i = 0; i < count && before && after; i++) {
		const void *a = peer_field(&rows[i], before);
		const void *b = peer_field(&rows[i], after);
		if (!a || value_equal(&rows[i], a, b))
			continue;
		const char *key = rows[i].flags & CONFIG_ROW_PEER
					  ? rows[i].key + strlen("peers.NAME.")
					  : rows[i].key;
		(void)fprintf(out, "%s%s ", change.effects ? ", " : "", key);
		write_change(out, &rows[i], a, b);
		change.effects |= peer_effect(&rows[i]);
	}
	if (before && after && !keys_equal(before->preshared_key, after->preshared_key)) {
		(void)fprintf(
			out, "%spreshared_key_file: %s", change.effects ? ", " : "", OTHER_KEY);
		change.effects |= CONFIG_PEER_KEYS;
	}
	if (close_text(out, &text))
		return -ENOMEM;
	if (before && after && !change.effects) {
		free(text);
		return 0;
	}
	change.text = text;
	diff->peers[diff->peer_count++] = change; /* room for all was made */
	diff->added += !before;
	diff->removed += !after;
	diff->changed += before && after;
	return 0;
}

static int compare_peers(const void *a, const void *b)
{
	const struct config_peer *const *x = a;
	const struct config_peer *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* Pointers to all peers, by name. */
static const struct config_peer **sorted_peers(const struct config *config)
{
	size_t count = config->peer_count;
	const struct config_peer **sorted = calloc(count ? count : 1, sizeof(*sorted));

	if (!sorted)
		return NULL;
	for (size_t i = 0; i < count; i++)
		sorted[i] = &config->peers[i];
	qsort(sorted, count, sizeof(*sorted), compare_peers);
	return sorted;
}

static const struct config_peer *find_peer(
	const struct config_peer *const *sorted, size_t count, const struct config_peer *like)
{
	const struct config_peer *const *found =
		bsearch(&like, sorted, count, sizeof(*sorted), compare_peers);

	return found ? *found : NULL;
}

static int diff_peers(
	const struct config *before, const struct config *after, struct config_diff *diff)
{
	const struct config_peer **old = sorted_peers(before);
	const struct config_peer **new = sorted_peers(after);
	size_t most = before->peer_count + after->peer_count;
	int error = -ENOMEM;

	diff->peers = calloc(most ? most : 1, sizeof(*diff->peers));
	if (!old || !new || !diff->peers)
		goto free_sorted;
	error = 0;
	for (size_t i = 0; i < after->peer_count && !error; i++) {
		const struct config_peer *peer = &after->peers[i];
		error = diff_peer(diff, find_peer(old, before->peer_count, peer), peer);
	}
	for (size_t i = 0; i < before->peer_count && !error; i++) {
		const struct config_peer *peer = &before->peers[i];
		if (!find_peer(new, after->peer_count, peer))
			error = diff_peer(diff, peer, NULL);
	}

free_sorted:
	free(old);
	free(new);
	return error;
}

int config_diff(
	const struct config *before, const struct config *after, struct config_diff *ret_diff)
{
	struct config_diff diff = {0};
	int error = diff_globals(before, after, &diff);

	if (!error)
		error = diff_peers(before, after, &diff);
	if (error) {
		config_diff_fini(&diff);
		return error;
	}
	*ret_diff = diff;
	return 0;
}

void config_diff_fini(struct config_diff *diff)
{
	for (size_t i = 0; i < diff->peer_count; i++)
		free(diff->peers[i].text);
	for (size_t i = 0; i < diff->global_count; i++)
		free(diff->globals[i].text);
	free(diff->peers);
	free(diff->globals);
	*diff = (struct config_diff){0};
}
