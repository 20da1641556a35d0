/*
 * Another configuration while running. The helper reads the file, which this process may not; that takes as long as it takes,
 * and packets and orders go on meanwhile. It is checked whole first, then compared; what differs is applied, sessions
 * that did not change stay. What can fail (ports) comes first and is undone if it does, so a bad file or a taken port
 * changes nothing. What the host does not take (an address, a route) is told as a warning.
 *
 * One at a time: kcpctl's wait for their turn in the control server, and signals that come meanwhile are one more reload.
 */
#include "core/log.h"
#include "vpnd/broker.h"
#include "vpnd/daemon.h"
#include "vpnd/fault.h"
#include "vpnd/key_reader.h"
#include "vpnd/peer.h"
#include "vpnd/workers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	FAULTS_MAX = 8, /* that are told one by one */
};

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

static int load(struct daemon *daemon, int fd, struct config **ret, struct control_reload *result,
	struct control_error *err)
{
	struct config_report *report = calloc(1, sizeof(*report));
	struct config_reader reader = *key_reader();
	struct config_overlay overlay;
	struct fault fault = {0};
	char *text = NULL;
	int error = report ? runtime_peers_overlay(&daemon->peers_next, &text, &overlay) : -ENOMEM;

	reader.overlay = &overlay;
	reader.in_force = daemon->config;
	if (!error)
		error = broker_load_record(fd, daemon->config->file, &reader, ret, report, &fault);
	free(text);
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
	for (size_t i = 0; i < diff->global_count; i++)
		(void)control_strings_add(&result->settings, diff->globals[i].text);
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
		log_warn(&daemon->logger->log,
			"the old settings are in force again; all sessions begin anew");
	}
	return error;
}

/*
 * The configuration of each peer lies elsewhere now. Peers stand nearly in the order of the file: looking for each of ten
 * thousand names from the beginning takes longer than all the rest.
 */
static void set_configs(struct daemon *daemon, const struct config *after)
{
	const struct config_peer *end = after->peers + after->peer_count;
	const struct config_peer *next = after->peers;

	list_for_each (at, &daemon->peers) {
		struct peer *peer = list_entry(at, struct peer, in_daemon);
		if (next == end || strcmp(next->name, peer->name) != 0)
			next = config_peer_find(after, peer->name);
		peer_set_config(peer, next++); /* whoever has no place there was removed before */
		workers_peer_copy(daemon->workers, peer);
	}
}

/* Peers: the addresses of all that go or change are freed before any is given away. */
static void apply_peers(struct daemon *daemon, const struct config *after,
	const struct config_diff *diff, struct control_reload *result)
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
	set_configs(daemon, after);
	for (size_t i = 0; i < diff->peer_count; i++) {
		const struct config_peer_change *change = &diff->peers[i];
		struct peer *peer = change->after ? daemon_peer(daemon, change->after->name) : NULL;
		int error = 0;
		if (change->after && !peer) {
			struct fault fault = {0};
			error = daemon_peer_add(daemon, change->after);
			struct peer *added =
				error < 0 ? NULL : daemon_peer(daemon, change->after->name);
			if (added && daemon_host_peer_added(daemon, added, &fault) < 0)
				(void)control_strings_addf(
					&result->warnings, "%s %s", fault.code, fault.text);
		}
		if (peer && change->effects & CONFIG_PEER_ALLOWED_IPS)
			error = daemon_peer_own(daemon, peer);
		if (error < 0) {
			log_error(&daemon->logger->log, "peer %s: %s", change->after->name,
				strerror(-error));
			(void)control_strings_addf(&result->warnings, "peer %s: %s",
				change->after->name, strerror(-error));
		}
		if (peer)
			daemon->wire->ops->peer_changed(daemon->wire, peer);
	}
	list_for_each (at, &daemon->peers) {
		struct peer *peer = list_entry(at, struct peer, in_daemon);
		daemon_peer_apply(daemon, peer);
	}
	if (diff->peer_count > 0)
		daemon->wire->ops->peers_changed(daemon->wire);
}

struct faults {
	struct control_strings *told;
	size_t count;
};

static void note_fault(void *ctx, const struct fault *fault)
{
	struct faults *faults = ctx;

	if (faults->count++ < FAULTS_MAX)
		(void)control_strings_addf(faults->told, "%s %s%s%s", fault->code, fault->text,
			fault->hint[0] ? "; " : "", fault->hint);
}

static void change_host(struct daemon *daemon, const struct config *before,
	const struct config *after, struct control_reload *result)
{
	struct faults faults = {.told = &result->warnings};

	device_change(&daemon->device, before, after, note_fault, &faults);
	if (faults.count > FAULTS_MAX)
		(void)control_strings_addf(&result->warnings,
			"%zu more addresses or routes could not be changed; the log has them",
			faults.count - FAULTS_MAX);
}

static int apply(struct daemon *daemon, struct config *after, const struct config_diff *diff,
	struct control_reload *result, struct control_error *err)
{
	struct fault fault = {0};
	int error = diff->effects & CONFIG_EFFECT_SESSIONS
			    ? replace_wire(daemon, after, &fault)
			    : daemon->wire->ops->set_config(daemon->wire, after, &fault);

	if (error < 0) {
		daemon_fault_error(&fault, err);
		return error;
	}
	daemon->config = after;
	apply_peers(daemon, after, diff, result);
	return 0;
}

/* What workers do not see: they go on meanwhile, since the helper may take its time. */
static void apply_to_host(struct daemon *daemon, const struct config *before,
	const struct config *after, const struct config_diff *diff, struct control_reload *result)
{
	change_host(daemon, before, after, result);
	if (before->interface.mtu_bytes != after->interface.mtu_bytes)
		daemon_mtu_begin(daemon);
	daemon_mtu_follow(daemon);
	if (diff->effects & CONFIG_EFFECT_LOG)
		daemon_configure_log(daemon);
	if (diff->effects & CONFIG_EFFECT_CONTROL && daemon->control &&
		control_server_set_admin_group(daemon->control, after->control.admin_group) < 0)
		(void)control_strings_add(
			&result->warnings, "out of memory: control.admin_group stays as it was");
}

/* @fd  the record of what the helper read */
static int take_over(struct daemon *daemon, int fd, bool dry_run, struct control_reload *result,
	struct control_error *err)
{
	struct config *before = daemon->config, *after;
	bool was_full = before->full_tunnel.mode != CONFIG_FULL_TUNNEL_OFF;
	struct config_diff diff;
	struct fault fault = {0};

	int error = load(daemon, fd, &after, result, err);
	if (error < 0)
		return error;
	error = config_diff(before, after, &diff);
	if (error < 0) {
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_MEMORY, "out of memory");
		config_free(after);
		return error;
	}
	error = device_check_clashes(&daemon->device, before, after, &fault);
	if (error < 0) {
		daemon_fault_error(&fault, err);
		config_diff_fini(&diff);
		config_free(after);
		return error;
	}
	describe(&diff, result);
	bool changes = diff.peer_count + diff.global_count > 0;
	error = daemon_judge_change(daemon, after, &diff, err);
	if (error == 0 && !dry_run) {
		daemon_tell_destinations(daemon, after, result);
		/* Workers look into the configuration, too: they go on when all of it is another. */
		workers_stop(daemon->workers);
		error = apply(daemon, after, &diff, result, err);
		workers_go(daemon->workers);
		if (error == 0)
			apply_to_host(daemon, before, after, &diff, result);
	}
	if (error == 0 && !dry_run) {
		runtime_peers_leave_to_files(&daemon->peers_next, after);
		runtime_peers_fini(&daemon->peers_given);
		daemon->peers_given = daemon->peers_next;
		daemon->peers_next = (struct runtime_peers){0};
	}
	if (error == 0 && !dry_run) {
		const struct config_strings dns[] = {before->dns.servers, before->dns.search};
		broker_keep_config(daemon->broker);
		daemon_host_changed(daemon, was_full, dns);
		if (daemon->dns_failed)
			(void)control_strings_add(&result->warnings,
				"the host's resolvers could not be told; the log says why");
	}
	if (error == 0 && !dry_run && changes)
		daemon->generation++;
	config_diff_fini(&diff);
	config_free(daemon->config == after ? before : after);
	return error;
}

static int stopping(struct control_error *err)
{
	control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_FAILED, "the daemon is stopping");
	return -ESHUTDOWN;
}

static void log_outcome(struct daemon *daemon, int error, const struct control_reload *result,
	const struct control_error *err)
{
	const struct log *log = &daemon->logger->log;

	if (error < 0) {
		log_error(log, "reload refused: %s %s%s%s", err->code, err->text,
			err->hint[0] ? "; " : "", err->hint);
		if (err->detail)
			logger_write_lines(daemon->logger, LOG_LEVEL_ERROR, err->detail);
		return;
	}
	log_info(log, "reloaded: %zu peers added, %zu changed, %zu removed", result->added.count,
		result->changed.count, result->removed.count);
	for (size_t i = 0; i < result->warnings.count; i++)
		log_warn(log, "reloaded, but: %s", result->warnings.items[i]);
}

static void on_read(void *ctx, int fd, const struct fault *fault)
{
	struct daemon *daemon = ctx;
	struct control_reload result = {.dry_run = daemon->reload_dry};
	struct control_error err = {0};
	int error = fault->err;

	if (error)
		daemon_fault_error(fault, &err);
	else if (!daemon->wire)
		error = stopping(&err);
	else
		error = take_over(daemon, fd, daemon->reload_dry, &result, &err);
	if (fd >= 0)
		close(fd);
	runtime_peers_fini(&daemon->peers_next);
	control_request_fini(&daemon->change);
	result.generation = daemon->generation;
	daemon_manager_reloaded(daemon);
	daemon->reloading = false;
	if (daemon->reload_signal)
		log_outcome(daemon, error, &result, &err);
	else if (daemon->control)
		control_server_reloaded(daemon->control, error, &result, &err);
	control_reload_fini(&result);
	control_error_fini(&err);
	if (daemon->reload_again) {
		daemon->reload_again = false;
		daemon_reload_by_signal(daemon);
	}
}

int daemon_begin_change(
	struct daemon *daemon, struct runtime_peers *next, bool dry_run, struct control_error *err)
{
	struct fault fault = {0};
	int error = -ESHUTDOWN;

	if (daemon->wire)
		error = broker_read_config(daemon->broker, on_read, daemon, &fault);
	else
		(void)stopping(err);
	if (error < 0) {
		if (daemon->wire)
			daemon_fault_error(&fault, err);
		runtime_peers_fini(next);
		control_request_fini(&daemon->change);
		return error;
	}
	runtime_peers_fini(&daemon->peers_next);
	daemon->peers_next = *next;
	daemon->reloading = true;
	daemon->reload_dry = dry_run;
	daemon->reload_signal = false;
	notify_reloading(&daemon->notify);
	return -EINPROGRESS;
}

int daemon_reload(struct daemon *daemon, bool dry_run, struct control_error *err)
{
	struct runtime_peers next;

	if (daemon->reloading)
		return -EBUSY;
	control_request_fini(&daemon->change);
	if (runtime_peers_copy(&daemon->peers_given, &next)) {
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_MEMORY, "out of memory");
		return -ENOMEM;
	}
	runtime_peers_restore(&next);
	return daemon_begin_change(daemon, &next, dry_run, err);
}

void daemon_reload_by_signal(struct daemon *daemon)
{
	struct control_error err = {0};
	int error = daemon_reload(daemon, false, &err);

	if (error == -EBUSY)
		daemon->reload_again = true;
	else if (error == -EINPROGRESS)
		daemon->reload_signal = true;
	else
		log_outcome(daemon, error, NULL, &err);
	control_error_fini(&err);
}
