/*
 * A captured session played to one of our nodes, which stands in for one of the two ends. What it sends goes nowhere:
 * the answers are in the capture already.
 */
#ifndef TESTS_VECTORS_CAPTURE_H
#define TESTS_VECTORS_CAPTURE_H

#include "kcpvpn/node.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CAPTURE_PACKETS_MAX = 128,
	CAPTURE_STREAM_MAX = 32768,
	CAPTURE_MESSAGES_MAX = 256,
};

struct capture_packet {
	bool from_client;
	bool dropped; /* captured, not delivered */
	int64_t ms;
	int fec_type; /* 0 = no FEC header */
	uint32_t fec_seqid;
	size_t len;
	uint8_t bytes[1500];
};

struct capture {
	struct capture_packet packets[CAPTURE_PACKETS_MAX];
	size_t count;
	uint8_t key[KCPVPN_KEY_BYTES];
	size_t key_len;
	uint32_t conv; /* of the first segment where the capture does not say */
};

/** A node that stands in for one end. */
struct stand_in {
	struct kcpvpn_node *node;
	struct kcpvpn_udp_port port;
	struct kcpvpn_endpoint remote;
	struct kcpvpn_conv *conv;
	bool is_client;
	uint64_t sent;
	/* what was read */
	uint8_t stream[CAPTURE_STREAM_MAX];
	size_t stream_len;
	size_t message_ends[CAPTURE_MESSAGES_MAX];
	size_t message_count;
};

/** Loads a file of the data directory. The caller frees it. */
json_t *capture_file(const char *name);

/** @return bytes of a hexadecimal string, at most `max` */
size_t capture_hex(const json_t *text, uint8_t *bytes, size_t max);

void capture_load(struct capture *capture, const json_t *session);

/** The configuration of the captured ends. */
struct kcpvpn_config capture_config(const struct capture *capture, const char *crypt, unsigned data,
	unsigned parity, unsigned mtu, bool stream);

/** @is_client  stands in for the client: dials; else accepts */
void stand_in_open(struct stand_in *end, const struct capture *capture,
	const struct kcpvpn_config *config, bool is_client);

/** Hands over all that arrived at the end that is stood in for, but packet `lose` (SIZE_MAX = none), and reads. */
void stand_in_play(struct stand_in *end, const struct capture *capture, size_t lose);

/** Checks that no datagram was found bad, and frees the node. */
void stand_in_close(struct stand_in *end);

#endif
