#include "vpnd/fault.h"
#include "vpnd/state_folder.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKER = 12345, NOBODY = 65534 };

static char base[64];

static const char *at(const char *name)
{
	static char path[4][160];
	static unsigned next;
	char *p = path[next++ % 4];
	(void)snprintf(p, sizeof(path[0]), "%s/%s", base, name);
	return p;
}

static void setup(void)
{
	cr_assert_eq(geteuid(), 0, "needs root: gives folders away");
	(void)snprintf(base, sizeof(base), "/tmp/state-test-XXXXXX");
	cr_assert(mkdtemp(base));
}

static void teardown(void)
{
	char command[128];
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", base);
	cr_assert_eq(system(command), 0);
}

static void touch(const char *path, uid_t uid)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fchown(fd, uid, uid), 0);
	close(fd);
}

static struct stat look(const char *path)
{
	struct stat st;
	cr_assert_eq(lstat(path, &st), 0, "%s", path);
	return st;
}

static int open_for(const char *path, struct fault *fault)
{
	int fd = -1;
	int error = state_folder_open(path, WORKER, WORKER, &fd, fault);

	cr_assert_eq(error == 0, fd >= 0);
	if (fd >= 0) {
		cr_assert_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		close(fd);
	}
	return error;
}

Test(state_folder, the_option_rules_then_the_service_manager, .init = setup, .fini = teardown)
{
	char path[STATE_FOLDER_PATH_BYTES];
	static char longest[STATE_FOLDER_PATH_BYTES + 1];

	setenv("STATE_DIRECTORY", "/a/b:/c", 1);
	cr_assert_eq(state_folder_path("/o:p", "net", path), 0);
	cr_assert_str_eq(path, "/o:p");
	cr_assert_eq(state_folder_path(NULL, "net", path), 0);
	cr_assert_str_eq(path, "/a/b");
	setenv("STATE_DIRECTORY", "", 1);
	cr_assert_eq(state_folder_path(NULL, "net", path), 0);
	cr_assert_str_eq(path, "/var/lib/vpnd/net");
	memset(longest, 'x', sizeof(longest) - 1);
	cr_assert_eq(state_folder_path(longest, "net", path), -ENAMETOOLONG);
}

Test(state_folder, is_made_with_the_one_above_and_given_to_the_worker, .init = setup,
	.fini = teardown)
{
	(void)umask(0077);
	cr_assert_eq(open_for(at("vpnd/net"), NULL), 0);
	struct stat st = look(at("vpnd/net"));
	cr_assert_eq(st.st_uid, WORKER);
	cr_assert_eq(st.st_gid, WORKER);
	cr_assert_eq(st.st_mode & 07777, 0700);
	st = look(at("vpnd"));
	cr_assert_eq(st.st_uid, 0);
	cr_assert_eq(st.st_mode & 07777, 0755);
	cr_assert_eq(open_for(at("vpnd/net"), NULL), 0, "the next start");
	cr_assert_eq(open_for(at("x/y/z"), NULL), -ENOENT, "two are not made");
}

/* As a service manager leaves it: everything is root's again. */
Test(state_folder, comes_back_from_root_and_from_nobody, .init = setup, .fini = teardown)
{
	static const uid_t OWNERS[] = {0, NOBODY};

	for (size_t i = 0; i < 2; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "s%zu", i);
		cr_assert_eq(mkdir(at(name), 0755), 0);
		cr_assert_eq(chown(at(name), OWNERS[i], OWNERS[i]), 0);
		(void)snprintf(name, sizeof(name), "s%zu/net.peers", i);
		touch(at(name), OWNERS[i]);
		char fresh[24];
		(void)snprintf(fresh, sizeof(fresh), "s%zu/net.peers.new", i);
		touch(at(fresh), OWNERS[i]);
		char folder[16];
		(void)snprintf(folder, sizeof(folder), "s%zu", i);
		cr_assert_eq(open_for(at(folder), NULL), 0);
		cr_assert_eq(look(at(folder)).st_uid, WORKER);
		cr_assert_eq(look(at(folder)).st_mode & 07777, 0700);
		cr_assert_eq(look(at(name)).st_uid, WORKER);
		cr_assert_eq(look(at(fresh)).st_uid, WORKER);
	}
}

static void refused(const char *what, const char *why)
{
	struct fault fault = {0};
	struct stat before = look(at("f"));

	cr_assert_eq(open_for(at("f"), &fault), -ENOTEMPTY, "%s", what);
	cr_assert_str_eq(fault.code, "E-STATE-1");
	cr_assert(strstr(fault.text, why), "%s: %s", what, fault.text);
	struct stat after = look(at("f"));
	cr_assert_eq(after.st_uid, before.st_uid, "%s", what);
	cr_assert_eq(after.st_mode, before.st_mode, "%s", what);
}

Test(state_folder, anything_else_in_it_keeps_it, .init = setup, .fini = teardown)
{
	cr_assert_eq(mkdir(at("f"), 0755), 0);
	touch(at("f/passwd"), 0);
	refused("a file", "holds other files");
	cr_assert_eq(unlink(at("f/passwd")), 0);
	cr_assert_eq(mkdir(at("f/x.peers"), 0755), 0);
	refused("a folder with such a name", "holds other files");
	cr_assert_eq(rmdir(at("f/x.peers")), 0);
	cr_assert_eq(symlink("/etc/passwd", at("f/x.peers")), 0);
	refused("a link", "holds other files");
	cr_assert_eq(unlink(at("f/x.peers")), 0);
	touch(at("other"), 0);
	cr_assert_eq(link(at("other"), at("f/x.peers")), 0);
	refused("a file that has another name, too", "holds other files");
	cr_assert_eq(look(at("other")).st_uid, 0);
	cr_assert_eq(unlink(at("f/x.peers")), 0);
	cr_assert_eq(chmod(at("f"), 01777), 0);
	refused("all may write", "everybody may write");
	cr_assert_eq(chmod(at("f"), 0755), 0);
	cr_assert_eq(chown(at("f"), 1000, 1000), 0);
	refused("somebody else's", "somebody else");
	cr_assert_eq(chown(at("f"), 0, 0), 0);
	cr_assert_eq(open_for(at("f"), NULL), 0, "now it is right");
}

Test(state_folder, what_is_no_folder_is_an_error, .init = setup, .fini = teardown)
{
	struct fault fault = {0};

	touch(at("file"), 0);
	cr_assert_eq(open_for(at("file"), &fault), -ENOTDIR);
	cr_assert(strstr(fault.text, "Not a directory"));
	cr_assert_eq(mkdir(at("real"), 0755), 0);
	cr_assert_eq(symlink(at("real"), at("way")), 0);
	cr_assert_lt(open_for(at("way"), NULL), 0, "a link may be exchanged");
	cr_assert_eq(look(at("real")).st_uid, 0);
}

/*
 * The owner of yesterday, who is not root, puts another's file in place of his while it is handed over. He may make links
 * to it because he may write to it, but that does not make it his.
 */
static void exchange_files(const char *victim)
{
	if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
		_exit(1);
	for (;;) {
		if (link(victim, at("his/link")) < 0)
			_exit(1);
		(void)rename(at("his/link"), at("f/x.peers"));
		(void)unlink(at(
			"his/link")); /* not renamed: the folder was not his, or both are one file */
		int fd = open(at("his/own"), O_WRONLY | O_CREAT, 0600);
		if (fd >= 0)
			close(fd);
		(void)rename(at("his/own"), at("f/x.peers"));
	}
}

Test(state_folder, a_file_that_is_exchanged_meanwhile_is_not_given_away, .init = setup,
	.fini = teardown)
{
	int given = 0;

	cr_assert_eq(chmod(base, 0755), 0);
	touch(at("victim"), 0);
	cr_assert_eq(chmod(at("victim"), 0666), 0);
	cr_assert_eq(mkdir(at("his"), 0700), 0);
	cr_assert_eq(chown(at("his"), NOBODY, NOBODY), 0);
	cr_assert_eq(mkdir(at("f"), 0700), 0);
	cr_assert_eq(chown(at("f"), NOBODY, NOBODY), 0);
	pid_t pid = fork();
	if (pid == 0)
		exchange_files(strdup(at("victim")));
	cr_assert_gt(pid, 0);
	for (int i = 0; i < 3000; i++) {
		given += open_for(at("f"), NULL) == 0;
		cr_assert_eq(look(at("victim")).st_uid, 0, "round %d", i);
		cr_assert_eq(chown(at("f"), NOBODY, NOBODY), 0);
	}
	cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0, "he went on all the time");
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert_gt(given, 0);
}

Test(state_folder, one_that_the_workers_group_may_write_stays_as_it_is, .init = setup,
	.fini = teardown)
{
	struct fault fault = {0};
	struct stat st;

	cr_assert_eq(mkdir(at("s"), 0700), 0);
	cr_assert_eq(chown(at("s"), 0, WORKER), 0);
	cr_assert_eq(chmod(at("s"), 0770), 0);
	touch(at("s/other"), 0);
	cr_assert_eq(open_for(at("s"), &fault), 0, "%s", fault.text);
	st = look(at("s"));
	cr_assert_eq(st.st_uid, 0);
	cr_assert_eq(st.st_mode & 07777, 0770);
	cr_assert_eq(chmod(at("s"), 0750), 0); /* the group may not write: as any other folder */
	cr_assert_eq(open_for(at("s"), &fault), -ENOTEMPTY);
	cr_assert_eq(chmod(at("s"), 0777), 0); /* nor may everybody */
	cr_assert_eq(open_for(at("s"), &fault), -ENOTEMPTY);
}
