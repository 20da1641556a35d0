/*
 * The sockets that others call us on. A change opens what is new before it closes what is gone, so that a port that is
 * taken leaves everything as it was.
 */
#include "config/config.h"
#include "vpnd/fault.h"
#include "vpnd/wire_kcp_go_peer.h"

#include <errno.h>
#include <stdlib.h>

/* The socket that listens on this address already, taken out of the wire's list. NULL if there is none. */
static struct kcp_go_socket *take(struct kcp_go *wire, const struct kcpvpn_endpoint *address)
{
	for (size_t i = 0; i < wire->listener_count; i++) {
		struct kcp_go_socket *socket = wire->listeners[i];
		if (socket && kcpvpn_endpoint_equal(&socket->listen, address)) {
			wire->listeners[i] = NULL;
			return socket;
		}
	}
	return NULL;
}

static void put_back(struct kcp_go *wire, struct kcp_go_socket *socket)
{
	for (size_t i = 0; i < wire->listener_count; i++) {
		if (!wire->listeners[i]) {
			wire->listeners[i] = socket;
			return;
		}
	}
}

/* Conversations that came in by this socket go with it. */
static void close_calls(struct kcp_go *wire, const struct kcp_go_socket *socket)
{
	list_for_each (at, &wire->peers) {
		struct wire_peer *p = list_entry(at, struct wire_peer, in_wire);
		list_for_each_safe (node, &p->calls) {
			struct kcp_go_call *call = list_entry(node, struct kcp_go_call, in_list);
			if (kcpvpn_conv_port(call->conv) == &socket->udp.kcpvpn)
				kcp_go_call_free(call);
		}
		kcp_go_tell_state(p);
	}
	list_for_each_safe (node, &wire->unknown) {
		struct kcp_go_call *call = list_entry(node, struct kcp_go_call, in_list);
		if (kcpvpn_conv_port(call->conv) == &socket->udp.kcpvpn)
			kcp_go_call_free(call);
	}
}

static void end(struct kcp_go *wire, struct kcp_go_socket *socket)
{
	close_calls(wire, socket);
	kcp_go_socket_close(socket);
	free(socket);
}

static struct kcp_go_socket *open_one(struct kcp_go *wire, const struct kcpvpn_endpoint *address,
	struct fault *fault, int *ret_error)
{
	struct udp_socket_options options;
	struct kcp_go_socket *socket = calloc(1, sizeof(*socket));

	if (!socket) {
		*ret_error = fault_set(fault, -ENOMEM, "E-WIRE-2", NULL, "out of memory");
		return NULL;
	}
	udp_socket_options_init(&options);
	options.fwmark = config_fwmark(wire->config);
	options.local = *address;
	socket->accepts = true;
	socket->listen = *address;
	*ret_error = kcp_go_socket_open(wire, socket, &options, fault);
	if (*ret_error < 0) {
		free(socket);
		return NULL;
	}
	return socket;
}

/* Ends listeners that are leaving and hold this port. @return whether there was one */
static bool free_port(struct kcp_go *wire, uint16_t port)
{
	bool any = false;

	for (size_t i = 0; i < wire->listener_count; i++) {
		if (!wire->listeners[i] || wire->listeners[i]->listen.port != port)
			continue;
		end(wire, wire->listeners[i]);
		wire->listeners[i] = NULL;
		any = true;
	}
	return any;
}

/* After a failure: listeners that had to leave for their port come back as far as that can be. */
static void restore(struct kcp_go *wire)
{
	const struct config_listen *old = &wire->config->listen;
	struct fault fault = {0};
	int error;

	for (size_t i = 0; i < old->count && i < wire->listener_count; i++) {
		bool there = false;
		for (size_t k = 0; k < wire->listener_count; k++)
			there |= wire->listeners[k] &&
				 kcpvpn_endpoint_equal(&wire->listeners[k]->listen, &old->items[i]);
		struct kcp_go_socket *socket =
			there ? NULL : open_one(wire, &old->items[i], &fault, &error);
		if (socket)
			put_back(wire, socket);
	}
}

int kcp_go_listen(struct kcp_go *wire, const struct config *config, struct fault *fault)
{
	size_t count = config->listen.count, done;
	struct kcp_go_socket **now = calloc(count + 1, sizeof(struct kcp_go_socket *));
	bool *kept = calloc(count + 1, sizeof(bool));
	int error = 0;

	if (!now || !kept) {
		error = fault_set(fault, -ENOMEM, "E-WIRE-2", NULL, "out of memory");
		goto free_lists;
	}
	for (done = 0; done < count; done++) {
		now[done] = take(wire, &config->listen.items[done]);
		kept[done] = now[done] != NULL;
		if (!now[done])
			now[done] = open_one(wire, &config->listen.items[done], fault, &error);
		/* The port may be taken by an own listener that leaves: [::]:p and 192.0.2.1:p exclude each other. */
		if (!now[done] && error == -EADDRINUSE &&
			free_port(wire, config->listen.items[done].port))
			now[done] = open_one(wire, &config->listen.items[done], fault, &error);
		if (!now[done])
			goto undo;
	}
	for (size_t i = 0; i < wire->listener_count; i++) {
		if (wire->listeners[i])
			end(wire, wire->listeners[i]);
	}
	free(wire->listeners);
	wire->listeners = now;
	wire->listener_count = count;
	free(kept);
	return 0;

undo:
	while (done-- > 0) {
		if (kept[done])
			put_back(wire, now[done]);
		else
			end(wire, now[done]);
	}
	restore(wire);
free_lists:
	free(kept);
	free(now);
	return error;
}

void kcp_go_listen_end(struct kcp_go *wire)
{
	for (size_t i = 0; i < wire->listener_count; i++)
		end(wire, wire->listeners[i]);
	free(wire->listeners);
	wire->listeners = NULL;
	wire->listener_count = 0;
}
