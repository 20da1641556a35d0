/*
 * A segment gets its number when it is queued, not when it is sent: both queues of kcp-go are then one ring, and moving
 * a segment in flight is moving an index. Writes are all or nothing: slots and ring are secured before anything changes.
 *
 * The watched list is linked through the records by number. New segments go to its end; one that returns after a
 * timeout is put back in order by a walk down the numbers from it to the nearest watched one.
 */
#include "kcp/kcp_send.h"

#include "core/pool.h"
#include "kcp/kcp_segment.h"

#include <errno.h>
#include <string.h>

void kcp_sender_init(struct kcp_sender *sender, uint32_t first_sn)
{
	*sender = (struct kcp_sender){.una = first_sn, .nxt = first_sn};
	kcp_ring_init(&sender->ring, sizeof(struct kcp_tx));
}

/* What is lent has no slot. */
static void return_slot(struct pool *pool, const struct kcp_tx *tx)
{
	if (!(tx->flags & KCP_TX_LENT))
		pool_return(pool, tx->slot);
}

void kcp_sender_fini(struct kcp_sender *sender, struct pool *pool)
{
	uint32_t end = sender->nxt + sender->queued;

	for (uint32_t sn = sender->una; sn != end; sn++)
		return_slot(pool, kcp_sender_at(sender, sn));
	kcp_ring_free(&sender->ring);
	kcp_sender_init(sender, sender->nxt);
}

/* Bytes that still fit into the last queued segment; stream mode fills it before it starts another. */
static size_t tail_room(const struct kcp_sender *sender, uint32_t mss_bytes)
{
	if (sender->queued == 0)
		return 0;
	const struct kcp_tx *tail = kcp_sender_at(sender, sender->nxt + sender->queued - 1);
	return tail->len < mss_bytes ? mss_bytes - tail->len : 0;
}

/* Two ends that fill their memory with what they send could not take anything from each other: a quarter is to receive. */
static size_t send_keeps(const struct pool *pool)
{
	return (pool->slots_max + 3) / 4;
}

/* Takes `count` slots into the records behind the queue, or none. */
static int take_slots(struct kcp_sender *sender, struct pool *pool, uint32_t count)
{
	uint32_t used = sender->nxt - sender->una + sender->queued;
	uint32_t first = sender->nxt + sender->queued;

	if (!kcp_ring_reserve(&sender->ring, sender->una, used, used + count))
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct kcp_tx *tx = kcp_sender_at(sender, first + i);
		*tx = (struct kcp_tx){.slot = pool_take_keeping(pool, send_keeps(pool))};
		if (!tx->slot) {
			while (i-- > 0)
				pool_return(pool, kcp_sender_at(sender, first + i)->slot);
			return -ENOBUFS;
		}
	}
	return 0;
}

int kcp_sender_push(struct kcp_sender *sender, struct pool *pool, uint32_t mss_bytes, bool stream,
	uint32_t queue_max, const uint8_t *data, size_t len)
{
	size_t room = stream ? tail_room(sender, mss_bytes) : 0;
	size_t head = len < room ? len : room;
	size_t rest = len - head;
	size_t pieces = rest / mss_bytes + (rest % mss_bytes != 0);
	int err;

	if (len == 0)
		return -EINVAL;
	if (pieces > queue_max || (!stream && pieces > KCP_FRAGMENTS_MAX))
		return -EMSGSIZE;
	if (pieces + sender->queued > queue_max)
		return -EAGAIN;
	uint32_t count = (uint32_t)pieces;
	if (count > 0) {
		err = take_slots(sender, pool, count);
		if (err < 0)
			return err;
	}
	if (head > 0) {
		struct kcp_tx *tail = kcp_sender_at(sender, sender->nxt + sender->queued - 1);
		memcpy(tail->slot + tail->len, data, head);
		tail->len = (uint16_t)(tail->len + head);
		data += head;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct kcp_tx *tx = kcp_sender_at(sender, sender->nxt + sender->queued);
		size_t piece = rest < mss_bytes ? rest : mss_bytes;
		memcpy(tx->slot, data, piece);
		tx->len = (uint16_t)piece;
		tx->frg = stream ? 0 : (uint8_t)(count - i - 1);
		data += piece;
		rest -= piece;
		sender->queued++;
	}
	sender->queued_bytes += len;
	return 0;
}

int kcp_sender_lend(struct kcp_sender *sender, uint32_t first_bytes, uint32_t mss_bytes,
	uint32_t queue_max, uint8_t *data, size_t len)
{
	size_t rest = len > first_bytes ? len - first_bytes : 0;
	size_t pieces = 1 + rest / mss_bytes + (rest % mss_bytes != 0);
	uint32_t used = sender->nxt - sender->una + sender->queued;

	if (len == 0)
		return -EINVAL;
	if (pieces + sender->queued > queue_max || pieces > KCP_FRAGMENTS_MAX)
		return -EMSGSIZE;
	uint32_t count = (uint32_t)pieces;
	if (!kcp_ring_reserve(&sender->ring, sender->una, used, used + count))
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		size_t most = i == 0 ? first_bytes : mss_bytes;
		size_t piece = len < most ? len : most;
		*kcp_sender_at(sender, sender->nxt + sender->queued) = (struct kcp_tx){
			.slot = data,
			.len = (uint16_t)piece,
			.frg = (uint8_t)(count - i - 1),
			.flags = KCP_TX_LENT,
		};
		data += piece;
		len -= piece;
		sender->queued++;
		sender->queued_bytes += piece;
	}
	return (int)count;
}

int kcp_sender_make(struct kcp_sender *sender, struct pool *pool, uint32_t queue_max, size_t len,
	void (*make)(void *ctx, uint8_t *at), void *ctx)
{
	if (sender->queued >= queue_max)
		return -EAGAIN;
	int err = take_slots(sender, pool, 1);
	if (err < 0)
		return err;
	struct kcp_tx *tx = kcp_sender_at(sender, sender->nxt + sender->queued);
	make(ctx, tx->slot);
	tx->len = (uint16_t)len;
	sender->queued++;
	sender->queued_bytes += len;
	return 0;
}

struct kcp_tx *kcp_sender_next(struct kcp_sender *sender)
{
	struct kcp_tx *tx = kcp_sender_at(sender, sender->nxt);

	sender->nxt++;
	sender->queued--;
	sender->queued_bytes -= tx->len;
	sender->unacked++;
	sender->unacked_bytes += tx->len;
	return tx;
}

void kcp_sender_watch(struct kcp_sender *sender, uint32_t sn)
{
	struct kcp_tx *tx = kcp_sender_at(sender, sn);

	if (tx->flags & KCP_TX_WATCHED)
		return;
	tx->flags |= KCP_TX_WATCHED;
	if (sender->watched++ == 0) {
		sender->watch_head = sn;
		sender->watch_tail = sn;
	} else if (kcp_sn_before(sender->watch_tail, sn)) {
		tx->watch_prev = sender->watch_tail;
		kcp_sender_at(sender, sender->watch_tail)->watch_next = sn;
		sender->watch_tail = sn;
	} else if (kcp_sn_before(sn, sender->watch_head)) {
		tx->watch_next = sender->watch_head;
		kcp_sender_at(sender, sender->watch_head)->watch_prev = sn;
		sender->watch_head = sn;
	} else {
		uint32_t prev = sn - 1; /* the head is below, so this ends */
		while (!(kcp_sender_at(sender, prev)->flags & KCP_TX_WATCHED))
			prev--;
		uint32_t next = kcp_sender_at(sender, prev)->watch_next;
		tx->watch_prev = prev;
		tx->watch_next = next;
		kcp_sender_at(sender, prev)->watch_next = sn;
		kcp_sender_at(sender, next)->watch_prev = sn;
	}
}

void kcp_sender_unwatch(struct kcp_sender *sender, uint32_t sn)
{
	struct kcp_tx *tx = kcp_sender_at(sender, sn);

	if (!(tx->flags & KCP_TX_WATCHED))
		return;
	tx->flags &= (uint8_t)~KCP_TX_WATCHED;
	if (tx->later_acks > 0)
		sender->suspects--;
	sender->watched--;
	if (sender->watched == 0)
		return;
	if (sn == sender->watch_head) {
		sender->watch_head = tx->watch_next;
	} else if (sn == sender->watch_tail) {
		sender->watch_tail = tx->watch_prev;
	} else {
		kcp_sender_at(sender, tx->watch_prev)->watch_next = tx->watch_next;
		kcp_sender_at(sender, tx->watch_next)->watch_prev = tx->watch_prev;
	}
}

void kcp_sender_ack(struct kcp_sender *sender, struct pool *pool, uint32_t sn)
{
	struct kcp_tx *tx = kcp_sender_at(sender, sn);

	kcp_sender_unwatch(sender, sn);
	tx->flags |= KCP_TX_ACKED;
	sender->unacked--;
	sender->unacked_bytes -= tx->len;
	return_slot(pool, tx);
	tx->slot = NULL;
}
