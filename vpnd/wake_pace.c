/*
 * The window is judged when it is over, so one that ends late, because nothing came for long, is judged by less.
 *
 * In a calm timers are served in time: what has to be done at once (a handshake that waits for its turn, one a round) is one
 * that is due. Deadlines of idle peers come together anyway (stack/native.c).
 */
#include "vpnd/wake_pace.h"

static bool is_busy(const struct wake_pace *pace)
{
	return pace->packets >= WAKE_PACE_PACKETS && pace->peers >= WAKE_PACE_PEERS &&
	       pace->packets / WAKE_PACE_OF_ONE <= pace->peers;
}

static bool is_calm(const struct wake_pace *pace)
{
	return pace->silent >= WAKE_PACE_CALM_WINDOWS &&
	       pace->rounds >= (pace->calm ? WAKE_PACE_CALM_LEAST : WAKE_PACE_CALM_ROUNDS);
}

static void judge(struct wake_pace *pace, bool late, struct mono now)
{
	if (pace->packets > 0 || pace->sent)
		pace->silent = 0;
	else if (pace->silent < WAKE_PACE_CALM_WINDOWS)
		pace->silent++;
	pace->busy = !late && is_busy(pace);
	pace->calm = !late && is_calm(pace);
	pace->since = now;
	pace->window++;
	pace->packets = pace->peers = pace->rounds = 0;
	pace->sent = false;
}

static struct mono next_grain(struct mono now, int64_t grain_us)
{
	return mono_at_us((now.us / grain_us + 1) * grain_us);
}

struct mono wake_pace_next(struct wake_pace *pace, struct mono timer, struct mono now)
{
	int64_t us = mono_diff_us(now, pace->since);

	pace->rounds++;
	if (us >= WAKE_PACE_WINDOW_US)
		judge(pace, us >= 2 * WAKE_PACE_WINDOW_US, now);
	if (pace->busy)
		return next_grain(now, WAKE_PACE_GRAIN_US);
	if (pace->calm)
		return mono_min(timer, next_grain(now, WAKE_PACE_CALM_GRAIN_US));
	return now;
}
