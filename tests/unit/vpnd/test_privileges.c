/* Each try is a process of its own: there is no way back from a drop. */
#include "vpnd/fault.h"
#include "vpnd/privileges.h"
#include "vpnd/syscall_filter.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_ether.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { NOT_DROPPED = 77 };

static void drop(void)
{
	struct privileges privileges;
	struct fault fault = {0};

	static const gid_t GROUPS[] = {0, 4, 27}; /* as an administrator's shell has them */

	if (setgroups(sizeof(GROUPS) / sizeof(GROUPS[0]), GROUPS) < 0 ||
		privileges_begin(&privileges, &fault) < 0 ||
		privileges_drop(&privileges, &fault) < 0) {
		(void)fprintf(stderr, "%s: %s\n", fault.code, fault.text);
		_exit(NOT_DROPPED);
	}
}

/* @return the wait status of a process that dropped its privileges and then did `act` */
static int status_of(int (*act)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		drop();
		_exit(act());
	}
	cr_assert_gt(pid, 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_not(WIFEXITED(status) && WEXITSTATUS(status) == NOT_DROPPED, "needs root");
	return status;
}

static void works(int (*act)(void), const char *what)
{
	int status = status_of(act);
	cr_assert_not(WIFSIGNALED(status), "%s: signal %d", what, WTERMSIG(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "%s: step %d", what, WEXITSTATUS(status));
}

static void kills(int (*act)(void), const char *what)
{
	int status = status_of(act);
	cr_assert(WIFSIGNALED(status), "%s: status %d", what, WEXITSTATUS(status));
	cr_assert_eq(WTERMSIG(status), SIGSYS, "%s: signal %d", what, WTERMSIG(status));
	cr_assert_not(WCOREDUMP(status));
}

/* ---- what is gone ----------------------------------------------------------------------------------------------- */

static char *status_line(const char *key)
{
	static char line[256];
	FILE *file = fopen("/proc/thread-self/status", "r");

	if (!file)
		return NULL;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':') {
			(void)fclose(file);
			return line + strlen(key) + 1;
		}
	}
	(void)fclose(file);
	return NULL;
}

static bool all_zero(const char *key)
{
	const char *value = status_line(key);
	return value && strtoull(value, NULL, 16) == 0;
}

static bool without_rights(void)
{
	static const char *const SETS[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};

	for (size_t i = 0; i < sizeof(SETS) / sizeof(SETS[0]); i++) {
		if (!all_zero(SETS[i]))
			return false;
	}
	return true;
}

static int look(void)
{
	unsigned r, e, s, f;
	struct rlimit core;
	const char *line = status_line("Uid");

	if (!line || sscanf(line, "%u %u %u %u", &r, &e, &s, &f) != 4 || r == 0 || e != r ||
		s != r || f != r)
		return 1;
	line = status_line("Gid");
	if (!line || sscanf(line, "%u %u %u %u", &r, &e, &s, &f) != 4 || r == 0 || e != r ||
		s != r || f != r)
		return 2;
	line = status_line("Groups");
	if (!line || strspn(line, " \t\n") != strlen(line))
		return 3;
	if (!without_rights())
		return 4;
	line = status_line("NoNewPrivs");
	if (!line || atoi(line) != 1)
		return 5;
	line = status_line("Seccomp");
	if (!line || atoi(line) != 2)
		return 6;
	if (prctl(PR_GET_DUMPABLE) != 0)
		return 7;
	if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_cur != 0 || core.rlim_max != 0)
		return 8;
	if (!SANITIZED && setresuid(0, 0, 0) == 0)
		return 9;
	if (open("/etc/shadow", O_RDONLY) >= 0)
		return 10;
	return 0;
}

Test(privileges, nothing_is_left)
{
	works(look, "what is left");
}

static void *look_again(void *arg)
{
	(void)arg;
	if (!without_rights())
		return (void *)1;
	const char *line = status_line("Seccomp");
	return line && atoi(line) == 2 ? NULL : (void *)1;
}

static int look_in_thread(void)
{
	pthread_t thread;
	void *result;

	if (pthread_create(&thread, NULL, look_again, NULL) != 0)
		return 1;
	if (pthread_join(thread, &result) != 0)
		return 2;
	return result ? 3 : 0;
}

Test(privileges, threads_have_nothing_either)
{
	works(look_in_thread, "a thread");
}

/* ---- what an intruder would do ---------------------------------------------------------------------------------- */

static int run_program(void)
{
	(void)execl("/bin/true", "true", (char *)NULL);
	return 1;
}

static int run_program_at(void)
{
	char *arguments[] = {(char *)"true", NULL};
	(void)syscall(SYS_execveat, AT_FDCWD, "/bin/true", arguments, NULL, 0);
	return 1;
}

static int start_process(void)
{
	return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0 ? 0 : 1;
}

static int trace(void)
{
	(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	return 1;
}

static int raw_packets(void)
{
	(void)socket(AF_PACKET, SOCK_RAW, ETH_P_ALL);
	return 1;
}

static int raw_packets_by_wide_number(void)
{
	(void)syscall(SYS_socket, (1L << 32) | AF_PACKET, SOCK_RAW, 0);
	return 1;
}

static int kernel_crypto(void)
{
	(void)socket(AF_ALG, SOCK_SEQPACKET, 0);
	return 1;
}

static int mount_something(void)
{
	(void)mount("none", "/mnt", "tmpfs", 0, NULL);
	return 1;
}

static int new_namespace(void)
{
	(void)unshare(CLONE_NEWUSER);
	return 1;
}

static int read_memory(void)
{
	(void)syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
	return 1;
}

static int ring(void)
{
	(void)syscall(SYS_io_uring_setup, 1, NULL);
	return 1;
}

static int load_program(void)
{
	(void)syscall(SYS_bpf, 0, NULL, 0);
	return 1;
}

Test(privileges, an_intruder_is_killed)
{
	kills(raw_packets, "socket(AF_PACKET)");
	kills(raw_packets_by_wide_number, "socket(AF_PACKET) with bits above");
	kills(kernel_crypto, "socket(AF_ALG)");
	kills(mount_something, "mount");
	kills(new_namespace, "unshare");
	kills(read_memory, "process_vm_readv");
	kills(ring, "io_uring_setup");
	kills(load_program, "bpf");
	if (SANITIZED)
		return; /* sanitizers do these themselves */
	kills(run_program, "execve");
	kills(run_program_at, "execveat");
	kills(start_process, "clone without a thread");
	kills(trace, "ptrace");
}

static bool fails_with(long result, int error)
{
	return result == -1 && errno == error;
}

/* What is neither known as good nor as bad fails, and the program lives. */
static int try_unknown(void)
{
	if (!fails_with(syscall(SYS_personality, 0xffffffff), ENOSYS))
		return 1;
	if (!fails_with(syscall(999999), ENOSYS))
		return 2;
	if (!fails_with(syscall(SYS_clone3, NULL, 0), ENOSYS))
		return 3;
	if (!fails_with(kill(getppid(), 0), ENOSYS))
		return 4;
	if (!fails_with(syscall(SYS_tgkill, getppid(), getppid(), 0), ENOSYS))
		return 5;
	if (!fails_with(socket(AF_INET, SOCK_RAW, 1), ENOSYS))
		return 6;
	if (!fails_with(socket(AF_NETLINK, SOCK_RAW, 9), ENOSYS))
		return 7;
	struct rlimit limit = {0, 0};
	if (!fails_with(setrlimit(RLIMIT_CORE, &limit), ENOSYS))
		return 8;
	if (!fails_with(prctl(PR_SET_DUMPABLE, 1), ENOSYS))
		return 9;
	int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
	if (!fails_with(fcntl(fd, F_SETOWN, getppid()), ENOSYS))
		return 10;
	if (!fails_with(fcntl(fd, F_SETSIG, SIGTERM), ENOSYS))
		return 11;
	if (!fails_with(fcntl(fd, F_SETLEASE, F_RDLCK), ENOSYS))
		return 12;
	if (!fails_with(fcntl(fd, F_NOTIFY, 0), ENOSYS))
		return 13;
	return 0;
}

static int try_executable_memory(void)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return 1;
	if (mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0)
		return 2;
	if (mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
		MAP_FAILED)
		return 3;
	return mprotect(page, 4096, PROT_READ) == 0 ? 0 : 4;
}

Test(privileges, the_unknown_fails_and_is_survived, .disabled = SANITIZED)
{
	works(try_unknown, "unknown calls");
	works(try_executable_memory, "executable memory");
}

/* ---- what the daemon does --------------------------------------------------------------------------------------- */

static void *name_lookup(void *arg)
{
	static const char *const NAMES[] = {"localhost", "192.0.2.1", "no-such-host.invalid"};
	const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG};

	(void)arg;
	(void)pthread_setname_np(pthread_self(), "names");
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		struct addrinfo *list = NULL;
		int error = getaddrinfo(NAMES[i], NULL, &hints, &list);
		if (i < 2 && error)
			return (void *)1;
		if (!error)
			freeaddrinfo(list);
	}
	return NULL;
}

static int look_up_names(void)
{
	pthread_t thread;
	void *result = NULL;

	if (pthread_create(&thread, NULL, name_lookup, NULL) != 0 ||
		pthread_join(thread, &result) != 0)
		return 1;
	return result ? 2 : 0;
}

static int use_descriptors(void)
{
	int pair[2];
	struct epoll_event event = {.events = EPOLLIN};
	struct itimerspec soon = {.it_value.tv_nsec = 1};
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
	int udp = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int tcp = socket(AF_INET, SOCK_STREAM, 0);
	int netlink = socket(AF_NETLINK, SOCK_RAW, 0);

	if (epoll < 0 || timer < 0 || udp < 0 || tcp < 0 || netlink < 0 || eventfd(0, 0) < 0)
		return 1;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 2;
	if (timerfd_settime(timer, 0, &soon, NULL) < 0 ||
		epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) < 0 ||
		epoll_wait(epoll, &event, 1, 1000) != 1)
		return 3;
	if (write(pair[0], "x", 1) != 1 || fcntl(pair[1], F_SETFL, O_NONBLOCK) < 0)
		return 4;
	return close(udp) == 0 ? 0 : 5;
}

static int use_memory(void)
{
	size_t len = 40 << 20; /* malloc maps it */
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *big = malloc(len);

	if (page == MAP_FAILED || !big)
		return 1;
	memset(big, 1, len);
	big = realloc(big, 2 * len);
	if (!big)
		return 2;
	free(big);
	if (mlock(page, 8192) < 0 || munlock(page, 8192) < 0 ||
		madvise(page, 8192, MADV_DONTDUMP) < 0 || mprotect(page, 4096, PROT_NONE) < 0 ||
		munmap(page, 8192) < 0)
		return 3;
	return 0;
}

static int use_files(void)
{
	int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
	char byte;
	struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	if (fd < 0 || read(fd, &byte, 1) < 0)
		return 2;
	if (fcntl(fd, F_GETFD) != FD_CLOEXEC || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
		fcntl(fd, F_GETFL) < 0 || fcntl(fd, F_DUPFD_CLOEXEC, 0) < 0 ||
		fcntl(fd, F_SETLK, &whole) < 0)
		return 4;
	return close(fd) == 0 ? 0 : 3;
}

static int state_fd = -1;

static int use_the_state_folder(void)
{
	struct stat st;
	int fd = openat(state_fd, "a.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "x", 1) != 1 || fdatasync(fd) < 0 || fsync(fd) < 0 || close(fd) < 0)
		return 1;
	if (renameat(state_fd, "a.new", state_fd, "a") < 0 || fstatat(state_fd, "a", &st, 0) < 0)
		return 2;
	if (unlinkat(state_fd, "a", 0) < 0 || fsync(state_fd) < 0)
		return 3;
	return 0;
}

Test(privileges, the_daemon_can_work)
{
	char folder[] = "/tmp/privileges-test-XXXXXX";

	works(look_up_names, "names");
	works(use_descriptors, "descriptors");
	works(use_memory, "memory");
	works(use_files, "files");
	cr_assert(mkdtemp(folder));
	cr_assert_eq(chmod(folder, 0777), 0);
	state_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	works(use_the_state_folder, "the state folder");
	cr_assert_eq(rmdir(folder), 0);
}

static int abort_now(void)
{
	abort();
}

Test(privileges, a_bug_still_ends_in_an_abort)
{
	int status = status_of(abort_now);
	cr_assert(
		WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x", (unsigned)status);
	cr_assert_not(WCOREDUMP(status));
}

static void *linger(void *arg)
{
	(void)arg;
	return pause() == 0 ? NULL : NULL;
}

Test(privileges, a_second_thread_forbids_the_drop)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct privileges privileges;
		struct fault fault = {0};
		pthread_t thread;
		if (privileges_begin(&privileges, &fault) < 0 ||
			pthread_create(&thread, NULL, linger, NULL) != 0)
			_exit(1);
		_exit(privileges_drop(&privileges, &fault) == -EPERM && geteuid() == 0 ? 0 : 2);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

/* ---- the beginning ---------------------------------------------------------------------------------------------- */

static int begin_as(uid_t uid, struct fault *fault)
{
	struct privileges privileges;

	if (uid && setresuid(uid, uid, uid) < 0)
		return NOT_DROPPED;
	return -privileges_begin(&privileges, fault);
}

Test(privileges, without_rights_there_is_no_beginning)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct fault fault = {0};
		int error = begin_as(65534, &fault);
		_exit(error == EPERM && strcmp(fault.code, "E-PRIV-1") == 0 ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

Test(privileges, limits_are_raised_and_dumps_forbidden)
{
	struct privileges privileges;
	struct rlimit limit;
	struct fault fault = {0};

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){256, 512}), 0);
	cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){4096, 65536}), 0);
	cr_assert_eq(privileges_begin(&privileges, &fault), 0, "%s", fault.text);
	/* beyond the hard limit only with CAP_SYS_RESOURCE, which root in a container may not have */
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert(limit.rlim_cur == PRIVILEGES_FILES || limit.rlim_cur == 512);
	cr_assert_eq(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
	cr_assert(limit.rlim_cur == PRIVILEGES_LOCKED_BYTES || limit.rlim_cur == 65536);
	cr_assert_eq(getrlimit(RLIMIT_CORE, &limit), 0);
	cr_assert_eq(limit.rlim_max, 0);
	/* programs get those of before */
	privileges_restore_limits();
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert(limit.rlim_cur == 256 && limit.rlim_max == 512);
	cr_assert_eq(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
	cr_assert(limit.rlim_cur == 4096 && limit.rlim_max == 65536);
	cr_assert_eq(prctl(PR_GET_DUMPABLE), 0);
	cr_assert(privileges.change_user);
	cr_assert_neq(privileges.uid, 0);
	cr_assert_neq(privileges.gid, 0);
	cr_assert_eq(privileges.borrowed, strcmp(privileges.user, "vpnd") != 0);
}

Test(privileges, reading_everything_can_be_put_aside)
{
	char path[] = "/tmp/privileges-test-XXXXXX";
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_assert_eq(fchmod(fd, 0600), 0);
	cr_assert_eq(fchown(fd, 4242, 4242), 0);
	close(fd);
	cr_assert_eq(access(path, R_OK), 0);
	cr_assert(privileges_hide_reading(true));
	fd = open(path, O_RDONLY);
	cr_assert(fd < 0 && errno == EACCES);
	cr_assert_not(privileges_hide_reading(true), "nothing more to hide");
	cr_assert(privileges_hide_reading(false));
	fd = open(path, O_RDONLY);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(unlink(path), 0);
}

/* The helper's end: it stays root, with one capability and a filter of its own. */
Test(privileges, the_helper_keeps_what_it_needs)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct fault fault = {0};
		if (privileges_keep(0, &fault) < 0)
			_exit(1);
		const char *line = status_line("CapPrm");
		if (!line || strtoull(line, NULL, 16) != 1ULL << 12)
			_exit(2);
		if (getuid() != 0 || !all_zero("CapBnd"))
			_exit(3);
		if (memfd_create("x", 0) < 0)
			_exit(4);
		(void)execl("/bin/true", "true", (char *)NULL);
		_exit(5);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (SANITIZED)
		return;
	cr_assert(WIFSIGNALED(status), "step %d", WEXITSTATUS(status));
	cr_assert_eq(WTERMSIG(status), SIGSYS);
}
