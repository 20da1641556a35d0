/*
 * Lanes put a message here when it is its turn, DGRAM when it arrives. Pieces stay in the slots they arrived in; only their
 * places move. Space is reserved when a piece is taken from the network, so that delivery cannot fail.
 */
#include "kcp/kcp_ready.h"

#include "core/pool.h"

#include <errno.h>
#include <sys/uio.h>

void kcp_ready_init(struct kcp_ready *ready)
{
	*ready = (struct kcp_ready){0};
	kcp_ring_init(&ready->ring, sizeof(struct kcp_ready_piece));
}

static struct kcp_ready_piece *at(const struct kcp_ready *ready, uint32_t number)
{
	return kcp_ring_at(&ready->ring, number);
}

void kcp_ready_fini(struct kcp_ready *ready, struct pool *pool)
{
	for (; ready->first != ready->next; ready->first++)
		pool_return(pool, at(ready, ready->first)->slot);
	kcp_ring_free(&ready->ring);
	ready->shown = 0;
}

bool kcp_ready_reserve(struct kcp_ready *ready, uint32_t count)
{
	return kcp_ring_reserve(&ready->ring, ready->first, kcp_ready_count(ready), count);
}

void kcp_ready_push(struct kcp_ready *ready, uint8_t *slot, uint16_t len, bool last)
{
	*at(ready, ready->next++) =
		(struct kcp_ready_piece){.slot = slot, .len = len, .last = last};
}

int kcp_ready_show(struct kcp_ready *ready, struct iovec *iov, int max, size_t *ret_len)
{
	uint32_t count = 0;
	size_t len = 0;
	const struct kcp_ready_piece *piece;

	if (ready->first == ready->next)
		return -EAGAIN;
	do {
		if (count >= (uint32_t)max)
			return -EMSGSIZE;
		piece = at(ready, ready->first + count);
		iov[count].iov_base = piece->slot;
		iov[count].iov_len = piece->len;
		len += piece->len;
		count++;
	} while (!piece->last);
	ready->shown = count;
	ready->shown_bytes = len;
	*ret_len = len;
	return (int)count;
}

uint32_t kcp_ready_consume(struct kcp_ready *ready, struct pool *pool)
{
	uint32_t count = ready->shown;

	for (uint32_t i = 0; i < count; i++)
		pool_return(pool, at(ready, ready->first++)->slot);
	ready->shown = 0;
	return count;
}
