#include "vpnd/fault.h"
#include "vpnd/netns.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ino_t here(void)
{
	struct stat st;

	cr_assert_eq(stat("/proc/self/ns/net", &st), 0);
	return st.st_ino;
}

Test(netns, there_and_back)
{
	struct fault fault = {0};
	int fd, back;

	ino_t first = here();
	cr_assert_eq(netns_open("/proc/self/ns/net", &fd, &fault), 0, "%s", fault.text);
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	ino_t second = here();
	cr_assert_neq(first, second);
	cr_assert_eq(netns_enter(fd, &back, &fault), 0, "%s", fault.text);
	cr_assert_eq(here(), first);
	netns_leave(back);
	cr_assert_eq(here(), second);
	netns_leave(-1);
	close(fd);
}

/* Nothing that stands at the path in its place is waited for. */
Test(netns, what_is_no_namespace_is_not_taken)
{
	struct fault fault = {0};
	char folder[] = "/tmp/netns-test-XXXXXX", path[64];
	int fd = -7, back;

	cr_assert(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/pipe", folder);
	cr_assert_eq(mkfifo(path, 0600), 0);
	(void)alarm(60);
	cr_assert_eq(netns_open(path, &fd, &fault), -EINVAL);
	cr_assert_str_eq(fault.code, "E-NETNS-1");
	cr_assert_eq(netns_open("/dev/null", &fd, &fault), -EINVAL);
	cr_assert_eq(netns_open("nonexistent-name", &fd, &fault), -ENOENT);
	cr_assert(strstr(fault.text, "/run/netns/nonexistent-name"), "%s", fault.text);
	cr_assert_eq(fd, -7);
	/* another kind of namespace */
	cr_assert_eq(netns_open("/proc/self/ns/uts", &fd, &fault), 0);
	cr_assert_lt(netns_enter(fd, &back, &fault), 0);
	cr_assert_eq(back, -1);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(rmdir(folder), 0);
}
