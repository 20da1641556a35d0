#include "core/endian.h"
#include "stack/native_params.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const struct native_params good = {
	.init_seq = 0x1122334455667788,
	.sender_index = 0xabcdef10,
	.instance_id = 0x0102030405060708,
	.features = 0x0011,
	.required = 0x0020,
	.datagram_max = 1472,
	.tun_mtu = 1400,
	.super_max = 65535,
	.fec_window_max = 64,
	.shards = 16,
	.version_max = 1,
	.rx_credit_bytes = 262144,
	.keepalive_s = 3600,
	.idle_timeout_s = 0xffff,
};

static bool same(const struct native_params *a, const struct native_params *b)
{
	return a->init_seq == b->init_seq && a->sender_index == b->sender_index &&
	       a->instance_id == b->instance_id && a->features == b->features &&
	       a->required == b->required && a->datagram_max == b->datagram_max &&
	       a->tun_mtu == b->tun_mtu && a->super_max == b->super_max &&
	       a->fec_window_max == b->fec_window_max && a->shards == b->shards &&
	       a->version_max == b->version_max && a->rx_credit_bytes == b->rx_credit_bytes &&
	       a->keepalive_s == b->keepalive_s && a->idle_timeout_s == b->idle_timeout_s;
}

Test(native_params, stand_where_the_specification_says)
{
	static const uint8_t want[NATIVE_PARAMS_BYTES] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22,
		0x11, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0x11, 0x00, 0x20, 0x00, 0xc0,
		0x05, 0x78, 0x05, 0xff, 0xff, 0x00, 0x00, 0x40, 0x10, 0x00, 0x01, 0x00, 0x00, 0x04,
		0x00, 0x10, 0x0e, 0xff, 0xff};
	uint8_t bytes[NATIVE_PARAMS_BYTES];
	struct native_params params;

	memset(bytes, 0xee, sizeof(bytes));
	native_params_write(&good, NATIVE_PARAMS_INIT, bytes);
	cr_assert_arr_eq(bytes, want, sizeof(want));
	cr_assert(native_params_read(bytes, NATIVE_PARAMS_INIT, &params));
	cr_assert_eq(params.sender_index, 0);
	params.sender_index = good.sender_index;
	cr_assert(same(&params, &good));

	native_params_write(&good, NATIVE_PARAMS_RESP, bytes);
	cr_assert_eq(load_le32(bytes), 0xabcdef10);
	cr_assert_eq(load_le32(bytes + 4), 0);
	cr_assert(native_params_read(bytes, NATIVE_PARAMS_RESP, &params));
	cr_assert_eq(params.init_seq, 0);
	params.init_seq = good.init_seq;
	cr_assert(same(&params, &good));
}

/* Offset and size of a field, and values that are in range or not. */
struct range {
	size_t at;
	size_t size;
	uint64_t value;
	bool fine;
};

Test(native_params, bounds_of_every_value)
{
	static const struct range ranges[] = {
		{0, 8, 0, true},
		{0, 8, ((uint64_t)1 << 63) - 1, true},
		{0, 8, (uint64_t)1 << 63, false},
		{0, 8, UINT64_MAX, false},
		{8, 8, 0, false},
		{8, 8, 1, true},
		{8, 8, UINT64_MAX, true},
		{16, 2, 0xffff, true},
		{18, 2, 0xffff, true},
		{20, 2, 1231, false},
		{20, 2, 1232, true},
		{20, 2, 65507, true},
		{20, 2, 65508, false},
		{22, 2, 575, false},
		{22, 2, 576, true},
		{22, 2, 65535, true},
		{24, 4, 0, true},
		{24, 4, 1, false},
		{24, 4, 1279, false},
		{24, 4, 1280, true},
		{24, 4, 65535, true},
		{24, 4, 65536, false},
		{28, 1, 0, true},
		{28, 1, 64, true},
		{28, 1, 65, false},
		{29, 1, 0, false},
		{29, 1, 1, true},
		{29, 1, 16, true},
		{29, 1, 17, false},
		{30, 1, 255, true},
		{31, 1, 0, false},
		{31, 1, 255, true},
		{32, 4, 262143, false},
		{32, 4, 262144, true},
		{32, 4, UINT32_MAX, true},
		{36, 2, 0, true},
		{36, 2, 3600, true},
		{36, 2, 3601, false},
		{38, 2, 0xffff, true},
		{40, 8, UINT64_MAX, true},
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		const struct range *range = &ranges[i];
		struct native_params params = {.shards = 99};
		uint8_t bytes[NATIVE_PARAMS_BYTES], value[8];
		native_params_write(&good, NATIVE_PARAMS_INIT, bytes);
		store_le64(value, range->value);
		memcpy(bytes + range->at, value, range->size);
		cr_assert_eq(native_params_read(bytes, NATIVE_PARAMS_INIT, &params), range->fine,
			"row %zu", i);
		cr_assert(range->fine || params.shards == 99, "row %zu: touched", i);
	}
}

Test(native_params, index_of_a_resp_is_a_multiple_of_sixteen)
{
	uint8_t bytes[NATIVE_PARAMS_BYTES];
	struct native_params params;

	for (uint32_t index = 0; index < 64; index++) {
		native_params_write(&good, NATIVE_PARAMS_RESP, bytes);
		store_le32(bytes, index);
		cr_assert_eq(
			native_params_read(bytes, NATIVE_PARAMS_RESP, &params), index % 16 == 0);
	}
	/* which is not asked of an INIT: its first bytes are a number */
	native_params_write(&good, NATIVE_PARAMS_INIT, bytes);
	store_le32(bytes, 7);
	cr_assert(native_params_read(bytes, NATIVE_PARAMS_INIT, &params));
}

Test(native_params, what_is_read_is_written_again)
{
	unsigned seed = 1;
	unsigned read = 0;

	for (int i = 0; i < 1000000; i++) {
		uint8_t bytes[NATIVE_PARAMS_BYTES], again[NATIVE_PARAMS_BYTES];
		struct native_params params;
		native_params_write(&good, NATIVE_PARAMS_INIT, bytes);
		for (int n = rand_r(&seed) % 6; n > 0; n--)
			bytes[(size_t)rand_r(&seed) % 40] = (uint8_t)rand_r(&seed);
		if (!native_params_read(bytes, NATIVE_PARAMS_INIT, &params))
			continue;
		bytes[30] = 0;
		native_params_write(&params, NATIVE_PARAMS_INIT, again);
		cr_assert_arr_eq(again, bytes, sizeof(bytes));
		read++;
	}
	cr_assert_gt(read, 100000);
}
