/*
 * Inside of a node: what the files of this layer share. Programs use kcpvpn/node.h.
 *
 *      kcpvpn_conv_send()                                      kcpvpn_conv_recv()
 *            |                                                        ^
 *      conv.c: kcp_send, kcp_flush                            kcp_recv        (lib/kcp)
 *            v                                                        |
 *      conv_output.c: FEC header, parity                      kcp_input, rebuilt ones (lib/fec)
 *            v                                                        |
 *      tx_batch.c: packet_seal, send                          node_input.c: packet_open, admission
 *            v                                                        ^
 *      struct kcpvpn_udp_port                                 kcpvpn_node_input()
 */
#ifndef STACK_NODE_H
#define STACK_NODE_H

#include "core/list.h"
#include "core/mono.h"
#include "core/pool.h"
#include "core/rand.h"
#include "core/wheel.h"
#include "fec/fec_decoder.h"
#include "fec/fec_encoder.h"
#include "fec/fec_matrix.h"
#include "kcp/kcp.h"
#include "kcpvpn/node.h"
#include "session/session.h"
#include "session/session_table.h"
#include "stack/tx_batch.h"

#include <stdbool.h>
#include <stdint.h>

struct cipher;
struct traffic_classifier;

enum {
	NODE_TRIM_AFTER_US =
		5000000,      /* a conversation quiet for so long gives its spare memory back */
	NODE_AGAIN_US = 1000, /* least wait for a deadline that has passed already */
	NODE_REMNANT_US =
		10000000,	/* a conversation from before our start is answered for so long */
	NODE_REMNANTS_MAX = 16, /* of them at once; the oldest makes room */
	NODE_REMNANT_TELL_US = 100000, /* and not more often than this */
	NODE_KEEP_SLOTS = 256,	       /* free slots kept for the next burst */
};

struct kcpvpn_node {
	struct kcpvpn_config config; /* `key` is NULL: the cipher has it */
	struct cipher *cipher;
	struct rand_source random;
	struct session_table table;
	struct wheel wheel;   /* one timer for each conversation that has a deadline */
	struct pool segments; /* payload of segments, of all conversations */
	struct pool shards;   /* FEC shards, of all conversations */
	struct fec_matrix_cache matrices;
	struct tx_batch tx;
	struct list convs;    /* all, also those closed and not yet freed */
	struct list remnants; /* not among them; oldest first */
	uint32_t remnants_count;
	struct list ready;	   /* with events for the program */
	struct list dirty;	   /* something changed: flush and arm the timer anew */
	struct mono now;	   /* of the last call that brought it */
	struct kcpvpn_stats stats; /* the node's own, and what freed conversations had counted */
	bool has_fec;		   /* own FEC is on: datagrams carry its header */
	uint32_t header_bytes;	   /* crypt header */
	uint32_t kcp_mtu_bytes;	   /* room for segments in a datagram */
	struct traffic_classifier
		*classifier; /* NULL = no conversation sends what is urgent out of band */
};

struct kcpvpn_conv {
	struct session_table_node table_node; /* port and remote address */
	struct list in_convs;		      /* or in the node's remnants */
	struct list in_ready;
	struct list in_dirty;
	struct wheel_timer timer;
	struct kcpvpn_node *node;
	const struct kcpvpn_udp_port *port;
	struct kcpvpn_endpoint local; /* where its datagrams arrive; answers leave from there */
	struct kcp *kcp;
	struct fec_encoder encoder;  /* zeroed without own FEC */
	struct fec_decoder *decoder; /* made by the first datagram with an FEC header */
	struct session session;
	struct list oob; /* received and not taken, oldest first */
	uint32_t oob_count;
	uint32_t number;
	unsigned events; /* enum kcpvpn_event, not yet told */
	uint32_t
		blocked_segments; /* kcpvpn_conv_send() was refused for want of so much room, 0 = was not */
	uint32_t burst_segments; /* kcpvpn_conv_set_burst() */
	bool wants_window;	 /* kcpvpn_conv_window_room() gave 0 */
	bool wants_flush;	 /* data to be sent */
	bool wants_input_done;	 /* datagrams were taken since the last flush */
	bool sent_data;		 /* data left since the session was last told */
	bool remnant;	 /* began before our start: the program does not see it, it holds nothing */
	bool oob_urgent; /* kcpvpn_conv_set_urgent_oob() */
	uint8_t mark;	 /* DSCP of what is given now */
	int dscp;	 /* of datagrams, or KCPVPN_DSCP_AS_MARKED */
	bool fec_number_known;
	uint32_t fec_number; /* highest FEC sequence number received */
	enum kcpvpn_close_reason closed;
	struct mono told_at;	/* remnant: the last answer; MONO_NEVER = none yet */
	struct mono trim_at;	/* MONO_NEVER = trimmed already */
	struct mono last_rx_at; /* MONO_NEVER = nothing yet */
	struct kcpvpn_conv_stats
		counters; /* only the counters of this layer; the rest is asked for */
	void *user;
};

/** Bytes that a slot of a pool costs: itself, what stands before it, and what rounds it up. */
static inline uint64_t node_slot_cost(size_t slot_bytes)
{
	return (slot_bytes + 2 * (uint64_t)POOL_ALIGN_BYTES - 1) / POOL_ALIGN_BYTES *
	       POOL_ALIGN_BYTES;
}

/* node.c */

/** What a new conversation is to be. */
enum node_conv_role {
	NODE_CONV_NEW,
	NODE_CONV_REPLACEMENT, /* of one that is about to end: it may be one more than convs_max */
	NODE_CONV_REMNANT,     /* has a bound of its own, at which the oldest goes */
};

/**
 * Makes a conversation that is in the table and has no events. `local` may have family 0.
 *
 * @return 0, -ENOBUFS at the bound, -ENOMEM; then nothing has changed
 */
int node_conv_new(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port,
	const struct kcpvpn_endpoint *remote, const struct kcpvpn_endpoint *local, uint32_t number,
	enum node_conv_role role, struct kcpvpn_conv **ret_conv);
void node_conv_free(struct kcpvpn_conv *conv);

/** Adds events to what the program is told. */
void conv_raise(struct kcpvpn_conv *conv, unsigned events);

/** Something changed: kcpvpn_node_flush() will look at it. */
void conv_touch(struct kcpvpn_conv *conv);

/* conv.c */

/** Ends a conversation from within: it leaves the table, drops its data and tells the program. */
void conv_expire(struct kcpvpn_conv *conv, enum kcpvpn_close_reason reason);

/** Tells the program if there is room again that it asked for. */
void conv_tell_room(struct kcpvpn_conv *conv);

/** Sends what is to go, tells the session, sets the timer. */
void conv_settle(struct kcpvpn_conv *conv, struct mono now);

/** Does what is due. */
void conv_on_deadline(struct kcpvpn_conv *conv, struct mono now);

/** Adds what KCP and FEC counted for this conversation to `sum`. */
void conv_add_stats(const struct kcpvpn_conv *conv, struct kcpvpn_stats *sum);

/* conv_output.c */

/** What struct kcp_output needs, with the conversation as context. */
uint8_t *conv_output_begin(void *ctx);
void conv_output_end(void *ctx, size_t len, unsigned flags);

/**
 * Adds the datagram whose payload (from the FEC header on, if there is one) stands at `payload`, in the slot of the batch.
 *
 * @mark  DSCP of what it holds
 */
void conv_output_add(struct kcpvpn_conv *conv, uint8_t *payload, size_t len, unsigned mark);

/* conv_oob.c */

/** Keeps a received message for the program. */
void conv_oob_received(struct kcpvpn_conv *conv, const uint8_t *data, size_t len);
void conv_oob_drop_all(struct kcpvpn_conv *conv);

/** Whether a message is an IP packet that goes out of band, being urgent. Counts it to its flow. */
bool conv_oob_takes(struct kcpvpn_conv *conv, const void *packet, size_t len, struct mono now);

#endif
