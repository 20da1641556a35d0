/*
 * The kcp-go wire as the packet path sees it. One node of the library holds all conversations; sockets feed it, one
 * timer serves its deadlines, and after each round of the loop its events are handed to dialling
 * (wire_kcp_go_dial.c) or to being called (wire_kcp_go_call.c).
 *
 * A round takes no more than ROUND_BYTES from the packet path, however wide the window is; then what has come in the meantime is
 * looked at before the next. Where the processor is the narrowest part of the way, what waits would else wait in the device, which
 * has no turns for flows, in place of the peers' queues, which have.
 *
 * A peer with endpoints is sent to on the conversation that we dialled, another on its current call; both receive.
 */
#include "vpnd/wire_kcp_go.h"

#include "config/config.h"
#include "core/log.h"
#include "core/stage_clock.h"
#include "core/super_message.h"
#include "vpnd/fault.h"
#include "vpnd/outside_lookup.h"
#include "vpnd/peer.h"
#include "vpnd/wire_kcp_go_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/uio.h>

enum {
	RECEIVES_PER_EVENT = 4, /* batches taken from a socket before others have their turn */
	MESSAGE_PIECES = 256,
	ROUND_BYTES = 256 << 10, /* half a millisecond's work */
	CONVERSATIONS_MAX =
		1
		<< 20, /* bounded by CALLS_PER_PEER and WIRE_KCP_GO_UNKNOWN_MAX, which a reload follows */
	SEND_QUEUE_SEGMENTS =
		512, /* packets wait in the peer's queue, not here; room for a large message */
};

static struct kcp_go *of(struct wire *wire)
{
	return (struct kcp_go *)wire;
}

int64_t kcp_go_now(const struct kcp_go *wire)
{
	return loop_now(wire->loop).us;
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	uint8_t *at = buf;

	(void)ctx;
	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);
		if (n < 0 && errno != EINTR)
			abort(); /* without randomness nonces repeat, and the cipher hides nothing */
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

/* ---- sockets ---------------------------------------------------------------------------------------------------- */

static void on_socket(struct loop_watch *watch, uint32_t events)
{
	struct kcp_go_socket *socket = list_entry(watch, struct kcp_go_socket, watch);
	struct stage_clock *stages = socket->wire->wire.events->stages;
	const struct kcpvpn_datagram *batch;

	(void)events;
	for (int i = 0; i < RECEIVES_PER_EVENT || udp_socket_pending(&socket->udp); i++) {
		enum stage before = stage_enter(stages, STAGE_UDP_RECEIVE);
		size_t count = udp_socket_receive(&socket->udp, &batch);
		stage_did(stages, count);
		(void)stage_enter(stages, before);
		if (count > 0)
			kcpvpn_node_input(socket->wire->node, &socket->udp.kcpvpn, socket->accepts,
				batch, count, kcp_go_now(socket->wire));
		if (!udp_socket_more(&socket->udp))
			return;
	}
	loop_behind(socket->wire->loop);
}

int kcp_go_socket_open(struct kcp_go *wire, struct kcp_go_socket *socket,
	const struct udp_socket_options *options, struct fault *fault)
{
	int error = udp_socket_open(&socket->udp, options, wire->batch, fault);

	if (error < 0)
		return error;
	socket->wire = wire;
	socket->watch = (struct loop_watch){.fd = socket->udp.fd, .on_event = on_socket};
	error = loop_watch_add(wire->loop, &socket->watch, EPOLLIN);
	if (error < 0)
		udp_socket_close(&socket->udp);
	return error;
}

void kcp_go_socket_close(struct kcp_go_socket *socket)
{
	if (!socket->wire)
		return;
	/* Nothing may refer to it afterwards, not even conversations that nobody was told of. */
	kcpvpn_node_close_port(socket->wire->node, &socket->udp.kcpvpn, kcp_go_now(socket->wire));
	loop_watch_remove(socket->wire->loop, &socket->watch);
	udp_socket_close(&socket->udp);
	socket->wire = NULL;
}

/* ---- conversations ---------------------------------------------------------------------------------------------- */

struct kcpvpn_conv *kcp_go_conv(const struct wire_peer *p)
{
	if (p->peer->config->endpoints.count > 0)
		return p->alive ? p->dialled : NULL;
	return kcp_go_call_current(p);
}

void kcp_go_close(struct kcp_go *wire, struct wire_peer *p, struct kcpvpn_conv *conv)
{
	struct kcpvpn_conv_stats stats;

	if (p) {
		kcpvpn_conv_stats(conv, &stats);
		kcp_go_add_stats(&p->past, &stats);
	}
	kcpvpn_conv_close(conv, kcp_go_now(wire));
}

void kcp_go_receive(struct wire_peer *p, struct kcpvpn_conv *conv)
{
	const struct wire_events *events = p->wire->wire.events;
	struct iovec pieces[MESSAGE_PIECES];
	size_t len;
	int count;

	while ((count = kcpvpn_conv_recv_peek(conv, pieces, MESSAGE_PIECES, &len)) > 0) {
		events->received(events->ctx, p->peer, pieces, count, len);
		kcpvpn_conv_recv_drop(conv, kcp_go_now(p->wire));
	}
	uint8_t packet[UDP_DATAGRAM_BYTES];
	while (kcpvpn_conv_recv_oob(conv, packet, sizeof(packet), &len) == 0) {
		pieces[0] = (struct iovec){packet, len};
		events->received(events->ctx, p->peer, pieces, 1, len);
	}
}

static enum wire_peer_state state_of(const struct wire_peer *p)
{
	if (!p->started)
		return WIRE_PEER_DOWN;
	if (kcp_go_conv(p))
		return WIRE_PEER_UP;
	return p->peer->config->endpoints.count > 0 && !p->dormant ? WIRE_PEER_CONNECTING
								   : WIRE_PEER_IDLE;
}

void kcp_go_tell_state(struct wire_peer *p)
{
	enum wire_peer_state state = state_of(p);

	if (state == p->told)
		return;
	p->told = state;
	kcp_go_look(p);
	p->wire->wire.events->mtu_changed(p->wire->wire.events->ctx, p->peer, 0, 0,
		state == WIRE_PEER_UP ? SUPER_PACKET_BYTES_MAX : 0);
	p->up_at = state == WIRE_PEER_UP ? loop_now(p->wire->loop) : MONO_NEVER;
	if (state == WIRE_PEER_UP)
		kcp_go_loss_start(p);
	else
		loop_timer_disarm(p->wire->loop, &p->loss_timer);
	p->wire->wire.events->state_changed(p->wire->wire.events->ctx, p->peer);
}

/* Dialled conversations belong to a peer, those that came in to a call. */
static void handle_event(struct kcp_go *wire, struct kcpvpn_conv *conv, unsigned events)
{
	if (events & KCPVPN_EVENT_ACCEPTED && !kcp_go_call_accept(wire, conv))
		return;
	struct kcp_go_owner *owner = kcpvpn_conv_user(conv);
	if (owner->is_call)
		kcp_go_call_event(list_entry(owner, struct kcp_go_call, owner), events);
	else
		kcp_go_dial_event(list_entry(owner, struct wire_peer, dial_owner), events);
}

/* ---- the packet path's side ------------------------------------------------------------------------------------- */

static int peer_start(struct wire *base, struct peer *peer)
{
	struct kcp_go *wire = of(base);
	struct wire_peer *p = peer->wire;

	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		p->wire = wire;
		p->peer = peer;
		p->up_at = MONO_NEVER;
		p->loss_raw_in = p->loss_residual_in = -1;
		list_init(&p->calls);
		list_add_tail(&wire->peers, &p->in_wire);
		peer->wire = p;
	}
	if (p->started)
		return 0;
	p->started = true;
	kcp_go_dial_start(p);
	kcp_go_call_check_unknown(of(base)); /* it may have called already */
	kcp_go_tell_state(p);
	return 0;
}

static void peer_stop(struct wire *base, struct peer *peer, enum wire_stop why)
{
	struct wire_peer *p = peer->wire;

	(void)base, (void)why;
	if (!p)
		return;
	p->started = false;
	kcp_go_dial_stop(p);
	while (!list_empty(&p->calls))
		kcp_go_call_free(list_entry(p->calls.next, struct kcp_go_call, in_list));
	kcp_go_tell_state(p);
	kcp_go_look(p);
	loop_timer_disarm(p->wire->loop, &p->loss_timer);
	list_remove(&p->in_wire);
	peer->wire = NULL;
	free(p);
}

void kcp_go_configure(const struct wire_peer *p, struct kcpvpn_conv *conv)
{
	const struct config_session *session = &p->peer->config->session;

	kcpvpn_conv_set_times(conv,
		(int64_t)config_keepalive_ms(session, CONFIG_WIRE_KCP_GO) * 1000,
		(int64_t)session->dead_after_ms * 1000, 0);
	const struct config_transport *transport = &p->peer->config->transport;
	kcpvpn_conv_set_measured_window(conv, transport->congestion == CONFIG_CONGESTION_AUTO);
	kcpvpn_conv_set_burst(conv, SUPER_PACKET_SEGMENTS_MAX);
	kcpvpn_conv_set_rate_max(conv, (uint64_t)transport->rate_max_bps);
	kcpvpn_conv_set_dscp(
		conv, transport->dscp == CONFIG_INHERIT ? KCPVPN_DSCP_AS_MARKED : transport->dscp);
	if (kcpvpn_conv_set_urgent_oob(conv, transport->class == CONFIG_CLASS_DATAGRAM) < 0)
		log_warn(p->wire->log, "peer %s: no memory to tell urgent packets; all go in order",
			p->peer->name);
}

static void peer_changed(struct wire *base, struct peer *peer)
{
	struct wire_peer *p = peer->wire;

	(void)base;
	if (!p)
		return;
	if (p->dialled)
		kcp_go_configure(p, p->dialled);
	list_for_each (node, &p->calls)
		kcp_go_configure(p, list_entry(node, struct kcp_go_call, in_list)->conv);
}

static void peers_changed(struct wire *base)
{
	struct kcp_go *wire = of(base);

	list_for_each (at, &wire->peers)
		kcp_go_call_check(list_entry(at, struct wire_peer, in_wire));
	kcp_go_call_check_unknown(wire);
}

static int set_config(struct wire *base, const struct config *config, struct fault *fault)
{
	struct kcp_go *wire = of(base);
	int error = kcp_go_listen(wire, config, fault);

	if (error < 0)
		return error;
	wire->config = config;
	return 0;
}

static enum wire_peer_state peer_state(const struct wire *base, const struct peer *peer)
{
	(void)base;
	return peer->wire ? state_of(peer->wire) : WIRE_PEER_DOWN;
}

static bool ready(struct wire *base, struct peer *peer)
{
	struct wire_peer *p = peer->wire;

	(void)base;
	if (p && p->dormant)
		kcp_go_dial_wake(p);
	if (p && p->wire->round_bytes >= ROUND_BYTES) {
		p->held = p->wire->holds = true;
		return false;
	}
	struct kcpvpn_conv *conv = p ? kcp_go_conv(p) : NULL;
	return conv && kcpvpn_conv_window_room(conv) > 0;
}

/* A segment of a super-packet that becomes a packet. */
struct cut {
	const struct super_packet *packet;
	uint16_t segment;
};

static void make_cut(void *ctx, uint8_t *at)
{
	const struct cut *cut = ctx;

	(void)super_packet_write(cut->packet, cut->segment, 1, true, at);
}

/*
 * On the wire each message is a packet, as kcptun's users have it; super-packets only wait in front of it as one, so that the
 * queue has a forty-fifth of the work. What is refused of one is lost, as any packet would be.
 */
static int send_super(
	struct kcp_go *wire, struct kcpvpn_conv *conv, const void *message, size_t len)
{
	const struct super_limits limits = {SUPER_PACKET_BYTES_MAX, SUPER_PACKET_BYTES_MAX};
	struct super_packet packet;
	int first_error = 0;

	if (super_message_parse(message, len, &limits, &packet) != SUPER_OK)
		return -EINVAL;
	for (uint16_t i = 0; i < packet.segments; i++) {
		struct cut cut = {&packet, i};
		size_t bytes = super_packet_range_bytes(&packet, i, 1);
		int error = kcpvpn_conv_send_made(conv, packet.bytes, bytes, make_cut, &cut);
		if (error == -EMSGSIZE || error == -EINVAL) {
			make_cut(&cut, wire->packet);
			error = kcpvpn_conv_send(conv, wire->packet, bytes, kcp_go_now(wire));
		}
		if (error < 0 && first_error == 0)
			first_error = error;
	}
	return first_error;
}

static int send_packet(struct wire *base, struct peer *peer, const void *packet, size_t len)
{
	struct kcpvpn_conv *conv = peer->wire ? kcp_go_conv(peer->wire) : NULL;

	if (!conv)
		return -ENOTCONN;
	of(base)->round_bytes += len;
	if (super_message_is_long(packet, len))
		return send_super(of(base), conv, packet, len);
	return kcpvpn_conv_send(conv, packet, len, kcp_go_now(of(base)));
}

static bool path_of(const struct wire *base, const struct peer *peer, struct ingress_path *ret_path)
{
	struct kcpvpn_conv *conv = peer->wire ? kcp_go_conv(peer->wire) : NULL;
	struct kcpvpn_conv_stats stats;

	(void)base;
	if (!conv)
		return false;
	kcpvpn_conv_stats(conv, &stats);
	/* What parity mends makes no bursts; what is sent again does. */
	*ret_path =
		(struct ingress_path){stats.srtt_us, stats.rate_bps, stats.resent_ppm / 1e6, false};
	return stats.srtt_us >= 0;
}

static bool turn(struct wire *base, struct mono now)
{
	struct kcp_go *wire = of(base);
	struct kcpvpn_conv *conv;
	unsigned events;
	bool any = false;

	kcpvpn_node_on_deadline(wire->node, now.us);
	while ((conv = kcpvpn_node_next_event(wire->node, &events)) != NULL) {
		handle_event(wire, conv, events);
		any = true;
	}
	return any;
}

/* Those who were not asked for more because the round was over have their turn in the next, which begins at once. */
static void tell_held(struct kcp_go *wire)
{
	wire->holds = false;
	list_for_each (at, &wire->peers) {
		struct wire_peer *p = list_entry(at, struct wire_peer, in_wire);
		if (p->held)
			wire->wire.events->writable(wire->wire.events->ctx, p->peer);
		p->held = false;
	}
	loop_behind(wire->loop);
}

static void flush(struct wire *base, struct mono now)
{
	struct kcp_go *wire = of(base);

	kcpvpn_node_flush(wire->node, now.us);
	wire->round_bytes = 0;
	struct mono at = mono_at_us(kcpvpn_node_next_deadline(wire->node));
	if (wire->holds) {
		tell_held(wire);
		at = now;
	}
	loop_timer_arm(wire->loop, &wire->timer, at);
}

/* The deadline itself is served after the round, in turn(). */
static void on_deadline(struct loop_timer *timer, struct mono now)
{
	(void)timer;
	(void)now;
}

static void network_changed(struct wire *base, bool slept)
{
	struct kcp_go *wire = of(base);

	(void)slept; /* conversations outlive it, or are found dead soon */

	list_for_each (at, &wire->peers) {
		struct wire_peer *p = list_entry(at, struct wire_peer, in_wire);
		kcp_go_dial_network_changed(p);
		kcp_go_look(p);
	}
}

static void wire_free(struct wire *base)
{
	struct kcp_go *wire = of(base);

	while (!list_empty(&wire->unknown))
		kcp_go_call_free(list_entry(wire->unknown.next, struct kcp_go_call, in_list));
	loop_timer_disarm(wire->loop, &wire->timer);
	kcp_go_listen_end(wire);
	resolver_free(wire->resolver);
	kcpvpn_node_free(wire->node);
	udp_batch_free(wire->batch);
	free(wire->packet);
	free(wire);
}

static const struct wire_ops OPS = {
	.peer_start = peer_start,
	.peer_stop = peer_stop,
	.peer_state = peer_state,
	.peer_changed = peer_changed,
	.peers_changed = peers_changed,
	.set_config = set_config,
	.ready = ready,
	.send = send_packet,
	.path = path_of,
	.turn = turn,
	.flush = flush,
	.network_changed = network_changed,
	.peer_loss = kcp_go_peer_loss,
	.peer_status = kcp_go_peer_status,
	.status = kcp_go_status,
	.ping = kcp_go_ping,
	.pong = kcp_go_pong,
	.free = wire_free,
};

/* ---- making it -------------------------------------------------------------------------------------------------- */

static int make_node(struct kcp_go *wire, struct fault *fault)
{
	static const char *const modes[] = {"normal", "fast", "fast2", "fast3"};
	const struct config_kcp_go *c = &wire->config->kcp_go;
	struct kcpvpn_config node;
	uint8_t key[KCPVPN_KEY_BYTES];

	kcpvpn_config_init(&node);
	node.crypt = c->crypt;
	node.key = key;
	node.key_len = sizeof(key);
	node.data_shards = (uint32_t)c->datashard;
	node.parity_shards = (uint32_t)c->parityshard;
	node.mtu_bytes = (uint32_t)c->mtu;
	node.snd_wnd = (uint32_t)c->sndwnd;
	node.rcv_wnd = (uint32_t)c->rcvwnd;
	node.stream = false;
	node.send_queue_segments = SEND_QUEUE_SEGMENTS;
	node.convs_max = CONVERSATIONS_MAX;
	node.idle_after_us = WIRE_KCP_GO_UNKNOWN_US;
	(void)kcpvpn_config_mode(&node, modes[c->mode]);
	int error = kcpvpn_key_derive(c->key, strlen(c->key), key);
	if (error == 0)
		error = kcpvpn_node_new(&node, fill_random, NULL, kcp_go_now(wire), &wire->node);
	explicit_bzero(key, sizeof(key));
	if (error < 0)
		return fault_set(fault, error, "E-WIRE-1", NULL,
			"cannot set up cipher %s with these shards and windows: %s", c->crypt,
			strerror(-error));
	kcpvpn_node_profile(wire->node, wire->wire.events->stages);
	wire->wire.mtu_bytes = (uint16_t)kcpvpn_config_mss(&node);
	wire->wire.takes.packet_bytes_max = SUPER_PACKET_BYTES_MAX;
	return 0;
}

int wire_kcp_go_new(struct loop *loop, const struct config *config, struct netlink *netlink,
	const struct log *log, const struct wire_events *events, struct wire **ret_wire,
	struct fault *fault)
{
	struct kcp_go *wire = calloc(1, sizeof(*wire));
	int error;

	if (!wire)
		return fault_set(fault, -ENOMEM, "E-WIRE-2", NULL, "out of memory");
	wire->wire.ops = &OPS;
	wire->wire.events = events;
	wire->loop = loop;
	wire->config = config;
	wire->netlink = netlink;
	wire->log = log;
	list_init(&wire->peers);
	list_init(&wire->unknown);
	loop_timer_init(&wire->timer, on_deadline);
	wire->batch = udp_batch_new(UDP_DATAGRAM_BYTES);
	if (wire->batch)
		udp_batch_set_runs(wire->batch, true);
	wire->packet = malloc(SUPER_PACKET_BYTES_MAX);
	error = wire->batch && wire->packet
			? resolver_new(loop,
				  wire->config->full_tunnel.mode == CONFIG_FULL_TUNNEL_OFF
					  ? NULL
					  : outside_lookup,
				  &wire->resolver)
			: -ENOMEM;
	if (error < 0)
		fault_set(fault, error, "E-WIRE-2", NULL, "cannot set up the wire: %s",
			strerror(-error));
	if (error == 0)
		error = make_node(wire, fault);
	if (error == 0)
		error = kcp_go_listen(wire, config, fault);
	if (error < 0) {
		wire_free(&wire->wire);
		return error;
	}
	*ret_wire = &wire->wire;
	return 0;
}
