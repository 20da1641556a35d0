/* One path with the test as its peer: what it sends is taken apart, and datagrams are made by hand. */
#ifndef TESTS_KCP_PATH_RIG_H
#define TESTS_KCP_PATH_RIG_H

#include "core/pool.h"
#include "kcp/kcp_path.h"
#include "kcp/kcp_rack.h"
#include "kcp/kcp_segment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RIG_OUT_MAX = 4096, /* segments kept of what was sent */
	RIG_PIECE_BYTES = 1000,
	RIG_PAYLOAD_BYTES = 1100,
	RIG_BODY_MAX = 1500,
};

/** A segment that the path sent. */
struct rig_segment {
	uint64_t pn;
	struct kcp_segment head; /* data is NULL */
	uint8_t body[32];	 /* its beginning */
	struct mono at;
	unsigned flags; /* of its datagram */
};

struct rig {
	struct pool pool;
	struct kcp_path *path;
	struct mono now;
	bool no_room;
	uint64_t pn; /* of the next datagram to the path */
	uint8_t room[2000];
	struct rig_segment out[RIG_OUT_MAX];
	unsigned out_count;
	unsigned datagrams;
	/* being made */
	uint8_t in[2000];
	size_t in_len;
	uint16_t wnd;
	/* last CONTROL that arrived */
	unsigned controls;
	uint64_t control_pn;
};

struct kcp_path_config rig_config(void);
void rig_open(struct rig *rig, const struct kcp_path_config *config);
void rig_close(struct rig *rig);

/** Forgets what was sent. */
void rig_clear(struct rig *rig);

/** Sent segments of a command. */
unsigned rig_count(const struct rig *rig, unsigned cmd);

/** The n-th sent segment of a command, from 0; the test fails if there is none. */
const struct rig_segment *rig_find(const struct rig *rig, unsigned cmd, unsigned n);

/** Lets time pass, serving deadlines. */
void rig_run(struct rig *rig, int64_t us);

/** Adds a segment to the datagram that is made. */
void rig_add(struct rig *rig, struct kcp_segment segment);
void rig_push(struct rig *rig, uint32_t lane, uint8_t frg, uint32_t sn, uint32_t una, uint32_t len);
void rig_dgram(struct rig *rig, uint32_t flow, uint32_t sn, uint32_t len);

/** Hands the datagram over, with the next number, and lets the path answer. */
enum kcp_path_verdict rig_give(struct rig *rig);

/** The same with a number of choice; the next stays. */
enum kcp_path_verdict rig_give_as(struct rig *rig, uint64_t pn);

/** Reports numbers first .. end - 1 as received. */
void rig_rack(struct rig *rig, uint64_t first, uint64_t end);

/** Reports all ranges given, highest first. */
void rig_rack_ranges(struct rig *rig, const struct kcp_range *ranges, unsigned count);

/** Reads a message; its length, 0 if there is none. The first bytes go to `ret_body`. */
size_t rig_read(struct rig *rig, uint8_t ret_body[8]);

#endif
