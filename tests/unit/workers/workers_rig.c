#include "workers_rig.h"

#include "stack/native_shards.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t realtime(void *ctx)
{
	(void)ctx;
	return (int64_t)1700000000 * 1000000;
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	cr_assert_eq(getrandom(buf, len, 0), (ssize_t)len);
}

static bool tell(void *ctx, unsigned shard, const struct kcpvpn_shard_message *message)
{
	struct workers_rig *rig = ctx;

	workers_tell(rig->workers, shard, message);
	return true;
}

static void packet(void *ctx, uint64_t peer, const void *bytes, size_t len)
{
	struct workers_rig *rig = ctx;

	(void)bytes, (void)len;
	rig->handed_to[rig->handed++ % RIG_HANDED_MAX] = peer;
}

static bool datagrams(void *ctx, uint64_t number, const struct kcpvpn_datagram *batch, size_t count)
{
	struct workers_rig *rig = ctx;

	(void)number, (void)batch;
	rig->datagrams += (unsigned)count;
	return true;
}

void rig_open(struct workers_rig *rig, unsigned count)
{
	struct tun queues[KCPVPN_SHARDS_MAX] = {{0}};
	int pair[2];

	memset(rig, 0, sizeof(*rig));
	cr_assert_eq(loop_new(&rig->loop), 0);
	for (unsigned i = 0; i < count; i++) {
		cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
		queues[i].fd = pair[0];
		rig->hosts[i] = pair[1];
	}
	cr_assert_eq(workers_new(rig->loop, queues, count, RIG_MTU, &rig->workers, &rig->fault), 0,
		"%s", rig->fault.text);
}

void rig_close(struct workers_rig *rig)
{
	unsigned count = workers_count(rig->workers);

	if (rig->leader)
		rig_detach(rig);
	workers_free(rig->workers);
	for (unsigned i = 0; i < count; i++)
		close(rig->hosts[i]);
	loop_free(rig->loop);
}

struct kcpvpn_native_config rig_config(struct workers_rig *rig, unsigned workers)
{
	static const uint8_t key[KCPVPN_NATIVE_KEY_BYTES] = {1};

	return (struct kcpvpn_native_config){
		.private_key = key,
		.datagram_max_bytes = 1500,
		.peers_max = 100,
		.memory_max_bytes = 16 << 20,
		.realtime_us = realtime,
		.random = fill_random,
		.shards = (uint8_t)(workers + 1),
		.tell = tell,
		.ctx = rig,
	};
}

void rig_attach(struct workers_rig *rig)
{
	struct kcpvpn_native_config config = rig_config(rig, workers_count(rig->workers));
	int64_t now_us = loop_clock().us;

	cr_assert_eq(kcpvpn_native_new(&config, now_us, &rig->leader), 0);
	const struct workers_leader leader = {
		.ctx = rig,
		.native = rig->leader,
		.packet = packet,
		.datagrams = datagrams,
	};
	workers_stop(rig->workers);
	cr_assert_eq(workers_attach(rig->workers, &leader, &config, now_us), 0);
	workers_go(rig->workers);
}

void rig_detach(struct workers_rig *rig)
{
	workers_stop(rig->workers);
	workers_detach(rig->workers);
	workers_go(rig->workers);
	kcpvpn_native_free(rig->leader);
	rig->leader = NULL;
}

uint64_t rig_peer(struct workers_rig *rig, uint8_t key)
{
	uint8_t public_key[KCPVPN_NATIVE_KEY_BYTES] = {9, key};
	const struct kcpvpn_peer_config config = {
		.public_key = public_key,
		.tun_mtu = RIG_MTU,
		.dead_after_us = 15000000,
		.roaming = true,
	};
	struct kcpvpn_peer *peer, *follower;
	int64_t now_us = loop_clock().us;

	cr_assert_eq(kcpvpn_native_add_peer(rig->leader, &config, now_us, &peer), 0);
	workers_stop(rig->workers);
	for (unsigned i = 0; i < workers_count(rig->workers); i++)
		cr_assert_eq(kcpvpn_native_follow_peer(rig->workers->items[i].native,
				     kcpvpn_peer_id(peer), &config, now_us, &follower),
			0);
	workers_go(rig->workers);
	return kcpvpn_peer_id(peer);
}

struct kcpvpn_shard_message rig_message(const struct native_shard_message *inner)
{
	struct kcpvpn_shard_message message = {{0}};

	memcpy(message.bytes, inner, sizeof(*inner));
	return message;
}
