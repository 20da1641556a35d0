/*
 * The bytes inside a datagram of the native wire, read and written a second time: segments and RACK as the specification
 * tells them, without a line of the engine, so that both can be wrong in their own ways only.
 */
#ifndef TESTS_PATH_MODEL_WIRE_H
#define TESTS_PATH_MODEL_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MODEL_SEG_BYTES = 24,
	MODEL_RANGES_MAX = 32,
	MODEL_RACK_BYTES_MAX = 8 + 2 + 2 + 4 * MODEL_RANGES_MAX * 5 + 3,

	MODEL_PUSH = 81,
	MODEL_WASK = 83,
	MODEL_WINS = 84,
	MODEL_DGRAM = 90,
	MODEL_RACK = 91,
	MODEL_FWD = 92,
	MODEL_CONTROL = 93,
	MODEL_PROBE = 94,
};

struct model_seg {
	uint32_t conv;
	uint8_t cmd;
	uint8_t frg;
	uint16_t wnd;
	uint32_t ts;
	uint32_t sn;
	uint32_t una;
	uint32_t len;
	const uint8_t *body; /* borrowed */
};

/** Both ends included. */
struct model_range {
	uint64_t from;
	uint64_t to;
};

struct model_rack {
	uint64_t largest;
	uint16_t delay; /* units of 16 us */
	unsigned received_count;
	struct model_range received[MODEL_RANGES_MAX]; /* from the largest down */
	unsigned rebuilt_count;
	struct model_range rebuilt[MODEL_RANGES_MAX];
	uint32_t ce;
};

/** Reads the segment at `*at` and moves behind it. @return false if it passes `end`; also at the end */
bool model_seg_next(const uint8_t **at, const uint8_t *end, struct model_seg *ret_seg);

/** Whether the segments end exactly at the end. */
bool model_segs_whole(const uint8_t *bytes, size_t len);

/** @return bytes written: 24 and the body */
size_t model_seg_put(uint8_t *at, const struct model_seg *seg);

/** Whether a segment makes its datagram ask for acknowledgement. */
bool model_seg_asks(const struct model_seg *seg);

bool model_rack_parse(const uint8_t *body, size_t len, struct model_rack *ret_rack);

/** @body  MODEL_RACK_BYTES_MAX   @return bytes written */
size_t model_rack_put(uint8_t *body, const struct model_rack *rack);

bool model_rack_lists(const struct model_range *ranges, unsigned count, uint64_t pn);

/** Deterministic numbers. */
uint64_t model_random(uint64_t *state);
uint64_t model_random_below(uint64_t *state, uint64_t below);
bool model_chance(uint64_t *state, double p);

#endif
