/*
 * How netlink.h asks the kernel: a request at a time, on one socket. For the files of netlink alone.
 */
#ifndef VPND_NETLINK_REQUEST_H
#define VPND_NETLINK_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

struct fault;
struct nl_cb;
struct nl_msg;
struct nl_sock;
struct nlmsghdr;

enum {
	NETLINK_REASON_BYTES = 128,
};

/** A message of the answer, borrowed for the call. Its length is what the kernel says, its content is not checked. */
typedef void (*netlink_reply_fn)(void *ctx, struct nlmsghdr *message);

struct netlink {
	struct nl_sock *socket;
	struct nl_cb *callbacks;
	int filter_fd; /* asks the packet filter; -1 = it never did */
	uint32_t filter_port, filter_sequence;

	/* of the request that is under way */
	netlink_reply_fn on_reply;
	void *reply_ctx;
	uint32_t sequence;
	int err;
	bool done;
	char reason[NETLINK_REASON_BYTES]; /* the kernel's text, "" if it gave none */
};

/**
 * Sends a request and waits for the end of its answer.
 *
 * @nl_error  what building it gave: if that failed, nothing is sent
 * @message   taken; NULL if `nl_error` says that there is none
 * @on_reply  told the messages of the answer; NULL = it has none that matter
 * @return    0 or the kernel's negative errno; `reason` may say more
 */
int netlink_request(struct netlink *netlink, int nl_error, struct nl_msg *message,
	netlink_reply_fn on_reply, void *ctx);

/** The errno of a libnl error that has nothing to do with the kernel's answer; notes its text as the reason. */
int netlink_broken(struct netlink *netlink, int nl_error);

/** The same without a socket at hand. */
int netlink_errno(int nl_error);

/**
 * Fills `*fault`: "cannot `what` on `ifindex`'s name", why, and what to do about it.
 *
 * @return  `err`
 */
int netlink_failed(struct netlink *netlink, int err, const char *code, const char *what,
	int ifindex, struct fault *fault);

/** What to do about an error, NULL if nothing comes to mind. */
const char *netlink_hint(int err);

#endif
