/*
 * The native wire as the packet path sees it. The library (kcpvpn/native.h) decides all that is protocol; here it gets
 * sockets, time, names, and what the host tells of its network.
 *
 * A round: sockets hand over what came, turn() serves deadlines and events, flush() lets everything leave and arms the
 * one timer. Functions that the library calls while it sends (a datagram was too big) only take notes, which the next
 * turn hands in.
 *
 * A change of the host's network is worth a datagram to every peer only if the way to one of them is another than
 * before: the kernel also tells of refreshes that change nothing. So paths are compared, some peers at a time, and with
 * the first that differs the library is told, at most ten times a second. What changes meanwhile is seen by the next
 * comparison, which waits for the end of this one. After a suspend it is told in any case: the
 * world has moved on.
 *
 * Keepalive `auto` sends only where something on the way may forget us: the own address is private and the peer's is
 * not, so a translator stands between.
 */
#include "vpnd/wire_native.h"

#include "config/config.h"
#include "core/log.h"
#include "vpnd/fault.h"
#include "vpnd/outside_lookup.h"
#include "vpnd/peer.h"
#include "vpnd/state_file.h"
#include "vpnd/udp_offload.h"
#include "vpnd/wire_native_peer.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	MESSAGE_PIECES = 128, /* of the longest message */
	SWEEP_PEERS = 64,     /* paths compared in one go: about a millisecond */
	SWEEP_PAUSE_US = 5000,
	MTU_CERTAIN_BYTES =
		1280, /* more than the base carries in one piece: a probe came through */
	DATAGRAM_USUAL_BYTES = 1472, /* what an Ethernet carries over IPv4 */
};

static struct native_wire *of(struct wire *wire)
{
	return (struct native_wire *)wire;
}

int64_t native_now(const struct native_wire *wire)
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
			abort(); /* without randomness keys can be guessed */
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

static int64_t realtime_us(void *ctx)
{
	struct timespec ts = {0};

	(void)ctx;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- one peer --------------------------------------------------------------------------------------------------- */

static enum wire_peer_state state_of(const struct native_peer *p)
{
	switch (kcpvpn_peer_state(p->handle)) {
	case KCPVPN_PEER_DOWN:
		return WIRE_PEER_DOWN;
	case KCPVPN_PEER_IDLE:
		return WIRE_PEER_IDLE;
	case KCPVPN_PEER_CONNECTING:
		return WIRE_PEER_CONNECTING;
	case KCPVPN_PEER_UP:
		break;
	}
	return WIRE_PEER_UP;
}

/* 0 if the host does not tell. */
static uint32_t link_mtu(const struct native_wire *wire, int ifindex)
{
	struct ifreq request = {.ifr_ifindex = ifindex};
	int own = -1, fd = native_any_socket(wire);
	uint32_t mtu = 0;

	if (ifindex <= 0)
		return 0;
	if (fd < 0)
		fd = own = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && ioctl(fd, SIOCGIFNAME, &request) == 0 &&
		ioctl(fd, SIOCGIFMTU, &request) == 0 && request.ifr_mtu > 0)
		mtu = (uint32_t)request.ifr_mtu;
	if (own >= 0)
		close(own);
	return mtu;
}

/* One peer behind such a device, and all go without runs: sockets are shared. */
static void set_unsummed(struct native_peer *p, bool unsummed)
{
	if (p->unsummed == unsummed)
		return;
	p->unsummed = unsummed;
	p->wire->unsummed_count =
		unsummed ? p->wire->unsummed_count + 1 : p->wire->unsummed_count - 1;
	udp_batch_set_runs(p->wire->batch, p->wire->unsummed_count == 0);
	workers_stop(p->wire->workers);
	workers_set_runs(p->wire->workers, p->wire->unsummed_count == 0);
	workers_go(p->wire->workers);
}

void native_peer_look(struct native_peer *p)
{
	struct netlink_path path = {0};
	struct kcpvpn_endpoint remote = {0};

	if (native_targets_where(p, &remote) &&
		netlink_path(
			p->wire->netlink, &remote, config_fwmark(p->wire->config), &path, NULL) < 0)
		path = (struct netlink_path){0};
	if (kcpvpn_endpoint_equal(&remote, &p->path_to) && !netlink_path_equal(&path, &p->path))
		p->way_changed = true;
	p->path = path;
	p->path_to = remote;
	set_unsummed(p, remote.family != 0 &&
				!udp_offload_device_sums(native_any_socket(p->wire), path.ifindex));
	kcpvpn_peer_set_link_mtu(p->handle, link_mtu(p->wire, path.ifindex), native_now(p->wire));
}

/* What `auto` means for a peer: see the top. */
static int64_t keepalive_us(const struct native_peer *p)
{
	const struct config_session *session = &p->peer->config->session;
	struct kcpvpn_endpoint remote;

	if (session->keepalive_ms == CONFIG_OFF)
		return 0;
	if (session->keepalive_ms != CONFIG_AUTO)
		return (int64_t)session->keepalive_ms * 1000;
	if (!native_targets_where(p, &remote) || p->path.source.family == 0)
		return 0;
	return native_address_private(&p->path.source) && !native_address_private(&remote)
		       ? WIRE_NATIVE_KEEPALIVE_US
		       : 0;
}

static struct kcpvpn_peer_config config_of(const struct native_peer *p)
{
	const struct config_peer *c = p->peer->config;

	_Static_assert((int)CONFIG_PADDING_NONE == KCPVPN_PADDING_NONE &&
			       (int)CONFIG_PADDING_16 == KCPVPN_PADDING_16 &&
			       (int)CONFIG_PADDING_FULL == KCPVPN_PADDING_FULL &&
			       (int)CONFIG_CLASS_DATAGRAM == KCPVPN_CARRIAGE_DATAGRAM &&
			       (int)CONFIG_CLASS_RELIABLE == KCPVPN_CARRIAGE_RELIABLE &&
			       (int)CONFIG_FEC_FIXED == KCPVPN_FEC_FIXED &&
			       (int)CONFIG_FEC_ADAPTIVE == KCPVPN_FEC_ADAPTIVE,
		"words are in order");
	return (struct kcpvpn_peer_config){
		.public_key = c->public_key,
		.preshared_key = c->preshared_key,
		.tun_mtu = p->wire->mtu_bytes,
		.keepalive_us = p->keepalive_us,
		.dead_after_us = (int64_t)c->session.dead_after_ms * 1000,
		.deadline_us =
			c->transport.deadline_ms > 0 ? (int64_t)c->transport.deadline_ms * 1000 : 0,
		.roaming = c->session.roaming,
		.persistent = c->session.persistent,
		.padding = (enum kcpvpn_padding)c->transport.padding,
		.carriage = (enum kcpvpn_carriage)c->transport.class,
		.rate_max_bps = (uint64_t)c->transport.rate_max_bps,
		.rate_fixed = c->transport.congestion == CONFIG_CONGESTION_FIXED,
		.dscp = c->transport.dscp == CONFIG_INHERIT ? KCPVPN_DSCP_INHERIT
							    : c->transport.dscp,
		.ecn = c->transport.ecn,
		.fec =
			{
				.mode = (enum kcpvpn_fec_mode)c->fec.mode,
				.data = (unsigned)c->fec.data,
				.parity = (unsigned)c->fec.parity,
				.max_overhead_percent = (unsigned)c->fec.max_overhead_percent,
				.tail_us = (int64_t)c->fec.group_timeout_ms * 1000,
			},
	};
}

void native_peer_configure(struct native_peer *p)
{
	p->keepalive_us = keepalive_us(p);
	struct kcpvpn_peer_config config = config_of(p);
	int error = kcpvpn_peer_configure(p->handle, &config, native_now(p->wire));
	workers_stop(p->wire->workers);
	if (error == 0)
		error = workers_peer_configure(
			p->wire->workers, p->peer, &config, native_now(p->wire));
	workers_go(p->wire->workers);
	if (error < 0)
		log_error(p->wire->log, "peer %s: its settings cannot be used: %s", p->peer->name,
			strerror(-error));
}

/* The address, or the way to it, may be another: so may be what `auto` means. */
static void follow_keepalive(struct native_peer *p)
{
	if (keepalive_us(p) != p->keepalive_us)
		native_peer_configure(p);
}

/* Why there is no session is said once for each reason. */
static void log_trouble(struct native_peer *p)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(p->handle, &status);
	if (!status.trouble || status.trouble == p->told_trouble)
		return;
	log_warn(p->wire->log, "peer %s: %s", p->peer->name, status.trouble);
	p->told_trouble = status.trouble;
}

static void watch_troubles(struct native_wire *wire)
{
	if (mono_is_never(wire->trouble.timer.at))
		loop_timer_arm(wire->loop, &wire->trouble,
			mono_add_us(loop_now(wire->loop), WIRE_NATIVE_TROUBLE_US));
}

static void on_trouble(struct loop_timer *timer, struct mono now)
{
	struct native_wire *wire = list_entry(timer, struct native_wire, trouble);
	bool any = false;

	(void)now;
	list_for_each (at, &wire->peers) {
		struct native_peer *p = list_entry(at, struct native_peer, in_wire);
		if (p->told != WIRE_PEER_CONNECTING)
			continue;
		log_trouble(p);
		any = true;
	}
	if (any)
		watch_troubles(wire);
}

static void say_mtu(struct native_peer *p, uint32_t path)
{
	const struct wire_events *events = p->wire->wire.events;
	bool up = p->told == WIRE_PEER_UP;
	uint32_t most = up ? kcpvpn_peer_tun_mtu(p->handle) : 0;
	uint32_t super = up ? kcpvpn_peer_super_max(p->handle) : 0;

	if (path == p->told_mtu && most == p->told_most && super == p->told_super)
		return;
	p->told_mtu = path;
	p->told_most = most;
	p->told_super = super;
	events->mtu_changed(events->ctx, p->peer, path, most, super);
}

/*
 * Inner senders remember for minutes what they are told, so growth is told at once, and that a path is short only when
 * it has stayed so for a while: the first probes need some round trips, and a few losses in a row look like a path that
 * became shorter. Until then what is too long travels in pieces.
 */
static void tell_mtu(struct native_peer *p)
{
	struct native_wire *wire = p->wire;
	uint32_t path = p->told == WIRE_PEER_UP ? kcpvpn_peer_inner_mtu(p->handle) : 0;
	uint32_t least = p->told_mtu > 0 ? p->told_mtu : MTU_CERTAIN_BYTES;

	if (path > 0 && path < least) {
		say_mtu(p, p->told_mtu);
		if (mono_is_never(p->mtu_due.timer.at))
			loop_timer_arm(wire->loop, &p->mtu_due,
				mono_add_us(loop_now(wire->loop), WIRE_NATIVE_MTU_US));
		return;
	}
	loop_timer_disarm(wire->loop, &p->mtu_due);
	say_mtu(p, path);
}

static void on_mtu_due(struct loop_timer *timer, struct mono now)
{
	struct native_peer *p = list_entry(timer, struct native_peer, mtu_due);

	(void)now;
	if (p->told == WIRE_PEER_UP)
		say_mtu(p, kcpvpn_peer_inner_mtu(p->handle));
}

static void tell_state(struct native_peer *p)
{
	const struct wire_events *events = p->wire->wire.events;
	enum wire_peer_state state = state_of(p), before = p->told;
	struct kcpvpn_endpoint remote;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	if (state == before)
		return;
	p->told = state;
	if (state == WIRE_PEER_CONNECTING)
		watch_troubles(p->wire);
	if (state == WIRE_PEER_UP && kcpvpn_peer_endpoint(p->handle, &remote)) {
		p->told_trouble = NULL;
		log_info(p->wire->log, "peer %s: up at %s", p->peer->name,
			kcpvpn_endpoint_format(&remote, text));
	} else if (before == WIRE_PEER_UP && state != WIRE_PEER_DOWN) {
		log_info(p->wire->log, "peer %s: no longer there%s", p->peer->name,
			state == WIRE_PEER_CONNECTING ? "; calling" : "");
	}
	native_targets_state(p);
	tell_mtu(p);
	events->state_changed(events->ctx, p->peer);
}

static void receive(struct native_peer *p)
{
	const struct wire_events *events = p->wire->wire.events;
	struct iovec pieces[MESSAGE_PIECES];
	size_t len;
	int count;

	while ((count = kcpvpn_peer_recv_peek(p->handle, pieces, MESSAGE_PIECES, &len)) > 0) {
		events->received(events->ctx, p->peer, pieces, count, len);
		kcpvpn_peer_recv_drop(p->handle, native_now(p->wire));
	}
}

static void remember(struct native_peer *p)
{
	struct kcpvpn_endpoint remote;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	if (!kcpvpn_peer_endpoint(p->handle, &remote))
		return;
	if (p->wire->state)
		state_file_set(p->wire->state, p->peer->config->public_key, &remote);
	log_debug(p->wire->log, "peer %s: is at %s", p->peer->name,
		kcpvpn_endpoint_format(&remote, text));
	native_peer_look(p);
	follow_keepalive(p);
}

static void handle_events(struct native_peer *p, unsigned events)
{
	const struct wire_events *told = p->wire->wire.events;

	if (events & KCPVPN_PEER_EVENT_STATE)
		tell_state(p);
	if (events & KCPVPN_PEER_EVENT_ENDPOINT)
		remember(p);
	if (events & (KCPVPN_PEER_EVENT_MTU | KCPVPN_PEER_EVENT_STATE))
		tell_mtu(p);
	if (events & KCPVPN_PEER_EVENT_READABLE)
		receive(p);
	if (events & KCPVPN_PEER_EVENT_NAMES)
		native_targets_ask_again(p);
	if (events & (KCPVPN_PEER_EVENT_WRITABLE | KCPVPN_PEER_EVENT_STATE))
		told->writable(told->ctx, p->peer);
}

/* ---- the packet path's side ------------------------------------------------------------------------------------- */

static void free_peer(struct native_peer *p)
{
	struct native_wire *wire = p->wire;

	native_targets_stop(p);
	loop_timer_disarm(wire->loop, &p->mtu_due);
	if (wire->sweep_next == &p->in_wire)
		wire->sweep_next = p->in_wire.next;
	if (list_linked(&p->in_wire))
		wire->peer_count--;
	list_remove(&p->in_wire);
	workers_stop(wire->workers);
	workers_peer_end(wire->workers, p->peer);
	workers_go(wire->workers);
	if (p->handle)
		kcpvpn_native_remove_peer(wire->native, p->handle);
	set_unsummed(p, false);
	p->peer->wire = NULL;
	free(p);
}

/* A peer whose address is remembered is called once, even if it is the one that calls otherwise: it may still be there,
   and cannot know that we were away. */
static void call_remembered(struct native_peer *p)
{
	struct kcpvpn_endpoint remote;

	if (p->wanted || !p->wire->state || !p->peer->config->session.roaming ||
		!state_file_find(p->wire->state, p->peer->config->public_key, &remote))
		return;
	p->wanted = true;
	kcpvpn_peer_want(p->handle, native_now(p->wire));
}

static int peer_start(struct wire *base, struct peer *peer)
{
	struct native_wire *wire = of(base);
	struct native_peer *p = peer->wire;

	if (p)
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->wire = wire;
	p->peer = peer;
	p->told = WIRE_PEER_DOWN;
	list_init(&p->in_wire);
	loop_timer_init(&p->mtu_due, on_mtu_due);
	struct kcpvpn_peer_config config = config_of(p);
	int error = kcpvpn_native_add_peer(wire->native, &config, native_now(wire), &p->handle);
	if (error == 0) {
		peer->wire = p;
		kcpvpn_peer_set_user(p->handle, p);
		workers_stop(wire->workers);
		error = workers_peer_start(
			wire->workers, peer, kcpvpn_peer_id(p->handle), &config, native_now(wire));
		workers_go(wire->workers);
	}
	if (error == 0)
		error = native_targets_start(p);
	if (error < 0) {
		log_error(
			wire->log, "peer %s: cannot be started: %s", peer->name, strerror(-error));
		free_peer(p);
		return error == -ENOMEM ? -ENOMEM : 0;
	}
	list_add_tail(&wire->peers, &p->in_wire);
	wire->peer_count++;
	native_peer_look(p);
	native_peer_configure(p);
	kcpvpn_peer_up(p->handle, native_now(wire));
	call_remembered(p);
	tell_state(p);
	return 0;
}

static void peer_stop(struct wire *base, struct peer *peer, enum wire_stop why)
{
	static const enum kcpvpn_close reasons[] = {
		[WIRE_STOP_SHUTDOWN] = KCPVPN_CLOSE_SHUTDOWN,
		[WIRE_STOP_RESTART] = KCPVPN_CLOSE_RESTART,
		[WIRE_STOP_REMOVED] = KCPVPN_CLOSE_REMOVED,
	};
	struct native_wire *wire = of(base);
	struct native_peer *p = peer->wire;

	if (!p)
		return;
	kcpvpn_peer_down(p->handle, reasons[why], native_now(wire));
	kcpvpn_native_flush(wire->native, native_now(wire)); /* what was said last must leave */
	tell_state(p);
	free_peer(p);
}

static const uint8_t *key_of(const void *ctx, size_t index)
{
	const struct config *config = ctx;

	return config->peers[index].public_key;
}

static void peer_changed(struct wire *base, struct peer *peer)
{
	struct native_wire *wire = of(base);
	struct native_peer *p = peer->wire;

	if (!p)
		return;
	if (native_targets_changed(p) < 0)
		log_error(wire->log, "peer %s: out of memory", p->peer->name);
	native_peer_look(p);
	native_peer_configure(p);
	tell_mtu(p);
}

static void peers_changed(struct wire *base)
{
	struct native_wire *wire = of(base);

	list_for_each (at, &wire->peers) {
		struct native_peer *p = list_entry(at, struct native_peer, in_wire);
		if (p->name_count != p->peer->config->endpoints.count)
			peer_changed(base, p->peer); /* there was no memory for them */
	}
	if (wire->state)
		state_file_keep(wire->state, key_of, wire->config, wire->config->peer_count);
}

static int set_config(struct wire *base, const struct config *config, struct fault *fault)
{
	struct native_wire *wire = of(base);
	int outcome = native_listen(wire, config, fault);

	if (outcome >= 0)
		wire->config = config;
	/* After a refusal too: a socket that had to make way in vain is another one now. */
	if (outcome != 0)
		native_targets_set_all(wire);
	return outcome < 0 ? outcome : 0;
}

static enum wire_peer_state peer_state(const struct wire *base, const struct peer *peer)
{
	(void)base;
	return peer->wire ? state_of(peer->wire) : WIRE_PEER_DOWN;
}

static bool ready(struct wire *base, struct peer *peer)
{
	struct native_peer *p = peer->wire;

	if (!p)
		return false;
	if (kcpvpn_peer_room(p->handle, peer->longest_bytes))
		return true;
	if (kcpvpn_peer_state(p->handle) != KCPVPN_PEER_UP)
		kcpvpn_peer_want(p->handle, native_now(of(base)));
	return false;
}

static int send_packet(struct wire *base, struct peer *peer, const void *packet, size_t len)
{
	struct native_peer *p = peer->wire;

	return p ? kcpvpn_peer_send(p->handle, packet, len, native_now(of(base))) : -ENOTCONN;
}

static int lend_packet(struct wire *base, struct peer *peer, struct ingress_packet *packet)
{
	struct native_peer *p = peer->wire;

	return p ? kcpvpn_peer_lend(
			   p->handle, packet->data, packet->len, packet, native_now(of(base)))
		 : -ENOTCONN;
}

static bool path_of(const struct wire *base, const struct peer *peer, struct ingress_path *ret_path)
{
	const struct native_peer *p = peer->wire;
	struct kcpvpn_peer_status status;

	(void)base;
	if (!p || kcpvpn_peer_state(p->handle) != KCPVPN_PEER_UP)
		return false;
	kcpvpn_peer_status(p->handle, &status);
	*ret_path = (struct ingress_path){
		status.srtt_us, status.rate_bps, status.loss_raw_out, status.contested};
	return status.srtt_us >= 0;
}

static void hand_in_refused(struct native_wire *wire, struct mono now)
{
	for (size_t i = 0; i < wire->refused_count; i++)
		kcpvpn_native_too_big(
			wire->native, &wire->refused[i].remote, wire->refused[i].len, now.us);
	wire->refused_count = 0;
}

static bool turn(struct wire *base, struct mono now)
{
	struct native_wire *wire = of(base);
	struct kcpvpn_peer *handle;
	unsigned events;
	bool any = wire->refused_count > 0;

	hand_in_refused(wire, now);
	kcpvpn_native_on_deadline(wire->native, now.us);
	while ((handle = kcpvpn_native_next_event(wire->native, &events)) != NULL) {
		struct native_peer *p = kcpvpn_peer_user(handle);
		any = true;
		if (p)
			handle_events(p, events);
	}
	return any;
}

static void flush(struct wire *base, struct mono now)
{
	struct native_wire *wire = of(base);

	kcpvpn_native_flush(wire->native, now.us);
	loop_timer_arm(wire->loop, &wire->timer,
		wire->refused_count > 0 ? now
					: mono_at_us(kcpvpn_native_next_deadline(wire->native)));
}

/* The deadline itself is served after the round, in turn(). */
static void on_deadline(struct loop_timer *timer, struct mono now)
{
	(void)timer;
	(void)now;
}

/* ---- the host's network ----------------------------------------------------------------------------------------- */

static void on_tell(struct loop_timer *timer, struct mono now)
{
	struct native_wire *wire = list_entry(timer, struct native_wire, tell);

	wire->told_at = now;
	kcpvpn_native_network_changed(wire->native, now.us);
}

/* Tells the library at once, but not more often than it makes sense. */
static void tell_network(struct native_wire *wire)
{
	struct mono now = loop_now(wire->loop);

	loop_timer_arm(wire->loop, &wire->tell,
		mono_is_never(wire->told_at)
			? now
			: mono_max(now, mono_add_us(wire->told_at, WIRE_NATIVE_CHANGE_US)));
}

/* Unless one waits for its time already. Not more often than it makes sense: hosts with many routes tell of changes all
   the time. */
static void begin_sweep(struct native_wire *wire)
{
	struct mono at = loop_now(wire->loop);

	if (!mono_is_never(wire->sweep.timer.at))
		return;
	if (!mono_is_never(wire->swept_at))
		at = mono_max(at, mono_add_us(wire->swept_at, WIRE_NATIVE_CHANGE_US));
	loop_timer_arm(wire->loop, &wire->sweep, at);
}

static void on_sweep(struct loop_timer *timer, struct mono now)
{
	struct native_wire *wire = list_entry(timer, struct native_wire, sweep);

	if (wire->sweep_next == &wire->peers) { /* a new one begins */
		wire->sweep_next = wire->peers.next;
		wire->sweep_again = false;
		wire->swept_at = now;
	}
	for (int i = 0; i < SWEEP_PEERS && wire->sweep_next != &wire->peers; i++) {
		struct native_peer *p = list_entry(wire->sweep_next, struct native_peer, in_wire);
		wire->sweep_next = wire->sweep_next->next;
		native_peer_look(p);
		/* Even if the way to where it is has not changed: those to its other addresses may have, into the tunnel
		   or out of it. */
		native_targets_set(p);
		follow_keepalive(p);
		if (!p->way_changed)
			continue;
		p->way_changed = false;
		log_debug(wire->log, "peer %s: the way to it changed", p->peer->name);
		tell_network(wire);
	}
	if (wire->sweep_next != &wire->peers)
		loop_timer_arm(wire->loop, timer, mono_add_us(now, SWEEP_PAUSE_US));
	else if (wire->sweep_again)
		begin_sweep(wire);
}

static void network_changed(struct wire *base, bool slept)
{
	struct native_wire *wire = of(base);

	wire->no_spare = false;
	if (slept) {
		log_info(wire->log, "the host was suspended: calling all peers");
		tell_network(wire);
	}
	native_listen_again(wire);
	/* One that runs goes on to its end, or peers at the end of the list would never have their turn. */
	if (wire->sweep_next != &wire->peers)
		wire->sweep_again = true;
	else
		begin_sweep(wire);
}

/* ---- making it -------------------------------------------------------------------------------------------------- */

static void wire_free(struct wire *base)
{
	struct native_wire *wire = of(base);

	while (!list_empty(&wire->peers))
		free_peer(list_entry(wire->peers.next, struct native_peer, in_wire));
	loop_timer_disarm(wire->loop, &wire->timer);
	loop_timer_disarm(wire->loop, &wire->sweep);
	loop_timer_disarm(wire->loop, &wire->trouble);
	loop_timer_disarm(wire->loop, &wire->tell);
	loop_timer_disarm(wire->loop, &wire->reopen);
	if (wire->native)
		native_listen_end(wire);
	workers_stop(wire->workers);
	workers_detach(wire->workers);
	workers_go(wire->workers);
	resolver_free(wire->resolver);
	kcpvpn_native_free(wire->native);
	kcpvpn_shared_memory_free(wire->memory);
	udp_batch_free(wire->batch);
	free(wire);
}

static int ping(struct wire *base, struct peer *peer, uint32_t size_bytes, uint64_t *ret_ping)
{
	const struct native_wire *wire = (const struct native_wire *)base;
	const struct native_peer *p = peer->wire;

	return p ? kcpvpn_peer_ping(p->handle, size_bytes, native_now(wire), ret_ping) : -ENOTCONN;
}

static int64_t pong(const struct wire *base, const struct peer *peer, uint64_t number)
{
	const struct native_peer *p = peer->wire;

	(void)base;
	return p ? kcpvpn_peer_pong(p->handle, number) : -1;
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
	.lend = lend_packet,
	.path = path_of,
	.turn = turn,
	.flush = flush,
	.network_changed = network_changed,
	.peer_loss = native_peer_loss,
	.peer_status = native_peer_status,
	.status = native_status,
	.ping = ping,
	.pong = pong,
	.free = wire_free,
};

static uint32_t datagram_max(uint16_t mtu_bytes)
{
	uint32_t bytes = mtu_bytes + KCPVPN_NATIVE_OVERHEAD_BYTES;

	if (bytes < DATAGRAM_USUAL_BYTES)
		bytes = DATAGRAM_USUAL_BYTES;
	return bytes < KCPVPN_NATIVE_DATAGRAM_MAX_BYTES ? bytes : KCPVPN_NATIVE_DATAGRAM_MAX_BYTES;
}

static bool tell_worker(void *ctx, unsigned shard, const struct kcpvpn_shard_message *message)
{
	struct native_wire *wire = ctx;

	workers_tell(wire->workers, shard, message);
	return true;
}

static void loan_over(void *ctx, void *loan)
{
	(void)ctx;
	ingress_packet_return(loan);
}

static void on_handed(void *ctx, uint64_t id, const void *packet, size_t len)
{
	struct native_wire *wire = ctx;
	const struct wire_events *events = wire->wire.events;
	struct kcpvpn_peer *handle = kcpvpn_native_peer(wire->native, id);
	struct native_peer *p = handle ? kcpvpn_peer_user(handle) : NULL;

	if (p && events->handed)
		events->handed(events->ctx, p->peer, packet, len);
}

static bool on_handed_datagrams(
	void *ctx, uint64_t number, const struct kcpvpn_datagram *batch, size_t count)
{
	struct native_wire *wire = ctx;
	const struct native_socket *socket = native_socket_of(wire, number);

	if (!socket)
		return false;
	kcpvpn_native_input(wire->native, &socket->udp.kcpvpn, batch, count, native_now(wire));
	return true;
}

static int make_followers(struct native_wire *wire, const struct kcpvpn_native_config *config)
{
	const struct workers_leader leader = {
		.ctx = wire,
		.native = wire->native,
		.takes = wire->wire.takes,
		.packet = on_handed,
		.datagrams = on_handed_datagrams,
	};

	workers_stop(wire->workers);
	int error = workers_attach(wire->workers, &leader, config, native_now(wire));
	workers_go(wire->workers);
	return error;
}

static int make_native(struct native_wire *wire, struct fault *fault)
{
	const struct config *config = wire->config;
	uint64_t threads = workers_count(wire->workers) + 1;
	uint64_t shared_bytes = threads > 1 ? WIRE_NATIVE_MEMORY_BYTES / 2 : 0;
	struct kcpvpn_native_config native = {
		.private_key = config->identity.private_key,
		.network_key = config->identity.network_key,
		.datagram_max_bytes = datagram_max(wire->mtu_bytes),
		.peers_max = CONFIG_PEERS_MAX,
		.memory_max_bytes = (WIRE_NATIVE_MEMORY_BYTES - shared_bytes) / threads,
		.super_max_bytes = wire->wire.takes.super_bytes_max,
		.realtime_us = realtime_us,
		.random = fill_random,
		.shards = (uint8_t)threads,
		.tell = tell_worker,
		.loan_over = loan_over,
		.ctx = wire,
	};

	if (!native.private_key)
		return fault_set(
			fault, -EINVAL, "E-WIRE-4", NULL, "the native wire needs a private key");
	wire->batch = udp_batch_new(native.datagram_max_bytes);
	if (wire->batch)
		udp_batch_set_runs(wire->batch, true);
	int error = wire->batch ? resolver_new(wire->loop,
					  wire->config->full_tunnel.mode == CONFIG_FULL_TUNNEL_OFF
						  ? NULL
						  : outside_lookup,
					  &wire->resolver)
				: -ENOMEM;
	if (error == 0 && shared_bytes > 0)
		error = kcpvpn_shared_memory_new(shared_bytes, &wire->memory);
	native.shared_memory = wire->memory;
	if (error == 0)
		error = kcpvpn_native_new(&native, native_now(wire), &wire->native);
	if (error == 0)
		kcpvpn_native_profile(wire->native, wire->wire.events->stages);
	if (error == 0)
		error = make_followers(wire, &native);
	if (error < 0)
		return fault_set(fault, error, "E-WIRE-2", NULL, "cannot set up the wire: %s",
			strerror(-error));
	return 0;
}

int wire_native_new(struct loop *loop, const struct config *config, uint16_t mtu_bytes,
	struct workers *workers, struct netlink *netlink, struct state_file *state,
	const struct log *log, const struct wire_events *events, struct wire **ret_wire,
	struct fault *fault)
{
	struct native_wire *wire = calloc(1, sizeof(*wire));

	if (!wire)
		return fault_set(fault, -ENOMEM, "E-WIRE-2", NULL, "out of memory");
	wire->wire = (struct wire){
		.ops = &OPS,
		.events = events,
		.mtu_bytes = (uint16_t)config->interface.mtu_bytes,
		.takes = {mtu_bytes, config->interface.offload ? SUPER_PACKET_BYTES_MAX : 0},
		.live_endpoints = true,
	};
	wire->loop = loop;
	wire->config = config;
	wire->workers = workers;
	wire->netlink = netlink;
	wire->state = state;
	wire->log = log;
	wire->mtu_bytes = mtu_bytes;
	wire->told_at = MONO_NEVER;
	wire->swept_at = MONO_NEVER;
	list_init(&wire->peers);
	wire->sweep_next = &wire->peers;
	loop_timer_init(&wire->timer, on_deadline);
	loop_timer_init(&wire->sweep, on_sweep);
	loop_timer_init(&wire->trouble, on_trouble);
	loop_timer_init(&wire->tell, on_tell);
	native_listen_init(wire);
	/* Not for users: to compare the ciphers' implementations on one machine. */
	const char *seal = getenv("VPND_SEAL");
	log_info(log, "datagrams are sealed by %s",
		kcpvpn_native_seal_with(seal && strcmp(seal, "sodium") == 0));
	int error = make_native(wire, fault);
	if (error == 0)
		error = native_listen(wire, config, fault);
	if (error < 0) {
		wire_free(&wire->wire);
		return error;
	}
	if (state)
		state_file_keep(state, key_of, config, config->peer_count);
	*ret_wire = &wire->wire;
	return 0;
}
