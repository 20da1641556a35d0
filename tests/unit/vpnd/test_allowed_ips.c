#include "vpnd/allowed_ips.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

static int owners[8]; /* only their addresses matter */

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;
	cr_assert_eq(ip_prefix_parse(text, &prefix), 0, "%s", text);
	return prefix;
}

static int insert(struct allowed_ips *table, const char *text, void *owner)
{
	struct ip_prefix prefix = prefix_of(text);
	return allowed_ips_insert(table, &prefix, owner);
}

static void *lookup(const struct allowed_ips *table, const char *text)
{
	struct ip_prefix address = prefix_of(text);
	return allowed_ips_lookup(table, address.family, address.address);
}

static void *overlap(const struct allowed_ips *table, const char *text, const void *owner)
{
	struct ip_prefix prefix = prefix_of(text);
	return allowed_ips_overlap(table, &prefix, owner);
}

Test(allowed_ips, the_longest_prefix_wins)
{
	struct allowed_ips table;

	allowed_ips_init(&table);
	cr_assert_eq(lookup(&table, "10.0.0.1"), NULL);
	cr_assert_eq(insert(&table, "10.0.0.0/8", &owners[0]), 0);
	cr_assert_eq(insert(&table, "10.1.0.0/16", &owners[1]), 0);
	cr_assert_eq(insert(&table, "10.1.2.3/32", &owners[2]), 0);
	cr_assert_eq(insert(&table, "fd00::/8", &owners[3]), 0);
	cr_assert_eq(insert(&table, "fd00::1", &owners[4]), 0);
	cr_assert_eq(lookup(&table, "10.200.0.1"), &owners[0]);
	cr_assert_eq(lookup(&table, "10.1.2.4"), &owners[1]);
	cr_assert_eq(lookup(&table, "10.1.2.3"), &owners[2]);
	cr_assert_eq(lookup(&table, "11.0.0.0"), NULL);
	cr_assert_eq(lookup(&table, "fd00::2"), &owners[3]);
	cr_assert_eq(lookup(&table, "fd00::1"), &owners[4]);
	cr_assert_eq(lookup(&table, "fe00::1"), NULL);
	cr_assert_eq(insert(&table, "0.0.0.0/0", &owners[5]), 0);
	cr_assert_eq(lookup(&table, "11.0.0.0"), &owners[5]);
	cr_assert_eq(lookup(&table, "::1"), NULL, "families do not mix");
	cr_assert_eq(allowed_ips_lookup(&table, 5, (const uint8_t[16]){0}), NULL);
	cr_assert_eq(table.count, 6);
	allowed_ips_fini(&table);
	cr_assert_eq(table.count, 0);
	cr_assert_eq(lookup(&table, "10.0.0.1"), NULL);
}

Test(allowed_ips, same_prefix_twice)
{
	struct allowed_ips table;
	struct ip_prefix bad = {.family = 4, .length = 33};

	allowed_ips_init(&table);
	cr_assert_eq(insert(&table, "10.0.0.0/8", &owners[0]), 0);
	cr_assert_eq(insert(&table, "10.99.0.1/8", &owners[0]), 0, "host bits do not count");
	cr_assert_eq(insert(&table, "10.0.0.0/8", &owners[1]), -EEXIST);
	cr_assert_eq(table.count, 1);
	cr_assert_eq(allowed_ips_insert(&table, &bad, &owners[0]), -EINVAL);
	cr_assert_eq(insert(&table, "10.0.0.0/9", NULL), -EINVAL);
	struct ip_prefix prefix = prefix_of("10.0.0.0/8");
	cr_assert_eq(allowed_ips_remove(&table, &prefix, &owners[1]), -ENOENT);
	cr_assert_eq(allowed_ips_remove(&table, &bad, &owners[0]), -ENOENT);
	cr_assert_eq(allowed_ips_remove(&table, &prefix, &owners[0]), 0);
	cr_assert_eq(allowed_ips_remove(&table, &prefix, &owners[0]), -ENOENT);
	cr_assert_eq(table.roots[0], NULL);
}

Test(allowed_ips, nodes_that_part_nothing_are_freed)
{
	struct ip_prefix low = prefix_of("10.0.0.0/9");
	struct ip_prefix high = prefix_of("10.128.0.0/9");
	struct allowed_ips table;

	allowed_ips_init(&table);
	cr_assert_eq(allowed_ips_insert(&table, &low, &owners[0]), 0);
	cr_assert_eq(allowed_ips_insert(&table, &high, &owners[1]), 0);
	cr_assert_eq(allowed_ips_remove(&table, &low, &owners[0]), 0);
	cr_assert_eq(lookup(&table, "10.128.0.1"), &owners[1]);
	cr_assert_eq(allowed_ips_remove(&table, &high, &owners[1]), 0);
	cr_assert_eq(table.roots[0], NULL);
}

Test(allowed_ips, overlaps_are_found_both_ways)
{
	struct allowed_ips table;

	allowed_ips_init(&table);
	insert(&table, "10.1.0.0/16", &owners[0]);
	insert(&table, "10.2.0.0/16", &owners[0]);
	insert(&table, "10.2.3.0/24", &owners[1]);
	cr_assert_eq(overlap(&table, "10.1.5.0/24", &owners[1]), &owners[0]);
	cr_assert_eq(overlap(&table, "10.1.5.0/24", &owners[0]), NULL);
	cr_assert_eq(overlap(&table, "10.0.0.0/8", &owners[0]), &owners[1]);
	cr_assert_neq(overlap(&table, "0.0.0.0/0", &owners[2]), NULL);
	cr_assert_eq(overlap(&table, "10.2.3.4/32", &owners[0]), &owners[1]);
	cr_assert_eq(overlap(&table, "10.3.0.0/16", &owners[2]), NULL);
	cr_assert_eq(overlap(&table, "::/0", &owners[2]), NULL);
	allowed_ips_fini(&table);
}

/* ---- against a naive list ---- */

enum { ENTRIES = 400 };

struct entry {
	struct ip_prefix prefix; /* family 0 = free */
	int *owner;
};

static void *list_lookup(const struct entry *list, const struct ip_prefix *address)
{
	const struct entry *best = NULL;
	for (int i = 0; i < ENTRIES; i++)
		if (list[i].prefix.family && ip_prefix_contains(&list[i].prefix, address) &&
			(!best || list[i].prefix.length > best->prefix.length))
			best = &list[i];
	return best ? best->owner : NULL;
}

static bool list_overlaps(
	const struct entry *list, const struct ip_prefix *prefix, const int *owner)
{
	for (int i = 0; i < ENTRIES; i++)
		if (list[i].prefix.family && list[i].owner != owner &&
			(ip_prefix_contains(&list[i].prefix, prefix) ||
				ip_prefix_contains(prefix, &list[i].prefix)))
			return true;
	return false;
}

static struct entry *list_find(struct entry *list, const struct ip_prefix *prefix)
{
	for (int i = 0; i < ENTRIES; i++)
		if (list[i].prefix.family == prefix->family &&
			list[i].prefix.length == prefix->length &&
			ip_prefix_contains(&list[i].prefix, prefix))
			return &list[i];
	return NULL;
}

/* Few distinct bits, so that prefixes nest, meet and part often. */
static struct ip_prefix random_prefix(unsigned *seed, bool whole)
{
	struct ip_prefix prefix = {.family = rand_r(seed) % 2 ? 4 : 6};
	unsigned most = ip_prefix_bits_max(prefix.family);
	for (unsigned i = 0; i < most / 8; i++)
		prefix.address[i] = rand_r(seed) % 3 ? 0 : (uint8_t)(1u << rand_r(seed) % 8);
	prefix.length = (uint8_t)(whole ? most : (unsigned)rand_r(seed) % (most + 1));
	ip_prefix_mask(&prefix);
	return prefix;
}

Test(allowed_ips, agrees_with_a_list)
{
	static struct entry list[ENTRIES];
	struct allowed_ips table;
	unsigned seed = 17;
	size_t held = 0;

	allowed_ips_init(&table);
	for (int step = 0; step < 40000; step++) {
		int *owner = &owners[rand_r(&seed) % 8];
		struct ip_prefix prefix = random_prefix(&seed, false);
		struct entry *known = list_find(list, &prefix);
		int what = rand_r(&seed) % 1000;
		if (what < 500) {
			struct entry *slot = &list[rand_r(&seed) % ENTRIES];
			int want = !known ? 0 : known->owner == owner ? 0 : -EEXIST;
			if (!known && slot->prefix.family) { /* make room */
				cr_assert_eq(
					allowed_ips_remove(&table, &slot->prefix, slot->owner), 0);
				slot->prefix.family = 0;
				held--;
			}
			cr_assert_eq(allowed_ips_insert(&table, &prefix, owner), want);
			if (!known) {
				*slot = (struct entry){prefix, owner};
				held++;
			}
		} else if (what < 900) {
			struct entry *slot = &list[rand_r(&seed) % ENTRIES];
			if (slot->prefix.family) {
				cr_assert_eq(
					allowed_ips_remove(&table, &slot->prefix, slot->owner), 0);
				slot->prefix.family = 0;
				held--;
			}
			cr_assert_eq(allowed_ips_remove(&table, &prefix, &held), -ENOENT);
		} else if (what == 900) {
			size_t gone = 0;
			for (int i = 0; i < ENTRIES; i++) {
				if (list[i].prefix.family && list[i].owner == owner) {
					list[i].prefix.family = 0;
					gone++;
				}
			}
			cr_assert_eq(allowed_ips_remove_owner(&table, owner), gone);
			held -= gone;
		}
		cr_assert_eq(table.count, held);
		struct ip_prefix address = random_prefix(&seed, true);
		cr_assert_eq(allowed_ips_lookup(&table, address.family, address.address),
			list_lookup(list, &address), "step %d", step);
		void *other = allowed_ips_overlap(&table, &prefix, owner);
		cr_assert_eq(other != NULL, list_overlaps(list, &prefix, owner), "step %d", step);
		cr_assert_neq(other, owner);
	}
	for (int i = 0; i < 8; i++)
		allowed_ips_remove_owner(&table, &owners[i]);
	cr_assert_eq(table.count, 0);
	cr_assert(!table.roots[0] && !table.roots[1], "every node is freed");
}
