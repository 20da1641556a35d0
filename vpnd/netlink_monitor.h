/*
 * Word from the kernel that the host's links, addresses or routes changed. What a change means for a peer is found by asking
 * for the path to it (netlink_path()), because the kernel announces much that changes nothing.
 */
#ifndef VPND_NETLINK_MONITOR_H
#define VPND_NETLINK_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

struct fault;
struct loop;
struct netlink_monitor;

/**
 * Called at most once a loop round after links, addresses or routes changed, or when the kernel had more to tell than
 * the socket could hold. The kernel also tells of refreshes that change nothing (router advertisements): compare
 * netlink_path() before acting.
 */
typedef void (*netlink_changed_fn)(void *ctx);

/** Called at most once a loop round after an own address, route or rule was removed, by whomever. */
typedef void (*netlink_lost_fn)(void *ctx);

/** What is the watcher's own. */
struct netlink_own {
	int ifindex;	  /* 0 = it is not in this namespace */
	uint8_t protocol; /* of own routes and rules */
	uint32_t rule_first,
		rule_end; /* priorities of rules that may be own, whatever they carry; equal = none */
	/* whether another device is own, too; NULL = none is. Called with the ctx of the others */
	bool (*owns)(void *ctx, int ifindex);
};

/**
 * Begins to watch. Changes on the own interface and routes with the own protocol are no change, but their removal is a
 * loss.
 *
 * @on_changed  NULL = nobody wants to know
 * @ret_monitor  freed by netlink_monitor_free(), before the loop
 */
int netlink_monitor_new(struct loop *loop, const struct netlink_own *own,
	netlink_changed_fn on_changed, netlink_lost_fn on_lost, void *ctx,
	struct netlink_monitor **ret_monitor, struct fault *fault);
void netlink_monitor_free(struct netlink_monitor *monitor);

#endif
