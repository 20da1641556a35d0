/*
 * One socket, one request at a time, answered in order. The kernel's own error number and text are taken from the
 * acknowledgement: libnl's numbers are coarser, and "Nexthop device is not up" says more than "invalid input data".
 *
 * An answer may be given up in the middle, when a message of it cannot be read. What is left of it comes before the answer to the
 * next request, and is known by its number.
 */
#include "vpnd/netlink_request.h"

#include "vpnd/fault.h"
#include "vpnd/netlink.h"

#include <errno.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int on_valid(struct nl_msg *message, void *arg)
{
	struct netlink *netlink = arg;

	if (netlink->on_reply)
		netlink->on_reply(netlink->reply_ctx, nlmsg_hdr(message));
	return NL_OK;
}

static int on_end(struct nl_msg *message, void *arg)
{
	struct netlink *netlink = arg;

	(void)message;
	netlink->done = true;
	return NL_STOP;
}

/* What is left of an answer that was given up is skipped. */
static int on_sequence(struct nl_msg *message, void *arg)
{
	const struct netlink *netlink = arg;
	return nlmsg_hdr(message)->nlmsg_seq == netlink->sequence ? NL_OK : NL_SKIP;
}

/* The error's own text stands in attributes behind it if the kernel supports that. */
static void copy_reason(struct netlink *netlink, struct nlmsgerr *error)
{
	struct nlmsghdr *header = (struct nlmsghdr *)(void *)((char *)error - NLMSG_HDRLEN);
	size_t skip = sizeof(*error);

	if (!(header->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(header->nlmsg_flags & NLM_F_CAPPED))
		skip += error->msg.nlmsg_len - NLMSG_HDRLEN;
	skip = NLMSG_ALIGN(skip);
	size_t len = (size_t)nlmsg_datalen(header);
	if (skip >= len)
		return;
	struct nlattr *attributes = (struct nlattr *)(void *)((char *)error + skip);
	struct nlattr *text = nla_find(attributes, (int)(len - skip), NLMSGERR_ATTR_MSG);
	if (text)
		(void)nla_strlcpy(netlink->reason, text, sizeof(netlink->reason));
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *error, void *arg)
{
	struct netlink *netlink = arg;

	(void)from;
	netlink->err = error->error;
	netlink->done = true;
	if (error->error)
		copy_reason(netlink, error);
	return NL_STOP;
}

int netlink_errno(int nl_error)
{
	switch (-nl_error) {
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_INVAL:
		return -EINVAL;
	default:
		return -EIO;
	}
}

int netlink_broken(struct netlink *netlink, int nl_error)
{
	(void)snprintf(netlink->reason, sizeof(netlink->reason), "%s", nl_geterror(nl_error));
	return netlink_errno(nl_error);
}

int netlink_request(struct netlink *netlink, int nl_error, struct nl_msg *message,
	netlink_reply_fn on_reply, void *ctx)
{
	netlink->on_reply = on_reply;
	netlink->reply_ctx = ctx;
	netlink->err = 0;
	netlink->done = false;
	netlink->reason[0] = '\0';
	if (nl_error < 0) {
		nlmsg_free(message);
		return netlink_broken(netlink, nl_error);
	}
	nl_complete_msg(netlink->socket, message);
	netlink->sequence = nlmsg_hdr(message)->nlmsg_seq;
	nl_error = nl_send(netlink->socket, message);
	nlmsg_free(message);
	while (nl_error >= 0 && !netlink->done)
		nl_error = nl_recvmsgs(netlink->socket, netlink->callbacks);
	if (netlink->done)
		return netlink->err;
	return netlink_broken(netlink, nl_error);
}

static const char *interface_name(int ifindex, char name[IF_NAMESIZE])
{
	if (!if_indextoname((unsigned)ifindex, name))
		(void)snprintf(name, IF_NAMESIZE, "#%d", ifindex);
	return name;
}

const char *netlink_hint(int err)
{
	switch (-err) {
	case EAFNOSUPPORT:
		return "IPv6 is disabled on this host or container: sysctl "
		       "net.ipv6.conf.all.disable_ipv6=0, or take IPv6 out of "
		       "interface.addresses and allowed_ips";
	case EPERM:
	case EACCES:
		return "start as root, or with CAP_NET_ADMIN";
	case ENODEV:
		return "the interface was deleted while in use";
	case EEXIST:
		return "ip route show table all shows the other; change routes.metric or "
		       "allowed_ips";
	default:
		return NULL;
	}
}

int netlink_failed(struct netlink *netlink, int err, const char *code, const char *what,
	int ifindex, struct fault *fault)
{
	char name[IF_NAMESIZE];
	bool more = netlink->reason[0] != '\0';

	return fault_set(fault, err, code, netlink_hint(err), "cannot %s on %s: %s%s%s%s", what,
		interface_name(ifindex, name), strerror(-err), more ? " (" : "", netlink->reason,
		more ? ")" : "");
}

int netlink_new(struct netlink **ret_netlink, struct fault *fault)
{
	int one = 1;
	int err = -ENOMEM;
	struct netlink *netlink = calloc(1, sizeof(*netlink));

	if (!netlink)
		goto fail;
	netlink->filter_fd = -1;
	netlink->socket = nl_socket_alloc();
	netlink->callbacks = nl_cb_alloc(NL_CB_DEFAULT);
	if (!netlink->socket || !netlink->callbacks)
		goto free_netlink;
	int nl_error = nl_connect(netlink->socket, NETLINK_ROUTE);
	if (nl_error < 0) {
		err = netlink_errno(nl_error);
		goto free_netlink;
	}
	/* Older kernels refuse these: then errors have no text, and dumps are filtered here only. */
	int fd = nl_socket_get_fd(netlink->socket);
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	nl_cb_set(netlink->callbacks, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, on_sequence, netlink);
	nl_cb_set(netlink->callbacks, NL_CB_VALID, NL_CB_CUSTOM, on_valid, netlink);
	nl_cb_set(netlink->callbacks, NL_CB_FINISH, NL_CB_CUSTOM, on_end, netlink);
	nl_cb_set(netlink->callbacks, NL_CB_ACK, NL_CB_CUSTOM, on_end, netlink);
	nl_cb_err(netlink->callbacks, NL_CB_CUSTOM, on_error, netlink);
	*ret_netlink = netlink;
	return 0;
free_netlink:
	netlink_free(netlink);
fail:
	return fault_set(fault, err, "E-NET-1", NULL, "cannot open a route netlink socket: %s",
		strerror(-err));
}

void netlink_free(struct netlink *netlink)
{
	if (!netlink)
		return;
	if (netlink->callbacks)
		nl_cb_put(netlink->callbacks);
	if (netlink->socket)
		nl_socket_free(netlink->socket);
	if (netlink->filter_fd >= 0)
		close(netlink->filter_fd);
	free(netlink);
}
