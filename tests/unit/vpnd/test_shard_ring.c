/* The rings with both sides in one thread, against a list; two threads are in tests/unit/workers. */
#include "vpnd/shard_ring.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(shard_ring, messages_come_in_order_and_leave_nothing)
{
	struct message_ring ring;
	struct kcpvpn_shard_message message, got;
	unsigned put = 0, taken = 0;

	cr_assert_eq(message_ring_init(&ring), 0);
	srand(3);
	for (int step = 0; step < 20000; step++) {
		if (rand() % 5 < 3) {
			memset(message.bytes, (int)(put % 251) + 1, sizeof(message.bytes));
			bool room = put - taken < SHARD_RING_MESSAGES;
			cr_assert_eq(message_ring_put(&ring, &message), room);
			put += room;
		} else {
			bool some = put > taken;
			cr_assert_eq(message_ring_take(&ring, &got), some);
			for (size_t i = 0; some && i < sizeof(got.bytes); i++)
				cr_assert_eq(got.bytes[i], taken % 251 + 1);
			taken += some;
		}
	}
	while (message_ring_take(&ring, &got))
		taken++;
	cr_assert_eq(put, taken);
	for (size_t i = 0; i < SHARD_RING_MESSAGES; i++)
		for (size_t k = 0; k < sizeof(got.bytes); k++)
			cr_assert_eq(ring.messages[i].bytes[k], 0, "a key stays in message %zu", i);
	message_ring_fini(&ring);
}

Test(shard_ring, packets_come_whole_and_in_order)
{
	static uint8_t packet[65600];
	struct packet_ring ring;
	size_t lens[4096], inside = 0;
	uint64_t put = 0, taken = 0;

	cr_assert_eq(packet_ring_init(&ring), 0);
	srand(5);
	for (int step = 0; step < 60000; step++) {
		size_t len = rand() % 7 ? (size_t)(rand() % 1600) : (size_t)(rand() % 65600);
		if (rand() % 2 && put - taken < 4096) {
			memset(packet, (int)(put % 253), len);
			bool room = packet_ring_room(&ring, len);
			cr_assert_eq(packet_ring_put(&ring, put + 1, packet, len), room);
			if (room) {
				lens[put++ % 4096] = len;
				inside += len;
			}
			cr_assert(room || inside + 3 * 65600 > SHARD_RING_PACKET_BYTES ||
					  put - taken > 500,
				"%zu bytes inside", inside);
		} else {
			uint64_t peer;
			cr_assert_eq(packet_ring_next(&ring), put > taken ? taken + 1 : 0);
			const uint8_t *bytes = packet_ring_look(&ring, &peer, &len);
			cr_assert_eq(bytes != NULL, put > taken);
			if (!bytes)
				continue;
			cr_assert_eq(peer, taken + 1);
			cr_assert_eq(len, lens[taken % 4096]);
			for (size_t i = 0; i < len; i++)
				cr_assert_eq(bytes[i], taken % 253);
			packet_ring_release(&ring);
			taken++;
			inside -= len;
		}
	}
	packet_ring_fini(&ring);
}

Test(shard_ring, what_never_fits_is_refused)
{
	static uint8_t packet[SHARD_RING_PACKET_BYTES];
	struct packet_ring ring;

	cr_assert_eq(packet_ring_init(&ring), 0);
	cr_assert_not(packet_ring_put(&ring, 1, packet, sizeof(packet)));
	cr_assert_not(packet_ring_put(&ring, 1, packet, sizeof(packet) / 2));
	cr_assert(packet_ring_put(&ring, 1, packet, 65535 + 3));
	packet_ring_fini(&ring);
}

/* Several are begun before one is shown, and several looked at before one is given back. */
Test(shard_ring, packets_come_in_groups)
{
	struct packet_ring ring;
	uint64_t put = 0, shown = 0, taken = 0, name;
	size_t len;

	cr_assert_eq(packet_ring_init(&ring), 0);
	srand(9);
	for (int round = 0; round < 3000; round++) {
		for (int i = rand() % 30; i >= 0; i--) {
			size_t bytes = (size_t)(rand() % 1500);
			void *place = packet_ring_begin(&ring, put + 1, bytes);
			if (!place)
				break;
			memset(place, (int)(put++ % 253), bytes);
		}
		cr_assert_eq(packet_ring_next(&ring), shown > taken ? taken + 1 : 0);
		packet_ring_end(&ring);
		shown = put;
		for (int i = rand() % 40; i >= 0 && taken < shown; i--) {
			const uint8_t *bytes = packet_ring_look(&ring, &name, &len);
			cr_assert_not_null(bytes);
			cr_assert_eq(name, taken + 1);
			for (size_t k = 0; k < len; k++)
				cr_assert_eq(bytes[k], taken % 253);
			taken++;
		}
		if (rand() % 3)
			packet_ring_release(&ring);
	}
	cr_assert_gt(taken, 20000);
	packet_ring_clear(&ring);
	cr_assert_eq(packet_ring_next(&ring), 0);
	cr_assert(packet_ring_put(&ring, 5, "a", 1));
	cr_assert_eq(packet_ring_next(&ring), 5);
	packet_ring_fini(&ring);
}

Test(shard_ring, a_bell_rings_once_until_it_is_answered)
{
	struct bell bell;
	uint64_t count;

	cr_assert_eq(bell_init(&bell), 0);
	struct pollfd fd = {.fd = bell.fd, .events = POLLIN};
	for (int round = 0; round < 3; round++) {
		cr_assert_eq(poll(&fd, 1, 0), 0);
		for (int i = 0; i < 5; i++)
			bell_ring(&bell);
		cr_assert_eq(poll(&fd, 1, 0), 1);
		bell_answer(&bell);
	}
	for (int i = 0; i < 5; i++)
		bell_ring(&bell);
	cr_assert_eq(read(bell.fd, &count, sizeof(count)), 8);
	cr_assert_eq(count, 1);
	bell_fini(&bell);
}
