/* Finds the conversation of a (port, remote address) pair: a hash table with a keyed hash, grown as
 * it fills. */
#ifndef SESSION_SESSION_TABLE_H
#define SESSION_SESSION_TABLE_H

#include "core/siphash.h"
#include "kcpvpn/endpoint.h"

#include <stddef.h>

/** Embedded in what the table holds. The key must not change while it is in the table. */
struct session_table_node {
	struct session_table_node *next;
	uint64_t hash;
	const void *port; /* compared by address, never looked into */
	struct kcpvpn_endpoint remote;
};

struct session_table {
	struct siphash_key key;
	struct session_table_node **buckets; /* NULL while empty */
	size_t bucket_count;		     /* 0 or a power of two */
	size_t count;
};

/** @key  unpredictable, so that strangers cannot choose addresses that share a bucket */
void session_table_init(struct session_table *table, const struct siphash_key *key);

/** Frees the table, not what it held. */
void session_table_fini(struct session_table *table);

struct session_table_node *session_table_find(
	const struct session_table *table, const void *port, const struct kcpvpn_endpoint *remote);

/**
 * Adds `node`, whose `port` and `remote` are set and not in the table yet.
 *
 * @return 0 or -ENOMEM (only if there is no table at all yet; a full one is merely slower)
 */
int session_table_add(struct session_table *table, struct session_table_node *node);

void session_table_remove(struct session_table *table, struct session_table_node *node);

#endif
