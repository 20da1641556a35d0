/*
 * The native half of the engine: messages between two peers over one path and shard.
 *
 * A path has one space of packet numbers (pn, the counter its datagram is sealed with) in each direction, and in it lanes
 * (ordered and reliable within a deadline), DGRAM flows (unordered), loss detection and acknowledgement by RACK, and the
 * receive grant, both ways. It knows no keys, no addresses and no meaning of CONTROL. Segments and rings are those of the
 * kcp-go wire (kcp.h); what differs is how loss is found.
 *
 *	kcp_path_send(p, KCP_PATH_BULK, flow, ...); kcp_path_flush(p, now);   // put out what may go
 *	for each datagram of a batch: kcp_path_input(p, pn, ..., now);        // takes it in, puts out nothing
 *	kcp_path_input_done(p, now);                                          // reports, resends, sends
 *	while ((n = kcp_path_recv_iov(p, ...)) > 0) { ...; kcp_path_recv_consume(p); }
 *	arm a timer for kcp_path_next_deadline(p); when it fires: kcp_path_on_deadline(p, now);
 *
 * Not thread safe. Input is authenticated and replay-checked by the caller, and still taken as hostile: whatever a peer
 * sends, a path holds at most rx_slots_max slots and a bounded amount of book-keeping.
 */
#ifndef KCP_PATH_H
#define KCP_PATH_H

#include "core/mono.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;
struct kcp_lt_memory;
struct kcp_path;
struct pool;

enum {
	KCP_PATH_LANES = 4096,	     /* lanes and flows are 0 .. 4095 */
	KCP_PATH_PIECES_MAX = 128,   /* of one message */
	KCP_PATH_SPAN = 32768,	     /* sn of a lane's pieces lie in base .. base + this */
	KCP_PATH_CHARGE_BYTES = 512, /* a piece is charged a multiple of this against the grant */
	KCP_PATH_GRANT_UNIT_BYTES = 4096,
	KCP_PATH_GRANT_MIN_BYTES = 256 << 10, /* more than any one message costs */
	KCP_PATH_GRANT_MAX_BYTES = 16 << 20,  /* ever told by this side */
	KCP_PATH_PACK_MAX = 8,		      /* messages in one datagram */
	KCP_PATH_CONTROL_MAX_BYTES = 1024,    /* bodies that kcp_path_control() keeps waiting */
};

/** What a message is; decides order, resending and deadline. */
enum kcp_path_class {
	KCP_PATH_RT,  /* unordered if it fits one piece; resent while it can arrive within 150 ms */
	KCP_PATH_ACK, /* unordered if it fits one piece; never resent then */
	KCP_PATH_CTL, /* in its lane, 1 s */
	KCP_PATH_BULK, /* in its lane, max(1 s, 4 SRTT) or as configured */
	KCP_PATH_LOOSE, /* unordered if it fits one piece, resent as RT is, but no more urgent than BULK */
	KCP_PATH_CLASSES,
};

struct kcp_path_config {
	/* Payload slots, shared by all paths of a worker and outliving them. slot_bytes >= piece_bytes; a received body longer
	 * than a slot is not taken, so it covers what the own rx_datagram_max lets in. */
	struct pool *pool;
	uint32_t
		payload_bytes; /* most bytes of segments in one datagram; at least piece_bytes + 24, and 512 */
	uint32_t piece_bytes; /* longest body of a PUSH or DGRAM sent; 64 at least */
	/* Longest message: own max(tun_mtu, rx_super_max) + 3, and the peer's. */
	uint32_t recv_message_max_bytes;
	uint32_t send_message_max_bytes;
	uint32_t rx_credit_bytes; /* grant told to the peer at first: own rx_credit_bytes */
	uint32_t
		peer_credit_bytes; /* grant of the peer until it tells another: its rx_credit_bytes */
	int64_t bulk_deadline_us; /* 0 = max(1 s, 4 SRTT) */
	/*
	 * Most slots held for what was received: 0 = 12288; at least 1024, which the smallest grant fills half. With fewer than
	 * rx_credit_bytes / 512 an honest peer's small pieces may pass it at first, and then holes are given up.
	 */
	uint32_t rx_slots_max;
	/* Most slots held for what was not yet acknowledged: 0 = 12288; at least 256 */
	uint32_t tx_slots_max;
};

enum {
	KCP_PATH_OUT_RT = 1,	 /* holds items of RT or CTL: a source of the thin encoder */
	KCP_PATH_OUT_BULK = 2,	 /* holds items of BULK: a source of the bulk encoder */
	KCP_PATH_OUT_ACK = 4,	 /* holds messages of class ACK */
	KCP_PATH_OUT_RESEND = 8, /* holds an item that was sent before */
	KCP_PATH_OUT_ASKS = 16,	 /* asks for acknowledgement */
	KCP_PATH_OUT_RACK = 32,	 /* holds a RACK */
	KCP_PATH_OUT_PROBE = 64, /* sent because nothing was acknowledged for a PTO */
	KCP_PATH_OUT_DATA = 128, /* holds PUSH, DGRAM or FWD */
	KCP_PATH_OUT_MARK_SHIFT =
		8, /* the byte above: kcp_path_mark() of what it holds, 0 without items */
};

/**
 * What a path needs of its surroundings. The callbacks run within kcp_path_flush(), kcp_path_input(),
 * kcp_path_input_done() and kcp_path_on_deadline() only, and call back into the path only where that is said.
 */
struct kcp_path_io {
	void *ctx;
	/**
	 * @ret_room  bytes for segments at the returned place (lower headers are not counted), at least payload_bytes; less
	 *            counts as NULL
	 * @return    NULL = nothing can be sent now (no session, no buffer). Then no pn is taken, nothing counts as
	 *            sent, what waited goes on waiting: the path tries again after 10 ms, doubling up to 60 s, and at every
	 *            kcp_path_flush(): call that when sending is possible again.
	 */
	uint8_t *(*begin)(void *ctx, size_t *ret_room);
	/** Follows each begin() that gave room. @pn  to be sealed with, once   @len  24 .. room   @flags KCP_PATH_OUT_... */
	void (*end)(void *ctx, uint64_t pn, size_t len, unsigned flags);
	/** Judges the body of a CONTROL before its datagram takes effect. @return false: the whole datagram is dropped */
	bool (*control_check)(void *ctx, const uint8_t *body, size_t len);
	/** Acts on a body that control_check() passed. May call kcp_path_control() and kcp_path_take_pn(). */
	void (*control)(void *ctx, const uint8_t *body, size_t len, uint64_t pn);
	/**
	 * Tells, once each, that a datagram which asked was acknowledged or declared lost (rebuilt ones too); an
	 * acknowledgement that comes late corrects a loss, and is told as well. For the search for the path MTU. Not called for KCP_PATH_EXTRA_MTU_PROBE. May not call back. NULL = not wanted.
	 *
	 * @bytes  of segments in it
	 */
	void (*fate)(void *ctx, uint64_t pn, size_t bytes, bool lost);
	/**
	 * The memory of a message is not needed any more: see kcp_path_lend(). Comes from any function that gives a message up or frees it,
	 * too. May not call back. NULL = nothing is ever lent.
	 */
	void (*loan_over)(void *ctx, void *loan);
};

/** What became of a datagram. The BAD ones have no effect. */
enum kcp_path_verdict {
	KCP_PATH_OK,
	/* This pn is here: received twice, or rebuilt before; its segments are ignored. Known of the last 2048 numbers. */
	KCP_PATH_ALREADY,
	KCP_PATH_BAD_LENGTH,  /* a segment passes the end, or bytes are left over */
	KCP_PATH_BAD_CONTROL, /* control_check() said so */
	KCP_PATH_NO_MEMORY, /* part of it was not taken and so it will not be reported: the peer sends that again */
	KCP_PATH_VERDICTS,
};

/** Short text such as "bad length"; never NULL. */
const char *kcp_path_verdict_str(enum kcp_path_verdict verdict);

/** What was to be received, as far as this side can know, and what of it was: items. Both only grow. */
struct kcp_path_arrivals {
	uint64_t due;  /* by the numbers of what came and what the peer, or the cap, gave up */
	uint64_t came; /* whole: the pieces of a message that was cut did not */
};

/** Monotonic counters. An item is a PUSH piece or a DGRAM. */
struct kcp_path_stats {
	uint64_t input[KCP_PATH_VERDICTS]; /* datagrams by verdict */
	uint64_t in_bytes;		   /* of segments */
	uint64_t in_segments;		   /* that took effect */
	uint64_t in_data;	/* PUSH, DGRAM and FWD that came, whatever became of them */
	uint64_t out_datagrams; /* put out by the path, and numbers taken by the caller */
	uint64_t out_bytes;
	uint64_t no_buffer; /* begin() gave nothing */
	/* messages */
	uint64_t sent_messages; /* accepted by kcp_path_send() */
	uint64_t sent_bytes;
	uint64_t received_messages; /* handed to the reader */
	uint64_t received_bytes;
	uint64_t expired_messages; /* given up unacknowledged, by deadline (DGRAM too) */
	uint64_t
		too_long_messages; /* given up because the path became too narrow for their pieces */
	uint64_t discarded_messages; /* received in part and passed by the peer's base */
	uint64_t broken_messages;    /* pieces that do not count down, or longer than allowed */
	/* loss */
	uint64_t acked_datagrams;
	uint64_t lost_datagrams;     /* that asked for acknowledgement; rebuilt ones too */
	uint64_t lost_quiet;	     /* that did not */
	uint64_t repaired_datagrams; /* that the peer rebuilt */
	uint64_t late_acks;	     /* of datagrams declared lost: the path reorders */
	uint64_t resent_items;
	uint64_t probes; /* sent because nothing was acknowledged for a PTO */
	uint64_t racks_sent;
	uint64_t racks_received;
	uint64_t rebuilt_datagrams; /* taken from the FEC decoder */
	uint64_t ce_reported;	    /* CE marks that the peer saw */
	uint64_t fwd_sent;
	uint64_t fwd_received;
	/* segments that were skipped, by reason */
	uint64_t skip_command; /* unknown */
	uint64_t skip_lane;    /* lane or flow beyond 4095 */
	uint64_t skip_field;   /* a length, frg or sn that the command does not allow */
	uint64_t skip_sn;      /* outside una .. una + 32768, or farther than the grant reaches */
	uint64_t skip_rack;    /* a body that breaks the rules */
	uint64_t skip_rack_ahead; /* of what was never sent */
	uint64_t skip_too_long;	  /* longer than a slot */
	uint64_t skip_rebuilt;	  /* in a rebuilt datagram what is not taken from one */
	/* duplicates and memory */
	uint64_t repeated_pieces;
	uint64_t repeated_dgrams;
	uint64_t refused_full;	 /* items not taken: rx_slots_max is held */
	uint64_t refused_pool;	 /* items not taken: the pool or the heap gave nothing */
	uint64_t holes_given_up; /* lanes moved on over the memory cap */
	uint64_t again_grant;	 /* -EAGAIN by reason */
	uint64_t again_window;
	uint64_t again_span;
};

/** Makes a path. @return 0, -EINVAL for a value out of the range stated, -ENOMEM */
int kcp_path_new(const struct kcp_path_config *config, const struct kcp_path_io *io,
	struct kcp_path **ret_path);

/** Drops everything, returns all slots. NULL is fine. */
void kcp_path_free(struct kcp_path *path);

/**
 * An instance changed: both directions begin anew with pn 0, and all lanes, flows, grants, what is in flight and what was not
 * read is dropped. Settings and counters stay.
 *
 * @rx_credit_bytes, peer_credit_bytes  as in the configuration, of the new instances
 */
void kcp_path_restart(struct kcp_path *path, uint32_t rx_credit_bytes, uint32_t peer_credit_bytes);

/**
 * Gives idle memory back: lanes past their time (90 s sending, 60 s receiving) and rings that are empty. What must be
 * remembered stays: pn, numbers seen, round-trip time, where new lanes start.
 *
 * @return  when the next call can free more; MONO_NEVER if only new traffic can change anything
 */
struct mono kcp_path_trim(struct kcp_path *path, struct mono now);

/** Whether kcp_path_trim() may find something: what carried, asked or reported anything has taken memory for it. */
bool kcp_path_spare(const struct kcp_path *path);

/** Bytes of this path on the heap, payload slots not counted. */
size_t kcp_path_memory_bytes(const struct kcp_path *path);

/** Payload slots held: sending, received, ready. */
uint32_t kcp_path_slots(const struct kcp_path *path);

/** Of them those of what is to be sent, or sent again. */
uint32_t kcp_path_tx_slots(const struct kcp_path *path);

/** Whether `segments` hold PUSH, DGRAM or FWD, or end in the middle of one. For what came and was not taken yet. */
bool kcp_path_holds_data(const void *segments, size_t len);

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/**
 * Takes a message, whole or not at all; it leaves with the next flush, or as pace allows.
 *
 * @flow    0 .. KCP_PATH_LANES - 1: lane of what is ordered, flow of what is not
 * @data    copied
 * @len     1 .. send_message_max_bytes
 * @return  0; -EAGAIN: it may not go now (grant, window, pace or the lane's span), keep it and ask again after the next
 *          input or deadline; -EMSGSIZE: longer than allowed or than 128 pieces; -EINVAL: len 0, flow or class out of range;
 *          -ENOBUFS: no slots; -ENOMEM
 */
int kcp_path_send(struct kcp_path *path, enum kcp_path_class class, uint32_t flow, const void *data,
	size_t len, struct mono now);

/**
 * Messages given from now on carry this, 0 at first; it means nothing here. Those of different marks share no datagram, and
 * end() is told the mark of each.
 */
void kcp_path_mark(struct kcp_path *path, uint8_t mark);

/**
 * The same without a copy, where it is worth it.
 *
 * @data  with 0 returned: stays as it is, unchanged, until io.loan_over() gets `loan`, which may be before this returns. With any
 *        failure the caller's
 * @loan  not NULL
 */
int kcp_path_lend(struct kcp_path *path, enum kcp_path_class class, uint32_t flow, void *data,
	size_t len, void *loan, struct mono now);

/**
 * Whether a message of `class` and `len` (0 = any that fits one piece) would leave at the next flush, so that packets wait in
 * the caller's queue and not here. If not, kcp_path_next_deadline() tells when pace lets one go; all other reasons end with
 * input. RT and CTL pass a full window, up to a tenth of the rate.
 */
bool kcp_path_room(struct kcp_path *path, enum kcp_path_class class, size_t len, struct mono now);

enum kcp_path_extra {
	KCP_PATH_EXTRA_QUIET, /* keepalive, padding: asks for no acknowledgement */
	KCP_PATH_EXTRA_ASKS,  /* holds CONTROL: asks for acknowledgement, nothing in it is resent */
	KCP_PATH_EXTRA_MTU_PROBE, /* asks for acknowledgement; its loss counts nowhere and it fills no window */
	KCP_PATH_EXTRA_REPAIR, /* of FEC, after kcp_path_repair_room() said yes: asks, is paced, fills the window */
};

/**
 * Takes the next pn for a datagram that the caller builds and sends itself, now. Every number taken must be sent: one that is
 * not counts as lost.
 *
 * @bytes  of segments in it
 */
uint64_t kcp_path_take_pn(
	struct kcp_path *path, enum kcp_path_extra extra, size_t bytes, struct mono now);

/**
 * Whether a repair may leave now. Nothing urgent waits before it, and window and pace let it go; an urgent one may also take of
 * what passes a full window, as long as half of that is left to the urgent data itself.
 */
bool kcp_path_repair_room(const struct kcp_path *path, bool urgent, struct mono now);

/** When kcp_path_repair_room() may next say yes without input or a flush; may be past; MONO_NEVER = only after such. */
struct mono kcp_path_repair_at(const struct kcp_path *path, bool urgent);

/**
 * Writes what any segment of a caller's own datagram needs to be right: wnd (4 KiB units) and ts.
 * For headers of CONTROL and PROBE that the caller builds after kcp_path_take_pn().
 */
void kcp_path_header_fields(
	const struct kcp_path *path, struct mono now, uint16_t *ret_wnd, uint32_t *ret_ts);

/**
 * Queues a CONTROL segment that goes with the next flush, beside other segments or alone.
 *
 * @body    copied, 1 .. KCP_PATH_CONTROL_MAX_BYTES and at most payload_bytes - 24
 * @return  0, -EMSGSIZE, -ENOBUFS if too much waits already, -ENOMEM
 */
int kcp_path_control(struct kcp_path *path, const void *body, size_t len);

/** Queues a WASK: asks the peer for its grant, which makes it acknowledge. */
void kcp_path_wask(struct kcp_path *path);

/**
 * No session is left to send on: forgets what would only have been an answer or a question (reports, CONTROL, WASK, WINS,
 * probes). Messages wait for their deadlines.
 */
void kcp_path_hush(struct kcp_path *path);

/** Puts out all that may go: RACK, CONTROL, FWD, resends, new items. */
void kcp_path_flush(struct kcp_path *path, struct mono now);

/* ---- receiving -------------------------------------------------------------------------------------------------- */

/**
 * Takes the segments of one authenticated datagram. Puts out nothing; call kcp_path_input_done() after one or a batch.
 *
 * @pn        its counter; passed the replay window (rebuilt ones do not)
 * @segments  plaintext behind the FEC header; borrowed. `len` 0 = keepalive
 * @ce        the outer header carried a CE mark
 * @rebuilt   made by the FEC decoder: only PUSH, DGRAM and FWD are taken, and it is reported apart
 */
enum kcp_path_verdict kcp_path_input(struct kcp_path *path, uint64_t pn, const void *segments,
	size_t len, bool ce, bool rebuilt, struct mono now);

/** Notes an authentic REPAIR, which has no segments: it asks for acknowledgement. */
void kcp_path_input_repair(struct kcp_path *path, uint64_t pn, bool ce, struct mono now);

/** Puts out what the datagrams since the last call asked for. Cheap if that is nothing. */
void kcp_path_input_done(struct kcp_path *path, struct mono now);

/**
 * Shows the next whole message where it lies, one entry a piece.
 *
 * @iov      filled; lent until kcp_path_recv_consume(), kcp_path_restart() or kcp_path_free(), and may be written to
 * @max      entries in `iov`; KCP_PATH_PIECES_MAX are always enough
 * @ret_len  bytes in all
 * @return   entries filled, -EAGAIN if none is whole, -EMSGSIZE if it has more pieces than `max`
 */
int kcp_path_recv_iov(struct kcp_path *path, struct iovec *iov, int max, size_t *ret_len);

/** Consumes what the last kcp_path_recv_iov() showed. */
void kcp_path_recv_consume(struct kcp_path *path);

/* ---- time ------------------------------------------------------------------------------------------------------- */

/** When kcp_path_on_deadline() wants to be called; MONO_NEVER for an idle path. May be past, may be early. */
struct mono kcp_path_next_deadline(const struct kcp_path *path);

/** Does what is due and flushes. Harmless when nothing is. */
void kcp_path_on_deadline(struct kcp_path *path, struct mono now);

/* ---- settings --------------------------------------------------------------------------------------------------- */

/**
 * The path MTU moved. Pieces are never cut again: those that became too long wait, or if `final`, are given up with their
 * messages.
 *
 * @return  0, -EINVAL
 */
int kcp_path_set_mtu(
	struct kcp_path *path, uint32_t payload_bytes, uint32_t piece_bytes, bool final);

void kcp_path_set_message_max(struct kcp_path *path, uint32_t recv_bytes, uint32_t send_bytes);
void kcp_path_set_bulk_deadline(
	struct kcp_path *path, int64_t deadline_us); /* 0 = max(1 s, 4 SRTT) */

/** A round-trip time known from elsewhere (the handshake), for as long as none was measured. */
void kcp_path_hint_rtt(struct kcp_path *path, int64_t rtt_us);

/** So many shards of the peer send by the same way now, with this one; 1 at first. */
void kcp_path_set_shards(struct kcp_path *path, uint32_t shards);

/**
 * By order no more than so many bits a second leave, headers down to IP counted, of this path alone; 0 = no such bound.
 */
void kcp_path_set_rate_max(struct kcp_path *path, uint64_t bps);

/** That is the rate, not its bound: whatever is lost, and whoever else is on the way. Without a bound it means nothing. */
void kcp_path_set_rate_fixed(struct kcp_path *path, bool fixed);

/** There is more to send than the path takes, and its rate has been found. */
bool kcp_path_saturated(const struct kcp_path *path);

/** What is known of the way, for an instance that follows on the same one; nothing known: all 0. */
void kcp_path_remember(const struct kcp_path *path, struct kcp_lt_memory *ret_memory);

/**
 * Begins with what is remembered: at half the rate. Does nothing if it is older than 10 minutes or the rate is known. To be
 * called before anything is sent, after kcp_path_new() or kcp_path_restart().
 */
void kcp_path_resume(struct kcp_path *path, const struct kcp_lt_memory *memory, struct mono now);

/** The peer's IP address changed: round-trip time, window and rate begin anew; pn and lanes go on. */
void kcp_path_reset_route(struct kcp_path *path, struct mono now);

/* ---- state ------------------------------------------------------------------------------------------------------ */

int64_t kcp_path_srtt_us(const struct kcp_path *path); /* 0 = not yet known */
int64_t kcp_path_rttvar_us(const struct kcp_path *path);
int64_t kcp_path_min_rtt_us(const struct kcp_path *path); /* 0 = not yet known */
uint64_t kcp_path_rate_bps(
	const struct kcp_path *path);		      /* the path was seen to carry; 0 = unknown */
bool kcp_path_contested(const struct kcp_path *path); /* others keep a queue on it */
uint64_t kcp_path_window_bytes(const struct kcp_path *path);
uint64_t kcp_path_in_flight_bytes(const struct kcp_path *path);
uint32_t kcp_path_in_flight(
	const struct kcp_path *path); /* datagrams that may still be acknowledged */
uint32_t kcp_path_loss_ppm(
	const struct kcp_path *path); /* of datagrams sent, EWMA 1/256; rebuilt = lost */
/** Of datagrams with items that are resent: how many were acknowledged. @ret_lost_row  lost since the last of them was */
uint64_t kcp_path_carried(const struct kcp_path *path, uint32_t *ret_lost_row);
uint64_t kcp_path_grant_bytes(const struct kcp_path *path);   /* of the peer: what may be charged */
uint64_t kcp_path_charged_bytes(const struct kcp_path *path); /* of it */
uint64_t kcp_path_grant_told_bytes(const struct kcp_path *path); /* what this side tells now */
uint64_t kcp_path_next_pn(const struct kcp_path *path);
bool kcp_path_largest_pn(
	const struct kcp_path *path, uint64_t *ret_pn); /* received; false: none yet */
struct kcp_path_arrivals kcp_path_arrivals(const struct kcp_path *path);
uint32_t kcp_path_tx_lanes(const struct kcp_path *path);
uint32_t kcp_path_rx_lanes(const struct kcp_path *path);
bool kcp_path_idle(const struct kcp_path *path); /* nothing waits, in flight or unread */

const struct kcp_path_stats *kcp_path_stats(const struct kcp_path *path);

#endif
