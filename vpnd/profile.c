/*
 * The clock is the thread's CPU time, not the time that passes: on a busy machine other programs would else be charged to whatever
 * stage they interrupt, most of all to the system calls that wake them. It is a system call of its own, so what it costs is
 * measured at the start and taken off, once for each time that it was read; and nobody who does not ask pays for it.
 *
 * What the kernel does on behalf of a system call counts for its stage. On a virtual link between two programs of one host that is
 * a good part of the other side's way, too.
 */
#include "vpnd/profile.h"

#include "core/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	READINGS = 4096, /* to know what one costs */
};

static uint64_t cpu_ns(void *ctx)
{
	struct timespec ts = {0};

	(void)ctx;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct profile *profile_new(void)
{
	const char *wanted = getenv("VPND_PROFILE");

	if (!wanted || strcmp(wanted, "1") != 0)
		return NULL;
	struct profile *profile = calloc(1, sizeof(*profile));
	if (!profile)
		return NULL;
	uint64_t from_ns = cpu_ns(NULL);
	for (int i = 0; i < READINGS; i++)
		(void)cpu_ns(NULL);
	profile->reading_ns = (double)(cpu_ns(NULL) - from_ns) / (READINGS + 1);
	stage_clock_init(&profile->clock, cpu_ns, NULL);
	return profile;
}

void profile_free(struct profile *profile)
{
	free(profile);
}

void profile_tell(struct profile *profile, const struct log *log)
{
	if (!profile)
		return;
	struct stage_clock *clock = &profile->clock;
	/* closes the stage that runs */
	(void)stage_enter(clock, clock->stage == STAGE_REST ? STAGE_QUEUE : STAGE_REST);
	for (int i = 0; i < STAGES; i++) {
		double ns = (double)clock->spent_ns[i] -
			    (double)clock->entered[i] * profile->reading_ns;
		log_info(log, "profile: stage=%s cpu_ns=%.0f entered=%" PRIu64 " items=%" PRIu64,
			stage_str((enum stage)i), ns > 0 ? ns : 0, clock->entered[i],
			clock->items[i]);
	}
}
