/*
 * What is counted, for people. Numbers that others keep are asked for, not copied all the time.
 *
 * Loss on the way here is told twice, over an older and a younger half of five to ten seconds each. Raw, by the counters of what
 * came: how many numbers the peer used and how many of them arrived. Numbers that come late count as come, so order does not
 * matter. And what was missing in the end, which is what somebody inside the tunnel notices: pieces and unordered messages that
 * neither came, nor were rebuilt, nor were sent again before the peer gave them up. What FEC leaves and is then sent again is
 * late, not lost: counting it would call every tunnel broken that works on a bad link.
 */
#include "stack/native_state.h"

static int64_t us_or_unknown(struct mono at)
{
	return mono_is_never(at) ? -1 : at.us;
}

static struct kcp_path_arrivals arrivals_of(const struct kcp_path *path)
{
	return path ? kcp_path_arrivals(path) : (struct kcp_path_arrivals){0};
}

void native_loss_in_note(struct native_loss_in *loss, const struct kcp_path *path, uint64_t counter,
	uint64_t largest, struct mono now)
{
	if (mono_is_never(loss->since)) {
		*loss = (struct native_loss_in){
			.since = now,
			.first = counter,
			.middle = counter,
			.first_arrivals = arrivals_of(path),
			.middle_arrivals = arrivals_of(path),
		};
	} else if (mono_diff_us(now, loss->since) >= NATIVE_LOSS_IN_US) {
		loss->first = loss->middle;
		loss->middle = largest + 1;
		loss->first_arrivals = loss->middle_arrivals;
		loss->middle_arrivals = arrivals_of(path);
		loss->old = loss->young;
		loss->young = (struct native_loss_half){0};
		loss->since = now;
	}
	loss->young.came++;
}

static bool loss_in_known(const struct native_loss_in *loss, struct mono now)
{
	return !mono_is_never(loss->since) &&
	       mono_diff_us(now, loss->since) <= 2 * NATIVE_LOSS_IN_US;
}

double native_loss_in_raw(const struct native_loss_in *loss, uint64_t largest, struct mono now)
{
	if (!loss_in_known(loss, now) || largest < loss->first)
		return -1;
	double numbers = (double)(largest - loss->first) + 1;
	double came = (double)loss->young.came + (double)loss->old.came;
	return came >= numbers ? 0 : 1 - came / numbers;
}

double native_loss_in_residual(
	const struct native_loss_in *loss, const struct kcp_path *path, struct mono now)
{
	const struct kcp_path_arrivals *first = &loss->first_arrivals;
	struct kcp_path_arrivals all = arrivals_of(path);

	/* Fewer than before: another path, and what is known is of the one that is gone. */
	if (!loss_in_known(loss, now) || all.due < first->due || all.came < first->came)
		return -1;
	double due = (double)(all.due - first->due), came = (double)(all.came - first->came);
	return came >= due ? 0 : 1 - came / due;
}

static double fec_rate_in(const struct native_loss_in *loss, struct mono now)
{
	double sources = (double)loss->young.sources + (double)loss->old.sources;
	double repairs = (double)loss->young.repairs + (double)loss->old.repairs;

	if (!loss_in_known(loss, now))
		return -1;
	return sources > 0 ? repairs / sources : 0;
}

static uint64_t memory_bytes(const struct kcpvpn_peer *peer)
{
	const struct native_data_state *data = &peer->data;
	uint64_t bytes = sizeof(*peer) + peer->target_count * sizeof(*peer->targets) +
			 sizeof(struct handshake_peer);

	for (size_t i = 0; i < NATIVE_SLOTS; i++) {
		const struct native_session *session = peer->hs.slots[i];
		if (!session)
			continue;
		bytes += sizeof(*session);
		if (session->data.window.words != session->data.small)
			bytes += REPLAY_WORDS_DEFAULT * sizeof(uint64_t);
	}
	for (size_t i = 0; i < NATIVE_ATTEMPTS; i++)
		if (peer->hs.attempts[i])
			bytes += sizeof(struct native_attempt);
	if (data->path)
		bytes += kcp_path_memory_bytes(data->path) +
			 kcp_path_slots(data->path) * (uint64_t)peer->native->data.slots.slot_bytes;
	return bytes + native_fec_memory_bytes(peer);
}

static void add_path_status(const struct kcpvpn_peer *peer, struct kcpvpn_peer_status *s)
{
	const struct kcp_path *path = peer->data.path;

	if (!path)
		return;
	const struct kcp_path_stats *stats = kcp_path_stats(path);
	if (kcp_path_srtt_us(path) > 0) {
		s->srtt_us = kcp_path_srtt_us(path);
		s->rtt_var_us = kcp_path_rttvar_us(path);
	}
	s->rate_bps = kcp_path_rate_bps(path);
	s->contested = kcp_path_contested(path);
	if (stats->acked_datagrams + stats->lost_datagrams + stats->lost_quiet > 0)
		s->loss_raw_out = kcp_path_loss_ppm(path) / 1e6;
	s->retransmits = stats->resent_items;
	s->abandoned = stats->expired_messages + stats->too_long_messages;
}

void kcpvpn_peer_status(const struct kcpvpn_peer *peer, struct kcpvpn_peer_status *ret_status)
{
	const struct native_data_state *data = &peer->data;
	const struct native_data_counters *c = &data->counters;
	const struct native_session *cur = peer->hs.slots[NATIVE_SLOT_CUR];
	struct mono now = peer->native->now;

	*ret_status = (struct kcpvpn_peer_status){
		.last_rx_us = us_or_unknown(data->last_rx_at),
		.handshake_us = cur ? us_or_unknown(cur->confirmed_at) : -1,
		.moved_us = us_or_unknown(data->moved_at),
		.srtt_us = -1,
		.rtt_var_us = -1,
		.path_mtu_bytes = path_mtu_size(&data->mtu),
		.loss_raw_out = -1,
		.loss_raw_in = -1,
		.loss_residual_in = -1,
		.fec_rate_in = fec_rate_in(&data->loss_in, now),
		.fec_window_in = data->fec.window_in,
		.fec_recovered = data->fec.recovered,
		.fec_repairs_in = data->fec.repairs_in,
		.fec_repairs_out = data->fec.repairs_out,
		.in_datagrams = c->in_datagrams,
		.out_datagrams = c->out_datagrams,
		.in_bytes = c->in_bytes,
		.out_bytes = c->out_bytes,
		.handshakes = peer->hs.handshakes,
		.init_sent = peer->hs.init_sent,
		.resp_sent = peer->hs.resp_sent,
		.drop_psk = peer->hs.drop_psk,
		.drop_stale = peer->hs.drop_stale,
		.drop_replay = c->drop_replay,
		.drop_tag = c->drop_tag,
		.drop_malformed = c->drop_malformed,
		.drop_expired = c->drop_expired,
		.memory_bytes = memory_bytes(peer),
		.trouble = peer->hs.trouble,
	};
	if (data->has_largest) {
		ret_status->loss_raw_in = native_loss_in_raw(&data->loss_in, data->largest, now);
		ret_status->loss_residual_in =
			native_loss_in_residual(&data->loss_in, data->path, now);
	}
	ret_status->fec_rate_out = native_fec_rate(peer, &ret_status->fec_window_out);
	add_path_status(peer, ret_status);
	ret_status->retransmits += c->retransmits;
	ret_status->abandoned += c->abandoned;
}

void kcpvpn_native_stats(const struct kcpvpn_native *native, struct kcpvpn_native_stats *ret_stats)
{
	*ret_stats = native->stats;
	ret_stats->out_datagrams = native->data.tx.sent_datagrams;
	ret_stats->out_bytes = native->data.tx.sent_bytes;
	ret_stats->nonce_refused = native->data.tx.nonce_refused;
}

uint32_t kcpvpn_peer_tun_mtu(const struct kcpvpn_peer *peer)
{
	return peer->hs.has_limits ? peer->hs.limits.tun_mtu : 0;
}

bool kcpvpn_peer_endpoint(const struct kcpvpn_peer *peer, struct kcpvpn_endpoint *ret_endpoint)
{
	if (!peer->data.address.port)
		return false;
	*ret_endpoint = peer->data.address.remote;
	return true;
}

void native_tx_plain(struct kcpvpn_native *native, const struct native_address *to,
	const void *bytes, size_t len)
{
	if (to->port)
		native_tx_add_plain(&native->data.tx, bytes, len, to);
}
