/* Two engines over an emulated link in virtual time: rate, drop-tail queue, delay, loss, reordering, duplication. */
#ifndef TESTS_KCP_LINK_H
#define TESTS_KCP_LINK_H

#include "core/pool.h"
#include "kcp/kcp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LINK_MTU_BYTES = 1350,
	LINK_WIRE_BYTES =
		56, /* IP, UDP, nonce, CRC and FEC header of each datagram, on the wire only */
};

struct link_config {
	uint64_t rate_bps;   /* 0 = no bottleneck */
	int64_t delay_us;    /* one way */
	int64_t queue_bytes; /* of the bottleneck */
	double loss;	     /* each way */
	double reorder;	     /* share of datagrams that are held back by jitter_us */
	double duplicate;
	int64_t jitter_us;
	uint64_t seed;
};

struct datagram;

/** One direction. */
struct pipe {
	struct datagram *first; /* in order of arrival */
	struct datagram *last;
	size_t waiting;
	int64_t free_at_us; /* the bottleneck has sent all it took */
	uint64_t sent;
	uint64_t lost;
	uint64_t dropped;    /* by the full queue */
	double queue_sum_us; /* queueing delay over all datagrams */
	int64_t queue_max_us;
};

struct side {
	struct link *link;
	struct kcp *kcp;
	struct pipe out; /* what this side sends */
	uint8_t room[1600];
};

struct link {
	struct link_config config;
	struct pool pool;
	struct side a;
	struct side b;
	struct mono now;
	uint64_t random;
	uint64_t wakes; /* deadlines served */
};

/** The defaults of a conversation in these tests; the pool is set by link_open(). */
struct kcp_config link_kcp_config(void);

void link_open(struct link *link, const struct link_config *config, const struct kcp_config *a,
	const struct kcp_config *b);

/** Checks that every slot is given back. */
void link_close(struct link *link);

/** A number below `below`. */
uint64_t link_random(struct link *link, uint64_t below);

/** The next instant at which something happens: an arrival or a deadline. MONO_NEVER if both sides are idle. */
struct mono link_next(const struct link *link);

/** Goes to the next instant and does what is due there. @return false if there is none up to `until` */
bool link_step(struct link *link, struct mono until);

#endif
