/*
 * The status document, schema "kcpctl.status/1", as plain C: vpnd fills it, kcpctl prints it.
 *
 * A number that is not known is negative (CONTROL_UNKNOWN) and a string that is not known is empty; both are null in
 * JSON, where every key is always there. control_status_init() and control_status_add_peer() make everything unknown,
 * so that whoever fills it writes only what it knows.
 */
#ifndef CONTROL_CONTROL_STATUS_H
#define CONTROL_CONTROL_STATUS_H

#include "control/control_strings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

#define CONTROL_STATUS_SCHEMA "kcpctl.status/1"

enum {
	CONTROL_QUEUES_MAX = 16,
	CONTROL_UNKNOWN = -1,
	CONTROL_NAME_BYTES = 64,     /* networks and peers: 1-63 bytes and a NUL */
	CONTROL_ENDPOINT_BYTES = 72, /* "[v6%scope]:port" */
	CONTROL_VERDICT_BYTES = 40,
};

/** Of a network: CONTROL_DOWN, _UP, _DEGRADED. Of a peer: all of them. */
enum control_state {
	CONTROL_DOWN,	    /* by order: `down`, `enabled: false`; a network: the link is down */
	CONTROL_CONNECTING, /* has endpoints and no session, or silent past dead_after */
	CONTROL_UP,
	CONTROL_DEGRADED, /* up, but with loss; a network: up, and a peer is degraded or connecting */
	CONTROL_IDLE,	  /* waits for the other side to call, or sleeps */
};

enum control_mtu_source {
	CONTROL_MTU_UNKNOWN,
	CONTROL_MTU_CONFIGURED,
	CONTROL_MTU_DERIVED,
	CONTROL_MTU_PROBED,
};

enum control_fec_code {
	CONTROL_FEC_UNKNOWN,
	CONTROL_FEC_OFF,
	CONTROL_FEC_RS,
	CONTROL_FEC_RLC,
};

/** One direction of FEC. */
struct control_fec {
	enum control_fec_code code;
	int64_t window; /* source packets a repair covers (rs: data shards) */
	double rate;	/* repairs per source packet, 0 .. */
};

struct control_drop {
	char verdict[CONTROL_VERDICT_BYTES]; /* noun of the verdict, "bad_crc" */
	uint64_t count;
};

struct control_peer {
	char name[CONTROL_NAME_BYTES];
	char public_key[CONTROL_NAME_BYTES]; /* base64; "" on the kcp-go wire */
	enum control_state state;
	bool enabled;			       /* `enabled` of the file, not the order of `down` */
	char endpoint[CONTROL_ENDPOINT_BYTES]; /* where packets go now; "" = nowhere */
	struct control_strings endpoints; /* as configured; a peer without any waits to be called */
	double endpoint_moved_age_s;	  /* since the other side's address last changed */
	double last_rx_age_s;
	double handshake_age_s; /* kcp-go wire: since the conversation began */
	double rtt_ms;
	double rtt_var_ms;
	int64_t path_mtu;	 /* bytes */
	double loss_raw_in;	 /* 0..1, before repair */
	double loss_raw_out;	 /* 0..1; unknown on the kcp-go wire */
	double loss_residual_in; /* 0..1, after repair */
	double queue_ms;	 /* wait of what leaves now */
	int64_t aqm_drops;
	int64_t aqm_marks;
	int64_t retransmits;
	int64_t rate_bps; /* estimate of the path's rate, bit/s */
	struct control_fec fec_out;
	struct control_fec fec_in;
	int64_t fec_recovered; /* packets that FEC brought back */
	int64_t fec_wasted;    /* repairs that were not needed */
	int64_t rx_bytes;      /* inner bytes */
	int64_t tx_bytes;
	int64_t rx_packets; /* inner packets */
	int64_t tx_packets;
	struct control_drop *drops; /* owned; add with control_peer_add_drop() */
	size_t drop_count;
	struct control_strings allowed_ips;
	struct control_strings warnings;
};

struct control_status {
	char network[CONTROL_NAME_BYTES];
	char version[CONTROL_NAME_BYTES];
	char wire[CONTROL_NAME_BYTES];	     /* "kcp-go", "native" */
	char public_key[CONTROL_NAME_BYTES]; /* our own, base64; "" on the kcp-go wire */
	enum control_state state;
	double uptime_s; /* since the link came up; 0 while it is down */
	struct control_strings listen;
	struct {
		char name[CONTROL_NAME_BYTES];
		int64_t ifindex;
		int64_t mtu; /* bytes */
		enum control_mtu_source mtu_source;
		struct control_strings addresses;
		int64_t queues;
		bool offload;
		/* Of each queue, if there are several: packets from and to the host, and those that another queue's worker had to send;
		   datagrams that came to its socket and were another's. */
		struct control_queue {
			int64_t rx_packets, tx_packets, handed_on, datagrams_handed_on;
		} workers[CONTROL_QUEUES_MAX];
		size_t worker_count; /* only told, not read */
	} interface;
	struct {
		char *file;	    /* owned; set with control_status_set_file() */
		int64_t generation; /* 1, then one more with each reload that changed something */
	} config;
	struct control_peer *peers; /* owned; add with control_status_add_peer() */
	size_t peer_count;
	size_t peer_capacity;
	struct control_strings warnings;
};

/** Everything unknown, nothing owned. */
void control_status_init(struct control_status *status);

/** Frees all that the document owns. All zero is fine, too. */
void control_status_fini(struct control_status *status);

/**
 * Adds a peer of which only the name is known: enabled, down, all else unknown.
 *
 * @return  borrowed, valid until the next call; NULL = out of memory
 */
struct control_peer *control_status_add_peer(struct control_status *status, const char *name);

/** Adds a drop counter. @verdict is cut to CONTROL_VERDICT_BYTES. @return 0 or -ENOMEM */
int control_peer_add_drop(struct control_peer *peer, const char *verdict, uint64_t count);

/** Copies the file's name. @return 0 or -ENOMEM */
int control_status_set_file(struct control_status *status, const char *file);

/** @return the peer of that name, borrowed, or NULL */
const struct control_peer *control_status_peer(
	const struct control_status *status, const char *name);

/** Drops all peers but the one of that name. @return false if there is none (then none is left) */
bool control_status_keep(struct control_status *status, const char *name);

/** "down", "connecting", "up", "degraded", "idle". */
const char *control_state_str(enum control_state state);

/** True for CONTROL_UP and CONTROL_DEGRADED. */
bool control_state_is_up(enum control_state state);

/** "configured", "derived", "probed"; NULL for unknown. */
const char *control_mtu_source_str(enum control_mtu_source source);

/** "off", "rs", "rlc"; NULL for unknown. */
const char *control_fec_code_str(enum control_fec_code code);

/**
 * Makes the JSON document. Bytes that are not UTF-8 become '?'.
 *
 * @return  a new reference that the caller owns, NULL = out of memory
 */
struct json_t *control_status_to_json(const struct control_status *status);

/**
 * The document's text in pieces, for a daemon that makes it little by little: what stands before the peers, the peers with
 * commas between them, and what stands behind. Together it is the compact text of control_status_to_json().
 *
 * @status      its peers are left out
 * @ret_before  up to and with the bracket that opens the peers; freed by the caller
 * @ret_after   from the bracket that closes them; freed by the caller
 * @return      0 or -ENOMEM
 */
int control_status_frame(const struct control_status *status, char **ret_before, char **ret_after);

/** @return one peer of the document as text, freed by the caller; NULL = out of memory */
char *control_peer_text(const struct control_peer *peer);

/**
 * Reads a document. Unknown keys are ignored, missing ones are unknown; strings that are too long are cut.
 *
 * @ret_status  initialised by this call; on failure it owns nothing
 * @return      0; -ERR_PROTOCOL for another schema, a key of the wrong type or a value out of range; -ENOMEM
 */
int control_status_from_json(const struct json_t *doc, struct control_status *ret_status);

#endif
