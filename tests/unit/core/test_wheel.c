#include "core/wheel.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { TIMERS = 300 };

/* The wheel against a naive twin: an array that is searched. Same arms, disarms and clock, same
 * timers fire. */
Test(wheel, agrees_with_a_linear_search)
{
	static struct wheel wheel;
	struct wheel_timer timers[TIMERS];
	struct mono want[TIMERS];
	struct mono now = mono_at_ms(1234567);
	unsigned seed = 7;

	wheel_init(&wheel, now);
	for (int i = 0; i < TIMERS; i++) {
		wheel_timer_init(&timers[i]);
		want[i] = MONO_NEVER;
	}
	for (int step = 0; step < 20000; step++) {
		int i = rand_r(&seed) % TIMERS;
		static const int64_t spans_us[] = {
			3, 900, 70000, 5000000, 90000000, 20000000000, 9000};
		int64_t span = spans_us[rand_r(&seed) % 7];
		struct mono at = mono_add_us(now, (int64_t)rand_r(&seed) % (span + 1) - 100);
		if (rand_r(&seed) % 5 == 0)
			at = MONO_NEVER;
		wheel_arm(&wheel, &timers[i], at);
		want[i] = at;

		struct mono earliest = MONO_NEVER;
		for (int k = 0; k < TIMERS; k++)
			earliest = mono_min(earliest, want[k]);
		struct mono next = wheel_next(&wheel);
		cr_assert(next.us <= earliest.us, "step %d", step);
		cr_assert_eq(mono_is_never(next), mono_is_never(earliest));

		if (rand_r(&seed) % 3 == 0) {
			int64_t jump = spans_us[rand_r(&seed) % 4];
			if (step % 1000 == 0)
				jump = 30000000000;
			now = mono_add_us(now, (int64_t)rand_r(&seed) % jump);
		}
		struct wheel_timer *timer;
		while ((timer = wheel_pop_due(&wheel, now)) != NULL) {
			int k = (int)(timer - timers);
			cr_assert(mono_due(want[k], now), "timer %d fired early", k);
			want[k] = MONO_NEVER;
		}
		for (int k = 0; k < TIMERS; k++)
			cr_assert(
				!mono_due(want[k], now), "timer %d was missed at step %d", k, step);
	}
}

Test(wheel, asks_for_nothing_when_empty)
{
	static struct wheel wheel;
	struct wheel_timer timer;

	wheel_init(&wheel, mono_at_ms(0));
	cr_expect(mono_is_never(wheel_next(&wheel)));
	wheel_timer_init(&timer);
	wheel_arm(&wheel, &timer, mono_at_ms(50));
	wheel_disarm(&wheel, &timer);
	cr_expect(mono_is_never(wheel_next(&wheel)));
	cr_expect_eq(wheel_pop_due(&wheel, mono_at_ms(100)), NULL);
}

/* What is left of a slot after its earliest timer went says when to come back: no call in vain until then but one. */
Test(wheel, asks_no_earlier_than_what_is_left)
{
	static struct wheel wheel;
	struct wheel_timer first, second;

	wheel_init(&wheel, mono_at_ms(0));
	wheel_timer_init(&first);
	wheel_timer_init(&second);
	wheel_arm(&wheel, &first, mono_at_us(5100));
	wheel_arm(&wheel, &second, mono_at_us(5900));
	wheel_disarm(&wheel, &first);
	cr_expect_eq(wheel_pop_due(&wheel, mono_at_us(5100)), NULL);
	cr_expect_eq(wheel_next(&wheel).us, 5900);
	cr_expect_eq(wheel_pop_due(&wheel, mono_at_us(5899)), NULL);
	cr_expect_eq(wheel_pop_due(&wheel, mono_at_us(5900)), &second);
}

/* Past the span of all levels (2^24 ms), driven by its own deadlines alone, across several turns. */
Test(wheel, turns_past_its_span)
{
	enum { LATE = 6 };
	const int64_t span_ms = (int64_t)1 << 24;
	const int64_t want_ms[LATE] = {span_ms - 1, span_ms, span_ms + 70001, 2 * span_ms,
		2 * span_ms + 255, 5 * span_ms + 3};
	static struct wheel wheel;
	struct wheel_timer timers[LATE];
	struct mono now = mono_at_ms(span_ms - 300);

	wheel_init(&wheel, now);
	for (int i = LATE; i-- > 0;) {
		wheel_timer_init(&timers[i]);
		wheel_arm(&wheel, &timers[i], mono_at_ms(want_ms[i]));
	}
	for (int i = 0; i < LATE; i++) {
		struct wheel_timer *timer = NULL;
		for (int calls = 0; !timer; calls++) {
			cr_assert(calls < 8, "timer %d: too many calls in vain", i);
			now = wheel_next(&wheel);
			cr_assert(now.us <= want_ms[i] * 1000);
			timer = wheel_pop_due(&wheel, now);
		}
		cr_assert_eq(timer, &timers[i]);
		cr_assert_eq(now.us, want_ms[i] * 1000);
	}
	cr_assert(mono_is_never(wheel_next(&wheel)));
}
