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
	double wire_bytes; /* a source, with IPv4 and UDP headers of all datagrams */
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
		source_bytes += (double)r.source_bytes;
		repair_bytes += (double)r.repair_bytes;
		repairs += (double)r.repairs;
	}
	sums.overhead = repair_bytes / source_bytes;
	sums.wire_bytes =
		(source_bytes + repair_bytes + 28 * (sums.sources + repairs)) / sums.sources;
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

/* 50 packets a second of 200 bytes. */
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
		{0.01, 6e-4, 0},
		{0.05, 6e-4, 0},
		{0.1, 8e-4, 6},
		{0.2, 1e-3, 10},
		{0.3, 2e-3, 20},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rlc_link_plan plan = thin_plan(rows[i].loss);
		plan.rate_bytes = 2500000;
		plan.beside_bytes = 30000;
		char name[40];
		snprintf(name, sizeof(name), "thin, %g %%", 100 * rows[i].loss);
		struct sums sums = run(&plan, name);
		cr_assert(sums.late <= rows[i].late_max, "%s: %g", name, sums.late);
		cr_assert(sums.p99_ms <= rows[i].p99_ms_max + 0.01, "%s: %g", name, sums.p99_ms);
		if (rows[i].loss == 0)
			cr_assert(sums.overhead == 0);
	}
}

/* No rate is known, and what max_overhead allows is less than one repair: the urgent budget carries it. */
Test(rlc_link, thin_flow_alone)
{
	static const struct {
		double loss, late_max, wire_bytes_max;
	} rows[] = {{0, 0, 152}, {0.01, 6e-4, 330}, {0.05, 6e-4, 340}, {0.1, 8e-4, 400},
		{0.2, 1e-3, 540}, {0.3, 2e-3, 650}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rlc_link_plan plan = thin_plan(rows[i].loss);
		plan.segments_bytes = 24 + 64;
		char name[40];
		snprintf(name, sizeof(name), "64 bytes alone, %g %%", 100 * rows[i].loss);
		struct sums sums = run(&plan, name);
		cr_assert(sums.late <= rows[i].late_max, "%s: %g", name, sums.late);
		cr_assert(
			sums.wire_bytes <= rows[i].wire_bytes_max, "%s: %g", name, sums.wire_bytes);
	}
}

/* The link is clean from a time on: repairs end within ten seconds and the datagrams that the mean takes to fall. */
Test(rlc_link, ends_on_a_clean_path)
{
	struct rlc_link_plan plan = thin_plan(0.1);

	plan.interval_us = 5000;
	plan.clean_from_us = 20000000;
	plan.run_us = 100000000;
	for (plan.seed = 1; plan.seed <= 3; plan.seed++) {
		struct rlc_link_result r = rlc_link_run(&plan);
		cr_assert(r.repairs > 1000);
		cr_assert(r.last_repair_us > 20000000 && r.last_repair_us < 20000000 + 20000000,
			"%ld", (long)r.last_repair_us);
	}
}

Test(rlc_link, thin_flow_and_bursts)
{
	struct rlc_link_plan plan = thin_plan(0.05);

	plan.burst_us = 10000;
	plan.rate_bytes = 2500000;
	struct sums sums = run(&plan, "thin, bursts of 10 ms");
	cr_assert(sums.late <= 3e-3, "%g", sums.late);
	cr_assert(sums.p99_ms <= 25, "%g", sums.p99_ms);
}

Test(rlc_link, bulk_flow)
{
	static const struct {
		double loss, late_max; /* where max_overhead does not matter */
	} rows[] = {{0, 0}, {0.01, 2e-3}, {0.05, 4e-3}, {0.1, 6e-3}, {0.2, 8e-3}, {0.3, 0.04}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rlc_link_plan plan = thin_plan(rows[i].loss);
		plan.encoder = FEC_POLICY_BULK;
		plan.segments_bytes = 1200;
		plan.interval_us = 1000;
		plan.batch = 2;
		plan.run_us = 6000000;
		plan.rate_bytes = 2500000;
		for (unsigned percent = 10; percent <= 60; percent += 25) {
			plan.config.max_overhead_percent = percent;
			char name[40];
			snprintf(name, sizeof(name), "bulk, %g %%, max %u", 100 * rows[i].loss,
				percent);
			struct sums sums = run(&plan, name);
			cr_assert(sums.overhead <= percent / 100.0 + 0.005, "%s: %g", name,
				sums.overhead);
			cr_assert(percent < 60 || sums.late <= rows[i].late_max, "%s: %g", name,
				sums.late);
		}
	}
}
