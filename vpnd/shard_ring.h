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
	bool locked;			       /* never in swap */
};

/** @return 0 or -ENOMEM */
int message_ring_init(struct message_ring *ring);
/** Wipes it. Harmless if it is all zeros. */
void message_ring_fini(struct message_ring *ring);
/** @return false if it is full */
bool message_ring_put(struct message_ring *ring, const struct kcpvpn_shard_message *message);
/** Takes the oldest, and wipes it in the ring. @return false if there is none */
bool message_ring_take(struct message_ring *ring, struct kcpvpn_shard_message *ret_message);

/** Packets with a name each, which is a number above 0. One side writes, the other reads. */
struct packet_ring {
	_Alignas(SHARD_RING_ALIGN_BYTES) atomic_size_t written;
	size_t begun; /* the writer's: with what is not shown yet */
	_Alignas(SHARD_RING_ALIGN_BYTES) atomic_size_t read;
	size_t looked;	/* the reader's: with what it still uses */
	uint8_t *bytes; /* SHARD_RING_PACKET_BYTES */
};

int packet_ring_init(struct packet_ring *ring);
void packet_ring_fini(struct packet_ring *ring);
/** The writer: whether a packet of `len` bytes can be put. */
bool packet_ring_room(const struct packet_ring *ring, size_t len);
/** The writer: a place for a packet, which packet_ring_end() shows with all that were begun. @return NULL without room */
void *packet_ring_begin(struct packet_ring *ring, uint64_t name, size_t len);
void packet_ring_end(struct packet_ring *ring);
/** The writer: both at once. @return false if there is no room */
bool packet_ring_put(struct packet_ring *ring, uint64_t name, const void *packet, size_t len);
/** The reader: the name of the packet that packet_ring_look() would give. @return 0 if there is none */
uint64_t packet_ring_next(struct packet_ring *ring);
/**
 * The reader: the oldest packet that it has not looked at.
 *
 * @return  its bytes, which may be written to, valid until packet_ring_release(); NULL if there is none
 */
void *packet_ring_look(struct packet_ring *ring, uint64_t *ret_name, size_t *ret_len);
/** The reader: gives back what it looked at. */
void packet_ring_release(struct packet_ring *ring);
/** The reader: drops all that is inside. Harmless if the ring is all zeros. */
void packet_ring_clear(struct packet_ring *ring);

#endif
