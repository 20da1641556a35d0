/* The receiving side of a lane against a naive one that keeps every piece in an array and looks at all of it each time. */
#include "core/pool.h"
#include "kcp/kcp_lane_in.h"
#include "kcp/kcp_segment.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/uio.h>

enum {
	NUMBERS = 4000,
	START = 1000, /* below 2^32, so that numbers wrap */
	DELIVERED_MAX = NUMBERS,
};

static uint64_t state = 3;

static uint32_t rnd(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((state >> 33) % below);
}

/* A message as it was cut: number of its first piece and count. */
struct message {
	uint32_t first;
	uint32_t count;
};

struct naive {
	bool have[NUMBERS + 300];
	uint32_t pos; /* all below is settled */
};

static struct message messages[NUMBERS];
static uint32_t message_count;
static uint32_t message_of[NUMBERS + 300];
static uint32_t delivered[DELIVERED_MAX]; /* messages, by the naive one */
static uint32_t delivered_count;

static bool whole(const struct naive *naive, uint32_t m)
{
	for (uint32_t i = 0; i < messages[m].count; i++) {
		if (!naive->have[messages[m].first + i])
			return false;
	}
	return true;
}

static void naive_push(struct naive *naive, uint32_t sn)
{
	if (sn < naive->pos)
		return;
	naive->have[sn] = true;
	while (naive->pos < NUMBERS && whole(naive, message_of[naive->pos])) {
		uint32_t m = message_of[naive->pos];
		delivered[delivered_count++] = m;
		naive->pos += messages[m].count;
	}
}

static void naive_move(struct naive *naive, uint32_t base)
{
	while (naive->pos < base) {
		uint32_t m = message_of[naive->pos];
		if (whole(naive, m))
			delivered[delivered_count++] = m;
		naive->pos += messages[m].count;
	}
	naive_push(naive, NUMBERS + 299); /* what follows may be whole already */
}

static void cut(void)
{
	message_count = 0;
	for (uint32_t sn = 0; sn < NUMBERS;) {
		uint32_t count = rnd(3) ? 1 : 1 + rnd(20);
		messages[message_count] = (struct message){sn, count};
		for (uint32_t i = 0; i < count; i++)
			message_of[sn + i] = message_count;
		message_count++;
		sn += count;
	}
}

static void give(struct kcp_lane_in *lane, struct kcp_lane_in_shared *shared, uint32_t sn)
{
	const struct message *m = &messages[message_of[sn]];
	uint32_t index = sn - m->first;
	uint8_t body[4];
	struct kcp_segment segment = {
		.sn = sn - START,
		.frg = (uint8_t)((m->count - 1 - index) | (index == 0 ? 0x80 : 0)),
		.len = 4,
		.data = body,
	};

	memcpy(body, &sn, 4);
	shared->stretch_left = 1 << 16;
	enum kcp_lane_in_verdict verdict = kcp_lane_in_push(lane, &segment, shared);
	cr_assert(verdict == KCP_LANE_IN_TAKEN || verdict == KCP_LANE_IN_REPEATED);
}

static void compare(struct kcp_ready *ready, struct pool *pool, uint32_t *read)
{
	struct iovec iov[128];
	size_t len;
	int count;

	while ((count = kcp_ready_show(ready, iov, 128, &len)) > 0) {
		cr_assert(*read < delivered_count, "too many");
		const struct message *m = &messages[delivered[(*read)++]];
		cr_assert_eq((uint32_t)count, m->count);
		for (int i = 0; i < count; i++) {
			uint32_t sn;
			memcpy(&sn, iov[i].iov_base, 4);
			cr_assert_eq(sn, m->first + (uint32_t)i);
		}
		kcp_ready_consume(ready, pool);
	}
	cr_assert_eq(*read, delivered_count, "read %u of %u", *read, delivered_count);
}

Test(lane_in, agrees_with_a_naive_lane)
{
	struct pool pool;

	pool_init(&pool, 64, 100000);
	for (int run = 0; run < 300; run++) {
		static struct naive naive;
		struct kcp_ready ready;
		struct kcp_lane_in_shared shared = {.pool = &pool,
			.ready = &ready,
			.records_max = 1 << 20,
			.span_max = 32768,
			.message_max_bytes = 1000};
		struct kcp_lane_in *lane = kcp_lane_in_new(1, (uint32_t)-START, mono_at_ms(0));
		uint32_t read = 0, sent = 0, base = 0;
		uint32_t spread = 1 + rnd(200);
		uint32_t loss = rnd(50);
		cut();
		memset(&naive, 0, sizeof(naive));
		delivered_count = 0;
		kcp_ready_init(&ready);
		list_init(&shared.holed);
		while (base < NUMBERS) {
			uint32_t sn = base + rnd(spread);
			if (rnd(100) >= loss && sn < NUMBERS) {
				give(lane, &shared, sn);
				naive_push(&naive, sn);
				sent++;
			}
			if (rnd(10) == 0) { /* the sender gave up, or everything arrived */
				base = messages[message_of[base]].first +
				       messages[message_of[base]].count;
				while (base < NUMBERS && rnd(4) == 0)
					base += messages[message_of[base]].count;
				kcp_lane_in_move(lane, base - START, &shared);
				naive_move(&naive, base);
				cr_assert_eq(lane->pos, naive.pos - START);
			}
			if (rnd(500) == 0)
				kcp_lane_in_move(lane, base - rnd(100) - START, &shared);
			cr_assert_eq(shared.held, lane->held);
			cr_assert_eq(list_linked(&lane->holed), lane->held > 0);
			cr_assert_eq(pool.slots_used, shared.held + kcp_ready_count(&ready));
			if (rnd(20) == 0)
				compare(&ready, &pool, &read);
		}
		compare(&ready, &pool, &read);
		cr_assert_eq(lane->held, 0);
		cr_assert_eq(shared.delivered, delivered_count);
		cr_assert_eq(shared.broken, 0);
		uint32_t pieces = 0;
		for (uint32_t i = 0; i < delivered_count; i++)
			pieces += messages[delivered[i]].count;
		cr_assert_eq(shared.pieces, pieces);
		cr_assert_eq(shared.passed, naive.pos - pieces);
		/* A base that no honest sender of this lane could tell: what lies between was never sent. */
		kcp_lane_in_move(lane, lane->pos + 100000, &shared);
		cr_assert_eq(shared.passed, naive.pos - pieces);
		kcp_lane_in_free(lane, &shared);
		cr_assert_eq(shared.records, 0);
		kcp_ready_fini(&ready, &pool);
	}
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

/* Pieces of any shape, from a peer that follows no rule: nothing is lost or kept, and what is delivered counts down. */
Test(lane_in, keeps_its_books_under_nonsense)
{
	struct pool pool;

	pool_init(&pool, 64, 100000);
	for (int run = 0; run < 200; run++) {
		struct kcp_ready ready;
		struct kcp_lane_in_shared shared = {.pool = &pool,
			.ready = &ready,
			.records_max = 4096,
			.span_max = 1024,
			.message_max_bytes = 40};
		struct kcp_lane_in *lane = kcp_lane_in_new(1, 0, mono_at_ms(0));
		uint32_t base = 0;
		kcp_ready_init(&ready);
		list_init(&shared.holed);
		for (int step = 0; step < 2000; step++) {
			uint8_t body[8];
			struct kcp_segment segment = {.sn = lane->pos + rnd(rnd(8) ? 30 : 2000),
				.frg = (uint8_t)(rnd(2) ? 0x80 | rnd(3) : rnd(4)),
				.len = 1 + rnd(8),
				.data = body};
			memset(body, segment.frg, sizeof(body));
			shared.stretch_left = rnd(4000);
			kcp_lane_in_push(lane, &segment, &shared);
			if (rnd(30) == 0)
				kcp_lane_in_move(
					lane, base = lane->pos + rnd(rnd(4) ? 10 : 3000), &shared);
			if (rnd(200) == 0 && lane->held > 0)
				kcp_lane_in_give_up_hole(lane, &shared);
			if (rnd(100) == 0)
				kcp_lane_in_fit(lane, &shared);
			cr_assert_eq(pool.slots_used, shared.held + kcp_ready_count(&ready));
			cr_assert_eq(list_linked(&lane->holed), lane->held > 0);
			cr_assert(lane->nxt - lane->pos <= lane->top - lane->pos);
			cr_assert(lane->held <= lane->top - lane->pos);
			struct iovec iov[128];
			size_t len;
			int count = kcp_ready_show(&ready, iov, 128, &len);
			for (int i = 0; i < count; i++) {
				uint8_t frg = *(uint8_t *)iov[i].iov_base;
				cr_assert_eq(frg, (count - 1 - i) | (i == 0 ? 0x80 : 0));
			}
			cr_assert(count < 0 || len <= 40);
			kcp_ready_consume(&ready, &pool);
		}
		kcp_lane_in_free(lane, &shared);
		cr_assert_eq(shared.held, 0);
		cr_assert_eq(shared.records, 0);
		kcp_ready_fini(&ready, &pool);
	}
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}
