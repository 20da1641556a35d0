/* Address blocks that are collected, then asked for: one sorted array. */
#ifndef VPND_PREFIX_SET_H
#define VPND_PREFIX_SET_H

#include "core/ip_prefix.h"

#include <stdbool.h>
#include <stddef.h>

/** All zeroes = empty. */
struct prefix_set {
	struct ip_prefix *items;
	size_t count;
	size_t room;
	bool failed; /* there was no memory: something is missing */
};

/** Bits behind the length are ignored; twice is harmless. */
void prefix_set_add(struct prefix_set *set, const struct ip_prefix *prefix);

/** Between the last prefix_set_add() and the first prefix_set_has(). */
void prefix_set_sort(struct prefix_set *set);

bool prefix_set_has(const struct prefix_set *set, const struct ip_prefix *prefix);

/** @return its place among the items, `count` if it is not there */
size_t prefix_set_find(const struct prefix_set *set, const struct ip_prefix *prefix);

/** Frees what it holds. */
void prefix_set_fini(struct prefix_set *set);

#endif
