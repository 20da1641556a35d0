/*
 * The data side of a peer: from the first session to the last, what it holds and when it has to do something.
 *
 *     event \ state         idle (no session)                     running
 *     session_ready         -> running; the initiator confirms    another key, the same path; the initiator confirms
 *     session_lost          -                                     -> idle: nothing is sent, numbers stay
 *     two minutes           path freed, another instance          -
 *     restart               path empty, numbers from 0            the same
 *
 * The path (lib/kcp) is made with the first session, by a follower with its first datagram: it has the numbers, which outlive
 * sessions. What it does not need is given
 * back some seconds after the last datagram that held anything; a peer that only keeps a NAT's mapping alive does not even make
 * that timer run. Two minutes after the last session all of it goes, and what comes later is another instance.
 *
 * Confirming: the other side sends nothing on a session before something authentic came on it. So the initiator says
 * something at once, data if any waits, and asks again at 0.2, 0.4, 0.8 and 1.6 s until something came.
 *
 * All deadlines of the data side are asked for in one place (native_data_next_deadline()) and are silent without a session.
 */
#include "core/pool.h"
#include "core/super_message.h"
#include "stack/native_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SLOT_OVERHEAD_BYTES = 2 * POOL_ALIGN_BYTES - 1, /* of a pool: list node, rounding */
	FEC_SHARE = 8,					/* of all slots is for symbols of FEC */
	FEC_SLOTS_LEAST = 512,
	PATH_SHARE = 4,		 /* one peer holds at most a quarter of all slots, each way */
	PATH_SLOTS_MOST = 12288, /* more than 16 MiB of grant in full datagrams */
	SLOTS_LEAST = 1024,	 /* of all peers */
	/* What the grant of the start allows, in the smallest pieces that are charged as such. */
	PATH_SLOTS_LEAST = 2048,
	CONFIRMS = 4,
};

_Static_assert((int)PATH_SLOTS_LEAST >= NATIVE_RX_CREDIT_BYTES / KCP_PATH_CHARGE_BYTES,
	"a peer that keeps to its first grant must not meet the bound of slots");

/* From one PING to the next, after the first word; in all 0.2, 0.4, 0.8, 1.6 s. */
static const int64_t confirm_gap_us[CONFIRMS] = {200000, 200000, 400000, 800000};

static size_t at_least(size_t slots, size_t least)
{
	return slots > least ? slots : least;
}

int kcpvpn_shared_memory_new(uint64_t bytes, struct kcpvpn_shared_memory **ret_memory)
{
	struct kcpvpn_shared_memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return -ENOMEM;
	memory->bytes = bytes;
	pool_budget_init(&memory->fec, (size_t)(bytes / FEC_SHARE));
	pool_budget_init(&memory->data, (size_t)(bytes - bytes / FEC_SHARE));
	*ret_memory = memory;
	return 0;
}

void kcpvpn_shared_memory_free(struct kcpvpn_shared_memory *memory)
{
	free(memory);
}

int native_data_node_init(struct kcpvpn_native *native)
{
	struct native_data_node *node = &native->data;
	uint32_t datagram = native->config.datagram_max_bytes;
	size_t slot_bytes = datagram - SEAL_OVERHEAD_BYTES;
	size_t cost = (slot_bytes + SLOT_OVERHEAD_BYTES) / POOL_ALIGN_BYTES * POOL_ALIGN_BYTES;
	struct kcpvpn_shared_memory *shared = native->config.shared_memory;
	size_t own = (size_t)(native->config.memory_max_bytes / cost);
	size_t slots = own + (shared ? (size_t)(shared->bytes / cost) : 0);
	int error = native_tx_init(&node->tx, datagram);

	if (error < 0)
		return error;
	size_t fec_slots = at_least(slots / FEC_SHARE, FEC_SLOTS_LEAST);
	slots = at_least(slots - slots / FEC_SHARE, SLOTS_LEAST);
	/* Apart from the data's: what might help must not take what is needed. */
	pool_init(&node->fec_slots, native_fec_slot_bytes(datagram), fec_slots);
	pool_init(&node->slots, slot_bytes, slots);
	if (shared) {
		pool_share(
			&node->fec_slots, &shared->fec, at_least(own / FEC_SHARE, FEC_SLOTS_LEAST));
		pool_share(
			&node->slots, &shared->data, at_least(own - own / FEC_SHARE, SLOTS_LEAST));
	}
	size_t share = slots / PATH_SHARE;
	node->path_slots_max = share > PATH_SLOTS_MOST	  ? PATH_SLOTS_MOST
			       : share < PATH_SLOTS_LEAST ? PATH_SLOTS_LEAST
							  : (uint32_t)share;
	traffic_class_init(&node->classifier, &native->random);
	return 0;
}

void native_data_node_fini(struct kcpvpn_native *native)
{
	native_tx_fini(&native->data.tx);
	pool_fini(&native->data.slots);
	pool_fini(&native->data.fec_slots);
}

static int64_t keepalive_us(const struct kcpvpn_peer *peer)
{
	int64_t own = peer->config.keepalive_us;
	int64_t asked = peer->hs.has_limits ? peer->hs.limits.keepalive_s * (int64_t)1000000 : 0;

	if (own <= 0 || (asked > 0 && asked < own))
		return asked;
	return own;
}

void native_data_init(struct kcpvpn_peer *peer)
{
	struct native_data_state *data = &peer->data;
	struct native_data_counters counters = data->counters;
	struct native_share *share = data->share;

	*data = (struct native_data_state){
		.counters = counters,
		.share = share,
		.confirm_at = MONO_NEVER,
		.trim_at = MONO_NEVER,
		.lost_at = MONO_NEVER,
		.last_rx_at = MONO_NEVER,
		.moved_at = MONO_NEVER,
		.loss_in = {.since = MONO_NEVER},
	};
	native_fec_init(&data->fec);
	native_follow_init(&data->follow);
	ecn_path_init(&data->ecn);
	roam_init(&data->roam, peer->config.roaming);
	path_mtu_init(&data->mtu);
	liveness_init(&data->live, peer->config.keepalive_us, peer->config.dead_after_us);
	data->inner_mtu_bytes =
		native_output_sizes(peer->config.padding, path_mtu_size(&data->mtu)).piece_bytes;
}

/* Its counters go on, and its slots are for others. */
static void free_path(struct kcpvpn_peer *peer)
{
	struct native_data_state *data = &peer->data;

	if (data->path) {
		const struct kcp_path_stats *stats = kcp_path_stats(data->path);
		data->counters.retransmits += stats->resent_items;
		data->counters.abandoned += stats->expired_messages + stats->too_long_messages;
	}
	if (data->path)
		kcp_path_remember(data->path, &data->memory);
	kcp_path_free(data->path);
	data->path = NULL;
	native_fec_fini(peer);
	pool_trim(&peer->native->data.fec_slots, NATIVE_KEEP_SLOTS);
	pool_trim(&peer->native->data.slots, NATIVE_KEEP_SLOTS);
}

void native_data_fini(struct kcpvpn_peer *peer)
{
	free_path(peer);
}

void native_session_data_init(struct kcpvpn_native *native, struct native_session_data *data)
{
	*data = (struct native_session_data){.serial = ++native->data.last_serial};
	replay_init(&data->window);
	replay_attach(&data->window, data->small, NATIVE_WINDOW_SMALL_WORDS);
}

void native_session_data_fini(struct kcpvpn_native *native, struct native_session_data *data)
{
	struct native_session *session =
		(struct native_session *)(void *)((char *)data -
						  offsetof(struct native_session, data));
	uint64_t *words = replay_detach(&data->window);

	native_tx_key_goes(&native->data.tx, &session->send);
	if (words != data->small)
		free(words);
}

uint32_t native_message_max(uint32_t tun_mtu, uint32_t super_max)
{
	if (super_max == 0)
		return tun_mtu;
	return (super_max > tun_mtu ? super_max : tun_mtu) + SUPER_MESSAGE_OVERHEAD_BYTES;
}

/* Of what the peer sends. What was offered is taken, whether or not this session chose it: messages outlive sessions. */
static uint32_t recv_message_max(const struct kcpvpn_peer *peer)
{
	return native_message_max(peer->config.tun_mtu, peer->native->config.super_max_bytes);
}

static uint32_t send_message_max(const struct kcpvpn_peer *peer)
{
	return native_message_max(peer->hs.limits.tun_mtu, kcpvpn_peer_super_max(peer));
}

void native_data_apply_rate(struct kcpvpn_peer *peer)
{
	enum {
		PPM = 1000000,
	};
	struct native_data_state *data = &peer->data;
	uint64_t rate = peer->config.rate_max_bps, share = data->rate_share_ppm;
	unsigned shards = peer->native->config.shards;

	if (!data->path)
		return;
	if (peer->hs.has_limits && peer->hs.limits.shards < shards)
		shards = peer->hs.limits.shards;
	if (share == 0)
		share = shards > 1 ? PPM / shards : PPM;
	/* In this order it neither overflows nor becomes "none". */
	if (rate > 0 && share < PPM)
		rate = rate / PPM * share + rate % PPM * share / PPM + 1;
	kcp_path_set_rate_max(data->path, rate);
	kcp_path_set_rate_fixed(data->path, peer->config.rate_fixed);
}

bool native_data_have_path(struct kcpvpn_peer *peer)
{
	struct native_data_state *data = &peer->data;
	const struct native_params *limits = &peer->hs.limits;
	struct native_sizes sizes =
		native_output_sizes(peer->config.padding, path_mtu_size(&data->mtu));
	const struct kcp_path_config config = {
		.pool = &peer->native->data.slots,
		.payload_bytes = sizes.payload_bytes,
		.piece_bytes = sizes.piece_bytes,
		.recv_message_max_bytes = recv_message_max(peer),
		.send_message_max_bytes = send_message_max(peer),
		.rx_credit_bytes = NATIVE_RX_CREDIT_BYTES,
		.peer_credit_bytes = limits->rx_credit_bytes,
		.bulk_deadline_us = peer->config.deadline_us,
		.rx_slots_max = peer->native->data.path_slots_max,
		.tx_slots_max = peer->native->data.path_slots_max,
	};
	struct kcp_path_io io;

	if (data->path)
		return true;
	if (!peer->hs.has_limits)
		return false;
	native_output_io(peer, &io);
	if (kcp_path_new(&config, &io, &data->path) < 0)
		return false;
	kcp_path_set_shards(data->path, data->sending_shards);
	native_data_apply_rate(peer);
	kcp_path_resume(data->path, &data->memory, peer->native->now);
	if (data->follow.srtt_us > 0)
		kcp_path_hint_rtt(data->path, data->follow.srtt_us);
	return true;
}

/* Something was carried, asked or reported: what it took is given back some time after the last such. */
static void used(struct kcpvpn_peer *peer, struct mono now)
{
	peer->data.trim_at = mono_min(peer->data.trim_at, mono_add_us(now, NATIVE_TRIM_AFTER_US));
}

/* Those of the other side begin anew. */
static void forget_numbers(struct native_data_state *data)
{
	data->has_largest = false;
	data->loss_in = (struct native_loss_in){.since = MONO_NEVER};
	data->wants_input_done = false;
	data->roam.candidate = (struct roam_address){0};
}

void native_data_restart(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;

	forget_numbers(data);
	if (data->path) {
		/* The other side begins anew, not the way to it; if that changed, its address will tell. */
		kcp_path_remember(data->path, &data->memory);
		kcp_path_restart(
			data->path, NATIVE_RX_CREDIT_BYTES, peer->hs.limits.rx_credit_bytes);
		kcp_path_resume(data->path, &data->memory, now);
	}
	peer->hs.shard_pn = 0;
	native_fec_restart(peer);
	used(peer, now);
	native_peer_touch(peer);
}

void native_data_limits(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;

	liveness_configure(&data->live, keepalive_us(peer), peer->config.dead_after_us);
	if (data->path) {
		kcp_path_set_message_max(data->path, recv_message_max(peer),
			peer->hs.has_limits ? send_message_max(peer) : peer->config.tun_mtu);
		kcp_path_set_bulk_deadline(data->path, peer->config.deadline_us);
		if (peer->config.dscp != KCPVPN_DSCP_INHERIT)
			kcp_path_mark(data->path, 0);
		native_data_apply_rate(peer);
	}
	native_path_start(peer, now);
	native_path_apply_mtu(peer);
	native_fec_configured(peer);
	native_peer_touch(peer);
}

void native_data_configured(struct kcpvpn_peer *peer, struct mono now)
{
	roam_set_roaming(&peer->data.roam, peer->config.roaming);
	native_data_limits(peer, now);
}

void native_data_session_ready(
	struct kcpvpn_peer *peer, struct native_session *session, bool initiator, struct mono now)
{
	struct native_data_state *data = &peer->data;

	(void)native_data_have_path(peer);
	data->running = true;
	data->lost_at = MONO_NEVER;
	data->wants_confirm = initiator;
	data->confirm_at = initiator ? mono_add_us(now, confirm_gap_us[0]) : MONO_NEVER;
	data->confirm_step = 0;
	data->confirm_serial = session->data.serial;
	liveness_configure(&data->live, keepalive_us(peer), peer->config.dead_after_us);
	liveness_start(&data->live, now);
	native_path_start(peer, now);
	native_path_apply_mtu(peer);
	native_peer_judge(peer);
	native_data_tell(peer, now);
	native_peer_touch(peer);
}

void native_data_follow(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;

	/* A path costs kilobytes, and most peers of a gateway use few shards or none: it comes with the first datagram. */
	data->running = true;
	data->lost_at = MONO_NEVER;
	native_path_apply_mtu(peer);
	native_peer_judge(peer);
	native_data_tell(peer, now);
	native_peer_touch(peer);
}

void native_data_drop(struct kcpvpn_peer *peer)
{
	free_path(peer);
	forget_numbers(&peer->data);
	peer->data.memory = (struct kcp_lt_memory){0};
}

void native_data_session_lost(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;

	data->running = false;
	/* When it is forgotten is the leader's to say. */
	data->lost_at = native_is_follower(peer->native) ? MONO_NEVER : now;
	data->wants_confirm = false;
	data->confirm_at = MONO_NEVER;
	liveness_stop(&data->live);
	if (data->path)
		kcp_path_hush(data->path);
	used(peer, now);
	native_peer_judge(peer);
	native_peer_touch(peer);
}

void native_data_tell(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;
	size_t len;

	(void)now;
	if (data->path && kcp_path_recv_iov(data->path, NULL, 0, &len) != -EAGAIN)
		native_peer_raise(peer, KCPVPN_PEER_EVENT_READABLE);
	if (data->wants_room && native_send_room(peer, data->room_bytes)) {
		data->wants_room = false;
		native_peer_raise(peer, KCPVPN_PEER_EVENT_WRITABLE);
	}
}

/* ---- deadlines --------------------------------------------------------------------------------------------------- */

struct mono native_data_next_deadline(const struct kcpvpn_peer *peer)
{
	const struct native_data_state *data = &peer->data;
	struct mono at = data->trim_at;

	/* Without memory for a path nothing is done until the next datagram or session asks for one again. */
	if (!data->running || !data->path)
		return at;
	at = mono_min(at, data->confirm_at);
	at = mono_min(at, native_path_next_deadline(peer));
	at = mono_min(at, kcp_path_next_deadline(data->path));
	at = mono_min(at, native_fec_next_deadline(peer));
	return mono_min(at, liveness_next_deadline(&data->live, kcp_path_srtt_us(data->path)));
}

static void confirm_again(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;

	if (!mono_due(data->confirm_at, now))
		return;
	data->confirm_step++;
	data->confirm_at =
		data->confirm_step < CONFIRMS
			? mono_add_us(data->confirm_at, confirm_gap_us[data->confirm_step])
			: MONO_NEVER;
	native_control_ping(peer, now);
}

static void look_for_life(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;
	unsigned due = liveness_on_deadline(&data->live, kcp_path_srtt_us(data->path), now);

	if (due & LIVENESS_KEEPALIVE)
		native_output_keepalive(peer, now);
	if (due & LIVENESS_PING)
		native_control_ping(peer, now);
	if (due & LIVENESS_ATTEMPT)
		native_initiate(peer, NATIVE_REASON_SILENCE, now);
	if (due & LIVENESS_DEAD) {
		native_initiate_note_gone(peer);
		native_peer_judge(peer);
	}
}

/*
 * Without a session nothing is acknowledged any more: what waits or flies is given up in its time, and then the memory goes,
 * too. A question that falls due meanwhile is none of that: it costs nothing, and leaves with the next session if there is one.
 */
static bool holds(const struct native_data_state *data)
{
	if (data->running)
		return !kcp_path_idle(data->path);
	return kcp_path_slots(data->path) > 0 || kcp_path_in_flight(data->path) > 0;
}

/*
 * Nobody was there for so long that nothing sent before can matter any more. What the other side began and did not end would stay
 * for ever otherwise: pieces behind a hole were acknowledged, and only a peer that lives moves its base over them.
 */
static void forget(struct kcpvpn_peer *peer, struct mono now)
{
	free_path(peer);
	forget_numbers(&peer->data);
	native_handshake_forget_pair(peer, now);
}

static void trim(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;
	struct mono forget_at = mono_add_us(data->lost_at, NATIVE_FORGET_AFTER_US);

	data->trim_at = MONO_NEVER;
	if (!data->path)
		return;
	if (mono_due(forget_at, now)) {
		forget(peer, now);
		return;
	}
	if (!data->running)
		kcp_path_on_deadline(data->path, now);
	if (kcp_path_idle(data->path) || !data->running)
		data->trim_at = kcp_path_trim(data->path, now);
	data->trim_at = mono_min(data->trim_at, native_fec_trim(peer, now));
	data->trim_at = mono_min(data->trim_at, forget_at);
	if (holds(data))
		used(peer, now);
	pool_trim_unused(&peer->native->data.slots, NATIVE_KEEP_SLOTS);
	pool_trim_unused(&peer->native->data.fec_slots, NATIVE_KEEP_SLOTS);
}

void native_data_on_deadline(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;

	if (data->running && data->path) {
		confirm_again(peer, now);
		look_for_life(peer, now);
		native_path_on_deadline(peer, now);
		native_fec_send(peer, now);
		if (mono_due(kcp_path_next_deadline(data->path), now)) {
			kcp_path_on_deadline(data->path, now);
			native_fec_send(peer, now);
			native_data_tell(peer, now);
		}
	}
	if (mono_due(data->trim_at, now))
		trim(peer, now);
}

void native_data_flush(struct kcpvpn_peer *peer, struct mono now)
{
	struct native_data_state *data = &peer->data;

	if (path_mtu_take_change(&data->mtu))
		native_path_apply_mtu(peer);
	if (data->share)
		native_lead_share(peer, now);
	if (!data->running || (native_is_follower(peer->native) && !data->path) ||
		!native_data_have_path(peer))
		return;
	/* Bulk takes all that pace allows: what it owes to repairs goes first. */
	native_fec_send(peer, now);
	/* A flush says that sending is possible, and makes a path that was refused forget how long it wanted to wait. */
	if (!native_output_possible(peer, now))
		kcp_path_on_deadline(data->path, now);
	else if (data->wants_input_done)
		kcp_path_input_done(data->path, now);
	else
		kcp_path_flush(data->path, now);
	data->wants_input_done = false;
	native_fec_send(peer, now);
	if (data->wants_confirm) {
		data->wants_confirm = false;
		native_control_ping(peer, now);
	}
	if (kcp_path_spare(data->path) || native_fec_spare(peer))
		used(peer, now);
	if (path_mtu_take_change(&data->mtu)) /* a port refused a datagram meanwhile */
		native_path_apply_mtu(peer);
	native_data_tell(peer, now);
}
