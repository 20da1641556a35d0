/*
 * One device serves many peers: its MTU is that of the best path, and each peer's own limit is kept by the packet path
 * (ICMP, MSS). With `interface.mtu: auto` on a wire that measures paths the device begins with what an Ethernet
 * carries. It follows upwards at once, and downwards only when all paths have stayed short for a while, because every
 * change of a device's MTU is noticed by the host. It never goes below 1280: Linux takes IPv6 off a device then, for good.
 */
#include "core/log.h"
#include "vpnd/daemon.h"
#include "vpnd/fault.h"
#include "vpnd/peer.h"
#include "vpnd/workers.h"

enum {
	SHRINK_AFTER_US = 10000000,
};

static bool follows(const struct daemon *daemon)
{
	return daemon->config->wire == CONFIG_WIRE_NATIVE &&
	       daemon->config->interface.mtu == CONFIG_AUTO;
}

uint16_t daemon_mtu_most(const struct config *config)
{
	return (uint16_t)config->interface.mtu_bytes;
}

/* What the device should have by what is known. @return false if no path is measured */
static bool best_path(const struct daemon *daemon, uint16_t *ret_bytes)
{
	uint32_t best = 0, most = daemon_mtu_most(daemon->config);

	list_for_each (at, &daemon->peers) {
		const struct peer *peer = list_entry(at, struct peer, in_daemon);
		if (peer->path_mtu_bytes > best)
			best = peer->path_mtu_bytes;
	}
	if (best == 0)
		return false;
	if (best > most)
		best = most;
	*ret_bytes = (uint16_t)(best < CONFIG_MTU_MIN_IPV6 ? CONFIG_MTU_MIN_IPV6 : best);
	return true;
}

static void set_paths(struct daemon *daemon, uint16_t bytes)
{
	packet_path_set_mtu(&daemon->path, bytes);
	workers_stop(daemon->workers);
	workers_set_mtu(daemon->workers, bytes);
	workers_go(daemon->workers);
}

/* It is tried again whenever a path changes, so a failure is said once. @return false if the device stays as it is */
static bool set(struct daemon *daemon, uint16_t bytes)
{
	struct fault fault = {0};
	bool failed = daemon->mtu_failed;

	daemon->mtu_failed = device_set_mtu(&daemon->device, bytes, &fault) < 0;
	if (daemon->mtu_failed) {
		if (!failed)
			log_warn(&daemon->logger->log, "%s %s", fault.code, fault.text);
		return false;
	}
	daemon->mtu_bytes = bytes;
	daemon_host_set_mtu(daemon, bytes);
	set_paths(daemon, bytes);
	return true;
}

static void set_probed(struct daemon *daemon, uint16_t bytes)
{
	daemon->mtu_probed = true;
	if (bytes == daemon->mtu_bytes)
		return;
	if (set(daemon, bytes))
		log_info(&daemon->logger->log, "mtu of %s: %d, as the best path carries",
			daemon->device.tun.name, bytes);
}

void daemon_mtu_follow(struct daemon *daemon)
{
	uint16_t bytes;

	if (!follows(daemon) || !daemon->device.up || !best_path(daemon, &bytes))
		return;
	if (bytes < daemon->mtu_bytes) {
		if (mono_is_never(daemon->mtu_due.timer.at))
			loop_timer_arm(daemon->loop, &daemon->mtu_due,
				mono_add_us(loop_now(daemon->loop), SHRINK_AFTER_US));
		return;
	}
	loop_timer_disarm(daemon->loop, &daemon->mtu_due);
	set_probed(daemon, bytes);
}

static void on_mtu_due(struct loop_timer *timer, struct mono now)
{
	struct daemon *daemon = list_entry(timer, struct daemon, mtu_due);
	uint16_t bytes;

	(void)now;
	if (!follows(daemon) || !daemon->device.up || !best_path(daemon, &bytes))
		return;
	set_probed(daemon, bytes);
}

void daemon_mtu_init(struct daemon *daemon)
{
	loop_timer_init(&daemon->mtu_due, on_mtu_due);
	daemon->mtu_bytes = (uint16_t)daemon->config->interface.mtu_bytes;
}

void daemon_mtu_begin(struct daemon *daemon)
{
	loop_timer_disarm(daemon->loop, &daemon->mtu_due);
	daemon->mtu_probed = false;
	daemon->mtu_bytes = (uint16_t)daemon->config->interface.mtu_bytes;
	set_paths(daemon, daemon->mtu_bytes);
	if (daemon->path.mtu_bytes == daemon->mtu_bytes)
		return;
	log_warn(&daemon->logger->log,
		"interface.mtu: %d takes effect at the next restart; %d until then",
		daemon->mtu_bytes, daemon->path.mtu_bytes);
	(void)set(daemon, daemon->path.mtu_bytes);
}
