/* Who gets which datagram of a batch, in one thread. */
#include "vpnd/handover.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	THREADS = 3,
	PORT = 7,
};

struct net {
	struct handover *handover;
	struct handover_side sides[THREADS];
	uint8_t bytes[KCPVPN_BATCH_MAX][1500];
	struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX];
};

static void open_net(struct net *net)
{
	memset(net, 0, sizeof(*net));
	cr_assert_eq(handover_new(THREADS, &net->handover), 0);
	for (unsigned i = 0; i < THREADS; i++)
		handover_side_init(&net->sides[i], net->handover, i);
}

/* Type and shard of datagram `i`, whose length and bytes follow from `seed`. */
static void make(struct net *net, size_t i, uint8_t type, uint8_t shard, unsigned seed)
{
	uint8_t *bytes = net->bytes[i];

	memset(bytes, (int)(seed % 251), sizeof(net->bytes[i]));
	bytes[0] = type;
	bytes[4] = (uint8_t)(0xa0 | shard);
	memcpy(bytes + 8, &seed, sizeof(seed));
	net->batch[i] = (struct kcpvpn_datagram){
		.remote = {.family = 4, .address = {192, 0, 2, (uint8_t)seed}, .port = 29900},
		.local = {.family = 4, .address = {198, 51, 100, (uint8_t)shard}, .port = 1},
		.data = bytes,
		.len = 32 + seed % 1400,
	};
}

static void check_one(const struct kcpvpn_datagram *got, uint8_t type, uint8_t shard, unsigned seed)
{
	cr_assert_eq(got->len, 32 + seed % 1400);
	cr_assert_eq(got->data[0], type);
	cr_assert_eq(got->data[4], 0xa0 | shard);
	cr_assert_eq(memcmp(got->data + 8, &seed, sizeof(seed)), 0);
	for (size_t i = 8 + sizeof(seed); i < got->len; i++)
		cr_assert_eq(got->data[i], seed % 251);
	cr_assert_eq(got->remote.address[3], (uint8_t)seed);
	cr_assert_eq(got->local.address[3], shard);
	cr_assert_eq(got->remote.port, 29900);
}

/* Each thread gets what is its own, whole, in order, with its addresses, and nothing else. */
Test(handover, everybody_gets_his_own)
{
	static struct net net;
	unsigned next[THREADS][THREADS] = {{0}}, seed = 1;
	const struct kcpvpn_datagram *batch;
	uint8_t types[4096], shards[4096];
	uint16_t queue[THREADS][THREADS][4096];
	unsigned put[THREADS][THREADS] = {{0}};
	uint64_t port;
	uint32_t to;

	open_net(&net);
	srand(5);
	for (int round = 0; round < 60; round++) {
		for (unsigned from = 0; from < THREADS; from++) {
			size_t count = 1 + (size_t)rand() % 20, own = 0;
			uint32_t want = 0;
			for (size_t i = 0; i < count; i++, seed++) {
				/* Shards beyond, and what is no DATA, are the first thread's. */
				types[seed] = rand() % 4 ? 0x0c : 0x08;
				shards[seed] = (uint8_t)(rand() % (THREADS + 2));
				unsigned owner = types[seed] == 0x0c && shards[seed] < THREADS
							 ? shards[seed]
							 : 0;
				make(&net, i, types[seed], shards[seed], seed);
				queue[from][owner][put[from][owner]++ % 4096] = (uint16_t)seed;
				if (owner != from)
					want |= UINT32_C(1) << owner;
			}
			batch = net.batch;
			size_t kept = handover_sort(&net.sides[from], PORT, &batch, count, &to);
			cr_assert_eq(to, want);
			for (own = 0; own < kept; own++) {
				unsigned s = queue[from][from][next[from][from]++ % 4096];
				check_one(&batch[own], types[s], shards[s], s);
			}
			cr_assert_eq(next[from][from], put[from][from]);
		}
		for (unsigned to_thread = 0; to_thread < THREADS; to_thread++) {
			for (unsigned from = 0; from < THREADS; from++) {
				size_t got = 0;
				if (from == to_thread)
					continue;
				while ((got = handover_take(
						&net.sides[to_thread], from, &port, &batch)) > 0) {
					cr_assert_eq(port, PORT);
					for (size_t i = 0; i < got; i++) {
						unsigned s = queue[from][to_thread]
								  [next[from][to_thread]++ % 4096];
						check_one(&batch[i], types[s], shards[s], s);
					}
					handover_release(&net.sides[to_thread], from);
				}
				cr_assert_eq(next[from][to_thread], put[from][to_thread]);
			}
		}
	}
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(net.sides[i].full, 0);
	handover_free(net.handover);
}

/* What is all of one thread's is not copied, and who is not concerned is not woken. */
Test(handover, a_batch_without_others_stays_where_it_is)
{
	static struct net net;
	const struct kcpvpn_datagram *batch = net.batch;
	uint64_t port;
	uint32_t to;

	open_net(&net);
	for (size_t i = 0; i < KCPVPN_BATCH_MAX; i++)
		make(&net, i, 0x0c, 2, (unsigned)i);
	net.batch[5].len = 4; /* too short to be anybody's */
	cr_assert_eq(handover_sort(&net.sides[2], PORT, &batch, KCPVPN_BATCH_MAX, &to),
		KCPVPN_BATCH_MAX);
	cr_assert_eq(batch, net.batch);
	cr_assert_eq(to, 0);
	cr_assert_eq(net.sides[2].handed, 0);
	cr_assert_eq(handover_take(&net.sides[0], 2, &port, &batch), 0);
	handover_free(net.handover);
}

/* Batches are of one port each, and keep the order between them. */
Test(handover, ports_are_kept_apart)
{
	static struct net net;
	const struct kcpvpn_datagram *batch;
	uint64_t port;
	uint32_t to;

	open_net(&net);
	for (unsigned i = 0; i < 90; i++) {
		make(&net, 0, 0x0c, 1, i);
		batch = net.batch;
		cr_assert_eq(handover_sort(&net.sides[0], 1 + i / 10 % 2, &batch, 1, &to), 0);
		cr_assert_eq(to, 2);
	}
	for (unsigned i = 0; i < 9; i++) {
		cr_assert_eq(handover_take(&net.sides[1], 0, &port, &batch), 10);
		cr_assert_eq(port, 1 + i % 2);
		for (unsigned k = 0; k < 10; k++)
			check_one(&batch[k], 0x0c, 1, i * 10 + k);
		handover_release(&net.sides[1], 0);
	}
	cr_assert_eq(handover_take(&net.sides[1], 0, &port, &batch), 0);
	handover_free(net.handover);
}

/* Nobody waits for a thread that does not take: what does not fit is lost and counted, and what was put still comes. */
Test(handover, a_ring_that_is_full_loses_and_counts)
{
	static struct net net;
	const struct kcpvpn_datagram *batch;
	uint64_t port, came = 0;
	uint32_t to;

	open_net(&net);
	for (unsigned i = 0; i < 2000; i++) {
		make(&net, 0, 0x0c, 1, 1399);
		batch = net.batch;
		(void)handover_sort(&net.sides[2], PORT, &batch, 1, &to);
		cr_assert_eq(to, net.sides[2].full > 0 ? 0 : 2);
	}
	cr_assert_gt(net.sides[2].full, 0);
	cr_assert_gt(net.sides[2].handed, 100);
	cr_assert_eq(net.sides[2].full + net.sides[2].handed, 2000);
	for (size_t got; (got = handover_take(&net.sides[1], 2, &port, &batch)) > 0; came += got)
		handover_release(&net.sides[1], 2);
	cr_assert_eq(came, net.sides[2].handed);
	make(&net, 0, 0x0c, 1, 5);
	batch = net.batch;
	(void)handover_sort(&net.sides[2], PORT, &batch, 1, &to);
	cr_assert_eq(to, 2);
	handover_clear(net.handover);
	cr_assert_eq(handover_take(&net.sides[1], 2, &port, &batch), 0);
	handover_free(net.handover);
}
