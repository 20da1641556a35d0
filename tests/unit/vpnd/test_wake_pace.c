/* When rounds are kept apart, and that nobody is kept waiting who has few peers or much traffic. */
#include "vpnd/loop.h"
#include "vpnd/wake_pace.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
	PEERS_MAX = 1000,
	ROUND_US = 100, /* that nothing keeps apart */
};

static uint32_t heard_in[PEERS_MAX];

/* A second in which so many packets come from so many peers in turn. @return rounds that had to wait */
static unsigned waits(unsigned packets, unsigned peers)
{
	struct wake_pace pace = {0};
	unsigned waited = 0, given = 0;

	memset(heard_in, 0, sizeof(heard_in));
	for (int64_t us = 5000000; us < 6000000; us += ROUND_US) {
		for (; given < (us - 5000000) * packets / 1000000; given++)
			wake_pace_heard(&pace, &heard_in[given % peers]);
		struct mono next = wake_pace_next(&pace, MONO_NEVER, mono_at_us(us));
		cr_assert(next.us - us <= WAKE_PACE_GRAIN_US);
		if (next.us <= us)
			continue;
		cr_assert_eq(next.us % WAKE_PACE_GRAIN_US, 0);
		waited++;
	}
	return waited;
}

Test(wake_pace, many_who_say_little_share_rounds)
{
	unsigned rounds = 1000000 / ROUND_US;

	cr_assert_geq(waits(6000, 1000), rounds * 8 / 10, "from the second window on");
	cr_assert_geq(waits(2000, 1000), rounds * 8 / 10);
	cr_assert_eq(waits(1000, 1000), 0, "so few packets make few rounds");
	cr_assert_eq(waits(6000, 90), 0, "so few peers");
	cr_assert_eq(waits(100000, 1), 0, "bulk of one");
	cr_assert_eq(waits(100000, 200), 0, "bulk of many");
}

Test(wake_pace, it_ends_with_what_began_it)
{
	struct wake_pace pace = {0};
	int64_t us = 1000000;

	memset(heard_in, 0, sizeof(heard_in));
	for (unsigned i = 0; i < 400; i++, us += 500) {
		wake_pace_heard(&pace, &heard_in[i]);
		(void)wake_pace_next(&pace, MONO_NEVER, mono_at_us(us));
	}
	cr_assert_gt(wake_pace_next(&pace, MONO_NEVER, mono_at_us(us)).us, us);
	us += 3 * WAKE_PACE_WINDOW_US;
	cr_assert_eq(
		wake_pace_next(&pace, MONO_NEVER, mono_at_us(us)).us, us, "nothing came for long");
	us += WAKE_PACE_WINDOW_US;
	wake_pace_heard(&pace, &heard_in[0]);
	cr_assert_eq(wake_pace_next(&pace, MONO_NEVER, mono_at_us(us)).us, us);
}

/* Rounds for so long, one at its earliest or when the next datagram comes. @return the last moment */
static int64_t idle(
	struct wake_pace *pace, int64_t us, int64_t for_us, int64_t gap_us, unsigned *rounds)
{
	int64_t until = us + for_us;

	*rounds = 0;
	while (us < until) {
		struct mono next = wake_pace_next(pace, MONO_NEVER, mono_at_us(us));
		int64_t datagram = (us / gap_us + 1) * gap_us;
		us = next.us > datagram ? next.us : datagram;
		++*rounds;
	}
	return us;
}

Test(wake_pace, keepalives_of_thousands_share_rounds)
{
	struct wake_pace pace = {0};
	uint32_t peer = 0;
	unsigned rounds;
	int64_t us = idle(&pace, 1000000, 2200000, 2500, &rounds);

	us = idle(&pace, us, 1000000, 2500, &rounds);
	cr_assert_leq(rounds, 205);
	/* and for as long as there are some */
	us = idle(&pace, us, 1000000, 14000, &rounds);
	cr_assert(pace.calm);
	struct mono next = wake_pace_next(&pace, mono_at_us(us + 100), mono_at_us(us));
	cr_assert_eq(next.us, us + 100, "timers are served");
	wake_pace_heard(&pace, &peer);
	cr_assert_eq(wake_pace_next(&pace, MONO_NEVER, mono_at_us(us)).us, us);
	us = idle(&pace, us, 1900000, 2500, &rounds);
	cr_assert_geq(rounds, 1900000 / 2500, "not soon after a packet");
	us = idle(&pace, us, 300000, 2500, &rounds);
	cr_assert(pace.calm);
	wake_pace_sent(&pace);
	cr_assert_eq(wake_pace_next(&pace, MONO_NEVER, mono_at_us(us)).us, us);
	us = idle(&pace, us, 1900000, 2500, &rounds);
	cr_assert_geq(rounds, 1900000 / 2500);
}

Test(wake_pace, few_keepalives_are_read_at_once)
{
	struct wake_pace pace = {0};
	unsigned rounds;
	int64_t us = idle(&pace, 1000000, 5000000, 6000, &rounds);

	cr_assert_geq(rounds, 5000000 / 6000);
	/* nor is there a calm with the first of many after a long time */
	us = idle(&pace, us + 3600000000, 150000, 100, &rounds);
	cr_assert_geq(rounds, 1000);
}

static unsigned read_in_round;

static void on_pipe(struct loop_watch *watch, uint32_t events)
{
	char byte;

	(void)events;
	cr_assert_eq(read(watch->fd, &byte, 1), 1);
	read_in_round++;
}

Test(wake_pace, the_loop_rests_for_one_round)
{
	struct loop *loop;
	int fds[2];

	cr_assert_eq(loop_new(&loop), 0);
	cr_assert_eq(pipe(fds), 0);
	struct loop_watch watch = {.fd = fds[0], .on_event = on_pipe};
	cr_assert_eq(loop_watch_add(loop, &watch, EPOLLIN), 0);
	cr_assert_eq(write(fds[1], "ab", 2), 2);
	struct mono until = mono_add_us(loop_clock(), 20000);
	loop_rest_until(loop, until);
	cr_assert_eq(loop_turn(loop, true), 1);
	cr_assert_geq(loop_now(loop).us, until.us, "not before");
	cr_assert_eq(loop_turn(loop, true), 1, "and then as always");
	cr_assert_eq(read_in_round, 2);
	/* what was left unread is read at once */
	cr_assert_eq(write(fds[1], "c", 1), 1);
	until = mono_add_us(loop_clock(), 3600000000);
	loop_behind(loop);
	loop_rest_until(loop, until);
	cr_assert_eq(loop_turn(loop, true), 1);
	cr_assert_lt(loop_now(loop).us, until.us);
	cr_assert_eq(read_in_round, 3);
	loop_watch_remove(loop, &watch);
	close(fds[0]);
	close(fds[1]);
	loop_free(loop);
}
