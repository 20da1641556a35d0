/* The control socket: who has it, what is left of it, and how many may be connected. */
#include "control_server_rig.h"
#include "vpnd/control_socket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(control_server, .init = control_rig_open, .fini = control_rig_close);

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
	cr_assert_eq(control_server_stats(rig.server)->clients, 0);
}

Test(control_server, socket_has_its_mode_and_vanishes)
{
	struct stat st;

	cr_assert_eq(lstat(rig.path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 0777, geteuid() == 0 ? 0660 : 0600);
	/* teardown looks at what is left */
}

Test(control_server, second_daemon_learns_that_one_runs)
{
	struct control_server *second = NULL;
	struct control_error err = {0};

	cr_assert_eq(control_rig_open_server(geteuid(), &second, &err), -EADDRINUSE);
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

	control_server_free(rig.server);
	rig.server = NULL;
	snprintf(folder, sizeof(folder), "%s/run", rig.dir);
	cr_assert_eq(mkdir(folder, 0755), 0);
	snprintf(folder, sizeof(folder), "%s/run/office", rig.dir);
	cr_assert_eq(mkdir(folder, 0755), 0);
	fd = open(rig.path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	cr_assert_lt(control_rig_open_server(geteuid(), &rig.server, &err), 0);
	has(err.text, "not a socket");
	cr_assert_eq(unlink(rig.path), 0);

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(address.sun_path, rig.path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd); /* bound, nobody listens: what a killed daemon leaves */
	cr_assert_eq(control_rig_open_server(geteuid(), &rig.server, &err), 0);
	close(dial());
	turn();
	control_server_free(rig.server);
	rig.server = NULL;
	cr_assert_eq(access(folder, F_OK), 0, "a folder of somebody else stays");
	cr_assert_eq(rmdir(folder), 0);
	snprintf(folder, sizeof(folder), "%s/run", rig.dir);
	cr_assert_eq(rmdir(folder), 0);
	control_error_fini(&err);
}

Test(control_server, socket_of_the_service_manager_is_used_and_left)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control_socket own;
	char path[90];
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(path, sizeof(path), "%s/passed", rig.dir);
	strcpy(address.sun_path, path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 4), 0);
	cr_assert_eq(chmod(path, 0777), 0);
	control_socket_adopt(fd, (gid_t)-1, &own);
	cr_assert_eq(own.fd, fd);
	cr_assert_str_eq(own.path, path);
	cr_assert_eq(lstat(path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, geteuid() == 0 ? 0660 : 0600);
	control_socket_remove(&own); /* as the helper does after a crash */
	control_socket_close(&own);
	cr_assert_eq(own.fd, -1);
	cr_assert_eq(fcntl(fd, F_GETFD), -1);
	cr_assert_eq(lstat(path, &st), 0, "it is the manager's");
	cr_assert_eq(unlink(path), 0);

	fd = socket(AF_UNIX, SOCK_STREAM, 0); /* no name at all */
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address.sun_family)), 0);
	control_socket_adopt(fd, (gid_t)-1, &own);
	cr_assert_str_eq(own.path, "");
	control_socket_close(&own);
}

/* Opens the socket as another process; tells by its exit status whether it got it, and keeps it until told. */
static pid_t start_rival(const char *path, int start, int told, const int end[2])
{
	pid_t pid = fork();

	if (pid)
		return pid;
	struct control_socket mine;
	char c;
	close(end[1]); /* it ends with the test, too */
	if (read(start, &c, 1) < 0)
		_exit(2);
	c = control_socket_open(path, (gid_t)-1, &mine, NULL) == 0 ? 'w' : 'l';
	if (write(told, &c, 1) != 1 || read(end[0], &c, 1) < 0)
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

		(void)snprintf(path, sizeof(path), "%s/rivals/socket", rig.dir);
		cr_assert(pipe(start) == 0 && pipe(told) == 0 && pipe(end) == 0);
		for (int i = 0; i < RIVALS; i++)
			pids[i] = start_rival(path, start[0], told[1], end);
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
	(void)snprintf(path, sizeof(path), "%s/rivals", rig.dir);
	cr_assert_eq(rmdir(path), 0, "no lock is left");
}

Test(control_server, lock_of_a_killed_daemon_is_no_obstacle)
{
	struct control_socket mine;
	char path[120], lock[130];

	(void)snprintf(path, sizeof(path), "%s/killed", rig.dir);
	(void)snprintf(lock, sizeof(lock), "%s/.killed.lock", rig.dir);
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

	memcpy(keep, rig.path, sizeof(keep));
	memset(rig.path, 'x', sizeof(rig.path) - 1);
	rig.path[0] = '/';
	rig.path[sizeof(rig.path) - 1] = '\0';
	/* 99 bytes fit as such, but a folder that does not exist and cannot be: no crash, an error */
	rig.path[50] = '\0';
	struct control_ops ops = control_rig_ops();
	char longer[200];
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	struct control_server_config config = {
		.path = longer, .network = "n", .version = "v", .trusted_uid = (uid_t)-1};
	cr_assert_eq(control_server_new(rig.loop, &config, &ops, &server, &err), -ENAMETOOLONG);
	has(err.text, "at most 107 bytes");
	config.path = "";
	cr_assert_eq(control_server_new(rig.loop, &config, &ops, &server, &err), -EINVAL);
	control_error_fini(&err);
	memcpy(rig.path, keep, sizeof(keep));
}

Test(control_server, socket_of_another_daemon_is_left_alone)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char folder[100];

	cr_assert_eq(unlink(rig.path), 0);
	strcpy(address.sun_path, rig.path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	control_server_free(rig.server);
	rig.server = NULL;
	cr_assert_eq(unlink(rig.path), 0, "it is still there");
	close(fd);
	snprintf(folder, sizeof(folder), "%s/run/office", rig.dir);
	cr_assert_eq(rmdir(folder), 0);
	snprintf(folder, sizeof(folder), "%s/run", rig.dir);
	cr_assert_eq(rmdir(folder), 0);
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
	cr_assert_eq(control_server_stats(rig.server)->evicted, 1);
	cr_assert_eq(control_server_stats(rig.server)->clients, CONTROL_CLIENTS_MAX);
	cr_assert_str_eq(hear(fds[1]), "EOF");
	cr_assert_str_eq(hear(fds[0]), "");
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	turn();
	cr_assert_eq(control_server_stats(rig.server)->clients, 0);
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
	strcpy(address.sun_path, rig.path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	turn(); /* would never end if the listener stayed ready */
	setrlimit(RLIMIT_NOFILE, &old);
	cr_assert_str_eq(hear(fd), "EOF");
	close(fd);
	close(dial());
	turn();
}
