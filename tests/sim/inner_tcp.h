/*
 * One end of a TCP connection, as a model that speaks real bytes: whole IPv4 packets go out and come in, with options
 * (MSS, window scale, SACK, timestamps), so that what lies between may look at them, mark them or drop them.
 *
 * It behaves as Linux does where that decides throughput: initial window of 10, CUBIC with HyStart or NewReno, SACK with
 * RACK and a tail loss probe, proportional rate reduction, RTO of SRTT + max(200 ms, 4 var), spurious time-outs undone by
 * timestamps, delayed acknowledgements, ECN. It has no FIN, no RST and no pacing; a receiver reads at once.
 */
#ifndef TESTS_SIM_INNER_TCP_H
#define TESTS_SIM_INNER_TCP_H

#include "core/mono.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	INNER_TCP_PACKET_MAX = 9000,
	INNER_TCP_HEADER_BYTES = 52, /* IPv4, TCP and its timestamps, in front of data */
	INNER_TCP_SACKS = 3,	     /* blocks beside timestamps */
	INNER_TCP_HOLES = 1024,	     /* ranges a receiver keeps */
};

enum inner_tcp_control {
	INNER_TCP_CUBIC,
	INNER_TCP_RENO,
};

/** Takes a packet, lent for the call. */
typedef void (*inner_tcp_emit_fn)(void *ctx, const uint8_t *packet, size_t len, struct mono now);

struct inner_tcp_options {
	enum inner_tcp_control control;
	bool ecn; /* offer it, or agree to it */
	uint16_t
		mtu_bytes; /* largest packet sent, up to INNER_TCP_PACKET_MAX; the peer's MSS may be less */
	uint64_t window_bytes; /* of the receiver, up to 16 MiB - 1 */
	uint8_t src[4], dst[4];
	uint16_t src_port, dst_port;
	inner_tcp_emit_fn emit;
	void *ctx;
};

enum inner_tcp_state {
	INNER_TCP_CLOSED,
	INNER_TCP_SYN_SENT,
	INNER_TCP_SYN_RECEIVED,
	INNER_TCP_OPEN,
};

/** How the sender stands to loss. */
enum inner_tcp_phase {
	INNER_TCP_STEADY,
	INNER_TCP_REDUCING, /* for ECN or a probe that repaired something */
	INNER_TCP_RECOVERY,
	INNER_TCP_LOSS, /* after a time-out */
};

struct inner_tcp_segment; /* one that was sent */

struct inner_tcp_range {
	uint64_t first, end;
	uint64_t stamp; /* larger = changed later */
};

struct inner_tcp_stats {
	uint64_t segments; /* with data, sent; resent ones among them */
	uint64_t resent;
	uint64_t timeouts;
	uint64_t probes;     /* tail loss probes */
	uint64_t recoveries; /* reductions for loss */
	uint64_t marks;	     /* reductions for ECN */
	uint64_t undone;     /* reductions that proved needless */
	uint64_t came;	     /* segments with data received */
	uint64_t came_again; /* of them with nothing new */
	uint64_t came_early; /* beyond a hole */
	uint64_t
		came_late; /* sent before one that came earlier: the way between turned them around */
	uint64_t damaged; /* payload that is not what was sent there */
};

/** Growth of the window: RFC 9438 as Linux computes it, HyStart of the 2011 paper. Windows in segments. */
struct inner_tcp_cubic {
	uint32_t count; /* acknowledged segments for one more in the window */
	uint32_t last_max;
	uint32_t last_window;
	struct mono last_at;
	uint32_t origin;      /* window at the inflection */
	double k_s;	      /* seconds to it */
	int64_t delay_min_us; /* 0 = unknown */
	struct mono epoch_at; /* MONO_NEVER = begins with the next acknowledgement */
	uint32_t acked;
	uint32_t friendly; /* window of a standard flow */
	/* HyStart */
	bool found;
	unsigned samples;
	int64_t round_us; /* least RTT of the round */
	struct mono round_at, train_at;
	uint64_t round_end;
};

struct inner_tcp {
	struct inner_tcp_options options;
	enum inner_tcp_state state;
	struct inner_tcp_stats stats;
	bool ecn;	  /* agreed */
	uint32_t mss;	  /* payload of a full segment */
	uint64_t to_send; /* bytes the program has given so far */
	/* Called when delivered_bytes grew. May write. */
	void (*on_data)(struct inner_tcp *tcp, struct mono now);
	void *user;

	/* sending; numbers are offsets of bytes from the beginning, SYN not counted */
	uint64_t una, nxt;
	uint64_t peer_window_bytes;
	struct inner_tcp_segment *segments; /* ring */
	uint32_t ring_mask;
	uint32_t seg_first, seg_next;  /* those between are outstanding */
	uint32_t sacked, lost, resent; /* segments outstanding that are so */
	uint32_t waiting;	       /* lost ones that are to be sent again */
	uint32_t resend_hint;	       /* none waits before it */
	uint64_t fack;		       /* end of the highest that was sacked or acknowledged */
	enum inner_tcp_phase phase;
	uint64_t recover_end;			/* phase ends when this is acknowledged */
	uint32_t window, threshold;		/* segments */
	uint32_t window_part;			/* reno: acknowledged since it last grew */
	uint32_t prior_window, prior_threshold; /* for undoing */
	uint32_t reduce_from, reduce_delivered, reduce_out;
	uint32_t resent_ms; /* timestamp of the first resend of this phase; valid if resent_any */
	bool resent_any;
	bool limited; /* by the congestion window, in the last round */
	uint32_t most_out;
	uint64_t most_out_end;
	bool say_cwr;
	uint64_t cwr_end;
	struct inner_tcp_cubic cubic;

	/* time */
	int64_t srtt_us, var_us, min_rtt_us; /* 0 = unknown */
	unsigned backoff;
	struct mono rto_at;
	struct mono probe_at;	/* tail loss probe */
	struct mono reorder_at; /* when what seems reordered counts as lost */
	uint64_t probe_end;	/* 0 = no probe is out */
	bool probe_resent;

	/* RACK */
	struct mono rack_at; /* when the newest delivered segment was sent */
	uint64_t rack_end;
	int64_t rack_rtt_us;
	bool reordered; /* ever */
	unsigned rack_steps;

	/* receiving */
	uint64_t delivered_bytes;
	struct inner_tcp_range ranges[INNER_TCP_HOLES]; /* beyond it, in order */
	uint32_t range_count;
	uint64_t stamp;
	uint64_t again_first, again_end; /* DSACK to be told; equal = none */
	uint32_t peer_iss;
	uint32_t newest_ms; /* timestamp of the segment with data sent last among those that came */
	uint32_t peer_ms;   /* to be echoed */
	uint64_t told_ack;  /* in the acknowledgement sent last */
	unsigned unacked;   /* segments */
	unsigned quick;	    /* more segments acknowledged at once */
	bool say_ece;
	struct mono ack_at; /* delayed */
};

/** Prepares a closed end; allocates its ring. */
void inner_tcp_init(struct inner_tcp *tcp, const struct inner_tcp_options *options);
void inner_tcp_fini(struct inner_tcp *tcp);

/** Sends a SYN. The other end needs no call: it answers. */
void inner_tcp_open(struct inner_tcp *tcp, struct mono now);

/** More to be sent; UINT64_MAX / 2 = without end. Goes out as windows allow. */
void inner_tcp_write(struct inner_tcp *tcp, uint64_t bytes, struct mono now);

/** A packet came whose addresses and ports are this connection's. `packet` is whole. */
void inner_tcp_input(struct inner_tcp *tcp, const uint8_t *packet, size_t len, struct mono now);

struct mono inner_tcp_next_deadline(const struct inner_tcp *tcp);
void inner_tcp_on_deadline(struct inner_tcp *tcp, struct mono now);

/** Segments that fly, by what is known. */
uint32_t inner_tcp_in_flight(const struct inner_tcp *tcp);

#endif
