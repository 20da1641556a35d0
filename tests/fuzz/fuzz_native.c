/*
 * Two whole stacks of the native wire over a network that does what the input says: loses, doubles, delays, damages, replays,
 * moves ends to other addresses, stops the clock for hours. No packet may come that was not sent, none twice, whatever happens;
 * and once the network is good again a session must come up and packets pass both ways.
 */
#include "core/wire.h"

#include "native_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	STEPS_MAX = 600,
	KEPT = 16,
	/* Back-off (60 s + 25 %) and the rest after CLOSE lie within this. */
	HEAL_US = 100000000,
};

static struct world_flight kept[KEPT];
static size_t kept_count;

static void keep(const struct world_flight *f)
{
	kept[kept_count++ % KEPT] = *f;
}

static void deliver(struct world *world, size_t i)
{
	struct world_flight f = world_take(world, i);

	keep(&f);
	world_land(&f);
}

static void damage(struct world *world, struct wire *tape, size_t i)
{
	struct world_flight *f = &world->flying[i];

	f->bytes[wire_le16(tape) % f->len] ^= (uint8_t)(wire_u8(tape) | 1);
}

static void move(struct world_end *end, struct wire *tape)
{
	uint8_t how = wire_u8(tape);

	if (how & 1)
		end->address.port = (uint16_t)(29900 + how / 2);
	else
		end->address.address[2] = (uint8_t)(how / 2);
	kcpvpn_native_network_changed(end->native, end->world->now_us);
}

/* An old datagram again, from where it came or from somewhere else. */
static void replay(struct world *world, uint8_t how)
{
	if (kept_count == 0)
		return;
	struct world_flight *f = &kept[how % (kept_count < KEPT ? kept_count : KEPT)];
	struct kcpvpn_endpoint from = f->from;
	if (how & 0x80)
		from.address[3] = 66;
	(void)world;
	world_arrive(f->to, &from, f->bytes, f->len);
}

static void begin_anew(struct world_end *end)
{
	world_read(end);
	kcpvpn_native_remove_peer(end->native, end->peer);
	world_add_peer(end);
}

static void step(struct world *world, struct wire *tape)
{
	uint8_t op = wire_u8(tape);
	struct world_end *end = &world->ends[op >> 7];
	uint8_t raw[64];

	switch (op & 0x1f) {
	case 0:
	case 1:
		if (world->count > 0)
			deliver(world, 0);
		break;
	case 2:
		if (world->count > 0)
			deliver(world, world->count - 1);
		break;
	case 3:
		if (world->count > 0)
			(void)world_take(world, 0);
		break;
	case 4:
		if (world->count > 0) {
			struct world_flight f = world->flying[0];
			world_land(&f);
		}
		break;
	case 5:
		if (world->count > 0)
			damage(world, tape, 0);
		break;
	case 6:
		world_pass(world, wire_u8(tape) * (int64_t)1000);
		break;
	case 7:
		world_pass(world, wire_u8(tape) * (int64_t)100000);
		break;
	case 8:
		world->now_us += wire_u8(tape) * (int64_t)30000000; /* slept */
		break;
	case 9:
	case 10:
		(void)world_give(end, wire_le16(tape));
		break;
	case 11:
		kcpvpn_peer_want(end->peer, world->now_us);
		break;
	case 12:
		kcpvpn_peer_down(end->peer, KCPVPN_CLOSE_RESTART, world->now_us);
		break;
	case 13:
		kcpvpn_peer_up(end->peer, world->now_us);
		break;
	case 14:
		move(end, tape);
		break;
	case 15:
		replay(world, wire_u8(tape));
		break;
	case 16:
		kcpvpn_native_too_big(
			end->native, &world_other(end)->address, wire_le16(tape), world->now_us);
		break;
	case 17:
		begin_anew(end);
		break;
	case 18: {
		struct kcpvpn_peer_config config = world_peer_config(end);
		uint8_t how = wire_u8(tape);
		config.padding = (enum kcpvpn_padding)(how % 3);
		config.fec.mode = (enum kcpvpn_fec_mode)((how >> 4) % 3);
		config.keepalive_us = (how >> 2 & 3) * (int64_t)5000000;
		world_check(kcpvpn_peer_configure(end->peer, &config, world->now_us) == 0);
		break;
	}
	case 19:
		for (size_t i = 0; i < sizeof(raw); i++)
			raw[i] = wire_u8(tape);
		world_arrive(end, &world_other(end)->address, raw, wire_u8(tape) % sizeof(raw));
		break;
	case 20:
		kcpvpn_native_network_changed(end->native, world->now_us);
		break;
	default:
		world_turn(world);
		break;
	}
}

/* Both are up at known addresses, and the network is good: packets must pass both ways. */
static void heal(struct world *world)
{
	for (int i = 0; i < 2; i++) {
		struct world_end *end = &world->ends[i];
		struct kcpvpn_target target = {world_other(end)->address, &end->port};
		world_read(end);
		kcpvpn_peer_up(end->peer, world->now_us);
		kcpvpn_peer_set_targets(end->peer, &target, 1, world->now_us);
	}
	uint32_t before[2] = {world->ends[0].received, world->ends[1].received};
	for (int64_t us = 0; us < HEAL_US; us += 1000000) {
		world_heal(world, 1000000);
		bool both = true;
		for (int i = 0; i < 2; i++) {
			struct world_end *end = &world->ends[i];
			if (end->sent == WORLD_PACKETS_MAX)
				return;
			kcpvpn_peer_want(end->peer, world->now_us);
			(void)world_give(end, 100);
			both &= end->received > before[i];
		}
		if (both)
			return;
	}
	world_check(false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct world world;
	struct wire tape = wire_of(data, len);

	kept_count = 0;
	world_open(&world);
	for (int n = 0; n < STEPS_MAX && wire_left(&tape) > 0; n++)
		step(&world, &tape);
	heal(&world);
	for (int i = 0; i < 2; i++) {
		struct kcpvpn_native_stats stats;
		kcpvpn_native_stats(world.ends[i].native, &stats);
		world_check(stats.nonce_refused == 0);
	}
	world_close(&world);
	return 0;
}
