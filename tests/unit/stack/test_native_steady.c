/*
 * Once it has found its stride a transfer takes no memory from the heap: not for a packet, not for a datagram, not for an
 * acknowledgement. Two nodes exchange packets in virtual time over mailboxes that are static, while the allocator counts.
 */
#include "allocation_count.h"
#include "native_pair.h"

#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum {
	S = 1000000,
	STEP_US = 200,
	STEPS_WARM = 10000, /* rare bursts of losses make the longest rings */
	STEPS = 10000,
	MAIL_MAX = 256,
	PACKETS_A_STEP = 16,
	PACKET_BYTES = 1300,
	LIGHT_BYTES = 100,
	LOSE_EVERY = 37,
	RINGS_MAY_GROW = 4,
};

/* ---- two nodes ---------------------------------------------------------------------------------------------------- */

static struct native_pair pair;

static struct mailbox {
	struct kcpvpn_endpoint from;
	size_t count;
	size_t lens[MAIL_MAX];
	uint8_t bytes[MAIL_MAX][2048];
} mail[2]; /* to end 0, to end 1 */

static bool lossy, mail_lost;
static uint64_t posted, read_packets[2];
static int64_t now_us;
static unsigned long allocations; /* of the steps that count */

static void post(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	const struct native_end *from = ctx;
	struct mailbox *box = &mail[1 - from->number];

	box->from = from->address;
	for (size_t i = 0; i < count; i++) {
		if (lossy && ++posted % LOSE_EVERY == 0)
			continue;
		if (box->count == MAIL_MAX || batch[i].len > sizeof(box->bytes[0])) {
			mail_lost = true;
			return;
		}
		memcpy(box->bytes[box->count], batch[i].data, batch[i].len);
		box->lens[box->count++] = batch[i].len;
	}
}

static void deliver(size_t to)
{
	static struct mailbox box;
	struct native_end *end = &pair.ends[to];

	box = mail[to];
	mail[to].count = 0;
	for (size_t at = 0; at < box.count;) {
		struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX];
		size_t n = 0;
		for (; n < KCPVPN_BATCH_MAX && at < box.count; n++, at++)
			batch[n] = (struct kcpvpn_datagram){
				.remote = box.from,
				.local = end->address,
				.data = box.bytes[at],
				.len = box.lens[at],
			};
		kcpvpn_native_input(end->native, &end->port, batch, n, now_us);
	}
}

static void serve(size_t number)
{
	struct kcpvpn_native *native = pair.ends[number].native;
	struct iovec pieces[KCPVPN_NATIVE_PIECES_MAX];
	struct kcpvpn_peer *peer;
	unsigned events;
	size_t len;

	kcpvpn_native_on_deadline(native, now_us);
	while ((peer = kcpvpn_native_next_event(native, &events)) != NULL) {
		while (kcpvpn_peer_recv_peek(peer, pieces, KCPVPN_NATIVE_PIECES_MAX, &len) > 0) {
			read_packets[number]++;
			kcpvpn_peer_recv_drop(peer, now_us);
		}
	}
	kcpvpn_native_flush(native, now_us);
}

/* Two flows from end 0, which fills its path with one of them, and answers from end 1. */
static void step(uint32_t number)
{
	static uint8_t packet[PACKET_BYTES];
	struct kcpvpn_peer *sender = pair.ends[0].peers[1], *answerer = pair.ends[1].peers[0];

	now_us += STEP_US;
	for (size_t i = 0; i < PACKETS_A_STEP && kcpvpn_peer_ready(sender); i++) {
		native_pair_packet(packet, PACKET_BYTES, 1, 2, 5, number);
		(void)kcpvpn_peer_send(sender, packet, PACKET_BYTES, now_us);
	}
	native_pair_packet(packet, LIGHT_BYTES, 1, 2, 6, number);
	(void)kcpvpn_peer_send(sender, packet, LIGHT_BYTES, now_us);
	native_pair_packet(packet, LIGHT_BYTES, 2, 1, 7, number);
	(void)kcpvpn_peer_send(answerer, packet, LIGHT_BYTES, now_us);
	serve(0);
	deliver(1);
	serve(1);
	deliver(0);
	serve(0);
}

static void run(const struct native_end_options *options)
{
	native_pair_open(&pair, 5, options);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_pair_run(&pair, 5 * S); /* the path's MTU is known by then */
	now_us = pair.now_us;
	for (size_t i = 0; i < 2; i++) {
		pair.ends[i].port.send = post;
		pair.ends[i].port.ctx = &pair.ends[i];
	}
	for (uint32_t i = 0; i < STEPS_WARM; i++)
		step(i);
	read_packets[0] = read_packets[1] = 0;
	allocation_count_begin();
	for (uint32_t i = 0; i < STEPS; i++)
		step(i);
	allocations = allocation_count_end();
	cr_assert_not(mail_lost);
	native_pair_fini(&pair);
}

Test(native_steady, a_transfer_takes_nothing_from_the_heap)
{
	run(NULL);
	/* at least one of each size a step */
	cr_assert_geq(read_packets[1], (uint64_t)STEPS * 2 * 9 / 10);
	cr_assert_geq(read_packets[0], (uint64_t)STEPS * 9 / 10);
	cr_assert_eq(allocations, 0, "%lu", allocations);
}

Test(native_steady, over_a_lossy_path_only_rings_may_grow)
{
	struct native_end_options options = native_pair_options();

	options.peer.fec = (struct kcpvpn_fec_config){.mode = KCPVPN_FEC_FIXED,
		.data = 10,
		.parity = 3,
		.max_overhead_percent = 100,
		.tail_us = 20000};
	lossy = true;
	run(&options);
	cr_assert_geq(read_packets[1], (uint64_t)STEPS * 2 * 9 / 10);
	/* A burst of losses longer than all before doubles a ring, once. */
	cr_assert_leq(allocations, RINGS_MAY_GROW, "%lu", allocations);
}

Test(native_steady, the_allocator_counts)
{
	allocation_count_begin();
	void *volatile at = malloc(10);
	at = realloc(at, 100);
	free(at);
	cr_assert_geq(allocation_count_end(), 2);
}
