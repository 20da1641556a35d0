/*
 * The node of the native wire: what peers share. Lists say what is to be done: `dirty` peers are settled by the next flush
 * (which also arms their one timer), `ready` ones have events, `calls` and `rekeys` are lines of peers that are to be called,
 * and handshake datagrams of others wait in lines of their own. So no call walks over all peers, and a node in which nothing
 * happens has no deadline but theirs.
 *
 * What may take long, X25519, is done in kcpvpn_native_on_deadline() only, one handshake a call (native_handshake_work()):
 * datagrams with data never wait for more than that.
 */
#include "stack/native_state.h"

#include "core/pool.h"
#include "core/stage_clock.h"
#include "crypto/cipher_library.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)KCPVPN_NATIVE_KEY_BYTES == (int)HANDSHAKE_KEY_BYTES, "keys are X25519's");
_Static_assert((int)KCPVPN_NATIVE_DATAGRAM_MIN_BYTES == (int)NATIVE_DATAGRAM_LEAST,
	"every path carries what params may ask for");

enum {
	KEY_BUCKETS_LEAST = 16, /* power of two */
	AGAIN_US = 1000,	/* least wait for a deadline that has passed already */
	MANY_PEERS = 256,
	/* Deadlines of many peers that are farther away than this come together, at multiples of the grain. */
	FAR_US = 1000000,
	FAR_GRAIN_US = 1 << 14,
	/* A timer that has so long to run is left where it is when its deadline moves away. */
	STILL_US = 100000,
};

static bool config_valid(const struct kcpvpn_native_config *config)
{
	return config->realtime_us && config->random && config->shards <= KCPVPN_SHARDS_MAX &&
	       (config->shards <= 1 || config->tell) &&
	       config->datagram_max_bytes >= KCPVPN_NATIVE_DATAGRAM_MIN_BYTES &&
	       config->datagram_max_bytes <= KCPVPN_NATIVE_DATAGRAM_MAX_BYTES &&
	       (config->super_max_bytes == 0 ||
		       (config->super_max_bytes >= NATIVE_SUPER_LEAST &&
			       config->super_max_bytes <= NATIVE_SUPER_MOST)) &&
	       config->peers_max > 0;
}

static int init_tables(struct kcpvpn_native *native)
{
	size_t peers = native->config.peers_max;
	uint8_t key[SIPHASH_KEY_BYTES];

	secret_pool_init(&native->own_secrets, sizeof(struct native_secrets), 1);
	secret_pool_init(&native->peer_keys, sizeof(struct handshake_peer), peers);
	secret_pool_init(
		&native->sessions, sizeof(struct native_session), peers * (NATIVE_SLOTS + 1));
	secret_pool_init(
		&native->attempts, sizeof(struct native_attempt), peers * (NATIVE_ATTEMPTS + 1));
	rand_fill(&native->random, key, sizeof(key));
	native->by_key_hash = siphash_key_of(key);
	/* Of what is under way from one leader to its followers nothing may fit the peers of the next. */
	native->last_peer_id = siphash(native->by_key_hash, "peers", 5) >> 2;
	native->by_key = calloc(KEY_BUCKETS_LEAST, sizeof(struct kcpvpn_peer *));
	native->by_id = calloc(KEY_BUCKETS_LEAST, sizeof(struct kcpvpn_peer *));
	if (!native->by_key || !native->by_id)
		return -ENOMEM;
	native->by_key_mask = KEY_BUCKETS_LEAST - 1;
	int error = native_index_table_init(&native->indices);
	if (error < 0 || native_is_follower(native))
		return error;
	native->shakes = calloc(NATIVE_SHAKES, sizeof(struct native_shake));
	if (!native->shakes)
		return -ENOMEM;
	for (size_t i = 0; i < NATIVE_SHAKES; i++)
		list_add_tail(&native->shakes_free, &native->shakes[i].node);
	return 0;
}

static void free_tables(struct kcpvpn_native *native)
{
	if (native->indices.buckets)
		native_index_table_fini(&native->indices);
	free(native->shakes);
	free(native->by_key);
	free(native->by_id);
	secret_pool_fini(&native->attempts);
	secret_pool_fini(&native->sessions);
	secret_pool_fini(&native->peer_keys);
	secret_pool_return(&native->own_secrets, native->secrets);
	secret_pool_fini(&native->own_secrets);
}

/* Keys of the own: handshakes are the leader's. */
static int init_secrets(struct kcpvpn_native *native, const struct kcpvpn_native_config *config)
{
	if (native_is_follower(native))
		return 0;
	native->secrets = secret_pool_take(&native->own_secrets);
	if (!native->secrets)
		return -ENOMEM;
	return handshake_self_init(
		&native->secrets->self, config->private_key, config->network_key);
}

static int make(const struct kcpvpn_native_config *config, unsigned shard, int64_t now_us,
	struct kcpvpn_native **ret_native)
{
	if (!config_valid(config))
		return -EINVAL;
	if (cipher_library_init() < 0)
		return -EIO;
	struct kcpvpn_native *native = calloc(1, sizeof(*native));
	if (!native)
		return -ENOMEM;
	native->config = *config;
	native->shard = shard;
	native->config.private_key = NULL;
	native->config.network_key = NULL;
	native->random = (struct rand_source){config->random, config->ctx};
	native->now = mono_at_us(now_us);
	wheel_init(&native->wheel, native->now);
	list_init(&native->peers);
	list_init(&native->ready);
	list_init(&native->dirty);
	list_init(&native->resps);
	list_init(&native->inits_proven);
	list_init(&native->inits);
	list_init(&native->shakes_free);
	list_init(&native->calls);
	list_init(&native->rekeys);
	init_guard_init(&native->guard, &native->random);
	init_guard_set_limits(&native->guard, !config->handshake_limits_off);
	answer_cache_init(&native->answers, &native->random);
	int error = init_tables(native);
	if (error < 0)
		goto free_native;
	error = init_secrets(native, config);
	if (error < 0)
		goto free_native;
	error = native_data_node_init(native);
	if (error < 0)
		goto free_native;
	*ret_native = native;
	return 0;

free_native:
	free_tables(native);
	free(native);
	return error;
}

int kcpvpn_native_new(const struct kcpvpn_native_config *config, int64_t now_us,
	struct kcpvpn_native **ret_native)
{
	return config->private_key ? make(config, 0, now_us, ret_native) : -EINVAL;
}

int kcpvpn_native_new_follower(const struct kcpvpn_native_config *config, unsigned shard,
	int64_t now_us, struct kcpvpn_native **ret_native)
{
	return shard > 0 && shard < config->shards ? make(config, shard, now_us, ret_native)
						   : -EINVAL;
}

void kcpvpn_native_free(struct kcpvpn_native *native)
{
	if (!native)
		return;
	while (!list_empty(&native->peers))
		kcpvpn_native_remove_peer(
			native, list_entry(native->peers.next, struct kcpvpn_peer, in_peers));
	native_data_node_fini(native);
	answer_cache_fini(&native->answers);
	free_tables(native);
	free(native->ports);
	free(native);
}

void kcpvpn_native_profile(struct kcpvpn_native *native, struct stage_clock *stages)
{
	native->data.tx.stages = stages;
}

void kcpvpn_native_public_key(
	const struct kcpvpn_native *native, uint8_t ret_key[KCPVPN_NATIVE_KEY_BYTES])
{
	memcpy(ret_key, native->secrets->self.public_key, KCPVPN_NATIVE_KEY_BYTES);
}

bool kcpvpn_native_keys_locked(const struct kcpvpn_native *native)
{
	return secret_pool_locked(&native->own_secrets) && secret_pool_locked(&native->peer_keys) &&
	       secret_pool_locked(&native->sessions) && secret_pool_locked(&native->attempts);
}

/* ---- peers by key ------------------------------------------------------------------------------------------------- */

static size_t key_bucket(const struct kcpvpn_native *native, const uint8_t *public_key)
{
	return (size_t)siphash(native->by_key_hash, public_key, HANDSHAKE_KEY_BYTES) &
	       native->by_key_mask;
}

struct kcpvpn_peer *native_peer_by_key(
	const struct kcpvpn_native *native, const uint8_t *public_key)
{
	struct kcpvpn_peer *peer = native->by_key[key_bucket(native, public_key)];

	while (peer && memcmp(peer->keys->public_key, public_key, HANDSHAKE_KEY_BYTES) != 0)
		peer = peer->next_by_key;
	return peer;
}

static void link_by_key(struct kcpvpn_native *native, struct kcpvpn_peer *peer)
{
	struct kcpvpn_peer **bucket = &native->by_key[key_bucket(native, peer->keys->public_key)];

	peer->next_by_key = *bucket;
	*bucket = peer;
}

/* By number, and by key if it has one. */
static void link_peer(struct kcpvpn_native *native, struct kcpvpn_peer *peer)
{
	struct kcpvpn_peer **bucket = &native->by_id[peer->id & native->by_key_mask];

	peer->next_by_id = *bucket;
	*bucket = peer;
	if (peer->keys)
		link_by_key(native, peer);
}

static void unlink_peer(struct kcpvpn_native *native, struct kcpvpn_peer *peer)
{
	struct kcpvpn_peer **at = &native->by_id[peer->id & native->by_key_mask];

	while (*at != peer)
		at = &(*at)->next_by_id;
	*at = peer->next_by_id;
	if (!peer->keys)
		return;
	at = &native->by_key[key_bucket(native, peer->keys->public_key)];
	while (*at != peer)
		at = &(*at)->next_by_key;
	*at = peer->next_by_key;
}

struct kcpvpn_peer *native_peer_by_id(const struct kcpvpn_native *native, uint64_t id)
{
	struct kcpvpn_peer *peer = native->by_id[id & native->by_key_mask];

	while (peer && peer->id != id)
		peer = peer->next_by_id;
	return peer;
}

static void grow_tables(struct kcpvpn_native *native)
{
	size_t mask = native->by_key_mask * 2 + 1;
	struct kcpvpn_peer **by_key = calloc(mask + 1, sizeof(struct kcpvpn_peer *));
	struct kcpvpn_peer **by_id = calloc(mask + 1, sizeof(struct kcpvpn_peer *));

	if (!by_key || !by_id) {
		free(by_key);
		free(by_id);
		return;
	}
	free(native->by_key);
	free(native->by_id);
	native->by_key = by_key;
	native->by_id = by_id;
	native->by_key_mask = mask;
	list_for_each (at, &native->peers)
		link_peer(native, list_entry(at, struct kcpvpn_peer, in_peers));
}

/* ---- adding and removing ------------------------------------------------------------------------------------------ */

static bool peer_config_valid(const struct kcpvpn_peer_config *config)
{
	return config->tun_mtu >= NATIVE_TUN_MTU_LEAST && config->keepalive_us >= 0 &&
	       config->dead_after_us >= 3000000 && config->dead_after_us <= 600000000 &&
	       config->deadline_us >= 0 && config->padding <= KCPVPN_PADDING_FULL &&
	       config->fec.mode <= KCPVPN_FEC_ADAPTIVE && config->fec.data <= 64 &&
	       config->fec.parity <= 32 && config->fec.max_overhead_percent <= 200 &&
	       config->fec.tail_us >= 0 && config->fec.tail_us <= 1000000 &&
	       config->carriage <= KCPVPN_CARRIAGE_RELIABLE &&
	       config->dscp >= KCPVPN_DSCP_INHERIT && config->dscp <= 63;
}

/* In a time that does not depend on where they differ. */
static bool same_secret(const uint8_t a[HANDSHAKE_KEY_BYTES], const uint8_t b[HANDSHAKE_KEY_BYTES])
{
	unsigned differ = 0;

	for (size_t i = 0; i < HANDSHAKE_KEY_BYTES; i++)
		differ |= (unsigned)(a[i] ^ b[i]);
	return differ == 0;
}

static void keep_config(struct kcpvpn_peer *peer, const struct kcpvpn_peer_config *config)
{
	peer->config = *config;
	peer->config.public_key = NULL;
	peer->config.preshared_key = NULL;
}

/* Prepares what needs no keys, and puts it into the tables. */
static void enter(struct kcpvpn_native *native, struct kcpvpn_peer *peer,
	const struct kcpvpn_peer_config *config)
{
	keep_config(peer, config);
	list_init(&peer->in_ready);
	list_init(&peer->in_dirty);
	wheel_timer_init(&peer->timer);
	peer->payload_at = MONO_NEVER;
	peer->added_at = native->now;
	native_handshake_init(peer);
	native_data_init(peer);
	if (native->peer_count > native->by_key_mask)
		grow_tables(native);
	list_add_tail(&native->peers, &peer->in_peers);
	link_peer(native, peer);
	native->peer_count++;
}

int kcpvpn_native_follow_peer(struct kcpvpn_native *follower, uint64_t id,
	const struct kcpvpn_peer_config *config, int64_t now_us, struct kcpvpn_peer **ret_peer)
{
	follower->now = mono_at_us(now_us);
	if (!native_is_follower(follower) || !peer_config_valid(config))
		return -EINVAL;
	if (native_peer_by_id(follower, id))
		return -EEXIST;
	if (follower->peer_count >= follower->config.peers_max)
		return -ENOBUFS;
	struct kcpvpn_peer *peer = calloc(1, sizeof(*peer));
	if (!peer)
		return -ENOMEM;
	peer->native = follower;
	peer->id = id;
	peer->enabled = true;
	enter(follower, peer, config);
	*ret_peer = peer;
	return 0;
}

int kcpvpn_native_add_peer(struct kcpvpn_native *native, const struct kcpvpn_peer_config *config,
	int64_t now_us, struct kcpvpn_peer **ret_peer)
{
	native->now = mono_at_us(now_us);
	if (native_is_follower(native) || !config->public_key || !peer_config_valid(config))
		return -EINVAL;
	if (memcmp(config->public_key, native->secrets->self.public_key, HANDSHAKE_KEY_BYTES) ==
			0 ||
		native_peer_by_key(native, config->public_key))
		return -EEXIST;
	if (native->peer_count >= native->config.peers_max)
		return -ENOBUFS;
	struct kcpvpn_peer *peer = calloc(1, sizeof(*peer));
	if (!peer)
		return -ENOMEM;
	int error = -ENOMEM;
	peer->native = native;
	peer->keys = secret_pool_take(&native->peer_keys);
	if (!peer->keys)
		goto free_peer;
	error = handshake_peer_init(
		peer->keys, &native->secrets->self, config->public_key, config->preshared_key);
	if (error < 0)
		goto free_keys;
	peer->id = ++native->last_peer_id;
	enter(native, peer, config);
	*ret_peer = peer;
	return 0;

free_keys:
	secret_pool_return(&native->peer_keys, peer->keys);
free_peer:
	free(peer);
	return error;
}

void kcpvpn_native_remove_peer(struct kcpvpn_native *native, struct kcpvpn_peer *peer)
{
	native_call_cancel(peer);
	native_ping_forget(peer);
	native_session_erase_all(peer);
	native_data_fini(peer);
	wheel_disarm(&native->wheel, &peer->timer);
	unlink_peer(native, peer);
	list_remove(&peer->in_peers);
	list_remove(&peer->in_ready);
	list_remove(&peer->in_dirty);
	native->peer_count--;
	secret_pool_return(&native->peer_keys, peer->keys);
	free(peer->data.share);
	free(peer->targets);
	free(peer);
}

int kcpvpn_peer_configure(
	struct kcpvpn_peer *peer, const struct kcpvpn_peer_config *config, int64_t now_us)
{
	static const uint8_t no_key[HANDSHAKE_KEY_BYTES];
	const uint8_t *psk = config->preshared_key ? config->preshared_key : no_key;
	struct mono now = mono_at_us(now_us);

	peer->native->now = now;
	if (!peer_config_valid(config))
		return -EINVAL;
	if (peer->keys && (!config->public_key ||
				  memcmp(config->public_key, peer->keys->public_key,
					  HANDSHAKE_KEY_BYTES) != 0 ||
				  !same_secret(psk, peer->keys->psk)))
		return -EINVAL;
	if (peer->config.carriage != config->carriage)
		native_peer_raise(peer, KCPVPN_PEER_EVENT_MTU); /* super-packets may go, or not */
	keep_config(peer, config);
	native_data_configured(peer, now);
	if (native_is_follower(peer->native))
		return 0;
	/* The peer learns of another MTU by a handshake only. One that runs may tell what is old by now: then there is another
	 * behind it. */
	const struct native_session *session = native_session_alive(peer, now);
	if (session && session->own_tun_mtu != config->tun_mtu)
		native_initiate(peer, NATIVE_REASON_REKEY, now);
	if (peer->enabled && peer->config.persistent && !native_session_alive(peer, now))
		native_initiate(peer, NATIVE_REASON_START, now);
	native_peer_judge(peer);
	native_peer_touch(peer);
	return 0;
}

/* ---- the wheel of the program ------------------------------------------------------------------------------------- */

void native_peer_touch(struct kcpvpn_peer *peer)
{
	if (!list_linked(&peer->in_dirty))
		list_add_tail(&peer->native->dirty, &peer->in_dirty);
}

void native_peer_raise(struct kcpvpn_peer *peer, unsigned events)
{
	peer->events |= events;
	if (events != 0 && !list_linked(&peer->in_ready))
		list_add_tail(&peer->native->ready, &peer->in_ready);
}

struct kcpvpn_peer *kcpvpn_native_next_event(struct kcpvpn_native *native, unsigned *ret_events)
{
	struct list *ready = list_pop(&native->ready);

	if (!ready)
		return NULL;
	struct kcpvpn_peer *peer = list_entry(ready, struct kcpvpn_peer, in_ready);
	*ret_events = peer->events;
	peer->events = 0;
	return peer;
}

/*
 * With many peers the timers cost more than what they are for. What is far away is a keepalive, a rekey, memory to be given
 * back: nobody sees 16 ms there, and then many peers share a wake-up. And each datagram moves some deadline away; to follow it
 * would touch the neighbours in the wheel, which nobody has looked at for long. The timer then comes early once, and finds
 * that nothing is due.
 */
static void arm(struct kcpvpn_peer *peer, struct mono at, struct mono now)
{
	bool many = peer->native->peer_count >= MANY_PEERS;
	const struct wheel_timer *timer = &peer->timer;

	if (mono_due(at, now))
		at = mono_add_us(now, AGAIN_US);
	if (many && !mono_is_never(at)) {
		if (mono_diff_us(at, now) > FAR_US)
			at = mono_at_us((at.us | (FAR_GRAIN_US - 1)) + 1);
		if (timer->slot && !mono_before(at, timer->at) &&
			mono_diff_us(timer->at, now) > STILL_US)
			return;
	}
	wheel_arm(&peer->native->wheel, &peer->timer, at);
}

static void settle(struct kcpvpn_peer *peer, struct mono now)
{
	native_data_flush(peer, now);
	native_follow_report(peer, now);
	list_remove(&peer->in_dirty);
	struct mono at =
		mono_min(native_handshake_next_deadline(peer), native_data_next_deadline(peer));
	arm(peer, mono_min(at, peer->data.follow.report_at), now);
}

void kcpvpn_native_flush(struct kcpvpn_native *native, int64_t now_us)
{
	struct list *dirty;

	native->now = mono_at_us(now_us);
	enum stage before = stage_enter(native->data.tx.stages, STAGE_SEND);
	while ((dirty = list_pop(&native->dirty)) != NULL)
		settle(list_entry(dirty, struct kcpvpn_peer, in_dirty), native->now);
	native_tx_send(&native->data.tx);
	(void)stage_enter(native->data.tx.stages, before);
}

void kcpvpn_native_on_deadline(struct kcpvpn_native *native, int64_t now_us)
{
	struct wheel_timer *timer;

	native->now = mono_at_us(now_us);
	enum stage before = stage_enter(native->data.tx.stages, STAGE_SEND);
	while ((timer = wheel_pop_due(&native->wheel, native->now)) != NULL) {
		struct kcpvpn_peer *peer = list_entry(timer, struct kcpvpn_peer, timer);
		native_handshake_on_deadline(peer, native->now);
		native_data_on_deadline(peer, native->now);
		native_peer_judge(peer);
		native_peer_touch(peer);
	}
	native_handshake_work(native, native->now);
	if (mono_due(answer_cache_next_deadline(&native->answers), native->now))
		answer_cache_on_deadline(&native->answers, native->now);
	(void)stage_enter(native->data.tx.stages, before);
}

int64_t kcpvpn_native_next_deadline(const struct kcpvpn_native *native)
{
	if (!list_empty(&native->dirty) || !list_empty(&native->ready) || native->data.tx.count > 0)
		return native->now.us;
	struct mono at = mono_min(wheel_next(&native->wheel), native_handshake_work_at(native));
	return mono_min(at, answer_cache_next_deadline(&native->answers)).us;
}

void kcpvpn_native_network_changed(struct kcpvpn_native *native, int64_t now_us)
{
	struct mono now = mono_at_us(now_us);

	native->now = now;
	list_for_each (at, &native->peers) {
		struct kcpvpn_peer *peer = list_entry(at, struct kcpvpn_peer, in_peers);
		if (peer->enabled &&
			(native_session_alive(peer, now) || native_peer_wanted(peer, now)))
			native_call_enqueue(peer, NATIVE_CALL_PROBE, false);
	}
}

void kcpvpn_native_close_port(
	struct kcpvpn_native *native, const struct kcpvpn_udp_port *port, int64_t now_us)
{
	struct mono now = mono_at_us(now_us);

	kcpvpn_native_flush(native, now_us);
	native_handshake_port_gone(native, port);
	native_port_gone(native, port);
	list_for_each (at, &native->peers) {
		struct kcpvpn_peer *peer = list_entry(at, struct kcpvpn_peer, in_peers);
		uint8_t kept = 0;
		for (uint8_t i = 0; i < peer->target_count; i++)
			if (peer->targets[i].port != port)
				peer->targets[kept++] = peer->targets[i];
		peer->target_count = kept;
		for (size_t i = 0; i < NATIVE_SLOTS; i++)
			if (peer->hs.slots[i] && peer->hs.slots[i]->address.port == port)
				peer->hs.slots[i]->address = (struct native_address){0};
		native_data_port_gone(peer, port, now);
		native_peer_judge(peer);
		native_peer_touch(peer);
	}
}
