/* The document of all peers: made in small steps, once for all who ask, and bounded for those who do not read it. */
#include "control_server_rig.h"
#include "vpnd/control_client.h"
#include "vpnd/cpu_share.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(control_server_documents, .init = control_rig_open, .fini = control_rig_close);

Test(control_server_documents, client_that_never_reads_is_bounded_and_the_others_are_served)
{
	int lame = dial();
	int good = dial();
	const char *request = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";

	rig.many_peers = 2000; /* one answer is larger than any socket buffer */
	char three[200];
	snprintf(three, sizeof(three), "%s%s%s", request, request, request);
	tell(lame, three);
	while (send(lame, request, strlen(request), MSG_NOSIGNAL) > 0)
		turn();
	cr_assert_eq(rig.documents, 1, "nothing more is made while an answer is unread");
	rig.many_peers = 0;
	tell(good, request);
	has(hear(good), "kcpctl.status/1");

	/* and when it does read, all comes, whole */
	size_t lines = 0;
	for (;;) {
		const char *text = hear(lame);
		if (!*text) {
			turn();
			text = hear(lame);
			if (!*text)
				break;
		}
		for (; *text; text++)
			lines += *text == '\n';
		turn();
	}
	cr_assert_gt(lines, 100);
	close(lame);
	close(good);
}

Test(control_server_documents, large_document_is_made_between_packets)
{
	int fd = dial(), other = dial();
	size_t most = 0;

	rig.many_peers = 300;
	rig.peer_cost_us = 100;
	post(fd, STATUS);
	post(other, STATUS);
	for (;;) {
		size_t before = rig.at;
		char c;
		cr_assert_geq(loop_turn(rig.loop, true), 0);
		control_server_after_round(rig.server);
		if (rig.at - before > most)
			most = rig.at - before;
		if (recv(fd, &c, 1, MSG_PEEK) == 1)
			break;
	}
	/* what is left of the share may be overdrawn by one step of eight peers */
	cr_assert_leq(most, CPU_SHARE_BURST_US / 100 + 8, "%zu at once", most);
	cr_assert_eq(count_of(hear_line(fd), "\"name\":\"p"), 300);
	cr_assert_eq(count_of(hear_line(other), "\"name\":\"p"), 300);
	cr_assert_eq(rig.documents, 1, "one for both");
	cr_assert_eq(rig.heads, 1);
	rig.peer_cost_us = 0;
	while (rig.server->document.total > 0) { /* it is not kept for long */
		cr_assert_geq(loop_turn(rig.loop, true), 0);
		control_server_after_round(rig.server);
	}
	close(fd);
	close(other);
}

Test(control_server_documents, who_asks_after_an_order_sees_what_came_of_it)
{
	int fd = dial(), other = dial();

	rig.many_peers = 300;
	rig.peer_cost_us = 100;
	tell(fd, STATUS);
	cr_assert(rig.at > 0 && rig.at < 300, "it is in the making: %zu", rig.at);
	tell(other, "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"down\"}\n");
	has(hear_line(other), "\"id\":8,\"result\":{\"changed\":true}");
	tell(other, STATUS);
	has(hear_line(fd), "{\"name\":\"branch\",\"public_key\":null,\"state\":\"connecting\"");
	has(hear_line(other), "{\"name\":\"branch\",\"public_key\":null,\"state\":\"down\"");
	cr_assert_eq(rig.documents, 2);
	close(fd);
	close(other);
}

Test(control_server_documents, document_is_given_up_with_the_last_who_wants_it)
{
	int fd = dial();

	rig.many_peers = 300;
	rig.peer_cost_us = 100;
	tell(fd, STATUS);
	cr_assert(rig.at > 0 && rig.at < 300);
	close(fd);
	turn();
	cr_assert_eq(rig.server->document.total, 0);
	cr_assert_eq(control_server_stats(rig.server)->clients, 0);
}

Test(control_server_documents, unread_answers_are_bounded_together)
{
	enum { HOARDERS = 48 };
	int fds[HOARDERS], good;

	rig.many_peers = 2500; /* 2 MB each, and each another document */
	for (int i = 0; i < HOARDERS; i++) {
		fds[i] = dial();
		tell(fds[i], STATUS);
		cr_assert_leq(rig.server->document.total, CONTROL_OUT_BYTES);
	}
	cr_assert_eq(rig.documents, HOARDERS);
	cr_assert_gt(control_server_stats(rig.server)->shed, 0);
	cr_assert_gt(control_server_stats(rig.server)->clients, 20, "no more than had to");
	good = dial();
	post(good, STATUS);
	cr_assert_eq(count_of(hear_line(good), "\"name\":\"p"), 2500);
	for (int i = 0; i < HOARDERS; i++)
		close(fds[i]);
	close(good);
}
