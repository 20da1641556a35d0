/*
 * The network of the world, and its events. There is a heap of datagrams under way and nothing else: what happens next is an
 * arrival or a deadline of a side. A replay window stands before each side as in the session: a copy is dropped there, but now
 * and then let through, which must change nothing. A datagram of a newer instance restarts its receiver before it is read; one
 * of an older instance is under a dead key and never gets here.
 */
#include "tests/sim/path_model_net.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SPINS = 64,	      /* wakes of a side at one instant */
	EVENTS_MAX = 2000000, /* of a run */
	REMEMBERED = 200, /* numbers below the largest that every receiver remembers one by one */
};

/* What became of a number before the window. */
enum {
	UNSEEN,
	TAKEN,
	REBUILT,
	DROPPED,
};

/* ---- datagrams under way -------------------------------------------------------------------------------------------- */

static bool earlier(const struct path_world *world, int a, int b)
{
	const struct flying *x = &world->slots[a];
	const struct flying *y = &world->slots[b];

	return x->at_us != y->at_us ? x->at_us < y->at_us : x->order < y->order;
}

static int take_slot(struct path_world *world)
{
	if (world->unused_count == 0) {
		int count = world->slot_count * 2 + 64;
		world->slots = realloc(world->slots, (size_t)count * sizeof(*world->slots));
		world->heap = realloc(world->heap, (size_t)count * sizeof(int));
		world->unused = realloc(world->unused, (size_t)count * sizeof(int));
		if (!world->slots || !world->heap || !world->unused)
			abort();
		while (world->slot_count < count)
			world->unused[world->unused_count++] = world->slot_count++;
	}
	return world->unused[--world->unused_count];
}

static void push(struct path_world *world, int slot)
{
	int at = world->heap_count++;

	while (at > 0 && earlier(world, slot, world->heap[(at - 1) / 2])) {
		world->heap[at] = world->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	world->heap[at] = slot;
}

static int pop(struct path_world *world)
{
	int top = world->heap[0];
	int last = world->heap[--world->heap_count];
	int at = 0;

	for (;;) {
		int child = 2 * at + 1;
		if (child >= world->heap_count)
			break;
		if (child + 1 < world->heap_count &&
			earlier(world, world->heap[child + 1], world->heap[child]))
			child++;
		if (!earlier(world, world->heap[child], last))
			break;
		world->heap[at] = world->heap[child];
		at = child;
	}
	world->heap[at] = last;
	return top;
}

static void fly(struct path_world *world, unsigned from, uint64_t pn, const uint8_t *bytes,
	size_t len, bool rebuilt, int64_t after_us)
{
	struct pipe *pipe = &world->pipes[from];
	int slot = take_slot(world);
	struct flying *f = &world->slots[slot];

	f->at_us = world->now.us + after_us;
	if (pipe->jitter_us > 0 && world_chance(world, 0.3))
		f->at_us += (int64_t)world_below(world, (uint64_t)pipe->jitter_us);
	f->order = world->order++;
	f->to = 1 - from;
	f->epoch = world->ends[from].epoch;
	f->pn = pn;
	f->len = len;
	f->ce = !rebuilt && pipe->ce > 0 && world_chance(world, pipe->ce);
	f->rebuilt = rebuilt;
	if (len > 0)
		memcpy(f->bytes, bytes, len);
	push(world, slot);
}

void world_carry(void *ctx, unsigned side, uint64_t pn, const uint8_t *bytes, size_t len, int flags)
{
	struct path_world *world = ctx;
	struct pipe *pipe = &world->pipes[side];

	if (flags > 0 && (flags & (KCP_PATH_OUT_RT | KCP_PATH_OUT_BULK)) && pipe->rebuild > 0 &&
		world_chance(world, pipe->rebuild))
		fly(world, side, pn, bytes, len, true,
			pipe->delay_us + (int64_t)world_below(world, 60000));
	if (pipe->burst > 0 && world_chance(world, pipe->burst))
		pipe->down_until_us =
			world->now.us + (int64_t)world_below(world, (uint64_t)pipe->burst_us);
	if (world->now.us < pipe->down_until_us ||
		(pipe->loss > 0 && world_chance(world, pipe->loss))) {
		if (world->trace)
			fprintf(stderr, "%10.3f   pn %" PRIu64 " of %c is lost\n",
				(double)world->now.us / 1000, pn, 'A' + (int)side);
		return;
	}
	fly(world, side, pn, bytes, len, false, pipe->delay_us);
	if (pipe->duplicate > 0 && world_chance(world, pipe->duplicate))
		fly(world, side, pn, bytes, len, false,
			pipe->delay_us + (int64_t)world_below(world, 100000));
}

/* ---- a side's events ------------------------------------------------------------------------------------------------ */

void world_restart(struct path_world *world, unsigned side, uint32_t epoch)
{
	struct replay *replay = &world->replays[side];

	memset(replay->seen, UNSEEN, replay->size);
	replay->largest = 0;
	end_restart(&world->ends[side], epoch, world->now);
}

static void grow_replay(struct replay *replay, uint64_t pn)
{
	size_t size = pn * 2 + 256;

	if (pn < replay->size)
		return;
	replay->seen = realloc(replay->seen, size);
	if (!replay->seen)
		abort();
	memset(replay->seen + replay->size, UNSEEN, size - replay->size);
	replay->size = size;
}

/* Whether a side is to get a datagram now. */
static bool comes_through(struct path_world *world, const struct flying *f)
{
	struct replay *replay = &world->replays[f->to];
	bool old = f->pn + REMEMBERED < replay->largest;

	grow_replay(replay, f->pn);
	/* A decoder rebuilds what is not too old, older than what came, and did not come itself. */
	if (f->rebuilt)
		return !old && f->pn < replay->largest && replay->seen[f->pn] != DROPPED;
	switch (replay->seen[f->pn]) {
	case UNSEEN:
		return true;
	case TAKEN:
		return !old && world_chance(world, 0.2);
	case REBUILT:
		return !old;
	default:
		return false;
	}
}

static void arrive(struct path_world *world, struct flying *f)
{
	struct model_end *end = &world->ends[f->to];
	struct replay *replay = &world->replays[f->to];

	if (f->epoch < end->epoch)
		return;
	if (f->epoch > end->epoch)
		world_restart(world, f->to, f->epoch);
	if (!comes_through(world, f))
		return;
	bool again = replay->seen[f->pn] == TAKEN;
	enum kcp_path_verdict verdict =
		end_input(end, f->pn, f->bytes, f->len, f->ce && !again, f->rebuilt, world->now);
	if (f->rebuilt && verdict == KCP_PATH_OK)
		replay->seen[f->pn] = REBUILT;
	if (f->rebuilt || again)
		return;
	bool taken = verdict == KCP_PATH_OK || verdict == KCP_PATH_ALREADY;
	replay->seen[f->pn] = taken ? TAKEN : DROPPED;
	if (taken && f->pn > replay->largest)
		replay->largest = f->pn;
}

static void arrivals(struct path_world *world)
{
	bool got[2] = {false, false};

	while (world->heap_count > 0 && world->slots[world->heap[0]].at_us <= world->now.us &&
		!watch_failure(world->watch)) {
		int slot = pop(world);
		got[world->slots[slot].to] = true;
		/* Its bytes move if the array grows while an answer is sent: nothing is sent by input. */
		arrive(world, &world->slots[slot]);
		world->unused[world->unused_count++] = slot;
		if (world_chance(world, 0.5))
			continue; /* a batch */
		end_input_done(&world->ends[world->slots[slot].to], world->now);
	}
	for (unsigned s = 0; s < 2; s++)
		if (got[s]) {
			end_input_done(&world->ends[s], world->now);
			end_turn(&world->ends[s], world->now);
		}
}

static int64_t wake_at(struct path_world *world, unsigned side)
{
	struct mono at = end_next_deadline(&world->ends[side]);

	if (mono_is_never(at))
		return INT64_MAX;
	return (at.us > world->now.us ? at.us : world->now.us) + world->late_us;
}

static void wakes(struct path_world *world, const int64_t wake[2])
{
	for (unsigned s = 0; s < 2; s++) {
		struct model_end *end = &world->ends[s];
		if (wake[s] > world->now.us)
			continue;
		int spins = 0;
		if (world->trace)
			fprintf(stderr, "%10.3f   %c wakes, SRTT %.1f ms\n",
				(double)world->now.us / 1000, 'A' + (int)s,
				(double)end_srtt_us(end) / 1000);
		do {
			end_on_deadline(end, world->now);
			end_turn(end, world->now);
			if (++spins > SPINS)
				watch_fail(world->watch, "side %c spins", 'A' + (int)s);
		} while (
			end_next_deadline(end).us <= world->now.us && !watch_failure(world->watch));
	}
}

/* Goes on until `until`. @return false if both sides are silent before that */
bool world_run_until(struct path_world *world, int64_t until)
{
	for (int events = 0; !watch_failure(world->watch); events++) {
		int64_t wake[2] = {wake_at(world, 0), wake_at(world, 1)};
		int64_t next = wake[0] < wake[1] ? wake[0] : wake[1];
		bool silent = next == INT64_MAX && world->heap_count == 0;
		if (world->heap_count > 0 && world->slots[world->heap[0]].at_us < next)
			next = world->slots[world->heap[0]].at_us;
		if (next > until || silent) {
			if (!world->calm || !silent)
				world->now.us = until;
			return !silent;
		}
		if (next > world->now.us)
			world->now.us = next;
		arrivals(world);
		wakes(world, wake);
		if (events > EVENTS_MAX)
			watch_fail(world->watch, "no end of events");
	}
	return false;
}

void world_clear_net(struct path_world *world)
{
	while (world->heap_count > 0)
		world->unused[world->unused_count++] = pop(world);
	for (unsigned s = 0; s < 2; s++) {
		memset(world->replays[s].seen, UNSEEN, world->replays[s].size);
		world->replays[s].largest = 0;
	}
}
