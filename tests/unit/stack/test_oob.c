/* Out-of-band messages: both ways, their limits, and ends that know no FEC. */
#include "pair.h"

#include "core/endian.h"
#include "fec/fec_header.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static struct pair pair;

Test(oob, both_ways_and_at_once)
{
	struct kcpvpn_config config = pair_config();
	uint8_t buf[100];
	size_t len;

	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	cr_assert_eq(kcpvpn_conv_send_oob(pair.a.conv, "to b", 4), 0);
	pair_exchange(&pair);
	cr_assert_not_null(pair.b.conv, "it opens a conversation like any other");
	cr_assert_eq(pair_events(&pair.b),
		KCPVPN_EVENT_ACCEPTED | KCPVPN_EVENT_OOB | KCPVPN_EVENT_ALIVE);
	cr_assert_eq(kcpvpn_conv_recv_oob(pair.b.conv, buf, 3, &len), -EMSGSIZE);
	cr_assert_eq(kcpvpn_conv_recv_oob(pair.b.conv, buf, sizeof(buf), &len), 0);
	cr_assert(len == 4 && memcmp(buf, "to b", 4) == 0);
	cr_assert_eq(kcpvpn_conv_recv_oob(pair.b.conv, buf, sizeof(buf), &len), -EAGAIN);
	cr_assert_eq(kcpvpn_conv_send_oob(pair.b.conv, "to a", 4), 0);
	pair_exchange(&pair);
	cr_assert_eq(kcpvpn_conv_recv_oob(pair.a.conv, buf, sizeof(buf), &len), 0);
	cr_assert(len == 4 && memcmp(buf, "to a", 4) == 0);
	cr_assert_eq(pair_stats(&pair.a).oob_in, 1);
	/* nobody acknowledges it: nothing is in flight, nothing will be repeated */
	cr_assert(kcpvpn_conv_drained(pair.a.conv));
	pair_run(&pair, 10000000);
	cr_assert_eq(pair.a.datagrams + pair.b.datagrams, 2);
	pair_close(&pair);
}

Test(oob, sizes)
{
	static const uint32_t mtus[] = {KCPVPN_MTU_MIN_BYTES, 1350, KCPVPN_MTU_MAX_BYTES};
	static const char *const ciphers[] = {"null", "salsa20", "aes-128-gcm"};

	for (size_t i = 0; i < 9; i++) {
		struct kcpvpn_config config = pair_config();
		uint8_t message[KCPVPN_MTU_MAX_BYTES + 1], buf[KCPVPN_MTU_MAX_BYTES];
		size_t len;
		config.mtu_bytes = mtus[i / 3];
		config.crypt = ciphers[i % 3];
		size_t most = kcpvpn_config_mss(&config) + 20;
		for (size_t k = 0; k < sizeof(message); k++)
			message[k] = pair_pattern((uint8_t)i, k);
		pair_open(&pair, &config, NULL);
		pair_dial(&pair, 5);
		cr_assert_eq(kcpvpn_conv_send_oob(pair.a.conv, message, 0), -EMSGSIZE);
		cr_assert_eq(kcpvpn_conv_send_oob(pair.a.conv, message, most + 1), -EMSGSIZE);
		cr_assert_eq(kcpvpn_conv_send_oob(pair.a.conv, message, most), 0);
		cr_assert_eq(kcpvpn_conv_send_oob(pair.a.conv, message, 1), 0);
		pair_exchange(&pair);
		cr_assert_eq(kcpvpn_conv_recv_oob(pair.b.conv, buf, sizeof(buf), &len), 0);
		cr_assert_eq(len, most);
		cr_assert_arr_eq(buf, message, most);
		cr_assert_eq(kcpvpn_conv_recv_oob(pair.b.conv, buf, sizeof(buf), &len), 0);
		cr_assert_eq(len, 1);
		pair_close(&pair);
	}
}

Test(oob, needs_fec_to_send_and_none_to_receive)
{
	struct kcpvpn_config with = pair_config(), without = pair_config();
	uint8_t buf[100];
	size_t len;

	without.data_shards = 0;
	pair_open(&pair, &with, &without);
	pair_dial(&pair, 5);
	cr_assert_eq(kcpvpn_conv_send_oob(pair.a.conv, "hello", 5), 0);
	pair_exchange(&pair);
	cr_assert_eq(kcpvpn_conv_recv_oob(pair.b.conv, buf, sizeof(buf), &len), 0);
	cr_assert_eq(len, 5);
	cr_assert_eq(kcpvpn_conv_send_oob(pair.b.conv, "hello", 5), -EOPNOTSUPP);
	pair_close(&pair);
}

/* As little as the wire allows, and a size field that lies. */
Test(oob, crafted)
{
	struct kcpvpn_config config = pair_config();
	uint8_t buf[100];
	size_t len;

	config.crypt = "none";
	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	for (int size = -1; size < 3; size++) {
		struct craft craft = {.len = 4};
		store_le32(craft.bytes, 5);
		craft_wrap_fec(&craft, FEC_OOB_SEQID, FEC_TYPE_OOB, size == 2 ? 65535 : size);
		craft_wrap_none(&craft);
		pair_inject(&pair.a, &pair.b.address, craft.bytes, craft.len);
		cr_assert_eq(kcpvpn_conv_recv_oob(pair.a.conv, buf, sizeof(buf), &len), 0);
		cr_assert_eq(len, 0, "what there is counts, not what is said");
	}
	for (size_t cut = 0; cut < 4; cut++) {
		struct craft craft = {.len = cut};
		craft_wrap_fec(&craft, FEC_OOB_SEQID, FEC_TYPE_OOB, 6);
		craft_wrap_none(&craft);
		pair_inject(&pair.a, &pair.b.address, craft.bytes, craft.len);
		cr_assert_eq(kcpvpn_conv_recv_oob(pair.a.conv, buf, sizeof(buf), &len), -EAGAIN);
	}
	cr_assert_eq(pair_stats(&pair.a).drop_short, 4);
	pair_close(&pair);
}

/* Longer than anything that may be sent, as a port with large buffers could bring it. */
Test(oob, longer_than_a_slot)
{
	struct kcpvpn_config config = pair_config();
	static uint8_t buf[CRAFT_MAX];
	size_t len;

	config.crypt = "none";
	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	for (size_t bytes = 1400; bytes <= CRAFT_MAX - 28; bytes += bytes < 2200 ? 1 : 100) {
		struct craft craft = {.len = bytes};
		uint64_t dropped = pair_stats(&pair.a).drop_oob;
		memset(craft.bytes, 'o', bytes);
		store_le32(craft.bytes, 5);
		craft_wrap_fec(&craft, FEC_OOB_SEQID, FEC_TYPE_OOB, -1);
		craft_wrap_none(&craft);
		pair_inject(&pair.a, &pair.b.address, craft.bytes, craft.len);
		int error = kcpvpn_conv_recv_oob(pair.a.conv, buf, sizeof(buf), &len);
		if (error == 0)
			cr_assert(len == bytes - 4 && buf[len - 1] == 'o');
		cr_assert_eq(pair_stats(&pair.a).drop_oob, dropped + (error != 0));
		if (bytes <= KCPVPN_MTU_MAX_BYTES)
			cr_assert_eq(error, 0);
	}
	cr_assert(pair_stats(&pair.a).drop_oob > 0);
	pair_close(&pair);
}
