/*
 * What the daemon has done to the host beside its device: the rules of a full tunnel, the resolvers, hooks, and devices of
 * single peers with their carrier. All of it by the helper, which takes what is to be done from the configuration; here is
 * decided when.
 *
 *      link up     pre_up, device, rules, resolvers, up
 *      link down   resolvers, rules, device, down
 *      the end     as the link down, by the helper alone, whoever ended; but the rules of a kill switch stay
 *
 * A pre_up that fails stops the link from coming up, and so do rules that cannot be put up: "all traffic" would be a lie.
 * Resolvers and the other hooks are worth a warning: a site that is reached by address goes on being reached.
 *
 * Hooks of peers say what is true, not what happened: what could not be told is told later, if it is still so. A flood of
 * changes takes a few questions a round, and packets flow in between. Peers given at run time have none: the helper, which
 * reads the files, does not know them.
 *
 * Somebody else may take addresses, routes and rules away, in good faith mostly: a network manager that tidies up. They are
 * put back and that is logged; and if they go again, later and later, so that two programs of different opinions do not
 * keep the host busy. What only depends on the host's network (what a kill switch takes for the LAN, whose route is in
 * front) is looked at when that changes, by a timer of its own, which slows down as well: neither is to lend the other its
 * speed.
 *
 * The helper may fail to do what it is told, or not answer. What it was told last is remembered, for whoever orders the
 * link down must be able to say so again: a kill switch that nobody can lift is a host without a network.
 */
#include "core/log.h"
#include "vpnd/broker.h"
#include "vpnd/daemon.h"
#include "vpnd/fault.h"
#include "vpnd/outside_lookup.h"
#include "vpnd/peer.h"
#include "vpnd/resolver.h"
#include "vpnd/workers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
	/* Each is a question to the helper that packets wait for: a tenth of a millisecond. */
	HOOKS_PER_ROUND = 16,
	HOOK_AGAIN_US = 20000,
	HOOK_STUCK_US = 1000000, /* where it is not the runner that is busy, but the helper */
	RESTORE_FIRST_US = 500000,
	RESTORE_MOST_US = 60000000,
	RESTORE_CALM_US = 120000000, /* after it the next loss is the first again */
	REFRESH_FIRST_US = 500000,   /* many changes come together */
	REFRESH_MOST_US = 8000000,
	REFRESH_CALM_US = 30000000,
};

static void warn(struct daemon *daemon, const struct fault *fault)
{
	log_warn(&daemon->logger->log, "%s %s%s%s", fault->code, fault->text,
		fault->hint[0] ? "; " : "", fault->hint);
}

/* ---- hooks ------------------------------------------------------------------------------------------------------ */

/* A peer that went, whose `peer_down` there was no room for. */
struct gone {
	struct list in_daemon;
	char name[CONFIG_NAME_MAX + 1];
};

/* @return false: not just now, ask again with what is true by then */
static bool hook(struct daemon *daemon, enum config_hook which, const char *peer,
	const struct kcpvpn_endpoint *endpoint)
{
	struct fault fault = {0};
	int error = broker_hook(daemon->broker, which, peer, endpoint, &fault);

	if (error == -EBUSY || error == -ETIMEDOUT) {
		struct mono at = mono_add_us(
			loop_now(daemon->loop), error == -EBUSY ? HOOK_AGAIN_US : HOOK_STUCK_US);
		loop_timer_arm(daemon->loop, &daemon->hooks_again, at);
		return false;
	}
	if (error < 0 && broker_alive(daemon->broker)) /* one that is gone was said once */
		warn(daemon, &fault);
	return true;
}

/* Those that can wait for nobody: if there is no room the next order says the rest. */
static void hook_of_link(struct daemon *daemon, enum config_hook which)
{
	if (!hook(daemon, which, NULL, NULL))
		log_warn(&daemon->logger->log, "hooks.%s could not be told to run",
			config_hook_str(which));
}

/* Where the peer is now, as the wire tells it. @return false if it does not know */
static bool where_is(struct daemon *daemon, struct peer *peer, struct kcpvpn_endpoint *ret_endpoint)
{
	struct control_status status = {0};
	struct control_peer *row = control_status_add_peer(&status, peer->name);
	bool known = false;

	if (row) {
		workers_stop(daemon->workers);
		daemon->wire->ops->peer_status(daemon->wire, peer, row);
		workers_go(daemon->workers);
		known = resolver_parse_numeric(row->endpoint, ret_endpoint) == 0;
	}
	control_status_fini(&status);
	return known;
}

/* @return as hook() */
static bool tell_peer(struct daemon *daemon, struct peer *peer, bool up)
{
	struct kcpvpn_endpoint endpoint = {0};
	bool known = up && where_is(daemon, peer, &endpoint);

	if (!hook(daemon, up ? CONFIG_HOOK_PEER_UP : CONFIG_HOOK_PEER_DOWN, peer->name,
		    known ? &endpoint : NULL))
		return false;
	peer->told_up = up;
	return true;
}

static bool tell_gone(struct daemon *daemon, unsigned *left)
{
	list_for_each_safe (at, &daemon->gone) {
		struct gone *gone = list_entry(at, struct gone, in_daemon);
		if (*left == 0 || !hook(daemon, CONFIG_HOOK_PEER_DOWN, gone->name, NULL))
			return false;
		(*left)--;
		list_remove(at);
		free(gone);
	}
	return true;
}

static void show_carrier(struct peer *peer, bool up)
{
	if (peer->tun.ifindex > 0 && peer->carrier_up != up)
		(void)tun_set_carrier(&peer->tun, up);
	peer->carrier_up = up;
}

static bool has_hooks(const struct daemon *daemon, const struct peer *peer)
{
	return daemon->peer_hooks && !peer->config->runtime;
}

void daemon_host_after_round(struct daemon *daemon)
{
	unsigned left = HOOKS_PER_ROUND;

	if (!daemon->peers_moved)
		return;
	daemon->peers_moved = false;
	if (!daemon->peer_hooks && daemon->config->routes.selection != CONFIG_SELECTION_INTERFACE)
		return;
	bool more = !tell_gone(daemon, &left);
	list_for_each (at, &daemon->peers) {
		struct peer *peer = list_entry(at, struct peer, in_daemon);
		bool up = daemon->wire->ops->peer_state(daemon->wire, peer) == WIRE_PEER_UP;
		show_carrier(peer, up);
		if (up == peer->told_up || !has_hooks(daemon, peer))
			continue;
		if (more || left == 0 || !tell_peer(daemon, peer, up))
			more = true;
		else
			left--;
	}
	if (more && mono_is_never(daemon->hooks_again.timer.at))
		loop_timer_arm(daemon->loop, &daemon->hooks_again,
			mono_add_us(loop_now(daemon->loop), HOOK_AGAIN_US));
}

static void on_hooks_again(struct loop_timer *timer, struct mono now)
{
	struct daemon *daemon = list_entry(timer, struct daemon, hooks_again);

	(void)now;
	daemon->peers_moved = true;
}

void daemon_host_peer_gone(struct daemon *daemon, struct peer *peer)
{
	if (peer->told_up && !daemon->stopping && !tell_peer(daemon, peer, false)) {
		struct gone *gone = calloc(1, sizeof(*gone));
		if (gone) {
			memcpy(gone->name, peer->name, sizeof(gone->name));
			list_add_tail(&daemon->gone, &gone->in_daemon);
		}
	}
	if (peer->tun.ifindex <= 0)
		return;
	loop_watch_remove(daemon->loop, &peer->tun_watch);
	broker_tun_gone(daemon->broker, peer->tun.ifindex);
	tun_close(&peer->tun);
}

/* ---- devices of peers ------------------------------------------------------------------------------------------- */

static void on_peer_tun(struct loop_watch *watch, uint32_t events)
{
	struct peer *peer = list_entry(watch, struct peer, tun_watch);
	struct daemon *daemon = peer->tun_ctx;

	(void)events;
	if (packet_path_read_peer_tun(&daemon->path, peer, loop_now(daemon->loop)) != -ENODEV)
		return;
	log_error(&daemon->logger->log,
		"interface %s was deleted by somebody; a restart of vpnd makes it anew",
		peer->tun.name);
	packet_path_flush(&daemon->path); /* what is on its way to it would find another */
	daemon_host_peer_gone(daemon, peer);
}

int daemon_host_peer_ifindex(void *ctx, const char *name)
{
	const struct peer *peer = daemon_peer(ctx, name);

	return peer && peer->tun.ifindex > 0 ? peer->tun.ifindex : 0;
}

bool daemon_host_owns(void *ctx, int ifindex)
{
	struct daemon *daemon = ctx;

	list_for_each (at, &daemon->peers) {
		if (list_entry(at, struct peer, in_daemon)->tun.ifindex == ifindex)
			return true;
	}
	return false;
}

int daemon_host_peer_added(struct daemon *daemon, struct peer *peer, struct fault *fault)
{
	const struct device *device = &daemon->device;

	if (daemon->config->routes.selection != CONFIG_SELECTION_INTERFACE ||
		peer->tun.ifindex > 0 || !device->peer_ifindex)
		return 0;
	int error = broker_tun(daemon->broker, peer->name, &device->tun, &peer->tun, fault);
	if (error)
		return error;
	peer->tun_ctx = daemon;
	peer->tun_watch = (struct loop_watch){.fd = peer->tun.fd, .on_event = on_peer_tun};
	error = loop_watch_add(daemon->loop, &peer->tun_watch, EPOLLIN);
	if (!error)
		error = device->host.ops->set_mtu(
			device->host.ctx, peer->tun.ifindex, daemon->mtu_bytes, fault);
	if (error) {
		daemon_host_peer_gone(daemon, peer);
		return error;
	}
	device_peer_link(&daemon->device, daemon->config, peer->config, true);
	return 0;
}

void daemon_host_set_mtu(struct daemon *daemon, uint16_t bytes)
{
	const struct device *device = &daemon->device;

	if (!device->peer_ifindex)
		return;
	list_for_each (at, &daemon->peers) {
		const struct peer *peer = list_entry(at, struct peer, in_daemon);
		struct fault fault = {0};
		if (peer->tun.ifindex > 0 && device->host.ops->set_mtu(device->host.ctx,
						     peer->tun.ifindex, bytes, &fault) < 0)
			warn(daemon, &fault);
	}
}

/* ---- full tunnel and resolvers ---------------------------------------------------------------------------------- */

static bool is_full(const struct config *config)
{
	return config->full_tunnel.mode != CONFIG_FULL_TUNNEL_OFF;
}

int daemon_host_prepare_lookups(
	struct daemon *daemon, const struct config *config, struct fault *fault)
{
	struct kcpvpn_endpoint inside[CONFIG_DNS_MAX];
	uint32_t mark = config_fwmark(config);
	int sockets[2] = {-1, -1};
	size_t count = 0;

	if (!is_full(config))
		return 0;
	for (int i = 0; i < 2; i++) {
		const struct kcpvpn_endpoint any = {.family = i == 0 ? 4 : 6};
		struct fault why = {0};
		int error = broker_udp_socket(daemon->broker, &any, false, mark, &sockets[i], &why);
		if (error && i == 0) {
			*fault = why;
			return error;
		}
		if (error) /* a host without IPv6 */
			sockets[i] = -1;
	}
	for (size_t i = 0; i < config->dns.servers.count && count < CONFIG_DNS_MAX; i++)
		count += config_dns_server(config, i, &inside[count]);
	outside_lookup_set(sockets, inside, count);
	outside_lookup_learn();
	return 0;
}

/* @return  0 or a negative errno with `*fault` filled; told again by daemon_host_repair() then */
static int set_tunnel(struct daemon *daemon, bool on, uint32_t *ret_changed, struct fault *fault)
{
	daemon->tunnel_stands |= on;
	int error = broker_full_tunnel(daemon->broker, on, ret_changed, fault);

	daemon->tunnel_failed = error < 0;
	if (!error)
		daemon->tunnel_stands = on && is_full(daemon->config);
	return error;
}

static int set_resolvers(struct daemon *daemon, bool on, struct fault *fault)
{
	int error = broker_dns(daemon->broker, on, fault);

	daemon->dns_failed = error < 0;
	if (error)
		warn(daemon, fault);
	return error;
}

/* A kill switch holds before anything else is done that takes time, or may fail. */
int daemon_host_before_up(struct daemon *daemon, struct fault *fault)
{
	const struct config *config = daemon->config;

	if (config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH) {
		int error = set_tunnel(daemon, true, NULL, fault);
		if (error)
			return error;
	}
	if (!daemon->pre_up_hook)
		return 0;
	return broker_hook(daemon->broker, CONFIG_HOOK_PRE_UP, NULL, NULL, fault);
}

int daemon_host_up(struct daemon *daemon, struct fault *fault)
{
	struct fault why = {0};
	int error = is_full(daemon->config) ? set_tunnel(daemon, true, NULL, fault) : 0;

	if (error)
		return error;
	if (daemon->config->dns.servers.count > 0)
		(void)set_resolvers(daemon, true, &why);
	hook_of_link(daemon, CONFIG_HOOK_UP);
	return 0;
}

int daemon_host_before_down(struct daemon *daemon, struct fault *fault)
{
	struct fault why = {0};
	int error = 0;

	if (daemon->config->dns.servers.count > 0)
		error = set_resolvers(daemon, false, fault);
	if (!daemon->tunnel_stands)
		return error;
	int failed = set_tunnel(daemon, false, NULL, &why);
	if (failed)
		warn(daemon, &why);
	if (failed && !error)
		*fault = why;
	return error ? error : failed;
}

bool daemon_host_unclean(const struct daemon *daemon)
{
	return daemon->tunnel_failed || daemon->dns_failed || daemon->tunnel_stands;
}

int daemon_host_repair(struct daemon *daemon, bool ordered_down, struct fault *fault)
{
	bool up = daemon->device.up;
	int error = 0;

	if (daemon->dns_failed)
		error = set_resolvers(daemon, up && daemon->config->dns.servers.count > 0, fault);
	if (!daemon->tunnel_failed && !(ordered_down && daemon->tunnel_stands))
		return error;
	int failed = set_tunnel(daemon, up, NULL, fault);
	return failed ? failed : error;
}

void daemon_host_down(struct daemon *daemon)
{
	hook_of_link(daemon, CONFIG_HOOK_DOWN);
}

static bool same_strings(const struct config_strings *a, const struct config_strings *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	}
	return true;
}

void daemon_host_changed(
	struct daemon *daemon, bool was_full, const struct config_strings dns_before[2])
{
	struct fault fault = {0};
	const struct config *config = daemon->config;
	bool up = daemon->device.up;

	daemon->path.unfiltered = config->routes.ingress_filter == CONFIG_INGRESS_OFF;
	/* While the link is down nothing stands; and if something does, be it that the helper failed, it goes. */
	if (up ? was_full || is_full(config) : daemon->tunnel_failed || daemon->tunnel_stands) {
		if (set_tunnel(daemon, up, NULL, &fault) < 0)
			warn(daemon, &fault);
	}
	if (!up)
		return;
	if (!same_strings(&dns_before[0], &config->dns.servers) ||
		!same_strings(&dns_before[1], &config->dns.search))
		(void)set_resolvers(daemon, true, &fault);
}

/* ---- what others take away -------------------------------------------------------------------------------------- */

static void on_restore(struct loop_timer *timer, struct mono now)
{
	struct daemon *daemon = list_entry(timer, struct daemon, restore);
	struct fault fault = {0};
	uint32_t rules = 0;

	if (!daemon->device.up || !daemon->wire)
		return;
	size_t count = device_restore(&daemon->device, daemon->config);
	if (count > 0)
		log_warn(&daemon->logger->log,
			"%zu addresses or routes of %s that somebody had removed are put back",
			count, daemon->device.tun.name);
	if (is_full(daemon->config) && set_tunnel(daemon, true, &rules, &fault) < 0)
		warn(daemon, &fault);
	if (rules > 0)
		log_warn(&daemon->logger->log,
			"%u policy rules or routes of the full tunnel that somebody had removed "
			"are put right",
			rules);
	if (count == 0 && rules == 0) /* what went was to go */
		return;
	daemon->restored_at = now;
	daemon->restore_us = 2 * daemon->restore_us;
	if (daemon->restore_us > RESTORE_MOST_US)
		daemon->restore_us = RESTORE_MOST_US;
}

static bool calm(struct mono since, struct mono now, int64_t us)
{
	return mono_is_never(since) || mono_diff_us(now, since) > us;
}

void daemon_host_lost(void *ctx)
{
	struct daemon *daemon = ctx;
	struct mono now = loop_now(daemon->loop);

	if (!daemon->device.up || !mono_is_never(daemon->restore.timer.at))
		return;
	if (calm(daemon->restored_at, now, RESTORE_CALM_US))
		daemon->restore_us = RESTORE_FIRST_US;
	loop_timer_arm(daemon->loop, &daemon->restore, mono_add_us(now, daemon->restore_us));
}

static void on_refresh(struct loop_timer *timer, struct mono now)
{
	struct daemon *daemon = list_entry(timer, struct daemon, refresh);
	struct fault fault = {0};

	daemon->refreshed_at = now;
	if (!daemon->device.up || !daemon->wire)
		return;
	if (is_full(daemon->config) && broker_full_tunnel_refresh(daemon->broker, &fault) < 0)
		warn(daemon, &fault);
	size_t count = device_keep_in_front(&daemon->device, daemon->config);
	if (count > 0)
		log_warn(&daemon->logger->log,
			"%zu routes of %s are put in front of somebody's newer ones "
			"(routes.on_clash)",
			count, daemon->device.tun.name);
}

void daemon_host_network_changed(struct daemon *daemon)
{
	struct mono now = loop_now(daemon->loop);

	if (!daemon->device.up || !mono_is_never(daemon->refresh.timer.at) ||
		(!is_full(daemon->config) &&
			daemon->config->routes.on_clash != CONFIG_CLASH_PREFER_TUNNEL))
		return;
	if (calm(daemon->refreshed_at, now, REFRESH_CALM_US))
		daemon->refresh_us = REFRESH_FIRST_US;
	else if (daemon->refresh_us < REFRESH_MOST_US)
		daemon->refresh_us = 2 * daemon->refresh_us;
	loop_timer_arm(daemon->loop, &daemon->refresh, mono_add_us(now, daemon->refresh_us));
}

/* The runner knows the programs of the configuration that the daemon began with, and no others. */
static void note_hooks(struct daemon *daemon)
{
	const struct config_strings *hooks = daemon->config->hooks;

	daemon->pre_up_hook = hooks[CONFIG_HOOK_PRE_UP].count > 0;
	daemon->peer_hooks =
		hooks[CONFIG_HOOK_PEER_UP].count > 0 || hooks[CONFIG_HOOK_PEER_DOWN].count > 0;
	list_init(&daemon->gone);
	loop_timer_init(&daemon->hooks_again, on_hooks_again);
}

void daemon_host_fini(struct daemon *daemon)
{
	struct list *node;

	if (!daemon->loop || !daemon->gone.next) /* it never began */
		return;
	loop_timer_disarm(daemon->loop, &daemon->hooks_again);
	while ((node = list_pop(&daemon->gone)) != NULL)
		free(list_entry(node, struct gone, in_daemon));
}

void daemon_host_init(struct daemon *daemon)
{
	note_hooks(daemon);
	loop_timer_init(&daemon->restore, on_restore);
	loop_timer_init(&daemon->refresh, on_refresh);
	daemon->restore_us = RESTORE_FIRST_US;
	daemon->refresh_us = REFRESH_FIRST_US;
	daemon->restored_at = daemon->refreshed_at = MONO_NEVER;
	daemon->path.unfiltered = daemon->config->routes.ingress_filter == CONFIG_INGRESS_OFF;
}
