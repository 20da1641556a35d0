/*
 * How long waits last is known from those that are slept through as well, so nothing is looked for where answers take long, on
 * all but the shortest of paths. The median is followed by steps, so that a wait which another program made long counts
 * no more than any other.
 *
 * Time to look is earned as time passes, in nanoseconds, because a hundredth of the time between two rounds may be less than
 * a microsecond.
 */
#include "vpnd/wake_spin.h"

enum {
	STEP = 16, /* the median moves by a part of so many, */
	STEP_MIN_US = 2,
	MARGIN_US = 20,
	FORGET = 4,	/* part of a pause that a look takes off */
	LONG_US = 2000, /* longer ones count as so long */
	NS = 1000,
};

void wake_spin_init(struct wake_spin *spin, uint32_t threads, struct mono now)
{
	*spin = (struct wake_spin){
		.part = threads * WAKE_SPIN_PART, .credit_at = now, .pause_until = now};
}

static void earn(struct wake_spin *spin, struct mono now)
{
	int64_t passed_us = mono_diff_us(now, spin->credit_at);
	int64_t most = (int64_t)WAKE_SPIN_BURST_US * NS;

	spin->credit_at = now;
	if (passed_us > (int64_t)WAKE_SPIN_BURST_US * spin->part)
		spin->credit_ns = most;
	else if (passed_us > 0)
		spin->credit_ns += passed_us * NS / spin->part;
	if (spin->credit_ns > most)
		spin->credit_ns = most;
}

/* Whether it is the turn of looking, where one of both may be worth it. */
static bool choose(const struct wake_spin *spin, const struct wake_spin_gap gaps[2])
{
	const struct wake_spin_gap *slept = &gaps[false], *looked = &gaps[true];

	if (slept->seen < WAKE_SPIN_LEARN)
		return false;
	if (looked->seen < WAKE_SPIN_LEARN)
		return true;
	bool better = looked->us + WAKE_SPIN_GAIN_US < slept->us;
	return spin->waits % WAKE_SPIN_AGAIN == 0 ? !better : better;
}

int64_t wake_spin_begin(struct wake_spin *spin, enum wake_spin_kind kind, struct mono now)
{
	const struct wake_spin_gap *gaps = spin->gaps[kind];

	if (spin->part == 0 || kind == WAKE_SPIN_NOTHING)
		return 0;
	spin->kind = kind;
	spin->began = now;
	spin->looks = false;
	spin->waits++;
	if (mono_before(now, spin->pause_until) || gaps[false].us > WAKE_SPIN_WORTH_US ||
		!choose(spin, gaps))
		return 0;
	earn(spin, now);
	int64_t look_us = gaps[false].us + MARGIN_US;
	if (look_us > WAKE_SPIN_MOST_US)
		look_us = WAKE_SPIN_MOST_US;
	spin->looks = spin->credit_ns >= look_us * NS;
	return spin->looks ? look_us : 0;
}

void wake_spin_looked(struct wake_spin *spin, int64_t looked_us, bool vain, struct mono now)
{
	spin->credit_ns -= looked_us * NS;
	if (!vain) {
		spin->pause_us -= spin->pause_us / FORGET;
		return;
	}
	spin->pause_us *= 2;
	if (spin->pause_us < WAKE_SPIN_PAUSE_US)
		spin->pause_us = WAKE_SPIN_PAUSE_US;
	if (spin->pause_us > WAKE_SPIN_PAUSE_MAX_US)
		spin->pause_us = WAKE_SPIN_PAUSE_MAX_US;
	spin->pause_until = mono_add_us(now, spin->pause_us);
}

static void follow(struct wake_spin_gap *gap, int32_t us)
{
	int32_t step = gap->us / STEP > STEP_MIN_US ? gap->us / STEP : STEP_MIN_US;
	int32_t off_us = us - gap->us;

	if (gap->seen < WAKE_SPIN_LEARN)
		gap->seen++;
	if (gap->seen == 1)
		gap->us = us;
	else if (off_us > step)
		gap->us += step;
	else if (off_us < -step)
		gap->us -= step;
	else
		gap->us = us;
}

void wake_spin_end(struct wake_spin *spin, bool came, struct mono now)
{
	enum wake_spin_kind kind = spin->kind;
	int64_t us = mono_diff_us(now, spin->began);

	spin->kind = WAKE_SPIN_NOTHING;
	if (kind == WAKE_SPIN_NOTHING)
		return;
	/* A deadline of our own says no more than that the answer has not come so far. */
	if (!came && us <= WAKE_SPIN_WORTH_US)
		return;
	if (us < 0)
		us = 0;
	follow(&spin->gaps[kind][spin->looks], us < LONG_US ? (int32_t)us : LONG_US);
}
