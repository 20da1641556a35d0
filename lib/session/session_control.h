/*
 * CONTROL: small messages between the two daemons, as `type u8 | len u8 | value` one behind the other in the body of a
 * KCP segment of that command.
 *
 * Types below 128 must be understood, else the whole datagram is dropped; from 128 on they may be skipped; 0 is padding.
 */
#ifndef SESSION_SESSION_CONTROL_H
#define SESSION_SESSION_CONTROL_H

#include "core/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SESSION_CONTROL_HEAD_BYTES = 2,	 /* type and len */
	SESSION_CONTROL_TOKEN_BYTES = 8, /* of PING, PONG, PATH_CHALLENGE, PATH_RESPONSE */
	SESSION_CONTROL_MTU_BYTES = 4,
	SESSION_CONTROL_CLOSE_BYTES = 1,
	SESSION_CONTROL_TLVS_MAX = 16, /* of one datagram, whatever their type */
	/* The longest that a builder can make. */
	SESSION_CONTROL_BYTES_MAX = SESSION_CONTROL_TLVS_MAX *
				    (SESSION_CONTROL_HEAD_BYTES + SESSION_CONTROL_TOKEN_BYTES),
};

/* The wire's numbers. */
enum session_control_type {
	SESSION_CONTROL_PADDING = 0,
	SESSION_CONTROL_PING = 1,
	SESSION_CONTROL_PONG = 2,
	SESSION_CONTROL_PATH_CHALLENGE = 3,
	SESSION_CONTROL_PATH_RESPONSE = 4,
	SESSION_CONTROL_MTU_PROBE = 5,
	SESSION_CONTROL_MTU_ACK = 6,
	SESSION_CONTROL_CLOSE = 7,
	SESSION_CONTROL_OPTIONAL = 128, /* from here on a stranger's type is skipped */
};

/* The wire's numbers; others may come from newer peers and mean "closed". */
enum session_control_close {
	SESSION_CONTROL_CLOSE_SHUTDOWN = 0,
	SESSION_CONTROL_CLOSE_RESTART = 1,
	SESSION_CONTROL_CLOSE_REMOVED = 2,
};

enum session_control_verdict {
	SESSION_CONTROL_OK,
	SESSION_CONTROL_CUT,	    /* a TLV reaches past the end */
	SESSION_CONTROL_BAD_LENGTH, /* not the length that its type has */
	SESSION_CONTROL_UNKNOWN,    /* a type that must be understood */
	SESSION_CONTROL_TOO_MANY,   /* more than SESSION_CONTROL_TLVS_MAX in the datagram */
	SESSION_CONTROL_VERDICTS,
};

/** One known TLV; what does not belong to the type is zero. */
struct session_control_tlv {
	enum session_control_type type;
	uint8_t token[SESSION_CONTROL_TOKEN_BYTES];
	uint16_t mtu_bytes; /* MTU_PROBE, MTU_ACK: UDP payload of the probe; any value */
	uint16_t mtu_id;
	uint8_t close_reason; /* any value */
};

/**
 * Judges the body of one CONTROL segment. Nothing of a datagram may take effect before all its bodies are SESSION_CONTROL_OK;
 * with any other verdict the datagram is dropped.
 *
 * @tlvs  TLVs of this datagram so far, 0 before its first body; counted up
 */
enum session_control_verdict session_control_check(const void *body, size_t len, unsigned *tlvs);

/** "ok", "cut", ...: names of the counters. Static. */
const char *session_control_verdict_str(enum session_control_verdict verdict);

/** Walks a body that session_control_check() found good: `wire_of(body, len)`, then until it gives false. */
bool session_control_next(struct wire *body, struct session_control_tlv *ret_tlv);

/** Writes a body into the caller's bytes. */
struct session_control_builder {
	uint8_t *bytes;
	size_t capacity;
	size_t len;    /* written so far */
	unsigned tlvs; /* written so far */
};

/** @capacity  bound on the body: room left, and for answers the length of the body that asked */
static inline struct session_control_builder session_control_build(void *bytes, size_t capacity)
{
	return (struct session_control_builder){.bytes = bytes, .capacity = capacity};
}

/**
 * Appends a TLV.
 *
 * @type   PING, PONG, PATH_CHALLENGE or PATH_RESPONSE; MTU_PROBE or MTU_ACK
 * @return false and no change if there is no room or there are SESSION_CONTROL_TLVS_MAX already
 */
bool session_control_put_token(struct session_control_builder *builder,
	enum session_control_type type, const uint8_t token[SESSION_CONTROL_TOKEN_BYTES]);
bool session_control_put_mtu(struct session_control_builder *builder,
	enum session_control_type type, uint16_t mtu_bytes, uint16_t mtu_id);
bool session_control_put_close(
	struct session_control_builder *builder, enum session_control_close reason);

#endif
