/*
 * What outer packets of the kcp-go wire show and how many there are: DSCP, the bound on the rate, and urgent packets out of
 * band.
 */
#include "pair.h"

#include "core/endian.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	EF = 46,
	AF41 = 34,
	PACKET_BYTES = 200,
};

static struct pair pair;
static uint8_t buf[4096];

static void open_up(bool fec, bool measured)
{
	struct kcpvpn_config config = pair_config();

	if (!fec)
		config.data_shards = 0;
	config.measured_window = measured;
	config.send_queue_segments = 512;
	pair_open(&pair, &config, NULL);
	pair_dial(&pair, 5);
	cr_assert_eq(pair_send(&pair.a, 1, 100), 0);
	pair_exchange(&pair);
	pair_expect(&pair.b, 1, 100);
	pair_run(&pair, S);
	memset(pair.a.sent_tos, 0, sizeof(pair.a.sent_tos));
}

static int give(uint8_t protocol, uint8_t dscp, size_t len)
{
	uint8_t packet[1200] = {0x45};

	packet[1] = (uint8_t)(dscp << 2);
	store_be16(packet + 2, (uint16_t)len);
	packet[8] = 64;
	packet[9] = protocol;
	store_be32(packet + 12, 0x0a000001);
	store_be32(packet + 16, 0x0a000002);
	store_be16(packet + 20, 5000);
	store_be16(packet + 22, 6000);
	packet[32] = protocol == 6 ? 0x50 : 0;
	if (protocol == 17)
		store_be16(packet + 24, (uint16_t)(len - 20));
	return kcpvpn_conv_send(pair.a.conv, packet, len, pair.now_us);
}

static unsigned drain(void)
{
	unsigned count = 0;
	size_t len;

	while (kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf), pair.now_us, &len) == 0)
		count++;
	return count;
}

static unsigned drain_oob(void)
{
	unsigned count = 0;
	size_t len;

	while (kcpvpn_conv_recv_oob(pair.b.conv, buf, sizeof(buf), &len) == 0)
		count++;
	return count;
}

static uint64_t sent_with(unsigned dscp)
{
	return pair.a.sent_tos[dscp << 2];
}

Test(node_outer, dscp_is_on_data_and_parity)
{
	open_up(true, true);
	kcpvpn_conv_set_dscp(pair.a.conv, AF41);
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(give(17, EF, PACKET_BYTES), 0);
		pair_run(&pair, 10 * MS);
	}
	cr_assert_geq(sent_with(AF41), 26, "two groups of ten and three");
	cr_assert_eq(sent_with(0), 0);
	kcpvpn_conv_set_dscp(pair.a.conv, 64);
	cr_assert_eq(give(17, EF, PACKET_BYTES), 0);
	pair_run(&pair, 10 * MS);
	cr_assert_gt(sent_with(0), 0);
	pair_close(&pair);
}

Test(node_outer, packets_of_different_dscp_share_no_datagram)
{
	for (int marked = 0; marked < 2; marked++) {
		open_up(false, false);
		if (marked)
			kcpvpn_conv_set_dscp(pair.a.conv, KCPVPN_DSCP_AS_MARKED);
		for (int i = 0; i < 8; i++)
			cr_assert_eq(give(17, i < 4 ? EF : 0, PACKET_BYTES), 0);
		pair_exchange(&pair);
		cr_assert_eq(drain(), 8);
		cr_assert_eq((int)sent_with(EF), marked, "four fit one");
		cr_assert_geq(sent_with(0), marked ? 1 : 2);
		pair_close(&pair);
	}
}

Test(node_outer, urgent_packets_go_out_of_band_if_told)
{
	for (int on = 0; on < 2; on++) {
		open_up(true, true);
		cr_assert_eq(kcpvpn_conv_set_urgent_oob(pair.a.conv, on), 0);
		for (int i = 0; i < 5; i++) {
			cr_assert_eq(give(17, EF, PACKET_BYTES), 0);
			cr_assert_eq(give(6, 0, PACKET_BYTES), 0);
			pair_run(&pair, 20 * MS);
			cr_assert_eq((int)drain_oob(), on);
			cr_assert_eq(drain(), on ? 1 : 2);
		}
		pair_close(&pair);
	}
}

Test(node_outer, out_of_band_takes_fec)
{
	open_up(false, true);
	cr_assert_eq(kcpvpn_conv_set_urgent_oob(pair.a.conv, true), 0);
	cr_assert_eq(give(17, EF, PACKET_BYTES), 0);
	pair_run(&pair, 20 * MS);
	cr_assert_eq(drain_oob(), 0);
	cr_assert_eq(drain(), 1);
	pair_close(&pair);
}

/* Parity, acknowledgements and what goes out of band are in it. */
Test(node_outer, no_more_is_sent_than_ordered)
{
	static const uint64_t rates[] = {200000, 2000000, 30000000};

	for (size_t i = 0; i < 3; i++) {
		for (int way = 0; way < 4; way++) {
			open_up(way & 1, way & 2);
			kcpvpn_conv_set_rate_max(pair.a.conv, rates[i]);
			(void)kcpvpn_conv_set_urgent_oob(pair.a.conv, true);
			uint64_t before = 0;
			for (int ms = 0; ms < 12000; ms++) {
				if (ms == 2000)
					before = pair.a.bytes;
				while (kcpvpn_conv_window_room(pair.a.conv) > 0 &&
					give(6, 0, 1200) == 0)
					;
				if (ms % 20 == 0)
					(void)give(17, EF, 100);
				pair_run(&pair, MS);
				(void)drain();
				(void)drain_oob();
			}
			double rate = (double)(pair.a.bytes - before) * 8 / 10;
			cr_assert_leq(rate, (double)rates[i] * 1.03 + 3000, "%.0f of %lu, way %d",
				rate, (unsigned long)rates[i], way);
			cr_assert_geq(rate, (double)rates[i] * 0.9, "%.0f of %lu, way %d", rate,
				(unsigned long)rates[i], way);
			pair_close(&pair);
		}
	}
}
