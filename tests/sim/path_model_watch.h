/*
 * The second naive model: an observer beside two paths. It sees every call and every datagram in the clear, keeps its own
 * account of what was accepted, sent, received, acknowledged and handed out, and judges each event by the rules of the
 * specification. It knows nothing of how a path does it, so it watches the engine and the naive peer alike.
 */
#ifndef TESTS_PATH_MODEL_WATCH_H
#define TESTS_PATH_MODEL_WATCH_H

#include "core/mono.h"
#include "kcp/kcp_path.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WATCH_MESSAGE_MAX = 65538,
	WATCH_FAILURE_BYTES = 300,
	/* in place of flags: a datagram that the caller built itself */
	WATCH_OWN = -1,
	WATCH_OWN_PROBE = -2, /* for the path MTU */
};

struct path_watch;

/** Makes an observer, to be used for many runs. Aborts without memory. */
struct path_watch *watch_new(void);
void watch_free(struct path_watch *watch);

/* What the observer must know of one side. */
struct watch_side_config {
	uint32_t payload_bytes;
	uint32_t piece_bytes;
	uint32_t rx_credit_bytes;
	int64_t bulk_deadline_us;
	uint32_t origin; /* sn of the first lane ever made */
};

/** Forgets all and begins a run with instance 0 on both sides. @trace  writes what happens to stderr */
void watch_begin(struct path_watch *watch, const struct watch_side_config config[2], bool trace);

/** Notes a failure; the first one counts. */
void watch_fail(struct path_watch *watch, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** @return what went wrong; NULL = nothing */
const char *watch_failure(const struct path_watch *watch);

/* ---- what a side does ------------------------------------------------------------------------------------------- */

/**
 * Makes up the next message of a side.
 *
 * @len  1 .. WATCH_MESSAGE_MAX; with 1 at most 256 times in a run
 * @return  its bytes, good until the next call
 */
const uint8_t *watch_next_message(struct path_watch *watch, unsigned side, size_t len);

/** The message just made was taken. @head  length of its first piece   @cut  of all others but the last   @ordered  it goes in its lane */
void watch_accepted(struct path_watch *watch, unsigned side, enum kcp_path_class class,
	uint32_t flow, size_t len, uint32_t head, uint32_t cut, bool ordered, struct mono now);

/** A datagram left. @flags  KCP_PATH_OUT_... or WATCH_OWN... */
void watch_out(struct path_watch *watch, unsigned side, uint64_t pn, const uint8_t *bytes,
	size_t len, int flags, struct mono now);

/** A datagram came in and was judged. */
void watch_in(struct path_watch *watch, unsigned side, uint64_t pn, const uint8_t *bytes,
	size_t len, enum kcp_path_verdict verdict, bool ce, bool rebuilt, struct mono now);

/** The reader got a message. */
void watch_delivered(
	struct path_watch *watch, unsigned side, const uint8_t *bytes, size_t len, struct mono now);

/** The path told the fate of a datagram. */
void watch_fate(struct path_watch *watch, unsigned side, uint64_t pn, size_t bytes, bool lost,
	struct mono now);

/** Both directions of this side begin anew with instance `epoch`. */
void watch_restart(struct path_watch *watch, unsigned side, uint32_t epoch, struct mono now);

void watch_set_mtu(struct path_watch *watch, unsigned side, uint32_t payload_bytes,
	uint32_t piece_bytes, bool final);
void watch_set_bulk_deadline(struct path_watch *watch, unsigned side, int64_t deadline_us);

/** Nothing could be sent until now. */
void watch_refused(struct path_watch *watch, unsigned side, struct mono now);

/** The side gave up holes because its memory was full: from now on gaps in what it reads are allowed. */
void watch_note_holes(struct path_watch *watch, unsigned side);

/** Looks for what should have happened by now. @srtt_us  of that side */
void watch_tick(struct path_watch *watch, unsigned side, int64_t srtt_us, struct mono now);

/* ---- the account ------------------------------------------------------------------------------------------------ */

/** What is certainly charged against the peer's grant. */
uint64_t watch_charged(const struct path_watch *watch, unsigned side, struct mono now);

/** The side says that nothing is charged, and so it is: from here on all is known again. */
void watch_charge_settled(struct path_watch *watch, unsigned side);

/** Whether nothing of this instance was given up or may have been, so that all charges are known exactly. */
bool watch_charge_exact(const struct path_watch *watch, unsigned side, struct mono now);

/** From now on nothing may be lost: what is accepted must be handed out. */
void watch_calm(struct path_watch *watch);

/** Both sides are silent: judges what is left. @fates  the side tells fates */
void watch_quiet(struct path_watch *watch, const bool fates[2]);

/** Writes to stderr what is neither acknowledged nor passed, and which datagrams carried it. */
void watch_dump(struct path_watch *watch);

struct watch_totals {
	uint64_t datagrams;
	uint64_t messages;
	uint64_t delivered;
	uint64_t given_up;
	uint64_t resent;
	uint64_t racks;
	uint64_t fwds;
	uint64_t reborn_lanes; /* that began above where they ended */
	uint64_t charge_blocked;
};

/** Summed over all runs. */
struct watch_totals *watch_totals(struct path_watch *watch);

#endif
