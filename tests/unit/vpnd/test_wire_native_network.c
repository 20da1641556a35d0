/* What the native wire makes of the host: private addresses, routes that change, ways into the tunnel, the MTU of links. */
#include "wire_native_rig.h"

#include <criterion/criterion.h>

Test(wire_native_network, a_nat_is_kept_open_where_there_is_one)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]",
		", endpoints: [\"192.168.7.1:1\"]",
		", endpoints: [\"198.51.100.1:1\"], session: {keepalive: off}",
		", endpoints: [\"192.168.7.1:1\"], session: {keepalive: 7s}", "", NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	cr_assert_eq(fake_peer(1)->config.keepalive_us, WIRE_NATIVE_KEEPALIVE_US);
	cr_assert_eq(fake_peer(2)->config.keepalive_us, 0, "the same house");
	cr_assert_eq(fake_peer(3)->config.keepalive_us, 0);
	cr_assert_eq(fake_peer(4)->config.keepalive_us, 7000000);
	cr_assert_eq(fake_peer(5)->config.keepalive_us, 0);

	/* The peer without endpoints calls us from outside: we are behind a forwarded port. */
	fake_peer(5)->endpoint = endpoint_of("203.0.113.7:7");
	fake_peer(5)->events = KCPVPN_PEER_EVENT_ENDPOINT;
	wire_rig_round(&b);
	cr_assert_eq(fake_peer(5)->config.keepalive_us, WIRE_NATIVE_KEEPALIVE_US);

	/* Another way outside, with an address of our own. */
	wire_rig_link_up(&b, &b.other, "up1", "203.0.113.77/32");
	wire_rig_route(&b, &b.other, "198.51.100.0/24", true);
	b.wire->ops->network_changed(b.wire, false);
	wire_rig_round(&b);
	cr_assert_eq(fake_peer(1)->config.keepalive_us, 0);
	cr_assert_eq(fake_peer(5)->config.keepalive_us, WIRE_NATIVE_KEEPALIVE_US);
	wire_rig_close(&b);
}

Test(wire_native_network, private_addresses)
{
	static const struct {
		const char *text;
		bool private;
	} rows[] = {
		{"10.0.0.1:1", true},
		{"11.0.0.1:1", false},
		{"9.255.255.255:1", false},
		{"172.15.0.1:1", false},
		{"172.16.0.1:1", true},
		{"172.31.255.255:1", true},
		{"172.32.0.1:1", false},
		{"192.168.0.1:1", true},
		{"192.167.0.1:1", false},
		{"192.169.0.1:1", false},
		{"100.63.0.1:1", false},
		{"100.64.0.1:1", true},
		{"100.127.255.255:1", true},
		{"100.128.0.1:1", false},
		{"169.254.1.1:1", true},
		{"127.0.0.1:1", true},
		{"192.0.0.2:1", true},
		{"192.0.2.2:1", false},
		{"8.8.8.8:1", false},
		{"[fc00::1]:1", true},
		{"[fd12::1]:1", true},
		{"[fe80::1%1]:1", true},
		{"[fec0::1]:1", false},
		{"[::1]:1", true},
		{"[::2]:1", false},
		{"[2001:db8::1]:1", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcpvpn_endpoint endpoint = endpoint_of(rows[i].text);
		cr_assert_eq(
			native_address_private(&endpoint), rows[i].private, "%s", rows[i].text);
	}
	cr_assert(!native_address_private(&(struct kcpvpn_endpoint){0}));
}

Test(wire_native_network, a_change_that_changes_nothing_is_not_told)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	wire_rig_round(&b);
	for (int i = 0; i < 10; i++) {
		b.wire->ops->network_changed(b.wire, false);
		wire_rig_round(&b);
	}
	cr_assert_eq(fake->network_changes, 0);
	struct native_wire *wire = (struct native_wire *)b.wire;
	loop_timer_disarm(b.loop, &wire->sweep);
	wire->swept_at = MONO_NEVER;			   /* long ago */
	wire_rig_route(&b, &b.uplink, "0.0.0.0/0", false); /* away */
	b.wire->ops->network_changed(b.wire, false);
	for (int i = 0; i < 3; i++)
		wire_rig_round(&b);
	cr_assert_eq(fake->network_changes, 1, "told at once");

	/* And back, and away again, in no time: once more, when the time has come. */
	for (int i = 0; i < 5; i++) {
		wire_rig_route(&b, &b.uplink, "0.0.0.0/0", i % 2 == 0);
		b.wire->ops->network_changed(b.wire, false);
		wire_rig_round(&b);
		wire_rig_round(&b);
	}
	struct mono began = loop_now(b.loop);
	cr_assert_eq(fake->network_changes, 1);
	while (fake->network_changes < 2)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert(mono_diff_us(loop_now(b.loop), began) <= 1000000);
	for (int i = 0; i < 3; i++)
		wire_rig_round(&b);
	cr_assert_eq(fake->network_changes, 2);

	b.wire->ops->network_changed(b.wire, true); /* it slept: whatever the routes say */
	while (fake->network_changes < 3)
		cr_assert(loop_turn(b.loop, true) >= 0);
	wire_rig_close(&b);
}

Test(wire_native_network, changes_all_the_time_keep_no_peer_from_its_turn)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\"]", ", endpoints: [\"198.51.100.2:1\"]", NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	struct native_wire *wire = (struct native_wire *)b.wire;
	struct native_peer *last = b.peers[1]->wire;
	b.wire->ops->network_changed(b.wire, false);
	wire_rig_round(&b);
	struct mono began = wire->swept_at;
	cr_assert_eq(wire->sweep_next, &wire->peers);

	/* In the middle of the list, when more peers are there than are looked at in one go. */
	wire->sweep_next = &last->in_wire;
	loop_timer_arm(b.loop, &wire->sweep, loop_now(b.loop));
	b.wire->ops->network_changed(b.wire, false);
	cr_assert_eq(wire->sweep_next, &last->in_wire, "it goes on");
	wire_rig_round(&b);
	cr_assert_eq(wire->sweep_next, &wire->peers);
	cr_assert_eq(wire->swept_at.us, began.us);
	/* then comes another, in its time, and one only */
	b.wire->ops->network_changed(b.wire, false);
	b.wire->ops->network_changed(b.wire, false);
	while (wire->swept_at.us == began.us)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert(mono_diff_us(wire->swept_at, began) >= WIRE_NATIVE_CHANGE_US);
	cr_assert(mono_is_never(wire->sweep.timer.at));
	wire_rig_close(&b);
}

Test(wire_native_network, a_way_that_leads_into_the_tunnel_later_is_none)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"203.0.113.5:1\"]", NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_link_up(&b, &b.other, "own0", "10.0.0.1/24");
	wire_rig_start(&b, "", peers);
	b.wire->own_ifindex = b.other.ifindex;
	int before = b.warnings;
	struct native_wire *wire = (struct native_wire *)b.wire;
	wire_rig_route(&b, &b.other, "203.0.113.0/24", true); /* the way to the first is the same */
	for (int i = 0; i < 2; i++) {
		loop_timer_disarm(b.loop, &wire->sweep);
		wire->swept_at = MONO_NEVER;
		b.wire->ops->network_changed(b.wire, false);
		wire_rig_round(&b);
	}
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.1:1");
	cr_assert_eq(b.warnings, before);
	cr_assert(!warned(&b, true, "all its addresses are reached by the tunnel"));
	wire_rig_route(&b, &b.other, "198.51.100.0/24", true);
	for (int i = 0; i < 3; i++) {
		loop_timer_disarm(b.loop, &wire->sweep);
		wire->swept_at = MONO_NEVER;
		b.wire->ops->network_changed(b.wire, false);
		wire_rig_round(&b);
	}
	cr_assert_eq(fake_peer(1)->target_count, 0);
	cr_assert_eq(b.warnings, before + 1, "said once");
	cr_assert(warned(&b, true, "all its addresses are reached by the tunnel"));
	wire_rig_close(&b);
}

Test(wire_native_network, the_link_s_mtu_is_told)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", "", NULL};
	struct wire_rig b;
	struct fault fault = {0};

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	cr_assert_eq(fake_peer(1)->link_mtu, 1500);
	cr_assert_eq(fake_peer(2)->link_mtu, 0, "nowhere yet");
	cr_assert_eq(netlink_link_set_mtu(b.netlink, b.uplink.ifindex, 1300, &fault), 0);
	b.wire->ops->network_changed(b.wire, false);
	wire_rig_round(&b);
	cr_assert_eq(fake_peer(1)->link_mtu, 1300);
	cr_assert_eq(fake->network_changes, 0, "the way is the same");
	fake_peer(2)->endpoint = endpoint_of("203.0.113.7:7");
	fake_peer(2)->events = KCPVPN_PEER_EVENT_ENDPOINT;
	wire_rig_round(&b);
	cr_assert_eq(fake_peer(2)->link_mtu, 1300);
	wire_rig_close(&b);
}

Test(wire_native_network, what_the_host_does_not_send_in_one_piece_is_told_later)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	static uint8_t bytes[9000];
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	wire_rig_round(&b);
	const struct kcpvpn_udp_port *port = fake_peer(1)->targets[0].port;
	static const size_t lengths[] = {8000, 1473, 2000, 1472};
	struct kcpvpn_datagram datagrams[4];
	for (size_t i = 0; i < 4; i++)
		datagrams[i] = (struct kcpvpn_datagram){.remote = fake_peer(1)->targets[0].remote,
			.data = bytes,
			.len = lengths[i]};
	port->send(port->ctx, datagrams, 4);
	cr_assert_eq(fake->too_bigs, 0, "not from within sending");
	b.wire->ops->flush(b.wire, loop_now(b.loop));
	cr_assert_eq(fake->too_bigs, 0);
	/* The next round comes by itself, and at once. */
	const struct native_wire *wire = (const struct native_wire *)b.wire;
	cr_assert_eq(wire->timer.timer.at.us, loop_now(b.loop).us);
	cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert(b.wire->ops->turn(b.wire, loop_now(b.loop)));
	cr_assert_eq(fake->too_bigs, 1);
	cr_assert_eq(fake->too_big_len, 1473, "the smallest that failed");
	cr_assert(kcpvpn_endpoint_equal(&fake->too_big_remote, &datagrams[0].remote));
	cr_assert(!b.wire->ops->turn(b.wire, loop_now(b.loop)));
	cr_assert_eq(fake->too_bigs, 1);
	wire_rig_close(&b);
}
