/* What `watch` tells: a network or a peer is in another state than before, or another configuration is in force. */
#ifndef CONTROL_CONTROL_EVENT_H
#define CONTROL_CONTROL_EVENT_H

#include "control/control_status.h"

#include <stddef.h>
#include <stdint.h>

struct json_t;

enum control_event_kind {
	CONTROL_EVENT_NETWORK, /* its state */
	CONTROL_EVENT_PEER,    /* a peer's state */
	CONTROL_EVENT_ADDED,   /* a peer came; its state is as given */
	CONTROL_EVENT_REMOVED, /* a peer went; it has no state any more */
	CONTROL_EVENT_CONFIG,  /* a reload, or an order about peers, changed the configuration */
};

/** At the beginning of a watch each state is told once, without what was before. */
struct control_event {
	enum control_event_kind kind;
	int64_t time_ms;	       /* wall clock, since 1970 */
	char name[CONTROL_NAME_BYTES]; /* of the network or the peer */
	int state;		       /* enum control_state; CONTROL_UNKNOWN = none */
	int was;		       /* the same, before; CONTROL_UNKNOWN = not known */
	int64_t generation;	       /* CONTROL_EVENT_CONFIG; else CONTROL_UNKNOWN */
};

/** "network", "peer", "added", "removed", "config". */
const char *control_event_kind_str(enum control_event_kind kind);

/**
 * Makes the notification "watch".
 *
 * @ret_len  without the NUL; may be NULL
 * @return   one line with its line break, freed by the caller; NULL = out of memory
 */
char *control_event_encode(const struct control_event *events, size_t count, size_t *ret_len);

/**
 * Reads one event of such a notification.
 *
 * @doc    its parameters
 * @return 0; -ENOENT behind the last; -ERR_PROTOCOL
 */
int control_event_from_json(
	const struct json_t *doc, size_t index, struct control_event *ret_event);

#endif
