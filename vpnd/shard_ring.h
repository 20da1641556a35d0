/*
 * Bounded rings between two threads, one that writes and one that reads, without locks: of messages of the library, and of
 * packets. A bell wakes the reader.
 */
#ifndef VPND_SHARD_RING_H
#define VPND_SHARD_RING_H

#include "kcpvpn/native_shards.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SHARD_RING_MESSAGES = 128,	   /* power of two */
	SHARD_RING_PACKET_BYTES = 1 << 18, /* power of two; four of the longest messages */
	SHARD_RING_ALIGN_BYTES =
		64, /* what one side writes shares no cache line with the other's */
};

/** Wakes a loop that watches `fd`. */
struct bell {
	int fd;		     /* eventfd, non-blocking */
	atomic_bool is_rung; /* and not answered yet */
};

/** @return 0 or a negative errno */
int bell_init(struct bell *bell);
void bell_fini(struct bell *bell);
/** From any thread; a system call only for the first of several. */
void bell_ring(struct bell *bell);
/** The reader is awake: call before it looks at what it was woken for. */
void bell_answer(struct bell *bell);

/** Messages, in memory that is not swapped where the host allows it. */
struct message_ring {
	_Alignas(SHARD_RING_ALIGN_BYTES) atomic_size_t written;
	_Alignas(SHARD_RING_ALIGN_BYTES) atomic_size_t read;
	struct kcpvpn_shard_message *messages; /* SHARD_RING_MESSAGES */
};

/** @return 0 or -ENOMEM */
int message_ring_init(struct message_ring *ring);
/** Wipes it. Harmless if it is all zeros. */
void message_ring_fini(struct message_ring *ring);
/** @return false if it is full */
bool message_ring_put(struct message_ring *ring, const struct kcpvpn_shard_message *message);
/** Takes the oldest, and wipes it in the ring. @return false if there is none */
bool message_ring_take(struct message_ring *ring, struct kcpvpn_shard_message *ret_message);

/** Packets of peers that are named by kcpvpn_peer_id(). */
struct packet_ring {
	_Alignas(SHARD_RING_ALIGN_BYTES) atomic_size_t written;
	_Alignas(SHARD_RING_ALIGN_BYTES) atomic_size_t read;
	uint8_t *bytes; /* SHARD_RING_PACKET_BYTES */
};

int packet_ring_init(struct packet_ring *ring);
void packet_ring_fini(struct packet_ring *ring);
/** Whether a packet of `len` bytes can be put. */
bool packet_ring_room(const struct packet_ring *ring, size_t len);
/** @return false if there is no room */
bool packet_ring_put(struct packet_ring *ring, uint64_t peer, const void *packet, size_t len);
/**
 * Shows the oldest packet.
 *
 * @return  its bytes, valid until packet_ring_drop(); NULL if there is none
 */
const void *packet_ring_peek(struct packet_ring *ring, uint64_t *ret_peer, size_t *ret_len);
void packet_ring_drop(struct packet_ring *ring);

#endif
