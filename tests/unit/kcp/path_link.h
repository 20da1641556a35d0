/* Two native paths over an emulated link in virtual time: rate, drop-tail queue, delay, loss, reordering, duplication. */
#ifndef TESTS_KCP_PATH_LINK_H
#define TESTS_KCP_PATH_LINK_H

#include "core/pool.h"
#include "kcp/kcp_path.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PATH_LINK_PAYLOAD_BYTES = 1436, /* segments of a datagram on a 1500 byte path */
	PATH_LINK_PIECE_BYTES = 1400,
	PATH_LINK_WIRE_BYTES = 64, /* of a datagram beyond its segments */
};

struct path_link_config {
	uint64_t rate_bps;   /* 0 = no bottleneck */
	int64_t delay_us;    /* one way */
	int64_t queue_bytes; /* of the bottleneck */
	double loss;	     /* each way */
	double reorder;	     /* share of datagrams that are held back by up to jitter_us */
	double duplicate;    /* share delivered twice, which a replay window would drop */
	int64_t jitter_us;
	uint64_t seed;
};

struct path_datagram;

struct path_pipe {
	struct path_datagram *first; /* in order of arrival */
	struct path_datagram *last;
	int64_t free_at_us;
	uint64_t sent;
	uint64_t sent_bytes;
	uint64_t lost;
	uint64_t dropped;
	double queue_sum_us;
	int64_t queue_max_us;
};

struct path_side {
	struct path_link *link;
	struct kcp_path *path;
	struct path_pipe out;
	bool no_room; /* begin() gives nothing */
	bool cut;     /* all that is sent is lost */
	uint64_t last_pn;
	bool any_pn;
	uint8_t room[PATH_LINK_PAYLOAD_BYTES + 600];
	uint8_t control[64]; /* last body that arrived */
	size_t control_len;
};

struct path_link {
	struct path_link_config config;
	struct pool pool;
	struct path_side a;
	struct path_side b;
	struct mono now;
	uint64_t random;
	uint64_t wakes;
	bool ce; /* marks all datagrams */
};

struct kcp_path_config path_link_path_config(void);

void path_link_open(struct path_link *link, const struct path_link_config *config,
	const struct kcp_path_config *a, const struct kcp_path_config *b);

/** Checks that every slot is given back. */
void path_link_close(struct path_link *link);

uint64_t path_link_random(struct path_link *link, uint64_t below);

/** Puts a datagram on the wire that a side built itself. */
void path_link_carry(struct path_side *from, uint64_t pn, const uint8_t *bytes, size_t len);

/** Loses what is under way. */
void path_link_lose(struct path_link *link);

/** The same, and numbers begin anew on both sides. */
void path_link_forget(struct path_link *link);

struct mono path_link_next(const struct path_link *link);

/** Goes to the next instant and does what is due there. @return false if there is none up to `until` */
bool path_link_step(struct path_link *link, struct mono until);

/** Steps until nothing happens before now + us, and goes there. */
void path_link_run(struct path_link *link, int64_t us);

/** Reads one message into `buf`. @return its length, 0 if there is none */
size_t path_link_read(struct path_side *side, uint8_t *buf, size_t cap);

#endif
