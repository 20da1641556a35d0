/*
 * A timer stands in the lowest level whose current block holds its millisecond: level 0 covers the
 * 256 ms block of `tick`, level 1 the block of 256 such blocks, level 2 the next. So all timers of
 * a level are earlier than all of the level above, and a slot is spread over the level below when
 * `tick` enters its block.
 */
#include "core/wheel.h"

#include <string.h>

enum {
	LEVEL_BITS = 8,
	SLOT_MASK = WHEEL_SLOTS - 1,
};

static void slot_init(struct wheel_slot *slot)
{
	list_init(&slot->timers);
	slot->earliest = MONO_NEVER;
}

void wheel_init(struct wheel *wheel, struct mono now)
{
	memset(wheel->used, 0, sizeof(wheel->used));
	for (size_t level = 0; level < WHEEL_LEVELS; level++) {
		for (size_t i = 0; i < WHEEL_SLOTS; i++)
			slot_init(&wheel->slots[level][i]);
	}
	slot_init(&wheel->beyond);
	wheel->tick = now.us / 1000;
	wheel->count = 0;
}

void wheel_timer_init(struct wheel_timer *timer)
{
	list_init(&timer->node);
	timer->at = MONO_NEVER;
	timer->slot = NULL;
}

static void mark(struct wheel *wheel, size_t level, size_t index, bool used)
{
	uint64_t bit = (uint64_t)1 << (index % 64);
	if (used)
		wheel->used[level][index / 64] |= bit;
	else
		wheel->used[level][index / 64] &= ~bit;
}

/* The first used slot of a level from `index` on, or WHEEL_SLOTS. */
static size_t first_used(const struct wheel *wheel, size_t level, size_t index)
{
	while (index < WHEEL_SLOTS) {
		uint64_t word = wheel->used[level][index / 64] >> (index % 64);
		if (word)
			return index + (size_t)__builtin_ctzll(word);
		index = (index / 64 + 1) * 64;
	}
	return WHEEL_SLOTS;
}

static void place(struct wheel *wheel, struct wheel_timer *timer)
{
	int64_t tick = timer->at.us / 1000;
	struct wheel_slot *slot = &wheel->beyond;

	if (tick < wheel->tick)
		tick = wheel->tick;
	for (size_t level = 0; level < WHEEL_LEVELS; level++) {
		unsigned shift = LEVEL_BITS * ((unsigned)level + 1);
		if (tick >> shift == wheel->tick >> shift) {
			size_t index = (size_t)(tick >> (shift - LEVEL_BITS)) & SLOT_MASK;
			slot = &wheel->slots[level][index];
			mark(wheel, level, index, true);
			break;
		}
	}
	list_add_tail(&slot->timers, &timer->node);
	slot->earliest = mono_min(slot->earliest, timer->at);
	timer->slot = slot;
}

static void unplace(struct wheel *wheel, struct wheel_timer *timer)
{
	struct wheel_slot *slot = timer->slot;

	list_remove(&timer->node);
	timer->slot = NULL;
	if (!list_empty(&slot->timers))
		return;
	slot->earliest = MONO_NEVER;
	if (slot != &wheel->beyond) {
		size_t number = (size_t)(slot - &wheel->slots[0][0]);
		mark(wheel, number / WHEEL_SLOTS, number % WHEEL_SLOTS, false);
	}
}

void wheel_disarm(struct wheel *wheel, struct wheel_timer *timer)
{
	if (!timer->slot)
		return;
	unplace(wheel, timer);
	timer->at = MONO_NEVER;
	wheel->count--;
}

void wheel_arm(struct wheel *wheel, struct wheel_timer *timer, struct mono at)
{
	if (timer->slot && timer->at.us == at.us)
		return;
	wheel_disarm(wheel, timer);
	if (mono_is_never(at))
		return;
	timer->at = at;
	place(wheel, timer);
	wheel->count++;
}

/* Takes all timers out of a slot and places them anew, now that `tick` has come into its block. */
static void cascade(struct wheel *wheel, struct wheel_slot *slot)
{
	struct list moved;

	list_init(&moved);
	while (!list_empty(&slot->timers)) {
		struct wheel_timer *timer = list_entry(slot->timers.next, struct wheel_timer, node);
		unplace(wheel, timer);
		list_add_tail(&moved, &timer->node);
	}
	struct list *node;
	while ((node = list_pop(&moved)) != NULL)
		place(wheel, list_entry(node, struct wheel_timer, node));
}

/* Enters the block that begins at `wheel->tick`: the upper levels first, so that what they hold can
 * sink through. */
static void enter_block(struct wheel *wheel)
{
	int64_t tick = wheel->tick;

	if ((tick & 0xffffff) == 0)
		cascade(wheel, &wheel->beyond);
	if ((tick & 0xffff) == 0)
		cascade(wheel, &wheel->slots[2][(size_t)(tick >> 16) & SLOT_MASK]);
	cascade(wheel, &wheel->slots[1][(size_t)(tick >> 8) & SLOT_MASK]);
}

struct wheel_timer *wheel_pop_due(struct wheel *wheel, struct mono now)
{
	int64_t now_tick = now.us / 1000;

	if (wheel->count == 0) {
		if (now_tick > wheel->tick)
			wheel->tick = now_tick;
		return NULL;
	}
	for (;;) {
		struct wheel_slot *slot = &wheel->slots[0][(size_t)wheel->tick & SLOT_MASK];
		struct mono earliest = MONO_NEVER;
		list_for_each (node, &slot->timers) {
			struct wheel_timer *timer = list_entry(node, struct wheel_timer, node);
			if (mono_due(timer->at, now)) {
				wheel_disarm(wheel, timer);
				return timer;
			}
			earliest = mono_min(earliest, timer->at);
		}
		slot->earliest =
			earliest; /* or who asks for the next deadline would spin until then */
		if (wheel->tick >= now_tick)
			return NULL;
		size_t index = first_used(wheel, 0, ((size_t)wheel->tick & SLOT_MASK) + 1);
		int64_t next = (wheel->tick & ~(int64_t)SLOT_MASK) + (int64_t)index;
		if (next > now_tick) {
			wheel->tick = now_tick;
			continue;
		}
		wheel->tick = next;
		if ((next & SLOT_MASK) == 0)
			enter_block(wheel);
	}
}

struct mono wheel_next(const struct wheel *wheel)
{
	if (wheel->count == 0)
		return MONO_NEVER;
	for (size_t level = 0; level < WHEEL_LEVELS; level++) {
		size_t from = (size_t)(wheel->tick >> (LEVEL_BITS * level)) & SLOT_MASK;
		size_t index = first_used(wheel, level, from);
		if (index < WHEEL_SLOTS)
			return wheel->slots[level][index].earliest;
	}
	return wheel->beyond.earliest;
}
