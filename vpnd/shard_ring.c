/*
 * Two counters that only grow, of what was written and of what was read; their difference is what is inside. Each is written
 * by one side. What is put is visible before its counter, and a place is free before the counter of the reader says so.
 *
 * A packet stands in one run of bytes, behind a head with its length and peer, rounded up to eight bytes. What does not fit
 * before the end of the memory stands at its beginning: a head without a name says that the rest is skipped. Names count from
 * 1 on. Each side may be ahead of its counter, in a place of its own: the writer with packets that are not shown yet, the reader
 * with packets that it still uses.
 *
 * A bell rings once until it is answered. The reader answers first and looks then, so what is put while it looks is either
 * seen or rings again.
 */
#include "vpnd/shard_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- bell ------------------------------------------------------------------------------------------------------------ */

int bell_init(struct bell *bell)
{
	bell->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	atomic_init(&bell->is_rung, false);
	return bell->fd < 0 ? -errno : 0;
}

void bell_fini(struct bell *bell)
{
	if (bell->fd >= 0)
		close(bell->fd);
	bell->fd = -1;
}

void bell_ring(struct bell *bell)
{
	uint64_t one = 1;

	if (!atomic_exchange(&bell->is_rung, true) &&
		write(bell->fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		atomic_store(&bell->is_rung, false); /* cannot be: its count is at most 1 */
}

void bell_answer(struct bell *bell)
{
	uint64_t count;

	if (read(bell->fd, &count, sizeof(count)) < 0)
		count = 0; /* answered before */
	/* Not a store: what was put before a ring that this one swallows must be seen. */
	(void)atomic_exchange(&bell->is_rung, false);
}

/* ---- messages -------------------------------------------------------------------------------------------------------- */

int message_ring_init(struct message_ring *ring)
{
	size_t bytes = SHARD_RING_MESSAGES * sizeof(struct kcpvpn_shard_message);

	atomic_init(&ring->written, 0);
	atomic_init(&ring->read, 0);
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ring->messages = memory == MAP_FAILED ? NULL : memory;
	if (!ring->messages)
		return -ENOMEM;
	ring->locked = mlock(memory, bytes) == 0;
	(void)madvise(memory, bytes, MADV_DONTDUMP);
	return 0;
}

void message_ring_fini(struct message_ring *ring)
{
	size_t bytes = SHARD_RING_MESSAGES * sizeof(struct kcpvpn_shard_message);

	if (!ring->messages)
		return;
	explicit_bzero(ring->messages, bytes);
	(void)munlock(ring->messages, bytes);
	(void)munmap(ring->messages, bytes);
	ring->messages = NULL;
}

bool message_ring_put(struct message_ring *ring, const struct kcpvpn_shard_message *message)
{
	size_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);

	if (written - atomic_load_explicit(&ring->read, memory_order_acquire) ==
		SHARD_RING_MESSAGES)
		return false;
	ring->messages[written % SHARD_RING_MESSAGES] = *message;
	atomic_store_explicit(&ring->written, written + 1, memory_order_release);
	return true;
}

bool message_ring_take(struct message_ring *ring, struct kcpvpn_shard_message *ret_message)
{
	size_t read = atomic_load_explicit(&ring->read, memory_order_relaxed);

	if (read == atomic_load_explicit(&ring->written, memory_order_acquire))
		return false;
	struct kcpvpn_shard_message *message = &ring->messages[read % SHARD_RING_MESSAGES];
	*ret_message = *message;
	explicit_bzero(message, sizeof(*message));
	atomic_store_explicit(&ring->read, read + 1, memory_order_release);
	return true;
}

/* ---- packets --------------------------------------------------------------------------------------------------------- */

struct head {
	uint64_t name; /* 0 = skip the rest of the memory */
	uint64_t len;
};

/* A head and its packet, rounded up, so that a head fits wherever something is left. */
static size_t cost(size_t len)
{
	return sizeof(struct head) +
	       (len + sizeof(struct head) - 1) / sizeof(struct head) * sizeof(struct head);
}

int packet_ring_init(struct packet_ring *ring)
{
	atomic_init(&ring->written, 0);
	atomic_init(&ring->read, 0);
	ring->begun = 0;
	ring->looked = 0;
	/* Zeros of this size come from the kernel, which gives memory to a page only when it is written. */
	ring->bytes = calloc(1, SHARD_RING_PACKET_BYTES);
	return ring->bytes ? 0 : -ENOMEM;
}

void packet_ring_fini(struct packet_ring *ring)
{
	free(ring->bytes);
	ring->bytes = NULL;
}

/* How many bytes are skipped so that `need` stand in one run. */
static size_t skipped(size_t at, size_t need)
{
	size_t left = SHARD_RING_PACKET_BYTES - at % SHARD_RING_PACKET_BYTES;

	return left < need ? left : 0;
}

bool packet_ring_room(const struct packet_ring *ring, size_t len)
{
	size_t used = ring->begun - atomic_load_explicit(&ring->read, memory_order_acquire);
	size_t need = cost(len) + skipped(ring->begun, cost(len));

	return len < SHARD_RING_PACKET_BYTES / 2 && used + need <= SHARD_RING_PACKET_BYTES;
}

void *packet_ring_begin(struct packet_ring *ring, uint64_t name, size_t len)
{
	size_t skip = skipped(ring->begun, cost(len));
	struct head head = {0, skip};

	if (!packet_ring_room(ring, len))
		return NULL;
	if (skip > 0)
		memcpy(ring->bytes + ring->begun % SHARD_RING_PACKET_BYTES, &head, sizeof(head));
	head = (struct head){name, len};
	uint8_t *at = ring->bytes + (ring->begun + skip) % SHARD_RING_PACKET_BYTES;
	memcpy(at, &head, sizeof(head));
	ring->begun += skip + cost(len);
	return at + sizeof(head);
}

void packet_ring_end(struct packet_ring *ring)
{
	atomic_store_explicit(&ring->written, ring->begun, memory_order_release);
}

bool packet_ring_put(struct packet_ring *ring, uint64_t name, const void *packet, size_t len)
{
	void *place = packet_ring_begin(ring, name, len);

	if (!place)
		return false;
	memcpy(place, packet, len);
	packet_ring_end(ring);
	return true;
}

/* The head of the oldest packet not looked at, behind what is skipped. @return false if there is none */
static bool oldest(struct packet_ring *ring, struct head *ret_head)
{
	size_t written = atomic_load_explicit(&ring->written, memory_order_acquire);

	while (ring->looked != written) {
		memcpy(ret_head, ring->bytes + ring->looked % SHARD_RING_PACKET_BYTES,
			sizeof(*ret_head));
		if (ret_head->name > 0)
			return true;
		ring->looked += ret_head->len;
	}
	return false;
}

uint64_t packet_ring_next(struct packet_ring *ring)
{
	struct head head;

	return oldest(ring, &head) ? head.name : 0;
}

void *packet_ring_look(struct packet_ring *ring, uint64_t *ret_name, size_t *ret_len)
{
	struct head head;

	if (!oldest(ring, &head))
		return NULL;
	*ret_name = head.name;
	*ret_len = head.len;
	uint8_t *at = ring->bytes + ring->looked % SHARD_RING_PACKET_BYTES + sizeof(head);
	ring->looked += cost(head.len);
	return at;
}

void packet_ring_release(struct packet_ring *ring)
{
	atomic_store_explicit(&ring->read, ring->looked, memory_order_release);
}

void packet_ring_clear(struct packet_ring *ring)
{
	if (!ring->bytes)
		return;
	ring->looked = atomic_load_explicit(&ring->written, memory_order_acquire);
	packet_ring_release(ring);
}
