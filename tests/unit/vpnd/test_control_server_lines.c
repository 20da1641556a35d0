/* What comes on the control socket: lines that are garbage, in pieces, too long, or of somebody who left. */
#include "control_server_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(control_server_lines, .init = control_rig_open, .fini = control_rig_close);

Test(control_server_lines, garbage_is_answered_and_survived)
{
	static const char *const bad[] = {"}{\n", "\"x\"\n", "[1,2]\n",
		"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"up\"}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"dance\"}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"up\",\"params\":{\"peers\":[1]}}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"up\",\"params\":{\"force\":true}}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"up\"}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":99999999999999999999999,\"method\":\"up\"}\n",
		"{\"id\":1,\"id\":2}\n", "\xff\xfe\xfd\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"up\\u0000\"}\n"};
	int fd = dial();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		tell(fd, bad[i]);
		has(hear(fd), "\"error\":{\"code\":-32");
	}
	cr_assert_eq(control_server_stats(rig.server)->bad_requests, sizeof(bad) / sizeof(bad[0]));
	cr_assert_eq(rig.up_calls, 0);
	cr_assert_eq(send(fd, "\0\0\0\n", 4, 0), 4);
	turn();
	has(hear(fd), "\"code\":-32700");
	tell(fd,
		"\n \r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\r\n"); /* blank lines: nothing */
	has(hear(fd), "\"protocol\":1");
	close(fd);
}

Test(control_server_lines, half_lines_come_together_and_deep_nesting_ends)
{
	const char *request = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n";
	int fd = dial();
	char *deep;

	for (const char *c = request; *c; c++) {
		cr_assert_eq(send(fd, c, 1, 0), 1);
		turn();
		if (c[1])
			cr_assert_str_eq(hear(fd), "");
	}
	has(hear(fd), "\"daemon\"");
	deep = malloc(100001);
	memset(deep, '[', 100000);
	deep[99999] = '\n';
	deep[100000] = '\0';
	tell(fd, deep);
	has(hear(fd), "-32700");
	free(deep);
	close(fd);
}

Test(control_server_lines, overlong_line_ends_the_connection)
{
	int fd = dial();
	char block[4096];
	ssize_t sent = 0;
	size_t total = 0;

	memset(block, 'x', sizeof(block));
	while (total < 2 * CONTROL_REQUEST_MAX_BYTES) {
		sent = send(fd, block, sizeof(block), MSG_NOSIGNAL);
		turn();
		if (sent < 0)
			break;
		total += (size_t)sent;
	}
	cr_assert_lt(sent, 0, "the server went away");
	has(hear(fd), CONTROL_CODE_TOO_LONG);
	cr_assert_str_eq(hear(fd), "EOF");
	cr_assert_eq(control_server_stats(rig.server)->clients, 0);
	close(fd);
}

Test(control_server_lines, longest_request_is_taken)
{
	int fd = dial();
	static char line[CONTROL_REQUEST_MAX_BYTES + 1];
	size_t at = 0;

	memset(line, ' ', CONTROL_REQUEST_MAX_BYTES);
	memcpy(line, "{\"jsonrpc\":\"2.0\",\"id\":1,", 24);
	memcpy(line + CONTROL_REQUEST_MAX_BYTES - 21, "\"method\":\"version\"}\n", 20);
	line[CONTROL_REQUEST_MAX_BYTES - 1] = '\n';
	line[CONTROL_REQUEST_MAX_BYTES - 2] = ' ';
	while (at < CONTROL_REQUEST_MAX_BYTES) {
		ssize_t sent = send(fd, line + at, CONTROL_REQUEST_MAX_BYTES - at, MSG_NOSIGNAL);
		if (sent > 0)
			at += (size_t)sent;
		turn();
	}
	has(hear(fd), "\"protocol\":1");
	close(fd);
}

Test(control_server_lines, half_closed_client_still_gets_its_answers)
{
	int fd = dial();

	post(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n{\"half");
	shutdown(fd, SHUT_WR);
	turn();
	has(hear(fd), "\"daemon\"");
	cr_assert_str_eq(hear(fd), "EOF");
	cr_assert_eq(control_server_stats(rig.server)->clients, 0);
	close(fd);
}

Test(control_server_lines, vanishing_client_is_forgotten)
{
	int fd = dial();

	post(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sta");
	close(fd);
	turn();
	fd = dial();
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\"}\n");
	close(fd);
	turn();
	cr_assert_eq(control_server_stats(rig.server)->clients, 0);
}
