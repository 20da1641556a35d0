/*
 * Formats: smux (8-byte header: version, command, length, stream), snappy's framing_format.txt (stream identifier, then
 * chunks of type, 24-bit length, masked CRC-32C) and format_description.txt (length, then literals and copies).
 */
#include "smux_frames.h"

#include "core/endian.h"

#include <criterion/criterion.h>
#include <string.h>

void smux_read(struct smux_tally *tally, int version, const uint8_t *bytes, size_t len)
{
	size_t at = 0;

	while (at < len) {
		cr_assert(len - at >= 8, "%zu bytes left", len - at);
		size_t body = load_le16(bytes + at + 2);
		uint32_t stream = load_le32(bytes + at + 4);
		uint8_t cmd = bytes[at + 1];
		cr_assert_eq(bytes[at], version);
		cr_assert(cmd < SMUX_CMDS && (cmd != SMUX_UPD || version == 2));
		cr_assert(body <= len - at - 8);
		cr_assert(cmd == SMUX_PSH || body == (cmd == SMUX_UPD ? 8u : 0u));
		tally->frames[cmd]++;
		if (tally->stream == 0)
			tally->stream = stream;
		if (cmd == SMUX_PSH && stream == tally->stream) {
			cr_assert(tally->data_len + body <= sizeof(tally->data));
			memcpy(tally->data + tally->data_len, bytes + at + 8, body);
			tally->data_len += body;
		}
		at += 8 + body;
	}
}

/* CRC-32C, bit by bit. */
static uint32_t crc32c(const uint8_t *bytes, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
	}
	return ~crc;
}

static size_t unsnap(const uint8_t *in, size_t len, uint8_t *out, size_t max)
{
	size_t at = 0, done = 0, want = 0;
	unsigned shift = 0;

	do {
		cr_assert(at < len && shift < 28);
		want |= (size_t)(in[at] & 0x7f) << shift;
		shift += 7;
	} while (in[at++] & 0x80);
	cr_assert(want <= max);
	while (at < len) {
		uint8_t tag = in[at++];
		size_t count = (size_t)(tag >> 2) + 1, back = 0;
		if ((tag & 3) == 0) {
			if (count > 60) {
				size_t extra = count - 60;
				cr_assert(extra <= 4 && at + extra <= len);
				count = 1;
				for (size_t i = 0; i < extra; i++)
					count += (size_t)in[at++] << (8 * i);
			}
			cr_assert(count <= len - at && count <= want - done);
			memcpy(out + done, in + at, count);
			at += count;
			done += count;
			continue;
		}
		size_t bytes = (tag & 3) == 1 ? 1 : (tag & 3) == 2 ? 2 : 4;
		cr_assert(at + bytes <= len);
		for (size_t i = 0; i < bytes; i++)
			back |= (size_t)in[at++] << (8 * i);
		if ((tag & 3) == 1) {
			count = (size_t)(tag >> 2 & 7) + 4;
			back |= (size_t)(tag >> 5) << 8;
		}
		cr_assert(back > 0 && back <= done && count <= want - done);
		for (size_t i = 0; i < count; i++, done++)
			out[done] = out[done - back];
	}
	cr_assert_eq(done, want);
	return done;
}

size_t snappy_unframe(const uint8_t *in, size_t len, uint8_t *out, size_t max)
{
	static const uint8_t header[] = {0xff, 6, 0, 0, 's', 'N', 'a', 'P', 'p', 'Y'};
	size_t at = sizeof(header), done = 0;

	cr_assert(len >= sizeof(header) && memcmp(in, header, sizeof(header)) == 0);
	while (at < len) {
		cr_assert(len - at >= 8);
		uint8_t type = in[at];
		size_t body = load_le32(in + at) >> 8;
		cr_assert(type <= 1 && body >= 4 && body <= len - at - 4);
		uint32_t want = load_le32(in + at + 4);
		const uint8_t *data = in + at + 8;
		size_t some = body - 4;
		if (type == 0) {
			some = unsnap(data, body - 4, out + done, max - done);
		} else {
			cr_assert(some <= max - done);
			memcpy(out + done, data, some);
		}
		uint32_t crc = crc32c(out + done, some);
		cr_assert_eq((crc >> 15 | crc << 17) + 0xa282ead8u, want);
		done += some;
		at += 4 + body;
	}
	return done;
}
