/*
 * Decoder against twin: a real encoder's datagrams with losses, doubles and swaps of a seed. After each datagram the two must
 * know the same sources, and what the decoder gives must be what was sent.
 */
#include "core/endian.h"
#include "core/pool.h"
#include "fec/rlc_decoder.h"
#include "fec/rlc_encoder.h"
#include "rlc_twin.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { SEGMENTS = 400, SOURCES = 160, DATAGRAMS = 3 * SOURCES, TRIALS = 400 };

static uint32_t state;

static uint32_t dice(uint32_t sides)
{
	state = state * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)state * sides) >> 32);
}

struct datagram {
	bool repair;
	uint64_t pn;
	uint32_t cidx;
	size_t source; /* number of the source, or of the first that is covered */
	size_t len;
	uint8_t bytes[RLC_REPAIR_BYTES(SEGMENTS)];
};

static struct datagram datagrams[DATAGRAMS], *order[2 * DATAGRAMS];
static struct datagram *sources[SOURCES];
static struct rlc_twin twin;

/* One trial's settings. */
struct plan {
	unsigned window;
	unsigned window_max; /* of the decoder */
	unsigned loss_percent, burst, swap_percent, double_percent;
	unsigned repairs_percent; /* for each source */
	uint32_t offset;
};

static struct plan plan_of(uint32_t seed)
{
	struct plan plan;

	state = seed * 2654435761u + 12345;
	plan.window = 1 + dice(24);
	plan.window_max = plan.window + dice(8);
	plan.loss_percent = dice(45);
	plan.burst = 1 + dice(4);
	plan.swap_percent = dice(3) ? 0 : dice(40);
	plan.double_percent = dice(3) ? 0 : dice(20);
	plan.repairs_percent = 10 + dice(110);
	plan.offset = dice(2) ? RLC_CIDX_MASK - dice(2 * SOURCES) : dice(RLC_CIDX_MASK);
	return plan;
}

static size_t send_all(const struct plan *plan, struct pool *pool)
{
	struct rlc_encoder enc;
	size_t count = 0;
	uint64_t pn = ((uint64_t)3 << 32) - 100;
	unsigned owed = 0;

	rlc_encoder_init(&enc, plan->window, 1000000, pool);
	enc.next_cidx = plan->offset;
	for (size_t n = 0; n < SOURCES; n++) {
		struct datagram *d = &datagrams[count++];
		*d = (struct datagram){.pn = pn++, .source = n};
		d->len = 24 + (dice(2) ? dice(40) : dice(SEGMENTS - 23));
		for (size_t i = 0; i < d->len; i++)
			d->bytes[i] = (uint8_t)dice(256);
		cr_assert(rlc_encoder_push(
			&enc, d->pn, d->bytes, d->len, mono_at_us((int64_t)n), &d->cidx));
		sources[n] = d;
		for (owed += plan->repairs_percent; owed >= 100; owed -= 100) {
			if (count == DATAGRAMS)
				continue;
			d = &datagrams[count++];
			*d = (struct datagram){.repair = true, .pn = pn++};
			d->len = rlc_encoder_repair(&enc, RLC_KIND_BULK_REPAIR,
				1 + dice(plan->window), d->bytes, sizeof(d->bytes),
				mono_at_us((int64_t)n));
			d->cidx = load_le32(d->bytes) >> 8;
			d->source = n + 1 - d->bytes[8];
		}
		pn += dice(20) == 0 ? dice(1000) : 0;
	}
	rlc_encoder_fini(&enc);
	return count;
}

static size_t shake(const struct plan *plan, size_t count)
{
	size_t arrived = 0;
	unsigned burst = 0;

	for (size_t i = 0; i < count; i++) {
		if (burst == 0 && dice(100) * plan->burst < plan->loss_percent)
			burst = plan->burst;
		if (burst > 0) {
			burst--;
			continue;
		}
		order[arrived++] = &datagrams[i];
		if (dice(100) < plan->double_percent)
			order[arrived++] = &datagrams[i];
	}
	for (size_t i = 1; i < arrived; i++) {
		if (dice(100) < plan->swap_percent) {
			size_t other = i - 1 - dice(i < 12 ? (uint32_t)i : 12);
			struct datagram *d = order[i];
			order[i] = order[other];
			order[other] = d;
		}
	}
	return arrived;
}

static void run_trial(uint32_t seed, uint64_t *ret_rebuilt)
{
	struct plan plan = plan_of(seed);
	struct pool pool;
	struct rlc_decoder dec;
	struct rlc_symbol symbol;
	bool given[SOURCES] = {0}, came[SOURCES] = {0};
	size_t span = 2 * (size_t)plan.window_max, top = 0;
	bool started = false;

	pool_init(&pool, RLC_SLOT_BYTES(SEGMENTS), 400);
	size_t arrived = shake(&plan, send_all(&plan, &pool));
	memset(&twin, 0, sizeof(twin));
	rlc_decoder_init(&dec, plan.window_max, SEGMENTS, 1000000, &pool);
	for (size_t i = 0; i < arrived; i++) {
		const struct datagram *d = order[i];
		size_t last = d->repair ? d->source + d->bytes[8] - 1 : d->source;
		/* The twin remembers what the decoder promises to. */
		if (!started || last > top)
			top = last;
		started = true;
		size_t from = top + 1 < span ? 0 : top + 1 - span;
		struct mono now = mono_at_us((int64_t)i);
		if (d->repair) {
			enum rlc_verdict v = rlc_decoder_repair(
				&dec, d->cidx, d->pn, d->bytes + 4, d->len - 4, now);
			cr_assert(v == RLC_REPAIR_USED || v == RLC_REPAIR_SPARE ||
					  v == RLC_REPAIR_REDUNDANT || v == RLC_REPAIR_OLD,
				"seed %u: %s", seed, rlc_verdict_str(v));
			cr_assert_eq(v == RLC_REPAIR_OLD, d->source < from, "seed %u", seed);
			if (d->source >= from && twin.equations < RLC_TWIN_EQUATIONS)
				rlc_twin_repair(&twin, load_le32(d->bytes + 4), plan.offset,
					d->source, d->bytes[8]);
		} else {
			rlc_decoder_source(&dec, d->cidx, d->pn, d->bytes, d->len, now);
			if (d->source >= from) {
				twin.known[d->source] = true;
				came[d->source] = true;
			}
		}
		while (rlc_decoder_rebuilt(&dec, &symbol)) {
			size_t n = 0;
			while (n < SOURCES && sources[n]->pn != symbol.pn)
				n++;
			cr_assert(n < SOURCES, "seed %u: a number that was never sent", seed);
			cr_assert(!given[n] && !came[n], "seed %u: source %zu again", seed, n);
			cr_assert_eq(symbol.len, sources[n]->len, "seed %u", seed);
			cr_assert_arr_eq(symbol.segments, sources[n]->bytes, symbol.len);
			given[n] = true;
			(*ret_rebuilt)++;
		}
		rlc_twin_solve(&twin, from);
		for (size_t n = from; n <= top; n++)
			cr_assert_eq(twin.known[n], given[n] || came[n],
				"seed %u: after datagram %zu source %zu is%s known to the twin",
				seed, i, n, twin.known[n] ? "" : " not");
	}
	cr_assert_eq(dec.stats.bad_symbols, 0, "seed %u", seed);
	rlc_decoder_fini(&dec);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

Test(rlc_twin, decoder_and_twin_know_the_same)
{
	uint64_t rebuilt = 0;

	for (uint32_t seed = 1; seed <= TRIALS; seed++)
		run_trial(seed, &rebuilt);
	cr_assert(rebuilt > 20 * TRIALS, "%lu", (unsigned long)rebuilt);
}
