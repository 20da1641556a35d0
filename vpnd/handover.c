/*
 * The threads' sockets share one port, and a program in the kernel deals datagrams out by their shard. But all shards of a peer
 * have the same addresses and ports, so GRO, which comes first, glues datagrams of several shards together where they are of one
 * length, even with a shorter one of another behind; the program then sees the first, and the whole run goes to its socket.
 * Routers and devices that put packets together for forwarding do the same, whatever the socket asked for. But runs
 * are what lets a core take a gigabit, so they stay, and what is not ours is handed on, with its addresses.
 *
 *      ring [from][to], each with one writer and one reader     datagram = name of the port, two endpoints, bytes
 *
 * A ring that is full loses datagrams, as the socket's own queue would: who hands on never waits. The rule by which a datagram
 * is some thread's is that of udp_group.c; here it is asked again, so that nothing depends on what the kernel did with it. What
 * is too short to be told is nobody's: it stays, and is dropped by whoever has it.
 *
 * A datagram names its port by a number, since sockets may be closed while it waits.
 */
#include "vpnd/handover.h"

#include "vpnd/shard_ring.h"
#include "vpnd/udp_group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct handover {
	unsigned threads;
	struct packet_ring
		*rings; /* threads * threads; those from a thread to itself have no memory */
};

/* What stands before a datagram's bytes. */
struct addresses {
	struct kcpvpn_endpoint remote, local;
};

static struct packet_ring *ring_of(struct handover *handover, unsigned from, unsigned to)
{
	return &handover->rings[from * handover->threads + to];
}

int handover_new(unsigned threads, struct handover **ret_handover)
{
	struct handover *handover = calloc(1, sizeof(*handover));
	size_t bytes = (size_t)threads * threads * sizeof(struct packet_ring);

	if (!handover)
		return -ENOMEM;
	handover->threads = threads;
	handover->rings = aligned_alloc(SHARD_RING_ALIGN_BYTES, bytes);
	if (!handover->rings) {
		free(handover);
		return -ENOMEM;
	}
	memset(handover->rings, 0, bytes);
	for (unsigned from = 0; from < threads; from++) {
		for (unsigned to = 0; to < threads; to++) {
			if (from == to || packet_ring_init(ring_of(handover, from, to)) == 0)
				continue;
			handover_free(handover);
			return -ENOMEM;
		}
	}
	*ret_handover = handover;
	return 0;
}

void handover_free(struct handover *handover)
{
	if (!handover)
		return;
	for (unsigned i = 0; i < handover->threads * handover->threads; i++)
		packet_ring_fini(&handover->rings[i]);
	free(handover->rings);
	free(handover);
}

void handover_clear(struct handover *handover)
{
	for (unsigned i = 0; handover && i < handover->threads * handover->threads; i++)
		packet_ring_clear(&handover->rings[i]);
}

void handover_side_init(struct handover_side *side, struct handover *handover, unsigned thread)
{
	memset(side, 0, sizeof(*side));
	side->handover = handover;
	side->thread = thread;
}

static unsigned owner(const struct handover_side *side, const struct kcpvpn_datagram *datagram)
{
	int shard = udp_group_shard(datagram->data, datagram->len, side->handover->threads);

	return shard == UDP_GROUP_NOBODY ? side->thread
	       : shard == UDP_GROUP_REST ? 0
					 : (unsigned)shard;
}

/* @return false if there is no room */
static bool hand(struct packet_ring *ring, uint64_t port, const struct kcpvpn_datagram *datagram)
{
	const struct addresses addresses = {datagram->remote, datagram->local};
	uint8_t *place = packet_ring_begin(ring, port, sizeof(addresses) + datagram->len);

	if (!place)
		return false;
	memcpy(place, &addresses, sizeof(addresses));
	memcpy(place + sizeof(addresses), datagram->data, datagram->len);
	return true;
}

size_t handover_sort(struct handover_side *side, uint64_t port,
	const struct kcpvpn_datagram **batch, size_t count, uint32_t *ret_to)
{
	const struct kcpvpn_datagram *all = *batch;
	size_t own = 0, kept;

	*ret_to = 0;
	while (own < count && owner(side, &all[own]) == side->thread)
		own++;
	if (own == count)
		return count;
	memcpy(side->batch, all, own * sizeof(*all));
	kept = own;
	for (size_t i = own; i < count; i++) {
		unsigned to = owner(side, &all[i]);
		if (to == side->thread) {
			side->batch[kept++] = all[i];
		} else if (hand(ring_of(side->handover, side->thread, to), port, &all[i])) {
			*ret_to |= UINT32_C(1) << to;
			side->handed++;
		} else {
			side->full++;
		}
	}
	for (unsigned to = 0; to < side->handover->threads; to++)
		if (*ret_to & UINT32_C(1) << to)
			packet_ring_end(ring_of(side->handover, side->thread, to));
	*batch = side->batch;
	return kept;
}

size_t handover_take(struct handover_side *side, unsigned from, uint64_t *ret_port,
	const struct kcpvpn_datagram **ret_batch)
{
	struct packet_ring *ring = ring_of(side->handover, from, side->thread);
	uint64_t port = packet_ring_next(ring);
	struct addresses addresses;
	size_t count = 0, len;

	while (count < KCPVPN_BATCH_MAX && port > 0 && packet_ring_next(ring) == port) {
		uint8_t *bytes = packet_ring_look(ring, &port, &len);
		memcpy(&addresses, bytes, sizeof(addresses));
		side->batch[count++] = (struct kcpvpn_datagram){
			.remote = addresses.remote,
			.local = addresses.local,
			.data = bytes + sizeof(addresses),
			.len = len - sizeof(addresses),
		};
	}
	*ret_port = port;
	*ret_batch = side->batch;
	return count;
}

void handover_release(struct handover_side *side, unsigned from)
{
	packet_ring_release(ring_of(side->handover, from, side->thread));
}
