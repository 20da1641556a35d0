/* The two directions of a link and the commands that change and show them, without any socket. */
#ifndef LAB_COMMAND_H
#define LAB_COMMAND_H

#include "tests/lab/link_model.h"

#include <stddef.h>
#include <stdint.h>

enum {
	LAB_LINE_BYTES = 1024,	/* longest command with its end */
	LAB_REPLY_BYTES = 2048, /* longest reply with its end */
};

enum lab_direction {
	LAB_A_TO_B,
	LAB_B_TO_A,
	LAB_DIRECTIONS,
};

/* What happens to packets outside the model. */
struct lab_counters {
	uint64_t ignored;      /* link-scope multicast: the kernel's own chatter */
	uint64_t write_errors; /* the device did not take a packet */
	uint64_t no_slot;      /* more packets under way than there is room for */
};

struct lab_links {
	struct link_model direction[LAB_DIRECTIONS];
	struct lab_counters counters;
};

/**
 * Runs one command:
 *
 *     set DIR KEY=VALUE...   changes keys of link_config.h; all or nothing
 *     outage DIR TIME        loses everything for so long; 0 ends it
 *     stats                  counters as JSON: {"ab":{...},"ba":{...},"lab":{...}}
 *     show                   configuration as JSON: {"ab":{...},"ba":{...}}
 *     reset                  counters to zero
 *
 * DIR is `ab` or `a` (what A sends), `ba` or `b`, or `both`.
 *
 * @line   one command without its line break; is cut up
 * @reply  gets "ok", JSON, or "error: ..."; without a line break, always terminated
 */
void lab_command_run(
	struct lab_links *links, char *line, struct mono now, char reply[LAB_REPLY_BYTES]);

#endif
