/*
 * The full tunnel in the helper: said once where full_tunnel.h can only note it, and looked after where nobody else can. The
 * worker hears of rules and routes that somebody takes away (netlink_monitor.h), but news of the packet filter take
 * CAP_NET_ADMIN, so the helper listens itself and puts back what was touched. The first time at once: until then sockets that
 * are bound to a device leak. If it goes on being touched, two programs are at odds, and it is put back later and later,
 * but never later than MOST_US: that is how long a leak may last each time.
 *
 * While the daemon is dead nobody puts anything back.
 */
#include "vpnd/broker_msg.h"
#include "vpnd/broker_server.h"

#include "core/log.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/netlink.h"
#include "vpnd/netlink_guard.h"

#include <stdio.h>
#include <string.h>

enum {
	FIRST_US = 20000,
	MOST_US = 1000000,
	CALM_US = 10000000, /* after it the next time is the first again */
	SAY_US = 10000000,  /* not more often */
};

static bool kills(const struct broker_server *server)
{
	return server->rules.in_force->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH;
}

static void watch(struct broker_server *server)
{
	char table[NETLINK_GUARD_NAME_BYTES];

	if (server->watch)
		return;
	(void)snprintf(table, sizeof(table), "vpnd-%s", server->rules.in_force->name);
	int error = netlink_guard_watch_new(server->tunnel.netlink, table, &server->watch);
	if (error)
		log_warn(server->log,
			"E-NET-11 nobody will notice if the packet filter of the full tunnel is "
			"removed: %s",
			strerror(-error));
	server->tunnel.watched = server->watch != NULL;
}

static void unwatch(struct broker_server *server)
{
	netlink_guard_watch_free(server->watch);
	server->watch = NULL;
	server->put_back.due_us = 0;
	server->tunnel.watched = false;
}

/* A kill switch is watched before it is up, so that nothing happens between; what only marks answers, when there is such. */
static void follow(struct broker_server *server, bool on)
{
	if (on && (kills(server) || server->tunnel.filter))
		watch(server);
	else
		unwatch(server);
}

static void say(struct broker_server *server)
{
	const struct full_tunnel *tunnel = &server->tunnel;

	if (tunnel->crowded && !server->said_crowded)
		log_warn(server->log,
			"E-NET-11 the kill switch lets no more than %d networks of the LAN "
			"through, and there are more; name what is needed in full_tunnel.exempt",
			NETLINK_GUARD_PREFIXES_MAX - CONFIG_EXEMPT_MAX);
	if (tunnel->deaf && !server->said_deaf)
		log_warn(server->log,
			"%s a device of this host takes only packets that it would send "
			"back the same way (rp_filter=1), and the kernel cannot be told that "
			"those of the tunnel are such (nft_socket): peers may never be heard; "
			"sysctl net.ipv4.conf.all.rp_filter=2 helps",
			"E-NET-12");
	server->said_crowded = tunnel->crowded;
	server->said_deaf = tunnel->deaf;
}

int broker_server_tunnel(
	struct broker_server *server, uint32_t how, size_t *ret_changed, struct fault *fault)
{
	const struct config *config = server->rules.in_force;
	bool on = how != BROKER_TUNNEL_OFF && config->full_tunnel.mode != CONFIG_FULL_TUNNEL_OFF;
	int error;

	*ret_changed = 0;
	if (!server->tunnel.netlink)
		return 0;
	if (how == BROKER_TUNNEL_REFRESH) {
		error = server->tunnel_on ? full_tunnel_refresh(&server->tunnel, config, fault) : 0;
		follow(server, server->tunnel_on);
		say(server);
		return error;
	}
	if (on && kills(server))
		watch(server);
	server->tunnel_on |= on; /* also if it fails half-way */
	error = full_tunnel_apply(&server->tunnel, config, on, ret_changed, fault);
	if (!error && !on)
		server->tunnel_on = false;
	if (!error)
		follow(server, on);
	say(server);
	return error;
}

int broker_server_watch_fd(const struct broker_server *server)
{
	return server->watch ? netlink_guard_watch_fd(server->watch) : -1;
}

void broker_server_look(struct broker_server *server)
{
	int64_t now_us = loop_clock().us;

	if (!server->watch || !netlink_guard_watch_touched(server->watch))
		return;
	server->tunnel.filter = 0;
	if (server->put_back.due_us)
		return;
	bool calm = !server->put_back.done_us || now_us - server->put_back.done_us > CALM_US;
	int64_t wait_us = calm ? 0 : 2 * server->put_back.wait_us;
	if (!calm && wait_us < FIRST_US)
		wait_us = FIRST_US;
	server->put_back.wait_us = wait_us < MOST_US ? wait_us : MOST_US;
	server->put_back.due_us = now_us + server->put_back.wait_us;
}

int broker_server_wait_ms(const struct broker_server *server)
{
	int64_t left_us = server->put_back.due_us - loop_clock().us;

	if (!server->put_back.due_us)
		return -1;
	return left_us > 0 ? (int)((left_us + 999) / 1000) : 0;
}

void broker_server_put_back(struct broker_server *server)
{
	int64_t now_us = loop_clock().us;
	struct fault fault = {0};

	if (!server->put_back.due_us || now_us < server->put_back.due_us)
		return;
	server->put_back.due_us = 0;
	int error = full_tunnel_refresh(&server->tunnel, server->rules.in_force, &fault);
	now_us = loop_clock().us;
	server->put_back.done_us = now_us;
	if (error) /* the next look is due as if it had been touched once more */
		server->put_back.due_us = now_us + MOST_US;
	server->put_back.count++;
	if (server->put_back.said_us && now_us - server->put_back.said_us < SAY_US)
		return;
	if (error)
		log_warn(server->log, "%s %s", fault.code, fault.text);
	else
		log_warn(server->log,
			"somebody changed or removed the packet filter of the full tunnel "
			"(nft flush ruleset?), %u times; it is put back",
			server->put_back.count);
	server->put_back.said_us = now_us;
	server->put_back.count = 0;
}
