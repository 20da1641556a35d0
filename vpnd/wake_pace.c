/* The window is judged when it is over, so one that ends late, because nothing came for long, is judged by less. */
#include "vpnd/wake_pace.h"

struct mono wake_pace_next(struct wake_pace *pace, struct mono now)
{
	int64_t us = mono_diff_us(now, pace->since);

	if (us >= WAKE_PACE_WINDOW_US) {
		pace->on = us < 2 * WAKE_PACE_WINDOW_US && pace->packets >= WAKE_PACE_PACKETS &&
			   pace->peers >= WAKE_PACE_PEERS &&
			   pace->packets / WAKE_PACE_OF_ONE <= pace->peers;
		pace->since = now;
		pace->window++;
		pace->packets = pace->peers = 0;
	}
	if (!pace->on)
		return now;
	return mono_at_us((now.us / WAKE_PACE_GRAIN_US + 1) * WAKE_PACE_GRAIN_US);
}
