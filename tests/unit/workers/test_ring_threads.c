/* The rings and the bell with a thread on each side: what is put comes once, whole, in order, and nobody sleeps over it. */
#include "vpnd/shard_ring.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

enum {
	MESSAGES = 200000,
	PACKETS = 100000,
	PATIENCE_MS = 60000, /* of a machine with much to do */
};

struct pipe {
	struct message_ring messages;
	struct packet_ring packets;
	struct bell bell;
};

static size_t length_of(uint64_t number)
{
	return (size_t)(number * 7919 % 1500);
}

static void wait_for_bell(struct bell *bell)
{
	struct pollfd fd = {.fd = bell->fd, .events = POLLIN};

	cr_assert_eq(poll(&fd, 1, PATIENCE_MS), 1, "nobody rang");
	bell_answer(bell);
}

static void *put_messages(void *ctx)
{
	struct pipe *pipe = ctx;
	struct kcpvpn_shard_message message;

	for (uint32_t i = 0; i < MESSAGES; i++) {
		for (size_t k = 0; k < sizeof(message.bytes); k += sizeof(i))
			memcpy(message.bytes + k, &i, sizeof(i));
		while (!message_ring_put(&pipe->messages, &message))
			sched_yield();
		bell_ring(&pipe->bell);
	}
	return NULL;
}

Test(ring_threads, messages_come_once_and_in_order)
{
	static struct pipe pipe;
	struct kcpvpn_shard_message message;
	uint32_t next = 0, seen;
	pthread_t writer;

	cr_assert_eq(message_ring_init(&pipe.messages), 0);
	cr_assert_eq(bell_init(&pipe.bell), 0);
	cr_assert_eq(pthread_create(&writer, NULL, put_messages, &pipe), 0);
	while (next < MESSAGES) {
		wait_for_bell(&pipe.bell);
		while (message_ring_take(&pipe.messages, &message)) {
			for (size_t k = 0; k < sizeof(message.bytes); k += sizeof(seen)) {
				memcpy(&seen, message.bytes + k, sizeof(seen));
				cr_assert_eq(seen, next);
			}
			next++;
		}
	}
	pthread_join(writer, NULL);
	message_ring_fini(&pipe.messages);
	bell_fini(&pipe.bell);
}

/* Groups of several, as datagrams are handed over. */
static void *put_packets(void *ctx)
{
	struct pipe *pipe = ctx;

	for (uint64_t i = 1; i <= PACKETS; i++) {
		uint8_t *place;
		while ((place = packet_ring_begin(&pipe->packets, i, length_of(i))) == NULL) {
			packet_ring_end(&pipe->packets);
			bell_ring(&pipe->bell);
			sched_yield();
		}
		memset(place, (int)(i % 251), length_of(i));
		if (i % 5 == 0 || i == PACKETS) {
			packet_ring_end(&pipe->packets);
			bell_ring(&pipe->bell);
		}
	}
	return NULL;
}

Test(ring_threads, packets_come_once_and_whole)
{
	static struct pipe pipe;
	uint64_t next = 1, name;
	pthread_t writer;
	uint8_t *bytes;
	size_t len;

	cr_assert_eq(packet_ring_init(&pipe.packets), 0);
	cr_assert_eq(bell_init(&pipe.bell), 0);
	cr_assert_eq(pthread_create(&writer, NULL, put_packets, &pipe), 0);
	while (next <= PACKETS) {
		wait_for_bell(&pipe.bell);
		while ((bytes = packet_ring_look(&pipe.packets, &name, &len)) != NULL) {
			cr_assert_eq(name, next);
			cr_assert_eq(len, length_of(name));
			for (size_t k = 0; k < len; k++)
				cr_assert_eq(bytes[k], name % 251);
			memset(bytes, 0xff, len); /* the reader may write to it */
			if (next++ % 3 == 0)
				packet_ring_release(&pipe.packets);
		}
		packet_ring_release(&pipe.packets);
	}
	pthread_join(writer, NULL);
	packet_ring_fini(&pipe.packets);
	bell_fini(&pipe.bell);
}
