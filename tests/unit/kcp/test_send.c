/* The sending side: all-or-nothing writes, and the watched list against a naive twin. */
#include "core/pool.h"
#include "kcp/kcp_segment.h"
#include "kcp/kcp_send.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum {
	MSS = 10,
};

static struct pool pool;
static uint8_t bytes[10000];

static int push(struct kcp_sender *sender, bool stream, uint32_t queue_max, size_t len)
{
	return kcp_sender_push(sender, &pool, MSS, stream, queue_max, bytes, len);
}

Test(send, writes_are_all_or_nothing)
{
	struct kcp_sender sender;
	static const struct {
		bool stream;
		size_t len;
		int want;
		uint32_t queued;
	} rows[] = {
		{false, 0, -EINVAL, 0}, {false, 25, 0, 3},
		{false, 20, -EAGAIN, 3}, /* room for one segment only */
		{true, 6, 0, 4},	 /* 5 fill the last one */
		{true, 9, 0, 4}, {true, 1, -EAGAIN, 4},
		{false, 50, -EMSGSIZE, 4}, /* more than the queue ever has */
	};

	pool_init(&pool, MSS, 100);
	kcp_sender_init(&sender, 0xfffffffe);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_eq(
			push(&sender, rows[i].stream, 4, rows[i].len), rows[i].want, "row %zu", i);
		cr_assert_eq(sender.queued, rows[i].queued, "row %zu", i);
		cr_assert_eq(pool.slots_used, rows[i].queued, "row %zu", i);
	}
	cr_assert_eq(sender.queued_bytes, 40);
	cr_assert_eq(push(&sender, false, 1000, 2551), -EMSGSIZE); /* 256 pieces */
	cr_assert_eq(push(&sender, true, 1000, 2551), -ENOBUFS);   /* no limit there, but slots */
	cr_assert_eq(pool.slots_used, 4);
	cr_assert_eq(kcp_sender_at(&sender, 0xfffffffe)->frg, 2);
	cr_assert_eq(kcp_sender_at(&sender, 0)->frg, 0);
	kcp_sender_fini(&sender, &pool);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

/* Twin: the flags in the records themselves, collected by a walk over all numbers. */
static void compare(const struct kcp_sender *sender, const bool *watched, uint32_t first)
{
	uint32_t at = sender->watch_head, left = sender->watched;

	for (uint32_t sn = sender->una; sn != sender->nxt; sn++) {
		if (!watched[sn - first])
			continue;
		cr_assert(left > 0);
		cr_assert_eq(at, sn);
		at = kcp_sender_at(sender, at)->watch_next;
		if (--left == 0)
			cr_assert_eq(sender->watch_tail, sn);
	}
	cr_assert_eq(left, 0);
}

Test(send, watched_list_agrees_with_a_naive_walk)
{
	static bool watched[3000], acked[3000];
	const uint32_t first = 0xffffff00;
	struct kcp_sender sender;
	uint64_t state = 1234567;

	pool_init(&pool, MSS, 5000);
	kcp_sender_init(&sender, first);
	while (sender.nxt - first < 2900) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		uint32_t choice = (uint32_t)(state >> 40);
		uint32_t span = sender.nxt - sender.una;
		uint32_t sn = sender.una + (span ? (choice >> 3) % span : 0);
		switch (choice % 5) {
		case 0:
		case 1:
			cr_assert_eq(push(&sender, false, 100, 1), 0);
			sn = sender.nxt;
			kcp_sender_next(&sender);
			kcp_sender_watch(&sender, sn);
			watched[sn - first] = true;
			break;
		case 2:
			if (span > 0) {
				kcp_sender_unwatch(&sender, sn);
				watched[sn - first] = false;
			}
			break;
		case 3:
			if (span > 0 && !acked[sn - first]) {
				kcp_sender_watch(&sender, sn);
				watched[sn - first] = true;
			}
			break;
		case 4:
			if (span > 0 && !acked[sn - first]) {
				kcp_sender_ack(&sender, &pool, sn);
				acked[sn - first] = true;
				watched[sn - first] = false;
			}
			while (sender.una != sender.nxt && acked[sender.una - first])
				sender.una++;
			break;
		}
		compare(&sender, watched, first);
		cr_assert_eq(pool.slots_used, sender.unacked + sender.queued);
	}
	kcp_sender_fini(&sender, &pool);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

struct maker {
	unsigned calls;
	uint8_t value;
	size_t len;
};

static void make(void *ctx, uint8_t *at)
{
	struct maker *maker = ctx;

	maker->calls++;
	memset(at, maker->value, maker->len);
}

Test(send, a_message_is_made_where_it_stays)
{
	struct kcp_sender sender;
	struct maker maker = {0, 7, MSS};

	pool_init(&pool, MSS, 2);
	kcp_sender_init(&sender, 0xffffffff);
	cr_assert_eq(kcp_sender_make(&sender, &pool, 1, MSS, make, &maker), 0);
	cr_assert_eq(kcp_sender_make(&sender, &pool, 1, MSS, make, &maker), -EAGAIN);
	cr_assert_eq(maker.calls, 1, "nobody writes what is refused");
	maker = (struct maker){0, 9, 3};
	cr_assert_eq(kcp_sender_make(&sender, &pool, 3, 3, make, &maker), -ENOBUFS,
		"a quarter of the slots is to receive");
	cr_assert_eq(maker.calls, 0);
	cr_assert_eq(sender.queued, 1);
	cr_assert_eq(sender.queued_bytes, MSS);
	const struct kcp_tx *tx = kcp_sender_next(&sender);
	cr_assert_eq(tx->len, MSS);
	cr_assert_eq(tx->frg, 0);
	cr_assert_eq(tx->slot[0], 7);
	cr_assert_eq(tx->slot[MSS - 1], 7);
	kcp_sender_ack(&sender, &pool, 0xffffffff);
	sender.una++;
	cr_assert_eq(kcp_sender_make(&sender, &pool, 3, 3, make, &maker), 0);
	cr_assert_eq(push(&sender, true, 3, 4), 0, "a stream fills it up");
	cr_assert_eq(sender.queued, 1);
	cr_assert_eq(kcp_sender_at(&sender, 0)->len, 7);
	kcp_sender_fini(&sender, &pool);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}
