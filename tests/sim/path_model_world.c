/*
 * The world has a heap of datagrams under way and a list of nothing else: what happens next is an arrival, a deadline of a side
 * or the next whim of chance. A replay window stands before each side as in the session: a copy is dropped there, but now and
 * then let through, which must change nothing. A datagram of a newer instance restarts its receiver before it is read; one of
 * an older instance is under a dead key and never gets here.
 */
#include "tests/sim/path_model_world.h"

#include "tests/sim/path_model_end.h"
#include "tests/sim/path_model_wire.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FLOWS = 6,
	SPINS = 64,	      /* wakes of a side at one instant */
	EVENTS_MAX = 2000000, /* of a run */
	CALM_US = 15000000,   /* after the faults both sides are silent by then */
	BEGIN_US = 7777777,
	REMEMBERED = 200, /* numbers below the largest that every receiver remembers one by one */
};

struct flying {
	int64_t at_us;
	uint64_t order;
	unsigned to;
	uint32_t epoch;
	uint64_t pn;
	size_t len;
	bool ce;
	bool rebuilt;
	uint8_t bytes[END_ROOM_BYTES];
};

/* One direction of the network. */
struct pipe {
	double loss;
	double duplicate;
	double rebuild; /* by an FEC decoder that is not there */
	double ce;
	int64_t delay_us;
	int64_t jitter_us;
	double burst; /* begins with this chance at a datagram */
	int64_t burst_us;
	int64_t down_until_us;
};

enum {
	UNSEEN,
	TAKEN,
	REBUILT,
	DROPPED,
};

struct replay {
	uint8_t *seen;
	size_t size;
	uint64_t largest;
};

struct path_world {
	struct path_watch *watch;
	struct pool pool;
	struct model_end ends[2];
	struct pipe pipes[2]; /* from that side */
	struct replay replays[2];
	struct mono now;
	uint64_t random;
	bool trace;
	bool calm;
	int64_t late_us; /* timers fire so much later */
	uint32_t message_max;
	uint32_t flows[FLOWS];
	unsigned one_byte[2];
	/* datagrams under way: slots, the free ones, and a heap of the others */
	struct flying *slots;
	int *heap;
	int *unused;
	int slot_count;
	int heap_count;
	int unused_count;
	uint64_t order;
	int64_t longest_calm_us;
};

static uint64_t below(struct path_world *world, uint64_t n)
{
	return model_random_below(&world->random, n);
}

static bool chance(struct path_world *world, double p)
{
	return model_chance(&world->random, p);
}

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
	if (pipe->jitter_us > 0 && chance(world, 0.3))
		f->at_us += (int64_t)below(world, (uint64_t)pipe->jitter_us);
	f->order = world->order++;
	f->to = 1 - from;
	f->epoch = world->ends[from].epoch;
	f->pn = pn;
	f->len = len;
	f->ce = !rebuilt && pipe->ce > 0 && chance(world, pipe->ce);
	f->rebuilt = rebuilt;
	if (len > 0)
		memcpy(f->bytes, bytes, len);
	push(world, slot);
}

static void carry(
	void *ctx, unsigned side, uint64_t pn, const uint8_t *bytes, size_t len, int flags)
{
	struct path_world *world = ctx;
	struct pipe *pipe = &world->pipes[side];

	if (flags > 0 && (flags & (KCP_PATH_OUT_RT | KCP_PATH_OUT_BULK)) && pipe->rebuild > 0 &&
		chance(world, pipe->rebuild))
		fly(world, side, pn, bytes, len, true,
			pipe->delay_us + (int64_t)below(world, 60000));
	if (pipe->burst > 0 && chance(world, pipe->burst))
		pipe->down_until_us =
			world->now.us + (int64_t)below(world, (uint64_t)pipe->burst_us);
	if (world->now.us < pipe->down_until_us || (pipe->loss > 0 && chance(world, pipe->loss))) {
		if (world->trace)
			fprintf(stderr, "%10.3f   pn %" PRIu64 " of %c is lost\n",
				(double)world->now.us / 1000, pn, 'A' + (int)side);
		return;
	}
	fly(world, side, pn, bytes, len, false, pipe->delay_us);
	if (pipe->duplicate > 0 && chance(world, pipe->duplicate))
		fly(world, side, pn, bytes, len, false,
			pipe->delay_us + (int64_t)below(world, 100000));
}

/* ---- a side's events ------------------------------------------------------------------------------------------------ */

static void restart(struct path_world *world, unsigned side, uint32_t epoch)
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
		return !old && chance(world, 0.2);
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
		restart(world, f->to, f->epoch);
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
		if (chance(world, 0.5))
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
static bool run_until(struct path_world *world, int64_t until)
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

/* ---- chance --------------------------------------------------------------------------------------------------------- */

static void pick_pipe(struct path_world *world, struct pipe *pipe)
{
	static const double losses[] = {0, 0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5};
	static const int64_t delays[] = {0, 500, 5000, 20000, 60000, 150000, 300000};

	*pipe = (struct pipe){
		.loss = losses[below(world, 8)],
		.delay_us = delays[below(world, 7)],
	};
	if (chance(world, 0.4))
		pipe->jitter_us = (int64_t)below(world, 2) ? 3000 : 100000;
	if (chance(world, 0.3))
		pipe->duplicate = 0.1;
	if (chance(world, 0.2))
		pipe->rebuild = 0.5;
	if (chance(world, 0.2))
		pipe->ce = 0.2;
	if (chance(world, 0.2)) {
		pipe->burst = 0.02;
		pipe->burst_us = (int64_t)(10000 << below(world, 6));
	}
}

static uint32_t pick_piece(struct path_world *world)
{
	static const uint32_t pieces[] = {64, 64, 100, 200, 333, 512, 513, 1160, 1380};

	return pieces[below(world, 9)];
}

static uint32_t pick_payload(struct path_world *world, uint32_t piece)
{
	uint32_t payload = piece + MODEL_SEG_BYTES + (uint32_t)below(world, 64);

	return payload < 512 ? 512 + (uint32_t)below(world, 100) : payload;
}

static uint32_t pick_len(struct path_world *world, unsigned side)
{
	uint64_t kind = below(world, 10);
	uint64_t most = kind < 4 ? 100 : kind < 8 ? 1500 : world->message_max;

	if (most > world->message_max)
		most = world->message_max;
	uint32_t len = 1 + (uint32_t)below(world, most);
	if (len == 1 && ++world->one_byte[side] > 100)
		len = 2;
	return len;
}

static void write_burst(struct path_world *world)
{
	unsigned side = (unsigned)below(world, 2);
	unsigned kind = (unsigned)below(world, 6); /* beyond the classes: a mix */
	uint64_t count = 1 + below(world, chance(world, 0.2) ? 40 : 6);

	for (uint64_t i = 0; i < count; i++)
		end_write(&world->ends[side],
			kind < KCP_PATH_CLASSES ? (enum kcp_path_class)kind
						: (enum kcp_path_class)below(world, 4),
			world->flows[below(world, FLOWS)], pick_len(world, side));
	end_turn(&world->ends[side], world->now);
}

/* So many pieces at once that the grant is used up. */
static void write_flood(struct path_world *world)
{
	unsigned side = (unsigned)below(world, 2);
	struct model_end *end = &world->ends[side];
	uint32_t most = end->config.piece_bytes * 128;

	if (most > world->message_max)
		most = world->message_max;
	for (uint32_t pieces = 0; pieces < 700;) {
		uint32_t len = most / 2 + (uint32_t)below(world, most / 2) + 1;
		end_write(end, KCP_PATH_BULK, world->flows[below(world, FLOWS)], len);
		pieces += len / end->config.piece_bytes + 1;
	}
	end_turn(end, world->now);
}

static void change_mtu(struct path_world *world)
{
	struct model_end *end = &world->ends[below(world, 2)];
	uint32_t piece = pick_piece(world);

	end_set_mtu(end, pick_payload(world, piece), piece, chance(world, 0.5));
	end_turn(end, world->now);
}

static void send_own(struct path_world *world)
{
	struct model_end *end = &world->ends[below(world, 2)];

	switch (below(world, 4)) {
	case 0:
		end_send_own(end, KCP_PATH_EXTRA_QUIET, 0, below(world, 3) * 20, world->now);
		return;
	case 1:
		end_send_own(end, KCP_PATH_EXTRA_ASKS, (uint8_t)(chance(world, 0.1) ? 255 : 7),
			9 + below(world, 100), world->now);
		return;
	case 2:
		end_send_own(
			end, KCP_PATH_EXTRA_MTU_PROBE, 9, 1000 + below(world, 900), world->now);
		return;
	default:
		end_control(end, (uint8_t)(chance(world, 0.05) ? 255 : 1), 1 + below(world, 64));
		if (chance(world, 0.3))
			end_wask(end);
		end_turn(end, world->now);
		return;
	}
}

static void change_instance(struct path_world *world)
{
	unsigned side = (unsigned)below(world, 2);
	uint32_t newest = world->ends[0].epoch > world->ends[1].epoch ? world->ends[0].epoch
								      : world->ends[1].epoch;

	/* The account reaches back only so far. */
	if (newest > world->ends[0].epoch + 1 || newest > world->ends[1].epoch + 1)
		return;
	restart(world, side, newest + 1);
	if (chance(world, 0.5))
		restart(world, 1 - side, newest + 1);
	end_turn(&world->ends[side], world->now);
}

static void one_whim(struct path_world *world)
{
	struct model_end *end = &world->ends[below(world, 2)];
	uint64_t whim = below(world, 100);

	if (world->trace)
		fprintf(stderr, "%10.3f   whim %" PRIu64 " upon %c\n", (double)world->now.us / 1000,
			whim, 'A' + (int)end->side);
	if (whim < 60) {
		write_burst(world);
	} else if (whim < 68) {
		pick_pipe(world, &world->pipes[below(world, 2)]);
	} else if (whim < 71) {
		world->pipes[below(world, 2)].down_until_us =
			world->now.us + (int64_t)below(world, 3000000);
	} else if (whim < 76) {
		end->reading = !end->reading;
		end_turn(end, world->now);
	} else if (whim < 79) {
		end->refusing = !end->refusing;
		end_turn(end, world->now);
	} else if (whim < 82) {
		change_mtu(world);
	} else if (whim < 90) {
		send_own(world);
	} else if (whim < 92) {
		change_instance(world);
	} else if (whim < 94) {
		end_trim(end, world->now);
	} else if (whim < 95) {
		write_flood(world);
	} else if (whim < 96) {
		end_reset_route(end, world->now);
	} else if (whim < 97) {
		end_set_bulk_deadline(end, (int64_t)below(world, 4) * 400000);
	} else if (whim < 98) {
		end_hint_rtt(end, 1000 + (int64_t)below(world, 500000));
	} else {
		/* A long silence, in which lanes come of age. */
		run_until(world, world->now.us + 29500000 + (int64_t)below(world, 33000000));
		end_trim(&world->ends[0], world->now);
		end_trim(&world->ends[1], world->now);
	}
}

/* ---- a run ---------------------------------------------------------------------------------------------------------- */

static void open_ends(struct path_world *world, const enum model_kind kinds[2])
{
	static const uint32_t maxima[] = {300, 1503, 1503, 4003, 9003, 65538};
	static const uint32_t credits[] = {262144, 262144, 300000, 1 << 20, 16 << 20};
	struct end_config configs[2];
	struct watch_side_config watched[2];

	world->message_max = maxima[below(world, 6)];
	for (unsigned s = 0; s < 2; s++) {
		uint32_t piece = pick_piece(world);
		configs[s] = (struct end_config){.piece_bytes = piece,
			.payload_bytes = pick_payload(world, piece),
			.message_max_bytes = world->message_max,
			.rx_credit_bytes = credits[below(world, 5)],
			.rx_slots_max = chance(world, 0.3) ? 1024 : 0,
			.tx_slots_max = chance(world, 0.2) ? 256 : 0,
			.bulk_deadline_us =
				chance(world, 0.2) ? 400000 + (int64_t)below(world, 8000000) : 0,
			.window = chance(world, 0.5) ? 300 : 20,
			.seed = model_random(&world->random)};
		if (kinds[s] == MODEL_PEER && chance(world, 0.3))
			configs[s].origin = UINT32_MAX - (uint32_t)below(world, 100);
	}
	for (unsigned s = 0; s < 2; s++) {
		configs[s].peer_credit_bytes = configs[1 - s].rx_credit_bytes;
		watched[s] = (struct watch_side_config){.payload_bytes = configs[s].payload_bytes,
			.piece_bytes = configs[s].piece_bytes,
			.rx_credit_bytes = configs[s].rx_credit_bytes,
			.bulk_deadline_us = configs[s].bulk_deadline_us,
			.origin = configs[s].origin};
	}
	watch_begin(world->watch, watched, world->trace);
	for (unsigned s = 0; s < 2; s++)
		end_open(&world->ends[s], s, kinds[s], &configs[s], &world->pool, world->watch,
			carry, world);
}

static void be_calm(struct path_world *world)
{
	uint32_t newest = world->ends[0].epoch > world->ends[1].epoch ? world->ends[0].epoch
								      : world->ends[1].epoch;

	for (unsigned s = 0; s < 2; s++) {
		struct model_end *end = &world->ends[s];
		world->pipes[s] = (struct pipe){.delay_us = (int64_t)below(world, 40000)};
		end->reading = true;
		end->refusing = false;
		if (end->epoch != newest)
			restart(world, s, newest);
		end_set_mtu(end, end->config.payload_bytes, end->config.piece_bytes, true);
	}
	world->calm = true;
	for (unsigned s = 0; s < 2; s++)
		end_turn(&world->ends[s], world->now);
}

/* Goes on until both sides are silent, and judges them. */
static void fall_silent(struct path_world *world)
{
	static const bool fates[2][2] = {{true, false}, {true, false}};
	bool tells[2] = {fates[0][world->ends[0].kind], fates[1][world->ends[1].kind]};
	int64_t began = world->now.us;

	while (run_until(world, began + CALM_US) && world->now.us < began + CALM_US)
		;
	if (watch_failure(world->watch))
		return;
	if (world->now.us >= began + CALM_US)
		watch_fail(world->watch,
			"both sides are not silent %d s after the last fault; deadlines in %" PRId64
			" and %" PRId64 " us",
			CALM_US / 1000000, end_next_deadline(&world->ends[0]).us - world->now.us,
			end_next_deadline(&world->ends[1]).us - world->now.us);
	for (unsigned s = 0; s < 2; s++) {
		if (end_waits(&world->ends[s]))
			watch_fail(world->watch, "side %c is silent and %u messages wait",
				'A' + (int)s,
				world->ends[s].waiting[0].count + world->ends[s].waiting[1].count);
		end_judge_silence(&world->ends[s]);
	}
	watch_quiet(world->watch, tells);
	if (world->now.us - began > world->longest_calm_us)
		world->longest_calm_us = world->now.us - began;
}

/* Some messages that must all arrive. */
static void write_calmly(struct path_world *world)
{
	for (unsigned s = 0; s < 2; s++) {
		for (unsigned i = 0; i < FLOWS; i++) {
			uint32_t len = 2 + (uint32_t)below(world, 200);
			if (len > world->message_max)
				len = world->message_max;
			end_write(&world->ends[s], KCP_PATH_BULK, world->flows[i], len);
			end_write(&world->ends[s], (enum kcp_path_class)below(world, 4),
				world->flows[i], len);
		}
		end_turn(&world->ends[s], world->now);
	}
	fall_silent(world);
}

static void judge_freed(struct path_world *world)
{
	for (unsigned s = 0; s < 2; s++) {
		struct kcp_path *path = world->ends[s].path;
		end_trim(&world->ends[s], world->now);
		if (path && (kcp_path_tx_lanes(path) > 0 || kcp_path_rx_lanes(path) > 0))
			watch_fail(world->watch, "side %c keeps %u and %u lanes after 95 s",
				'A' + (int)s, kcp_path_tx_lanes(path), kcp_path_rx_lanes(path));
	}
}

const char *path_world_run(
	struct path_world *world, enum model_kind a, enum model_kind b, uint64_t seed, bool trace)
{
	const enum model_kind kinds[2] = {a, b};

	world->random = seed;
	world->trace = trace;
	world->calm = false;
	world->now = mono_at_us(BEGIN_US);
	world->late_us = chance(world, 0.5) ? 0 : (int64_t)below(world, 1000);
	world->one_byte[0] = world->one_byte[1] = 0;
	while (world->heap_count > 0)
		world->unused[world->unused_count++] = pop(world);
	for (int i = 0; i < FLOWS; i++)
		world->flows[i] = i < 2 ? (uint32_t)i * 4095 : (uint32_t)below(world, 4096);
	for (unsigned s = 0; s < 2; s++) {
		memset(world->replays[s].seen, UNSEEN, world->replays[s].size);
		world->replays[s].largest = 0;
		pick_pipe(world, &world->pipes[s]);
	}
	open_ends(world, kinds);
	uint64_t whims = 3 + below(world, chance(world, 0.1) ? 60 : 16);
	int64_t pause = (int64_t)(1000 << below(world, 9));
	for (uint64_t i = 0; i < whims && !watch_failure(world->watch); i++) {
		one_whim(world);
		run_until(world, world->now.us + (int64_t)below(world, (uint64_t)pause));
	}
	if (!watch_failure(world->watch)) {
		be_calm(world);
		fall_silent(world);
	}
	if (!watch_failure(world->watch)) {
		watch_calm(world->watch);
		write_calmly(world);
	}
	if (!watch_failure(world->watch) && chance(world, 0.3)) {
		static const int64_t idle_us[] = {29000000, 31000000, 61000000, 95000000};
		int64_t idle = idle_us[below(world, 4)];
		world->now = mono_add_us(world->now, idle);
		if (idle > 90000000)
			judge_freed(world);
		else if (chance(world, 0.5))
			end_trim(&world->ends[below(world, 2)], world->now);
		write_calmly(world);
	}
	if (trace && watch_failure(world->watch))
		watch_dump(world->watch);
	for (unsigned s = 0; s < 2; s++)
		end_close(&world->ends[s]);
	if (world->pool.slots_used > 0)
		watch_fail(world->watch, "%zu slots were not given back", world->pool.slots_used);
	return watch_failure(world->watch);
}

struct path_world *path_world_new(void)
{
	struct path_world *world = calloc(1, sizeof(*world));

	if (!world)
		abort();
	world->watch = watch_new();
	pool_init(&world->pool, END_SLOT_BYTES, 1 << 17);
	for (unsigned s = 0; s < 2; s++) {
		world->replays[s].size = 1024;
		world->replays[s].seen = calloc(1, world->replays[s].size);
		if (!world->replays[s].seen)
			abort();
	}
	return world;
}

void path_world_free(struct path_world *world)
{
	if (!world)
		return;
	pool_fini(&world->pool);
	watch_free(world->watch);
	for (unsigned s = 0; s < 2; s++)
		free(world->replays[s].seen);
	free(world->slots);
	free(world->heap);
	free(world->unused);
	free(world);
}

const struct watch_totals *path_world_totals(const struct path_world *world)
{
	return watch_totals(world->watch);
}

int64_t path_world_longest_calm_us(const struct path_world *world)
{
	return world->longest_calm_us;
}
