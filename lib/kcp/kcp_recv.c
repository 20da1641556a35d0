/*
 * The edge `nxt` stops when a whole window waits for the reader, even if the next segment is here: that is what closes the
 * window to the peer. So the ring never spans more than two windows, whatever arrives.
 *
 * Messages: a segment says how many pieces follow it. One that promises more than the window can hold would stop the
 * conversation for ever (the window fills, the message never completes, nothing is read), so it is refused at the door. Of
 * what is in order the first segment's promise is believed: as soon as that many are there they must count down to 0;
 * if they do not, what stands in front of the break is dropped and the break starts a message. kcp-go would hand out the
 * pieces glued together.
 */
#include "kcp/kcp_recv.h"

#include "core/pool.h"
#include "kcp/kcp_segment.h"

#include <string.h>
#include <sys/uio.h>

/*
 * What comes early is acknowledged and so can never be given up again. If it took the last slots, the segment before it
 * would find none for ever, and nothing could be read that gives one back: an eighth is for what comes in order.
 */
static size_t early_keeps(const struct pool *pool)
{
	return (pool->slots_max + 7) / 8;
}

/*
 * What comes early may stay for ever if the segment before it never comes, and callers need not send it. One that holds much
 * may go on while there is plenty; when half of all is taken each gets a small part, so that many of them cannot have the
 * rest between them.
 */
static bool early_allowed(const struct kcp_receiver *receiver, const struct pool *pool)
{
	return pool->slots_used < pool->slots_max / 2 ||
	       receiver->early < pool->slots_max / 256 + 8;
}

static struct kcp_rx *rx_at(const struct kcp_receiver *receiver, uint32_t sn)
{
	return kcp_ring_at(&receiver->ring, sn);
}

void kcp_receiver_init(struct kcp_receiver *receiver, uint32_t first_sn, uint32_t wnd)
{
	*receiver = (struct kcp_receiver){.read = first_sn, .nxt = first_sn, .wnd = wnd};
	kcp_ring_init(&receiver->ring, sizeof(struct kcp_rx));
}

void kcp_receiver_fini(struct kcp_receiver *receiver, struct pool *pool)
{
	for (uint32_t i = 0; i < receiver->ring.capacity; i++)
		pool_return(pool, rx_at(receiver, i)->slot);
	kcp_ring_free(&receiver->ring);
	receiver->read = receiver->nxt;
	receiver->early = 0;
	receiver->shown = 0;
}

/* Segments that may wait before the edge stops. A message that began under a larger window must still fit. */
static uint32_t ready_max(const struct kcp_receiver *receiver)
{
	uint32_t whole = 0;

	if (kcp_receiver_ready(receiver) > 0)
		whole = (uint32_t)rx_at(receiver, receiver->read)->frg + 1;
	return whole > receiver->wnd ? whole : receiver->wnd;
}

void kcp_receiver_advance(struct kcp_receiver *receiver)
{
	while (receiver->early > 0 && kcp_receiver_ready(receiver) < ready_max(receiver) &&
		rx_at(receiver, receiver->nxt)->present) {
		receiver->nxt++;
		receiver->early--;
	}
}

enum kcp_receiver_verdict kcp_receiver_push(
	struct kcp_receiver *receiver, struct pool *pool, const struct kcp_segment *segment)
{
	uint32_t sn = segment->sn;
	uint32_t used = receiver->ring.capacity;
	uint32_t need = sn - receiver->read + 1;
	struct kcp_rx *rx;

	if (!kcp_sn_before(sn, receiver->nxt + receiver->wnd))
		return KCP_RECEIVER_OUTSIDE;
	if (kcp_sn_before(sn, receiver->nxt))
		return KCP_RECEIVER_REPEATED;
	if (need <= used && rx_at(receiver, sn)->present)
		return KCP_RECEIVER_REPEATED;
	if (segment->frg >= receiver->wnd)
		return KCP_RECEIVER_BAD_FRAGMENT;
	if (segment->len > pool->slot_bytes || segment->len > UINT16_MAX)
		return KCP_RECEIVER_TOO_LONG;
	if (sn != receiver->nxt && segment->len > 0 && !early_allowed(receiver, pool))
		return KCP_RECEIVER_NO_MEMORY;
	if (!kcp_ring_reserve(&receiver->ring, receiver->read, used, need))
		return KCP_RECEIVER_NO_MEMORY;
	rx = rx_at(receiver, sn);
	if (segment->len > 0) {
		rx->slot = sn == receiver->nxt ? pool_take(pool)
					       : pool_take_keeping(pool, early_keeps(pool));
		if (!rx->slot)
			return KCP_RECEIVER_NO_MEMORY;
		memcpy(rx->slot, segment->data, segment->len);
	}
	rx->len = (uint16_t)segment->len;
	rx->frg = segment->frg;
	rx->present = true;
	receiver->early++;
	kcp_receiver_advance(receiver);
	return KCP_RECEIVER_TAKEN;
}

uint16_t kcp_receiver_free(const struct kcp_receiver *receiver)
{
	uint32_t ready = kcp_receiver_ready(receiver);
	uint32_t free_slots = ready < receiver->wnd ? receiver->wnd - ready : 0;

	return free_slots > UINT16_MAX ? UINT16_MAX : (uint16_t)free_slots;
}

static void drop(struct kcp_receiver *receiver, struct pool *pool, uint32_t count)
{
	bool was_full = kcp_receiver_ready(receiver) >= receiver->wnd;

	for (uint32_t i = 0; i < count; i++) {
		struct kcp_rx *rx = rx_at(receiver, receiver->read);
		pool_return(pool, rx->slot);
		*rx = (struct kcp_rx){0};
		receiver->read++;
	}
	kcp_receiver_advance(receiver);
	if (was_full && kcp_receiver_ready(receiver) < receiver->wnd)
		receiver->reopened = true;
}

uint32_t kcp_receiver_message(struct kcp_receiver *receiver, struct pool *pool, size_t *ret_len)
{
	while (kcp_receiver_ready(receiver) > 0) {
		uint32_t count = (uint32_t)rx_at(receiver, receiver->read)->frg + 1;
		size_t len = 0;
		uint32_t i;

		if (kcp_receiver_ready(receiver) < count)
			return 0;
		for (i = 0; i < count; i++) {
			const struct kcp_rx *rx = rx_at(receiver, receiver->read + i);
			if (rx->frg != count - 1 - i)
				break;
			len += rx->len;
		}
		if (i == count) {
			*ret_len = len;
			return count;
		}
		receiver->broken++;
		drop(receiver, pool, i);
	}
	return 0;
}

uint32_t kcp_receiver_run(const struct kcp_receiver *receiver, uint32_t max, size_t *ret_len)
{
	uint32_t ready = kcp_receiver_ready(receiver);
	uint32_t count = 0;
	size_t len = 0;

	while (count < ready && count < max && rx_at(receiver, receiver->read + count)->frg == 0)
		len += rx_at(receiver, receiver->read + count++)->len;
	if (count > 0)
		*ret_len = len;
	return count;
}

void kcp_receiver_show(struct kcp_receiver *receiver, uint32_t count, struct iovec *iov)
{
	static uint8_t
		nothing[1]; /* an empty segment has no slot, but a reader may want an address */

	receiver->shown_bytes = 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct kcp_rx *rx = rx_at(receiver, receiver->read + i);
		receiver->shown_bytes += rx->len;
		iov[i].iov_base = rx->slot ? rx->slot : nothing;
		iov[i].iov_len = rx->len;
	}
	receiver->shown = count;
}

void kcp_receiver_consume(struct kcp_receiver *receiver, struct pool *pool, uint32_t count)
{
	drop(receiver, pool, count);
	receiver->shown = 0;
}
