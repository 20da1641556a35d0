/*
 * A device and a netlink socket belong for good to the namespace that they were made in. So the device is made where it is
 * to live, which is better than moving it there: its name need not be free here, and it is never seen here.
 *
 * `ip netns del` and `add` give a name to another namespace, where the number of our device is that of somebody else's. So
 * the name is looked up once, and who joins later comes by the same descriptor. Whatever else stands at the path (a pipe
 * without a writer, a terminal) is neither waited for nor taken.
 */
#include "vpnd/netns.h"

#include "vpnd/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

int netns_open(const char *netns, int *ret_fd, struct fault *fault)
{
	char path[4200];
	struct statfs fs;
	int error = 0;

	(void)snprintf(path, sizeof(path), "%s%s", netns[0] == '/' ? "" : "/run/netns/", netns);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		error = -errno;
	else if (fs.f_type != NSFS_MAGIC)
		error = -EINVAL;
	if (!error) {
		*ret_fd = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	return fault_set(fault, error, "E-NETNS-1",
		"ip netns list shows which there are; ip netns add NAME makes one",
		"cannot open the network namespace %.200s: %s", path,
		error == -EINVAL ? "that is something else" : strerror(-error));
}

int netns_enter(int netns, int *ret_back, struct fault *fault)
{
	int back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int error = back < 0 ? -errno : 0;

	*ret_back = -1;
	if (!error && setns(netns, CLONE_NEWNET) < 0)
		error = -errno;
	if (!error) {
		*ret_back = back;
		return 0;
	}
	if (back >= 0)
		close(back);
	return fault_set(fault, error, "E-NETNS-1",
		"it takes CAP_SYS_ADMIN, which a unit must grant (and RestrictNamespaces=net): "
		"with-netns.conf",
		"cannot enter the network namespace: %s", strerror(-error));
}

void netns_leave(int back)
{
	if (back < 0)
		return;
	if (setns(back, CLONE_NEWNET) < 0)
		abort();
	close(back);
}
