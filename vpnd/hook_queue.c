/*
 * Orders are not kept as a list, but as what is wanted and what has run. So a thousand changes while one program hangs are
 * still one change for each peer, and nothing has to be dropped for want of room. It makes two promises that whoever sends
 * the orders cannot break:
 *
 *      - programs alternate. `up` twice is `up` once; `pre_up` while the link is up is a `down` that was lost, which is run
 *        first. A firewall that a script opens and closes stays in step.
 *      - programs are rare. Each peer, and the link, has an allowance (a leaky bucket): a peer that flaps, or a worker that
 *        was taken over and says so, costs one program in two seconds.
 *
 * The link goes first: resolvers and `down` on the way down, then `pre_up`, resolvers and `up` on the way up. A peer that
 * came back from another address goes and comes for its scripts, which were told the old one.
 *
 * A peer's entry is kept when it is gone, so that going does not pay for coming back at once. The names are those of the
 * configuration, whose number has an end.
 */
#include "vpnd/hook_queue.h"

#include <assert.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

struct hook_peer {
	struct list waiting;
	struct hook_allowance allowance;
	bool wanted, ran;
	struct kcpvpn_endpoint endpoint; /* where it is, if wanted */
	struct kcpvpn_endpoint told;	 /* what peer_up said */
	char name[];
};

/* ---- allowances ------------------------------------------------------------------------------------------------- */

/* @return from when on it may run */
static struct mono allowed_at(const struct hook_allowance *allowance, int burst)
{
	return mono_add_us(allowance->paid_until, -(int64_t)(burst - 1) * HOOK_PERIOD_US);
}

static void spend(struct hook_allowance *allowance, struct mono now)
{
	allowance->paid_until = mono_add_us(mono_max(allowance->paid_until, now), HOOK_PERIOD_US);
}

/* ---- what happens ----------------------------------------------------------------------------------------------- */

void hook_queue_init(struct hook_queue *queue)
{
	*queue = (struct hook_queue){.link = HOOK_LINK_DOWN};
	queue->link_allowance.paid_until = mono_at_us(INT64_MIN / 2);
	list_init(&queue->waiting);
}

void hook_queue_fini(struct hook_queue *queue)
{
	tdestroy(queue->peers, free);
	hook_queue_init(queue);
}

void hook_queue_undo(struct hook_queue *queue, bool link, bool resolvers)
{
	if (link) {
		queue->link = HOOK_LINK_UP;
		queue->down_due = true;
	}
	if (resolvers) {
		queue->resolvers_set = true;
		if (queue->resolvers_due == HOOK_RESOLVERS_KEEP)
			queue->resolvers_due = HOOK_RESOLVERS_UNSET;
	}
}

/* What the link's scripts will have been told when that has run which runs now. */
static enum hook_link link_after(const struct hook_queue *queue)
{
	if (!queue->running || queue->now.kind != HOOK_DUE_LINK)
		return queue->link;
	switch (queue->now.hook) {
	case CONFIG_HOOK_UP:
		return HOOK_LINK_UP;
	case CONFIG_HOOK_PRE_UP:
		return HOOK_LINK_PREPARED;
	default:
		return HOOK_LINK_DOWN;
	}
}

void hook_queue_link(struct hook_queue *queue, enum config_hook hook)
{
	enum hook_link after = link_after(queue);

	if (queue->ended)
		return;
	switch (hook) {
	case CONFIG_HOOK_PRE_UP:
		queue->pre_up_due = true;
		queue->up_due = false;
		queue->down_due = queue->down_due || after == HOOK_LINK_UP;
		return;
	case CONFIG_HOOK_UP:
		queue->up_due = after != HOOK_LINK_UP || queue->down_due;
		return;
	default:
		queue->pre_up_due = queue->up_due = false;
		queue->down_due = after != HOOK_LINK_DOWN;
	}
}

static int compare(const void *a, const void *b)
{
	const struct hook_peer *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* @return NULL if there is none and `make` is false, or without memory */
static struct hook_peer *find(struct hook_queue *queue, const char *name, bool make)
{
	size_t bytes = strlen(name) + 1;
	struct hook_peer *entry = calloc(1, sizeof(*entry) + bytes);

	if (!entry)
		return NULL;
	memcpy(entry->name, name, bytes);
	struct hook_peer **at = make ? tsearch(entry, &queue->peers, compare)
				     : tfind(entry, &queue->peers, compare);
	if (!at || *at != entry)
		free(entry);
	if (!at)
		return NULL;
	if (*at == entry) {
		list_init(&entry->waiting);
		entry->allowance.paid_until = mono_at_us(INT64_MIN / 2);
	}
	return *at;
}

/* It came back from elsewhere: scripts were told where it had been. */
static bool has_moved(const struct hook_peer *entry)
{
	return entry->wanted && entry->ran &&
	       !kcpvpn_endpoint_equal(&entry->endpoint, &entry->told);
}

int hook_queue_peer(struct hook_queue *queue, enum config_hook hook, const char *peer,
	const struct kcpvpn_endpoint *endpoint)
{
	bool up = hook == CONFIG_HOOK_PEER_UP;

	if (queue->ended)
		return 0;
	struct hook_peer *entry = find(queue, peer, up);
	if (!entry)
		return up ? -ENOMEM : 0;
	entry->wanted = up;
	if (up)
		entry->endpoint = endpoint ? *endpoint : (struct kcpvpn_endpoint){0};
	if (!list_linked(&entry->waiting))
		list_add_tail(&queue->waiting, &entry->waiting);
	return 0;
}

void hook_queue_resolvers(struct hook_queue *queue, bool set)
{
	if (!queue->ended)
		queue->resolvers_due = set ? HOOK_RESOLVERS_SET : HOOK_RESOLVERS_UNSET;
}

void hook_queue_end(struct hook_queue *queue)
{
	if (queue->ended)
		return;
	hook_queue_link(queue, CONFIG_HOOK_DOWN);
	hook_queue_resolvers(queue, false);
	queue->ended = true;
	while (list_pop(&queue->waiting))
		;
}

/* ---- what is next ----------------------------------------------------------------------------------------------- */

static bool unset_due(const struct hook_queue *queue)
{
	return queue->resolvers_due == HOOK_RESOLVERS_UNSET && queue->resolvers_set;
}

bool hook_queue_is_pressed(const struct hook_queue *queue)
{
	return queue->ended || queue->down_due || queue->pre_up_due || queue->up_due ||
	       unset_due(queue) || queue->resolvers_due == HOOK_RESOLVERS_SET;
}

/* The first of the link that is due. @return false if there is none */
static bool next_of_link(const struct hook_queue *queue, struct hook_due *due)
{
	*due = (struct hook_due){.kind = HOOK_DUE_LINK};
	if (unset_due(queue))
		due->kind = HOOK_DUE_RESOLVERS_UNSET;
	else if (queue->down_due)
		due->hook = CONFIG_HOOK_DOWN;
	else if (queue->pre_up_due)
		due->hook = CONFIG_HOOK_PRE_UP;
	else if (queue->resolvers_due == HOOK_RESOLVERS_SET)
		due->kind = HOOK_DUE_RESOLVERS_SET;
	else if (queue->up_due)
		due->hook = CONFIG_HOOK_UP;
	else
		return false;
	return true;
}

static struct hook_peer *next_of_peers(
	struct hook_queue *queue, struct mono now, struct mono *ret_at)
{
	list_for_each_safe (at, &queue->waiting) {
		struct hook_peer *entry = list_entry(at, struct hook_peer, waiting);
		struct mono from = allowed_at(&entry->allowance, HOOK_PEER_BURST);
		if (entry->wanted == entry->ran && !has_moved(entry))
			list_remove(at);
		else if (mono_due(from, now))
			return entry;
		else
			*ret_at = mono_min(*ret_at, from);
	}
	return NULL;
}

bool hook_queue_next(
	struct hook_queue *queue, struct mono now, struct hook_due *ret_due, struct mono *ret_at)
{
	assert(!queue->running);
	*ret_at = MONO_NEVER;
	if (next_of_link(queue, &queue->now)) {
		struct mono from = allowed_at(&queue->link_allowance, HOOK_LINK_BURST);
		if (!queue->ended && !mono_due(from, now)) {
			*ret_at = from;
			return false;
		}
		spend(&queue->link_allowance, now);
	} else {
		struct hook_peer *entry = next_of_peers(queue, now, ret_at);
		if (!entry)
			return false;
		spend(&entry->allowance, now);
		queue->now = (struct hook_due){
			.kind = HOOK_DUE_PEER,
			.hook = entry->ran ? CONFIG_HOOK_PEER_DOWN : CONFIG_HOOK_PEER_UP,
			.peer = entry->name,
		};
		entry->ran = !entry->ran;
		if (entry->ran)
			queue->now.endpoint = entry->told = entry->endpoint;
		if (entry->wanted == entry->ran)
			list_remove(&entry->waiting);
	}
	/* what comes from here on comes after it */
	switch (queue->now.kind) {
	case HOOK_DUE_RESOLVERS_SET:
	case HOOK_DUE_RESOLVERS_UNSET:
		queue->resolvers_due = HOOK_RESOLVERS_KEEP;
		queue->resolvers_set = true; /* until it is known to be taken back */
		break;
	case HOOK_DUE_LINK:
		queue->down_due = queue->down_due && queue->now.hook != CONFIG_HOOK_DOWN;
		queue->pre_up_due = queue->pre_up_due && queue->now.hook != CONFIG_HOOK_PRE_UP;
		queue->up_due = queue->up_due && queue->now.hook != CONFIG_HOOK_UP;
		break;
	case HOOK_DUE_PEER:
		break;
	}
	queue->running = true;
	*ret_due = queue->now;
	return true;
}

void hook_queue_done(struct hook_queue *queue, bool success)
{
	assert(queue->running);
	queue->running = false;
	switch (queue->now.kind) {
	case HOOK_DUE_RESOLVERS_UNSET:
		queue->resolvers_set = !success;
		break;
	case HOOK_DUE_LINK:
		if (queue->now.hook == CONFIG_HOOK_UP)
			queue->link = HOOK_LINK_UP;
		else if (queue->now.hook == CONFIG_HOOK_DOWN)
			queue->link = HOOK_LINK_DOWN;
		else if (success)
			queue->link = HOOK_LINK_PREPARED;
		else if (queue->link == HOOK_LINK_DOWN)
			queue->down_due = false; /* it has done nothing */
		break;
	case HOOK_DUE_RESOLVERS_SET:
	case HOOK_DUE_PEER:
		break;
	}
}
