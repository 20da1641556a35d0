/*
 * Segments are KCP's: 24 bytes, little-endian, and a body. A RACK counts down from behind the largest number: each entry
 * skips `gap` numbers and lists `length` of them; gap and length are LEB128 of at most five bytes and below 2^32.
 */
#include "tests/sim/path_model_wire.h"

#include <string.h>

static uint64_t get(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

bool model_seg_next(const uint8_t **at, const uint8_t *end, struct model_seg *ret_seg)
{
	const uint8_t *p = *at;

	if (end - p < MODEL_SEG_BYTES)
		return false;
	struct model_seg seg = {
		.conv = (uint32_t)get(p, 4),
		.cmd = p[4],
		.frg = p[5],
		.wnd = (uint16_t)get(p + 6, 2),
		.ts = (uint32_t)get(p + 8, 4),
		.sn = (uint32_t)get(p + 12, 4),
		.una = (uint32_t)get(p + 16, 4),
		.len = (uint32_t)get(p + 20, 4),
		.body = p + MODEL_SEG_BYTES,
	};
	if ((size_t)(end - seg.body) < seg.len)
		return false;
	*at = seg.body + seg.len;
	*ret_seg = seg;
	return true;
}

bool model_segs_whole(const uint8_t *bytes, size_t len)
{
	const uint8_t *at = bytes;
	struct model_seg seg;

	while (model_seg_next(&at, bytes + len, &seg))
		;
	return at == bytes + len;
}

size_t model_seg_put(uint8_t *at, const struct model_seg *seg)
{
	put(at, seg->conv, 4);
	at[4] = seg->cmd;
	at[5] = seg->frg;
	put(at + 6, seg->wnd, 2);
	put(at + 8, seg->ts, 4);
	put(at + 12, seg->sn, 4);
	put(at + 16, seg->una, 4);
	put(at + 20, seg->len, 4);
	if (seg->len > 0)
		memcpy(at + MODEL_SEG_BYTES, seg->body, seg->len);
	return MODEL_SEG_BYTES + seg->len;
}

bool model_seg_asks(const struct model_seg *seg)
{
	switch (seg->cmd) {
	case MODEL_PUSH:
	case MODEL_DGRAM:
	case MODEL_WASK:
	case MODEL_FWD:
	case MODEL_CONTROL:
		return true;
	case MODEL_PROBE:
		return seg->sn == 1;
	default:
		return false;
	}
}

/* ---- RACK ----------------------------------------------------------------------------------------------------------- */

static bool get_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 5; i++) {
		if (*at == end)
			return false;
		uint8_t byte = *(*at)++;
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (!(byte & 0x80)) {
			*ret_value = value;
			return value <= UINT32_MAX;
		}
	}
	return false;
}

static bool get_list(const uint8_t **at, const uint8_t *end, uint64_t largest,
	struct model_range *ranges, unsigned *ret_count)
{
	if (*at == end || **at > MODEL_RANGES_MAX)
		return false;
	unsigned count = *(*at)++;
	uint64_t c = largest + 1;
	for (unsigned i = 0; i < count; i++) {
		uint64_t gap;
		uint64_t length;
		if (!get_varint(at, end, &gap) || !get_varint(at, end, &length))
			return false;
		if (length == 0 || (gap == 0 && i > 0) || gap + length > c)
			return false;
		c -= gap;
		ranges[i] = (struct model_range){c - length, c - 1};
		c -= length;
	}
	*ret_count = count;
	return true;
}

bool model_rack_parse(const uint8_t *body, size_t len, struct model_rack *ret_rack)
{
	const uint8_t *end = body + len;

	if (len < 8 + 2 + 1 + 1 + 3)
		return false;
	ret_rack->largest = get(body, 8);
	ret_rack->delay = (uint16_t)get(body + 8, 2);
	body += 10;
	if (ret_rack->largest >= UINT64_C(1) << 48)
		return false;
	if (!get_list(
		    &body, end, ret_rack->largest, ret_rack->received, &ret_rack->received_count) ||
		!get_list(
			&body, end, ret_rack->largest, ret_rack->rebuilt, &ret_rack->rebuilt_count))
		return false;
	if (ret_rack->received_count == 0 || ret_rack->received[0].to != ret_rack->largest)
		return false;
	if (end - body != 3)
		return false;
	ret_rack->ce = (uint32_t)get(body, 3);
	return true;
}

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
	while (value > 0x7f) {
		*at++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

static uint8_t *put_list(
	uint8_t *at, uint64_t largest, const struct model_range *ranges, unsigned count)
{
	uint64_t c = largest + 1;

	*at++ = (uint8_t)count;
	for (unsigned i = 0; i < count; i++) {
		at = put_varint(at, c - 1 - ranges[i].to);
		at = put_varint(at, ranges[i].to - ranges[i].from + 1);
		c = ranges[i].from;
	}
	return at;
}

size_t model_rack_put(uint8_t *body, const struct model_rack *rack)
{
	uint8_t *at = body;

	put(at, rack->largest, 8);
	put(at + 8, rack->delay, 2);
	at = put_list(at + 10, rack->largest, rack->received, rack->received_count);
	at = put_list(at, rack->largest, rack->rebuilt, rack->rebuilt_count);
	put(at, rack->ce & 0xffffff, 3);
	return (size_t)(at + 3 - body);
}

bool model_rack_lists(const struct model_range *ranges, unsigned count, uint64_t pn)
{
	for (unsigned i = 0; i < count; i++)
		if (pn >= ranges[i].from && pn <= ranges[i].to)
			return true;
	return false;
}

/* ---- randomness ----------------------------------------------------------------------------------------------------- */

uint64_t model_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t model_random_below(uint64_t *state, uint64_t below)
{
	return model_random(state) % below;
}

bool model_chance(uint64_t *state, double p)
{
	return (double)(model_random(state) >> 11) < p * 9007199254740992.0;
}
