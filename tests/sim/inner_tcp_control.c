/*
 * How the window of the TCP model grows and falls. CUBIC follows Linux's integer rules where they show (a window of at least
 * 2, growth by counts, HyStart's two signs, the window of a standard flow as a floor), because what is asked is what Linux
 * makes of a tunnel, not what the RFC would.
 *
 * Sources: RFC 5681, RFC 9438, RFC 9406's forerunner: S. Ha, I. Rhee, "Taming the elephants: New TCP slow start", 2011.
 */
#include "inner_tcp_state.h"

enum {
	BETA = 717,	    /* of 1024 */
	HYSTART_LEAST = 16, /* segments */
	HYSTART_SAMPLES = 8,
	HYSTART_TRAIN_US = 2000,
	HYSTART_ACK_US = 1000, /* what aggregation may add */
	HYSTART_DELAY_MIN_US = 4000,
	HYSTART_DELAY_MAX_US = 16000,
	UPDATE_US = 31250,
	FRESH_US = 1000000, /* round trips right after a reduction tell little */
};

#define CUBIC_C 0.4

static void hystart_reset(struct inner_tcp *tcp, struct mono now)
{
	struct inner_tcp_cubic *cubic = &tcp->cubic;

	cubic->round_at = now;
	cubic->train_at = now;
	cubic->round_end = tcp->nxt;
	cubic->round_us = INT64_MAX;
	cubic->samples = 0;
}

static void cubic_reset(struct inner_tcp *tcp)
{
	tcp->cubic = (struct inner_tcp_cubic){.epoch_at = MONO_NEVER, .round_us = INT64_MAX};
}

void inner_tcp_control_init(struct inner_tcp *tcp)
{
	cubic_reset(tcp);
}

void inner_tcp_control_timeout(struct inner_tcp *tcp)
{
	cubic_reset(tcp);
}

uint32_t inner_tcp_control_threshold(struct inner_tcp *tcp)
{
	struct inner_tcp_cubic *cubic = &tcp->cubic;
	uint32_t window = tcp->window;

	if (tcp->options.control == INNER_TCP_RENO)
		return window / 2 > 2 ? window / 2 : 2;
	cubic->epoch_at = MONO_NEVER;
	cubic->last_max = window < cubic->last_max ? window * (1024 + BETA) / 2048 : window;
	return window * BETA / 1024 > 2 ? window * BETA / 1024 : 2;
}

static double cube_root(double x)
{
	double y = x > 1 ? x / 3 : 1;

	if (x <= 0)
		return 0;
	for (int i = 0; i < 60; i++)
		y = (2 * y + x / (y * y)) / 3;
	return y;
}

static void begin_epoch(
	struct inner_tcp_cubic *cubic, uint32_t window, uint32_t acked, struct mono now)
{
	cubic->epoch_at = now;
	cubic->acked = acked;
	cubic->friendly = window;
	cubic->k_s = 0;
	cubic->origin = window;
	if (cubic->last_max > window) {
		cubic->k_s = cube_root((cubic->last_max - window) / CUBIC_C);
		cubic->origin = cubic->last_max;
	}
}

/* Not slower than a standard flow with the same loss. */
static void befriend(struct inner_tcp_cubic *cubic, uint32_t window)
{
	uint32_t delta = window * (8 * (1024 + BETA) / 3 / (1024 - BETA)) >> 3;

	while (delta > 0 && cubic->acked > delta) {
		cubic->acked -= delta;
		cubic->friendly++;
	}
	if (cubic->friendly > window) {
		uint32_t most = window / (cubic->friendly - window);
		if (cubic->count > most)
			cubic->count = most;
	}
	if (cubic->count < 2)
		cubic->count = 2;
}

static void cubic_update(struct inner_tcp *tcp, uint32_t acked, struct mono now)
{
	struct inner_tcp_cubic *cubic = &tcp->cubic;
	uint32_t window = tcp->window;

	cubic->acked += acked;
	if (!mono_is_never(cubic->epoch_at)) {
		if (cubic->last_window == window && mono_diff_us(now, cubic->last_at) <= UPDATE_US)
			return;
		if (now.us == cubic->last_at.us) {
			befriend(cubic, window);
			return;
		}
	}
	cubic->last_window = window;
	cubic->last_at = now;
	if (mono_is_never(cubic->epoch_at))
		begin_epoch(cubic, window, acked, now);
	double t = (double)(mono_diff_us(now, cubic->epoch_at) + cubic->delay_min_us) / 1e6;
	double from_k = t - cubic->k_s;
	double target = cubic->origin + CUBIC_C * from_k * from_k * from_k;
	cubic->count = 100 * window;
	if (target >= window + 1.0)
		cubic->count = (uint32_t)(window / (target - window));
	if (cubic->last_max == 0 && cubic->count > 20)
		cubic->count = 20;
	befriend(cubic, window);
}

/* One more in the window for `count` acknowledged. */
static void avoid(struct inner_tcp *tcp, uint32_t count, uint32_t acked)
{
	if (tcp->window_part >= count) {
		tcp->window_part = 0;
		tcp->window++;
	}
	tcp->window_part += acked;
	if (tcp->window_part >= count) {
		uint32_t more = tcp->window_part / count;
		tcp->window_part -= more * count;
		tcp->window += more;
	}
}

void inner_tcp_control_grow(struct inner_tcp *tcp, uint32_t acked, struct mono now)
{
	bool starting = tcp->window < tcp->threshold;

	if (!tcp->limited && !(starting && tcp->window < 2 * tcp->most_out))
		return;
	if (starting) {
		uint32_t room = tcp->threshold - tcp->window;
		uint32_t grown = acked < room ? acked : room;
		tcp->window += grown;
		acked -= grown;
		if (acked == 0)
			return;
	}
	if (tcp->options.control == INNER_TCP_RENO) {
		avoid(tcp, tcp->window, acked);
	} else {
		cubic_update(tcp, acked, now);
		avoid(tcp, tcp->cubic.count, acked);
	}
}

static void hystart(struct inner_tcp *tcp, int64_t rtt_us, struct mono now)
{
	struct inner_tcp_cubic *cubic = &tcp->cubic;
	int64_t least = cubic->delay_min_us;

	if (tcp->una > cubic->round_end || cubic->round_us == INT64_MAX)
		hystart_reset(tcp, now);
	if (mono_diff_us(now, cubic->train_at) <= HYSTART_TRAIN_US) {
		cubic->train_at = now;
		if (mono_diff_us(now, cubic->round_at) > (least + HYSTART_ACK_US) / 2)
			cubic->found = true;
	}
	if (rtt_us < cubic->round_us)
		cubic->round_us = rtt_us;
	if (cubic->samples < HYSTART_SAMPLES) {
		cubic->samples++;
	} else {
		int64_t more = least / 8;
		more = more < HYSTART_DELAY_MIN_US ? HYSTART_DELAY_MIN_US : more;
		more = more > HYSTART_DELAY_MAX_US ? HYSTART_DELAY_MAX_US : more;
		if (cubic->round_us > least + more)
			cubic->found = true;
	}
	if (cubic->found)
		tcp->threshold = tcp->window;
}

void inner_tcp_control_rtt(struct inner_tcp *tcp, int64_t rtt_us, struct mono now)
{
	struct inner_tcp_cubic *cubic = &tcp->cubic;

	if (tcp->options.control == INNER_TCP_RENO)
		return;
	if (!mono_is_never(cubic->epoch_at) && mono_diff_us(now, cubic->epoch_at) < FRESH_US)
		return;
	if (cubic->delay_min_us == 0 || rtt_us < cubic->delay_min_us)
		cubic->delay_min_us = rtt_us;
	if (!cubic->found && tcp->window < tcp->threshold && tcp->window >= HYSTART_LEAST)
		hystart(tcp, rtt_us, now);
}
