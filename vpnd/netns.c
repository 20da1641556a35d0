/*
 * A device and a netlink socket belong for good to the namespace that they were made in. So the device is made where it is
 * to live, which is better than moving it there: its name need not be free here, and it is never seen here.
 */
#include "vpnd/netns.h"

#include "vpnd/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int netns_enter(const char *netns, int *ret_back, struct fault *fault)
{
	char path[4200];
	int error;

	*ret_back = -1;
	if (!netns)
		return 0;
	(void)snprintf(path, sizeof(path), "%s%s", netns[0] == '/' ? "" : "/run/netns/", netns);
	int back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int there = open(path, O_RDONLY | O_CLOEXEC);
	if (back < 0 || there < 0) {
		error = fault_set(fault, -errno, "E-NETNS-1",
			"ip netns list shows which there are; ip netns add NAME makes one",
			"cannot open the network namespace %.200s: %s", path, strerror(errno));
		goto close_fds;
	}
	if (setns(there, CLONE_NEWNET) < 0) {
		error = fault_set(fault, -errno, "E-NETNS-1",
			"it takes CAP_SYS_ADMIN, which a unit must grant (and "
			"RestrictNamespaces=no)",
			"cannot enter the network namespace %.200s: %s", path, strerror(errno));
		goto close_fds;
	}
	close(there);
	*ret_back = back;
	return 0;
close_fds:
	if (there >= 0)
		close(there);
	if (back >= 0)
		close(back);
	return error;
}

void netns_leave(int back)
{
	if (back < 0)
		return;
	if (setns(back, CLONE_NEWNET) < 0)
		abort();
	close(back);
}
