/* Policy, codes and estimate together. The seeds are printed; bounds are on sums over all seeds. */
#include "rlc_link.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { SEEDS = 8 };

static const struct fec_policy_config ADAPTIVE = {
	.mode = FEC_POLICY_ADAPTIVE,
	.max_overhead_percent = 30,
	.tail_us = 2000,
};

struct sums {
	double sources, lost, late, missing, overhead, wasted, p99_ms;
	uint64_t repairs_end;
};

static struct sums run(struct rlc_link_plan *plan, const char *name)
{
	struct sums sums = {0};
	double source_bytes = 0, repair_bytes = 0, repairs = 0;

	for (uint32_t seed = 1; seed <= SEEDS; seed++) {
		plan->seed = seed;
		struct rlc_link_result r = rlc_link_run(plan);
		sums.sources += (double)r.sources;
		sums.lost += (double)r.lost;
		sums.late += (double)r.late_by_50_ms;
		sums.missing += (double)r.missing;
		sums.wasted += (double)r.wasted;
		sums.p99_ms += (double)r.p99_us / 1000 / SEEDS;
		sums.repairs_end += r.repairs_end;
		source_bytes += (double)r.source_bytes;
		repair_bytes += (double)r.repair_bytes;
		repairs += (double)r.repairs;
	}
	sums.overhead = repair_bytes / source_bytes;
	sums.late /= sums.sources;
	sums.missing /= sums.sources;
	printf("%-26s seeds 1..%d: loss %5.2f %%  late(50 ms) %.5f  missing %.5f  repairs/source "
	       "%.3f  "
	       "overhead %5.1f %%  wasted %4.1f %%  p99 +%.1f ms\n",
		name, SEEDS, 100 * sums.lost / sums.sources, sums.late, sums.missing,
		repairs / sums.sources, 100 * sums.overhead,
		repairs > 0 ? 100 * sums.wasted / repairs : 0, sums.p99_ms);
	return sums;
}

/* 50 packets a second of 200 bytes, alone on a path nobody knows the rate of. */
static struct rlc_link_plan thin_plan(double loss)
{
	return (struct rlc_link_plan){
		.config = ADAPTIVE,
		.encoder = FEC_POLICY_THIN,
		.loss = loss,
		.interval_us = 20000,
		.batch = 1,
		.segments_bytes = 24 + 200,
		.rtt_us = 60000,
		.run_us = 60000000,
	};
}

Test(rlc_link, thin_flow_beside_bulk)
{
	static const struct {
		double loss, late_max, p99_ms_max;
	} rows[] = {
		{0, 0, 0},
		{0.01, 1e-3, 0},
		{0.05, 2e-3, 20},
		{0.1, 2e-3, 20},
		{0.2, 3e-3, 20},
		{0.3, 8e-3, 25},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rlc_link_plan plan = thin_plan(rows[i].loss);
		plan.rate_bytes = 2500000;
		plan.config.max_overhead_percent = 200;
		char name[40];
		snprintf(name, sizeof(name), "thin, %g %%", 100 * rows[i].loss);
		struct sums sums = run(&plan, name);
		cr_assert(sums.late <= rows[i].late_max, "%s: %g", name, sums.late);
		cr_assert(sums.p99_ms <= rows[i].p99_ms_max + 0.01, "%s: %g", name, sums.p99_ms);
		if (rows[i].loss == 0)
			cr_assert(sums.overhead == 0);
	}
}

Test(rlc_link, thin_flow_alone)
{
	static const double losses[] = {0, 0.01, 0.05, 0.1, 0.2, 0.3};

	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		struct rlc_link_plan plan = thin_plan(losses[i]);
		plan.segments_bytes = 24 + 64;
		char name[40];
		snprintf(name, sizeof(name), "64 bytes alone, %g %%", 100 * losses[i]);
		run(&plan, name);
	}
}

Test(rlc_link, thin_flow_and_bursts)
{
	struct rlc_link_plan plan = thin_plan(0.05);

	plan.burst_us = 10000;
	plan.rate_bytes = 2500000;
	run(&plan, "thin, bursts of 10 ms");
}

Test(rlc_link, bulk_flow)
{
	static const double losses[] = {0, 0.01, 0.05, 0.1, 0.2, 0.3};

	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		struct rlc_link_plan plan = thin_plan(losses[i]);
		plan.encoder = FEC_POLICY_BULK;
		plan.segments_bytes = 1200;
		plan.interval_us = 1000;
		plan.batch = 2;
		plan.run_us = 6000000;
		plan.rate_bytes = 2500000;
		plan.used_percent = 100;
		for (unsigned percent = 10; percent <= 60; percent += 25) {
			plan.config.max_overhead_percent = percent;
			char name[40];
			snprintf(name, sizeof(name), "bulk, %g %%, max %u", 100 * losses[i],
				percent);
			struct sums sums = run(&plan, name);
			cr_assert(sums.overhead <= percent / 100.0 + 0.01, "%s: %g", name,
				sums.overhead);
		}
	}
}
