/*
 * A peer that has proved who it is and sends what it likes: plaintexts of any bytes, segments with any fields, acknowledgements of
 * numbers that were sent or not, TLVs, from any address, at any time. Its victim must stay whole: memory bounded, time passing,
 * and to an address without proof nothing but challenges and answers that are not longer than what asked.
 */
#include "core/wire.h"
#include "kcp/kcp_segment.h"
#include "stack/native_state.h"

#include "native_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	STEPS_MAX = 400,
	PLAINTEXT_MAX = WORLD_DATAGRAM_MAX - SEAL_OVERHEAD_BYTES,
	CHALLENGE_BYTES = 70,
	MEMORY_MAX = 10 << 20, /* the pool and its overhead, and what a path keeps beside */
};

static struct world world;
static struct world_end *const hostile = &world.ends[0];
static struct world_end *const victim = &world.ends[1];
static struct kcpvpn_endpoint source; /* of what the hostile end sends now */
static size_t asked_bytes;	      /* of the datagram that is being answered, 0 = none */
static size_t stray_bytes;

/* In place of the network: what the victim sends anywhere else than to where the peer is proven to be. */
static void victim_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct kcpvpn_endpoint proven;

	for (size_t i = 0; i < count; i++) {
		bool known = kcpvpn_peer_endpoint(victim->peer, &proven) &&
			     kcpvpn_endpoint_equal(&proven, &batch[i].remote);
		if (!known && !kcpvpn_endpoint_equal(&batch[i].remote, &hostile->address) &&
			batch[i].len != CHALLENGE_BYTES)
			stray_bytes += batch[i].len;
	}
	world_send(ctx, batch, count);
}

static struct native_session *session_of(struct world_end *end)
{
	return end->peer->hs.slots[NATIVE_SLOT_CUR];
}

static void send_plaintext(const uint8_t *plaintext, size_t len)
{
	struct native_session *session = session_of(hostile);
	struct kcp_path *path = hostile->peer->data.path;
	uint8_t datagram[WORLD_DATAGRAM_MAX];

	if (!session || !path)
		return;
	struct seal_item item = {
		.payload = datagram + SEAL_HEADER_BYTES,
		.len = len,
		.counter =
			kcp_path_take_pn(path, KCP_PATH_EXTRA_QUIET, len, mono_at_us(world.now_us)),
		.key = &session->send,
		.receiver_index = session->remote_index,
	};
	if (len > 0)
		memcpy(item.payload, plaintext, len);
	seal_batch(&item, 1);
	world_check(item.verdict == SEAL_OK);
	asked_bytes = len + SEAL_OVERHEAD_BYTES;
	stray_bytes = 0;
	world_arrive(victim, &source, datagram, asked_bytes);
	kcpvpn_native_flush(victim->native, world.now_us);
	world_check(stray_bytes <= asked_bytes);
	asked_bytes = 0;
}

static size_t put_segment(struct wire *tape, uint8_t *at, size_t room)
{
	static const uint8_t cmds[] = {KCP_CMD_PUSH, KCP_CMD_PUSH, KCP_CMD_DGRAM, KCP_CMD_FWD,
		KCP_CMD_WASK, KCP_CMD_WINS, KCP_CMD_PROBE, KCP_CMD_CONTROL, KCP_CMD_RACK,
		KCP_CMD_ACK, 0, 255};
	uint8_t what = wire_u8(tape);
	struct kcp_segment s = {
		.cmd = cmds[what % sizeof(cmds)],
		.conv = wire_u8(tape),
		.frg = wire_u8(tape),
		.wnd = wire_u8(tape),
		.sn = wire_u8(tape),
		.una = wire_u8(tape),
		.len = wire_u8(tape),
	};

	if (what & 0x80) { /* farther away */
		s.conv *= 37;
		s.sn *= 0x01010101u;
		s.una *= 0x01010101u;
		s.len *= 5;
	} else if (s.cmd == KCP_CMD_PUSH) {
		s.sn += s.una;
		s.frg = (uint8_t)((s.frg & 0x80) | (s.frg & 3));
	}
	if (KCP_OVERHEAD_BYTES + s.len > room)
		return 0;
	kcp_segment_write(at, &s);
	for (uint32_t i = 0; i < s.len; i++)
		at[KCP_OVERHEAD_BYTES + i] =
			wire_left(tape) > 0 && s.cmd > KCP_CMD_DGRAM ? wire_u8(tape) : (uint8_t)i;
	return KCP_OVERHEAD_BYTES + s.len;
}

static void send_segments(struct wire *tape)
{
	uint8_t plaintext[PLAINTEXT_MAX];
	unsigned count = wire_u8(tape);
	size_t len = 4;

	memset(plaintext, 0, 4);
	plaintext[0] = count & 0x80 ? (uint8_t)(count >> 4 & 7) : 0;
	if (plaintext[0])
		plaintext[1] = wire_u8(tape);
	for (count = count % 12 + 1; count > 0; count--)
		len += put_segment(tape, plaintext + len, sizeof(plaintext) - len);
	send_plaintext(plaintext, len);
}

/* Acknowledges around what the victim really sent. */
static void send_rack(struct wire *tape)
{
	uint8_t plaintext[PLAINTEXT_MAX], *body = plaintext + 4 + KCP_OVERHEAD_BYTES;
	const struct kcp_path *path = victim->peer->data.path;
	uint64_t next = path ? kcp_path_next_pn(path) : 0;
	size_t len = 0;

	store_le64(body, next + 2 - wire_u8(tape) % 16);
	store_le16(body + 8, wire_u8(tape));
	len = 10;
	for (int list = 0; list < 2; list++) {
		uint8_t ranges = wire_u8(tape) % 5;
		body[len++] = ranges;
		for (uint8_t i = 0; i < ranges * 2; i++)
			body[len++] = wire_u8(tape) & 0x8f;
	}
	memset(body + len, 0, 3);
	len += 3;
	const struct kcp_segment s = {.cmd = KCP_CMD_RACK, .wnd = 64, .len = (uint32_t)len};
	memset(plaintext, 0, 4);
	kcp_segment_write(plaintext + 4, &s);
	send_plaintext(plaintext, 4 + KCP_OVERHEAD_BYTES + len);
}

/* With some luck of sources that came, or of others. */
static void send_repair(struct wire *tape)
{
	uint8_t plaintext[PLAINTEXT_MAX];
	uint8_t how = wire_u8(tape);
	size_t len = (size_t)36 + wire_u8(tape);

	memset(plaintext, 0, sizeof(plaintext));
	plaintext[0] = (uint8_t)(3 + (how & 1));
	plaintext[1] = wire_u8(tape);
	if (how & 0x80) /* far away */
		plaintext[3] = how;
	plaintext[4] = how >> 1 & 7;
	plaintext[8] = wire_u8(tape) % 70;
	for (size_t i = 10; i < len && how & 0x40; i++)
		plaintext[i] = wire_u8(tape);
	send_plaintext(plaintext, len);
}

static void send_raw(struct wire *tape)
{
	uint8_t plaintext[PLAINTEXT_MAX];
	size_t len = wire_u8(tape);

	for (size_t i = 0; i < len; i++)
		plaintext[i] = wire_u8(tape);
	send_plaintext(plaintext, len);
}

static void send_control(struct wire *tape)
{
	uint8_t plaintext[PLAINTEXT_MAX];
	size_t len = wire_u8(tape);
	const struct kcp_segment s = {.cmd = KCP_CMD_CONTROL, .wnd = 64, .len = (uint32_t)len};

	memset(plaintext, 0, 4);
	kcp_segment_write(plaintext + 4, &s);
	for (size_t i = 0; i < len; i++)
		plaintext[4 + KCP_OVERHEAD_BYTES + i] = wire_u8(tape);
	send_plaintext(plaintext, 4 + KCP_OVERHEAD_BYTES + len);
}

static void deliver_all(void)
{
	for (size_t n = 0; n < 64 && world.count > 0; n++) {
		struct world_flight f = world_take(&world, 0);
		world_land(&f);
	}
	world_turn(&world);
}

static void step(struct wire *tape)
{
	uint8_t op = wire_u8(tape);

	switch (op % 18) {
	case 0:
		send_raw(tape);
		break;
	case 1:
	case 2:
	case 3:
		send_segments(tape);
		break;
	case 4:
		send_control(tape);
		break;
	case 5:
	case 6:
		send_rack(tape);
		break;
	case 7:
		source.port = (uint16_t)(29900 + wire_u8(tape) % 3);
		break;
	case 8:
		source.address[3] = wire_u8(tape) % 3;
		break;
	case 9:
		world_pass(&world, wire_u8(tape) * (int64_t)500);
		break;
	case 10:
		world_pass(&world, wire_u8(tape) * (int64_t)50000);
		break;
	case 11:
	case 12:
		(void)world_give(victim, wire_le16(tape) % 3000);
		break;
	case 13:
		deliver_all();
		break;
	case 14:
		world.count = 0;
		break;
	case 15:
	case 16:
		send_repair(tape);
		break;
	default:
		world_turn(&world);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct wire tape = wire_of(data, len);
	struct kcpvpn_peer_status status;

	world_open(&world);
	world_heal(&world, 300000);
	world_check(session_of(hostile) && session_of(victim));
	world.liar = true;
	source = hostile->address;
	victim->port.send = victim_send;
	for (int n = 0; n < STEPS_MAX && wire_left(&tape) > 0; n++) {
		step(&tape);
		kcpvpn_peer_status(victim->peer, &status);
		world_check(status.memory_bytes <= MEMORY_MAX);
	}
	world_turn(&world);
	/* A deadline may be due again at once, but not for ever. */
	for (int n = 0; kcpvpn_native_next_deadline(victim->native) <= world.now_us; n++) {
		world_check(n < 1000);
		world_turn(&world);
	}
	world_close(&world);
	return 0;
}
