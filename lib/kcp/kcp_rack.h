/* Wire form of a RACK's body: which packet numbers arrived, and which were rebuilt. */
#ifndef KCP_RACK_H
#define KCP_RACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	KCP_RACK_RANGES_MAX = 32,
	KCP_RACK_DELAY_UNIT_US = 16,
	KCP_RACK_DELAY_MAX = UINT16_MAX,
	KCP_RACK_CE_MASK = 0xffffff,
	/* largest, delay, two counts, ce; two varints of at most 5 bytes a range */
	KCP_RACK_BODY_MAX_BYTES = 8 + 2 + 1 + 1 + 3 + 2 * KCP_RACK_RANGES_MAX * 10,
};

/** Packet numbers first .. end - 1. */
struct kcp_range {
	uint64_t first;
	uint64_t end;
};

struct kcp_rack {
	uint64_t largest;
	uint16_t
		delay; /* since it arrived, in KCP_RACK_DELAY_UNIT_US; KCP_RACK_DELAY_MAX = that or more */
	uint32_t ce;		 /* CE marks modulo 2^24 */
	unsigned received_count; /* 1 .. 32 */
	unsigned rebuilt_count;	 /* 0 .. 32 */
	/* Highest first, not touching; received[0].end = largest + 1. */
	struct kcp_range received[KCP_RACK_RANGES_MAX];
	struct kcp_range rebuilt[KCP_RACK_RANGES_MAX];
};

/** @return  false if any rule of the format is broken; `ret_rack` is unspecified then */
bool kcp_rack_read(const uint8_t *body, size_t len, struct kcp_rack *ret_rack);

/** Writes at most KCP_RACK_BODY_MAX_BYTES. @rack  by the rules above   @return bytes written */
size_t kcp_rack_write(const struct kcp_rack *rack, uint8_t *at);

#endif
