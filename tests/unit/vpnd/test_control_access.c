/* Who may order what, by the credentials of the socket; and that nobody keeps others out. */
#include "control_server_rig.h"
#include "vpnd/control_access.h"
#include "vpnd/control_client.h"
#include "vpnd/cpu_share.h"

#include <criterion/criterion.h>
#include <grp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(control_server_access, .init = control_rig_open, .fini = control_rig_close);

Test(control_server_access, strangers_only_learn_the_version)
{
	struct control_error err = {0};
	int fd;

	if (geteuid() == 0)
		return; /* the same with credentials of others: next test */
	control_server_free(rig.server);
	cr_assert_eq(control_rig_open_server((uid_t)-1, &rig.server, &err), 0);
	fd = dial();
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n");
	has(hear(fd), CONTROL_CODE_PERMISSION);
	close(fd);
}

/* A server that asks for groups, and trusts nobody but root. @cpu_us  NULL = the processor's */
static void reopen_for_groups(struct log_ring *ring, int64_t (*cpu_us)(void))
{
	struct control_error err = {0};
	struct control_server_config config = {.path = rig.path,
		.network = "office",
		.version = "v",
		.read_group = "games",
		.admin_group = "daemon",
		.trusted_uid = (uid_t)-1,
		.ring = ring,
		.cpu_us = cpu_us};
	struct control_ops ops = control_rig_ops();

	control_server_free(rig.server);
	cr_assert_eq(chmod(rig.dir, 0755), 0);
	cr_assert_eq(control_server_new(rig.loop, &config, &ops, &rig.server, &err), 0);
}

/* A child becomes somebody else. `gid` is given as a supplementary group. */
static void become(uid_t uid, gid_t gid)
{
	gid_t groups[1] = {gid};

	if (setgroups(1, groups) || setresgid(64999, 64999, 64999) || setresuid(uid, uid, uid))
		_exit(1);
}

static int child_dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, rig.path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		_exit(1);
	return fd;
}

/* Talks as another user; root only. */
static char *talk_as(uid_t uid, gid_t gid, const char *request)
{
	static char answer[4096];
	int pipe_fds[2];
	pid_t child;
	ssize_t len = 0;

	cr_assert_eq(pipe(pipe_fds), 0);
	child = fork();
	if (child == 0) {
		become(uid, gid);
		int fd = child_dial();
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

Test(control_server_access, credentials_decide)
{
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
	reopen_for_groups(NULL, NULL);
	cr_assert_eq(lstat(rig.path, &st), 0);
	cr_assert_eq(st.st_gid, readers);
	cr_assert_eq(st.st_uid, 0);
	cr_assert_eq(st.st_mode & 0777, 0660);

	has(talk_as(64998, readers, status), "kcpctl.status/1");
	has(talk_as(64998, readers, down), CONTROL_CODE_PERMISSION);
	has(talk_as(64998, readers, dry), CONTROL_CODE_PERMISSION);
	cr_assert_str_eq(talk_as(64998, 64997, status), "", "the file's mode keeps others out");
	cr_assert_eq(chmod(rig.path, 0666), 0); /* and even without it */
	has(talk_as(64998, 64997, status), CONTROL_CODE_PERMISSION);
	has(talk_as(64998, 64997, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n"),
		"\"daemon\"");
	cr_assert_eq(rig.down_calls, 0);
	has(talk_as(64998, admins, down), "\"changed\":true");
	cr_assert_eq(rig.down_calls, 1);
	cr_assert_eq(control_server_set_admin_group(rig.server, "no-such-group"), 0);
	has(talk_as(64998, admins, down), CONTROL_CODE_PERMISSION);
	has(talk_as(64998, readers, status), "kcpctl.status/1");
	cr_assert_eq(control_server_set_admin_group(rig.server, "daemon"), 0);
	has(talk_as(64998, admins, down), "\"changed\":true");
	cr_assert_eq(lstat(rig.path, &st), 0);
	cr_assert_eq(st.st_gid, readers, "who may open it stays");
}

/* A process of somebody else that asks for many things at once. It ends when all is answered. */
static pid_t ask_much(gid_t gid, int count)
{
	static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":{"
				  "\"peer\":\"branch\"}}\n";
	pid_t child = fork();

	if (child)
		return child;
	char answer[4096];

	become(64998, gid);
	int fd = child_dial();
	for (int i = 0; i < count; i++) {
		if (send(fd, ask, sizeof(ask) - 1, 0) < 0)
			_exit(1);
	}
	while (count > 0) {
		ssize_t n = recv(fd, answer, sizeof(answer), 0);
		if (n <= 0)
			_exit(1);
		for (ssize_t i = 0; i < n; i++)
			count -= answer[i] == '\n';
	}
	_exit(0);
}

Test(control_server_access, readers_get_their_share_and_no_more)
{
	int status, most = 0, root;
	bool answered = false;

	if (geteuid() != 0)
		return;
	reopen_for_groups(NULL, control_rig_cpu_us);
	rig.peer_cost_us = CPU_SHARE_BURST_US / 4;
	root = dial();
	pid_t child = ask_much(control_access_gid("games"), 60);
	while (waitpid(child, &status, WNOHANG) == 0) {
		int before = rig.peers_asked;
		cr_assert_geq(loop_turn(rig.loop, false), 0);
		control_server_after_round(rig.server);
		if (rig.peers_asked - before > most)
			most = rig.peers_asked - before;
		if (rig.peers_asked >= 20 && !answered && rig.server->share.credit_us <= 0) {
			tell(root, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"down\"}\n");
			has(hear(root), "\"changed\":true");
			answered = true; /* orders are not held back */
		}
	}
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_assert_eq(rig.peers_asked, 60);
	cr_assert(answered);
	cr_assert(most > 0 && most <= 5, "%d in one round", most);
	close(root);
}

/* A process of somebody else that holds all places, asking for something in each, until told to end. */
static pid_t hold_places(gid_t gid, const char *request, int told, int end)
{
	pid_t child = fork();

	if (child)
		return child;
	char c = 'x', answer[256];

	become(64998, gid);
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		int fd = child_dial();
		if (send(fd, request, strlen(request), 0) < 0 ||
			recv(fd, answer, sizeof(answer), 0) <= 0)
			_exit(1);
	}
	if (write(told, &c, 1) != 1 || read(end, &c, 1) < 0)
		_exit(1);
	_exit(0);
}

Test(control_server_access, nobody_keeps_root_out)
{
	gid_t admins = control_access_gid("daemon");
	int told[2], end[2];

	if (geteuid() != 0)
		return;
	reopen_for_groups(&rig.ring, NULL);
	cr_assert_eq(chmod(rig.path, 0666), 0);
	cr_assert(pipe(told) == 0 && pipe(end) == 0);
	pid_t child = hold_places(admins,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log\",\"params\":{\"follow\":true}}\n",
		told[1], end[0]);
	close(told[1]);
	struct pollfd done = {.fd = told[0], .events = POLLIN};
	while (poll(&done, 1, 10) == 0)
		turn();
	cr_assert_eq(done.revents & POLLIN, POLLIN);
	cr_assert_eq(control_server_stats(rig.server)->clients, CONTROL_CLIENTS_MAX);
	has(talk_as(64997, admins, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n"),
		CONTROL_CODE_BUSY);
	int fd = dial();
	tell(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n");
	has(hear(fd), "\"daemon\":\"v\"");
	cr_assert_eq(control_server_stats(rig.server)->evicted, 1);
	cr_assert_eq(write(end[1], "x", 1), 1);
	cr_assert_eq(waitpid(child, NULL, 0), child);
	close(fd);
	close(told[0]);
	close(end[0]);
	close(end[1]);
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
