/*
 *	largest u64 | delay u16 | n u8, n x (gap, length) | m u8, m x (gap, length) | ce u24
 *
 * Both lists go down from largest + 1: skip `gap` numbers, list `length`. gap and length are unsigned LEB128 of at most 5
 * bytes and below 2^32. The first list begins with gap 0, because the largest is received by definition; a gap of 0 later
 * would split what is one range. Nothing may stand behind the body, and nothing may reach below number 0.
 *
 * An encoding longer than it must be (0x80 0x00) is accepted: nothing depends on one spelling.
 */
#include "kcp/kcp_rack.h"

#include "core/wire.h"

enum {
	VARINT_MAX_BYTES = 5,
};

/* A failed read sticks in the cursor. */
static uint32_t read_varint(struct wire *in)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < VARINT_MAX_BYTES; i++) {
		uint8_t byte = wire_u8(in);
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (!(byte & 0x80)) {
			if (value > UINT32_MAX)
				break;
			return (uint32_t)value;
		}
	}
	in->failed = true;
	return 0;
}

static bool read_list(struct wire *in, uint64_t largest, bool received, unsigned *ret_count,
	struct kcp_range *ranges)
{
	unsigned count = wire_u8(in);
	uint64_t at = largest + 1;

	if (count > KCP_RACK_RANGES_MAX || (received && count == 0))
		return false;
	for (unsigned i = 0; i < count; i++) {
		uint32_t gap = read_varint(in);
		uint32_t length = read_varint(in);
		if (!wire_ok(in) || length == 0 || (gap == 0 && i > 0) ||
			(gap != 0 && i == 0 && received))
			return false;
		if (at < (uint64_t)gap + length)
			return false;
		at -= gap;
		ranges[i].end = at;
		at -= length;
		ranges[i].first = at;
	}
	*ret_count = count;
	return wire_ok(in);
}

bool kcp_rack_read(const uint8_t *body, size_t len, struct kcp_rack *ret_rack)
{
	struct wire in = wire_of(body, len);

	ret_rack->largest = wire_le64(&in);
	ret_rack->delay = wire_le16(&in);
	if (!wire_ok(&in) || ret_rack->largest == UINT64_MAX)
		return false;
	if (!read_list(
		    &in, ret_rack->largest, true, &ret_rack->received_count, ret_rack->received) ||
		!read_list(
			&in, ret_rack->largest, false, &ret_rack->rebuilt_count, ret_rack->rebuilt))
		return false;
	uint32_t ce = wire_le16(&in);
	ret_rack->ce = ce | (uint32_t)wire_u8(&in) << 16;
	return wire_ok(&in) && wire_left(&in) == 0;
}

static uint8_t *write_varint(uint8_t *at, uint32_t value)
{
	while (value >= 0x80) {
		*at++ = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	*at++ = (uint8_t)value;
	return at;
}

static uint8_t *write_list(
	uint8_t *at, uint64_t largest, unsigned count, const struct kcp_range *ranges)
{
	uint64_t from = largest + 1;

	*at++ = (uint8_t)count;
	for (unsigned i = 0; i < count; i++) {
		at = write_varint(at, (uint32_t)(from - ranges[i].end));
		at = write_varint(at, (uint32_t)(ranges[i].end - ranges[i].first));
		from = ranges[i].first;
	}
	return at;
}

size_t kcp_rack_write(const struct kcp_rack *rack, uint8_t *at)
{
	uint8_t *start = at;

	store_le64(at, rack->largest);
	store_le16(at + 8, rack->delay);
	at = write_list(at + 10, rack->largest, rack->received_count, rack->received);
	at = write_list(at, rack->largest, rack->rebuilt_count, rack->rebuilt);
	store_le16(at, (uint16_t)rack->ce);
	at[2] = (uint8_t)(rack->ce >> 16);
	return (size_t)(at + 3 - start);
}
