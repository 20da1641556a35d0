#include "fec/fec_header.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct {
	const char *name;
	size_t len;
	uint8_t packet[16];
	enum fec_kind kind;
	size_t payload_len;
} rows[] = {
	{"empty", 0, {0}, FEC_KIND_NONE, 0},
	{"type cut off", 5, {1, 0, 0, 0, 0xf1}, FEC_KIND_NONE, 0},
	{"kcp push", 16, {1, 2, 3, 4, 81, 0, 32, 0}, FEC_KIND_NONE, 0},
	{"kcp push, fragment 241", 16, {1, 2, 3, 4, 81, 0xf1, 32, 0}, FEC_KIND_NONE, 0},
	{"type 0xf0", 16, {1, 2, 3, 4, 0xf0, 0}, FEC_KIND_NONE, 0},
	{"type 0xf4", 16, {1, 2, 3, 4, 0xf4, 0}, FEC_KIND_NONE, 0},
	{"type 0x1f1", 16, {1, 2, 3, 4, 0xf1, 1}, FEC_KIND_NONE, 0},
	{"data without size", 6, {1, 2, 3, 4, 0xf1, 0}, FEC_KIND_BAD, 0},
	{"data with half a size", 7, {1, 2, 3, 4, 0xf1, 0, 2}, FEC_KIND_BAD, 0},
	{"empty data", 8, {1, 2, 3, 4, 0xf1, 0, 2, 0}, FEC_KIND_DATA, 0},
	{"data", 11, {1, 2, 3, 4, 0xf1, 0, 5, 0, 7, 8, 9}, FEC_KIND_DATA, 3},
	{"data whose size lies", 11, {1, 2, 3, 4, 0xf1, 0, 0xff, 0xff, 7, 8, 9}, FEC_KIND_DATA, 3},
	{"parity too short", 7, {1, 2, 3, 4, 0xf2, 0, 5}, FEC_KIND_BAD, 0},
	{"parity", 9, {1, 2, 3, 4, 0xf2, 0, 5, 6, 7}, FEC_KIND_PARITY, 0},
	{"oob without conv", 11, {255, 255, 255, 255, 0xf3, 0, 6, 0, 1, 2, 3}, FEC_KIND_BAD, 0},
	{"oob", 12, {255, 255, 255, 255, 0xf3, 0, 6, 0, 1, 2, 3, 4}, FEC_KIND_OOB, 4},
};

Test(fec_header, parse)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fec_header header;
		memset(&header, 0x5a, sizeof(header));
		enum fec_kind kind = fec_header_parse(rows[i].packet, rows[i].len, &header);
		cr_assert_eq(kind, rows[i].kind, "%s: %d", rows[i].name, kind);
		if (kind == FEC_KIND_NONE || kind == FEC_KIND_BAD) {
			cr_assert_eq(header.seqid, 0x5a5a5a5a, "%s", rows[i].name);
			continue;
		}
		cr_assert_eq(header.seqid, load_le32(rows[i].packet), "%s", rows[i].name);
		cr_assert_eq(header.payload_len, rows[i].payload_len, "%s", rows[i].name);
		cr_assert(header.payload == (kind == FEC_KIND_PARITY ? NULL : rows[i].packet + 8));
	}
}

Test(fec_header, paws_is_the_last_multiple)
{
	cr_assert_eq(fec_paws(13), UINT32_C(4294967287));
	for (unsigned n = 2; n <= 256; n++) {
		cr_assert_eq(fec_paws(n) % n, 0);
		cr_assert((uint64_t)fec_paws(n) + n > UINT32_MAX);
	}
}
