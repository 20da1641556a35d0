/* The codec: known bytes both ways, and input that is too short or lies about its length. */
#include "kcp/kcp_segment.h"

#include <criterion/criterion.h>
#include <string.h>

static const uint8_t known[] = {0x44, 0x33, 0x22, 0x11, 81, 2, 0x20, 0x01, 0xe8, 3, 0, 0, 0xfe,
	0xff, 0xff, 0xff, 7, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c'};

Test(segment, reads_and_writes_known_bytes)
{
	struct wire in = wire_of(known, sizeof(known));
	struct kcp_segment segment;
	uint8_t out[KCP_OVERHEAD_BYTES];

	cr_assert(kcp_segment_read(&in, &segment));
	cr_assert_eq(segment.conv, 0x11223344);
	cr_assert_eq(segment.cmd, KCP_CMD_PUSH);
	cr_assert_eq(segment.frg, 2);
	cr_assert_eq(segment.wnd, 288);
	cr_assert_eq(segment.ts, 1000);
	cr_assert_eq(segment.sn, 0xfffffffe);
	cr_assert_eq(segment.una, 7);
	cr_assert_eq(segment.len, 3);
	cr_assert(memcmp(segment.data, "abc", 3) == 0);
	cr_assert_eq(wire_left(&in), 0);
	cr_assert(kcp_segment_write(out, &segment) == out + KCP_OVERHEAD_BYTES);
	cr_assert(memcmp(out, known, sizeof(out)) == 0);
}

Test(segment, refuses_what_passes_the_end)
{
	struct kcp_segment segment;
	uint8_t bytes[sizeof(known)];

	for (size_t len = 0; len < sizeof(known); len++) {
		struct wire in = wire_of(known, len);
		cr_assert(!kcp_segment_read(&in, &segment), "%zu bytes", len);
		cr_assert_eq(kcp_segment_peek(known, len, &segment), len >= KCP_OVERHEAD_BYTES);
	}
	memcpy(bytes, known, sizeof(known));
	static const uint32_t lies[] = {4, 0x7fffffff, 0x80000000, 0xffffffe8, 0xffffffff};
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		store_le32(bytes + 20, lies[i]);
		struct wire in = wire_of(bytes, sizeof(bytes));
		cr_assert(!kcp_segment_read(&in, &segment), "len %u", lies[i]);
		cr_assert_eq(segment.conv, 0x11223344); /* the header can still be judged */
	}
}

Test(segment, numbers_compare_around_the_wrap)
{
	static const struct {
		uint32_t a, b;
		bool before;
	} rows[] = {
		{0, 1, true},
		{1, 0, false},
		{5, 5, false},
		{0xffffffff, 0, true},
		{0, 0xffffffff, false},
		{0x80000000, 0xffffffff, true},
		{0xfffffff0, 0x10, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert_eq(kcp_sn_before(rows[i].a, rows[i].b), rows[i].before, "row %zu", i);
	cr_assert_eq(kcp_segment_ms(mono_at_ms(0x100000005)), 5);
}
