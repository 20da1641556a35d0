/*
 * What leader and followers call the ports that leave from one address. Each has its own, and none may hold a pointer to
 * another's: a message may be under way while a port is closed, its memory freed, and perhaps given to another port. So ports
 * have numbers, which are never used again, and what a number means is looked up when the message is read: what is gone is not
 * found.
 *
 * There are as many as a program listens on, so a list is enough.
 */
#include "stack/native_state.h"

#include <errno.h>
#include <stdlib.h>

int kcpvpn_native_name_port(
	struct kcpvpn_native *native, const struct kcpvpn_udp_port *port, uint64_t number)
{
	if (number == 0)
		return -EINVAL;
	if (native_port_named(native, number) || native_port_number(native, port) != 0)
		return -EEXIST;
	struct native_shard_port *grown =
		reallocarray(native->ports, native->port_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	native->ports = grown;
	native->ports[native->port_count++] = (struct native_shard_port){number, port};
	return 0;
}

uint64_t native_port_number(const struct kcpvpn_native *native, const struct kcpvpn_udp_port *port)
{
	for (size_t i = 0; i < native->port_count; i++)
		if (native->ports[i].port == port)
			return native->ports[i].number;
	return 0;
}

const struct kcpvpn_udp_port *native_port_named(const struct kcpvpn_native *native, uint64_t number)
{
	for (size_t i = 0; i < native->port_count; i++)
		if (native->ports[i].number == number)
			return native->ports[i].port;
	return NULL;
}

void native_port_gone(struct kcpvpn_native *native, const struct kcpvpn_udp_port *port)
{
	for (size_t i = 0; i < native->port_count; i++) {
		if (native->ports[i].port != port)
			continue;
		native->ports[i] = native->ports[--native->port_count];
		return;
	}
}
