/* Wire form of a KCP segment: a 24-byte little-endian header and `len` bytes of body. */
#ifndef KCP_SEGMENT_H
#define KCP_SEGMENT_H

#include "core/mono.h"
#include "core/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_OVERHEAD_BYTES = 24, /* header of each segment */
	KCP_FRAGMENTS_MAX = 255, /* pieces of one message: frg is one byte */
};

enum kcp_cmd {
	KCP_CMD_PUSH = 81, /* data */
	KCP_CMD_ACK = 82,  /* acknowledges one PUSH */
	KCP_CMD_WASK = 83, /* asks for the window */
	KCP_CMD_WINS = 84, /* tells the window */
	/* the native wire's own; kcp-go knows none of them */
	KCP_CMD_DGRAM = 90,   /* whole unordered message */
	KCP_CMD_RACK = 91,    /* reports packet numbers */
	KCP_CMD_FWD = 92,     /* tells a lane's base */
	KCP_CMD_CONTROL = 93, /* for the layers above */
	KCP_CMD_PROBE = 94,   /* padding; with sn 1 it asks for acknowledgement */
};

enum {
	KCP_FRG_FIRST = 0x80, /* native: set on the first piece of a message */
	KCP_FRG_LEFT = 0x7f,  /* native: pieces that follow */
};

struct kcp_segment {
	uint32_t conv; /* conversation, equal on both sides */
	uint8_t cmd;   /* enum kcp_cmd, or anything else a stranger sent */
	uint8_t frg;   /* pieces of the message that follow this one */
	uint16_t wnd;  /* free receive slots of the sender of this segment */
	uint32_t ts;  /* PUSH: sender's clock in ms modulo 2^32; ACK: ts of the acknowledged PUSH */
	uint32_t sn;  /* PUSH: number; ACK: number acknowledged */
	uint32_t una; /* all before this are received */
	uint32_t len; /* bytes of `data` */
	const uint8_t *data; /* borrowed from the input; NULL in kcp_segment_peek() */
};

/** True if `a` comes before `b` in the circle of 2^32 numbers. Holds for differences below 2^31. */
static inline bool kcp_sn_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/** The wire's clock: milliseconds modulo 2^32. @now  not negative */
static inline uint32_t kcp_segment_ms(struct mono now)
{
	return (uint32_t)((uint64_t)now.us / 1000);
}

/**
 * Reads the header in front of `bytes`, without a look at the body behind it. What a session layer needs to tell
 * conversations apart.
 *
 * @return  false if there are fewer than KCP_OVERHEAD_BYTES
 */
bool kcp_segment_peek(const void *bytes, size_t len, struct kcp_segment *ret_segment);

/**
 * Takes one segment off the cursor.
 *
 * @ret_segment  header fields are set if the header was complete, even if the body is not
 * @return       false, and the cursor has failed, if header or body pass the end
 */
bool kcp_segment_read(struct wire *in, struct kcp_segment *ret_segment);

/** Writes the header of `segment`; the body is the caller's to copy behind it. @return `at` + KCP_OVERHEAD_BYTES */
uint8_t *kcp_segment_write(uint8_t at[KCP_OVERHEAD_BYTES], const struct kcp_segment *segment);

#endif
