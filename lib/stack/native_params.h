/*
 * The 48 bytes that both sides tell each other inside the handshake: who is asking again (init_seq), which instance of
 * transport state it is, and what it is able and willing to take.
 *
 * Source: lib/PROTOCOL.md, "params".
 */
#ifndef STACK_NATIVE_PARAMS_H
#define STACK_NATIVE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

enum {
	NATIVE_PARAMS_BYTES = 48,
	NATIVE_VERSION = 1,
	NATIVE_SHARDS_MAX = 16,
	NATIVE_INDEX_STEP = 16, /* receive indices are multiples: the low bits name the shard */
	NATIVE_DATAGRAM_LEAST = 1232,
	NATIVE_DATAGRAM_MOST = 65507,
	NATIVE_TUN_MTU_LEAST = 576,
	NATIVE_SUPER_LEAST = 1280,
	NATIVE_SUPER_MOST = 65535,
	NATIVE_FEC_WINDOW_MOST = 64,
	NATIVE_CREDIT_LEAST = 262144,
	NATIVE_KEEPALIVE_MOST_S = 3600,
};

/* init_seq is below this: who told a larger one could never call again after it had been taken for good. */
#define NATIVE_INIT_SEQ_END ((uint64_t)1 << 63)

/** Bits of features_offered, features_chosen, features_required. */
enum native_feature {
	NATIVE_FEATURE_FEC = 1 << 0,
	NATIVE_FEATURE_SUPER = 1 << 2,
	NATIVE_FEATURE_ECN = 1 << 3,
	NATIVE_FEATURE_PATH_MTU = 1 << 4,
	NATIVE_FEATURE_PADDING = 1 << 5,
	NATIVE_FEATURE_QUIET = 1 << 6,
	/*
	 * what this version can do; SUPER besides, where the program can, ECN not, where it is not wanted, and it asks for QUIET
	 * where that is wanted
	 */
	NATIVE_FEATURES = NATIVE_FEATURE_FEC | NATIVE_FEATURE_ECN | NATIVE_FEATURE_PATH_MTU |
			  NATIVE_FEATURE_PADDING | NATIVE_FEATURE_QUIET,
};

struct native_params {
	uint64_t init_seq;	/* INIT only */
	uint32_t sender_index;	/* RESP only: the responder's receive index */
	uint64_t instance_id;	/* not 0 */
	uint16_t features;	/* INIT: offered; RESP: chosen */
	uint16_t required;	/* of features */
	uint16_t datagram_max;	/* bytes of UDP payload the sender of this accepts */
	uint16_t tun_mtu;	/* its inner MTU */
	uint32_t super_max;	/* 0 = none */
	uint8_t fec_window_max; /* 0 = no FEC, please */
	uint8_t shards;		/* 1 .. NATIVE_SHARDS_MAX */
	uint8_t version_max;
	uint32_t rx_credit_bytes;
	uint16_t keepalive_s; /* asked of who reads this, 0 = none */
	uint16_t idle_timeout_s;
};

enum native_params_role {
	NATIVE_PARAMS_INIT,
	NATIVE_PARAMS_RESP,
};

/** Writes all 48 bytes; reserved ones as zero. The values are in range. */
void native_params_write(const struct native_params *params, enum native_params_role role,
	uint8_t ret_bytes[NATIVE_PARAMS_BYTES]);

/** @return false if a value is out of range: `ret_params` is untouched then. Reserved bytes and unknown features are ignored. */
bool native_params_read(const uint8_t bytes[NATIVE_PARAMS_BYTES], enum native_params_role role,
	struct native_params *ret_params);

#endif
