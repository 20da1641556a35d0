/*
 * Keys: which the wire needs, from which files, and which cannot be.
 *
 *     wire: native   identity.private_key_file, network_key_file; peers.NAME.public_key, preshared_key_file
 *     wire: kcp-go   kcp_go.key or key_file, and a word that no identity is wanted
 *
 * Secrets of the native wire never stand in the configuration, only in files of their own whose mode is
 * at most 0640. They are read through the reader into one locked piece of memory. No message repeats
 * what such a file holds, nor a value that looks like a key at a place where a path belongs.
 *
 * Every message ends with what to do next, because keys are the first thing a new user meets.
 */
#include "config/config_key.h"
#include "config/config_loader.h"
#include "config/config_secrets.h"
#include "core/err.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PASSWORD_FILE_MAX_BYTES = 64 << 10,
	OTHERS_READ = 04,
	WORD_BYTES = 260, /* a quoted path in a message; longer ones are cut */
	BASE_BYTES = 80,
};

/* A path as a word of a shell's command line. @return `word` */
static const char *shell_word(const char *path, char word[WORD_BYTES])
{
	size_t len = 0;
	bool plain = path[0] != '\0' && path[0] != '-';

	for (const char *at = path; *at && plain; at++)
		plain = isalnum((unsigned char)*at) || strchr("_./-:@%+,=", *at);
	if (plain) {
		(void)snprintf(word, WORD_BYTES, "%s", path);
		return word;
	}
	word[len++] = '\'';
	for (const char *at = path; *at && len < WORD_BYTES - 6; at++) {
		if (*at == '\'') {
			memcpy(word + len, "'\\'", 3);
			len += 3;
		}
		word[len++] = *at;
	}
	word[len++] = '\'';
	word[len] = '\0';
	return word;
}

/* Where a new key file of this network belongs: beside the file that `source` is. @return `path` */
static const char *beside(const struct loader *l, unsigned source, const char *base,
	const char *suffix, char path[CONFIG_READER_PATH_BYTES])
{
	const char *config = l->findings.sources[source].path;
	const char *slash = strrchr(config, '/');
	int folder = slash ? (int)(slash - config) + 1 : 0;

	(void)snprintf(path, CONFIG_READER_PATH_BYTES, "%.*s%s%s", folder, config, base, suffix);
	return path;
}

/* Also before identity.name was read: then the base name of the file. @return `name` */
static const char *network_name(const struct loader *l, char name[CONFIG_NAME_MAX + 1])
{
	const char *slash = strrchr(l->config->file, '/');
	const char *base = slash ? slash + 1 : l->config->file;

	if (l->config->name)
		(void)snprintf(name, CONFIG_NAME_MAX + 1, "%s", l->config->name);
	else
		(void)snprintf(name, CONFIG_NAME_MAX + 1, "%.*s", (int)strcspn(base, "."), base);
	if (!config_name_ok(name))
		(void)snprintf(name, CONFIG_NAME_MAX + 1, "vpnd");
	return name;
}

/* ---- keys in the configuration itself ------------------------------------------------------------------------- */

void config_refuse_inline_key(struct loader *l, const struct tree_node *node, const char *shown)
{
	char path[CONFIG_READER_PATH_BYTES];
	char base[BASE_BYTES], network[CONFIG_NAME_MAX + 1];
	char word[WORD_BYTES], config[WORD_BYTES];
	uint8_t key[CONFIG_KEY_BYTES];
	const char *name = node->key->text;
	bool psk = strncmp(name, "preshared", 9) == 0;
	bool is_key = node->kind == TREE_SCALAR &&
		      config_key_parse(node->text, strlen(node->text), key) == 0;
	struct finding_place place = node->key->place;
	size_t stem = strlen(name);

	explicit_bzero(key, sizeof(key));
	place.hidden = true;
	if (stem > 5 && strcmp(name + stem - 5, "_file") == 0)
		stem -= 5;
	const char *dot = strrchr(shown, '.');
	const char *peer = psk && strncmp(shown, "peers.", 6) == 0 ? shown + 6 : NULL;
	if (peer && dot > peer)
		(void)snprintf(base, sizeof(base), "%.*s", (int)(dot - peer), peer);
	else
		(void)snprintf(base, sizeof(base), "%.63s%s", network_name(l, network),
			strncmp(name, "network", 7) == 0 ? "-network" : "");
	(void)shell_word(beside(l, place.source, base, psk ? ".psk" : ".key", path), word);
	(void)shell_word(l->findings.sources[place.source].path, config);
	if (is_key)
		findings_error(&l->findings, CONFIG_E_SECRET, place, NULL,
			"%s: a secret key has no place in this file. Move it: (umask 077; set -C; "
			"sed -n '%us|.*%.60s[^A-Za-z0-9+/]*\\([A-Za-z0-9+/]\\{43\\}=\\).*|\\1|p' "
			"%s >%s); then write %.*s_file: %s%s",
			shown, place.line, name, config, word, (int)stem, name, base,
			psk ? ".psk" : ".key");
	else
		findings_error(&l->findings, CONFIG_E_SECRET, place, NULL,
			"%s: a secret key has no place in this file. Make one: kcpctl key %s %s; "
			"then write %.*s_file: %s%s",
			shown, psk || name[0] == 'n' ? "psk" : "gen", word, (int)stem, name, base,
			psk ? ".psk" : ".key");
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

/* One key file. */
struct key_file {
	const char *shown; /* "identity.private_key_file" */
	const char *path;
	struct finding_place place;
	const char *verb; /* of kcpctl key, that makes such a file */
};

/* NAME of "credential:NAME", NULL for a path. */
static const char *credential(const char *path)
{
	static const size_t prefix = sizeof(CONFIG_CREDENTIAL_PREFIX) - 1;

	return strncmp(path, CONFIG_CREDENTIAL_PREFIX, prefix) == 0 ? path + prefix : NULL;
}

static void tell_unread(struct loader *l, const struct key_file *file, int error)
{
	char word[WORD_BYTES];
	const char *name = credential(file->path);

	if (!l->findings.report->read_error)
		l->findings.report->read_error = error;
	if (error == -ENOENT && name)
		findings_error(&l->findings, CONFIG_E_READ, file->place, NULL,
			"%s: there is no credential %.100s: no such file in "
			"$CREDENTIALS_DIRECTORY, which the service manager sets; the unit needs "
			"LoadCredential=%.100s:FILE",
			file->shown, name, name);
	else if (error == -ENOENT)
		findings_error(&l->findings, CONFIG_E_READ, file->place, NULL,
			"%s: there is no file %.200s; make it: kcpctl key %s %s", file->shown,
			file->path, file->verb, shell_word(file->path, word));
	else if (error == -EINVAL)
		findings_error(&l->findings, CONFIG_E_READ, file->place, NULL,
			"%s: %.200s is not a regular file", file->shown, file->path);
	else if (error == -EFBIG)
		findings_error(&l->findings, CONFIG_E_SECRET, file->place, NULL,
			"%s: %.200s holds no key: it is longer than %d bytes; a key is one line of "
			"44 characters, as kcpctl key %s makes it",
			file->shown, file->path, CONFIG_KEY_FILE_MAX_BYTES, file->verb);
	else
		findings_error(&l->findings, CONFIG_E_READ, file->place, NULL,
			"%s: %.200s cannot be read: %s", file->shown, file->path, err_str(error));
}

/* Wipes and frees `data`. @return true if the key is in `key` */
static bool take_key(
	struct loader *l, const struct key_file *file, char *data, size_t len, uint8_t *key)
{
	bool good = config_key_parse_file(data, len, key) == 0;

	explicit_bzero(data, len);
	free(data);
	if (!good)
		findings_error(&l->findings, CONFIG_E_SECRET, file->place, NULL,
			"%s: %.200s holds no key: %s; a key is 32 bytes in base64, one line of 44 "
			"characters that ends in =, as kcpctl key %s makes it",
			file->shown, file->path, len == 0 ? "it is empty" : "it is something else",
			file->verb);
	else if (config_key_is_zero(key))
		findings_error(&l->findings, CONFIG_E_SECRET, file->place, NULL,
			"%s: the key in %.200s is all zeros, which everybody knows; make another: "
			"kcpctl key %s FILE",
			file->shown, file->path, file->verb);
	else
		return true;
	return false;
}

/* Leaves `ret_key` alone if the file has no good key. @return 0 (also with findings) or -ENOMEM */
static int read_key(struct loader *l, const struct key_file *file, const uint8_t **ret_key)
{
	struct config_file_stat st = {0};
	char word[WORD_BYTES];
	char *data = NULL;
	size_t len = 0;

	int error = l->reader->read_file(l->reader->ctx, file->path, CONFIG_KEY_FILE_MAX_BYTES,
		CONFIG_READ_SECRET | CONFIG_READ_REGULAR, &data, &len, &st);
	if (error == -ENOMEM)
		return error;
	if (!error && !st.regular) {
		explicit_bzero(data, len);
		free(data);
		error = -EINVAL;
	}
	if (error) {
		tell_unread(l, file, error);
		return 0;
	}
	if (st.mode & CONFIG_KEY_MODE_FORBIDDEN) {
		const char *name = credential(file->path);
		explicit_bzero(data, len);
		free(data);
		findings_error(&l->findings, CONFIG_E_MODE, file->place, NULL,
			"%s: %.200s has mode %04o, a key file at most 0640; use: chmod 0600 %s%s",
			file->shown, file->path, st.mode & 07777,
			name ? "\"$CREDENTIALS_DIRECTORY\"/" : "",
			shell_word(name ? name : file->path, word));
		return 0;
	}
	uint8_t *key = secrets_add(l->config->secrets);
	if (take_key(l, file, data, len, key))
		*ret_key = key;
	return 0;
}

static int read_keys(struct loader *l)
{
	struct config *config = l->config;
	struct config_identity *own = &config->identity;
	size_t count = 2;
	bool any = own->private_key_file || own->network_key_file;
	char shown[CONFIG_NAME_MAX + 32];

	for (size_t i = 0; i < config->peer_count; i++) {
		if (config->peers[i].preshared_key_file)
			count++;
	}
	any = any || count > 2;
	if (!any || !l->reader || l->reader->skip_secrets)
		return 0;
	int error = secrets_new(count, &config->secrets);
	if (!error && own->private_key_file)
		error = read_key(l,
			&(struct key_file){"identity.private_key_file", own->private_key_file,
				loader_place(l, "identity.private_key_file"), "gen"},
			&own->private_key);
	if (!error && own->network_key_file)
		error = read_key(l,
			&(struct key_file){"identity.network_key_file", own->network_key_file,
				loader_place(l, "identity.network_key_file"), "psk"},
			&own->network_key);
	for (size_t i = 0; i < config->peer_count && !error; i++) {
		struct config_peer *peer = &config->peers[i];
		const struct tree_node *node = l->peers[i].preshared_key_file;
		if (!peer->preshared_key_file)
			continue;
		(void)snprintf(shown, sizeof(shown), "peers.%s.preshared_key_file", peer->name);
		error = read_key(l,
			&(struct key_file){shown, peer->preshared_key_file,
				node ? node->place : l->peers[i].name->place, "psk"},
			&peer->preshared_key);
	}
	return error;
}

/* ---- the native wire ------------------------------------------------------------------------------------------ */

static bool has_inline_private_key(const struct loader *l)
{
	for (size_t i = 0; i < l->tree_count; i++) {
		const struct tree_node *identity = tree_get(l->trees[i].root, "identity");
		if (identity && tree_get(identity, "private_key"))
			return true; /* and was refused with more to say */
	}
	return false;
}

static void check_native_required(struct loader *l)
{
	char path[CONFIG_READER_PATH_BYTES];
	char word[WORD_BYTES];
	char name[CONFIG_NAME_MAX + 1];

	if (!loader_whole(l))
		return;
	if (!loader_node(l, "identity.private_key_file") && !has_inline_private_key(l))
		findings_error(&l->findings, CONFIG_E_MISSING, loader_file(0), NULL,
			"identity.private_key_file is missing; make a key: kcpctl key gen %s; then "
			"write identity: {private_key_file: %s.key}",
			shell_word(beside(l, 0, network_name(l, name), ".key", path), word), name);
	for (size_t i = 0; i < l->config->peer_count; i++) {
		const struct tree_node *value = l->peers[i].value;
		bool a_map = value->kind == TREE_MAP || tree_is_empty(value);
		if (a_map && !tree_get(value, "public_key"))
			findings_error(&l->findings, CONFIG_E_MISSING,
				loader_file(value->place.source), NULL,
				"peers.%s.public_key is missing; `kcpctl key pub FILE` prints it "
				"on "
				"the other side",
				l->config->peers[i].name);
	}
}

static int compare_keys(const void *a, const void *b, void *ctx)
{
	const struct config *config = ctx;
	const size_t *x = a;
	const size_t *y = b;
	int order = memcmp(
		config->peers[*x].public_key, config->peers[*y].public_key, CONFIG_KEY_BYTES);

	return order ? order : (*x > *y) - (*x < *y);
}

/* Peers are told apart by their keys alone. */
static int check_twins(struct loader *l)
{
	struct config *config = l->config;
	size_t *order = calloc(config->peer_count + 1, sizeof(*order));
	size_t count = 0;
	size_t first_at = 0; /* of the run of equal keys */

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < config->peer_count; i++) {
		if (l->peers[i].public_key)
			order[count++] = i;
	}
	qsort_r(order, count, sizeof(*order), compare_keys, config);
	for (size_t i = 1; i < count; i++) {
		size_t again = order[i];
		bool twin = memcmp(config->peers[order[first_at]].public_key,
				    config->peers[again].public_key, CONFIG_KEY_BYTES) == 0;
		size_t first = order[first_at];
		if (!twin)
			first_at = i;
		else
			findings_error(&l->findings, CONFIG_E_DUPLICATE,
				l->peers[again].public_key->place, NULL,
				"peers.%s.public_key is the key of peers.%s, too, at %s:%u; each "
				"host has a key of its own",
				config->peers[again].name, config->peers[first].name,
				l->findings.sources[l->peers[first].public_key->place.source].path,
				l->peers[first].public_key->place.line);
	}
	free(order);
	return 0;
}

static void derive_public_key(struct loader *l)
{
	struct config *config = l->config;
	uint8_t public_key[CONFIG_KEY_BYTES];

	if (!config->identity.private_key || !l->reader->public_half)
		return;
	if (l->reader->public_half(l->reader->ctx, config->identity.private_key, public_key)) {
		findings_error(&l->findings, CONFIG_E_SECRET,
			loader_place(l, "identity.private_key_file"), NULL,
			"identity.private_key_file: no public key can be made from it");
		return;
	}
	(void)config_set_public_key(config, public_key);
	for (size_t i = 0; i < config->peer_count; i++) {
		if (l->peers[i].public_key &&
			memcmp(config->peers[i].public_key, public_key, CONFIG_KEY_BYTES) == 0)
			findings_error(&l->findings, CONFIG_E_SECRET, l->peers[i].public_key->place,
				NULL,
				"peers.%s.public_key is this host's own; `kcpctl key pub FILE` "
				"prints the right one on the other side",
				config->peers[i].name);
	}
}

static int check_native_keys(struct loader *l)
{
	struct config *config = l->config;

	check_native_required(l);
	for (size_t i = 0; i < config->peer_count; i++) {
		struct config_peer *peer = &config->peers[i];
		if (peer->public_key_text) /* was parsed before */
			(void)config_key_parse(peer->public_key_text, strlen(peer->public_key_text),
				peer->public_key);
	}
	int error = check_twins(l);
	if (!error)
		error = read_keys(l);
	if (!error)
		derive_public_key(l);
	return error;
}

/* ---- the kcp-go wire ------------------------------------------------------------------------------------------ */

/* The first line of a key file is the password. Wipes what was read. */
static int take_password(struct loader *l, char *data, size_t len)
{
	struct finding_place place = loader_place(l, "kcp_go.key_file");
	const char *end = memchr(data, '\n', len);
	size_t line = end ? (size_t)(end - data) : len;
	int error = 0;

	if (line > 0 && data[line - 1] == '\r')
		line--;
	if (line == 0) {
		findings_error(&l->findings, CONFIG_E_SECRET, place, NULL,
			"kcp_go.key_file: the first line of the file is empty");
	} else if (line > CONFIG_SECRET_MAX || memchr(data, '\0', line)) {
		findings_error(&l->findings, CONFIG_E_SECRET, place, NULL,
			"kcp_go.key_file: the first line of the file is no key: longer than %d "
			"bytes, or binary",
			CONFIG_SECRET_MAX);
	} else {
		l->config->kcp_go.key = strndup(data, line);
		error = l->config->kcp_go.key ? 0 : -ENOMEM;
	}
	explicit_bzero(data, len);
	free(data);
	return error;
}

static int check_password(struct loader *l)
{
	struct config_kcp_go *kcp_go = &l->config->kcp_go;
	const struct tree_node *inline_key = loader_node(l, "kcp_go.key");
	const struct tree_node *file = loader_node(l, "kcp_go.key_file");
	char *data = NULL;
	size_t len = 0;
	struct config_file_stat st = {0};

	if (inline_key && file) {
		const struct tree_node *later = file;
		if (inline_key->place.source > file->place.source ||
			(inline_key->place.source == file->place.source &&
				inline_key->place.line > file->place.line))
			later = inline_key;
		findings_error(&l->findings, CONFIG_E_SECRET, later->key->place, NULL,
			"kcp_go.key and kcp_go.key_file are both given; keep one of them");
		return 0;
	}
	if (!kcp_go->key_file || !l->reader || l->reader->skip_secrets)
		return 0;
	int error = l->reader->read_file(l->reader->ctx, kcp_go->key_file, PASSWORD_FILE_MAX_BYTES,
		CONFIG_READ_SECRET, &data, &len, &st);
	if (error == -ENOMEM)
		return error;
	if (error) {
		findings_error(&l->findings, CONFIG_E_READ, file->place, NULL,
			"kcp_go.key_file: %.200s cannot be read: %s", kcp_go->key_file,
			err_str(error));
		if (!l->findings.report->read_error)
			l->findings.report->read_error = error;
		return 0;
	}
	if (st.mode & OTHERS_READ)
		findings_warning(&l->findings, CONFIG_W_KEY_READABLE, file->place,
			"every user can read %.200s; use: chmod 0600 %.200s", kcp_go->key_file,
			kcp_go->key_file);
	return take_password(l, data, len);
}

static void check_kcp_go_required(struct loader *l)
{
	static const char ALLOW[] = "kcp_go.allow_unauthenticated";

	if (loader_node(l, ALLOW)) {
		bool given = config_is_given(&l->config->given, config_schema_find(ALLOW));
		if (given && !l->config->kcp_go.allow_unauthenticated)
			findings_error(&l->findings, CONFIG_E_WIRE, loader_place(l, ALLOW),
				"true, or wire: native",
				"%s: false, but the kcp-go wire proves nobody's identity", ALLOW);
	} else if (loader_whole(l)) {
		findings_error(&l->findings, CONFIG_E_MISSING, loader_file(0), NULL,
			"%s is missing; write `allow_unauthenticated: true` if a wire that proves "
			"nobody's identity is wanted, else `wire: native`",
			ALLOW);
	}
	if (loader_whole(l) && !loader_node(l, "kcp_go.key") && !loader_node(l, "kcp_go.key_file"))
		findings_error(&l->findings, CONFIG_E_MISSING, loader_file(0), NULL,
			"kcp_go.key_file is missing; the wire needs it, or kcp_go.key");
}

int config_check_keys(struct loader *l)
{
	if (l->wire == CONFIG_WIRE_NATIVE)
		return check_native_keys(l);
	check_kcp_go_required(l);
	return check_password(l);
}
