/* What the control server does when it is told to: orders, questions, waits, the log. */
#include "control_server_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

TestSuite(control_server_verbs, .init = control_rig_open, .fini = control_rig_close);

Test(control_server_verbs, verbs_call_the_daemon)
{
	int fd = dial();

	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"down\"}\n");
	has(hear(fd), "\"id\":\"a\",\"result\":{\"changed\":true}");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"up\",\"params\":{\"peers\":["
		 "\"branch\"]}}\n");
	has(hear(fd), "\"result\":{\"changed\":true}");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"up\"}\n");
	has(hear(fd), "\"result\":{\"changed\":false}");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"up\",\"params\":{\"peers\":[\"ghost\"]"
		 "}}\n");
	has(hear(fd), "\"code\":\"E-CTL-2\"");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"status\"}\n");
	has(hear(fd), "\"schema\":\"kcpctl.status/1\"");
	rig.many_peers = 2;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"status\",\"params\":{\"peer\":"
		 "\"branch\"}}\n");
	cr_assert_eq(strstr(hear(fd), "\"p1\""), NULL, "only the peer that was asked for");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"status\",\"params\":{\"peer\":"
		 "\"ghost\"}}\n");
	has(hear(fd), "no peer \\\"ghost\\\"");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"reload\",\"params\":{\"dry_run\":true}"
		 "}\n");
	has(hear(fd), "\"dry_run\":true,\"added\":[\"lap\"]");
	rig.bad_config = true;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"reload\"}\n");
	has(hear(fd), "\"file\":\"office.yaml\",\"line\":17,\"column\":15");
	cr_assert_eq(rig.up_calls, 2);
	cr_assert_eq(rig.down_calls, 1);
	cr_assert_eq(rig.reload_calls, 2);
	close(fd);
}

#define RELOAD "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"reload\"}\n"

static void tell_reload(int fd, int id)
{
	char line[80];

	(void)snprintf(line, sizeof(line), RELOAD, id);
	tell(fd, line);
}

/* A reload is answered when it is done, and others wait for their turn; nobody else waits. */
Test(control_server_verbs, a_reload_that_takes_its_time)
{
	struct control_reload done = {.generation = 7};
	struct control_error err = {0};
	int first = dial(), second = dial(), other = dial();

	rig.reload_rc = -EINPROGRESS;
	tell_reload(first, 1);
	rig.reload_rc = -EBUSY;
	tell_reload(second, 2);
	int asked = rig.reload_calls;
	tell(first, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"version\"}\n"); /* behind it */
	tell(other, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"version\"}\n");
	has(hear(other), "\"id\":4");
	control_server_state_changed(rig.server); /* these wait for no state */
	control_server_after_round(rig.server);
	cr_assert_gt(rig.reload_calls, asked, "the second is asked for again");
	cr_assert_eq(rig.looks, 0);

	control_server_reloaded(rig.server, 0, &done, &err);
	rig.reload_rc = -EINPROGRESS;
	turn();
	const char *heard = hear(first);
	has(heard, "\"generation\":7");
	has(heard, "\"id\":3");
	int calls = rig.reload_calls;
	control_server_after_round(rig.server);
	cr_assert_eq(rig.reload_calls, calls, "it is under way");
	control_error_set(&err, CONTROL_ERROR_OTHER, "E-PRIV-5", "it hangs");
	control_server_reloaded(rig.server, -ETIMEDOUT, &done, &err);
	control_server_after_round(rig.server);
	has(hear(second), "E-PRIV-5");
	control_error_fini(&err);

	/* whoever does not wait for the outcome is no harm */
	tell_reload(first, 5);
	close(first);
	turn();
	control_server_reloaded(rig.server, 0, &done, &err);
	rig.reload_rc = 0;
	tell_reload(second, 6);
	has(hear(second), "\"added\":[\"lap\"]");
	close(second);
	close(other);
}

Test(control_server_verbs, notification_acts_without_an_answer)
{
	int fd = dial();

	tell(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"down\"}\n");
	cr_assert_eq(rig.down_calls, 1);
	cr_assert_str_eq(hear(fd), "");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"status\"}\n"
		 "{\"jsonrpc\":\"2.0\",\"method\":\"peer.list\"}\n"
		 "{\"jsonrpc\":\"2.0\",\"method\":\"status\",\"params\":{\"peer\":\"branch\"}}\n"
		 "{\"jsonrpc\":\"2.0\",\"method\":\"wait\",\"params\":{\"for\":\"down\"}}\n"
		 "{\"jsonrpc\":\"2.0\",\"method\":\"log\",\"params\":{\"follow\":true}}\n");
	cr_assert_eq(
		rig.documents + rig.heads + rig.looks, 0, "a question is none without an answer");
	log_ring_push(&rig.ring, 1, LOG_LEVEL_INFO, "x");
	turn();
	cr_assert_str_eq(hear(fd), "");
	close(fd);
}

Test(control_server_verbs, order_of_a_client_that_left_is_carried_out)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, rig.path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	post(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"down\"}\n");
	close(fd);
	turn();
	cr_assert_eq(rig.down_calls, 1);
	cr_assert_eq(control_server_stats(rig.server)->clients, 0);
}

Test(control_server_verbs, wait_is_answered_when_the_state_holds)
{
	int fd = dial();
	int other = dial();

	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\"}\n"
		 "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"version\"}\n");
	tell(other, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"wait\",\"params\":{\"peer\":"
		    "\"branch\",\"for\":"
		    "\"down\"}}\n");
	has(hear(other), "\"id\":9,\"result\":{}"); /* connecting is not up */
	cr_assert_str_eq(hear(fd), "");
	control_server_state_changed(rig.server);
	turn();
	cr_assert_str_eq(hear(fd), "");
	rig.peer_state = CONTROL_DEGRADED;
	turn();
	cr_assert_str_eq(hear(fd), "", "nobody said that something changed");
	control_server_state_changed(rig.server);
	turn();
	const char *both = hear(fd);
	has(both, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
	has(both, "\"id\":2"); /* the later request was kept and answered after it */
	close(fd);
	close(other);
}

Test(control_server_verbs, wait_for_a_link_that_is_down_and_unknown_peers)
{
	int fd = dial();

	rig.link_state = CONTROL_DOWN;
	rig.peer_state = CONTROL_UP;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\"}\n");
	cr_assert_str_eq(hear(fd), "");
	rig.link_state = CONTROL_DEGRADED;
	control_server_state_changed(rig.server);
	turn();
	has(hear(fd), "\"result\":{}");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"wait\",\"params\":{\"peer\":\"ghost\"}"
		 "}\n");
	has(hear(fd), "E-CTL-2");
	close(fd);
}

Test(control_server_verbs, wait_without_anybody_to_call_is_about_the_link)
{
	int fd = dial();

	rig.nobody_to_call = true;
	rig.peer_state = CONTROL_IDLE;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\"}\n");
	has(hear(fd), "\"result\":{}");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"wait\",\"params\":{\"for\":\"down\"}}"
		 "\n");
	cr_assert_str_eq(hear(fd), "", "the link is up");
	rig.link_state = CONTROL_DOWN;
	control_server_state_changed(rig.server);
	turn();
	has(hear(fd), "\"result\":{}");
	close(fd);
}

Test(control_server_verbs, up_with_wait_answers_later)
{
	int fd = dial();

	rig.link_state = CONTROL_DOWN;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"up\",\"params\":{\"wait\":true}}\n");
	cr_assert_eq(rig.up_calls, 1);
	cr_assert_str_eq(hear(fd), "");
	rig.peer_state = CONTROL_UP;
	control_server_state_changed(rig.server);
	turn();
	has(hear(fd), "\"result\":{\"changed\":true}");
	close(fd);
}

Test(control_server_verbs, one_look_at_the_states_is_for_all_waits)
{
	int fds[CONTROL_CLIENTS_MAX];

	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		fds[i] = dial();
		tell(fds[i], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\"}\n");
	}
	rig.looks = 0;
	rig.peer_state = CONTROL_UP;
	control_server_state_changed(rig.server);
	turn();
	cr_assert_eq(rig.looks, 1);
	cr_assert_eq(rig.heads, 0, "no document is made for that");
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		has(hear(fds[i]), "\"result\":{}");
		close(fds[i]);
	}
}

Test(control_server_verbs, log_gives_lines_and_follows)
{
	int fd = dial();

	for (int i = 0; i < 5; i++) {
		char text[24];
		snprintf(text, sizeof(text), "line %d", i);
		log_ring_push(&rig.ring, 1000 + i, LOG_LEVEL_INFO, text);
	}
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log\",\"params\":{\"lines\":2,"
		 "\"follow\":true}}\n");
	const char *text = hear(fd);
	has(text, "{\"time_ms\":1003,\"level\":\"info\",\"text\":\"line 3\"},{\"time_ms\":1004");
	cr_assert_eq(strstr(text, "line 2"), NULL);
	log_ring_push(&rig.ring, 2000, LOG_LEVEL_WARN, "bad \xff byte");
	turn();
	has(hear(fd), "\"method\":\"log\",\"params\":{\"lines\":[{\"time_ms\":2000,\"level\":"
		      "\"warn\",\"text\":"
		      "\"bad ? byte\"}]}");
	for (int i = 0; i < 3 * LOG_RING_LINES; i++)
		log_ring_push(&rig.ring, i, LOG_LEVEL_INFO, "x");
	turn();
	size_t lines = 0;
	for (text = hear(fd); *text; text = hear(fd)) {
		for (const char *at = text; (at = strstr(at, "time_ms")) != NULL; at++)
			lines++;
		turn();
	}
	cr_assert_geq(lines, LOG_RING_LINES - 5); /* a key may be cut in two by a read */
	cr_assert_leq(lines, LOG_RING_LINES);
	close(fd);
}
