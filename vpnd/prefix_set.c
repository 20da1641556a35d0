/* Ten thousand peers have as many routes, so a reload must not compare each with each. */
#include "vpnd/prefix_set.h"

#include <stdlib.h>
#include <string.h>

enum {
	ROOM_FIRST = 16,
};

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_prefix));
}
_Static_assert(sizeof(struct ip_prefix) == 18, "no holes to compare");

void prefix_set_add(struct prefix_set *set, const struct ip_prefix *prefix)
{
	if (set->count == set->room) {
		size_t room = set->room ? 2 * set->room : ROOM_FIRST;
		struct ip_prefix *grown = realloc(set->items, room * sizeof(*grown));
		if (!grown) {
			set->failed = true;
			return;
		}
		set->items = grown;
		set->room = room;
	}
	set->items[set->count] = *prefix;
	ip_prefix_mask(&set->items[set->count++]);
}

void prefix_set_sort(struct prefix_set *set)
{
	if (set->count > 0)
		qsort(set->items, set->count, sizeof(*set->items), compare);
}

size_t prefix_set_find(const struct prefix_set *set, const struct ip_prefix *prefix)
{
	struct ip_prefix key = *prefix;

	ip_prefix_mask(&key);
	const struct ip_prefix *found =
		set->count > 0 ? bsearch(&key, set->items, set->count, sizeof(*set->items), compare)
			       : NULL;
	return found ? (size_t)(found - set->items) : set->count;
}

bool prefix_set_has(const struct prefix_set *set, const struct ip_prefix *prefix)
{
	return prefix_set_find(set, prefix) < set->count;
}

void prefix_set_fini(struct prefix_set *set)
{
	free(set->items);
	*set = (struct prefix_set){0};
}
