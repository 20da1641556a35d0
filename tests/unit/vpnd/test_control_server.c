/*
 * The control server, driven over its real socket in a temporary folder by a real loop that is turned by hand. The daemon
 * behind it is a row of variables.
 */
#include "vpnd/control_server.h"

#include "control/control_msg.h"
#include "vpnd/control_access.h"
#include "vpnd/control_client.h"
#include "vpnd/control_socket.h"
#include "vpnd/log_ring.h"
#include "vpnd/loop.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
	char dir[64];
	char path[100];
	struct loop *loop;
	struct control_server *server;
	struct log_ring ring;

	enum control_state peer_state;
	enum control_state link_state;
	int up_calls, down_calls, reload_calls, status_calls;
	int reload_rc; /* in place of an outcome */
	bool bad_config;
	size_t many_peers;
	bool nobody_to_call;
};

static struct fixture f;

static int fake_up(
	void *ctx, const struct control_strings *peers, bool *changed, struct control_error *err)
{
	struct fixture *fx = ctx;

	for (size_t i = 0; i < peers->count; i++) {
		if (strcmp(peers->items[i], "branch") != 0) {
			control_error_no_peer(err, peers->items[i]);
			return -ENOENT;
		}
	}
	fx->up_calls++;
	*changed = fx->link_state == CONTROL_DOWN;
	fx->link_state = CONTROL_UP;
	return 0;
}

static int fake_down(
	void *ctx, const struct control_strings *peers, bool *changed, struct control_error *err)
{
	struct fixture *fx = ctx;

	(void)peers;
	(void)err;
	fx->down_calls++;
	*changed = true;
	fx->link_state = CONTROL_DOWN;
	fx->peer_state = CONTROL_DOWN;
	return 0;
}

static int fake_status(
	void *ctx, const char *peer, struct control_status *status, struct control_error *err)
{
	struct fixture *fx = ctx;
	struct control_peer *p;

	fx->status_calls++;
	if (peer && strcmp(peer, "branch") != 0) {
		control_error_no_peer(err, peer);
		return -ENOENT;
	}
	strcpy(status->network, "office");
	status->state = fx->link_state;
	p = control_status_add_peer(status, "branch");
	p->state = fx->peer_state;
	if (!fx->nobody_to_call)
		control_strings_add(&p->endpoints, "192.0.2.1:29900");
	for (size_t i = 0; i < fx->many_peers; i++) {
		char name[32];
		snprintf(name, sizeof(name), "p%zu", i);
		control_status_add_peer(status, name)->state = CONTROL_IDLE;
	}
	return 0;
}

static int fake_reload(
	void *ctx, bool dry_run, struct control_reload *reload, struct control_error *err)
{
	struct fixture *fx = ctx;

	fx->reload_calls++;
	if (fx->reload_rc)
		return fx->reload_rc;
	if (fx->bad_config) {
		control_error_set(
			err, CONTROL_ERROR_CONFIG, "E-CFG-12", "40 is out of range 0..32");
		control_error_at(err, "office.yaml", 17, 15);
		return -EINVAL;
	}
	control_strings_add(&reload->added, "lap");
	reload->generation = dry_run ? 1 : 2;
	return 0;
}

static int open_server(uid_t trusted, struct control_server **ret, struct control_error *err)
{
	struct control_server_config config = {
		.path = f.path,
		.network = "office",
		.version = "0.1.0",
		.read_group = "no-such-group-r",
		.admin_group = "no-such-group-w",
		.trusted_uid = trusted,
		.ring = &f.ring,
	};
	struct control_ops ops = {&f, fake_up, fake_down, fake_status, fake_reload};

	return control_server_new(f.loop, &config, &ops, ret, err);
}

static void setup(void)
{
	struct control_error err = {0};

	memset(&f, 0, sizeof(f));
	strcpy(f.dir, "/tmp/kcpvpn-ctl-XXXXXX");
	cr_assert(mkdtemp(f.dir));
	snprintf(f.path, sizeof(f.path), "%s/run/office/control.sock", f.dir);
	cr_assert_eq(loop_new(&f.loop), 0);
	cr_assert_eq(open_server(geteuid(), &f.server, &err), 0, "%s", err.text);
	f.link_state = CONTROL_UP;
	f.peer_state = CONTROL_CONNECTING;
}

static void teardown(void)
{
	char folder[100];

	control_server_free(f.server);
	loop_free(f.loop);
	log_ring_fini(&f.ring);
	snprintf(folder, sizeof(folder), "%s/run", f.dir);
	cr_assert_neq(access(folder, F_OK), 0, "folders that were made here are gone");
	cr_assert_eq(rmdir(f.dir), 0);
}

/* Turns the loop until nothing is ready any more, not even by what the hook after the round did. */
static void turn(void)
{
	for (int quiet = 0; quiet < 2;) {
		int served = loop_turn(f.loop, false);
		cr_assert_geq(served, 0);
		control_server_after_round(f.server);
		quiet = served ? 0 : quiet + 1;
	}
}

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, f.path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	turn();
	return fd;
}

static void post(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void tell(int fd, const char *text)
{
	post(fd, text);
	turn();
}

/* Everything that has come; "" = nothing yet, "EOF" = closed and nothing left. */
static const char *hear(int fd)
{
	static char text[1 << 16];
	ssize_t len = recv(fd, text, sizeof(text) - 1, 0);

	if (len == 0 || (len < 0 && errno == ECONNRESET))
		return "EOF";
	text[len > 0 ? len : 0] = '\0';
	return text;
}

static void has(const char *text, const char *part)
{
	cr_assert(strstr(text, part) != NULL, "no %s in: %.300s", part, text);
}

TestSuite(control_server, .init = setup, .fini = teardown);

Test(control_server, greets_and_tells_versions)
{
	int fd = dial();

	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":{\"protocol\":1}}"
		 "\n");
	cr_assert_str_eq(hear(fd),
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocol\":1,\"daemon\":"
		"\"0.1.0\",\"network\":\"office\"}}\n");
	close(fd);
	turn();
	cr_assert_eq(control_server_stats(f.server)->clients, 0);
}

Test(control_server, socket_has_its_mode_and_vanishes)
{
	struct stat st;

	cr_assert_eq(lstat(f.path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 0777, geteuid() == 0 ? 0660 : 0600);
	/* teardown looks at what is left */
}

Test(control_server, second_daemon_learns_that_one_runs)
{
	struct control_server *second = NULL;
	struct control_error err = {0};

	cr_assert_eq(open_server(geteuid(), &second, &err), -EADDRINUSE);
	cr_assert_str_eq(err.code, CONTROL_CODE_RUNNING);
	has(err.text, "already running");
	cr_assert_eq(second, NULL);
	control_error_fini(&err);
	close(dial()); /* the first still answers */
	turn();
}

Test(control_server, dead_socket_is_replaced_but_a_file_is_not)
{
	struct control_error err = {0};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char folder[100];
	int fd;

	control_server_free(f.server);
	f.server = NULL;
	snprintf(folder, sizeof(folder), "%s/run", f.dir);
	cr_assert_eq(mkdir(folder, 0755), 0);
	snprintf(folder, sizeof(folder), "%s/run/office", f.dir);
	cr_assert_eq(mkdir(folder, 0755), 0);
	fd = open(f.path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	cr_assert_lt(open_server(geteuid(), &f.server, &err), 0);
	has(err.text, "not a socket");
	cr_assert_eq(unlink(f.path), 0);

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(address.sun_path, f.path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd); /* bound, nobody listens: what a killed daemon leaves */
	cr_assert_eq(open_server(geteuid(), &f.server, &err), 0);
	close(dial());
	turn();
	control_server_free(f.server);
	f.server = NULL;
	cr_assert_eq(access(folder, F_OK), 0, "a folder of somebody else stays");
	cr_assert_eq(rmdir(folder), 0);
	snprintf(folder, sizeof(folder), "%s/run", f.dir);
	cr_assert_eq(rmdir(folder), 0);
	control_error_fini(&err);
}

/* Opens the socket as another process; tells by its exit status whether it got it, and keeps it until told. */
static pid_t start_rival(const char *path, int start, int told, int end)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	struct control_socket mine;
	char c;
	if (read(start, &c, 1) < 0)
		_exit(2);
	c = control_socket_open(path, (gid_t)-1, &mine, NULL) == 0 ? 'w' : 'l';
	if (write(told, &c, 1) != 1 || read(end, &c, 1) < 0)
		_exit(2);
	_exit(0); /* as if it was killed: the socket stays */
}

Test(control_server, of_daemons_that_start_at_once_one_gets_the_socket)
{
	enum { RIVALS = 6, ROUNDS = 60 };
	char path[120];

	for (int round = 0; round < ROUNDS; round++) {
		int start[2], told[2], end[2], winners = 0;
		pid_t pids[RIVALS];

		(void)snprintf(path, sizeof(path), "%s/rivals/socket", f.dir);
		cr_assert(pipe(start) == 0 && pipe(told) == 0 && pipe(end) == 0);
		for (int i = 0; i < RIVALS; i++)
			pids[i] = start_rival(path, start[0], told[1], end[0]);
		cr_assert_eq(write(start[1], "123456", RIVALS), RIVALS);
		for (int i = 0; i < RIVALS; i++) {
			char c;
			cr_assert_eq(read(told[0], &c, 1), 1);
			winners += c == 'w';
		}
		cr_assert_eq(winners, 1, "%d in round %d", winners, round);
		cr_assert_eq(write(end[1], "123456", RIVALS), RIVALS);
		for (int i = 0; i < RIVALS; i++)
			cr_assert_eq(waitpid(pids[i], NULL, 0), pids[i]);
		for (int i = 0; i < 2; i++) {
			close(start[i]);
			close(told[i]);
			close(end[i]);
		}
	}
	cr_assert_eq(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/rivals", f.dir);
	cr_assert_eq(rmdir(path), 0, "no lock is left");
}

Test(control_server, lock_of_a_killed_daemon_is_no_obstacle)
{
	struct control_socket mine;
	char path[120], lock[130];

	(void)snprintf(path, sizeof(path), "%s/killed", f.dir);
	(void)snprintf(lock, sizeof(lock), "%s/.killed.lock", f.dir);
	close(open(lock, O_CREAT | O_RDWR, 0600));
	cr_assert_eq(control_socket_open(path, (gid_t)-1, &mine, NULL), 0);
	cr_assert_neq(access(lock, F_OK), 0);
	control_socket_close(&mine);
	cr_assert_neq(access(lock, F_OK), 0);
	cr_assert_neq(access(path, F_OK), 0);
}

Test(control_server, path_that_is_too_long_is_refused)
{
	struct control_server *server = NULL;
	struct control_error err = {0};
	char keep[100];

	memcpy(keep, f.path, sizeof(keep));
	memset(f.path, 'x', sizeof(f.path) - 1);
	f.path[0] = '/';
	f.path[sizeof(f.path) - 1] = '\0';
	/* 99 bytes fit as such, but a folder that does not exist and cannot be: no crash, an error */
	f.path[50] = '\0';
	struct control_ops ops = {&f, fake_up, fake_down, fake_status, fake_reload};
	char longer[200];
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	struct control_server_config config = {
		.path = longer, .network = "n", .version = "v", .trusted_uid = (uid_t)-1};
	cr_assert_eq(control_server_new(f.loop, &config, &ops, &server, &err), -ENAMETOOLONG);
	has(err.text, "at most 107 bytes");
	config.path = "";
	cr_assert_eq(control_server_new(f.loop, &config, &ops, &server, &err), -EINVAL);
	control_error_fini(&err);
	memcpy(f.path, keep, sizeof(keep));
}

Test(control_server, verbs_call_the_daemon)
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
	f.many_peers = 2;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"status\",\"params\":{\"peer\":"
		 "\"branch\"}}\n");
	cr_assert_eq(strstr(hear(fd), "\"p1\""), NULL, "only the peer that was asked for");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"status\",\"params\":{\"peer\":"
		 "\"ghost\"}}\n");
	has(hear(fd), "no peer \\\"ghost\\\"");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"reload\",\"params\":{\"dry_run\":true}"
		 "}\n");
	has(hear(fd), "\"dry_run\":true,\"added\":[\"lap\"]");
	f.bad_config = true;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"reload\"}\n");
	has(hear(fd), "\"file\":\"office.yaml\",\"line\":17,\"column\":15");
	cr_assert_eq(f.up_calls, 2);
	cr_assert_eq(f.down_calls, 1);
	cr_assert_eq(f.reload_calls, 2);
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
Test(control_server, a_reload_that_takes_its_time)
{
	struct control_reload done = {.generation = 7};
	struct control_error err = {0};
	int first = dial(), second = dial(), other = dial();

	f.reload_rc = -EINPROGRESS;
	tell_reload(first, 1);
	f.reload_rc = -EBUSY;
	tell_reload(second, 2);
	int asked = f.reload_calls;
	tell(first, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"version\"}\n"); /* behind it */
	tell(other, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"version\"}\n");
	has(hear(other), "\"id\":4");
	control_server_state_changed(f.server); /* these wait for no state */
	control_server_after_round(f.server);
	cr_assert_gt(f.reload_calls, asked, "the second is asked for again");
	cr_assert_eq(f.status_calls, 0);

	control_server_reloaded(f.server, 0, &done, &err);
	f.reload_rc = -EINPROGRESS;
	turn();
	const char *heard = hear(first);
	has(heard, "\"generation\":7");
	has(heard, "\"id\":3");
	int calls = f.reload_calls;
	control_server_after_round(f.server);
	cr_assert_eq(f.reload_calls, calls, "it is under way");
	control_error_set(&err, CONTROL_ERROR_OTHER, "E-PRIV-5", "it hangs");
	control_server_reloaded(f.server, -ETIMEDOUT, &done, &err);
	control_server_after_round(f.server);
	has(hear(second), "E-PRIV-5");
	control_error_fini(&err);

	/* whoever does not wait for the outcome is no harm */
	tell_reload(first, 5);
	close(first);
	turn();
	control_server_reloaded(f.server, 0, &done, &err);
	f.reload_rc = 0;
	tell_reload(second, 6);
	has(hear(second), "\"added\":[\"lap\"]");
	close(second);
	close(other);
}

Test(control_server, notification_acts_without_an_answer)
{
	int fd = dial();

	tell(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"down\"}\n");
	cr_assert_eq(f.down_calls, 1);
	cr_assert_str_eq(hear(fd), "");
	close(fd);
}

Test(control_server, garbage_is_answered_and_survived)
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
	cr_assert_eq(control_server_stats(f.server)->bad_requests, sizeof(bad) / sizeof(bad[0]));
	cr_assert_eq(f.up_calls, 0);
	cr_assert_eq(send(fd, "\0\0\0\n", 4, 0), 4);
	turn();
	has(hear(fd), "\"code\":-32700");
	tell(fd,
		"\n \r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\r\n"); /* blank lines: nothing */
	has(hear(fd), "\"protocol\":1");
	close(fd);
}

Test(control_server, half_lines_come_together_and_deep_nesting_ends)
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

Test(control_server, overlong_line_ends_the_connection)
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
	cr_assert_eq(control_server_stats(f.server)->clients, 0);
	close(fd);
}

Test(control_server, longest_request_is_taken)
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

Test(control_server, half_closed_client_still_gets_its_answers)
{
	int fd = dial();

	post(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n{\"half");
	shutdown(fd, SHUT_WR);
	turn();
	has(hear(fd), "\"daemon\"");
	cr_assert_str_eq(hear(fd), "EOF");
	cr_assert_eq(control_server_stats(f.server)->clients, 0);
	close(fd);
}

Test(control_server, vanishing_client_is_forgotten)
{
	int fd = dial();

	post(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sta");
	close(fd);
	turn();
	fd = dial();
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\"}\n");
	close(fd);
	turn();
	cr_assert_eq(control_server_stats(f.server)->clients, 0);
}

Test(control_server, order_of_a_client_that_left_is_carried_out)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, f.path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	post(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"down\"}\n");
	close(fd);
	turn();
	cr_assert_eq(f.down_calls, 1);
	cr_assert_eq(control_server_stats(f.server)->clients, 0);
}

Test(control_server, wait_is_answered_when_the_state_holds)
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
	control_server_state_changed(f.server);
	turn();
	cr_assert_str_eq(hear(fd), "");
	f.peer_state = CONTROL_DEGRADED;
	turn();
	cr_assert_str_eq(hear(fd), "", "nobody said that something changed");
	control_server_state_changed(f.server);
	turn();
	const char *both = hear(fd);
	has(both, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
	has(both, "\"id\":2"); /* the later request was kept and answered after it */
	close(fd);
	close(other);
}

Test(control_server, wait_for_a_link_that_is_down_and_unknown_peers)
{
	int fd = dial();

	f.link_state = CONTROL_DOWN;
	f.peer_state = CONTROL_UP;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\"}\n");
	cr_assert_str_eq(hear(fd), "");
	f.link_state = CONTROL_DEGRADED;
	control_server_state_changed(f.server);
	turn();
	has(hear(fd), "\"result\":{}");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"wait\",\"params\":{\"peer\":\"ghost\"}"
		 "}\n");
	has(hear(fd), "E-CTL-2");
	close(fd);
}

Test(control_server, wait_without_anybody_to_call_is_about_the_link)
{
	int fd = dial();

	f.nobody_to_call = true;
	f.peer_state = CONTROL_IDLE;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\"}\n");
	has(hear(fd), "\"result\":{}");
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"wait\",\"params\":{\"for\":\"down\"}}"
		 "\n");
	cr_assert_str_eq(hear(fd), "", "the link is up");
	f.link_state = CONTROL_DOWN;
	control_server_state_changed(f.server);
	turn();
	has(hear(fd), "\"result\":{}");
	close(fd);
}

Test(control_server, socket_of_another_daemon_is_left_alone)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char folder[100];

	cr_assert_eq(unlink(f.path), 0);
	strcpy(address.sun_path, f.path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	control_server_free(f.server);
	f.server = NULL;
	cr_assert_eq(unlink(f.path), 0, "it is still there");
	close(fd);
	snprintf(folder, sizeof(folder), "%s/run/office", f.dir);
	cr_assert_eq(rmdir(folder), 0);
	snprintf(folder, sizeof(folder), "%s/run", f.dir);
	cr_assert_eq(rmdir(folder), 0);
}

Test(control_server, up_with_wait_answers_later)
{
	int fd = dial();

	f.link_state = CONTROL_DOWN;
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"up\",\"params\":{\"wait\":true}}\n");
	cr_assert_eq(f.up_calls, 1);
	cr_assert_str_eq(hear(fd), "");
	f.peer_state = CONTROL_UP;
	control_server_state_changed(f.server);
	turn();
	has(hear(fd), "\"result\":{\"changed\":true}");
	close(fd);
}

Test(control_server, many_clients_idle_ones_make_room)
{
	int fds[CONTROL_CLIENTS_MAX + 1];

	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		fds[i] = dial();
	tell(fds[0],
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n"); /* now the youngest */
	has(hear(fds[0]), "daemon");
	fds[CONTROL_CLIENTS_MAX] = dial();
	cr_assert_eq(control_server_stats(f.server)->evicted, 1);
	cr_assert_eq(control_server_stats(f.server)->clients, CONTROL_CLIENTS_MAX);
	cr_assert_str_eq(hear(fds[1]), "EOF");
	cr_assert_str_eq(hear(fds[0]), "");
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	turn();
	cr_assert_eq(control_server_stats(f.server)->clients, 0);
}

Test(control_server, busy_clients_of_equal_right_are_not_evicted)
{
	int fds[CONTROL_CLIENTS_MAX + 1];

	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		fds[i] = dial();
		tell(fds[i], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\"}\n");
	}
	fds[CONTROL_CLIENTS_MAX] = dial();
	has(hear(fds[CONTROL_CLIENTS_MAX]), CONTROL_CODE_BUSY);
	cr_assert_str_eq(hear(fds[CONTROL_CLIENTS_MAX]), "EOF");
	f.status_calls = 0;
	f.peer_state = CONTROL_UP;
	control_server_state_changed(f.server);
	turn();
	cr_assert_eq(f.status_calls, 1, "one document for all waits");
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++) {
		if (i < CONTROL_CLIENTS_MAX)
			has(hear(fds[i]), "\"result\":{}");
		close(fds[i]);
	}
}

Test(control_server, out_of_descriptors_does_not_spin)
{
	struct rlimit old;
	struct rlimit tight;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int next = dup(fd);

	close(next);
	getrlimit(RLIMIT_NOFILE, &old);
	tight = old;
	tight.rlim_cur = (rlim_t)next;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	strcpy(address.sun_path, f.path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	turn(); /* would never end if the listener stayed ready */
	setrlimit(RLIMIT_NOFILE, &old);
	cr_assert_str_eq(hear(fd), "EOF");
	close(fd);
	close(dial());
	turn();
}

Test(control_server, client_that_never_reads_is_bounded_and_the_others_are_served)
{
	int lame = dial();
	int good = dial();
	const char *request = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";

	f.many_peers = 2000; /* one answer is larger than any socket buffer */
	char three[200];
	snprintf(three, sizeof(three), "%s%s%s", request, request, request);
	tell(lame, three);
	while (send(lame, request, strlen(request), MSG_NOSIGNAL) > 0)
		turn();
	cr_assert_eq(f.status_calls, 1, "nothing more is made while an answer is unread");
	f.many_peers = 0;
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

Test(control_server, log_gives_lines_and_follows)
{
	int fd = dial();

	for (int i = 0; i < 5; i++) {
		char text[24];
		snprintf(text, sizeof(text), "line %d", i);
		log_ring_push(&f.ring, 1000 + i, LOG_LEVEL_INFO, text);
	}
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log\",\"params\":{\"lines\":2,"
		 "\"follow\":true}}\n");
	const char *text = hear(fd);
	has(text, "{\"time_ms\":1003,\"level\":\"info\",\"text\":\"line 3\"},{\"time_ms\":1004");
	cr_assert_eq(strstr(text, "line 2"), NULL);
	log_ring_push(&f.ring, 2000, LOG_LEVEL_WARN, "bad \xff byte");
	turn();
	has(hear(fd), "\"method\":\"log\",\"params\":{\"lines\":[{\"time_ms\":2000,\"level\":"
		      "\"warn\",\"text\":"
		      "\"bad ? byte\"}]}");
	for (int i = 0; i < 3 * LOG_RING_LINES; i++)
		log_ring_push(&f.ring, i, LOG_LEVEL_INFO, "x");
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

Test(control_server, strangers_only_learn_the_version)
{
	struct control_error err = {0};
	int fd;

	if (geteuid() == 0)
		return; /* the same with credentials of others: next test */
	control_server_free(f.server);
	cr_assert_eq(open_server((uid_t)-1, &f.server, &err), 0);
	fd = dial();
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n");
	has(hear(fd), CONTROL_CODE_PERMISSION);
	close(fd);
}

/* Talks as another user; root only. `gid` is given as a supplementary group. */
static char *talk_as(uid_t uid, gid_t gid, const char *request)
{
	static char answer[4096];
	int pipe_fds[2];
	pid_t child;
	ssize_t len = 0;

	cr_assert_eq(pipe(pipe_fds), 0);
	child = fork();
	if (child == 0) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		strcpy(address.sun_path, f.path);
		gid_t groups[1] = {gid};
		if (setgroups(1, groups) || setresgid(64999, 64999, 64999) ||
			setresuid(uid, uid, uid) ||
			connect(fd, (struct sockaddr *)&address, sizeof(address)))
			_exit(1);
		if (send(fd, request, strlen(request), 0) < 0)
			_exit(1);
		len = recv(fd, answer, sizeof(answer) - 1, 0);
		if (write(pipe_fds[1], answer, len > 0 ? (size_t)len : 0) < 0)
			_exit(1);
		_exit(0);
	}
	close(pipe_fds[1]);
	struct pollfd done = {.fd = pipe_fds[0], .events = POLLIN};
	for (int i = 0; i < 500 && poll(&done, 1, 10) == 0; i++)
		turn();
	len = read(pipe_fds[0], answer, sizeof(answer) - 1);
	answer[len > 0 ? len : 0] = '\0';
	close(pipe_fds[0]);
	return answer;
}

Test(control_server, credentials_decide)
{
	struct control_error err = {0};
	struct control_server_config config = {.path = f.path,
		.network = "office",
		.version = "v",
		.read_group = "games",
		.admin_group = "daemon",
		.trusted_uid = (uid_t)-1};
	struct control_ops ops = {&f, fake_up, fake_down, fake_status, fake_reload};
	gid_t readers = control_access_gid("games");
	gid_t admins = control_access_gid("daemon");
	const char *status = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";
	const char *down = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"down\"}\n";
	const char *dry = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"reload\",\"params\":{\"dry_"
			  "run\":true}}\n";
	struct stat st;

	if (geteuid() != 0)
		return; /* the rules themselves are a table below */
	cr_assert_neq(readers, (gid_t)-1);
	cr_assert_neq(admins, (gid_t)-1);
	control_server_free(f.server);
	cr_assert_eq(chmod(f.dir, 0755), 0);
	cr_assert_eq(control_server_new(f.loop, &config, &ops, &f.server, &err), 0);
	cr_assert_eq(lstat(f.path, &st), 0);
	cr_assert_eq(st.st_gid, readers);
	cr_assert_eq(st.st_uid, 0);
	cr_assert_eq(st.st_mode & 0777, 0660);

	has(talk_as(64998, readers, status), "kcpctl.status/1");
	has(talk_as(64998, readers, down), CONTROL_CODE_PERMISSION);
	has(talk_as(64998, readers, dry), CONTROL_CODE_PERMISSION);
	cr_assert_str_eq(talk_as(64998, 64997, status), "", "the file's mode keeps others out");
	cr_assert_eq(chmod(f.path, 0666), 0); /* and even without it */
	has(talk_as(64998, 64997, status), CONTROL_CODE_PERMISSION);
	has(talk_as(64998, 64997, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n"),
		"\"daemon\"");
	cr_assert_eq(f.down_calls, 0);
	has(talk_as(64998, admins, down), "\"changed\":true");
	cr_assert_eq(f.down_calls, 1);
	cr_assert_eq(control_server_set_admin_group(f.server, "no-such-group"), 0);
	has(talk_as(64998, admins, down), CONTROL_CODE_PERMISSION);
	has(talk_as(64998, readers, status), "kcpctl.status/1");
	cr_assert_eq(control_server_set_admin_group(f.server, "daemon"), 0);
	has(talk_as(64998, admins, down), "\"changed\":true");
	cr_assert_eq(lstat(f.path, &st), 0);
	cr_assert_eq(st.st_gid, readers, "who may open it stays");
}

Test(control_access, table)
{
	static const struct {
		uid_t uid;
		gid_t gid, groups[2];
		gid_t read_gid, admin_gid;
		uid_t trusted;
		enum control_access want;
	} rows[] = {
		{0, 5, {6, 7}, 10, 11, (uid_t)-1, CONTROL_ACCESS_WRITE},
		{1000, 5, {6, 7}, 10, 11, (uid_t)-1, CONTROL_ACCESS_NONE},
		{1000, 10, {6, 7}, 10, 11, (uid_t)-1, CONTROL_ACCESS_READ},
		{1000, 5, {6, 10}, 10, 11, (uid_t)-1, CONTROL_ACCESS_READ},
		{1000, 5, {6, 11}, 10, 11, (uid_t)-1, CONTROL_ACCESS_WRITE},
		{1000, 11, {6, 7}, 10, 11, (uid_t)-1, CONTROL_ACCESS_WRITE},
		{1000, 5, {6, 7}, (gid_t)-1, (gid_t)-1, (uid_t)-1, CONTROL_ACCESS_NONE},
		{1000, (gid_t)-1, {6, (gid_t)-1}, (gid_t)-1, (gid_t)-1, (uid_t)-1,
			CONTROL_ACCESS_NONE},
		{(uid_t)-1, 5, {6, 11}, 10, 11, (uid_t)-1, CONTROL_ACCESS_NONE},
		{1000, 5, {6, 7}, 10, 11, 1000, CONTROL_ACCESS_WRITE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert_eq(control_access_of(rows[i].uid, rows[i].gid, rows[i].groups, 2,
				     rows[i].trusted, rows[i].read_gid, rows[i].admin_gid),
			rows[i].want, "row %zu", i);
}

Test(log_ring, keeps_the_last_lines)
{
	struct log_ring *ring = calloc(1, sizeof(*ring));

	cr_assert_eq(log_ring_first(ring), 0);
	cr_assert_eq(log_ring_at(ring, 0), NULL);
	for (int i = 0; i < LOG_RING_LINES + 10; i++) {
		char text[16];
		snprintf(text, sizeof(text), "%d", i);
		log_ring_push(ring, i, LOG_LEVEL_INFO, text);
	}
	cr_assert_eq(log_ring_first(ring), 10);
	cr_assert_eq(log_ring_at(ring, 9), NULL);
	cr_assert_str_eq(log_ring_at(ring, 10)->text, "10");
	cr_assert_str_eq(log_ring_at(ring, LOG_RING_LINES + 9)->text, "1009");
	cr_assert_eq(log_ring_at(ring, LOG_RING_LINES + 10), NULL);
	log_ring_fini(ring);
	free(ring);
}
