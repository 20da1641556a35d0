#include "session/session.h"

#include <criterion/criterion.h>

static const struct session_config CONFIG = {
	.keepalive_us = 5000000,
	.dead_after_us = 15000000,
	.idle_after_us = 600000000,
};

enum op { HEARD, WAITING, ANSWERED, TICK };

struct step {
	int64_t at_ms;
	enum op op;
	int want;	 /* TICK: action; HEARD: whether it is the first */
	int64_t next_ms; /* deadline afterwards, -1 = never */
	enum session_state state;
};

static void run(const struct session_config *config, const struct step *steps, size_t count)
{
	struct session s;

	session_init(&s, config, mono_at_ms(0));
	for (size_t i = 0; i < count; i++) {
		struct mono now = mono_at_ms(steps[i].at_ms);
		int got = 0;
		switch (steps[i].op) {
		case HEARD:
			got = session_heard(&s, now);
			break;
		case WAITING:
			session_sent_waiting(&s, now);
			break;
		case ANSWERED:
			session_answered(&s);
			break;
		case TICK:
			got = (int)session_on_deadline(&s, now);
			break;
		}
		struct mono next = session_next_deadline(&s);
		cr_assert_eq(got, steps[i].want, "step %zu: got %d", i, got);
		cr_assert_eq(s.state, steps[i].state, "step %zu: state %d", i, s.state);
		cr_assert_eq(mono_is_never(next) ? -1 : next.us / 1000, steps[i].next_ms,
			"step %zu: next %ld", i, (long)(next.us / 1000));
	}
}

#define RUN(config, steps) run(&(config), steps, sizeof(steps) / sizeof((steps)[0]))

Test(session, a_silent_peer_is_probed_then_dead)
{
	static const struct step steps[] = {
		{0, HEARD, 1, 5000, SESSION_UP},
		{4999, TICK, SESSION_NOTHING, 5000, SESSION_UP},
		{5000, TICK, SESSION_PROBE, 6000, SESSION_UP},
		{6000, TICK, SESSION_PROBE, 8000, SESSION_UP},
		{8000, TICK, SESSION_PROBE, 12000, SESSION_UP},
		{12000, TICK, SESSION_PROBE, 16000, SESSION_UP},
		{16000, TICK, SESSION_PROBE, 20000, SESSION_UP},
		{20000, TICK, SESSION_EXPIRE, -1, SESSION_DEAD},
		{20001, TICK, SESSION_NOTHING, -1, SESSION_DEAD},
		{20002, HEARD, 0, -1, SESSION_DEAD},
	};
	RUN(CONFIG, steps);
}

Test(session, what_waits_for_an_answer_is_probed_early)
{
	static const struct step steps[] = {
		{0, HEARD, 1, 5000, SESSION_UP},
		{1000, WAITING, 0, 3000, SESSION_UP},
		{2000, WAITING, 0, 3000, SESSION_UP},
		{3000, TICK, SESSION_PROBE, 4000, SESSION_UP},
		{3050, HEARD, 0, 8050, SESSION_UP},
	};
	RUN(CONFIG, steps);
}

Test(session, an_answer_ends_the_wait)
{
	static const struct step steps[] = {
		{0, HEARD, 1, 5000, SESSION_UP},
		{5000, TICK, SESSION_PROBE, 6000, SESSION_UP},
		{5100, HEARD, 0, 10100, SESSION_UP},
		{5100, ANSWERED, 0, 10100, SESSION_UP},
		{10100, TICK, SESSION_PROBE, 11100, SESSION_UP},
	};
	RUN(CONFIG, steps);
}

Test(session, what_is_sent_after_a_quiet_hour_gets_all_of_dead_after)
{
	static const struct session_config config = {.dead_after_us = 15000000};
	static const struct step steps[] = {
		{0, HEARD, 1, -1, SESSION_UP},
		{3600000, WAITING, 0, 3615000, SESSION_UP},
		{3600000, TICK, SESSION_NOTHING, 3615000, SESSION_UP},
		{3601000, WAITING, 0, 3615000, SESSION_UP},
		{3615000, TICK, SESSION_EXPIRE, -1, SESSION_DEAD},
	};
	RUN(config, steps);
}

Test(session, an_idle_conversation_ends)
{
	static const struct session_config config = {.idle_after_us = 60000000};
	static const struct step steps[] = {
		{0, TICK, SESSION_NOTHING, 60000, SESSION_OPENING},
		{30000, HEARD, 1, 90000, SESSION_UP},
		{40000, WAITING, 0, 100000, SESSION_UP},
		{99999, TICK, SESSION_NOTHING, 100000, SESSION_UP},
		{100000, TICK, SESSION_EXPIRE, -1, SESSION_IDLE},
	};
	RUN(config, steps);
}

Test(session, nothing_configured_has_no_deadline)
{
	static const struct session_config config = {0};
	static const struct step steps[] = {
		{0, TICK, SESSION_NOTHING, -1, SESSION_OPENING},
		{0, WAITING, 0, -1, SESSION_OPENING},
		{5, HEARD, 1, -1, SESSION_UP},
	};
	RUN(config, steps);
}
