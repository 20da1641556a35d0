/* Super-packets over the native wire: who takes them is asked in the handshake, and they pass whole or not at all. */
#include "native_pair.h"

#include "core/checksum.h"
#include "core/endian.h"
#include "core/super_message.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	HEADERS = 40,
	SEGMENT = 1300,
	ROOM = 66000,
};

static struct native_pair pair;
static uint8_t message[ROOM], came[ROOM];
static size_t came_len, came_count;

static void on_message(struct native_end *end, size_t peer, const uint8_t *bytes, size_t len)
{
	(void)end, (void)peer;
	memcpy(came, bytes, len);
	came_len = len;
	came_count++;
}

/* @super_0, super_1  what the ends take */
static void open_up(uint32_t super_0, uint32_t super_1, uint32_t loss_ppm)
{
	struct native_end_options options[2] = {native_pair_options(), native_pair_options()};

	native_pair_init(&pair, 7);
	options[0].super_max_bytes = super_0;
	options[1].super_max_bytes = super_1;
	for (size_t i = 0; i < 2; i++) {
		struct native_end *end = native_pair_start(&pair, i, &options[i]);
		end->link = (struct native_link){.delay_us = 5 * MS, .loss_ppm = loss_ppm};
	}
	native_pair_join(&pair, 0, 1, false);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 60 * S));
	pair.on_message = on_message;
	came_count = 0;
}

static struct kcpvpn_peer *peer_of(size_t end)
{
	return pair.ends[end].peers[1 - end];
}

/* A message with a super-packet of TCP over IPv4 with `payload` bytes; each differs from the next. */
static size_t fill(uint32_t number, size_t payload)
{
	const uint8_t src[4] = {10, 0, 0, 1}, dst[4] = {10, 0, 0, 2};
	uint8_t *at = message + SUPER_MESSAGE_OVERHEAD_BYTES;

	message[0] = 0x81;
	store_le16(message + 1, SEGMENT);
	memset(at, 0, HEADERS);
	(void)ip_header_write(at, 4, src, dst, IP_PROTOCOL_TCP, 20 + payload);
	store_be16(at + 20, 5000);
	store_be16(at + 22, 80);
	store_be32(at + 24, number);
	at[32] = 0x50;
	at[33] = 0x10;
	for (size_t i = 0; i < payload; i++)
		at[HEADERS + i] = (uint8_t)((number + i) * 31 >> 2);
	store_be16(at + 36, (uint16_t)~checksum_finish(checksum_add_pseudo(
				    0, src, dst, 4, IP_PROTOCOL_TCP, (uint32_t)(20 + payload))));
	return SUPER_MESSAGE_OVERHEAD_BYTES + HEADERS + payload;
}

static int give(size_t end, size_t len)
{
	return kcpvpn_peer_send(peer_of(end), message, len, pair.now_us);
}

Test(native_super, is_asked_for)
{
	static const struct {
		uint32_t takes[2], seen[2]; /* by 0 of 1, by 1 of 0 */
	} ROWS[] = {
		{{0, 0}, {0, 0}},
		{{65535, 0}, {0, 0}},
		{{0, 65535}, {0, 0}},
		{{65535, 65535}, {65535, 65535}},
		{{1280, 40000}, {40000, 1280}},
	};

	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		open_up(ROWS[i].takes[0], ROWS[i].takes[1], 0);
		for (size_t end = 0; end < 2; end++) {
			cr_assert_eq(kcpvpn_peer_super_max(peer_of(end)), ROWS[i].seen[end],
				"row %zu end %zu", i, end);
			bool both = ROWS[i].takes[0] > 0 && ROWS[i].takes[1] > 0;
			cr_assert_eq((peer_of(end)->hs.limits.features & NATIVE_FEATURE_SUPER) != 0,
				both, "row %zu end %zu", i, end);
		}
		native_pair_fini(&pair);
	}
}

Test(native_super, a_length_out_of_range_is_refused)
{
	static const uint32_t bad[] = {1, 1279, 65536};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct kcpvpn_native_config config;
		uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
		struct kcpvpn_native *native = NULL;

		open_up(0, 0, 0);
		config = pair.ends[0].native->config;
		native_pair_private_key(0, key);
		config.private_key = key;
		config.network_key = NULL;
		cr_assert_eq(kcpvpn_native_new(&config, pair.now_us, &native), 0);
		kcpvpn_native_free(native);
		config.super_max_bytes = bad[i];
		cr_assert_eq(kcpvpn_native_new(&config, pair.now_us, &native), -EINVAL);
		native_pair_fini(&pair);
	}
}

Test(native_super, passes_whole_and_in_order_under_loss)
{
	open_up(65535, 65535, 100000);
	for (uint32_t i = 0; i < 200; i++) {
		size_t len = fill(i, (1 + i % 20) * SEGMENT + i);
		for (int tries = 0; give(0, len) != 0; tries++) {
			cr_assert(tries < 1000, "message %u", i);
			native_pair_run(&pair, 5 * MS);
		}
		uint64_t before = came_count;
		for (int tries = 0; came_count == before; tries++) {
			cr_assert(tries < 2000, "message %u", i);
			native_pair_run(&pair, 5 * MS);
		}
		cr_assert_eq(came_len, len);
		cr_assert_eq(memcmp(came, message, len), 0, "message %u", i);
	}
	cr_assert_eq(came_count, 200);
	native_pair_fini(&pair);
}

Test(native_super, the_longest_one_passes)
{
	open_up(65535, 65535, 0);
	size_t len = fill(1, 65535 - HEADERS);
	cr_assert_eq(len, 65538);
	cr_assert_eq(give(0, len), 0);
	native_pair_run(&pair, S);
	cr_assert_eq(came_count, 1);
	cr_assert_eq(came_len, len);
	cr_assert_eq(memcmp(came, message, len), 0);
	native_pair_fini(&pair);
}

Test(native_super, what_the_peer_does_not_take_is_refused)
{
	open_up(65535, 20000, 0);
	cr_assert_eq(give(0, fill(1, 20000 - HEADERS + 1)), -EMSGSIZE);
	cr_assert_eq(give(0, fill(1, 20000 - HEADERS)), 0);
	(void)fill(1, 6000);
	store_le16(message + 1, 1400 - HEADERS + 1); /* a segment longer than its tun_mtu */
	cr_assert_eq(give(0, SUPER_MESSAGE_OVERHEAD_BYTES + HEADERS + 6000), -EMSGSIZE);
	store_le16(message + 1, 40); /* 150 segments */
	cr_assert_eq(give(0, SUPER_MESSAGE_OVERHEAD_BYTES + HEADERS + 6000), -EMSGSIZE);
	message[0] = 0x82; /* it is IPv4 */
	store_le16(message + 1, SEGMENT);
	cr_assert_eq(give(0, SUPER_MESSAGE_OVERHEAD_BYTES + HEADERS + 6000), -EINVAL);
	native_pair_fini(&pair);

	open_up(65535, 0, 0);
	cr_assert_eq(give(0, fill(1, 6000)), -EINVAL);
	cr_assert_eq(give(1, fill(1, 6000)), -EINVAL, "neither the other way: both must");
	native_pair_fini(&pair);
}

/* A sender that does not keep to what it was told: its messages are not even put together. */
Test(native_super, a_longer_one_than_told_is_dropped)
{
	open_up(65535, 20000, 0);
	peer_of(0)->hs.limits.super_max = 65535;
	native_data_limits(peer_of(0), mono_at_us(pair.now_us));
	cr_assert_eq(give(0, fill(1, 30000)), 0);
	native_pair_run(&pair, 5 * S);
	cr_assert_eq(came_count, 0);
	cr_assert_eq(give(0, fill(1, 10000)), 0);
	native_pair_run(&pair, S);
	cr_assert_eq(came_count, 1, "what is right still passes");
	native_pair_fini(&pair);
}

/* Whatever the flags of the last segment are. */
Test(native_super, goes_as_bulk_in_its_flows_lane)
{
	open_up(65535, 65535, 0);
	(void)fill(1, 3 * SEGMENT);
	message[SUPER_MESSAGE_OVERHEAD_BYTES + 33] = 0x11; /* FIN */
	struct super_packet p;
	struct super_limits limits = {1400, 65535};
	size_t len = SUPER_MESSAGE_OVERHEAD_BYTES + HEADERS + 3 * SEGMENT;
	cr_assert_eq(super_message_parse(message, len, &limits, &p), SUPER_OK);
	struct traffic_flow flow = traffic_class_of(&pair.ends[0].native->data.classifier, p.bytes,
		&p.ip, p.segments, mono_at_us(pair.now_us));
	cr_assert_eq(flow.class, TRAFFIC_CLASS_BULK);
	flow = traffic_class_of(
		&pair.ends[0].native->data.classifier, p.bytes, &p.ip, 1, mono_at_us(pair.now_us));
	cr_assert_eq(flow.class, TRAFFIC_CLASS_CTL);
	cr_assert_eq(give(0, len), 0);
	native_pair_run(&pair, S);
	cr_assert_eq(came_count, 1);
	native_pair_fini(&pair);
}

/* Credit that is enough for a short message need not be enough for a long one: who is told so is called when it is. */
Test(native_super, room_is_asked_for_a_length)
{
	open_up(65535, 65535, 0);
	int given = 0;
	while (given < 1000 && kcpvpn_peer_room(peer_of(0), 40000)) {
		cr_assert_eq(give(0, fill((uint32_t)given, 40000)), 0, "what has room is taken");
		given++;
		kcpvpn_native_flush(pair.ends[0].native, pair.now_us);
	}
	cr_assert(given > 0 && given < 1000);
	(void)native_pair_events(&pair.ends[0], 1);
	native_pair_run(&pair, S);
	cr_assert(native_pair_events(&pair.ends[0], 1) & KCPVPN_PEER_EVENT_WRITABLE);
	cr_assert(kcpvpn_peer_room(peer_of(0), 40000));
	cr_assert_eq(came_count, (size_t)given);
	native_pair_fini(&pair);
}
