/*
 * The sockets of the native wire. All peers share those that `listen` asks for, so that a peer sees us come from the
 * port it knows; without any there is one for both families on a port of the host's choice. A change opens what is new
 * before it closes what is gone, so that a port that is taken leaves everything as it was. Only where an own listener that
 * leaves stands in the way of a new one it is closed first; if that was in vain, it is opened again, now or later.
 *
 * Who listens on addresses of one family only can still call peers of the other: a socket on any port is opened for that
 * when the first such address comes up, not before.
 *
 * Handshakes have a socket of their own on each port, so that a flood of them does not push data out of the kernel's
 * queue. They are taken a batch at a time, data as long as it comes; their queue is where too many of them are lost. What comes
 * to the wrong one of several sockets is handed to the right thread (handover.h).
 */
#include "config/config.h"
#include "core/log.h"
#include "core/stage_clock.h"
#include "vpnd/fault.h"
#include "vpnd/udp_group.h"
#include "vpnd/wire_native_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum {
	RECEIVES_PER_EVENT = 4, /* batches taken from a socket before others have their turn */
};

static bool any_address(const struct kcpvpn_endpoint *endpoint)
{
	static const uint8_t zero[sizeof(endpoint->address)];

	return memcmp(endpoint->address, zero, sizeof(zero)) == 0;
}

static void on_socket(struct loop_watch *watch, uint32_t events)
{
	struct native_socket *socket = list_entry(watch, struct native_socket, watch);
	struct stage_clock *stages = socket->wire->wire.events->stages;
	const struct kcpvpn_datagram *batch;

	(void)events;
	for (int i = 0; i < RECEIVES_PER_EVENT || udp_socket_pending(&socket->udp); i++) {
		enum stage before = stage_enter(stages, STAGE_UDP_RECEIVE);
		size_t count = udp_socket_receive(&socket->udp, &batch);
		stage_did(stages, count);
		(void)stage_enter(stages, before);
		count = workers_sort(socket->wire->workers, socket->number, &batch, count);
		if (count > 0)
			kcpvpn_native_input(socket->wire->native, &socket->udp.kcpvpn, batch, count,
				native_now(socket->wire));
		if (!udp_socket_more(&socket->udp))
			return;
	}
	loop_behind(socket->wire->loop);
}

static void on_calls(struct loop_watch *watch, uint32_t events)
{
	struct native_socket *socket = list_entry(watch, struct native_socket, calls_watch);
	const struct kcpvpn_datagram *batch;

	(void)events;
	do {
		size_t count = udp_socket_receive(&socket->calls, &batch);
		count = workers_sort(socket->wire->workers, socket->number, &batch, count);
		if (count > 0)
			kcpvpn_native_input(socket->wire->native, &socket->udp.kcpvpn, batch, count,
				native_now(socket->wire));
	} while (udp_socket_pending(&socket->calls));
	if (udp_socket_more(&socket->calls))
		loop_behind(socket->wire->loop);
}

/* Called while the library sends: it is told in the next turn. What does not fit comes again with the next datagram. */
static void on_too_big(void *ctx, const struct kcpvpn_datagram *datagram)
{
	struct native_wire *wire = ctx;

	for (size_t i = 0; i < wire->refused_count; i++) {
		struct native_refused *refused = &wire->refused[i];
		if (!kcpvpn_endpoint_equal(&refused->remote, &datagram->remote))
			continue;
		if (datagram->len < refused->len)
			refused->len = datagram->len;
		return;
	}
	if (wire->refused_count < NATIVE_TOO_BIG_MAX)
		wire->refused[wire->refused_count++] =
			(struct native_refused){datagram->remote, datagram->len};
}

static void close_shards(struct native_socket *socket)
{
	workers_stop(socket->wire->workers);
	workers_close_sockets(socket->wire->workers, socket->shards);
	workers_go(socket->wire->workers);
	socket->shards = NULL;
}

/*
 * One socket a worker, and one for handshakes. Without workers it is no reason to fail if the host has no groups: all goes to
 * one socket then. With them shards would come to the wrong one.
 */
static int part(
	struct native_socket *socket, const struct udp_socket_options *like, struct fault *fault)
{
	struct native_wire *wire = socket->wire;
	unsigned workers = workers_count(wire->workers);
	struct udp_socket_options options = *like;
	int error = udp_group_share(socket->udp.fd);

	options.joins = true;
	options.local.port = socket->udp.port;
	if (socket->udp.ipv4_only)
		options.local.family = 4;
	workers_stop(wire->workers);
	if (error == 0 && workers > 0)
		error = workers_open_sockets(
			wire->workers, &options, socket->number, &socket->shards, fault);
	if (error == 0 && workers > 0)
		error = kcpvpn_native_name_port(wire->native, &socket->udp.kcpvpn, socket->number);
	workers_go(wire->workers);
	if (error == 0)
		error = udp_socket_open(&socket->calls, &options, wire->batch, NULL);
	if (error < 0)
		goto whole;
	error = udp_group_steer(socket->udp.fd, workers + 1);
	if (error < 0)
		goto close_calls;
	socket->calls_watch = (struct loop_watch){.fd = socket->calls.fd, .on_event = on_calls};
	error = loop_watch_add(wire->loop, &socket->calls_watch, EPOLLIN);
	if (error < 0)
		goto close_calls;
	socket->parted = true;
	return 0;
close_calls:
	udp_socket_close(&socket->calls);
whole:
	if (workers > 0) {
		kcpvpn_native_close_port(wire->native, &socket->udp.kcpvpn, native_now(wire));
		close_shards(socket);
		return fault_set(fault, error, "E-WIRE-2",
			"set interface.queues: 1 to do without a socket a worker",
			"port %u cannot be shared by the workers: %s", socket->udp.port,
			strerror(-error));
	}
	log_debug(wire->log, "port %u: handshakes and data share a queue: %s", socket->udp.port,
		strerror(-error));
	return 0;
}

static void close_calls(struct native_socket *socket)
{
	if (!socket->parted)
		return;
	loop_watch_remove(socket->wire->loop, &socket->calls_watch);
	udp_socket_close(&socket->calls);
}

static struct native_socket *open_one(struct native_wire *wire,
	const struct kcpvpn_endpoint *address, struct fault *fault, int *ret_error)
{
	static uint64_t
		last_number; /* never used again: what is under way may name a socket that is gone */
	struct udp_socket_options options;
	struct native_socket *socket = calloc(1, sizeof(*socket));

	if (!socket) {
		*ret_error = fault_set(fault, -ENOMEM, "E-WIRE-2", NULL, "out of memory");
		return NULL;
	}
	udp_socket_options_init(&options);
	options.fwmark = config_fwmark(wire->config);
	options.local = *address;
	options.fragmenting = UDP_FRAGMENTING_NEVER;
	options.on_too_big = on_too_big;
	options.ctx = wire;
	socket->wire = wire;
	socket->number = ++last_number;
	socket->listen = *address;
	*ret_error = udp_socket_open(&socket->udp, &options, wire->batch, fault);
	if (*ret_error < 0)
		goto free_socket;
	socket->watch = (struct loop_watch){.fd = socket->udp.fd, .on_event = on_socket};
	*ret_error = loop_watch_add(wire->loop, &socket->watch, EPOLLIN);
	if (*ret_error < 0) {
		fault_set(fault, *ret_error, "E-WIRE-2", NULL, "cannot watch a socket: %s",
			strerror(-*ret_error));
		goto close_socket;
	}
	*ret_error = part(socket, &options, fault);
	if (*ret_error < 0) {
		loop_watch_remove(wire->loop, &socket->watch);
		goto close_socket;
	}
	return socket;
close_socket:
	udp_socket_close(&socket->udp);
free_socket:
	free(socket);
	return NULL;
}

static void end(struct native_socket *socket)
{
	struct native_wire *wire = socket->wire;

	kcpvpn_native_close_port(wire->native, &socket->udp.kcpvpn, native_now(wire));
	close_calls(socket);
	close_shards(socket);
	loop_watch_remove(wire->loop, &socket->watch);
	udp_socket_close(&socket->udp);
	free(socket);
}

/* ---- listening -------------------------------------------------------------------------------------------------- */

static const struct kcpvpn_endpoint *addresses_of(const struct config *config, size_t *ret_count)
{
	static const struct kcpvpn_endpoint any = {.family = 6};

	*ret_count = config->listen.count > 0 ? config->listen.count : 1;
	return config->listen.count > 0 ? config->listen.items : &any;
}

static bool among(
	struct native_socket *const *sockets, size_t count, const struct native_socket *socket)
{
	for (size_t i = 0; i < count; i++) {
		if (sockets[i] == socket)
			return true;
	}
	return false;
}

/* The socket that listens on this address already and is not in `taken`. NULL if there is none. */
static struct native_socket *open_already(const struct native_wire *wire,
	const struct kcpvpn_endpoint *address, struct native_socket *const *taken, size_t count)
{
	for (size_t i = 0; i < wire->listener_count; i++) {
		struct native_socket *socket = wire->listeners[i];
		if (socket && kcpvpn_endpoint_equal(&socket->listen, address) &&
			!among(taken, count, socket))
			return socket;
	}
	return NULL;
}

/* Whether a listener that leaves, as it is not in `staying`, holds this port. @end_them  and ends those that do */
static bool leaving_holds(struct native_wire *wire, uint16_t port,
	struct native_socket *const *staying, size_t count, bool end_them)
{
	bool any = false;

	for (size_t i = 0; i < wire->listener_count; i++) {
		struct native_socket *socket = wire->listeners[i];
		if (!socket || socket->listen.port != port || among(staying, count, socket))
			continue;
		any = true;
		if (!end_them)
			continue;
		end(socket);
		wire->listeners[i] = NULL;
	}
	return any;
}

/*
 * Opens what `now` lacks. In the first round nothing is closed, so that what fails fails without a trace; what an own
 * listener that leaves stands in the way of ([::]:p and 192.0.2.1:p exclude each other) waits for the second.
 */
static int open_missing(struct native_wire *wire, const struct kcpvpn_endpoint *addresses,
	struct native_socket **now, size_t count, struct fault *fault)
{
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < count; i++) {
			uint16_t port = addresses[i].port;
			int error = 0;
			if (now[i])
				continue;
			if (round > 0)
				(void)leaving_holds(wire, port, now, count, true);
			now[i] = open_one(wire, &addresses[i], fault, &error);
			if (!now[i] && (round > 0 || error != -EADDRINUSE ||
					       !leaving_holds(wire, port, now, count, false)))
				return error;
		}
	}
	return 0;
}

/* Opens listeners that had to make way. @return how many are missing still */
static size_t restore(struct native_wire *wire, bool say)
{
	size_t count, missing = 0;
	const struct kcpvpn_endpoint *addresses = addresses_of(wire->config, &count);
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	for (size_t i = 0; i < count && i < wire->listener_count; i++) {
		struct fault fault = {0};
		int error;
		if (wire->listeners[i])
			continue;
		wire->listeners[i] = open_one(wire, &addresses[i], &fault, &error);
		if (wire->listeners[i])
			continue;
		missing++;
		if (say)
			log_error(wire->log,
				"no longer listening on %s, which had to make way for settings "
				"that were refused: %s; trying again",
				kcpvpn_endpoint_format(&addresses[i], text), fault.text);
	}
	return missing;
}

static void on_reopen(struct loop_timer *timer, struct mono now)
{
	struct native_wire *wire = list_entry(timer, struct native_wire, reopen);

	wire->reopened_at = now;
	if (restore(wire, false) > 0)
		loop_timer_arm(wire->loop, timer, mono_add_us(now, NATIVE_REOPEN_US));
	else
		log_info(wire->log, "listening on all addresses again");
	native_targets_set_all(wire);
}

void native_listen_init(struct native_wire *wire)
{
	loop_timer_init(&wire->reopen, on_reopen);
	wire->reopened_at = MONO_NEVER;
}

void native_listen_again(struct native_wire *wire)
{
	struct mono at = loop_now(wire->loop);

	if (mono_is_never(wire->reopen.timer.at))
		return;
	if (!mono_is_never(wire->reopened_at))
		at = mono_max(at, mono_add_us(wire->reopened_at, NATIVE_REOPEN_MIN_US));
	loop_timer_arm(wire->loop, &wire->reopen, mono_min(at, wire->reopen.timer.at));
}

const struct kcpvpn_endpoint *native_listen_missing(const struct native_wire *wire, size_t index)
{
	size_t count;
	const struct kcpvpn_endpoint *addresses = addresses_of(wire->config, &count);

	for (size_t i = 0; i < count && i < wire->listener_count; i++) {
		if (!wire->listeners[i] && index-- == 0)
			return &addresses[i];
	}
	return NULL;
}

int native_listen(struct native_wire *wire, const struct config *config, struct fault *fault)
{
	size_t count;
	const struct kcpvpn_endpoint *addresses = addresses_of(config, &count);
	struct native_socket **now = calloc(count, sizeof(struct native_socket *));
	bool *kept = calloc(count, sizeof(bool));
	int error = 0;

	if (!now || !kept) {
		error = fault_set(fault, -ENOMEM, "E-WIRE-2", NULL, "out of memory");
		goto free_lists;
	}
	for (size_t i = 0; i < count; i++) {
		now[i] = open_already(wire, &addresses[i], now, i);
		kept[i] = now[i] != NULL;
	}
	error = open_missing(wire, addresses, now, count, fault);
	if (error < 0)
		goto undo;
	bool others = count != wire->listener_count || wire->no_spare;
	for (size_t i = 0; i < wire->listener_count; i++) {
		if (wire->listeners[i] && !among(now, count, wire->listeners[i]))
			end(wire->listeners[i]);
		others |= i < count && now[i] != wire->listeners[i];
	}
	free(wire->listeners);
	wire->listeners = now;
	wire->listener_count = count;
	wire->no_spare = false;
	loop_timer_disarm(wire->loop, &wire->reopen);
	free(kept);
	return others;

undo:
	for (size_t i = 0; i < count; i++) {
		if (now[i] && !kept[i])
			end(now[i]);
	}
	if (restore(wire, true) > 0)
		loop_timer_arm(wire->loop, &wire->reopen,
			mono_add_us(loop_now(wire->loop), NATIVE_REOPEN_US));
free_lists:
	free(kept);
	free(now);
	return error;
}

void native_listen_end(struct native_wire *wire)
{
	for (size_t i = 0; i < wire->listener_count; i++) {
		if (wire->listeners[i])
			end(wire->listeners[i]);
	}
	free(wire->listeners);
	wire->listeners = NULL;
	wire->listener_count = 0;
	if (wire->spare)
		end(wire->spare);
	wire->spare = NULL;
}

struct native_socket *native_socket_of(const struct native_wire *wire, uint64_t number)
{
	for (size_t i = 0; i < wire->listener_count; i++) {
		if (wire->listeners[i] && wire->listeners[i]->number == number)
			return wire->listeners[i];
	}
	return wire->spare && wire->spare->number == number ? wire->spare : NULL;
}

int native_any_socket(const struct native_wire *wire)
{
	for (size_t i = 0; i < wire->listener_count; i++) {
		if (wire->listeners[i])
			return wire->listeners[i]->udp.fd;
	}
	return wire->spare ? wire->spare->udp.fd : -1;
}

/* ---- which of them ---------------------------------------------------------------------------------------------- */

/* How well a socket suits: 0 = not at all. */
static int suits(const struct native_socket *socket, const struct kcpvpn_endpoint *remote,
	const struct kcpvpn_endpoint *source)
{
	const struct kcpvpn_endpoint *own = &socket->listen;
	bool any = any_address(own);
	uint8_t family = socket->udp.v6 ? 6 : 4;

	if (family != remote->family && !(family == 6 && any))
		return 0;
	if (any)
		return 2; /* it leaves from where the routes say */
	if (source->family == own->family &&
		memcmp(source->address, own->address, sizeof(own->address)) == 0)
		return 3; /* as the routes say, and the peer may know it */
	return 1;
}

const struct kcpvpn_udp_port *native_port_for(struct native_wire *wire,
	const struct kcpvpn_endpoint *remote, const struct kcpvpn_endpoint *source)
{
	const struct kcpvpn_endpoint any = {.family = 6};
	struct native_socket *best = NULL;
	struct fault fault = {0};
	int most = 0, error;

	for (size_t i = 0; i < wire->listener_count; i++) {
		struct native_socket *socket = wire->listeners[i];
		int worth = socket ? suits(socket, remote, source) : 0;
		if (worth > most) {
			most = worth;
			best = socket;
		}
	}
	if (best)
		return &best->udp.kcpvpn;
	if (!wire->spare && !wire->no_spare) {
		wire->spare = open_one(wire, &any, &fault, &error);
		wire->no_spare = !wire->spare;
		if (!wire->spare && !wire->no_spare_said)
			log_warn(wire->log, "no socket for calling IPv%u addresses: %s",
				remote->family, fault.text);
		wire->no_spare_said = !wire->spare;
	}
	return wire->spare && suits(wire->spare, remote, source) > 0 ? &wire->spare->udp.kcpvpn
								     : NULL;
}
