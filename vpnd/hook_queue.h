/*
 * Which program is to run next. What happened comes in as it happens, as often as it likes; what comes out is one program at
 * a time, each `up` followed by its `down` and the other way round, and for who flaps only what still matters.
 *
 *      link   pre_up -> up -> down, never twice the same; before any peer
 *      peer   peer_up -> peer_down, by order of time; who came and went while others ran is not told of at all
 *
 * Pure: time comes in, nothing is run here.
 */
#ifndef VPND_HOOK_QUEUE_H
#define VPND_HOOK_QUEUE_H

#include "config/config.h"
#include "core/list.h"
#include "core/mono.h"
#include "kcpvpn/endpoint.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	/* As often as a program may run for one peer, or for the link: so many at once, and one in each period. */
	HOOK_PEER_BURST = 8,
	HOOK_LINK_BURST = 20,
	HOOK_PERIOD_US = 2000000,
};

enum hook_due_kind {
	HOOK_DUE_LINK,
	HOOK_DUE_PEER,
	HOOK_DUE_RESOLVERS_SET,
	HOOK_DUE_RESOLVERS_UNSET,
};

struct hook_due {
	enum hook_due_kind kind;
	enum config_hook hook;		 /* of the link, or of the peer */
	const char *peer;		 /* as long as the queue; NULL = none */
	struct kcpvpn_endpoint endpoint; /* of that peer; family 0 = not known */
};

/** How often something may run: the instant up to which it is paid for. */
struct hook_allowance {
	struct mono paid_until;
};

/** What the link's scripts were told last. */
enum hook_link {
	HOOK_LINK_DOWN,
	HOOK_LINK_PREPARED,
	HOOK_LINK_UP,
};

struct hook_queue {
	enum hook_link link;
	bool down_due, pre_up_due, up_due;
	enum { HOOK_RESOLVERS_KEEP, HOOK_RESOLVERS_SET, HOOK_RESOLVERS_UNSET } resolvers_due;
	bool resolvers_set; /* they were told something, and it was not taken back */
	bool ended;
	bool running;
	struct hook_due now; /* what runs, if `running` */
	struct hook_allowance link_allowance;
	void *peers;	     /* a tree by name */
	struct list waiting; /* peers with something due, who came first in front */
};

void hook_queue_init(struct hook_queue *queue);
void hook_queue_fini(struct hook_queue *queue);

/** Something of before this run is to be undone, first of all. */
void hook_queue_undo(struct hook_queue *queue, bool link, bool resolvers);

/** The link: CONFIG_HOOK_PRE_UP, _UP or _DOWN. What is out of order is put in order, or left out. */
void hook_queue_link(struct hook_queue *queue, enum config_hook hook);

/**
 * A peer came (CONFIG_HOOK_PEER_UP) or went. Who went and had never come is nobody.
 *
 * @endpoint  where it is; NULL = not known
 * @return    0 or -ENOMEM
 */
int hook_queue_peer(struct hook_queue *queue, enum config_hook hook, const char *peer,
	const struct kcpvpn_endpoint *endpoint);

/** The resolvers are to be told, or what they were told taken back. */
void hook_queue_resolvers(struct hook_queue *queue, bool set);

/** The end: from here on only what is to be undone. */
void hook_queue_end(struct hook_queue *queue);

/** @return true if something of the link, or the end, waits: programs of peers are in the way */
bool hook_queue_is_pressed(const struct hook_queue *queue);

/**
 * Takes what is to run now, which hook_queue_done() must end before the next is taken.
 *
 * @ret_at  if there is nothing now: when there will be, MONO_NEVER = not by itself
 * @return  whether there is something
 */
bool hook_queue_next(
	struct hook_queue *queue, struct mono now, struct hook_due *ret_due, struct mono *ret_at);

/** What was taken has run. @success  matters for pre_up, and for taking resolvers back */
void hook_queue_done(struct hook_queue *queue, bool success);

#endif
