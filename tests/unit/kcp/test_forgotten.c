/*
 * A peer that restarted knows nothing of the conversation. kcp-go's listener then begins a new session with whatever
 * segment comes next, acknowledges all that fits its window, and waits for ever for number 0.
 */
#include "kcp/kcp.h"
#include "link.h"

#include <criterion/criterion.h>
#include <string.h>

enum { DEAD_AFTER_US = 3000000, SECONDS = 60 };

static struct link link;

static void open_pair(uint32_t a_start_sn, uint32_t b_rcv_wnd)
{
	struct link_config path = {.delay_us = 5000, .loss = 0.05, .seed = 7};
	struct kcp_config a = link_kcp_config(), b = link_kcp_config();

	a.dead_link_us = DEAD_AFTER_US;
	a.start_sn = a_start_sn;
	b.rcv_wnd = b_rcv_wnd;
	link_open(&link, &path, &a, &b);
}

/* Sends a packet every 100 ms. @return when the conversation died, MONO_NEVER if it lives through it all */
static struct mono send_until_dead(bool reading)
{
	static uint8_t bytes[2000];
	struct mono began = link.now;

	for (int64_t ms = 0; ms < SECONDS * 1000; ms += 100) {
		size_t len;

		(void)kcp_send(link.a.kcp, "ping", 4, link.now);
		kcp_flush(link.a.kcp, false, link.now);
		while (link_step(&link, mono_add_ms(began, ms + 100))) {
			if (kcp_is_dead(link.a.kcp))
				return link.now;
			while (reading && kcp_recv(link.b.kcp, bytes, sizeof(bytes), &len) == 0)
				;
		}
		link.now = mono_add_ms(began, ms + 100);
	}
	return MONO_NEVER;
}

Test(kcp_forgotten, a_peer_that_restarted_is_dead_although_it_acknowledges)
{
	open_pair(300, 1024);
	struct mono began = link.now;
	struct mono died = send_until_dead(true);

	cr_assert(!mono_is_never(died));
	int64_t after_us = mono_diff_us(died, began);
	cr_assert(after_us >= KCP_FORGOT_US && after_us < 2500000, "%lld us", (long long)after_us);
	cr_assert_gt(kcp_remote_window(link.a.kcp), 0);
	link_close(&link);
}

Test(kcp_forgotten, a_peer_that_remembers_lives)
{
	open_pair(0, 1024);
	cr_assert(mono_is_never(send_until_dead(true)));
	link_close(&link);
}

/* Its application sleeps for a minute: the window closes, and nothing of that says that the peer forgot. */
Test(kcp_forgotten, a_peer_that_does_not_read_is_not_taken_for_one)
{
	struct mono died;

	open_pair(0, 64);
	died = send_until_dead(false);
	/* dead for want of progress is allowed once the window is shut, and the stack looks at the window then */
	if (!mono_is_never(died))
		cr_assert_eq(kcp_remote_window(link.a.kcp), 0);
	link_close(&link);
}

/* One WINS from long ago, which says `una`, as anybody on the way could send it again. */
static void replay(uint32_t una, bool recovered)
{
	uint8_t bytes[KCP_OVERHEAD_BYTES];
	struct kcp_segment segment = {
		.conv = link_kcp_config().conv, .cmd = KCP_CMD_WINS, .wnd = 128, .una = una};

	kcp_segment_write(bytes, &segment);
	cr_assert_eq(
		kcp_input(link.a.kcp, bytes, sizeof(bytes), recovered, link.now), KCP_INPUT_OK);
	kcp_input_done(link.a.kcp, link.now);
}

static void run_ms(int64_t ms)
{
	struct mono until = mono_add_ms(link.now, ms);

	while (link_step(&link, until))
		;
	link.now = until;
}

/* Ten messages each acknowledged, then quiet. */
static void open_idle(double loss)
{
	struct link_config path = {.delay_us = 20000, .seed = 3};
	struct kcp_config a = link_kcp_config(), b = link_kcp_config();

	a.dead_link_us = DEAD_AFTER_US;
	link_open(&link, &path, &a, &b);
	for (int i = 0; i < 10; i++)
		(void)kcp_send(link.a.kcp, "ping", 4, link.now);
	kcp_flush(link.a.kcp, false, link.now);
	run_ms(500);
	cr_assert_eq(kcp_in_flight(link.a.kcp), 0);
	link.config.loss = loss;
}

Test(kcp_forgotten, an_old_datagram_sent_again_does_not_end_a_quiet_conversation)
{
	static const double losses[] = {0, 0.1};

	for (int i = 0; i < 2; i++) {
		open_idle(losses[i]);
		uint64_t sent = link.a.out.sent;
		for (int n = 0; n < 1000; n++) {
			replay((uint32_t)n % 10, false);
			run_ms(10);
			cr_assert(!kcp_is_dead(link.a.kcp), "after %d of them", n);
		}
		/* asked for, but not by every one */
		sent = link.a.out.sent - sent;
		cr_assert(sent > 0 && sent <= 10 * KCP_FORGOT_ASKS + 1, "%lu", (unsigned long)sent);
		link_close(&link);
	}
}

/* A few in a row are not enough to ask, and a fresh one between them makes the count begin again. */
Test(kcp_forgotten, a_fresh_segment_ends_the_suspicion)
{
	open_idle(0);
	uint64_t sent = link.a.out.sent;
	for (int n = 0; n < 100; n++) {
		replay(n % KCP_FORGOT_SEGMENTS == KCP_FORGOT_SEGMENTS - 1 ? 10 : 4, false);
		run_ms(50);
	}
	cr_assert_eq(link.a.out.sent, sent);
	replay(4, false);
	replay(4, false);
	replay(4, false);
	cr_assert_eq(link.a.out.sent, sent + 1);
	link_close(&link);
}

/* What FEC rebuilds is late by nature, and says nothing about now. */
Test(kcp_forgotten, rebuilt_segments_raise_no_suspicion)
{
	open_idle(0);
	uint64_t sent = link.a.out.sent;
	for (int n = 0; n < 500; n++) {
		replay(0, true);
		run_ms(10);
	}
	cr_assert_eq(link.a.out.sent, sent);
	cr_assert(!kcp_is_dead(link.a.kcp));
	link_close(&link);
}

/* If the one who is asked does not know better, it is true. */
Test(kcp_forgotten, who_stays_behind_when_asked_has_forgotten)
{
	open_idle(1);
	struct mono began = link.now;
	while (!kcp_is_dead(link.a.kcp)) {
		replay(0, false);
		run_ms(100);
		cr_assert(mono_diff_us(link.now, began) < 2500000);
	}
	cr_assert(mono_diff_us(link.now, began) >= KCP_FORGOT_US);
	/* for good: an acknowledgement of something is no memory of the rest */
	replay(10, false);
	cr_assert(kcp_is_dead(link.a.kcp));
	link_close(&link);
}

Test(kcp_forgotten, dead_for_want_of_progress_ends_with_progress)
{
	open_idle(1);
	(void)kcp_send(link.a.kcp, "ping", 4, link.now);
	kcp_flush(link.a.kcp, false, link.now);
	run_ms(DEAD_AFTER_US / 1000 + 1000);
	cr_assert(kcp_is_dead(link.a.kcp));
	replay(10, false);
	cr_assert(kcp_is_dead(link.a.kcp), "a sign of life is no progress");
	replay(11, false);
	cr_assert(!kcp_is_dead(link.a.kcp));

	/* nor is a window shut for long a want of it */
	(void)kcp_send(link.a.kcp, "ping", 4, link.now);
	kcp_flush(link.a.kcp, false, link.now);
	uint8_t bytes[KCP_OVERHEAD_BYTES];
	struct kcp_segment shut = {.conv = link_kcp_config().conv, .cmd = KCP_CMD_WINS, .una = 11};
	kcp_segment_write(bytes, &shut);
	cr_assert_eq(kcp_input(link.a.kcp, bytes, sizeof(bytes), false, link.now), KCP_INPUT_OK);
	run_ms(DEAD_AFTER_US / 1000 + 1000);
	replay(11, false);
	cr_assert(!kcp_is_dead(link.a.kcp), "the time begins when it opens");
	run_ms(DEAD_AFTER_US / 1000 + 1000);
	cr_assert(kcp_is_dead(link.a.kcp));
	link_close(&link);
}
