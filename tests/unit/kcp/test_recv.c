/* The receiving side against a naive twin, and what a hostile peer may try with it. */
#include "core/pool.h"
#include "kcp/kcp_recv.h"
#include "kcp/kcp_segment.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/uio.h>

enum {
	WND = 32,
	NUMBERS = 4000,
};

static struct pool pool;
static uint64_t state = 88172645463325252u;

static uint32_t random_below(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % below;
}

static enum kcp_receiver_verdict push(
	struct kcp_receiver *receiver, uint32_t sn, uint8_t frg, const void *data, uint32_t len)
{
	struct kcp_segment segment = {.sn = sn, .frg = frg, .data = data, .len = len};

	return kcp_receiver_push(receiver, &pool, &segment);
}

/* Twin: an array of flags over all numbers, and a scan. Every segment is a message that holds its number. */
Test(recv, agrees_with_a_naive_window)
{
	static bool have[NUMBERS + 2 * WND];
	const uint32_t first = 0xffffffff - NUMBERS / 2; /* passes 2^32 half-way */
	struct kcp_receiver receiver;
	uint32_t read = 0, nxt = 0;

	pool_init(&pool, 4, 1000);
	kcp_receiver_init(&receiver, first, WND);
	while (nxt < NUMBERS - 2 * WND) {
		if (random_below(4) > 0) {
			uint32_t at = nxt + random_below(WND + 8) - (nxt > 8 ? 8 : 0);
			uint32_t number = first + at;
			enum kcp_receiver_verdict want = at >= nxt + WND ? KCP_RECEIVER_OUTSIDE
							 : at < nxt || have[at]
								 ? KCP_RECEIVER_REPEATED
								 : KCP_RECEIVER_TAKEN;
			cr_assert_eq(push(&receiver, number, 0, &number, 4), want);
			if (want == KCP_RECEIVER_TAKEN)
				have[at] = true;
		} else if (read < nxt) {
			size_t len = 0;
			struct iovec iov[1];
			uint32_t number;
			cr_assert_eq(kcp_receiver_message(&receiver, &pool, &len), 1);
			cr_assert_eq(len, 4);
			kcp_receiver_show(&receiver, 1, iov);
			memcpy(&number, iov[0].iov_base, 4);
			cr_assert_eq(number, first + read);
			bool full = nxt - read >= WND;
			kcp_receiver_consume(&receiver, &pool, 1);
			read++;
			while (have[nxt] && nxt - read < WND)
				nxt++;
			cr_assert_eq(receiver.reopened, full && nxt - read < WND);
			receiver.reopened = false;
		}
		while (have[nxt] && nxt - read < WND)
			nxt++;
		cr_assert_eq(receiver.nxt, first + nxt);
		cr_assert_eq(kcp_receiver_ready(&receiver), nxt - read);
		cr_assert_eq(kcp_receiver_free(&receiver), WND - (nxt - read));
		cr_assert(receiver.ring.capacity <= 2 * WND);
	}
	kcp_receiver_fini(&receiver, &pool);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}

Test(recv, joins_fragments_and_drops_what_does_not_count_down)
{
	struct kcp_receiver receiver;
	struct iovec iov[3];
	size_t len = 0;

	pool_init(&pool, 16, 100);
	kcp_receiver_init(&receiver, 0, WND);
	cr_assert_eq(push(&receiver, 2, 0, "ef", 2), KCP_RECEIVER_TAKEN);
	cr_assert_eq(push(&receiver, 0, 2, "ab", 2), KCP_RECEIVER_TAKEN);
	cr_assert_eq(kcp_receiver_message(&receiver, &pool, &len), 0);
	cr_assert_eq(push(&receiver, 1, 1, "cd", 2), KCP_RECEIVER_TAKEN);
	cr_assert_eq(kcp_receiver_message(&receiver, &pool, &len), 3);
	cr_assert_eq(len, 6);
	kcp_receiver_show(&receiver, 3, iov);
	cr_assert(memcmp(iov[2].iov_base, "ef", 2) == 0);
	kcp_receiver_consume(&receiver, &pool, 3);

	/* 5,4 then 1,0: two pieces of a message that breaks off, then a whole one */
	static const uint8_t frgs[] = {5, 4, 1, 0, 0, 0};
	for (uint32_t i = 0; i < 5; i++)
		cr_assert_eq(push(&receiver, 3 + i, frgs[i], "x", 1), KCP_RECEIVER_TAKEN);
	cr_assert_eq(kcp_receiver_message(&receiver, &pool, &len), 0);
	cr_assert_eq(push(&receiver, 8, frgs[5], "x", 1), KCP_RECEIVER_TAKEN);
	cr_assert_eq(kcp_receiver_message(&receiver, &pool, &len), 2);
	cr_assert_eq(receiver.broken, 1);
	cr_assert_eq(pool.slots_used, 4);
	kcp_receiver_fini(&receiver, &pool);
	pool_fini(&pool);
}

Test(recv, refuses_what_it_could_never_hand_out)
{
	struct kcp_receiver receiver;
	static uint8_t bytes[64];

	pool_init(&pool, 16, 3);
	kcp_receiver_init(&receiver, 100, WND);
	cr_assert_eq(push(&receiver, 100, WND, "x", 1), KCP_RECEIVER_BAD_FRAGMENT);
	cr_assert_eq(push(&receiver, 100, 255, "x", 1), KCP_RECEIVER_BAD_FRAGMENT);
	cr_assert_eq(push(&receiver, 100, 0, bytes, 17), KCP_RECEIVER_TOO_LONG);
	cr_assert_eq(push(&receiver, 100 + WND, 0, "x", 1), KCP_RECEIVER_OUTSIDE);
	cr_assert_eq(push(&receiver, 100 + 0x7fffffffu, 0, "x", 1), KCP_RECEIVER_OUTSIDE);
	cr_assert_eq(push(&receiver, 99, 0, "x", 1), KCP_RECEIVER_REPEATED);
	cr_assert_eq(push(&receiver, 100 - 0x7fffff00u, 0, "x", 1), KCP_RECEIVER_REPEATED);
	cr_assert_eq(receiver.ring.capacity, 0);
	cr_assert_eq(push(&receiver, 101, 0, bytes, 16), KCP_RECEIVER_TAKEN);
	cr_assert_eq(push(&receiver, 102, 0, bytes, 16), KCP_RECEIVER_TAKEN);
	/* what is early leaves a slot to what is next, or nothing could ever be read again */
	cr_assert_eq(push(&receiver, 103, 0, bytes, 16), KCP_RECEIVER_NO_MEMORY);
	cr_assert_eq(receiver.nxt, 100);
	cr_assert_eq(push(&receiver, 100, 0, bytes, 16), KCP_RECEIVER_TAKEN);
	cr_assert_eq(receiver.nxt, 103);
	cr_assert_eq(push(&receiver, 103, 0, bytes, 16), KCP_RECEIVER_NO_MEMORY);
	cr_assert_eq(push(&receiver, 103, 0, NULL, 0), KCP_RECEIVER_TAKEN); /* empty: no slot */
	cr_assert_eq(receiver.nxt, 104);
	kcp_receiver_fini(&receiver, &pool);
	pool_fini(&pool);
}

/* A message that began under a larger window must still complete, or it blocks the conversation. */
Test(recv, window_that_shrinks_does_not_cut_a_message)
{
	struct kcp_receiver receiver;
	size_t len = 0;

	pool_init(&pool, 16, 100);
	kcp_receiver_init(&receiver, 0, WND);
	for (uint32_t sn = 0; sn < 8; sn++)
		cr_assert_eq(push(&receiver, sn, (uint8_t)(15 - sn), "x", 1), KCP_RECEIVER_TAKEN);
	receiver.wnd = 9;
	for (uint32_t sn = 8; sn < 16; sn++)
		cr_assert_eq(push(&receiver, sn, (uint8_t)(15 - sn), "x", 1), KCP_RECEIVER_TAKEN);
	cr_assert_eq(kcp_receiver_message(&receiver, &pool, &len), 16);
	cr_assert_eq(len, 16);
	kcp_receiver_fini(&receiver, &pool);
	pool_fini(&pool);
}

/* Strangers that send all but the first segment cannot take the memory from those who read what they get. */
Test(recv, what_comes_early_is_little_each_when_memory_is_half_gone)
{
	enum { SLOTS = 2048, CALLERS = 64, CALLER_WND = 1024, SHARE = SLOTS / 256 + 8 };
	static struct kcp_receiver callers[CALLERS];
	struct kcp_receiver honest;
	uint32_t held[CALLERS] = {0};

	pool_init(&pool, 4, SLOTS);
	for (uint32_t i = 0; i < CALLERS; i++) {
		kcp_receiver_init(&callers[i], 0, CALLER_WND);
		for (uint32_t sn = 1; sn < CALLER_WND; sn++)
			held[i] += push(&callers[i], sn, 0, "late", 4) == KCP_RECEIVER_TAKEN;
	}
	cr_assert_eq(held[0], CALLER_WND - 1, "one alone may have its whole window");
	for (uint32_t i = 2; i < 40; i++)
		cr_assert_eq(held[i], SHARE, "caller %u: %u", i, held[i]);
	cr_assert(pool.slots_used <= SLOTS - SLOTS / 8);
	kcp_receiver_init(&honest, 0, CALLER_WND);
	for (uint32_t sn = 0; sn < SLOTS / 8; sn++)
		cr_assert_eq(push(&honest, sn, 0, "good", 4), KCP_RECEIVER_TAKEN);
	/* what is missing is taken, and lets all the rest go */
	kcp_receiver_consume(&honest, &pool, SLOTS / 8);
	cr_assert_eq(push(&callers[5], 0, 0, "late", 4), KCP_RECEIVER_TAKEN);
	cr_assert_eq(kcp_receiver_ready(&callers[5]), SHARE + 1);
	for (uint32_t i = 0; i < CALLERS; i++)
		kcp_receiver_fini(&callers[i], &pool);
	kcp_receiver_fini(&honest, &pool);
	cr_assert_eq(pool.slots_used, 0);
	pool_fini(&pool);
}
