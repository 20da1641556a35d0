/*
 * A binary trie with path compression, one for each family. A node stands for a prefix; its children lie inside it and
 * differ in the first bit behind it. A node without an owner only parts two children, so there are fewer of those than
 * of the others, and a lookup visits no more nodes than the longest chain of nested prefixes has branches.
 *
 * Invariants: a node without an owner has two children; a child's prefix is longer than its parent's and begins with
 * it; addresses are zero behind their length.
 */
#include "vpnd/allowed_ips.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct allowed_ips_node {
	struct allowed_ips_node *children[2];
	void *owner; /* NULL = parts its children */
	struct ip_prefix prefix;
};

static unsigned bit_at(const uint8_t *address, unsigned index)
{
	return address[index / 8] >> (7 - index % 8) & 1;
}

/* How many leading bits are equal, at most `most`. */
static unsigned common_bits(const uint8_t *a, const uint8_t *b, unsigned most)
{
	for (unsigned i = 0; i * 8 < most; i++) {
		uint8_t differ = a[i] ^ b[i];
		if (differ) {
			unsigned bits = i * 8 + (unsigned)__builtin_clz(differ) - 24;
			return bits < most ? bits : most;
		}
	}
	return most;
}

static struct allowed_ips_node **root_of(struct allowed_ips *table, uint8_t family)
{
	return &table->roots[family == 6];
}

static struct allowed_ips_node *node_new(const struct ip_prefix *prefix, void *owner)
{
	struct allowed_ips_node *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;
	node->prefix = *prefix;
	node->owner = owner;
	return node;
}

static void free_tree(struct allowed_ips_node *node)
{
	if (!node)
		return;
	free_tree(node->children[0]); /* no deeper than an address has bits */
	free_tree(node->children[1]);
	free(node);
}

void allowed_ips_fini(struct allowed_ips *table)
{
	free_tree(table->roots[0]);
	free_tree(table->roots[1]);
	allowed_ips_init(table);
}

/* Puts `node` and the tree that stood at `*place`, of which it has `common` bits, under a new parent. */
static int part(struct allowed_ips_node **place, struct allowed_ips_node *node, unsigned common)
{
	struct allowed_ips_node *other = *place;
	struct ip_prefix prefix = node->prefix;

	prefix.length = (uint8_t)common;
	ip_prefix_mask(&prefix);
	struct allowed_ips_node *parent = node_new(&prefix, NULL);
	if (!parent)
		return -ENOMEM;
	parent->children[bit_at(node->prefix.address, common)] = node;
	parent->children[bit_at(other->prefix.address, common)] = other;
	*place = parent;
	return 0;
}

int allowed_ips_insert(struct allowed_ips *table, const struct ip_prefix *prefix, void *owner)
{
	struct ip_prefix key = *prefix;

	if (!owner || !ip_prefix_valid(prefix))
		return -EINVAL;
	ip_prefix_mask(&key);
	struct allowed_ips_node **place = root_of(table, key.family);
	unsigned common = 0;
	while (*place) {
		struct allowed_ips_node *node = *place;
		unsigned least =
			node->prefix.length < key.length ? node->prefix.length : key.length;
		common = common_bits(node->prefix.address, key.address, least);
		if (common < node->prefix.length)
			break;
		if (node->prefix.length == key.length) {
			if (node->owner)
				return node->owner == owner ? 0 : -EEXIST;
			node->owner = owner;
			table->count++;
			return 0;
		}
		place = &node->children[bit_at(key.address, node->prefix.length)];
	}
	struct allowed_ips_node *added = node_new(&key, owner);
	if (!added)
		return -ENOMEM;
	if (!*place) {
		*place = added;
	} else if (common == key.length) {
		added->children[bit_at((*place)->prefix.address, common)] = *place;
		*place = added;
	} else if (part(place, added, common)) {
		free(added);
		return -ENOMEM;
	}
	table->count++;
	return 0;
}

/* Takes a node without an owner out if it parts nothing. */
static void tidy(struct allowed_ips_node **place)
{
	struct allowed_ips_node *node = *place;

	if (!node || node->owner || (node->children[0] && node->children[1]))
		return;
	*place = node->children[0] ? node->children[0] : node->children[1];
	free(node);
}

int allowed_ips_remove(struct allowed_ips *table, const struct ip_prefix *prefix, const void *owner)
{
	struct ip_prefix key = *prefix;

	if (!ip_prefix_valid(prefix))
		return -ENOENT;
	ip_prefix_mask(&key);
	struct allowed_ips_node **place = root_of(table, key.family);
	struct allowed_ips_node **above = NULL;
	while (*place && ip_prefix_contains(&(*place)->prefix, &key)) {
		if ((*place)->prefix.length == key.length) {
			if (!(*place)->owner || (*place)->owner != owner)
				return -ENOENT;
			(*place)->owner = NULL;
			table->count--;
			tidy(place);
			if (above)
				tidy(above);
			return 0;
		}
		above = place;
		place = &(*place)->children[bit_at(key.address, (*place)->prefix.length)];
	}
	return -ENOENT;
}

static size_t remove_from(struct allowed_ips_node **place, const void *owner)
{
	struct allowed_ips_node *node = *place;
	size_t removed = 0;

	if (!node)
		return 0;
	removed += remove_from(&node->children[0], owner);
	removed += remove_from(&node->children[1], owner);
	if (node->owner == owner) {
		node->owner = NULL;
		removed++;
	}
	tidy(place);
	return removed;
}

size_t allowed_ips_remove_owner(struct allowed_ips *table, const void *owner)
{
	if (!owner)
		return 0;
	size_t removed =
		remove_from(&table->roots[0], owner) + remove_from(&table->roots[1], owner);
	table->count -= removed;
	return removed;
}

void *allowed_ips_lookup(const struct allowed_ips *table, uint8_t family, const uint8_t *address)
{
	const struct allowed_ips_node *node;
	void *owner = NULL;

	if (family != 4 && family != 6)
		return NULL;
	node = table->roots[family == 6];
	while (node && ip_prefix_bits_equal(node->prefix.address, address, node->prefix.length)) {
		if (node->owner)
			owner = node->owner;
		if (node->prefix.length == ip_prefix_bits_max(family))
			break;
		node = node->children[bit_at(address, node->prefix.length)];
	}
	return owner;
}

static void *other_owner(const struct allowed_ips_node *node, const void *owner)
{
	if (!node)
		return NULL;
	if (node->owner && node->owner != owner)
		return node->owner;
	void *found = other_owner(node->children[0], owner);
	return found ? found : other_owner(node->children[1], owner);
}

void *allowed_ips_overlap(
	const struct allowed_ips *table, const struct ip_prefix *prefix, const void *owner)
{
	const struct allowed_ips_node *node;

	if (!ip_prefix_valid(prefix))
		return NULL;
	node = table->roots[prefix->family == 6];
	while (node && node->prefix.length < prefix->length &&
		ip_prefix_contains(&node->prefix, prefix)) {
		if (node->owner && node->owner != owner)
			return node->owner;
		node = node->children[bit_at(prefix->address, node->prefix.length)];
	}
	if (node && ip_prefix_contains(prefix, &node->prefix))
		return other_owner(node, owner);
	return NULL;
}
