/* What vpnd makes of the native wire's library, a peer at a time: targets, names, events, status. The library is a fake. */
#include "control/control_status.h"
#include "wire_native_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(wire_native, peers_are_called_where_they_were_then_in_order)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"[2001:db8::1]:2\", \"198.51.100.3:3\"]",
		", endpoints: [\"198.51.100.1:1\"], preshared_key_file: /k/q, session: {roaming: "
		"false}",
		", endpoints: []", NULL};
	struct wire_rig b;
	struct kcpvpn_endpoint known = endpoint_of("203.0.113.9:9");

	wire_rig_open(&b);
	struct config *config = wire_rig_parse("", peers);
	for (size_t i = 0; i < 3; i++)
		state_file_set(b.state, config->peers[i].public_key, &known);
	config_free(config);
	wire_rig_start(&b, "", peers);
	/* without a route IPv6 is tried all the same: the host may get one */
	cr_assert_str_eq(targets(fake_peer(1)),
		"203.0.113.9:9 198.51.100.1:1 [2001:db8::1]:2 198.51.100.3:3");
	cr_assert_str_eq(targets(fake_peer(2)), "198.51.100.1:1", "pinned");
	cr_assert_str_eq(targets(fake_peer(3)), "203.0.113.9:9");
	cr_assert(fake_peer(1)->up && fake_peer(2)->up && fake_peer(3)->up);
	cr_assert(fake_peer(3)->wanted > 0, "it cannot know that we were away");
	cr_assert_eq(fake_peer(2)->wanted, 0);
	cr_assert(fake_peer(2)->has_preshared && fake_peer(2)->preshared_key[5] == 'q');
	cr_assert(!fake_peer(1)->has_preshared);
	cr_assert(!fake_peer(2)->config.roaming && fake_peer(1)->config.roaming);
	cr_assert(fake_peer(1)->config.persistent && !fake_peer(3)->config.persistent);
	cr_assert_eq(fake_peer(1)->config.tun_mtu, 1400);
	cr_assert_eq(fake_peer(1)->config.dead_after_us, 15000000);
	cr_assert_eq(fake_peer(1)->config.deadline_us, 0);
	cr_assert_eq(fake->private_key[31], 'a');
	cr_assert_eq(fake->config.datagram_max_bytes, 1472);

	known = endpoint_of("198.51.100.3:3"); /* one of the endpoints: first, and once */
	state_file_set(b.state, b.config->peers[0].public_key, &known);
	b.wire->ops->peer_changed(b.wire, b.peers[0]);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.3:3 198.51.100.1:1 [2001:db8::1]:2");
	wire_rig_close(&b);
}

Test(wire_native, all_of_many_endpoints_have_their_turn)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"198.51.100.2:1\", \"198.51.100.3:1\", "
		"\"198.51.100.4:1\", \"198.51.100.5:1\", \"198.51.100.6:1\", \"198.51.100.7:1\", "
		"\"198.51.100.8:1\", \"198.51.100.9:1\", \"198.51.100.10:1\"]",
		NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	cr_assert_eq(fake_peer(1)->target_count, 8);
	cr_assert(strncmp(targets(fake_peer(1)), "198.51.100.1:1 ", 15) == 0);
	for (int i = 0; i < 2; i++) {
		fake_peer(1)->events = KCPVPN_PEER_EVENT_NAMES;
		wire_rig_round(&b);
	}
	cr_assert_str_eq(targets(fake_peer(1)),
		"198.51.100.3:1 198.51.100.4:1 198.51.100.5:1 198.51.100.6:1 198.51.100.7:1 "
		"198.51.100.8:1 198.51.100.9:1 198.51.100.10:1");
	wire_rig_close(&b);
}

Test(wire_native, an_address_behind_the_tunnel_is_no_target)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"203.0.113.5:1\"]", NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_link_up(&b, &b.other, "own0", "10.0.0.1/24");
	cr_assert_eq(wire_rig_make(&b, "", peers), 0);
	b.wire->own_ifindex = b.other.ifindex;
	wire_rig_start_peer(&b, 0);
	cr_assert_eq(fake_peer(1)->target_count, 2);
	wire_rig_route(&b, &b.other, "203.0.113.0/24", true);
	b.wire->ops->peer_changed(b.wire, b.peers[0]);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.1:1");
	wire_rig_close(&b);
}

Test(wire_native, names_are_asked_for)
{
	static const char *const peers[] = {
		", endpoints: [\"localhost:7\", \"198.51.100.1:1\"]", NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.1:1", "meanwhile");
	while (fake_peer(1)->target_count < 2)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(fake_peer(1)->targets[0].remote.port, 7);
	/* and a peer that goes while a question is open hears no answer */
	fake_peer(1)->events = KCPVPN_PEER_EVENT_NAMES;
	wire_rig_round(&b);
	wire_rig_close(&b);
}

Test(wire_native, events_reach_the_packet_path)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct wire_rig b;
	struct kcpvpn_endpoint known;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	struct kcpvpn_peer *peer = fake_peer(1);
	cr_assert_eq(b.wire->ops->peer_state(b.wire, b.peers[0]), WIRE_PEER_CONNECTING);
	b.states = 0;
	peer->state = KCPVPN_PEER_UP;
	peer->endpoint = endpoint_of("203.0.113.7:7");
	peer->inner_mtu = 1160;
	peer->tun_mtu = 1300;
	peer->message = "hello";
	peer->events =
		KCPVPN_PEER_EVENT_STATE | KCPVPN_PEER_EVENT_READABLE | KCPVPN_PEER_EVENT_ENDPOINT;
	wire_rig_round(&b);
	cr_assert_eq(b.wire->ops->peer_state(b.wire, b.peers[0]), WIRE_PEER_UP);
	cr_assert_eq(b.states, 1);
	cr_assert_eq(b.writable, 1);
	cr_assert_eq(b.received, 1);
	cr_assert_str_eq(b.message, "hello");
	cr_assert_eq(b.path_mtu, 0, "it was not probed yet");
	cr_assert_eq(b.most, 1300);
	cr_assert(state_file_find(b.state, b.config->peers[0].public_key, &known));
	cr_assert(kcpvpn_endpoint_equal(&known, &peer->endpoint));

	peer->inner_mtu = 1400;
	peer->events = KCPVPN_PEER_EVENT_MTU;
	wire_rig_round(&b);
	cr_assert_eq(b.path_mtu, 1400);
	cr_assert_eq(b.states, 1);

	peer->inner_mtu = 1160; /* some losses in a row, or a shorter path: that shows */
	peer->events = KCPVPN_PEER_EVENT_MTU;
	wire_rig_round(&b);
	cr_assert_eq(b.path_mtu, 1400);
	peer->inner_mtu = 1400;
	peer->events = KCPVPN_PEER_EVENT_MTU;
	wire_rig_round(&b);
	peer->inner_mtu = 1300;
	peer->events = KCPVPN_PEER_EVENT_MTU;
	wire_rig_round(&b);
	struct mono began = loop_now(b.loop);
	peer->inner_mtu = 1290;
	peer->events = KCPVPN_PEER_EVENT_MTU;
	wire_rig_round(&b);
	while (b.path_mtu == 1400)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(b.path_mtu, 1290, "what holds by then");
	cr_assert(mono_diff_us(loop_now(b.loop), began) >= WIRE_NATIVE_MTU_US);
	cr_assert(mono_diff_us(loop_now(b.loop), began) < 2 * WIRE_NATIVE_MTU_US);

	peer->ready = true;
	unsigned wanted = peer->wanted;
	cr_assert(b.wire->ops->ready(b.wire, b.peers[0]));
	cr_assert_eq(b.wire->ops->send(b.wire, b.peers[0], "x", 1), 0);
	peer->ready = false;
	cr_assert(!b.wire->ops->ready(b.wire, b.peers[0]));
	cr_assert_eq(peer->wanted, wanted, "it is there");
	peer->state = KCPVPN_PEER_IDLE;
	peer->events = KCPVPN_PEER_EVENT_STATE;
	wire_rig_round(&b);
	cr_assert_eq(b.path_mtu, 0, "its path is not known any more");
	cr_assert(!b.wire->ops->ready(b.wire, b.peers[0]));
	cr_assert_eq(peer->wanted, wanted + 1);
	wire_rig_close(&b);
}

Test(wire_native, a_peer_that_stops_is_told_why)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	struct kcpvpn_peer *peer = fake_peer(1);
	b.wire->ops->peer_stop(b.wire, b.peers[0], WIRE_STOP_REMOVED);
	cr_assert(peer->down && peer->reason == KCPVPN_CLOSE_REMOVED);
	cr_assert(peer->flushed_after_down > 0, "before it is forgotten it must have left");
	cr_assert(!peer->used);
	cr_assert_eq(b.peers[0]->wire, NULL);
	cr_assert_eq(b.wire->ops->peer_state(b.wire, b.peers[0]), WIRE_PEER_DOWN);
	cr_assert(!b.wire->ops->ready(b.wire, b.peers[0]));
	cr_assert_eq(b.wire->ops->send(b.wire, b.peers[0], "x", 1), -ENOTCONN);
	b.wire->ops->peer_stop(b.wire, b.peers[0], WIRE_STOP_REMOVED);
	cr_assert_eq(b.wire->ops->peer_start(b.wire, b.peers[0]), 0);
	cr_assert(fake_peer(1)->up);
	wire_rig_close(&b);
}

Test(wire_native, troubles_are_said_once_each)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	static const char first[] = "wrong key", second[] = "no answer";
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	int before = b.warnings;
	/* The timer of the loop brings it; nothing else happens. */
	fake_peer(1)->trouble = first;
	while (b.warnings == before)
		cr_assert(loop_turn(b.loop, true) >= 0);
	struct native_wire *wire = (struct native_wire *)b.wire;
	for (int i = 0; i < 6; i++) {
		fake_peer(1)->trouble = i < 3 ? first : second;
		wire->trouble.on_due(&wire->trouble, loop_now(b.loop));
	}
	cr_assert_eq(b.warnings, before + 2);
	/* A peer that is there has none, and nobody looks. */
	fake_peer(1)->state = KCPVPN_PEER_UP;
	fake_peer(1)->events = KCPVPN_PEER_EVENT_STATE;
	wire_rig_round(&b);
	loop_timer_disarm(b.loop, &wire->trouble);
	wire->trouble.on_due(&wire->trouble, loop_now(b.loop));
	cr_assert(mono_is_never(wire->trouble.timer.at));
	cr_assert_eq(b.warnings, before + 2);
	wire_rig_close(&b);
}

Test(wire_native, without_memory_for_a_name_none_is_asked_for)
{
	static const char *const before[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	static const char *const after[] = {
		", endpoints: [\"198.51.100.2:1\", \"localhost:2\", \"localhost:3\"]", NULL};
	struct wire_rig b;

	wire_rig_open(&b);
	wire_rig_start(&b, "", before);
	struct config *config = wire_rig_parse("", after);
	config_free(b.before);
	b.before = b.config;
	b.config = config;
	struct fault fault = {0};
	cr_assert_eq(b.wire->ops->set_config(b.wire, config, &fault), 0);
	peer_set_config(b.peers[0], &config->peers[0]);
	strdups_left = 1;
	b.wire->ops->peer_changed(b.wire, b.peers[0]);
	strdups_left = -1;
	const struct native_peer *p = b.peers[0]->wire;
	cr_assert_eq(p->name_count, 0);
	cr_assert_eq(p->names, NULL);
	fake_peer(1)->events = KCPVPN_PEER_EVENT_NAMES;
	wire_rig_round(&b);
	b.wire->ops->peers_changed(b.wire); /* with memory again */
	cr_assert_eq(p->name_count, 3);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.2:1");
	wire_rig_close(&b);
}

Test(wire_native, status_says_what_the_library_knows)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct wire_rig b;
	struct control_status status;

	wire_rig_open(&b);
	wire_rig_start(&b, "", peers);
	fake_peer(1)->trouble = "its answer does not open";
	control_status_init(&status);
	struct control_peer *to = control_status_add_peer(&status, "p1");
	b.wire->ops->peer_status(b.wire, b.peers[0], to);
	cr_assert_str_eq(to->public_key, public_key(1));
	cr_assert_str_eq(to->endpoint, "198.51.100.1:1", "where it is called");
	cr_assert_eq(to->path_mtu, CONTROL_UNKNOWN);
	cr_assert(to->loss_raw_out == 0.25);
	cr_assert(to->loss_raw_in < 0);
	cr_assert(to->rtt_ms < 0, "not while it is not there");
	cr_assert(to->rtt_var_ms < 0);
	cr_assert(to->handshake_age_s < 0);
	cr_assert_eq(to->rate_bps, 1000000);
	cr_assert_eq(to->drop_count, 1);
	cr_assert_str_eq(to->drops[0].verdict, "data_replay");
	cr_assert_eq(to->warnings.count, 1);
	cr_assert_str_eq(to->warnings.items[0], "its answer does not open");
	fake_peer(1)->trouble = NULL;
	fake_peer(1)->state = KCPVPN_PEER_UP;
	fake_peer(1)->events = KCPVPN_PEER_EVENT_STATE;
	wire_rig_round(&b);
	to = control_status_add_peer(&status, "again");
	b.wire->ops->peer_status(b.wire, b.peers[0], to);
	cr_assert_eq(to->path_mtu, 1472);
	cr_assert(to->rtt_ms == 20.0);
	b.wire->ops->status(b.wire, &status);
	bool said = false;
	for (size_t i = 0; i < status.warnings.count; i++)
		said |= strncmp(status.warnings.items[i], "2 handshakes came from keys", 27) == 0;
	cr_assert(said);
	control_status_fini(&status);
	wire_rig_close(&b);
}
