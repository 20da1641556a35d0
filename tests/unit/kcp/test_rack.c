/* The bytes of a report: the known answer, all that is refused, and a round trip of random ones. */
#include "kcp/kcp_rack.h"

#include <criterion/criterion.h>
#include <string.h>

static const uint8_t known[] = {0xe8, 3, 0, 0, 0, 0, 0, 0, /* largest 1000 */
	5, 0,						   /* 80 us */
	2, 0, 5, 2, 4,					   /* 996..1000, 990..993 */
	1, 6, 1,					   /* rebuilt 994 */
	3, 0, 0};

Test(rack, known_answer)
{
	struct kcp_rack rack;
	uint8_t out[KCP_RACK_BODY_MAX_BYTES];

	cr_assert(kcp_rack_read(known, sizeof(known), &rack));
	cr_assert_eq(rack.largest, 1000);
	cr_assert_eq(rack.delay, 5);
	cr_assert_eq(rack.ce, 3);
	cr_assert_eq(rack.received_count, 2);
	cr_assert_eq(rack.received[0].first, 996);
	cr_assert_eq(rack.received[0].end, 1001);
	cr_assert_eq(rack.received[1].first, 990);
	cr_assert_eq(rack.received[1].end, 994);
	cr_assert_eq(rack.rebuilt_count, 1);
	cr_assert_eq(rack.rebuilt[0].first, 994);
	cr_assert_eq(rack.rebuilt[0].end, 995);
	cr_assert_eq(kcp_rack_write(&rack, out), sizeof(known));
	cr_assert_arr_eq(out, known, sizeof(known));
}

Test(rack, any_other_length_is_refused)
{
	uint8_t body[sizeof(known) + 1] = {0};
	struct kcp_rack rack;

	memcpy(body, known, sizeof(known));
	for (size_t len = 0; len < sizeof(known); len++)
		cr_assert(!kcp_rack_read(body, len, &rack), "%zu bytes", len);
	cr_assert(!kcp_rack_read(body, sizeof(known) + 1, &rack), "a byte behind");
}

struct refused {
	const char *why;
	uint8_t lists[40];
	size_t len;
	bool good;
};

Test(rack, rules_of_the_lists)
{
	static const struct refused rows[] = {
		{"one number", {1, 0, 1, 0}, 4, true},
		{"down to 0", {1, 0, 11, 0}, 4, true},
		{"below 0 by length", {1, 0, 12, 0}, 4, false},
		{"below 0 by gap", {2, 0, 1, 11, 1, 0}, 6, false},
		{"down to 0 by gap", {2, 0, 1, 9, 1, 0}, 6, true},
		{"nothing received", {0, 0}, 2, false},
		{"33 ranges", {33, 0}, 2, false},
		{"33 rebuilt", {1, 0, 1, 33}, 4, false},
		{"length 0", {1, 0, 0, 0}, 4, false},
		{"length 0 in the second list", {1, 0, 1, 1, 2, 0}, 6, false},
		{"largest not received", {1, 1, 1, 0}, 4, false},
		{"gap 0 later", {2, 0, 1, 0, 1, 0}, 6, false},
		{"gap 0 first of the rebuilt", {1, 0, 1, 1, 0, 1}, 6, true},
		{"gap 0 later of the rebuilt", {1, 0, 1, 2, 2, 1, 0, 1}, 8, false},
		{"longer spelling of a number", {1, 0x80, 0, 1, 0}, 5, true},
		{"five bytes", {1, 0, 0x81, 0x80, 0x80, 0x80, 0, 0}, 8, true},
		{"six bytes", {1, 0, 0x81, 0x80, 0x80, 0x80, 0x80, 0, 0}, 9, false},
		{"2^32", {1, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0}, 8, false},
		{"2^32 - 1 below 0", {1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}, 8, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t body[64] = {10};
		struct kcp_rack rack;
		memcpy(body + 10, rows[i].lists, rows[i].len);
		cr_assert_eq(kcp_rack_read(body, 10 + rows[i].len + 3, &rack), rows[i].good, "%s",
			rows[i].why);
	}
}

Test(rack, largest_of_all)
{
	uint8_t body[17] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, 1, 0};
	struct kcp_rack rack;

	cr_assert(!kcp_rack_read(body, sizeof(body), &rack), "largest + 1 does not exist");
	body[0] = 0xfe;
	cr_assert(kcp_rack_read(body, sizeof(body), &rack));
}

static uint64_t state = 99;

static uint64_t rnd(uint64_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state >> 33) % below;
}

static unsigned make_list(uint64_t at, bool received, struct kcp_range *ranges)
{
	unsigned count = (unsigned)rnd(KCP_RACK_RANGES_MAX + 1);

	if (received && count == 0)
		count = 1;
	for (unsigned i = 0; i < count; i++) {
		uint64_t gap = received && i == 0 ? 0 : 1 + rnd(rnd(8) ? 4 : 100000);
		uint64_t length = 1 + rnd(rnd(8) ? 4 : 100000);
		ranges[i].end = at - gap;
		ranges[i].first = at - gap - length;
		at = ranges[i].first;
	}
	return count;
}

Test(rack, round_trip)
{
	for (int run = 0; run < 20000; run++) {
		struct kcp_rack in = {.largest = (1u << 26) + (rnd(1u << 30) << rnd(20)),
			.delay = (uint16_t)rnd(65536),
			.ce = (uint32_t)rnd(1 << 24)};
		struct kcp_rack out;
		uint8_t body[KCP_RACK_BODY_MAX_BYTES];
		in.received_count = make_list(in.largest + 1, true, in.received);
		in.rebuilt_count = make_list(in.largest + 1, false, in.rebuilt);
		size_t len = kcp_rack_write(&in, body);
		cr_assert(len <= sizeof(body));
		cr_assert(kcp_rack_read(body, len, &out));
		cr_assert_eq(out.largest, in.largest);
		cr_assert_eq(out.delay, in.delay);
		cr_assert_eq(out.ce, in.ce);
		cr_assert_eq(out.received_count, in.received_count);
		cr_assert_eq(out.rebuilt_count, in.rebuilt_count);
		cr_assert_arr_eq(
			out.received, in.received, in.received_count * sizeof(in.received[0]));
		cr_assert_arr_eq(out.rebuilt, in.rebuilt, in.rebuilt_count * sizeof(in.rebuilt[0]));
	}
}
