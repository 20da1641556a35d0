/*
 * Message: generation, number, then bytes that follow from seed, direction, generation and number. Stream: the same bytes,
 * one message behind the other, without boundaries.
 */
#include "sim_flow.h"

#include "core/endian.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	MESSAGE_HEADER_BYTES = 8,
};

/* ---- chance ------------------------------------------------------------------------------------------------------ */

uint64_t sim_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t sim_draw(uint64_t *state, uint64_t below)
{
	*state += 0x9e3779b97f4a7c15u;
	return below > 0 ? sim_mix(*state) % below : 0;
}

uint64_t sim_random(struct sim_world *world, uint64_t below)
{
	return sim_draw(&world->random, below);
}

void sim_random_fill(void *ctx, void *buf, size_t len)
{
	uint64_t *state = ctx;
	uint8_t *at = buf;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = sim_draw(state, UINT64_MAX);
		memcpy(at + i, &word, len - i < 8 ? len - i : 8);
	}
}

void sim_hash_word(struct sim_world *world, uint64_t word)
{
	world->hash = sim_mix(world->hash * 31 + word);
}

void sim_hash_bytes(struct sim_world *world, const uint8_t *bytes, size_t len)
{
	uint64_t word = 0;

	for (size_t i = 0; i < len; i += 8) {
		memcpy(&word, bytes + i, len - i < 8 ? len - i : 8);
		sim_hash_word(world, word);
	}
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static uint64_t message_seed(const struct sim_world *world, const struct sim_flow *flow, uint32_t i)
{
	uint64_t direction = 0;

	for (size_t s = 0; s < world->spoke_count; s++) {
		if (flow == &world->spokes[s].to_hub)
			direction = 2 * s + 1;
		else if (flow == &world->spokes[s].from_hub)
			direction = 2 * s + 2;
	}
	return sim_mix(world->seed) ^
	       sim_mix(direction << 48 ^ (uint64_t)flow->generation << 32 ^ i);
}

static uint32_t message_make(
	const struct sim_world *world, const struct sim_flow *flow, uint32_t i, uint8_t *bytes)
{
	uint64_t state = message_seed(world, flow, i);
	uint32_t spread = flow->plan.bytes_max - flow->plan.bytes_min + 1;
	uint32_t len = flow->plan.bytes_min + (uint32_t)sim_draw(&state, spread);

	sim_random_fill(&state, bytes, len);
	store_le32(bytes, flow->generation);
	store_le32(bytes + 4, i);
	return len;
}

void sim_flow_send(struct sim_world *world, struct sim_flow *flow, struct kcpvpn_conv *conv)
{
	static uint8_t bytes[SIM_MESSAGE_BYTES_MAX];

	if (!conv || flow->blocked || kcpvpn_conv_close_reason(conv) != KCPVPN_OPEN)
		return;
	while (flow->sent < flow->plan.messages && world->now_us >= flow->next_at_us) {
		uint32_t len = message_make(world, flow, flow->sent, bytes);
		int error = kcpvpn_conv_send(conv, bytes, len, world->now_us);
		if (error == -EAGAIN) {
			flow->blocked = true;
			return;
		}
		cr_assert_eq(error, 0, "%s, seed %lu: send gave %d", world->name,
			(unsigned long)world->seed, error);
		flow->sent_at_us[flow->sent] =
			flow->plan.interval_us > 0 ? flow->next_at_us : world->now_us;
		flow->sent++;
		flow->sent_bytes += len;
		if (flow->plan.interval_us > 0)
			flow->next_at_us += flow->plan.interval_us;
	}
}

static void message_arrived(
	struct sim_world *world, struct sim_flow *flow, const uint8_t *got, size_t len)
{
	static uint8_t want[SIM_MESSAGE_BYTES_MAX];

	cr_assert(flow->received < flow->sent, "%s, seed %lu: a message nobody sent", world->name,
		(unsigned long)world->seed);
	uint32_t want_len = message_make(world, flow, flow->received, want);
	cr_assert_eq(len, want_len, "%s, seed %lu: message %u has %zu bytes, not %u", world->name,
		(unsigned long)world->seed, flow->received, len, want_len);
	cr_assert(memcmp(got, want, len) == 0,
		"%s, seed %lu: message %u is not what was sent (number %u of generation %u)",
		world->name, (unsigned long)world->seed, flow->received, load_le32(got + 4),
		load_le32(got));
	flow->delay_us[flow->received] = world->now_us - flow->sent_at_us[flow->received];
	flow->received++;
	flow->received_bytes += len;
	flow->done_at_us = world->now_us;
	sim_hash_word(world, (uint64_t)world->now_us);
}

/* Takes bytes of a stream: messages one behind the other. */
static void stream_arrived(
	struct sim_world *world, struct sim_flow *flow, const uint8_t *got, size_t len)
{
	static uint8_t want[SIM_MESSAGE_BYTES_MAX];

	while (len > 0) {
		cr_assert(flow->received < flow->sent, "%s, seed %lu: bytes nobody sent",
			world->name, (unsigned long)world->seed);
		uint32_t want_len = message_make(world, flow, flow->received, want);
		uint32_t at = flow->part_bytes;
		size_t some = want_len - at < len ? want_len - at : len;
		cr_assert(memcmp(got, want + at, some) == 0,
			"%s, seed %lu: wrong bytes in message %u", world->name,
			(unsigned long)world->seed, flow->received);
		got += some;
		len -= some;
		flow->received_bytes += some;
		flow->part_bytes = at + (uint32_t)some;
		if (flow->part_bytes < want_len)
			return;
		flow->part_bytes = 0;
		flow->delay_us[flow->received] = world->now_us - flow->sent_at_us[flow->received];
		flow->received++;
		flow->done_at_us = world->now_us;
		sim_hash_word(world, (uint64_t)world->now_us);
	}
}

bool sim_flow_read(struct sim_world *world, struct sim_flow *flow, struct kcpvpn_conv *conv,
	bool stream, unsigned most)
{
	static uint8_t bytes[SIM_MESSAGE_BYTES_MAX];
	size_t len;

	for (unsigned i = 0; i < most; i++) {
		int error = kcpvpn_conv_recv(conv, bytes, sizeof(bytes), world->now_us, &len);
		if (error == -EAGAIN)
			return i > 0;
		cr_assert_eq(error, 0, "%s, seed %lu: recv gave %d", world->name,
			(unsigned long)world->seed, error);
		if (stream)
			stream_arrived(world, flow, bytes, len);
		else
			message_arrived(world, flow, bytes, len);
	}
	return true;
}

void sim_flow_begin(
	struct sim_flow *flow, const struct sim_plan *plan, uint32_t generation, int64_t now_us)
{
	cr_assert(plan->messages <= SIM_MESSAGES_MAX);
	cr_assert(plan->messages == 0 ||
		  (plan->bytes_min >= MESSAGE_HEADER_BYTES && plan->bytes_min <= plan->bytes_max &&
			  plan->bytes_max <= SIM_MESSAGE_BYTES_MAX));
	*flow = (struct sim_flow){.plan = *plan, .generation = generation, .next_at_us = now_us};
}

int64_t sim_flow_next(const struct sim_flow *flow, const struct kcpvpn_conv *conv)
{
	bool waits = conv && !flow->blocked && flow->sent < flow->plan.messages &&
		     flow->plan.interval_us > 0;

	return waits ? flow->next_at_us : KCPVPN_NEVER;
}

bool sim_flow_done(const struct sim_flow *flow)
{
	return flow->received == flow->plan.messages;
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int64_t sim_delay_us(const struct sim_flow *flow, unsigned percent)
{
	static int64_t sorted[SIM_MESSAGES_MAX];
	uint32_t count = flow->received;

	if (count == 0)
		return INT64_MAX;
	memcpy(sorted, flow->delay_us, count * sizeof(sorted[0]));
	qsort(sorted, count, sizeof(sorted[0]), by_value);
	return sorted[(uint64_t)(count - 1) * percent / 100];
}

double sim_goodput_bps(const struct sim_flow *flow, int64_t since_us)
{
	int64_t us = flow->done_at_us - since_us;

	return us > 0 ? (double)flow->received_bytes * 8e6 / (double)us : 0;
}
