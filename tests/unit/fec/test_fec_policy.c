#include "fec/fec_policy.h"

#include <criterion/criterion.h>

enum { BYTES = 300 };

static struct fec_policy policy;

static const struct fec_policy_config ADAPTIVE = {
	.mode = FEC_POLICY_ADAPTIVE,
	.max_overhead_percent = 30,
	.tail_us = 2000,
};

static void set_path(double loss, uint64_t rate_bytes, bool full)
{
	struct fec_policy_path path = {
		.loss = loss,
		.lossy = loss > 0,
		.rate_bytes = rate_bytes,
		.full = full,
	};

	fec_policy_set_path(&policy, &path);
}

static void begin(const struct fec_policy_config *config, double loss)
{
	fec_policy_init(&policy, config, mono_at_us(0));
	set_path(loss, 2500000, false);
}

static bool due_at(int64_t us, enum fec_policy_encoder want)
{
	enum fec_policy_encoder encoder = FEC_POLICY_ENCODERS;

	if (!fec_policy_due(&policy, mono_at_us(us), &encoder))
		return false;
	cr_assert_eq(encoder, want);
	fec_policy_sent(&policy, encoder, BYTES, mono_at_us(us));
	return true;
}

static void source_at(int64_t us, enum fec_policy_encoder encoder)
{
	fec_policy_source(&policy, encoder, BYTES, mono_at_us(us));
}

/* What is due at `us`. */
static unsigned count_at(int64_t us, enum fec_policy_encoder want)
{
	unsigned count = 0;

	while (due_at(us, want))
		count++;
	return count;
}

static int64_t deadline(void)
{
	return fec_policy_next_deadline(&policy).us;
}

Test(fec_policy, is_off)
{
	static const struct {
		struct fec_policy_config config;
		double loss;
	} rows[] = {
		{{.mode = FEC_POLICY_OFF, .max_overhead_percent = 30, .tail_us = 2000}, 0.1},
		{{.mode = FEC_POLICY_ADAPTIVE, .max_overhead_percent = 30, .tail_us = 2000}, 0},
		{{.mode = FEC_POLICY_ADAPTIVE, .max_overhead_percent = 0, .tail_us = 2000}, 0.1},
		{{.mode = FEC_POLICY_FIXED, .data = 10, .max_overhead_percent = 30}, 0.1},
		{{.mode = FEC_POLICY_FIXED, .data = 10, .parity = 3}, 0.1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin(&rows[i].config, rows[i].loss);
		for (int e = 0; e < FEC_POLICY_ENCODERS; e++) {
			enum fec_policy_encoder encoder = (enum fec_policy_encoder)e, got;
			cr_assert(!fec_policy_protects(&policy, encoder, true), "row %zu", i);
			for (int64_t us = 0; us < 1000000; us += 1000) {
				source_at(us, encoder);
				cr_assert(!fec_policy_due(&policy, mono_at_us(us), &got));
			}
			cr_assert_eq(deadline(), INT64_MAX, "row %zu", i);
		}
	}
}

Test(fec_policy, thin_repairs_are_spaced)
{
	begin(&ADAPTIVE, 0.45);
	cr_assert(fec_policy_rate(&policy, FEC_POLICY_THIN) == 3);
	source_at(0, FEC_POLICY_THIN);
	cr_assert_eq(deadline(), 0);
	cr_assert_eq(count_at(0, FEC_POLICY_THIN), 1);
	cr_assert_eq(deadline(), 5000);
	cr_assert_eq(count_at(4999, FEC_POLICY_THIN), 0);
	source_at(4999, FEC_POLICY_THIN);
	cr_assert_eq(count_at(4999, FEC_POLICY_THIN), 1);
	cr_assert_eq(count_at(5000, FEC_POLICY_THIN), 1);
	cr_assert_eq(count_at(9999, FEC_POLICY_THIN), 1);
	cr_assert_eq(count_at(20000, FEC_POLICY_THIN), 2);
	cr_assert_eq(deadline(), INT64_MAX);
}

/* Where losses come in bursts the first repair shares the fate of its source: there is a second one, after the burst. */
Test(fec_policy, thin_repairs_wait_out_a_burst)
{
	static const struct {
		int64_t burst_us, second_at;
	} rows[] = {{1000, 5000}, {12000, 12000}, {90000, FEC_POLICY_SPACING_MAX_US}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin(&ADAPTIVE, 0.05);
		struct fec_policy_path path = policy.path;
		path.burst_us = rows[i].burst_us;
		fec_policy_set_path(&policy, &path);
		source_at(0, FEC_POLICY_THIN);
		cr_assert_eq(count_at(0, FEC_POLICY_THIN), 1);
		cr_assert_eq(count_at(rows[i].second_at - 1, FEC_POLICY_THIN), 0);
		cr_assert_eq(count_at(rows[i].second_at, FEC_POLICY_THIN), 1);
		cr_assert_eq(deadline(), INT64_MAX);
	}
}

Test(fec_policy, thin_repairs_follow_loss)
{
	static const struct {
		double loss;
		unsigned repairs; /* of 100 sources */
	} rows[] = {{0.002, 100}, {0.05, 100}, {0.06, 107}, {0.117, 146}, {0.232, 227}, {0.4, 300}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned repairs = 0;
		begin(&ADAPTIVE, rows[i].loss);
		for (unsigned n = 0; n < 100; n++) {
			source_at(n * 100000, FEC_POLICY_THIN);
			for (unsigned k = 0; k < 4; k++)
				repairs += count_at(n * 100000 + k * 5000, FEC_POLICY_THIN);
		}
		cr_assert(repairs + 1 >= rows[i].repairs && repairs <= rows[i].repairs + 1,
			"row %zu: %u", i, repairs);
	}
}

/* What the path held back goes in a row later, and falls out with age. */
Test(fec_policy, thin_repairs_wait_but_not_for_long)
{
	begin(&ADAPTIVE, 0.05);
	for (unsigned n = 0; n < 4; n++)
		source_at(n * 50000, FEC_POLICY_THIN);
	cr_assert_eq(count_at(200000, FEC_POLICY_THIN), 3); /* the first is 200 ms old */
	for (unsigned n = 0; n < 100; n++)
		source_at(300000, FEC_POLICY_THIN);
	cr_assert(policy.due_count <= FEC_POLICY_THIN_WAITING_MAX);
	cr_assert(count_at(300000, FEC_POLICY_THIN) <= FEC_POLICY_THIN_WAITING_MAX);
}

/* With nothing but 200 kb/s the third repair goes first, then the second. */
Test(fec_policy, thin_repairs_keep_their_budget)
{
	uint64_t before = 3;

	for (int64_t interval = 20000; interval >= 1000; interval /= 2) {
		uint64_t sources = 0;
		begin(&ADAPTIVE, 0.4);
		set_path(0.4, 0, false);
		for (int64_t us = 0; us < 10000000; us += 1000) {
			if (us % interval == 0) {
				source_at(us, FEC_POLICY_THIN);
				sources++;
			}
			count_at(us, FEC_POLICY_THIN);
		}
		uint64_t spent = policy.stats.repair_bytes;
		cr_assert(spent <= 10 * FEC_POLICY_URGENT_BYTES + policy.urgent.bytes_max + BYTES,
			"%lu", (unsigned long)spent);
		cr_assert(sources * 3 * BYTES < 250000 || spent > 200000, "%lu",
			(unsigned long)spent);
		uint64_t rate = policy.stats.repairs[FEC_POLICY_THIN] / sources;
		cr_assert(rate <= before);
		before = rate;
	}
	cr_assert_eq(before, 0);
	cr_assert(policy.stats.capped > 0);
}

/* A known rate gives more, but max_overhead holds beyond the 200 kb/s. */
Test(fec_policy, max_overhead_holds)
{
	static const unsigned percents[] = {1, 5, 10, 30, 100, 200};
	static const double losses[] = {0.003, 0.01, 0.06, 0.12, 0.23, 0.35, 0.45};

	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
		for (size_t k = 0; k < sizeof(losses) / sizeof(losses[0]); k++) {
			struct fec_policy_config config = ADAPTIVE;
			enum fec_policy_encoder encoder;
			config.max_overhead_percent = percents[i];
			begin(&config, losses[k]);
			for (int64_t us = 0; us < 5000000; us += 500) {
				fec_policy_source(&policy,
					us % 5000 ? FEC_POLICY_BULK : FEC_POLICY_THIN, 1200,
					mono_at_us(us));
				while (fec_policy_due(&policy, mono_at_us(us), &encoder))
					fec_policy_sent(&policy, encoder, 1212, mono_at_us(us));
			}
			double most = (double)policy.stats.other_bytes * percents[i] / 100 +
				      5 * FEC_POLICY_URGENT_BYTES + policy.urgent.bytes_max +
				      2 * 1212;
			cr_assert((double)policy.stats.repair_bytes <= most, "%u %%, loss %g: %lu",
				percents[i], losses[k], (unsigned long)policy.stats.repair_bytes);
		}
	}
}

/* A repair is as long as the longest source it covers: among short ones a third of the number is far more of the bytes. */
Test(fec_policy, max_overhead_is_of_bytes)
{
	static const enum fec_policy_mode modes[] = {FEC_POLICY_FIXED, FEC_POLICY_ADAPTIVE};

	for (size_t m = 0; m < 2; m++) {
		const struct fec_policy_config config = {
			.mode = modes[m],
			.data = 10,
			.parity = 3,
			.max_overhead_percent = 30,
			.tail_us = 2000,
		};
		enum fec_policy_encoder encoder;
		begin(&config, 0.2);
		for (int64_t us = 0; us < 5000000; us += 100) {
			fec_policy_source(
				&policy, FEC_POLICY_BULK, us % 1000 ? 100 : 1400, mono_at_us(us));
			while (fec_policy_due(&policy, mono_at_us(us), &encoder))
				fec_policy_sent(&policy, encoder, 1412, mono_at_us(us));
		}
		double most = (double)policy.stats.other_bytes * 0.3 + 2 * 1412;
		cr_assert((double)policy.stats.repair_bytes <= most);
		cr_assert((double)policy.stats.repair_bytes > 0.9 * most);
		cr_assert(policy.stats.capped > 100);
		cr_assert(policy.urgent.bytes > 0);
	}
}

Test(fec_policy, bulk_repairs_by_credit)
{
	static const struct {
		double loss;
		unsigned repairs; /* of 1000 sources */
	} rows[] = {{0.002, 32}, {0.0135, 47}, {0.06, 110}, {0.117, 196}, {0.2, 300}, {0.225, 300}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned repairs = 0;
		begin(&ADAPTIVE, rows[i].loss);
		for (unsigned n = 0; n < 1000; n++) {
			source_at(n * 1000, FEC_POLICY_BULK);
			repairs += count_at(n * 1000, FEC_POLICY_BULK);
		}
		cr_assert(repairs + 2 >= rows[i].repairs && repairs <= rows[i].repairs + 2,
			"row %zu: %u", i, repairs);
	}
}

/* Less than is lost helps nobody: what max_overhead allows goes in full for a while, and then not at all. */
Test(fec_policy, bulk_rests_where_it_cannot_pay)
{
	unsigned repairs = 0, changes = 0;
	bool protects = true;

	begin(&ADAPTIVE, 0.3);
	for (unsigned n = 0; n < 20000; n++) {
		int64_t us = n * INT64_C(1000);
		bool again = fec_policy_protects(&policy, FEC_POLICY_BULK, false);
		changes += again != protects;
		protects = again;
		if (again)
			source_at(us, FEC_POLICY_BULK);
		else
			fec_policy_plain(&policy, BYTES, mono_at_us(us));
		repairs += count_at(us, FEC_POLICY_BULK);
		cr_assert(fec_policy_protects(&policy, FEC_POLICY_THIN, false));
	}
	cr_assert(changes >= 3 && changes < 60, "%u", changes);
	cr_assert(repairs > 5000 && repairs < 6100, "%u", repairs);
}

/* On a full path a repair takes the place of data: only what was lost before is worth it, and all the more. */
Test(fec_policy, full_path_protects_what_is_sent_again)
{
	static const struct {
		double loss;
		unsigned repairs; /* of 1000 sources */
	} rows[] = {{0.002, 34}, {0.0135, 57}, {0.06, 158}, {0.117, 295}, {0.232, 634}, {0.4, 800}};

	begin(&ADAPTIVE, 0.06);
	cr_assert(fec_policy_protects(&policy, FEC_POLICY_BULK, false));
	set_path(0.06, 2500000, true);
	cr_assert(!fec_policy_protects(&policy, FEC_POLICY_BULK, false));
	cr_assert(fec_policy_protects(&policy, FEC_POLICY_BULK, true));
	cr_assert(fec_policy_protects(&policy, FEC_POLICY_THIN, false));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned repairs = 0;
		begin(&ADAPTIVE, rows[i].loss);
		set_path(rows[i].loss, 2500000, true);
		for (unsigned n = 0; n < 1000; n++) {
			for (unsigned k = 0; k < 4; k++)
				fec_policy_plain(&policy, BYTES, mono_at_us(n * 1000));
			source_at(n * 1000, FEC_POLICY_BULK);
			repairs += count_at(n * 1000, FEC_POLICY_BULK);
		}
		cr_assert(repairs + 2 >= rows[i].repairs && repairs <= rows[i].repairs + 2,
			"row %zu: %u", i, repairs);
	}
}

Test(fec_policy, tail_repairs)
{
	begin(&ADAPTIVE, 0.05);
	for (unsigned n = 0; n < 3; n++)
		source_at(n * 1000, FEC_POLICY_BULK);
	cr_assert_eq(count_at(2000, FEC_POLICY_BULK), 0);
	cr_assert_eq(deadline(), 4000);
	cr_assert_eq(count_at(3999, FEC_POLICY_BULK), 0);
	cr_assert_eq(count_at(4000, FEC_POLICY_BULK), 1);
	cr_assert_eq(deadline(), INT64_MAX);
	cr_assert_eq(count_at(100000, FEC_POLICY_BULK), 0);
	/* what it cost is missing later: 0.0958 a source were earned, 1 was spent */
	unsigned repairs = 0, n;
	for (n = 0; repairs == 0; n++) {
		source_at(200000 + n, FEC_POLICY_BULK);
		repairs = count_at(200000 + n, FEC_POLICY_BULK);
	}
	cr_assert(n >= 16 && n <= 19, "%u", n);

	struct fec_policy_config config = ADAPTIVE;
	config.tail_us = 0;
	begin(&config, 0.05);
	source_at(0, FEC_POLICY_BULK);
	cr_assert_eq(deadline(), INT64_MAX);
}

/* Keystrokes: each alone, ten a second. The urgent budget lets all of them have their repair. */
Test(fec_policy, lone_bulk_sources_are_all_repaired)
{
	unsigned repairs = 0;

	begin(&ADAPTIVE, 0.05);
	for (unsigned n = 0; n < 1000; n++) {
		source_at(n * 100000, FEC_POLICY_BULK);
		repairs += count_at(n * 100000, FEC_POLICY_BULK);
		repairs += count_at(n * 100000 + 2000, FEC_POLICY_BULK);
	}
	cr_assert_eq(repairs, 1000);
}

/* More of them than that: what the rate earns and the urgent budget gives, not one each. */
Test(fec_policy, tail_repairs_are_bounded)
{
	unsigned repairs = 0;

	begin(&ADAPTIVE, 0.05);
	for (unsigned n = 0; n < 4000; n++) {
		fec_policy_source(&policy, FEC_POLICY_BULK, 1200, mono_at_us(n * 2500));
		for (unsigned k = 0; k < 2; k++) {
			enum fec_policy_encoder encoder;
			struct mono at = mono_at_us(n * 2500 + k * 2000);
			while (fec_policy_due(&policy, at, &encoder)) {
				fec_policy_sent(&policy, encoder, 1212, at);
				repairs++;
			}
		}
	}
	cr_assert(repairs >= 380 && repairs <= 380 + 10 * 25, "%u", repairs);
}

Test(fec_policy, bulk_owes_no_more_than_a_few)
{
	begin(&ADAPTIVE, 0.15);
	for (unsigned n = 0; n < 1000; n++)
		source_at(n * 100, FEC_POLICY_BULK);
	unsigned repairs = count_at(100000, FEC_POLICY_BULK);
	cr_assert_eq(repairs, FEC_POLICY_BULK_OWED_MAX);
}

Test(fec_policy, thin_goes_first)
{
	enum fec_policy_encoder encoder;

	begin(&ADAPTIVE, 0.15);
	for (unsigned n = 0; n < 8; n++)
		source_at(0, FEC_POLICY_BULK);
	source_at(0, FEC_POLICY_THIN);
	cr_assert(fec_policy_due(&policy, mono_at_us(0), &encoder));
	cr_assert_eq(encoder, FEC_POLICY_THIN);
	/* not sent: still due */
	cr_assert(fec_policy_due(&policy, mono_at_us(100), &encoder));
	cr_assert_eq(encoder, FEC_POLICY_THIN);
	fec_policy_dropped(&policy, encoder);
	cr_assert(fec_policy_due(&policy, mono_at_us(100), &encoder));
	cr_assert_eq(encoder, FEC_POLICY_BULK);
	fec_policy_dropped(&policy, encoder);
	cr_assert(!fec_policy_due(&policy, mono_at_us(100), &encoder));
	cr_assert_eq(deadline(), INT64_MAX);
}

Test(fec_policy, fixed)
{
	const struct fec_policy_config config = {
		.mode = FEC_POLICY_FIXED,
		.data = 10,
		.parity = 3,
		.max_overhead_percent = 200,
		.tail_us = 2000,
	};

	for (int e = 0; e < FEC_POLICY_ENCODERS; e++) {
		enum fec_policy_encoder encoder = (enum fec_policy_encoder)e;
		unsigned repairs = 0;
		begin(&config, 0);
		cr_assert(fec_policy_protects(&policy, encoder, true));
		for (unsigned n = 0; n < 1000; n++) {
			source_at(n * 1000, encoder);
			repairs += count_at(n * 1000, encoder);
		}
		cr_assert(repairs >= 299 && repairs <= 300, "%u", repairs);
	}
}

/* Loss ended, or somebody switched it off: what was owed is not sent. */
Test(fec_policy, stops_at_once)
{
	begin(&ADAPTIVE, 0.2);
	for (unsigned n = 0; n < 8; n++) {
		source_at(0, FEC_POLICY_BULK);
		source_at(0, FEC_POLICY_THIN);
	}
	set_path(0, 2500000, false);
	enum fec_policy_encoder encoder;
	cr_assert(!fec_policy_due(&policy, mono_at_us(100000), &encoder));
	cr_assert_eq(deadline(), INT64_MAX);
}

Test(fec_policy, draws_settings_in)
{
	const struct fec_policy_config config = {
		.mode = FEC_POLICY_FIXED,
		.data = 0,
		.parity = 1000,
		.max_overhead_percent = 100000,
		.tail_us = -5,
	};

	begin(&config, 0);
	cr_assert_eq(policy.config.data, 1);
	cr_assert_eq(policy.config.parity, 32);
	cr_assert_eq(policy.config.max_overhead_percent, 200);
	cr_assert(fec_policy_rate(&policy, FEC_POLICY_THIN) == 3);
	cr_assert(fec_policy_rate(&policy, FEC_POLICY_BULK) == 2);
}
