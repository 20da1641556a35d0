/* The observer's account: what it keeps of messages, lanes and datagrams of one direction between two instances. */
#ifndef TESTS_PATH_MODEL_ACCOUNT_H
#define TESTS_PATH_MODEL_ACCOUNT_H

#include "tests/sim/path_model_watch.h"
#include "tests/sim/path_model_wire.h"

enum {
	ACCOUNT_EPOCHS = 4, /* instances whose accounts are kept */
	ACCOUNT_ARRIVALS = 4,
};

struct watch_message {
	uint32_t half_epoch;
	enum kcp_path_class class;
	uint32_t flow;
	uint32_t len;
	uint32_t head; /* length of the first piece; all others but the last have `cut` */
	uint32_t cut;
	uint32_t pieces;
	uint32_t cost;
	int64_t at_us;
	bool ordered;
	bool calm; /* accepted when nothing may be lost any more */
	int lane;
	int order;	/* place among its lane's messages */
	uint32_t rel;	/* of its first piece, from the lane's start */
	int first_item; /* its items lie in a row */
	uint32_t sent;	/* pieces that were on the wire */
	uint32_t acked; /* pieces its sender knows to be acknowledged */
	uint32_t taken; /* pieces its receiver took */
	bool late;	/* one of its pieces is */
	bool passed;	/* by a base on the wire */
	bool given_up;	/* passed without being wholly acknowledged */
	bool must;	/* it was whole at the receiver before a base passed it */
	bool delivered;
	bool too_long; /* for the path, finally */
};

/* Where a piece begins in its message. */
static inline uint32_t watch_piece_at(const struct watch_message *m, uint32_t index)
{
	return index == 0 ? 0 : m->head + (index - 1) * m->cut;
}

struct watch_item {
	int message;
	uint32_t index; /* of the piece */
	uint32_t sn;
	uint32_t sent;
	bool acked;
	bool late; /* acknowledged so late that its sender may have forgotten what it was */
	bool taken;
	bool maybe; /* in a datagram of which a part was taken */
};

struct watch_lane {
	uint32_t conv;
	bool start_known;
	uint32_t start;
	uint32_t rel_next;
	int previous; /* the same lane before it was freed; -1 = none */
	int *items;   /* by rel */
	uint32_t items_cap;
	int *messages; /* in order */
	int message_count;
	int message_cap;
	int open;	     /* first message that no base on the wire passed */
	int returned;	     /* messages whose charge is returned */
	uint32_t una_out;    /* largest base on the wire, as rel */
	int64_t una_out_at;  /* when a base was on the wire last */
	uint32_t dirty_end;  /* end of the last message that was given up */
	uint32_t told;	     /* times since there was news of the peer */
	uint32_t base_acked; /* largest base that an acknowledged datagram carried */
	int64_t accepted_at; /* last message */
	int64_t seen_at;     /* last segment that the receiver got; 0 = none */
	bool aged;	     /* its receiver may have freed it, and handed out what it held whole */
	uint32_t una_seen;   /* largest base that the receiver got */
	int delivered;	     /* place of the last message handed out; -1 = none */
};

struct watch_ref {
	int item; /* -1: a base */
	int lane;
	uint32_t una;
};

enum { FATE_OPEN, FATE_ACKED, FATE_LOST };

struct watch_dgram {
	int64_t at_us;
	uint32_t bytes;
	int first_ref;
	int refs;
	bool asks;
	bool probe; /* for the path MTU */
	bool acked; /* a RACK that its sender got listed it */
	uint8_t fate;
	int64_t fate_at_us;
	/* the receiver's side */
	uint8_t got;   /* enum watch_got */
	bool reported; /* a RACK listed it since it came */
	int64_t got_at_us;
};

enum watch_got {
	GOT_NOTHING,
	GOT_RECEIVED,
	GOT_REBUILT,
	GOT_DROPPED, /* came, and was not taken */
};

/* One direction between two instances. */
struct watch_half {
	uint32_t epoch;
	bool used;
	/* the sender */
	uint32_t origin;
	struct watch_lane *lanes;
	int lane_count;
	int lane_cap; /* their lists are kept and used again */
	struct watch_item *items;
	int item_count;
	int item_cap;
	struct watch_dgram *dgrams; /* by pn */
	int dgram_count;
	int dgram_cap;
	struct watch_ref *refs;
	int ref_count;
	int ref_cap;
	uint64_t charged;
	uint64_t limit;
	bool any_limit;
	uint64_t limit_pn;
	uint64_t acked_floor; /* all pn below are acknowledged */
	bool inexact;	      /* something was given up, or may have been, since the charge was 0 */
	/* the receiver */
	bool any_got;
	uint64_t largest;
	uint32_t ce;
	bool holes;		   /* it gave up some over its memory bound */
	bool asked;		   /* a RACK may go */
	int64_t must_report_since; /* a RACK must go 5 ms later; INT64_MAX = nothing waits */
	uint64_t arrivals[ACCOUNT_ARRIVALS];
	unsigned arrival_count;
	uint64_t *news; /* came since the last RACK */
	int news_count;
	int news_cap;
};

struct watch_side {
	struct watch_side_config config;
	uint32_t epoch;
	uint32_t piece_max;  /* of pieces that may still be sent */
	int64_t bulk_min_us; /* smallest and largest deadline in force so far */
	int64_t bulk_max_us;
	int64_t srtt_max_us;
	int64_t refused_at;
	struct watch_half halves[ACCOUNT_EPOCHS]; /* that this side sends */
	struct watch_message *messages;
	int message_count;
	int message_cap;
	int bytes_used; /* messages of one byte */
	int by_byte[256];
	uint64_t expected_charge_checks;
};

struct path_watch {
	struct watch_side sides[2];
	struct watch_totals totals;
	bool trace;
	bool calm;
	bool failed;
	char failure[WATCH_FAILURE_BYTES];
	uint8_t *pattern; /* what messages are made of */
	uint8_t buf[WATCH_MESSAGE_MAX + 8];
};

struct watch_half *watch_half(struct path_watch *watch, unsigned side, uint32_t epoch);
static inline struct watch_half *watch_current(struct path_watch *watch, unsigned side)
{
	return watch_half(watch, side, watch->sides[side].epoch);
}

/** What a side receives now. */
static inline struct watch_half *watch_coming(struct path_watch *watch, unsigned side)
{
	return watch_half(watch, 1 - side, watch->sides[side].epoch);
}

/** The message whose beginning this is; -1 = none. */
int watch_message_of(const struct path_watch *watch, unsigned side, const uint8_t *body,
	size_t body_len, bool whole);
bool watch_content_is(const struct path_watch *watch, unsigned side, int message, uint32_t from,
	const uint8_t *body, size_t len);

/** The newest life of a lane; -1 = none. */
int watch_find_lane(const struct watch_half *half, uint32_t conv);

/** The shortest time after which a side may give up a message. */
int64_t watch_shortest_us(const struct watch_side *side);

/** The longest time after which it must. */
int64_t watch_longest_us(const struct watch_side *side);

/** Returns charges that are certainly not due any more. */
void watch_settle(struct path_watch *watch, unsigned side, struct watch_half *half, int lane);

void *watch_grow(void *array, int count, int *cap, size_t entry_bytes);

#endif
