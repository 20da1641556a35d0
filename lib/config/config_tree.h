/* A YAML file as a tree of maps, lists and untyped scalars with their places. Bounded, no aliases. */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include "config/config_findings.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	TREE_DEPTH_MAX = 12, /* the deepest key is peers.NAME.fec.mode, a list in it is one more */
	TREE_NODES_MAX = 2 << 20,
};

enum tree_kind {
	TREE_SCALAR,
	TREE_LIST,
	TREE_MAP,
	TREE_BAD, /* was found wrong and reported: skip it silently */
};

struct tree_node {
	enum tree_kind kind;
	bool plain; /* a scalar without quotes */
	char *text; /* of a scalar: terminated, no NUL inside */
	struct finding_place place;
	struct tree_node *key;	 /* in a map: the key of this value */
	struct tree_node *first; /* children, in the order of the file */
	struct tree_node *last;
	struct tree_node *next;
	size_t count; /* of children */
	const struct tree_node
		*twin; /* in a map: the first value of the same key, NULL = this is it */
};

struct tree_block;

struct tree {
	struct tree_node *root; /* NULL for a file without content */
	struct tree_block *blocks;
	size_t node_count;
	bool whole; /* false: reading ended early, what is missing may be further down */
};

/**
 * Parses source number `source`. Mistakes go to the findings; what could be read is kept.
 *
 * @return  0 (also with findings) or -ENOMEM; tree_free() is right in both cases
 */
int tree_parse(struct findings *findings, unsigned source, struct tree *ret_tree);

/** Wipes and frees. */
void tree_free(struct tree *tree);

/** The value of a map's key, the first if given twice; NULL if it is not there or no map. */
const struct tree_node *tree_get(const struct tree_node *map, const char *key);

/** `key:` with nothing behind it. */
bool tree_is_empty(const struct tree_node *node);

#endif
