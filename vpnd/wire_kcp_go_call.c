/*
 * Being called: whose is a conversation that came in? The only peer without endpoints gets it; otherwise the inner
 * source address of its first good packet tells. Until then nothing of ours goes out on it; 64 such callers may wait,
 * 30 s each.
 *
 * A peer has one current call, which packets leave on; what arrives on others of its calls is accepted, too. Another
 * call becomes the current one when the current has been silent for 2 s: a peer that was restarted, or whose address
 * changed, is back soon, and a copy of an old conversation cannot take the place of one that is in use. One that was
 * replaced stays until it is dead, so that it can come back if its successor was such a copy.
 */
#include "config/config.h"
#include "core/log.h"
#include "vpnd/peer.h"
#include "vpnd/wire_kcp_go.h"
#include "vpnd/wire_kcp_go_peer.h"

#include <stdlib.h>
#include <sys/uio.h>

void kcp_go_call_free(struct kcp_go_call *call)
{
	if (call->conv)
		kcp_go_close(call->wire, call->peer, call->conv);
	if (!call->peer)
		call->wire->unknown_count--;
	loop_timer_disarm(call->wire->loop, &call->timer);
	list_remove(&call->in_list);
	free(call);
}

static void consider(struct kcp_go_call *call);

/* An unknown caller had its time; or a known one may take the place of another that fell silent. */
static void on_timer(struct loop_timer *timer, struct mono now)
{
	struct kcp_go_call *call = list_entry(timer, struct kcp_go_call, timer);

	(void)now;
	if (call->peer) {
		consider(call);
		return;
	}
	call->wire->unknown_expired++;
	kcp_go_call_free(call);
}

/* The peer that calls without saying so can only be this one; NULL if there are several, or none. */
static struct wire_peer *only_caller(const struct kcp_go *wire)
{
	struct wire_peer *only = NULL;

	list_for_each (at, &wire->peers) {
		struct wire_peer *p = list_entry(at, struct wire_peer, in_wire);
		if (p->peer->config->endpoints.count > 0)
			continue;
		if (only)
			return NULL;
		only = p;
	}
	return only;
}

struct kcpvpn_conv *kcp_go_call_current(const struct wire_peer *p)
{
	if (list_empty(&p->calls))
		return NULL;
	return list_entry(p->calls.next, struct kcp_go_call, in_list)->conv;
}

/* Makes a call the current one. */
static void promote(struct kcp_go_call *call)
{
	struct wire_peer *p = call->peer;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	list_remove(&call->in_list);
	list_add_head(&p->calls, &call->in_list);
	log_info(p->wire->log, "peer %s: up, called from %s", p->peer->name,
		kcpvpn_endpoint_format(kcpvpn_conv_remote(call->conv), text));
	p->wire->wire.events->writable(p->wire->wire.events->ctx, p->peer);
}

/* Ends the call of a peer that has been silent for longest, if that is long enough. @return whether it did */
static bool end_silent(struct wire_peer *p)
{
	struct kcp_go_call *longest = NULL;

	list_for_each (at, &p->calls) {
		struct kcp_go_call *call = list_entry(at, struct kcp_go_call, in_list);
		if (!longest ||
			kcpvpn_conv_last_rx(call->conv) < kcpvpn_conv_last_rx(longest->conv))
			longest = call;
	}
	if (!longest ||
		kcp_go_now(p->wire) - kcpvpn_conv_last_rx(longest->conv) < WIRE_KCP_GO_REPLACE_US)
		return false;
	kcp_go_call_free(longest);
	return true;
}

/* Gives a call to its peer. @return false if the peer does not want it: the call is gone then */
static bool assign(struct kcp_go_call *call, struct wire_peer *p)
{
	size_t others = 0;

	list_for_each (at, &p->calls)
		others++;
	if (!p->started || (others >= CALLS_PER_PEER && !end_silent(p))) {
		kcp_go_call_free(call);
		return false;
	}
	call->wire->unknown_count--;
	loop_timer_disarm(call->wire->loop, &call->timer);
	list_remove(&call->in_list);
	call->peer = p;
	kcp_go_set_times(p, call->conv);
	list_add_tail(&p->calls, &call->in_list);
	if (others == 0)
		promote(call);
	return true;
}

bool kcp_go_call_accept(struct kcp_go *wire, struct kcpvpn_conv *conv)
{
	struct kcp_go_call *call = NULL;
	struct wire_peer *p = only_caller(wire);

	if (wire->unknown_count < WIRE_KCP_GO_UNKNOWN_MAX)
		call = calloc(1, sizeof(*call));
	if (!call) {
		wire->unknown_refused++;
		kcpvpn_conv_close(conv, kcp_go_now(wire));
		return false;
	}
	call->owner.is_call = true;
	call->wire = wire;
	call->conv = conv;
	loop_timer_init(&call->timer, on_timer);
	kcpvpn_conv_set_user(conv, &call->owner);
	list_add_tail(&wire->unknown, &call->in_list);
	wire->unknown_count++;
	if (p)
		return assign(call, p);
	loop_timer_arm(wire->loop, &call->timer,
		mono_add_us(loop_now(wire->loop), WIRE_KCP_GO_UNKNOWN_US));
	return true;
}

/* Looks at the first packet of an unknown caller. @return false if the call is gone or still unknown */
static bool identify(struct kcp_go_call *call)
{
	const struct wire_events *events = call->wire->wire.events;
	struct iovec pieces[256];
	size_t len;
	int count;

	while ((count = kcpvpn_conv_recv_peek(call->conv, pieces, 256, &len)) > 0) {
		struct peer *peer = events->owner(events->ctx, pieces, count, len);
		if (peer && peer->wire)
			return assign(call, peer->wire);
		kcpvpn_conv_recv_drop(call->conv, kcp_go_now(call->wire));
	}
	return false;
}

/*
 * A call that is not the current one takes its place once that has been silent for 2 s and this one has not; else it is
 * looked at again when that may be so.
 */
static void consider(struct kcp_go_call *call)
{
	struct wire_peer *p = call->peer;
	struct kcp_go_call *current = list_entry(p->calls.next, struct kcp_go_call, in_list);

	if (current == call)
		return;
	int64_t silent_since = kcpvpn_conv_last_rx(current->conv);
	struct mono replace_at = mono_add_us(mono_at_us(silent_since), WIRE_KCP_GO_REPLACE_US);
	if (!mono_due(replace_at, loop_now(p->wire->loop))) {
		loop_timer_arm(p->wire->loop, &call->timer, replace_at);
		return;
	}
	if (kcpvpn_conv_last_rx(call->conv) <= silent_since)
		return;
	promote(call);
}

void kcp_go_call_event(struct kcp_go_call *call, unsigned events)
{
	struct wire_peer *p;

	if (!call->peer && !(events & KCPVPN_EVENT_CLOSED) && !identify(call))
		return;
	p = call->peer;
	if (events & KCPVPN_EVENT_CLOSED) {
		if (p && p->calls.next == &call->in_list)
			log_info(p->wire->log, "peer %s: the caller is gone", p->peer->name);
		kcp_go_call_free(call);
		if (p)
			kcp_go_tell_state(p);
		return;
	}
	kcp_go_receive(p, call->conv);
	consider(call);
	kcp_go_tell_state(p);
	if (events & KCPVPN_EVENT_WRITABLE)
		p->wire->wire.events->writable(p->wire->wire.events->ctx, p->peer);
}
