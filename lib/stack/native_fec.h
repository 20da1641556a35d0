/*
 * Where path, encoders, decoders and policy of forward error correction meet: which datagrams are sources, when repairs leave,
 * and what becomes of those that come. Inside of the native wire.
 */
#ifndef STACK_NATIVE_FEC_H
#define STACK_NATIVE_FEC_H

#include "core/mono.h"
#include "fec/loss_estimate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kcpvpn_peer;
struct native_fec;
struct session_frame;

enum {
	NATIVE_FEC_WINDOW = 48, /* told as fec_window_max */
};

/** Of a peer. Embedded in its data state; only the counters are for reading. */
struct native_fec_state {
	struct native_fec *engine; /* NULL until the first source, either way */
	struct loss_estimate loss; /* of what is sent */
	uint64_t late_acks;	   /* of the path, as far as the estimate was corrected */
	uint64_t recovered;	   /* datagrams rebuilt that had not come */
	uint64_t repairs_in, repairs_out;
	uint64_t bad_repairs; /* of repairs_in: malformed */
	uint8_t window_in;    /* of the last repair that came */
	uint8_t mark[2];      /* of each encoder's last source: kcp_path_mark() */
};

/** Slots of the node's pool. @datagram_max_bytes  UDP payload sent or received at most */
size_t native_fec_slot_bytes(size_t datagram_max_bytes);

/** No heap. */
void native_fec_init(struct native_fec_state *state);

/** Gives all memory back; counters and what is known of loss stay. */
void native_fec_fini(struct kcpvpn_peer *peer);

/** Another pair of instances: numbers and indices begin anew. */
void native_fec_restart(struct kcpvpn_peer *peer);

/** The own configuration or the peer's limits changed. */
void native_fec_configured(struct kcpvpn_peer *peer);

/** The peer's IP address changed: what is known of loss says little. */
void native_fec_new_path(struct kcpvpn_peer *peer);

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/**
 * A datagram of the path is about to leave: makes it a source if its class is protected now.
 *
 * @flags      KCP_PATH_OUT_...
 * @segments   its plaintext behind the head, padding included; copied
 * @ret_frame  PLAIN; becomes SOURCE with its index
 */
void native_fec_mark(struct kcpvpn_peer *peer, unsigned flags, uint64_t pn, const void *segments,
	size_t len, struct mono now, struct session_frame *ret_frame);

/** A datagram that asked arrived or is lost. */
void native_fec_fate(struct kcpvpn_peer *peer, bool lost, struct mono now);

/** Sends the repairs that are due and may go. Not within a callback of the path. */
void native_fec_send(struct kcpvpn_peer *peer, struct mono now);

/** When native_fec_send() may have something to do; may be past; MONO_NEVER. */
struct mono native_fec_next_deadline(const struct kcpvpn_peer *peer);

/* ---- receiving --------------------------------------------------------------------------------------------------- */

/** A SOURCE came whose segments the path took. PLAIN is fine and nothing. */
void native_fec_source(struct kcpvpn_peer *peer, const struct session_frame *frame, uint64_t pn,
	const uint8_t *segments, size_t len, struct mono now);

/** A REPAIR came. @plaintext  all of it   @ce  a queue marked it   @return false: malformed, drop it */
bool native_fec_repair(struct kcpvpn_peer *peer, const struct session_frame *frame, uint64_t pn,
	const uint8_t *plaintext, size_t len, bool ce, struct mono now);

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

/** Gives back what is idle. @return  when the next call can free more; MONO_NEVER: nothing is held */
struct mono native_fec_trim(struct kcpvpn_peer *peer, struct mono now);

/** Whether native_fec_trim() may find something. */
bool native_fec_spare(const struct kcpvpn_peer *peer);

size_t native_fec_memory_bytes(const struct kcpvpn_peer *peer);

/**
 * Repairs for each source as things are: of bulk if some was protected of late, else of what is urgent.
 *
 * @ret_window  sources that one covers at most
 * @return      0 = none are sent, and the window is 0
 */
double native_fec_rate(const struct kcpvpn_peer *peer, uint32_t *ret_window);

#endif
