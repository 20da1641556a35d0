/* Chained buckets, doubled when there are more nodes than buckets. */
#include "session/session_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	BUCKETS_MIN = 16,
};

void session_table_init(struct session_table *table, const struct siphash_key *key)
{
	*table = (struct session_table){.key = *key};
}

void session_table_fini(struct session_table *table)
{
	free(table->buckets);
	table->buckets = NULL;
	table->bucket_count = 0;
	table->count = 0;
}

static uint64_t hash_of(
	const struct session_table *table, const void *port, const struct kcpvpn_endpoint *remote)
{
	struct {
		uint64_t port;
		uint8_t address[16];
		uint32_t scope_id;
		uint16_t number;
		uint16_t family;
	} key = {
		.port = (uint64_t)(uintptr_t)port,
		.scope_id = remote->scope_id,
		.number = remote->port,
		.family = remote->family,
	};
	_Static_assert(sizeof(key) == 32, "no padding may enter the hash");
	memcpy(key.address, remote->address, sizeof(key.address));
	return siphash(table->key, &key, sizeof(key));
}

struct session_table_node *session_table_find(
	const struct session_table *table, const void *port, const struct kcpvpn_endpoint *remote)
{
	if (table->count == 0)
		return NULL;
	uint64_t hash = hash_of(table, port, remote);
	struct session_table_node *node = table->buckets[hash & (table->bucket_count - 1)];
	while (node) {
		if (node->hash == hash && node->port == port &&
			kcpvpn_endpoint_equal(&node->remote, remote))
			return node;
		node = node->next;
	}
	return NULL;
}

static int grow(struct session_table *table)
{
	size_t count = table->bucket_count ? 2 * table->bucket_count : BUCKETS_MIN;
	struct session_table_node **buckets = calloc(count, sizeof(struct session_table_node *));

	if (!buckets)
		return -ENOMEM;
	for (size_t i = 0; i < table->bucket_count; i++) {
		struct session_table_node *node = table->buckets[i];
		while (node) {
			struct session_table_node *next = node->next;
			struct session_table_node **bucket = &buckets[node->hash & (count - 1)];
			node->next = *bucket;
			*bucket = node;
			node = next;
		}
	}
	free(table->buckets);
	table->buckets = buckets;
	table->bucket_count = count;
	return 0;
}

int session_table_add(struct session_table *table, struct session_table_node *node)
{
	if (table->count >= table->bucket_count && grow(table) < 0 && table->bucket_count == 0)
		return -ENOMEM;
	node->hash = hash_of(table, node->port, &node->remote);
	struct session_table_node **bucket =
		&table->buckets[node->hash & (table->bucket_count - 1)];
	node->next = *bucket;
	*bucket = node;
	table->count++;
	return 0;
}

void session_table_remove(struct session_table *table, struct session_table_node *node)
{
	if (table->bucket_count == 0)
		return;
	struct session_table_node **at = &table->buckets[node->hash & (table->bucket_count - 1)];
	while (*at && *at != node)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = node->next;
	node->next = NULL;
	table->count--;
}
