/* What `watch` remembers: the states that were told last, and what of them is different now. */
#ifndef VPND_CONTROL_WATCH_H
#define VPND_CONTROL_WATCH_H

#include "control/control_event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control_states;

/** All zero: nothing was told yet. */
struct control_watch {
	struct control_watched {
		char name[CONTROL_NAME_BYTES];
		int state; /* enum control_state */
	} * peers;	   /* owned */
	size_t count;
	int network; /* enum control_state */
	int64_t generation;
	bool known;
};

/**
 * Takes over the states as they are now.
 *
 * @now_ms      wall clock, since 1970
 * @ret_events  what changed, freed by the caller; NULL if nothing did
 * @return      how many, or -ENOMEM (then nothing was taken over)
 */
int control_watch_update(struct control_watch *watch, const struct control_states *states,
	const char *network, int64_t now_ms, struct control_event **ret_events);

/** All states as they were taken over last, without what was before. As control_watch_update(). */
int control_watch_all(const struct control_watch *watch, const char *network, int64_t now_ms,
	struct control_event **ret_events);

/** Forgets everything: nobody watches any more. */
void control_watch_fini(struct control_watch *watch);

#endif
