/*
 * Being called: whose is a conversation that came in? The inner source address of its first packet tells. Our own
 * diallers begin with such a packet; others may wait for us to speak first, so a caller that says nothing for a second
 * is taken for the only peer without endpoints, if there is just one. Until then nothing of ours goes out on it; 64
 * such callers may wait, 30 s each, and the oldest goes for a new one.
 *
 * A peer has one current call, which packets leave on; what arrives on others of its calls is accepted, too. When a
 * newer call speaks, the current one is asked for a sign of life (WASK), and if none comes for 2 s the newer one takes
 * its place: a peer that was restarted, or whose address changed, is back soon, and a copy of recorded datagrams does not
 * take over from a caller that is there. This wire offers no more than that: a copy can still take the place of a caller
 * that is away.
 */
#include "config/config.h"
#include "core/log.h"
#include "vpnd/peer.h"
#include "vpnd/wire_kcp_go.h"
#include "vpnd/wire_kcp_go_peer.h"

#include <stdlib.h>
#include <string.h>
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
static bool assign(struct kcp_go_call *call, struct wire_peer *p);

/*
 * The only peer without endpoints of the configuration, whether it is started or not: with several nobody can be meant
 * by default. NULL if there are several, or none.
 */
static struct wire_peer *only_caller(const struct kcp_go *wire)
{
	const struct config_peer *only = NULL;

	for (size_t i = 0; i < wire->config->peer_count; i++) {
		const struct config_peer *peer = &wire->config->peers[i];
		if (peer->endpoints.count > 0)
			continue;
		if (only)
			return NULL;
		only = peer;
	}
	list_for_each (at, &wire->peers) {
		struct wire_peer *p = list_entry(at, struct wire_peer, in_wire);
		if (only && strcmp(p->peer->name, only->name) == 0)
			return p;
	}
	return NULL;
}

/* A caller that said nothing, or one that said who it is not, had its time; or a known one may take another's place. */
static void on_timer(struct loop_timer *timer, struct mono now)
{
	struct kcp_go_call *call = list_entry(timer, struct kcp_go_call, timer);
	struct wire_peer *p = call->spoke ? NULL : only_caller(call->wire);

	if (call->peer) {
		consider(call);
	} else if (p) {
		call->by_default = true;
		if (assign(call, p))
			kcp_go_tell_state(p);
	} else if (mono_before(now, mono_add_us(call->began_at, WIRE_KCP_GO_UNKNOWN_US))) {
		loop_timer_arm(call->wire->loop, timer,
			mono_add_us(call->began_at, WIRE_KCP_GO_UNKNOWN_US));
	} else {
		call->wire->unknown_expired++;
		kcp_go_call_free(call);
	}
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
	kcp_go_look(p);
	log_info(p->wire->log, "peer %s: up, called from %s", p->peer->name,
		kcpvpn_endpoint_format(kcpvpn_conv_remote(call->conv), text));
	p->wire->wire.events->writable(p->wire->wire.events->ctx, p->peer);
}

/* Ends the call of a peer, but the current one, that has been silent for longest. */
static void end_silent(struct wire_peer *p)
{
	struct kcp_go_call *longest = NULL;

	list_for_each (at, &p->calls) {
		struct kcp_go_call *call = list_entry(at, struct kcp_go_call, in_list);
		if (p->calls.next != &call->in_list &&
			(!longest || kcpvpn_conv_last_rx(call->conv) <
					     kcpvpn_conv_last_rx(longest->conv)))
			longest = call;
	}
	if (longest)
		kcp_go_call_free(longest);
}

/* Gives a call to its peer. @return false if the peer does not want it: the call is gone then */
static bool assign(struct kcp_go_call *call, struct wire_peer *p)
{
	size_t others = 0;

	list_for_each (at, &p->calls)
		others++;
	if (!p->started) {
		kcp_go_call_free(call);
		return false;
	}
	if (others >= CALLS_PER_PEER)
		end_silent(p);
	call->wire->unknown_count--;
	loop_timer_disarm(call->wire->loop, &call->timer);
	list_remove(&call->in_list);
	call->peer = p;
	kcp_go_configure(p, call->conv);
	list_add_tail(&p->calls, &call->in_list);
	if (others == 0)
		promote(call);
	return true;
}

bool kcp_go_call_accept(struct kcp_go *wire, struct kcpvpn_conv *conv)
{
	struct kcp_go_call *call = calloc(1, sizeof(*call));

	if (!call) {
		wire->unknown_refused++;
		kcpvpn_conv_close(conv, kcp_go_now(wire));
		return false;
	}
	if (wire->unknown_count >= WIRE_KCP_GO_UNKNOWN_MAX) {
		wire->unknown_refused++;
		kcp_go_call_free(list_entry(wire->unknown.next, struct kcp_go_call, in_list));
	}
	call->owner.is_call = true;
	call->wire = wire;
	call->conv = conv;
	call->began_at = loop_now(wire->loop);
	call->asked_at = MONO_NEVER;
	loop_timer_init(&call->timer, on_timer);
	kcpvpn_conv_set_user(conv, &call->owner);
	list_add_tail(&wire->unknown, &call->in_list);
	wire->unknown_count++;
	loop_timer_arm(wire->loop, &call->timer, mono_add_us(call->began_at, WIRE_KCP_GO_MUTE_US));
	return true;
}

/* Notes the inner source address that told whose the call is, as a bare packet that can be asked about again. */
static void note_source(struct kcp_go_call *call, const struct iovec *piece)
{
	const uint8_t *packet = piece->iov_base;
	uint8_t version = piece->iov_len > 0 ? packet[0] >> 4 : 0;

	if (version == 4 && piece->iov_len >= IP_HEADER_V4_BYTES)
		call->source_len = ip_header_write(
			call->source, 4, packet + 12, packet + 12, IP_PROTOCOL_NONE, 0);
	else if (version == 6 && piece->iov_len >= IP_HEADER_V6_BYTES)
		call->source_len = ip_header_write(
			call->source, 6, packet + 8, packet + 8, IP_PROTOCOL_NONE, 0);
}

/* Whose the noted source is now; NULL = nobody's, or none was noted. */
static struct peer *owner_of(const struct kcp_go_call *call)
{
	const struct wire_events *events = call->wire->wire.events;
	uint8_t packet[sizeof(call->source)];
	struct iovec piece = {packet, call->source_len};

	memcpy(packet, call->source, sizeof(packet));
	return call->source_len > 0 ? events->owner(events->ctx, &piece, 1, piece.iov_len) : NULL;
}

void kcp_go_call_check_unknown(struct kcp_go *wire)
{
	list_for_each_safe (node, &wire->unknown) {
		struct kcp_go_call *call = list_entry(node, struct kcp_go_call, in_list);
		struct peer *peer = owner_of(call);
		if (peer && peer->wire && assign(call, peer->wire))
			kcp_go_tell_state(peer->wire);
	}
}

void kcp_go_call_check(struct wire_peer *p)
{
	list_for_each_safe (node, &p->calls) {
		struct kcp_go_call *call = list_entry(node, struct kcp_go_call, in_list);
		bool own = call->by_default ? only_caller(p->wire) == p : true;
		if (call->source_len > 0)
			own = owner_of(call) == p->peer;
		if (!own)
			kcp_go_call_free(call);
	}
	/* another call may be the current one now: what waits goes there */
	if (!list_empty(&p->calls))
		p->wire->wire.events->writable(p->wire->wire.events->ctx, p->peer);
	kcp_go_tell_state(p);
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
		call->spoke = true;
		note_source(call, &pieces[0]);
		if (peer && peer->wire)
			return assign(call, peer->wire);
		kcpvpn_conv_recv_drop(call->conv, kcp_go_now(call->wire));
	}
	return false;
}

/*
 * A call that is not the current one spoke: the current one is asked, and if it has not answered 2 s later while this
 * one did speak, it loses its place.
 */
static void consider(struct kcp_go_call *call)
{
	struct wire_peer *p = call->peer;
	struct kcp_go_call *current = list_entry(p->calls.next, struct kcp_go_call, in_list);
	struct mono now = loop_now(p->wire->loop);

	if (current == call)
		return;
	struct mono heard_at = mono_at_us(kcpvpn_conv_last_rx(current->conv));
	struct mono replace_at = mono_add_us(call->asked_at, WIRE_KCP_GO_REPLACE_US);
	if (!mono_is_never(call->asked_at) && !mono_due(replace_at, now))
		return; /* the timer comes back */
	if (!mono_is_never(call->asked_at) && mono_before(heard_at, call->asked_at)) {
		if (kcpvpn_conv_last_rx(call->conv) > heard_at.us)
			promote(call);
		return;
	}
	/* It answered, or was not asked yet. What this call said before does not count again. */
	if (!mono_is_never(call->asked_at) && kcpvpn_conv_last_rx(call->conv) <= call->asked_at.us)
		return;
	call->asked_at = now;
	kcpvpn_conv_probe(current->conv, now.us);
	loop_timer_arm(p->wire->loop, &call->timer, mono_add_us(now, WIRE_KCP_GO_REPLACE_US));
}

void kcp_go_call_event(struct kcp_go_call *call, unsigned events)
{
	struct wire_peer *p;

	if (!call->peer && !(events & KCPVPN_EVENT_CLOSED) && !identify(call))
		return;
	p = call->peer;
	if (events & KCPVPN_EVENT_CLOSED) {
		bool current = p && p->calls.next == &call->in_list;
		kcp_go_call_free(call);
		if (current) {
			log_info(p->wire->log, "peer %s: the caller is gone", p->peer->name);
			if (!list_empty(&p->calls))
				promote(list_entry(p->calls.next, struct kcp_go_call, in_list));
		}
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
