/* What passes between the threads when the wire, or the configuration, changes. */
#include "workers_rig.h"

#include "stack/native_shards.h"

#include <criterion/criterion.h>
#include <string.h>

/* What a worker handed on for a peer of one wire is nothing to the next one, whose peers may have the same numbers. */
Test(workers, packets_do_not_outlive_their_wire)
{
	static const char secret[] = "for one site alone";
	struct workers_rig rig;

	rig_open(&rig, 2);
	rig_attach(&rig);
	uint64_t before = rig_peer(&rig, 1);
	struct worker *items = rig.workers->items;
	cr_assert(packet_ring_put(&items[0].packets[0], before, secret, sizeof(secret)));
	bell_ring(&rig.workers->bell);
	cr_assert_geq(loop_turn(rig.loop, false), 0);
	cr_assert_eq(rig.handed, 1, "the way works");
	cr_assert_eq(rig.handed_to[0], before);
	cr_assert(packet_ring_put(&items[0].packets[0], before, secret, sizeof(secret)));
	cr_assert(packet_ring_put(&items[1].packets[1], before, secret, sizeof(secret)));
	rig_detach(&rig);
	rig_attach(&rig);
	uint64_t after = rig_peer(&rig, 2);
	cr_assert_neq(after, before, "and numbers of peers differ");
	bell_ring(&rig.workers->bell);
	cr_assert_geq(loop_turn(rig.loop, false), 0);
	cr_assert_eq(rig.handed, 1);
	cr_assert_eq(packet_ring_next(&items[1].packets[1]), 0);
	rig_close(&rig);
}

/* Nor are datagrams that came to the wrong socket. */
Test(workers, datagrams_do_not_outlive_their_wire)
{
	uint8_t bytes[100] = {0x0c, 1};
	struct kcpvpn_datagram datagram = {.data = bytes, .len = sizeof(bytes)};
	const struct kcpvpn_datagram *batch = &datagram;
	struct workers_rig rig;
	uint32_t to;

	rig_open(&rig, 2);
	rig_attach(&rig);
	struct worker *items = rig.workers->items;
	for (unsigned round = 1; round <= 2; round++) {
		batch = &datagram;
		cr_assert_eq(handover_sort(&items[1].handover, 1, &batch, 1, &to), 0);
		cr_assert_eq(to, 1);
		if (round == 2) {
			rig_detach(&rig);
			rig_attach(&rig);
		}
		workers_wake(rig.workers, to);
		cr_assert_geq(loop_turn(rig.loop, false), 0);
		cr_assert_eq(rig.datagrams, 1);
	}
	rig_close(&rig);
}
