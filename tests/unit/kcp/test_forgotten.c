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
	cr_assert(after_us >= KCP_FORGOT_US && after_us < KCP_FORGOT_US + 500000, "%lld us",
		(long long)after_us);
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
