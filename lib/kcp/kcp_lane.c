/*
 * Pieces lie in the ring of kcp_send.h, cut by the same code as the kcp-go wire's; only the first piece's mark differs. What
 * concerns a message (deadline, class, cost, how many of its pieces are open) stands in its first piece's record, and every
 * piece knows how far that is.
 *
 * The base moves over whole messages, when all pieces of the oldest are acknowledged or it was given up. It never moves
 * back, so whatever datagram carries it later carries at least as much: the first number that told a base beyond the
 * edge is enough to know, for any acknowledged datagram of the lane, whether the peer heard of it.
 *
 * A message may lie in memory that is lent. Then its pieces are parts of that, and it goes back as a whole, when nothing of it can
 * be sent any more: an acknowledged piece between two others frees nothing. That holds no more than the peer has granted, by
 * which a message is charged until the base passed it.
 *
 * Why charge is withheld: the peer counts what it may have to hold from the base it knows. A base that moved over data the
 * peer never got is news to it; until it heard, new data charged in the old one's place could exceed what was granted.
 */
#include "kcp/kcp_lane.h"

#include "core/pool.h"
#include "kcp/kcp_path.h"

#include <errno.h>
#include <stdlib.h>

enum {
	FORWARD_US =
		5000, /* an abandoned message is told with the next piece of the lane, or alone after this */
};

struct kcp_lane *kcp_lane_new(
	uint32_t id, uint32_t first_sn, const struct kcp_lender *lender, struct mono now)
{
	struct kcp_lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return NULL;
	lane->entry.id = id;
	lane->lender = lender;
	lane->fwd_at = MONO_NEVER;
	lane->idle_at = now;
	kcp_sender_init(&lane->sender, first_sn);
	list_init(&lane->active);
	list_init(&lane->forward);
	return lane;
}

static void end_loan(const struct kcp_lane *lane, struct kcp_tx *head)
{
	void *loan = head->loan;

	head->loan = NULL;
	if (loan)
		lane->lender->over(lane->lender->ctx, loan);
}

void kcp_lane_free(struct kcp_lane *lane, struct pool *pool)
{
	const struct kcp_sender *sender = &lane->sender;

	for (uint32_t sn = sender->una; sn != sender->nxt; sn += kcp_sender_at(sender, sn)->pieces)
		end_loan(lane, kcp_sender_at(sender, sn));
	kcp_sender_fini(&lane->sender, pool);
	list_remove(&lane->active);
	list_remove(&lane->forward);
	free(lane);
}

struct kcp_tx *kcp_lane_piece(const struct kcp_lane *lane, uint32_t sn)
{
	struct kcp_tx *tx;

	if (sn - lane->sender.una >= kcp_lane_span(lane))
		return NULL;
	tx = kcp_sender_at(&lane->sender, sn);
	return tx->flags & (KCP_TX_ACKED | KCP_TX_GONE) ? NULL : tx;
}

uint32_t kcp_lane_cost_bytes(size_t len, uint32_t piece_bytes)
{
	size_t unit = KCP_PATH_CHARGE_BYTES;
	size_t whole = len / piece_bytes;
	size_t rest = len % piece_bytes;
	size_t cost = whole * ((piece_bytes + unit - 1) / unit * unit);

	return (uint32_t)(cost + (rest + unit - 1) / unit * unit);
}

/* Makes a message of the pieces that were queued. @return how many */
static int begin(struct kcp_lane *lane, uint8_t class, struct mono expires, uint32_t cost_bytes)
{
	struct kcp_sender *sender = &lane->sender;
	struct kcp_tx *head = kcp_sender_at(sender, sender->nxt);
	int pieces = (int)sender->queued;

	for (uint32_t i = 0; sender->queued > 0; i++) {
		struct kcp_tx *tx = kcp_sender_next(sender);
		tx->flags |= KCP_TX_WAITS;
		tx->index = (uint8_t)i;
		tx->pn = UINT64_MAX;
	}
	head->frg |= KCP_FRG_FIRST;
	head->expires = expires;
	head->class = class;
	head->pieces = (uint8_t)pieces;
	head->open = (uint8_t)pieces;
	head->cost_bytes = cost_bytes;
	lane->charged_bytes += cost_bytes;
	return pieces;
}

int kcp_lane_push(struct kcp_lane *lane, struct pool *pool, uint32_t piece_bytes, uint8_t class,
	struct mono expires, const void *data, size_t len, uint32_t *ret_first)
{
	int err = kcp_sender_push(
		&lane->sender, pool, piece_bytes, false, KCP_PATH_PIECES_MAX, data, len);

	if (err < 0)
		return err;
	*ret_first = lane->sender.nxt;
	return begin(lane, class, expires, kcp_lane_cost_bytes(len, piece_bytes));
}

int kcp_lane_lend(struct kcp_lane *lane, uint32_t first_bytes, uint32_t piece_bytes, uint8_t class,
	struct mono expires, void *data, size_t len, void *loan, uint32_t *ret_first)
{
	uint32_t first = lane->sender.nxt;
	int err = kcp_sender_lend(
		&lane->sender, first_bytes, piece_bytes, KCP_PATH_PIECES_MAX, data, len);

	if (err < 0)
		return err;
	kcp_sender_at(&lane->sender, first)->loan = loan;
	*ret_first = first;
	return begin(lane, class, expires,
		kcp_lane_cost_bytes(len < first_bytes ? len : first_bytes, piece_bytes) +
			kcp_lane_cost_bytes(
				len > first_bytes ? len - first_bytes : 0, piece_bytes));
}

/* Moves the base over what is settled. */
static uint64_t advance(struct kcp_lane *lane, struct mono now)
{
	struct kcp_sender *sender = &lane->sender;
	uint64_t returned = 0;

	while (sender->una != sender->nxt) {
		const struct kcp_tx *head = kcp_sender_at(sender, sender->una);
		if (head->open > 0 && !(head->flags & KCP_TX_GONE))
			return returned;
		if (head->flags & KCP_TX_GONE) {
			lane->edge_open = true;
			lane->told = 0;
			lane->edge_pn = UINT64_MAX;
			lane->fwd_at = mono_min(lane->fwd_at, mono_add_us(now, FORWARD_US));
		}
		if (lane->edge_open)
			lane->withheld_bytes += head->cost_bytes;
		else
			returned += head->cost_bytes;
		sender->una += head->pieces;
	}
	lane->idle_at = now;
	return returned;
}

static uint64_t advance_and_return(struct kcp_lane *lane, struct mono now)
{
	uint64_t returned = advance(lane, now);

	lane->charged_bytes -= returned;
	return returned;
}

uint64_t kcp_lane_ack(struct kcp_lane *lane, struct pool *pool, uint32_t sn, struct mono now)
{
	struct kcp_tx *tx = kcp_lane_piece(lane, sn);

	if (!tx)
		return 0;
	struct kcp_tx *head = kcp_lane_head(lane, sn, tx);
	tx->flags &= (uint8_t)~KCP_TX_WAITS;
	head->open--;
	kcp_sender_ack(&lane->sender, pool, sn);
	if (head->open == 0)
		end_loan(lane, head);
	return advance_and_return(lane, now);
}

uint64_t kcp_lane_give_up(struct kcp_lane *lane, struct pool *pool, uint32_t sn, struct mono now)
{
	struct kcp_tx *tx = kcp_sender_at(&lane->sender, sn);
	uint32_t first = sn - tx->index;
	uint32_t pieces = kcp_sender_at(&lane->sender, first)->pieces;

	for (uint32_t i = 0; i < pieces; i++) {
		tx = kcp_sender_at(&lane->sender, first + i);
		tx->flags &= (uint8_t)~KCP_TX_WAITS;
		if (!(tx->flags & KCP_TX_ACKED))
			kcp_sender_ack(&lane->sender, pool, first + i);
		tx->flags |= KCP_TX_GONE;
	}
	end_loan(lane, kcp_sender_at(&lane->sender, first));
	return advance_and_return(lane, now);
}

void kcp_lane_carried(struct kcp_lane *lane, uint64_t pn, int64_t repeat_us, struct mono now)
{
	if (!lane->edge_open)
		return;
	if (lane->edge_pn == UINT64_MAX)
		lane->edge_pn = pn;
	lane->told++;
	lane->fwd_at = mono_add_us(now, repeat_us);
}

bool kcp_lane_tires(struct kcp_lane *lane, uint32_t heard)
{
	if (lane->heard != heard)
		lane->told = 0;
	lane->heard = heard;
	if (lane->told < KCP_LANE_TELL_MAX)
		return false;
	lane->fwd_at = MONO_NEVER;
	return true;
}

void kcp_lane_wake(struct kcp_lane *lane, struct mono now)
{
	lane->told = 0;
	lane->fwd_at = now;
}

uint64_t kcp_lane_confirmed(struct kcp_lane *lane, uint64_t pn)
{
	uint64_t returned = lane->withheld_bytes;

	if (!lane->edge_open || pn < lane->edge_pn)
		return 0;
	lane->edge_open = false;
	lane->edge_pn = UINT64_MAX;
	lane->fwd_at = MONO_NEVER;
	lane->withheld_bytes = 0;
	lane->charged_bytes -= returned;
	return returned;
}
