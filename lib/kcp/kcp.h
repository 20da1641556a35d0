/*
 * One KCP conversation: messages in, segments out; segments in, messages out, whole, once and in order.
 *
 * Wire and behaviour are those of kcp-go (two profiles of constants and rules). The engine does no I/O and reads no
 * clock: every call takes `now`, datagrams leave through `struct kcp_output`, and instead of a periodic update there
 * is a deadline. How a caller drives it:
 *
 *	kcp_send(k, ...); kcp_flush(k, false, now);              // a write goes out at once
 *	for each datagram of a batch: kcp_input(k, ..., now);    // takes it in, puts out nothing
 *	kcp_input_done(k, now);                                  // acknowledges, resends, sends what now fits
 *	while (kcp_recv_iov(k, ...) > 0) { ...; kcp_recv_consume(k); }
 *	arm a timer for kcp_next_deadline(k); when it fires: kcp_on_deadline(k, now);
 *
 * Not thread safe; a conversation belongs to one worker. Nothing is allocated per segment in steady state: payload
 * lies in slots of the caller's pool, book-keeping in rings that grow by doubling up to the windows and shrink by
 * kcp_trim(). All input is taken as hostile: see kcp_input().
 */
#ifndef KCP_KCP_H
#define KCP_KCP_H

#include "core/mono.h"
#include "kcp/kcp_segment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;
struct kcp;
struct pool;

enum {
	KCP_MTU_MIN_BYTES = 50,
	KCP_MTU_MAX_BYTES = 65535,
	KCP_WND_MAX = 32767,	    /* segments; send and receive window */
	KCP_SEND_QUEUE_MAX = 65535, /* segments; bound of send_queue_max_segments */
	KCP_WND_DEFAULT = 32,	    /* what a peer's window is taken for until it told */
	KCP_ACK_DELAY_US =
		2000, /* with measured_window: late acks are resends and bursts to the peer */
	KCP_MEASURED_WND_MIN = 32, /* segments; the measured window never falls below */
	KCP_FORGOT_SEGMENTS =
		3, /* so many in a row that ask for what was acknowledged are suspicious */
	KCP_FORGOT_US =
		1000000, /* then the peer is asked; for so long it may answer, at least 2 x RTO */
	KCP_FORGOT_ASKS = 4,	   /* in which time it is asked so often, should that be lost */
	KCP_PEER_MTU_BYTES = 1500, /* kcp-go's peers never send longer UDP payloads */
};

/** Which kcp-go is imitated. The bytes are the same; 5.6.72 acknowledges and recovers sooner and probes sooner. */
enum kcp_profile {
	KCP_PROFILE_5_6_1,
	KCP_PROFILE_5_6_72,
};

struct kcp_config {
	uint32_t conv;
	enum kcp_profile profile;
	uint32_t
		mtu_bytes; /* most bytes of one datagram of segments, headers of lower layers not counted */
	bool nodelay; /* RTO floor 30 ms instead of 100, slower back-off */
	uint32_t
		interval_ms; /* 10..5000 (others are clamped): how long acks and small writes may wait */
	uint32_t fast_resend; /* later acks after which a segment is resent; 0 = off */
	bool no_congestion_window;
	uint32_t snd_wnd; /* segments in flight, 1..KCP_WND_MAX */
	uint32_t rcv_wnd; /* segments held for the reader, 1..KCP_WND_MAX */
	bool stream; /* writes merge into full segments and boundaries are lost; else messages stay whole */
	/* Acknowledgements alone wait so long after the last flush at most; at most interval_ms. 0: KCP_ACK_DELAY_US with
	 * measured_window, else interval_ms */
	uint32_t ack_delay_us;
	bool ack_no_delay; /* acknowledge in every kcp_input_done() instead of once an interval */
	/* In flight at most 1.25 x what the path was measured to hold (KCP_MEASURED_WND_MIN..snd_wnd), new data paced at 1.25 x
	 * its rate, losses found by time instead of a number of later acks (if fast_resend is on), timeouts a little longer, acks
	 * of several datagrams in one. Off: snd_wnd, in bursts, as kcp-go does. */
	bool measured_window;
	/* With measured_window: datagrams of an FEC group. What parity may yet bring back is not sent again. 0 = no FEC */
	uint32_t group_datagrams;
	/*
	 * The link counts as dead while something is in flight and nothing was acknowledged for so long, and for good as
	 * soon as the peer is seen to have restarted (KCP_FORGOT_US); 0 = never, for both
	 */
	int64_t dead_link_us;
	uint32_t
		send_queue_max_segments; /* not yet sent, 1..KCP_SEND_QUEUE_MAX; kcp_send() refuses beyond */
	/* Payload slots, shared with other conversations of the worker and outliving them. slot_bytes >= mtu_bytes - 24;
	 * KCP_PEER_MTU_BYTES - 24 takes what peers with any MTU send. */
	struct pool *pool;
	uint32_t start_sn; /* first number of both directions; 0 but in tests */
};

enum {
	KCP_OUT_PUSH = 1,	/* holds data */
	KCP_OUT_ACK = 2,	/* holds acknowledgements */
	KCP_OUT_PROBE = 4,	/* asks for or tells a window */
	KCP_OUT_RESEND = 8,	/* holds data that was sent before */
	KCP_OUT_MARK_SHIFT = 8, /* the byte above: kcp_mark() of the data it holds, 0 without */
};

/**
 * Where datagrams go. begin and end come in pairs, within kcp_flush(), kcp_input_done() and kcp_on_deadline() only;
 * they must not call back into the conversation.
 */
struct kcp_output {
	void *ctx;
	/** @return  room for mtu_bytes, valid until end(); NULL = none now: the datagram counts as lost on the way */
	uint8_t *(*begin)(void *ctx);
	/** @len 24..mtu_bytes written there   @flags KCP_OUT_... */
	void (*end)(void *ctx, size_t len, unsigned flags);
};

/** What became of a datagram. Segments in front of a bad one were applied. */
enum kcp_input_verdict {
	KCP_INPUT_OK,
	KCP_INPUT_SHORT,      /* less than one header */
	KCP_INPUT_WRONG_CONV, /* a segment of another conversation */
	KCP_INPUT_BAD_LEN,    /* a body that passes the end */
	KCP_INPUT_BAD_CMD,    /* an unknown command */
	KCP_INPUT_CLOSED,     /* after kcp_close() */
	KCP_INPUT_VERDICTS,   /* number of verdicts */
};

/** Short text such as "wrong conv"; never NULL. */
const char *kcp_input_verdict_str(enum kcp_input_verdict verdict);

/** Monotonic counters. "lost", "fast" and "early" are data segments sent again, by reason. */
struct kcp_stats {
	uint64_t input[KCP_INPUT_VERDICTS]; /* datagrams by verdict */
	uint64_t in_segments;		    /* taken off datagrams, all commands */
	uint64_t out_segments;		    /* written, all commands, resends included */
	uint64_t out_datagrams;
	uint64_t no_buffer;	  /* datagrams that begin() had no room for */
	uint64_t sent_bytes;	  /* accepted by kcp_send() */
	uint64_t received_bytes;  /* handed to the reader */
	uint64_t lost_segments;	  /* resent by timeout */
	uint64_t fast_segments;	  /* resent for later acks */
	uint64_t early_segments;  /* resent for a later ack with nothing new to send */
	uint64_t repeat_segments; /* data that was here before */
	uint64_t told_windows;	  /* WINS received */
	uint64_t out_of_window;	  /* data beyond the receive window */
	uint64_t bad_ack;	  /* ACK of what was never sent */
	uint64_t bad_una;	  /* una beyond what was sent; ignored */
	uint64_t
		bad_fragment; /* frg that no receive window could hold, or fragments that do not count down */
	uint64_t too_long;     /* data longer than a slot */
	uint64_t pool_empty;   /* data dropped unacknowledged because no slot or memory was left */
	uint64_t ack_overflow; /* acknowledgements not noted because too many waited */
};

/**
 * Makes a conversation. Copies `config` and `output`; borrows the pool.
 *
 * @return  0, -EINVAL for a value out of the range stated (or a pool with too small slots), -ENOMEM
 */
int kcp_new(const struct kcp_config *config, const struct kcp_output *output, struct kcp **ret_kcp);

/** Closes and frees; NULL is fine. Sends nothing: KCP has no end on the wire. */
void kcp_free(struct kcp *kcp);

/**
 * Drops what is queued, in flight and received, and returns all slots. Afterwards sending gives -ERR_CLOSED,
 * receiving -ERR_CLOSED, input KCP_INPUT_CLOSED, and there is no deadline. Doing it twice is fine.
 */
void kcp_close(struct kcp *kcp);

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/**
 * Queues a message (stream: bytes). All or nothing; it leaves with the next kcp_flush().
 *
 * @data    copied
 * @return  0; -EINVAL if `len` is 0; -EMSGSIZE if a message needs more than KCP_FRAGMENTS_MAX segments (message mode)
 *          or more than the whole send queue; -EAGAIN if the send queue has no room now; -ENOBUFS if the pool has no slots,
 *          -ENOMEM; -ERR_CLOSED
 */
int kcp_send(struct kcp *kcp, const void *data, size_t len, struct mono now);

/**
 * The same of a message of one segment that its maker writes where it will stay: a copy less. Not in stream mode.
 *
 * @len   1 .. kcp_mss_bytes()
 * @make  writes `len` bytes; called only if 0 is returned
 * @return as kcp_send(); -EINVAL in stream mode, -EMSGSIZE for what is longer than a segment
 */
int kcp_send_made(struct kcp *kcp, size_t len, void (*make)(void *ctx, uint8_t *at), void *ctx);

/** Segments that kcp_send() would accept now. A message of n bytes needs (n + mss - 1) / mss. */
uint32_t kcp_send_space(const struct kcp *kcp);

/** Payload bytes of one full segment: mtu_bytes - KCP_OVERHEAD_BYTES. */
uint32_t kcp_mss_bytes(const struct kcp *kcp);

/** True if a segment queued now would leave at the next flush: nothing waits and no window is full. */
bool kcp_can_send_now(const struct kcp *kcp);

/**
 * Full segments that could be queued now and would leave at the next flush or within the next milliseconds: what windows
 * and pace allow less what is queued already, and no more than kcp_send_space(). A caller with a queue of its own asks this, so that packets wait there and not here.
 */
uint32_t kcp_send_room(const struct kcp *kcp, struct mono now);

/**
 * Puts out all that may go: acknowledgements, probes, resends that are due, and queued data as far as the windows
 * allow, packed into datagrams.
 *
 * @acks_only  acknowledgements (and in profile 5.6.72 probes), no data
 */
void kcp_flush(struct kcp *kcp, bool acks_only, struct mono now);

/** Queues a window probe (WASK) for the next flush: every live KCP peer answers it, so it serves as keep-alive. */
void kcp_wask(struct kcp *kcp, struct mono now);

/** Queues a WINS for the next flush: tells the peer window and edge without being asked. */
void kcp_tell(struct kcp *kcp);

/* ---- receiving -------------------------------------------------------------------------------------------------- */

/**
 * Takes a datagram of segments. Puts out nothing: call kcp_input_done() after one or a batch.
 *
 * Bounds: memory grows to the windows and no further whatever comes; data that finds no slot is dropped
 * unacknowledged; numbers outside the windows change nothing and are counted.
 *
 * @data       one datagram, lower layers' headers taken off; borrowed for the call
 * @recovered  rebuilt by FEC: its window and its round-trip time are stale and not used
 */
enum kcp_input_verdict kcp_input(
	struct kcp *kcp, const void *data, size_t len, bool recovered, struct mono now);

/** Puts out what the datagrams since the last call asked for. Cheap if that is nothing. */
void kcp_input_done(struct kcp *kcp, struct mono now);

/** Bytes of the next message, or -EAGAIN if none is complete, -ERR_CLOSED. */
int64_t kcp_peek_len(struct kcp *kcp);

/**
 * Copies the next message and consumes it.
 *
 * @ret_len  its length; 0 is possible (other KCPs send empty messages)
 * @return   0, -EAGAIN if none is complete, -EMSGSIZE if `cap` is too small (it stays), -ERR_CLOSED
 */
int kcp_recv(struct kcp *kcp, void *buf, size_t cap, size_t *ret_len);

/**
 * Shows the next message where it lies, one entry a segment. In stream mode as many segments as there are and fit.
 *
 * @iov      filled; the bytes are lent until kcp_recv_consume(), kcp_recv() or kcp_close(), and may be written to
 * @max      entries in `iov`, at least 1; KCP_FRAGMENTS_MAX + 1 are always enough
 * @ret_len  bytes in all
 * @return   entries filled (>= 1), -EAGAIN if no message is complete, -EMSGSIZE if it has more than `max` segments,
 *           -ERR_CLOSED
 */
int kcp_recv_iov(struct kcp *kcp, struct iovec *iov, int max, size_t *ret_len);

/** Consumes what the last kcp_recv_iov() showed. A window that was full is told to the peer by the next flush. */
void kcp_recv_consume(struct kcp *kcp);

/* ---- time ------------------------------------------------------------------------------------------------------- */

/**
 * When kcp_on_deadline() wants to be called; MONO_NEVER for an idle conversation. May be in the past (now), and may
 * be early: then the call finds nothing to do and the next deadline is later. Changes with every other call.
 */
struct mono kcp_next_deadline(const struct kcp *kcp);

/** Does what is due. Harmless when nothing is. */
void kcp_on_deadline(struct kcp *kcp, struct mono now);

/**
 * True if the link was found dead, see dead_link_us. The engine goes on trying: what was dead for want of progress alone is
 * alive with the next acknowledgement, or when a closed window opens.
 */
bool kcp_is_dead(const struct kcp *kcp);

/** Replaces the configuration's dead_link_us, 0 = never. */
void kcp_set_dead_link(struct kcp *kcp, int64_t dead_link_us);

/* ---- settings and state ----------------------------------------------------------------------------------------- */

/** Sets both windows, 1..KCP_WND_MAX segments; out of range: -EINVAL and nothing changes. */
int kcp_set_windows(struct kcp *kcp, uint32_t snd_wnd, uint32_t rcv_wnd);

/** Replaces the configuration's measured_window; when acknowledgements leave stays as it was. */
void kcp_set_measured_window(struct kcp *kcp, bool measured);

/**
 * By order no more than so many bits a second leave, of what kcp_spent() is told; 0 = no such bound. What is new waits for it;
 * what is sent again, or answers, only counts.
 */
void kcp_set_rate_max(struct kcp *kcp, uint64_t bps);

/** A datagram left, of so many bytes as the bound counts them. To be called from within end() or at any time. */
void kcp_spent(struct kcp *kcp, size_t bytes, struct mono now);

/** Data given from now on carries this, 0 at first; it means nothing here. Data of different marks shares no datagram. */
void kcp_mark(struct kcp *kcp, uint8_t mark);

/**
 * @return  0; -EINVAL out of range or longer than the pool's slots; -EBUSY if a segment that would not fit is queued or
 *          unacknowledged: try again when kcp_in_flight() and kcp_queued() are 0, or later
 */
int kcp_set_mtu(struct kcp *kcp, uint32_t mtu_bytes);

/** Gives memory that is not in use back: rings that are empty are freed. For conversations that fell idle. */
void kcp_trim(struct kcp *kcp);

/** Bytes of this conversation on the heap, payload slots not counted. */
size_t kcp_memory_bytes(const struct kcp *kcp);

/** Payload slots that this conversation holds at most: in flight, queued, received. */
uint32_t kcp_slots(const struct kcp *kcp);

uint32_t kcp_conv(const struct kcp *kcp);
uint32_t kcp_in_flight(const struct kcp *kcp);	     /* segments sent and not acknowledged */
uint32_t kcp_queued(const struct kcp *kcp);	     /* segments not yet sent */
uint64_t kcp_queued_bytes(const struct kcp *kcp);    /* payload bytes not yet sent */
uint64_t kcp_in_flight_bytes(const struct kcp *kcp); /* payload bytes sent and not acknowledged */
uint32_t kcp_readable(const struct kcp *kcp);	   /* segments in order that wait for the reader */
uint32_t kcp_remote_window(const struct kcp *kcp); /* segments the peer last said it can take */
uint32_t kcp_srtt_ms(const struct kcp *kcp);	   /* 0 = not yet measured */
uint32_t kcp_rttvar_ms(const struct kcp *kcp);
uint32_t kcp_rto_ms(const struct kcp *kcp);
int64_t kcp_min_rtt_us(const struct kcp *kcp); /* of the last 10 s; 0 = not yet measured */
uint64_t kcp_delivery_bps(
	const struct kcp *kcp); /* bits/s of segments the path was seen to carry; 0 = unknown */
uint32_t kcp_resent_ppm(const struct kcp
		*kcp); /* of what was sent of late, had to be sent again; 0 = nothing, or unknown */
uint32_t kcp_measured_window(
	const struct kcp *kcp); /* full segments; snd_wnd if measured_window is off */
const struct kcp_stats *kcp_stats(const struct kcp *kcp);

/** The state as kcp-go's transcripts print it, in their order. For tests; walks the window. */
struct kcp_debug_state {
	uint32_t snd_una, snd_nxt, rcv_nxt;
	uint32_t cwnd, ssthresh, incr;
	uint32_t srtt, rttvar, rto;
	uint32_t rmt_wnd;
	uint32_t
		state; /* 0xffffffff after 20 transmissions of one segment; kcp-go itself never looks at it */
	uint32_t nsnd_buf, nsnd_que, nrcv_buf, nrcv_que;
	uint32_t probe;		/* 1 ask, 2 tell */
	uint32_t nack;		/* acknowledgements that wait */
	int32_t nearest_due_ms; /* not printed: from `now` to the nearest resend; INT32_MAX = none */
};

void kcp_debug_state(const struct kcp *kcp, struct mono now, struct kcp_debug_state *ret_state);

#endif
