/* A bucket of time: it fills by a part of the time that passes, up to the burst, and work empties it. */
#include "vpnd/cpu_share.h"

#include <time.h>

static int64_t thread_us(void)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void cpu_share_init(struct cpu_share *share, int64_t (*clock_us)(void), struct mono now)
{
	*share = (struct cpu_share){
		.clock_us = clock_us ? clock_us : thread_us,
		.credit_us = CPU_SHARE_BURST_US,
		.at = now,
	};
}

bool cpu_share_left(struct cpu_share *share, struct mono now)
{
	int64_t passed_us = mono_diff_us(now, share->at);

	/* what is less than a microsecond of the share is kept for the next time */
	share->credit_us += passed_us / CPU_SHARE_PART;
	share->at = mono_add_us(share->at, passed_us - passed_us % CPU_SHARE_PART);
	if (share->credit_us > CPU_SHARE_BURST_US)
		share->credit_us = CPU_SHARE_BURST_US;
	return share->credit_us > 0;
}

void cpu_share_begin(struct cpu_share *share)
{
	share->began_us = share->clock_us();
}

void cpu_share_end(struct cpu_share *share)
{
	int64_t worked_us = share->clock_us();

	share->credit_us -= worked_us - share->began_us;
	share->began_us = worked_us;
	if (share->credit_us < -CPU_SHARE_DEBT_US)
		share->credit_us = -CPU_SHARE_DEBT_US;
}

struct mono cpu_share_due(const struct cpu_share *share, struct mono now)
{
	int64_t missing_us = CPU_SHARE_SLICE_US - share->credit_us;

	return mono_add_us(now, missing_us > 0 ? missing_us * CPU_SHARE_PART : 0);
}
