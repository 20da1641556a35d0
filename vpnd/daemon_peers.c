/*
 * Peers that come and go by order (kcpctl peer add, peer del), and probes.
 *
 * An order is a reload whose outcome may differ from what is in force in one peer alone: the files are read again, what was
 * ordered is laid over them, and the same parser judges the whole, so that keys, overlaps and limits are judged as in a file.
 * If the files were edited meanwhile and not reloaded, the difference is larger, and the order is refused: nobody expects
 * `peer add` to change the log level.
 */
#include "vpnd/broker.h"
#include "vpnd/daemon.h"
#include "vpnd/fault.h"
#include "vpnd/peer.h"

#include <errno.h>
#include <string.h>

static int no_memory(struct control_error *err)
{
	control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_MEMORY, "out of memory");
	return -ENOMEM;
}

static int exists(const char *name, struct control_error *err)
{
	control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_PEER_EXISTS,
		"there is a peer \"%.63s\" with other settings", name);
	control_error_hint(err,
		"kcpctl peer show %.63s shows them; kcpctl peer del %.63s removes it", name, name);
	return -EEXIST;
}

/* Takes over what of the request outlives it. */
static int keep_request(struct daemon *daemon, const struct control_request *request)
{
	struct control_request *change = &daemon->change;

	control_request_fini(change);
	change->method = request->method;
	memcpy(change->public_key, request->public_key, sizeof(change->public_key));
	for (size_t i = 0; i < request->peers.count; i++) {
		if (control_strings_add(&change->peers, request->peers.items[i]))
			return -ENOMEM;
	}
	for (size_t i = 0; i < request->endpoints.count; i++) {
		if (control_strings_add(&change->endpoints, request->endpoints.items[i]))
			return -ENOMEM;
	}
	for (size_t i = 0; i < request->allowed_ips.count; i++) {
		if (control_strings_add(&change->allowed_ips, request->allowed_ips.items[i]))
			return -ENOMEM;
	}
	return 0;
}

int daemon_change_peer(struct daemon *daemon, const struct control_request *request,
	struct control_reload *result, struct control_error *err)
{
	const char *name = request->peers.items[0];
	bool add = request->method == CONTROL_PEER_ADD;
	const struct peer *peer = daemon_peer(daemon, name);
	struct runtime_peers next;
	int error;

	(void)result; /* comes later, if anything changes */
	if (daemon->reloading)
		return -EBUSY;
	if (add && !config_name_ok(name)) {
		control_error_set(err, CONTROL_ERROR_USAGE, CONTROL_CODE_PARAMS,
			"\"%.63s\" is no name for a peer: 1 to 63 of A-Z a-z 0-9 . _ -, not "
			"beginning with . or -",
			name);
		return -EINVAL;
	}
	if (add && peer)
		return runtime_peers_same(peer->config, request) ? 0 : exists(name, err);
	if (!add && !peer)
		return 0;
	error = runtime_peers_copy(&daemon->peers_given, &next);
	if (!error)
		error = add ? runtime_peers_add(&next, request) : runtime_peers_remove(&next, name);
	if (!error)
		error = keep_request(daemon, request);
	if (error) {
		runtime_peers_fini(&next);
		if (error == -ENOMEM)
			return no_memory(err);
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_FAILED,
			"more than %d peers were given at run time", RUNTIME_PEERS_MAX);
		return error;
	}
	return daemon_begin_change(daemon, &next, false, err);
}

int daemon_judge_change(struct daemon *daemon, const struct config *after,
	const struct config_diff *diff, struct control_error *err)
{
	const struct control_request *change = &daemon->change;

	if (change->method != CONTROL_PEER_ADD && change->method != CONTROL_PEER_DEL)
		return 0;
	const char *name = change->peers.items[0];
	bool others = diff->global_count > 0;
	for (size_t i = 0; i < diff->peer_count; i++) {
		const struct config_peer_change *c = &diff->peers[i];
		others |= strcmp((c->after ? c->after : c->before)->name, name) != 0;
	}
	if (others) {
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_PEER_EDITED,
			"the files were edited since they were read, and not only as to peer "
			"\"%.63s\"",
			name);
		control_error_hint(err, "kcpctl reload --dry-run shows what differs; kcpctl reload "
					"takes it over");
		return -ESTALE;
	}
	const struct config_peer *peer = config_peer_find(after, name);
	if (change->method == CONTROL_PEER_ADD && (!peer || !runtime_peers_same(peer, change)))
		return exists(name, err); /* in a file that was not read yet */
	return 0;
}

void daemon_tell_destinations(
	struct daemon *daemon, const struct config *after, struct control_reload *result)
{
	for (size_t i = 0; i < after->peer_count; i++) {
		const struct config_peer *peer = &after->peers[i];
		for (size_t k = 0; peer->runtime && k < peer->allowed_ips.count; k++) {
			struct fault fault = {0};
			if (broker_add_destination(
				    daemon->broker, &peer->allowed_ips.items[k], &fault) < 0)
				(void)control_strings_addf(&result->warnings, "%s peer %s: %s; %s",
					CONTROL_CODE_PEER_ROUTE, peer->name, fault.text,
					fault.hint);
		}
	}
}

/* ---- probes ----------------------------------------------------------------------------------------------------- */

int daemon_ping(struct daemon *daemon, const char *name, int64_t size, uint64_t *ret_ping,
	struct control_error *err)
{
	struct peer *peer = daemon_peer(daemon, name);

	if (!peer) {
		control_error_no_peer(err, name);
		return -ENOENT;
	}
	if (!daemon->wire) {
		control_error_set(
			err, CONTROL_ERROR_OTHER, CONTROL_CODE_FAILED, "the daemon is stopping");
		return -ESHUTDOWN;
	}
	int error = daemon->wire->ops->ping(daemon->wire, peer, (uint32_t)size, ret_ping);
	switch (error) {
	case -ENOTCONN:
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_PING_DOWN,
			"there is no session with peer \"%.63s\"", name);
		control_error_hint(err, "kcpctl status %.63s says why", name);
		break;
	case -EMSGSIZE:
		control_error_set(err, CONTROL_ERROR_USAGE, CONTROL_CODE_PING_SIZE,
			"a probe of %lld bytes cannot be sent", (long long)size);
		break;
	case -EOPNOTSUPP:
		control_error_set(err, CONTROL_ERROR_USAGE, CONTROL_CODE_PING_SIZE,
			"the kcp-go wire has no probes of a chosen size");
		break;
	default:
		break;
	}
	return error;
}

bool daemon_pong(struct daemon *daemon, const char *name, uint64_t ping, bool final,
	struct control_ping *ret_ping)
{
	const struct peer *peer = daemon_peer(daemon, name);
	struct control_status status;
	struct control_error err = {0};

	*ret_ping = (struct control_ping){CONTROL_UNKNOWN, CONTROL_UNKNOWN, CONTROL_UNKNOWN};
	int64_t took_us =
		peer && daemon->wire ? daemon->wire->ops->pong(daemon->wire, peer, ping) : -1;
	if (took_us < 0 && !final)
		return false;
	if (took_us >= 0)
		ret_ping->rtt_ms = (double)took_us / 1e3;
	control_status_init(&status);
	if (peer && daemon_status_peer(daemon, name, &status, &err) == 0)
		ret_ping->path_mtu = status.peers[0].path_mtu;
	control_status_fini(&status);
	control_error_fini(&err);
	return true;
}
