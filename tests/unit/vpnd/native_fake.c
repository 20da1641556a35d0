#include "native_fake.h"

#include "kcpvpn/native_shards.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

struct kcpvpn_native *fake;

struct kcpvpn_peer *fake_peer(uint8_t number)
{
	for (size_t i = 0; i < FAKE_PEERS; i++) {
		if (fake->peers[i].used && fake->peers[i].public_key[0] == number)
			return &fake->peers[i];
	}
	return NULL;
}

int kcpvpn_native_new(const struct kcpvpn_native_config *config, int64_t now_us,
	struct kcpvpn_native **ret_native)
{
	uint8_t random[600] = {0};

	cr_assert_eq(fake, NULL);
	cr_assert(config->realtime_us(config->ctx) > 0);
	config->random(config->ctx, random, sizeof(random));
	cr_assert_neq(memcmp(random + 560, (uint8_t[40]){0}, 40), 0, "all of it is random");
	fake = calloc(1, sizeof(*fake));
	fake->config = *config;
	memcpy(fake->private_key, config->private_key, 32);
	fake->deadline = now_us + 1000;
	*ret_native = fake;
	return 0;
}

void kcpvpn_native_free(struct kcpvpn_native *native)
{
	if (!native)
		return;
	for (size_t i = 0; i < FAKE_PEERS; i++)
		cr_assert(!native->peers[i].used, "all peers are gone before");
	free(native);
	fake = NULL;
}

void kcpvpn_native_public_key(const struct kcpvpn_native *native, uint8_t ret_key[32])
{
	memcpy(ret_key, native->private_key, 32);
}

const char *kcpvpn_native_seal_with(bool libsodium)
{
	return libsodium ? "libsodium" : "the best";
}

bool kcpvpn_native_keys_locked(const struct kcpvpn_native *native)
{
	(void)native;
	return true;
}

void kcpvpn_native_input(struct kcpvpn_native *native, const struct kcpvpn_udp_port *port,
	const struct kcpvpn_datagram *batch, size_t count, int64_t now_us)
{
	(void)now_us;
	for (size_t i = 0; i < count; i++) {
		uint8_t *at = batch[i].data;
		native->last = batch[i];
		native->last_byte = at[0];
		/* May be written to, as decryption does. */
		memset(at, 0xaa, batch[i].len);
	}
	native->last_port = port;
	native->datagrams += (unsigned)count;
}

void kcpvpn_native_too_big(struct kcpvpn_native *native, const struct kcpvpn_endpoint *remote,
	size_t len, int64_t now_us)
{
	(void)now_us;
	native->too_big_remote = *remote;
	native->too_big_len = len;
	native->too_bigs++;
}

void kcpvpn_native_on_deadline(struct kcpvpn_native *native, int64_t now_us)
{
	if (native->deadline <= now_us)
		native->deadline = KCPVPN_NEVER;
}

int64_t kcpvpn_native_next_deadline(const struct kcpvpn_native *native)
{
	return native->deadline;
}

struct kcpvpn_peer *kcpvpn_native_next_event(struct kcpvpn_native *native, unsigned *ret_events)
{
	for (size_t i = 0; i < FAKE_PEERS; i++) {
		struct kcpvpn_peer *peer = &native->peers[i];
		if (!peer->used || peer->events == 0)
			continue;
		*ret_events = peer->events;
		peer->events = 0;
		return peer;
	}
	return NULL;
}

void kcpvpn_native_flush(struct kcpvpn_native *native, int64_t now_us)
{
	(void)now_us;
	native->flushes++;
	for (size_t i = 0; i < FAKE_PEERS; i++)
		native->peers[i].flushed_after_down += native->peers[i].down;
}

void kcpvpn_native_network_changed(struct kcpvpn_native *native, int64_t now_us)
{
	(void)now_us;
	native->network_changes++;
}

void kcpvpn_native_close_port(
	struct kcpvpn_native *native, const struct kcpvpn_udp_port *port, int64_t now_us)
{
	(void)now_us;
	cr_assert(native->closed_count < FAKE_PORTS);
	native->closed[native->closed_count++] = port;
}

static void take_config(struct kcpvpn_peer *peer, const struct kcpvpn_peer_config *config)
{
	peer->config = *config;
	memcpy(peer->public_key, config->public_key, 32);
	peer->has_preshared = config->preshared_key != NULL;
	if (config->preshared_key)
		memcpy(peer->preshared_key, config->preshared_key, 32);
}

int kcpvpn_native_add_peer(struct kcpvpn_native *native, const struct kcpvpn_peer_config *config,
	int64_t now_us, struct kcpvpn_peer **ret_peer)
{
	(void)now_us;
	if (config->public_key[0] == 0xff)
		return -EINVAL;
	for (size_t i = 0; i < FAKE_PEERS; i++) {
		struct kcpvpn_peer *peer = &native->peers[i];
		if (peer->used)
			continue;
		*peer = (struct kcpvpn_peer){.used = true};
		take_config(peer, config);
		*ret_peer = peer;
		return 0;
	}
	return -ENOBUFS;
}

void kcpvpn_native_remove_peer(struct kcpvpn_native *native, struct kcpvpn_peer *peer)
{
	(void)native;
	peer->used = false;
}

int kcpvpn_peer_configure(
	struct kcpvpn_peer *peer, const struct kcpvpn_peer_config *config, int64_t now_us)
{
	(void)now_us;
	cr_assert_eq(memcmp(peer->public_key, config->public_key, 32), 0);
	take_config(peer, config);
	peer->configured++;
	return 0;
}

void kcpvpn_peer_up(struct kcpvpn_peer *peer, int64_t now_us)
{
	(void)now_us;
	peer->up = true;
	peer->state = peer->target_count > 0 ? KCPVPN_PEER_CONNECTING : KCPVPN_PEER_IDLE;
}

void kcpvpn_peer_down(struct kcpvpn_peer *peer, enum kcpvpn_close reason, int64_t now_us)
{
	(void)now_us;
	peer->down = true;
	peer->reason = reason;
	peer->flushed_after_down = 0;
	peer->state = KCPVPN_PEER_DOWN;
}

void kcpvpn_peer_set_targets(
	struct kcpvpn_peer *peer, const struct kcpvpn_target *targets, size_t count, int64_t now_us)
{
	(void)now_us;
	cr_assert(count <= KCPVPN_NATIVE_TARGETS_MAX);
	if (count > 0)
		memcpy(peer->targets, targets, count * sizeof(targets[0]));
	peer->target_count = count;
	peer->set++;
}

bool kcpvpn_peer_room(struct kcpvpn_peer *peer, size_t len)
{
	peer->room_asked = len;
	return peer->ready;
}

void kcpvpn_peer_want(struct kcpvpn_peer *peer, int64_t now_us)
{
	(void)now_us;
	peer->wanted++;
}

int kcpvpn_peer_send(struct kcpvpn_peer *peer, const void *packet, size_t len, int64_t now_us)
{
	(void)packet, (void)len, (void)now_us;
	peer->sent++;
	return 0;
}

int kcpvpn_peer_lend(struct kcpvpn_peer *peer, void *packet, size_t len, void *loan, int64_t now_us)
{
	(void)packet, (void)len, (void)loan, (void)now_us;
	peer->sent++;
	return 0;
}

int kcpvpn_peer_recv_peek(struct kcpvpn_peer *peer, struct iovec *iov, int iov_max, size_t *ret_len)
{
	if (!peer->message || iov_max < 1)
		return 0;
	*ret_len = strlen(peer->message);
	iov[0] = (struct iovec){(void *)(uintptr_t)peer->message, *ret_len};
	return 1;
}

void kcpvpn_peer_recv_drop(struct kcpvpn_peer *peer, int64_t now_us)
{
	(void)now_us;
	peer->message = NULL;
}

enum kcpvpn_peer_state kcpvpn_peer_state(const struct kcpvpn_peer *peer)
{
	return peer->state;
}

bool kcpvpn_peer_endpoint(const struct kcpvpn_peer *peer, struct kcpvpn_endpoint *ret_endpoint)
{
	if (peer->endpoint.family == 0)
		return false;
	*ret_endpoint = peer->endpoint;
	return true;
}

uint32_t kcpvpn_peer_inner_mtu(const struct kcpvpn_peer *peer)
{
	return peer->inner_mtu;
}

void kcpvpn_peer_set_link_mtu(struct kcpvpn_peer *peer, uint32_t mtu_bytes, int64_t now_us)
{
	(void)now_us;
	peer->link_mtu = mtu_bytes;
}

uint32_t kcpvpn_peer_tun_mtu(const struct kcpvpn_peer *peer)
{
	return peer->tun_mtu;
}

uint32_t kcpvpn_peer_super_max(const struct kcpvpn_peer *peer)
{
	return peer->super_max;
}

void kcpvpn_peer_set_user(struct kcpvpn_peer *peer, void *user)
{
	peer->user = user;
}

void *kcpvpn_peer_user(const struct kcpvpn_peer *peer)
{
	return peer->user;
}

void kcpvpn_peer_status(const struct kcpvpn_peer *peer, struct kcpvpn_peer_status *ret_status)
{
	*ret_status = (struct kcpvpn_peer_status){
		.last_rx_us = -1,
		.handshake_us = -1,
		.moved_us = -1,
		.srtt_us = 20000,
		.rtt_var_us = -1,
		.rate_bps = 1000000,
		.path_mtu_bytes = 1472,
		.loss_raw_out = 0.25,
		.loss_raw_in = -1,
		.drop_replay = 3,
		.trouble = peer->trouble,
	};
}

void kcpvpn_native_stats(const struct kcpvpn_native *native, struct kcpvpn_native_stats *ret_stats)
{
	(void)native;
	*ret_stats = (struct kcpvpn_native_stats){.drop_unknown_peer = 2};
}

/* ---- shards: there are no workers here ---- */

int kcpvpn_native_new_follower(const struct kcpvpn_native_config *config, unsigned shard,
	int64_t now_us, struct kcpvpn_native **ret_native)
{
	(void)config, (void)shard, (void)now_us, (void)ret_native;
	return -ENOMEM;
}

int kcpvpn_shared_memory_new(uint64_t bytes, struct kcpvpn_shared_memory **ret_memory)
{
	(void)bytes, (void)ret_memory;
	return -ENOMEM;
}

void kcpvpn_shared_memory_free(struct kcpvpn_shared_memory *memory)
{
	(void)memory;
}

uint64_t kcpvpn_peer_id(const struct kcpvpn_peer *peer)
{
	return peer->public_key[0];
}

struct kcpvpn_peer *kcpvpn_native_peer(const struct kcpvpn_native *native, uint64_t id)
{
	(void)native, (void)id;
	return NULL;
}

int kcpvpn_native_follow_peer(struct kcpvpn_native *follower, uint64_t id,
	const struct kcpvpn_peer_config *config, int64_t now_us, struct kcpvpn_peer **ret_peer)
{
	(void)follower, (void)id, (void)config, (void)now_us, (void)ret_peer;
	return -ENOMEM;
}

int kcpvpn_native_name_port(
	struct kcpvpn_native *native, const struct kcpvpn_udp_port *port, uint64_t number)
{
	(void)native, (void)port, (void)number;
	return -ENOMEM;
}

void kcpvpn_native_hear(
	struct kcpvpn_native *native, const struct kcpvpn_shard_message *message, int64_t now_us)
{
	(void)native, (void)message, (void)now_us;
}

unsigned kcpvpn_peer_beyond(const struct kcpvpn_peer *peer)
{
	(void)peer;
	return 0;
}

unsigned kcpvpn_peer_shards(const struct kcpvpn_peer *peer)
{
	(void)peer;
	return 1;
}

void kcpvpn_native_profile(struct kcpvpn_native *native, struct stage_clock *stages)
{
	(void)native;
	(void)stages;
}

int kcpvpn_peer_ping(
	struct kcpvpn_peer *peer, uint32_t size_bytes, int64_t now_us, uint64_t *ret_ping)
{
	return -ENOTCONN;
}

int64_t kcpvpn_peer_pong(const struct kcpvpn_peer *peer, uint64_t ping)
{
	return -1;
}
