/*
 * Every packet has a number of its own and is acknowledged by itself, so there is nothing to retransmit: a lost one is three
 * numbers late. The window is that of RFC 9438 with its Reno-friendly region; slow start ends with the first loss. All that
 * fell into one round trip is one reduction. After a second of silence it begins with one packet.
 */
#include "lt_cubic.h"

#include "lt_world.h"

#include <string.h>

enum {
	FLIES = 1,
	DONE = 2,
	SILENCE_US = 1000000,
};

static const double scale = 0.4, beta = 0.7;

void lt_cubic_init(
	struct lt_cubic *cubic, struct lt_world *world, uint32_t owner, struct mono start)
{
	memset(cubic, 0, sizeof(*cubic));
	cubic->world = world;
	cubic->owner = owner;
	cubic->window = 10;
	cubic->threshold = 1e9;
	cubic->start_at = start;
	cubic->epoch_at = MONO_NEVER;
	cubic->heard_at = start;
}

/* Newton's; results do not depend on the C library's. */
static double cube_root(double x)
{
	double y = x > 1 ? x : 1;

	for (int i = 0; i < 60; i++)
		y -= (y * y * y - x) / (3 * y * y);
	return y;
}

static void reduce(struct lt_cubic *cubic)
{
	cubic->most = cubic->window < cubic->most ? cubic->window * (1 + beta) / 2 : cubic->window;
	cubic->window *= beta;
	if (cubic->window < 2)
		cubic->window = 2;
	cubic->threshold = cubic->window;
	cubic->reno = cubic->window;
	cubic->epoch_at = MONO_NEVER;
	cubic->recover = cubic->next;
}

static void grow(struct lt_cubic *cubic, struct mono now)
{
	if (cubic->window < cubic->threshold) {
		cubic->window += 1;
		return;
	}
	if (mono_is_never(cubic->epoch_at))
		cubic->epoch_at = now;
	double most = cubic->most > cubic->window ? cubic->most : cubic->window;
	double k = cubic->most > 0 ? cube_root(most * (1 - beta) / scale) : 0;
	double t = (double)mono_diff_us(now, cubic->epoch_at) / 1e6 + cubic->srtt_us / 1e6 - k;
	double target = scale * t * t * t + most;
	cubic->reno += 3 * (1 - beta) / (1 + beta) / cubic->window;
	if (target > 1.5 * cubic->window)
		target = 1.5 * cubic->window;
	if (target > cubic->window)
		cubic->window += (target - cubic->window) / cubic->window;
	if (cubic->reno > cubic->window)
		cubic->window = cubic->reno;
}

void lt_cubic_acked(struct lt_cubic *cubic, uint64_t number, struct mono now)
{
	uint8_t *state = &cubic->state[number % LT_CUBIC_RING];

	if (number < cubic->first || number >= cubic->next || *state != FLIES)
		return;
	double rtt_us = (double)mono_diff_us(now, cubic->sent_at[number % LT_CUBIC_RING]);
	cubic->srtt_us = cubic->srtt_us > 0 ? cubic->srtt_us * 7 / 8 + rtt_us / 8 : rtt_us;
	*state = DONE;
	cubic->flying--;
	cubic->acked_bytes += LT_CUBIC_BYTES;
	cubic->second_bytes[(now.us - cubic->world->start.us) / 1000000] += LT_CUBIC_BYTES;
	cubic->heard_at = now;
	if (number > cubic->top)
		cubic->top = number;
	if (number >= cubic->recover)
		grow(cubic, now);
	for (; cubic->first < cubic->next; cubic->first++) {
		state = &cubic->state[cubic->first % LT_CUBIC_RING];
		if (*state == DONE)
			continue;
		if (cubic->first + 3 > cubic->top)
			break;
		cubic->flying--;
		if (cubic->first >= cubic->recover)
			reduce(cubic);
	}
}

void lt_cubic_serve(struct lt_cubic *cubic, struct mono now)
{
	if (!mono_due(cubic->start_at, now))
		return;
	if (cubic->flying > 0 && mono_diff_us(now, cubic->heard_at) > SILENCE_US) {
		cubic->first = cubic->next;
		cubic->flying = 0;
		reduce(cubic);
		cubic->window = 1;
	}
	while (cubic->flying < (uint32_t)cubic->window &&
		cubic->next - cubic->first < LT_CUBIC_RING) {
		if (cubic->flying == 0)
			cubic->heard_at = now;
		cubic->state[cubic->next % LT_CUBIC_RING] = FLIES;
		cubic->sent_at[cubic->next % LT_CUBIC_RING] = now;
		cubic->flying++;
		lt_world_push(cubic->world, &cubic->world->out, cubic->owner, cubic->next++,
			LT_CUBIC_BYTES);
	}
}

struct mono lt_cubic_next(const struct lt_cubic *cubic)
{
	if (cubic->next == 0)
		return cubic->start_at;
	return mono_add_us(cubic->heard_at, SILENCE_US + 1);
}

double lt_cubic_bps(const struct lt_cubic *cubic, unsigned from, unsigned to)
{
	double bytes = 0;

	for (unsigned i = from; i < to; i++)
		bytes += (double)cubic->second_bytes[i];
	return bytes * 8 / (to - from);
}
