/*
 * Throws datagrams at a node: wild bytes, and bytes that are made to pass the first checks (CRC repaired, a conversation's
 * number filled in, an FEC header in front), between calls of the program that owns the node. Watched besides the
 * sanitizers: bounds on conversations and memory, deadlines that do not stand still, counters that add up.
 */
#include "core/wire.h"
#include "crypto/crc32.h"
#include "fec/fec_header.h"
#include "kcp/kcp_segment.h"
#include "kcpvpn/node.h"

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	CONV = 0x11223344,
	CONVS_MAX = 6,
	DATAGRAM_MAX = 1600,
	CRYPT_BYTES = 20,
	WND = 64,
	MEMORY_MAX = 300000,
	ROUNDS_MAX = 1000,
	CONV_FIXED_MAX = 64 * 1024, /* of a conversation, without slots */
};

struct drive {
	struct wire in;
	struct kcpvpn_node *node;
	struct kcpvpn_udp_port port;
	int64_t now_us;
	bool has_crc;
	uint64_t handed; /* datagrams given to the node */
	uint32_t mtu_bytes;
	struct kcpvpn_conv *convs[CONVS_MAX];
	size_t conv_count;
};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void random_fill(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 0x5a, len);
}

static void port_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	const struct drive *drive = ctx;

	check(count >= 1 && count <= KCPVPN_BATCH_MAX);
	for (size_t i = 0; i < count; i++) {
		uint8_t sum = 0;
		check(batch[i].len > 0 && batch[i].len <= drive->mtu_bytes);
		for (size_t k = 0; k < batch[i].len; k++)
			sum ^= batch[i].data[k]; /* for the sanitizers: all of it can be read */
		__asm__ volatile("" : : "r"(sum));
	}
}

static struct kcpvpn_endpoint remote(unsigned which)
{
	return (struct kcpvpn_endpoint){
		.address = {10, 0, 0, (uint8_t)which}, .port = 5000, .family = 4};
}

/* ---- datagrams --------------------------------------------------------------------------------------------------- */

/* Segments close to what a young conversation expects. */
static size_t plausible_segments(struct drive *drive, uint8_t *to, size_t room)
{
	unsigned count = 1 + wire_u8(&drive->in) % 4;
	size_t used = 0;

	for (unsigned i = 0; i < count; i++) {
		uint8_t kind = wire_u8(&drive->in);
		uint8_t near = wire_u8(&drive->in);
		uint8_t body = wire_u8(&drive->in);
		struct kcp_segment segment = {
			.conv = CONV + (kind >> 6 == 3 ? 1 : 0),
			.cmd = (uint8_t)(KCP_CMD_PUSH + kind % 4),
			.frg = kind & 0x10 ? near : 0,
			.wnd = kind & 0x20 ? 0 : 128,
			.ts = (uint32_t)(drive->now_us / 1000) - near,
			.sn = near & 0x80 ? near - 0xa0u : near,
			.una = kind & 0x08 ? near : 0,
			.len = body,
		};
		if (segment.cmd != KCP_CMD_PUSH)
			segment.len = 0;
		if (room - used < KCP_OVERHEAD_BYTES + segment.len)
			break;
		memset(kcp_segment_write(to + used, &segment), body, segment.len);
		used += KCP_OVERHEAD_BYTES + segment.len;
	}
	return used;
}

static size_t wild_bytes(struct drive *drive, uint8_t *to, size_t room)
{
	size_t len = wire_le16(&drive->in) % (room + 1);
	size_t left = wire_left(&drive->in);

	if (len > left)
		len = left;
	const uint8_t *bytes = wire_bytes(&drive->in, len);
	if (!bytes)
		return 0;
	memcpy(to, bytes, len);
	return len;
}

static void input(struct drive *drive, uint8_t op)
{
	uint8_t how = wire_u8(&drive->in);
	uint8_t bytes[DATAGRAM_MAX] = {0};
	size_t at = 0, len;

	if (drive->has_crc && !(how & 0x80))
		at += CRYPT_BYTES;
	if (how & 0x01) {
		uint32_t seqid = how & 0x40 ? wire_le32(&drive->in) : wire_u8(&drive->in);
		uint16_t type = (uint16_t)(FEC_TYPE_DATA + (how >> 4 & 3) % 3);
		fec_header_write(bytes + at, seqid, type);
		at += FEC_HEADER_SEQID_BYTES;
		if (type != FEC_TYPE_PARITY)
			at += FEC_HEADER_SIZE_BYTES;
	}
	len = at + (how & 0x02 ? plausible_segments(drive, bytes + at, sizeof(bytes) - at)
			       : wild_bytes(drive, bytes + at, sizeof(bytes) - at));
	if (how & 0x04 && len >= at + 4)
		store_le32(bytes + at, CONV);
	if (drive->has_crc && !(how & 0x80) && len >= CRYPT_BYTES)
		store_le32(bytes + 16, crc32_of(bytes + CRYPT_BYTES, len - CRYPT_BYTES));
	uint8_t *exact = malloc(len ? len : 1);
	check(exact != NULL);
	memcpy(exact, bytes, len);
	struct kcpvpn_datagram d = {.remote = remote(op >> 4 & 7), .data = exact, .len = len};
	kcpvpn_node_input(drive->node, &drive->port, op & 0x80, &d, 1, drive->now_us);
	free(exact);
	drive->handed++;
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static void forget(struct drive *drive, const struct kcpvpn_conv *conv)
{
	for (size_t i = 0; i < drive->conv_count; i++) {
		if (drive->convs[i] == conv) {
			drive->convs[i] = drive->convs[--drive->conv_count];
			return;
		}
	}
	check(false);
}

static void take_events(struct drive *drive)
{
	struct kcpvpn_conv *conv;
	unsigned events;

	while ((conv = kcpvpn_node_next_event(drive->node, &events)) != NULL) {
		check(events != 0);
		if (events & KCPVPN_EVENT_ACCEPTED) {
			check(drive->conv_count < CONVS_MAX);
			drive->convs[drive->conv_count++] = conv;
		}
		if (events & KCPVPN_EVENT_CLOSED) {
			forget(drive, conv);
			kcpvpn_conv_close(conv, drive->now_us);
		}
	}
}

/* A turn of the wheel: no call may leave work that is due at once for ever. */
static void settle(struct drive *drive)
{
	int rounds = 0;

	do {
		check(++rounds < ROUNDS_MAX);
		kcpvpn_node_on_deadline(drive->node, drive->now_us);
		take_events(drive);
		kcpvpn_node_flush(drive->node, drive->now_us);
		take_events(drive);
	} while (kcpvpn_node_next_deadline(drive->node) <= drive->now_us);
}

static struct kcpvpn_conv *chosen(struct drive *drive, uint8_t op)
{
	return drive->conv_count > 0 ? drive->convs[op % drive->conv_count] : NULL;
}

static void program(struct drive *drive, struct kcpvpn_conv *conv, uint8_t what)
{
	static uint8_t buf[20000];
	struct iovec iov[256];
	size_t len = 0;

	switch (what % 8) {
	case 0:
	case 1:
		(void)kcpvpn_conv_send(conv, buf, (size_t)what * 13 + 1, drive->now_us);
		break;
	case 2:
		(void)kcpvpn_conv_recv(conv, buf, sizeof(buf), drive->now_us, &len);
		break;
	case 3:
		if (kcpvpn_conv_recv_peek(conv, iov, 256, &len) > 0)
			kcpvpn_conv_recv_drop(conv, drive->now_us);
		break;
	case 4:
		(void)kcpvpn_conv_send_oob(conv, buf, (size_t)what * 6);
		(void)kcpvpn_conv_recv_oob(conv, buf, sizeof(buf), &len);
		break;
	case 5:
		kcpvpn_conv_probe(conv, drive->now_us);
		break;
	case 6:
		(void)kcpvpn_conv_window_room(conv);
		kcpvpn_conv_set_times(conv, (int64_t)what << 16, (int64_t)what << 17, 0);
		break;
	case 7:
		forget(drive, conv);
		kcpvpn_conv_close(conv, drive->now_us);
		break;
	}
}

static void step(struct drive *drive)
{
	uint8_t op = wire_u8(&drive->in);
	struct kcpvpn_conv *conv;

	switch (op & 7) {
	case 0:
	case 1:
	case 2:
	case 3:
		input(drive, op);
		/* mostly at once, so that the next one meets what this one changed */
		if (op & 8)
			take_events(drive);
		break;
	case 4:
		conv = chosen(drive, op >> 3);
		take_events(drive);
		conv = chosen(drive, op >> 3);
		if (conv)
			program(drive, conv, wire_u8(&drive->in));
		break;
	case 5:
		settle(drive);
		drive->now_us += (int64_t)wire_le16(&drive->in) * (op & 0x80 ? 10000 : 100);
		break;
	case 6: {
		settle(drive);
		int64_t next = kcpvpn_node_next_deadline(drive->node);
		if (next != KCPVPN_NEVER)
			drive->now_us = next;
		settle(drive);
		break;
	}
	case 7:
		take_events(drive);
		if (drive->conv_count < CONVS_MAX) {
			struct kcpvpn_endpoint to = remote(op >> 4 & 7);
			if (kcpvpn_node_dial(drive->node, &drive->port, &to, op & 8 ? CONV : 0,
				    drive->now_us, &conv) == 0)
				drive->convs[drive->conv_count++] = conv;
		}
		break;
	}
}

static void check_bounds(struct drive *drive)
{
	struct kcpvpn_stats stats;
	uint64_t memory = 0;

	kcpvpn_node_stats(drive->node, &stats);
	check(stats.conversations <= CONVS_MAX + 1); /* one may be about to be replaced */
	check(stats.in_datagrams <= drive->handed);
	check(stats.drop_short + stats.drop_checksum + stats.drop_source + stats.drop_no_conv +
			stats.drop_conv + stats.drop_backlog <=
		drive->handed);
	for (size_t i = 0; i < drive->conv_count; i++) {
		struct kcpvpn_conv_stats conv;
		kcpvpn_conv_stats(drive->convs[i], &conv);
		memory += conv.memory_bytes;
		check(conv.in_flight_segments <= WND);
	}
	check(memory <= MEMORY_MAX + (CONVS_MAX + 1) * CONV_FIXED_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct drive drive = {.in = wire_of(data, len), .now_us = 5000000};
	uint8_t flags = wire_u8(&drive.in);
	struct kcpvpn_config config;

	kcpvpn_config_init(&config);
	drive.port = (struct kcpvpn_udp_port){port_send, &drive};
	drive.has_crc = flags & 1;
	drive.mtu_bytes = config.mtu_bytes = flags & 0x80 ? KCPVPN_MTU_MIN_BYTES : 1350;
	config.crypt = drive.has_crc ? "none" : "null";
	config.data_shards = flags & 2 ? 3 : 0;
	config.parity_shards = 2;
	config.profile = flags & 4 ? KCPVPN_PROFILE_5_6_72 : KCPVPN_PROFILE_5_6_1;
	config.stream = flags & 8;
	config.measured_window = flags & 16;
	config.no_congestion_window = flags & 32;
	config.snd_wnd = config.rcv_wnd = WND;
	config.convs_max = CONVS_MAX;
	config.memory_max_bytes = flags & 64 ? MEMORY_MAX / 10 : MEMORY_MAX;
	config.keepalive_us = 5000000;
	config.dead_after_us = 20000000;
	config.idle_after_us = 100000000;
	check(kcpvpn_node_new(&config, random_fill, NULL, drive.now_us, &drive.node) == 0);
	while (wire_ok(&drive.in) && wire_left(&drive.in) > 0) {
		step(&drive);
		check_bounds(&drive);
	}
	/* left alone, it ends: idle_after closes what nobody feeds */
	for (int i = 0; i < 100000 && kcpvpn_node_next_deadline(drive.node) != KCPVPN_NEVER; i++) {
		settle(&drive);
		int64_t next = kcpvpn_node_next_deadline(drive.node);
		if (next != KCPVPN_NEVER)
			drive.now_us = next;
	}
	check(kcpvpn_node_next_deadline(drive.node) == KCPVPN_NEVER);
	kcpvpn_node_free(drive.node);
	return 0;
}
