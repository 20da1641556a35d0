/* The verbs of kcpctl. Names are all checked before anything is done; what is as wanted already is a success. */
#include "core/log.h"
#include "vpnd/daemon.h"
#include "vpnd/fault.h"
#include "vpnd/peer.h"

#include <errno.h>
#include <string.h>

static void set_error(const struct fault *fault, const char *before, struct control_error *err)
{
	enum control_error_class class = fault->err == -EPERM || fault->err == -EACCES
						 ? CONTROL_ERROR_PERMISSION
						 : CONTROL_ERROR_OTHER;

	control_error_set(err, class, fault->code[0] ? fault->code : CONTROL_CODE_FAILED, "%s%s",
		before, fault->text);
	if (fault->hint[0])
		control_error_hint(err, "%s", fault->hint);
}

void daemon_fault_error(const struct fault *fault, struct control_error *err)
{
	set_error(fault, "", err);
}

/* The order holds for packets, but whoever gave it must know that the host goes on sending into the tunnel, or does not. */
static int unfinished(int error, const struct fault *fault, struct control_error *err)
{
	set_error(fault,
		"the order holds, but addresses, routes or rules of the host stay as they were: ",
		err);
	if (!fault->hint[0])
		control_error_hint(
			err, "they follow once that works again; kcpctl reload tries it at once");
	return error;
}

static int check_names(
	struct daemon *daemon, const struct control_strings *names, struct control_error *err)
{
	for (size_t i = 0; i < names->count; i++) {
		if (!daemon_peer(daemon, names->items[i])) {
			control_error_no_peer(err, names->items[i]);
			return -ENOENT;
		}
	}
	return 0;
}

/* Takes the order of `down` back, or gives it. @return whether that changed anything */
static bool order(struct daemon *daemon, struct peer *peer, bool down)
{
	if (peer->ordered_down == down)
		return false;
	peer->ordered_down = down;
	device_peer_routes(&daemon->device, daemon->config, peer->config, !down);
	daemon_peer_apply(daemon, peer);
	log_info(&daemon->logger->log, "peer %s: %s by order", peer->name, down ? "down" : "up");
	return true;
}

static int up(void *ctx, const struct control_strings *peers, bool *ret_changed,
	struct control_error *err)
{
	struct daemon *daemon = ctx;
	struct fault fault = {0};
	bool changed = false;

	if (check_names(daemon, peers, err) < 0)
		return -ENOENT;
	for (size_t i = 0; i < peers->count; i++) {
		const struct peer *peer = daemon_peer(daemon, peers->items[i]);
		if (peer->config->enabled)
			continue;
		control_error_set(err, CONTROL_ERROR_OTHER, "E-VPND-3",
			"peer %s has enabled: false in %s", peer->name, daemon->config->file);
		control_error_hint(err, "set enabled: true there, then: kcpctl reload");
		return -EINVAL;
	}
	if (peers->count == 0) {
		list_for_each (at, &daemon->peers)
			changed |= order(daemon, list_entry(at, struct peer, in_daemon), false);
	}
	for (size_t i = 0; i < peers->count; i++)
		changed |= order(daemon, daemon_peer(daemon, peers->items[i]), false);
	/* Somebody may have set the link down, and addresses and routes went with it: begin anew. */
	if (daemon->device.up && !tun_is_up(&daemon->device.tun))
		(void)device_down(&daemon->device, daemon->config, NULL);
	if (!daemon->device.up) {
		int error = daemon_link_up(daemon, &fault);
		if (error < 0) {
			daemon_fault_error(&fault, err);
			return error;
		}
		log_info(&daemon->logger->log, "link up by order");
		changed = true;
	}
	*ret_changed = changed;
	int error = device_repair(&daemon->device, daemon->config, &fault);
	return error ? unfinished(error, &fault, err) : 0;
}

static int down(void *ctx, const struct control_strings *peers, bool *ret_changed,
	struct control_error *err)
{
	struct daemon *daemon = ctx;
	struct fault fault = {0};
	bool changed = false;
	int error;

	if (check_names(daemon, peers, err) < 0)
		return -ENOENT;
	for (size_t i = 0; i < peers->count; i++)
		changed |= order(daemon, daemon_peer(daemon, peers->items[i]), true);
	if (peers->count == 0 && daemon->device.up) {
		error = daemon_link_down(daemon, &fault);
		log_info(&daemon->logger->log, "link down by order");
		changed = true;
	} else {
		bool ordered = peers->count == 0; /* it is down already; but is all of it? */
		changed |= daemon->device.unclean || (ordered && daemon_host_unclean(daemon));
		error = device_repair(&daemon->device, daemon->config, &fault);
		if (ordered && !error)
			error = daemon_host_repair(daemon, true, &fault);
	}
	*ret_changed = changed;
	return error ? unfinished(error, &fault, err) : 0;
}

static int status(void *ctx, struct control_status *document, struct control_error *err)
{
	return daemon_status(ctx, document, err);
}

static int status_peer(
	void *ctx, const char *name, struct control_status *document, struct control_error *err)
{
	return daemon_status_peer(ctx, name, document, err);
}

static int status_peers(void *ctx, bool again, size_t most, struct control_status *document)
{
	return daemon_status_peers(ctx, again, most, document);
}

static int states(void *ctx, struct control_states *ret_states)
{
	return daemon_states(ctx, ret_states);
}

static int reload(void *ctx, bool dry_run, struct control_reload *result, struct control_error *err)
{
	(void)result; /* comes later */
	return daemon_reload(ctx, dry_run, err);
}

static int change_peer(void *ctx, const struct control_request *request,
	struct control_reload *result, struct control_error *err)
{
	return daemon_change_peer(ctx, request, result, err);
}

static int ping(
	void *ctx, const char *peer, int64_t size, uint64_t *ret_ping, struct control_error *err)
{
	return daemon_ping(ctx, peer, size, ret_ping, err);
}

static bool pong(
	void *ctx, const char *peer, uint64_t number, bool final, struct control_ping *ret_ping)
{
	return daemon_pong(ctx, peer, number, final, ret_ping);
}

struct control_ops daemon_control_ops(struct daemon *daemon)
{
	return (struct control_ops){
		.ctx = daemon,
		.up = up,
		.down = down,
		.status = status,
		.status_peer = status_peer,
		.status_peers = status_peers,
		.states = states,
		.reload = reload,
		.change_peer = change_peer,
		.ping = ping,
		.pong = pong,
	};
}
