/*
 * The head of a sealed datagram's plaintext: what kind of datagram it is and where its forward error correction counts it.
 *
 *   kind u8 | cidx u24 | KCP segments                                   PLAIN, SOURCE
 *   kind u8 | cidx u24 | id u32 | window u8 | zero u8 | repair symbol   REPAIR
 *
 * Little-endian. An empty plaintext is a keepalive.
 */
#ifndef SESSION_SESSION_FRAME_H
#define SESSION_SESSION_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum {
	SESSION_FRAME_BYTES = 4,	 /* head of PLAIN and SOURCE */
	SESSION_FRAME_REPAIR_BYTES = 10, /* head of REPAIR */
	SESSION_FRAME_SEGMENT_BYTES = 24,
	SESSION_FRAME_SYMBOL_BYTES = 6, /* what a symbol holds in front of its segments */
	/* Each carries at least one segment's header. */
	SESSION_FRAME_PLAINTEXT_BYTES_MIN = SESSION_FRAME_BYTES + SESSION_FRAME_SEGMENT_BYTES,
	SESSION_FRAME_REPAIR_PLAINTEXT_BYTES_MIN = SESSION_FRAME_REPAIR_BYTES +
						   SESSION_FRAME_SYMBOL_BYTES +
						   SESSION_FRAME_SEGMENT_BYTES,
	SESSION_FRAME_CIDX_MASK = 0xffffff,
};

/* The wire's numbers. */
enum session_frame_kind {
	SESSION_FRAME_PLAIN = 0,
	SESSION_FRAME_SOURCE_THIN = 1,
	SESSION_FRAME_SOURCE_BULK = 2,
	SESSION_FRAME_REPAIR_THIN = 3,
	SESSION_FRAME_REPAIR_BULK = 4,
};

enum session_frame_verdict {
	SESSION_FRAME_OK,
	SESSION_FRAME_KEEPALIVE,  /* no byte at all: nothing to parse, nothing wrong */
	SESSION_FRAME_SHORT,	  /* drop: no room for what its kind needs */
	SESSION_FRAME_BAD_KIND,	  /* drop */
	SESSION_FRAME_BAD_WINDOW, /* drop: a repair of no symbol at all */
	SESSION_FRAME_VERDICTS,
};

struct session_frame {
	enum session_frame_kind kind;
	uint32_t cidx; /* 24 bits; 0 for PLAIN */
	uint32_t id;   /* REPAIR: its number in its encoder; else 0 */
	uint8_t window; /* REPAIR: symbols it covers, 1..255 (the receiver's own bound is not known here); else 0 */
	size_t body_at; /* offset of the segments, or of the repair symbol */
};

static inline int session_frame_is_repair(enum session_frame_kind kind)
{
	return kind == SESSION_FRAME_REPAIR_THIN || kind == SESSION_FRAME_REPAIR_BULK;
}

/**
 * Parses the head of an authenticated plaintext.
 *
 * @ret_frame  filled on SESSION_FRAME_OK, else untouched
 */
enum session_frame_verdict session_frame_parse(
	const void *plaintext, size_t len, struct session_frame *ret_frame);

/**
 * Writes the head.
 *
 * @at      room for SESSION_FRAME_BYTES, of a repair for SESSION_FRAME_REPAIR_BYTES
 * @frame   `body_at` is not looked at; of `cidx` the low 24 bits count, and none for PLAIN
 * @return  bytes written: where the body goes
 */
size_t session_frame_write(uint8_t *at, const struct session_frame *frame);

/** "ok", "keepalive", "short", ...: names of the counters. Static. */
const char *session_frame_verdict_str(enum session_frame_verdict verdict);

#endif
