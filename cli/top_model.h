/* What `top` shows: of each peer the rates since the last look, and some of what was before. No terminal here. */
#ifndef CLI_TOP_MODEL_H
#define CLI_TOP_MODEL_H

#include "control/control_status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TOP_HISTORY = 60, /* looks that are remembered */
};

enum top_sort {
	TOP_SORT_NAME,
	TOP_SORT_RATE, /* received and sent together */
	TOP_SORT_RTT,
	TOP_SORT_LOSS,
	TOP_SORT_STATE, /* the worst first */
	TOP_SORTS,
};

/** The last TOP_HISTORY values, oldest first; negative = not known. */
struct top_track {
	double values[TOP_HISTORY];
	size_t count;
};

struct top_peer {
	char name[CONTROL_NAME_BYTES];
	char endpoint[CONTROL_ENDPOINT_BYTES];
	enum control_state state;
	int64_t rx_bytes, tx_bytes, retransmits; /* as counted; negative = not known */
	double rx_bps, tx_bps;			 /* since the last look; negative = not known */
	double resent_per_s;
	double rtt_ms, queue_ms;
	double loss_in, loss_out, residual_in; /* 0..1 */
	double parity_in, parity_out;	       /* repairs per packet */
	struct top_track rx, tx, rtt;
};

struct top_model {
	struct top_peer *peers; /* in the order they are to be shown; owned */
	size_t count;
	char network[CONTROL_NAME_BYTES];
	char interface[CONTROL_NAME_BYTES];
	enum control_state state;
	double uptime_s;
	int64_t mtu;
	size_t warnings;
	enum top_sort sort;
	bool reverse;
	int64_t looked_ms; /* clock of the last look */
	bool looked;
};

/**
 * Takes over another look.
 *
 * @now_ms  of any clock that does not jump; used where the document's own time does not tell how much passed
 * @return  0 or -ENOMEM
 */
int top_model_update(struct top_model *model, const struct control_status *status, int64_t now_ms);

/** Puts the peers in the order that `sort` and `reverse` ask for. */
void top_model_sort(struct top_model *model);

/** "name", "rate", "rtt", "loss", "state". */
const char *top_sort_str(enum top_sort sort);

void top_model_fini(struct top_model *model);

#endif
