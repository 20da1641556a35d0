/*
 * News of the packet filter: each message names the table it is about, and carries the number of the socket that brought the
 * change about. Whatever somebody else does in the own table counts, be it well meant.
 *
 * A busy host (containers) changes its filter more often than anybody reads: when news were lost, the table counts as touched.
 */
#include "vpnd/netlink_guard.h"

#include "vpnd/netlink_request.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	BUFFER_BYTES = 1 << 20,
	READS_MAX = 256, /* a call; the rest comes with the next */
};

struct netlink_guard_watch {
	int fd;
	const struct netlink *netlink;
	char table[NETLINK_GUARD_NAME_BYTES];
};

_Static_assert((int)NFTA_TABLE_NAME == (int)NFTA_CHAIN_TABLE &&
		       (int)NFTA_TABLE_NAME == (int)NFTA_RULE_TABLE &&
		       (int)NFTA_TABLE_NAME == (int)NFTA_SET_TABLE,
	"the table's name is the first attribute of each");

static bool is_touched(const struct netlink_guard_watch *watch, struct nlmsghdr *message)
{
	int type = message->nlmsg_type;

	if (type >> 8 != NFNL_SUBSYS_NFTABLES || (type & 0xff) == NFT_MSG_NEWGEN ||
		message->nlmsg_pid == watch->netlink->filter_port)
		return false;
	const struct nlattr *name =
		nlmsg_find_attr(message, sizeof(struct nfgenmsg), NFTA_TABLE_NAME);
	size_t len = strlen(watch->table);
	return name && (size_t)nla_len(name) == len + 1 &&
	       memcmp(nla_data(name), watch->table, len + 1) == 0;
}

int netlink_guard_watch_new(
	struct netlink *netlink, const char *table, struct netlink_guard_watch **ret_watch)
{
	struct netlink_guard_watch *watch = calloc(1, sizeof(*watch));
	const struct sockaddr_nl own = {.nl_family = AF_NETLINK};
	int group = NFNLGRP_NFTABLES, bytes = BUFFER_BYTES;

	if (!watch)
		return -ENOMEM;
	watch->netlink = netlink;
	(void)snprintf(watch->table, sizeof(watch->table), "%s", table);
	watch->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	if (watch->fd < 0 || bind(watch->fd, (const struct sockaddr *)&own, sizeof(own)) < 0 ||
		setsockopt(watch->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
			0) {
		int error = -errno;
		netlink_guard_watch_free(watch);
		return error;
	}
	(void)setsockopt(watch->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	*ret_watch = watch;
	return 0;
}

void netlink_guard_watch_free(struct netlink_guard_watch *watch)
{
	if (!watch)
		return;
	if (watch->fd >= 0)
		close(watch->fd);
	free(watch);
}

int netlink_guard_watch_fd(const struct netlink_guard_watch *watch)
{
	return watch->fd;
}

bool netlink_guard_watch_touched(struct netlink_guard_watch *watch)
{
	union {
		struct nlmsghdr header;
		uint8_t bytes[16384];
	} buffer;
	bool touched = false;

	for (int i = 0; i < READS_MAX; i++) {
		ssize_t got = recv(watch->fd, &buffer, sizeof(buffer), MSG_TRUNC);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			break;
		if (got < 0 || (size_t)got > sizeof(buffer)) { /* lost, or too long to be read */
			touched = true;
			continue;
		}
		struct nlmsghdr *header = &buffer.header;
		for (int left = (int)got; nlmsg_ok(header, left);
			header = nlmsg_next(header, &left))
			touched |= is_touched(watch, header);
	}
	return touched;
}
