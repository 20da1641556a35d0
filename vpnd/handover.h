/*
 * Datagrams that came to the socket of one thread and are another's: of a run of datagrams that the kernel glued together it
 * looks at the first only when it chooses the socket (udp_group.h).
 */
#ifndef VPND_HANDOVER_H
#define VPND_HANDOVER_H

#include "kcpvpn/udp_port.h"

#include <stddef.h>
#include <stdint.h>

struct handover;

/** What one thread has of it; nobody else touches it. */
struct handover_side {
	struct handover *handover;
	unsigned thread;
	/* Counted in datagrams. */
	uint64_t handed; /* to others */
	uint64_t full;	 /* lost, for the other thread was too far behind */
	uint64_t gone;	 /* lost, for the socket was closed meanwhile */
	struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX];
};

/** @threads  1 .. 16; thread s has shard s of sessions, 0 all that is no data, too   @return 0 or -ENOMEM */
int handover_new(unsigned threads, struct handover **ret_handover);
/** NULL is fine. */
void handover_free(struct handover *handover);
/** Drops all that is under way. All threads stand still. */
void handover_clear(struct handover *handover);

void handover_side_init(struct handover_side *side, struct handover *handover, unsigned thread);

/**
 * Keeps of a batch what is this thread's, in order, and hands the rest to whose it is.
 *
 * @port    what names the socket to all threads, above 0 and never used again
 * @batch   in and out: the datagrams that stay; as it was if all do, which costs a look at each
 * @ret_to  a bit for each thread that has to be woken
 * @return  how many stay
 */
size_t handover_sort(struct handover_side *side, uint64_t port,
	const struct kcpvpn_datagram **batch, size_t count, uint32_t *ret_to);

/**
 * What another thread handed to this one, all of one port.
 *
 * @ret_batch  up to KCPVPN_BATCH_MAX; their bytes may be written to, until handover_release()
 * @return     how many; 0: there are none
 */
size_t handover_take(struct handover_side *side, unsigned from, uint64_t *ret_port,
	const struct kcpvpn_datagram **ret_batch);
void handover_release(struct handover_side *side, unsigned from);

#endif
