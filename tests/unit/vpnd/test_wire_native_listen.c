/* The sockets of the native wire: which are open, what comes in by them, and what a reload changes, accepted or refused. */
#include "control/control_status.h"
#include "vpnd/udp_socket.h"
#include "wire_native_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A datagram from outside to `port`, until it is heard; the address it is sent to may be of any family. */
static void knock(struct wire_rig *b, const char *to, uint16_t port, const void *data, size_t len)
{
	struct kcpvpn_endpoint endpoint = endpoint_of(to);
	struct sockaddr_storage sa;

	endpoint.port = port;
	size_t sa_len = kcpvpn_endpoint_to_sockaddr(&endpoint, false, &sa);
	int fd = socket(sa.ss_family, SOCK_DGRAM, 0);
	cr_assert_eq(
		sendto(fd, data, len, 0, (struct sockaddr *)&sa, (socklen_t)sa_len), (ssize_t)len);
	close(fd);
	while (fake->datagrams < 1)
		cr_assert(loop_turn(b->loop, true) >= 0);
}

static uint16_t listening_port(struct wire_rig *b, size_t index)
{
	struct control_status status;

	control_status_init(&status);
	b->wire->ops->status(b->wire, &status);
	cr_assert(index < status.listen.count);
	uint16_t port = (uint16_t)atoi(strrchr(status.listen.items[index], ':') + 1);
	control_status_fini(&status);
	return port;
}

static size_t listener_count(struct wire_rig *b)
{
	struct control_status status;

	control_status_init(&status);
	b->wire->ops->status(b->wire, &status);
	size_t count = status.listen.count;
	control_status_fini(&status);
	return count;
}

static void take_port(struct udp_socket *taken, struct udp_batch *batch, const char *address)
{
	struct udp_socket_options options;
	struct fault fault = {0};

	udp_socket_options_init(&options);
	options.local = endpoint_of(address);
	cr_assert_eq(udp_socket_open(taken, &options, batch, &fault), 0, "%s", fault.text);
}

static void refused_reload(struct wire_rig *b, const char *global, const char *const *peers)
{
	struct fault fault = {0};
	struct config *other = wire_rig_parse(global, peers);

	cr_assert_eq(b->wire->ops->set_config(b->wire, other, &fault), -EADDRINUSE);
	config_free(other);
}

Test(wire_native_listen, without_listen_there_is_one_socket_for_all)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"[2001:db8::1]:2\"]", NULL};
	static uint8_t bytes[1472] = {0x77};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	cr_assert_eq(listener_count(&b), 1);
	cr_assert_eq(fake_peer(1)->targets[0].port, fake_peer(1)->targets[1].port);
	uint16_t port = listening_port(&b, 0);
	cr_assert_neq(port, 0);
	knock(&b, "192.168.1.2:1", port, bytes, sizeof(bytes));
	cr_assert_eq(fake->last.len, sizeof(bytes));
	cr_assert_eq(fake->last_byte, 0x77);
	cr_assert_eq(fake->last.remote.family, 4, "mapped addresses are IPv4");
	cr_assert_eq(fake->last.local.family, 4);
	cr_assert_eq(fake->last_port, fake_peer(1)->targets[0].port);
	wire_rig_close(&b);
}

Test(wire_native_listen, the_socket_follows_the_address)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"203.0.113.1:1\", \"[2001:db8::1]:2\"]", NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_link_up(&b, &b.other, "up1", "192.0.2.2/24");
	wire_rig_route(&b, &b.other, "203.0.113.0/24", true);
	wire_rig_start(&b, "listen: [\"192.168.1.2:5000\", \"192.0.2.2:5001\"]\n", peers);
	const struct kcpvpn_target *t = fake_peer(1)->targets;
	cr_assert_eq(fake_peer(1)->target_count, 3);
	cr_assert_neq(t[0].port, t[1].port, "each from the address that its route begins with");
	cr_assert(t[2].port != t[0].port && t[2].port != t[1].port);
	cr_assert_eq(listener_count(&b), 3, "one more for the family that nothing listens on");
	knock(&b, "192.0.2.2:1", 5001, "y", 1);
	cr_assert_eq(fake->last_port, t[1].port);
	wire_rig_close(&b);
}

Test(wire_native_listen, a_reload_changes_only_what_differs)
{
	static const char *const before[] = {
		", endpoints: [\"198.51.100.1:1\"]", ", endpoints: [\"198.51.100.2:1\"]", NULL};
	static const char *const after[] = {
		", endpoints: [\"198.51.100.9:1\", \"198.51.100.1:1\"], session: {dead_after: 30s, "
		"roaming: false}, transport: {deadline: 2s}",
		", endpoints: [\"198.51.100.2:1\"]", NULL};
	struct wire_rig b;
	struct kcpvpn_endpoint known = endpoint_of("203.0.113.9:9");

	wire_rig_open(&b);
	wire_rig_start(&b, "listen: [\"0.0.0.0:5000\"]\n", before);
	const struct kcpvpn_udp_port *kept = fake_peer(1)->targets[0].port;
	state_file_set(b.state, (const uint8_t[32]){0x55}, &known); /* of a peer that is gone */
	wire_rig_reload(&b, "listen: [\"0.0.0.0:5000\", \"192.168.1.2:5001\"]\n", after);
	cr_assert_eq(fake->closed_count, 0);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.9:1 198.51.100.1:1");
	cr_assert_str_eq(targets(fake_peer(2)), "198.51.100.2:1");
	cr_assert_eq(fake_peer(1)->config.dead_after_us, 30000000);
	cr_assert_eq(fake_peer(1)->config.deadline_us, 2000000);
	cr_assert(!fake_peer(1)->config.roaming);
	cr_assert(!fake_peer(1)->down && !fake_peer(2)->down);
	cr_assert(!state_file_find(b.state, (const uint8_t[32]){0x55}, &known));
	cr_assert_eq(listener_count(&b), 2);

	wire_rig_reload(&b, "listen: [\"192.168.1.2:5001\"]\n", after);
	cr_assert_eq(fake->closed_count, 1);
	cr_assert_eq(fake->closed[0], kept);
	cr_assert_neq(fake_peer(1)->targets[0].port, kept, "no target by a socket that is gone");
	cr_assert_neq(fake_peer(2)->targets[0].port, kept);
	cr_assert_eq(listener_count(&b), 1);
	wire_rig_close(&b);
}

Test(wire_native_listen, a_port_that_is_taken_changes_nothing)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct wire_rig b;
	struct fault fault = {0};
	struct udp_socket taken = {.fd = -1};
	struct udp_batch *batch = udp_batch_new(100);

	wire_rig_open(&b);
	wire_rig_start(&b, "listen: [\"192.168.1.2:5000\"]\n", peers);
	take_port(&taken, batch, "192.168.1.2:6000");
	struct config *other =
		wire_rig_parse("listen: [\"192.168.1.2:5001\", \"192.168.1.2:6000\"]\n", peers);
	cr_assert_eq(b.wire->ops->set_config(b.wire, other, &fault), -EADDRINUSE);
	cr_assert_str_eq(fault.code, "E-UDP-1");
	config_free(other);
	cr_assert_eq(listener_count(&b), 1);
	cr_assert_eq(listening_port(&b, 0), 5000);
	knock(&b, "192.168.1.2:1", 5000, "y", 1);
	cr_assert_eq(fake->last_port, fake_peer(1)->targets[0].port);
	udp_socket_close(&taken);
	udp_batch_free(batch);
	wire_rig_close(&b);
}

Test(wire_native_listen, a_refused_reload_closes_nothing_before_it_must)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct udp_socket taken = {.fd = -1};
	struct udp_batch *batch = udp_batch_new(100);
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "listen: [\"192.168.1.2:5000\"]\n", peers);
	take_port(&taken, batch, "192.168.1.2:6000");
	refused_reload(&b, "listen: [\"0.0.0.0:5000\", \"192.168.1.2:6000\"]\n", peers);
	cr_assert_eq(fake->closed_count, 0, "its own port was not in the way of the other");
	cr_assert_eq(listening_port(&b, 0), 5000);
	/* Without the other one it can be had: the old one makes way. */
	wire_rig_reload(&b, "listen: [\"0.0.0.0:5000\"]\n", peers);
	cr_assert_eq(fake->closed_count, 1);
	knock(&b, "192.168.1.2:1", 5000, "y", 1);
	cr_assert_eq(fake->last_port, fake_peer(1)->targets[0].port);
	udp_socket_close(&taken);
	udp_batch_free(batch);
	wire_rig_close(&b);
}

Test(wire_native_listen, after_a_refused_reload_peers_are_called_by_ports_that_are_open)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct udp_socket taken = {.fd = -1};
	struct udp_batch *batch = udp_batch_new(100);
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "listen: [\"192.168.1.2:5000\"]\n", peers);
	take_port(&taken, batch, "127.0.0.1:5000");
	refused_reload(&b, "listen: [\"0.0.0.0:5000\"]\n", peers);
	cr_assert_eq(fake->closed_count, 1, "it had to make way");
	cr_assert_eq(listener_count(&b), 1);
	knock(&b, "192.168.1.2:1", 5000, "y", 1);
	cr_assert_eq(fake_peer(1)->target_count, 1);
	cr_assert_eq(fake->last_port, fake_peer(1)->targets[0].port);
	cr_assert(!warned(&b, false, "not listening on"));
	udp_socket_close(&taken);
	udp_batch_free(batch);
	wire_rig_close(&b);
}

Test(wire_native_listen, a_listener_that_cannot_come_back_is_tried_again)
{
	static const char *const peers[] = {"", NULL};
	struct udp_socket taken = {.fd = -1};
	struct udp_batch *batch = udp_batch_new(100);
	struct wire_rig b;
	struct fault fault = {0};
	struct ip_prefix address = prefix_of("192.0.2.77/32");

	wire_rig_open(&b);
	cr_assert_eq(netlink_address_add(b.netlink, b.uplink.ifindex, &address, &fault), 0);
	wire_rig_start(&b, "listen: [\"192.0.2.77:5000\"]\n", peers);
	take_port(&taken, batch, "127.0.0.1:5000");
	cr_assert_eq(netlink_address_remove(b.netlink, b.uplink.ifindex, &address, &fault), 0);
	int before = b.warnings;
	refused_reload(&b, "listen: [\"0.0.0.0:5000\"]\n", peers);
	cr_assert_eq(listener_count(&b), 0);
	cr_assert_eq(b.warnings, before + 1);
	cr_assert(warned(&b, false, "not listening on 192.0.2.77:5000"));
	/* Nothing is open, and the host is asked all the same. */
	fake_peer(1)->endpoint = endpoint_of("203.0.113.7:7");
	fake_peer(1)->events = KCPVPN_PEER_EVENT_ENDPOINT;
	wire_rig_round(&b);
	cr_assert_eq(fake_peer(1)->link_mtu, 1500);
	for (int i = 0; i < 3; i++) {
		b.wire->ops->network_changed(b.wire, false);
		wire_rig_round(&b);
	}
	cr_assert_eq(b.warnings, before + 1, "said once");
	/* A second refusal finds the gap and leaves it. */
	refused_reload(&b, "listen: [\"0.0.0.0:5000\"]\n", peers);
	cr_assert_eq(listener_count(&b), 1, "the spare one for the peer that is known by now");

	struct mono began = loop_now(b.loop);
	cr_assert_eq(netlink_address_add(b.netlink, b.uplink.ifindex, &address, &fault), 0);
	b.wire->ops->network_changed(b.wire, false);
	while (warned(&b, false, "not listening on"))
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert(mono_diff_us(loop_now(b.loop), began) < NATIVE_REOPEN_US / 2);
	cr_assert_eq(listening_port(&b, 0), 5000);
	const struct native_wire *wire = (const struct native_wire *)b.wire;
	cr_assert(mono_is_never(wire->reopen.timer.at));
	udp_socket_close(&taken);
	udp_batch_free(batch);
	wire_rig_close(&b);
}
