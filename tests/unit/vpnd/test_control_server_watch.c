/* What the control server tells without being asked each time: events, answers to probes; and orders about peers. */
#include "control_server_rig.h"

#include "control/control_event.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(control_server_watch, .init = control_rig_open, .fini = control_rig_close);

static const char WATCH[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"watch\"}\n";
static const char PING[] = "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\",\"params\":{\"peer\":"
			   "\"branch\",\"timeout_ms\":20,\"size\":1200}}\n";

static void look_again(void)
{
	control_server_state_changed(rig.server);
	control_server_after_round(rig.server);
	turn();
}

Test(control_server_watch, all_states_first_then_what_changes)
{
	int fd = dial();
	const char *text;

	rig.generation = 1;
	tell(fd, WATCH);
	text = hear(fd);
	has(text, "\"id\":1");
	has(text, "\"event\":\"network\",\"name\":\"office\",\"state\":\"up\",\"was\":null");
	has(text, "\"event\":\"peer\",\"name\":\"branch\",\"state\":\"connecting\",\"was\":null");
	look_again();
	cr_assert_str_eq(hear(fd), "", "nothing changed");
	rig.peer_state = CONTROL_UP;
	look_again();
	text = hear(fd);
	has(text, "\"state\":\"up\",\"was\":\"connecting\"");
	cr_assert_eq(count_of(text, "\"event\""), 1);
	rig.link_state = CONTROL_DOWN;
	rig.generation = 2;
	look_again();
	text = hear(fd);
	has(text, "\"event\":\"network\",\"name\":\"office\",\"state\":\"down\",\"was\":\"up\"");
	has(text, "\"event\":\"config\"");
	has(text, "\"generation\":2");
	close(fd);
}

Test(control_server_watch, peers_that_come_and_go)
{
	int fd = dial();

	tell(fd, WATCH);
	(void)hear(fd);
	rig.many_peers = 1;
	look_again();
	has(hear(fd), "\"event\":\"added\",\"name\":\"p\",\"state\":\"idle\"");
	rig.many_peers = 0;
	look_again();
	has(hear(fd), "\"event\":\"removed\",\"name\":\"p\",\"state\":null,\"was\":\"idle\"");
	close(fd);
}

Test(control_server_watch, a_second_watcher_is_told_everything_and_the_first_nothing_twice)
{
	int first = dial(), second = dial();

	tell(first, WATCH);
	(void)hear(first);
	tell(second, WATCH);
	has(hear(second), "\"was\":null");
	cr_assert_str_eq(hear(first), "");
	close(first);
	turn();
	rig.peer_state = CONTROL_UP;
	look_again();
	has(hear(second), "\"was\":\"connecting\"");
	close(second);
	turn();
	look_again();
	int looks = rig.looks;
	look_again();
	cr_assert_eq(rig.looks, looks, "nobody watches, nobody waits: nobody looks");
}

Test(control_server_watch, many_events_are_several_lines)
{
	int fd = dial();
	const char *text;

	rig.many_peers = 600;
	tell(fd, WATCH);
	text = hear(fd);
	cr_assert_eq(count_of(text, "\"event\""), 602);
	cr_assert_eq(count_of(text, "\n"), 4, "the answer, and 256 events a line");
	close(fd);
}

Test(control_server_watch, ping_is_answered_when_the_answer_came)
{
	int fd = dial();
	const char *text;

	rig.pong_ms = 7;
	tell(fd, PING);
	text = hear(fd);
	has(text, "\"rtt_ms\":7.0,\"size\":1200,\"path_mtu\":1400");
	cr_assert_eq(rig.ping_size, 1200);
	close(fd);
}

Test(control_server_watch, ping_counts_as_lost_after_its_time)
{
	int fd = dial();

	rig.pong_ms = -1;
	tell(fd, PING);
	has(hear_line(fd), "\"rtt_ms\":null,\"size\":1200");
	tell(fd, PING); /* and the next one works */
	rig.pong_ms = 3;
	has(hear_line(fd), "\"rtt_ms\":3.0");
	close(fd);
}

Test(control_server_watch, ping_errors)
{
	int fd = dial();

	tell(fd,
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\",\"params\":{\"peer\":\"x\"}}\n");
	has(hear(fd), "E-CTL-2");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n");
	has(hear(fd), "E-CTL-6");
	rig.ping_rc = -ENOTCONN;
	tell(fd, PING);
	has(hear(fd), "\"error\"");
	close(fd);
}

Test(control_server_watch, peer_orders_reach_the_daemon)
{
	int fd = dial();
	const char *text;

	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"peer.add\",\"params\":{\"peer\":"
		 "\"lap\","
		 "\"public_key\":\"K=\",\"endpoints\":[],\"allowed_ips\":[\"10.1.0.0/"
		 "16\",\"10.2.0.1\"]}}\n");
	text = hear(fd);
	has(text, "\"changed\":true,\"warnings\":[\"no route\"]");
	cr_assert_str_eq(rig.changed_peer, "lap");
	cr_assert_str_eq(rig.changed_key, "K=");
	cr_assert_eq(rig.changed_ips, 2);
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"peer.del\",\"params\":{\"peer\":"
		 "\"lap\"}}\n");
	has(hear(fd), "\"changed\":true");
	cr_assert_eq(rig.peer_changes, 2);
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"peer.del\"}\n");
	has(hear(fd), "needs a peer");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"peer.add\",\"params\":{\"peer\":"
		 "\"lap\","
		 "\"allowed_ips\":[7]}}\n");
	has(hear(fd), "wrong type");
	cr_assert_eq(rig.peer_changes, 2);
	close(fd);
}

Test(control_server_watch, a_peer_order_that_takes_its_time)
{
	int fd = dial();
	struct control_reload done = {0};
	struct control_error none = {0};

	rig.reload_rc = -EINPROGRESS;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"peer.add\",\"params\":{\"peer\":"
		 "\"lap\"}}\n");
	cr_assert_str_eq(hear(fd), "");
	control_strings_add(&done.added, "lap");
	control_server_reloaded(rig.server, 0, &done, &none);
	control_server_after_round(rig.server);
	has(hear_line(fd), "\"id\":4,\"result\":{\"changed\":true,\"warnings\":[]}");
	control_reload_fini(&done);
	close(fd);
}
