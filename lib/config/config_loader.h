/* What loading one configuration goes through: sources, trees, the schema, cross checks. */
#ifndef CONFIG_LOADER_H
#define CONFIG_LOADER_H

#include "config/config.h"
#include "config/config_findings.h"
#include "config/config_tree.h"

enum {
	LOADER_ROWS_MAX = 128,
};

/** Where a peer's values stand. */
struct peer_places {
	const struct tree_node *name;
	const struct tree_node *value;
	const struct tree_node *allowed_ips; /* a list, or NULL */
	const struct tree_node *public_key;
	const struct tree_node *preshared_key_file;
};

struct loader {
	const struct config_reader *reader; /* NULL: no file is touched */
	struct findings findings;
	struct tree *trees; /* one per source, in the same order */
	size_t tree_count;
	char *folder; /* of the main file: "" or up to the last slash */
	struct config *config;
	enum config_wire wire;
	const struct tree_node
		*places[LOADER_ROWS_MAX]; /* values of top-level rows, NULL = not given */
	struct peer_places *peers;	  /* as config->peers */
	size_t overlay_tree; /* index of what is laid over the files; tree_count = none */
	size_t peer_capacity;
};

/** The place of a file as a whole. */
struct finding_place loader_file(unsigned source);

/**
 * Reads one tree through the schema into loader->config.
 *
 * @folder    where the file's relative paths begin
 * @included  true: `include` is refused, `version` is only checked
 * @overlay   true: not a file, but what is laid over them
 * @return    0 (also with findings) or -ENOMEM
 */
int config_walk(struct loader *loader, const struct tree_node *root, const char *folder,
	bool included, bool overlay);

/**
 * Everything that concerns more than one key: requirements, keys, MTU, FEC, overlaps. Fills what is
 * derived: interface.mtu_bytes, what peers inherit, the key from its file.
 *
 * @return  0 (also with findings) or -ENOMEM
 */
int config_check(struct loader *loader);

/**
 * Keys of the wire that is chosen: required ones, files and their modes, what clashes. Reads key files.
 *
 * @return  0 (also with findings) or -ENOMEM
 */
int config_check_keys(struct loader *loader);

/**
 * Refuses a secret key that stands in a configuration, without showing it, and says how to move it.
 *
 * @node   the value; its key is "private_key", or "private_key_file" with a key where the path belongs
 * @shown  "identity.private_key"
 */
void config_refuse_inline_key(
	struct loader *loader, const struct tree_node *node, const char *shown);

/** The value node of a top-level key, NULL if it was not given. */
const struct tree_node *loader_node(const struct loader *loader, const char *key);

/** Its place; that of the main file if it was not given. */
struct finding_place loader_place(const struct loader *loader, const char *key);

/** False if reading ended early: what seems missing may stand further down. */
bool loader_whole(const struct loader *loader);

/** Refuses routes that would swallow the tunnel's own datagrams. @return 0 (also with findings) or -ENOMEM */
int config_check_routes(struct loader *loader);

/** What the host is to do: netns, full tunnel, DNS, hooks, devices of peers. */
void config_check_host(struct loader *loader);

/** Only the values of built rows; frees nothing. @return 0 or -ENOMEM */
int config_set_defaults(struct config *config);

/** Frees what a peer holds, not the peer. */
void config_peer_clear(struct config_peer *peer);

/** The storage of a built row; NULL if it has none there. */
void *config_row_field(const struct config_row *row, struct config *config);
void *config_row_peer_field(const struct config_row *row, struct config_peer *peer);

bool config_is_given(const struct config_given *given, const struct config_row *row);
void config_set_given(struct config_given *given, const struct config_row *row);

/** Index of a row in the table. */
size_t config_row_index(const struct config_row *row);

#endif
