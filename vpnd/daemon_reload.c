/*
 * Another configuration while running. The helper reads the file, which this process may not. It is checked whole
 * first, then compared; what differs is applied, sessions that did not change stay. What can fail (ports) comes first and
 * is undone if it does, so a bad file or a taken port changes nothing.
 */
#include "core/log.h"
#include "vpnd/broker.h"
#include "vpnd/daemon.h"
#include "vpnd/fault.h"
#include "vpnd/key_reader.h"
#include "vpnd/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int report_error(const struct config_report *report, int error, struct control_error *err)
{
	const struct config_finding *first = &report->errors[0];
	char code[16];
	char *text = NULL;

	if (error == -ENOMEM || report->error_count == 0) {
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_MEMORY, "out of memory");
		return -ENOMEM;
	}
	control_error_set(
		err, CONTROL_ERROR_CONFIG, config_finding_code(first, code), "%s", first->text);
	control_error_at(err, first->file, first->line, first->column);
	if (config_report_format(report, "vpnd", &text) == 0)
		control_error_detail(err, text);
	free(text);
	return error;
}

static int load(struct daemon *daemon, struct config **ret, struct control_reload *result,
	struct control_error *err)
{
	struct config_report *report = calloc(1, sizeof(*report));
	struct fault fault = {0};
	int error = report ? broker_load_config(daemon->broker, daemon->config->file, key_reader(),
				     ret, report, &fault)
			   : -ENOMEM;

	if (!report)
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_MEMORY, "out of memory");
	else if (fault.err < 0)
		daemon_fault_error(&fault, err);
	else if (error < 0)
		error = report_error(report, error, err);
	for (size_t i = 0; error == 0 && i < report->warning_count; i++)
		(void)control_strings_add(&result->warnings, report->warnings[i].text);
	free(report);
	return error;
}

static void describe(const struct config_diff *diff, struct control_reload *result)
{
	for (size_t i = 0; i < diff->peer_count; i++) {
		const struct config_peer_change *change = &diff->peers[i];
		if (!change->before)
			(void)control_strings_add(&result->added, change->after->name);
		else if (!change->after)
			(void)control_strings_add(&result->removed, change->before->name);
		else
			(void)control_strings_add(&result->changed, change->after->name);
	}
	for (size_t i = 0; i < diff->global_count; i++) {
		(void)control_strings_add(&result->settings, diff->globals[i].text);
		if (diff->globals[i].effects & CONFIG_EFFECT_RESTART)
			(void)control_strings_addf(&result->warnings,
				"%s takes effect at the next restart", diff->globals[i].row->key);
	}
}

/*
 * Sessions start anew when the key, cipher or shards change: another wire takes the place of this one. Listening
 * addresses are freed first, so a failure brings the old wire back, with new sessions.
 */
static int replace_wire(struct daemon *daemon, const struct config *after, struct fault *fault)
{
	struct fault again = {0};

	list_for_each (at, &daemon->peers) {
		struct peer *peer = list_entry(at, struct peer, in_daemon);
		daemon->wire->ops->peer_stop(daemon->wire, peer, WIRE_STOP_RESTART);
		list_remove(&peer->in_pump);
	}
	daemon->wire->ops->free(daemon->wire);
	int error = daemon_wire_new(daemon, after, &daemon->wire, fault);
	if (error < 0 && daemon_wire_new(daemon, daemon->config, &daemon->wire, &again) < 0) {
		log_error(&daemon->logger->log,
			"cannot go back to the old settings either: %s; stopping", again.text);
		daemon->wire = NULL;
		loop_watch_remove(daemon->loop, &daemon->tun_watch);
		daemon->exit_status = EXIT_STATUS_OTHER;
		loop_stop(daemon->loop);
		return error;
	}
	daemon->path.wire = daemon->wire;
	if (error < 0) {
		list_for_each (at, &daemon->peers)
			daemon_peer_apply(daemon, list_entry(at, struct peer, in_daemon));
	}
	return error;
}

/* Peers: the addresses of all that go or change are freed before any is given away. */
static void apply_peers(
	struct daemon *daemon, const struct config *after, const struct config_diff *diff)
{
	for (size_t i = 0; i < diff->peer_count; i++) {
		const struct config_peer_change *change = &diff->peers[i];
		struct peer *peer =
			change->before ? daemon_peer(daemon, change->before->name) : NULL;
		if (peer && !change->after)
			daemon_peer_remove(daemon, peer);
		else if (peer && change->effects & CONFIG_PEER_ALLOWED_IPS)
			daemon_peer_disown(daemon, peer);
		unsigned anew = CONFIG_PEER_KEYS;
		if (!daemon->wire->live_endpoints)
			anew |= CONFIG_PEER_ENDPOINTS;
		if (peer && change->after && change->effects & anew)
			daemon->wire->ops->peer_stop(daemon->wire, peer, WIRE_STOP_RESTART);
	}
	list_for_each (at, &daemon->peers) {
		struct peer *peer = list_entry(at, struct peer, in_daemon);
		peer_set_config(peer, config_peer_find(after, peer->name));
	}
	for (size_t i = 0; i < diff->peer_count; i++) {
		const struct config_peer_change *change = &diff->peers[i];
		struct peer *peer = change->after ? daemon_peer(daemon, change->after->name) : NULL;
		int error = 0;
		if (change->after && !peer)
			error = daemon_peer_add(daemon, change->after);
		else if (peer && change->effects & CONFIG_PEER_ALLOWED_IPS)
			error = daemon_peer_own(daemon, peer);
		if (error < 0)
			log_error(&daemon->logger->log, "peer %s: %s", change->after->name,
				strerror(-error));
	}
	list_for_each (at, &daemon->peers) {
		struct peer *peer = list_entry(at, struct peer, in_daemon);
		daemon_peer_apply(daemon, peer);
	}
	daemon->wire->ops->peers_changed(daemon->wire);
}

static int apply(struct daemon *daemon, struct config *after, const struct config_diff *diff,
	struct control_error *err)
{
	struct config *before = daemon->config;
	struct fault fault = {0};
	int error = diff->effects & CONFIG_EFFECT_SESSIONS
			    ? replace_wire(daemon, after, &fault)
			    : daemon->wire->ops->set_config(daemon->wire, after, &fault);

	if (error < 0) {
		daemon_fault_error(&fault, err);
		return error;
	}
	daemon->config = after;
	apply_peers(daemon, after, diff);
	device_change(&daemon->device, before, after);
	if (before->interface.mtu_bytes != after->interface.mtu_bytes)
		daemon_mtu_begin(daemon);
	daemon_mtu_follow(daemon);
	if (diff->effects & CONFIG_EFFECT_LOG)
		daemon_configure_log(daemon);
	if (diff->effects & CONFIG_EFFECT_CONTROL && daemon->control)
		(void)control_server_set_groups(
			daemon->control, after->control.group, after->control.admin_group);
	return 0;
}

int daemon_reload(struct daemon *daemon, bool dry_run, struct control_reload *result,
	struct control_error *err)
{
	struct config *before = daemon->config, *after;
	struct config_diff diff;

	if (!daemon->wire) {
		control_error_set(
			err, CONTROL_ERROR_OTHER, CONTROL_CODE_FAILED, "the daemon is stopping");
		return -ESHUTDOWN;
	}
	notify_reloading(&daemon->notify);
	int error = load(daemon, &after, result, err);
	if (error < 0)
		goto ready;
	error = config_diff(before, after, &diff);
	if (error < 0) {
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_MEMORY, "out of memory");
		config_free(after);
		goto ready;
	}
	describe(&diff, result);
	result->dry_run = dry_run;
	bool changes = diff.peer_count + diff.global_count > 0;
	if (!dry_run)
		error = apply(daemon, after, &diff, err);
	if (error == 0 && !dry_run)
		broker_keep_config(daemon->broker);
	if (error == 0 && !dry_run && changes)
		daemon->generation++;
	config_diff_fini(&diff);
	config_free(daemon->config == after ? before : after);
	result->generation = daemon->generation;
ready:
	notify_ready(&daemon->notify);
	return error;
}
