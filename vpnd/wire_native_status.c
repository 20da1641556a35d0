/*
 * What `status` shows of the native wire. Counters of verdicts keep the library's words; those of strangers, who are
 * no peer's, stand as warnings only where somebody should look: a key or a count that hints at a mistake.
 */
#include "config/config.h"
#include "control/control_status.h"
#include "vpnd/peer.h"
#include "vpnd/state_file.h"
#include "vpnd/wire_native.h"
#include "vpnd/wire_native_peer.h"

#include <stdio.h>

static double age_s(struct mono now, int64_t then_us)
{
	return then_us < 0 ? CONTROL_UNKNOWN : (double)(now.us - then_us) / 1e6;
}

static double milliseconds(int64_t us)
{
	return us < 0 ? CONTROL_UNKNOWN : (double)us / 1e3;
}

static void add_drop(struct control_peer *status, const char *verdict, uint64_t count)
{
	if (count > 0)
		(void)control_peer_add_drop(status, verdict, count);
}

static void add_drops(struct control_peer *to, const struct kcpvpn_peer_status *from)
{
	add_drop(to, "handshake_psk", from->drop_psk);
	add_drop(to, "handshake_stale", from->drop_stale);
	add_drop(to, "data_replay", from->drop_replay);
	add_drop(to, "data_tag", from->drop_tag);
	add_drop(to, "data_malformed", from->drop_malformed);
	add_drop(to, "data_expired", from->drop_expired);
	add_drop(to, "out_abandoned", from->abandoned);
}

static double weighed(double a, uint64_t a_count, double b, uint64_t b_count)
{
	if (a < 0 || b < 0 || a_count + b_count == 0)
		return a < 0 ? b : a;
	return (a * (double)a_count + b * (double)b_count) / (double)(a_count + b_count);
}

/* What another shard knows. Of what is of all of them (times, handshakes) the leader knows more. */
static void add_shard(struct kcpvpn_peer_status *sum, const struct kcpvpn_peer_status *shard)
{
	sum->loss_raw_out = weighed(
		sum->loss_raw_out, sum->out_datagrams, shard->loss_raw_out, shard->out_datagrams);
	sum->loss_raw_in = weighed(
		sum->loss_raw_in, sum->in_datagrams, shard->loss_raw_in, shard->in_datagrams);
	sum->loss_residual_in = weighed(sum->loss_residual_in, sum->in_datagrams,
		shard->loss_residual_in, shard->in_datagrams);
	if (sum->srtt_us < 0 || (shard->srtt_us >= 0 && shard->rate_bps > sum->rate_bps)) {
		sum->srtt_us = shard->srtt_us;
		sum->rtt_var_us = shard->rtt_var_us;
	}
	if (shard->fec_rate_out > sum->fec_rate_out) {
		sum->fec_rate_out = shard->fec_rate_out;
		sum->fec_window_out = shard->fec_window_out;
	}
	if (shard->fec_rate_in > sum->fec_rate_in) {
		sum->fec_rate_in = shard->fec_rate_in;
		sum->fec_window_in = shard->fec_window_in;
	}
	sum->rate_bps += shard->rate_bps;
	sum->fec_recovered += shard->fec_recovered;
	sum->fec_repairs_in += shard->fec_repairs_in;
	sum->fec_repairs_out += shard->fec_repairs_out;
	sum->in_datagrams += shard->in_datagrams;
	sum->out_datagrams += shard->out_datagrams;
	sum->in_bytes += shard->in_bytes;
	sum->out_bytes += shard->out_bytes;
	sum->retransmits += shard->retransmits;
	sum->abandoned += shard->abandoned;
	sum->drop_replay += shard->drop_replay;
	sum->drop_tag += shard->drop_tag;
	sum->drop_malformed += shard->drop_malformed;
	sum->drop_expired += shard->drop_expired;
}

/* Workers stand still. */
static void status_of(const struct native_peer *p, struct kcpvpn_peer_status *ret_status)
{
	kcpvpn_peer_status(p->handle, ret_status);
	for (const struct peer *mirror = p->peer->mirror; mirror; mirror = mirror->mirror) {
		struct kcpvpn_peer_status shard;
		if (!mirror->wire)
			continue;
		kcpvpn_peer_status(mirror->wire, &shard);
		add_shard(ret_status, &shard);
	}
}

void native_peer_loss(
	const struct wire *wire, const struct peer *peer, double *ret_raw, double *ret_residual)
{
	const struct native_peer *p = peer->wire;
	struct kcpvpn_peer_status from = {
		.loss_raw_in = CONTROL_UNKNOWN, .loss_residual_in = CONTROL_UNKNOWN};

	(void)wire;
	if (p)
		status_of(p, &from);
	*ret_raw = from.loss_raw_in;
	*ret_residual = from.loss_residual_in;
}

/* A direction without repairs of late is off. */
static void fill_fec(struct control_fec *to, double rate, uint32_t window)
{
	if (rate <= 0) {
		to->code = CONTROL_FEC_OFF;
		to->rate = 0;
		return;
	}
	to->code = CONTROL_FEC_RLC;
	to->window = window;
	to->rate = rate;
}

void native_peer_status(
	const struct wire *wire, const struct peer *peer, struct control_peer *status)
{
	const struct native_peer *p = peer->wire;
	struct kcpvpn_peer_status from;
	struct kcpvpn_endpoint remote;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	(void)wire;
	if (peer->config->public_key_text)
		(void)snprintf(status->public_key, sizeof(status->public_key), "%s",
			peer->config->public_key_text);
	if (!p)
		return;
	struct mono now = loop_now(p->wire->loop);
	status_of(p, &from);
	if (native_targets_where(p, &remote))
		(void)snprintf(status->endpoint, sizeof(status->endpoint), "%s",
			kcpvpn_endpoint_format(&remote, text));
	status->endpoint_moved_age_s = age_s(now, from.moved_us);
	status->last_rx_age_s = age_s(now, from.last_rx_us);
	status->handshake_age_s = age_s(now, from.handshake_us);
	if (p->told == WIRE_PEER_UP) { /* of whoever is gone these would be what they were */
		status->rtt_ms = milliseconds(from.srtt_us);
		status->rtt_var_ms = milliseconds(from.rtt_var_us);
		status->path_mtu = from.path_mtu_bytes;
	}
	status->loss_raw_in = from.loss_raw_in;
	status->loss_raw_out = from.loss_raw_out;
	status->retransmits = (int64_t)from.retransmits;
	if (from.rate_bps > 0)
		status->rate_bps = (int64_t)from.rate_bps;
	status->loss_residual_in = from.loss_residual_in;
	fill_fec(&status->fec_out, from.fec_rate_out, from.fec_window_out);
	fill_fec(&status->fec_in, from.fec_rate_in, from.fec_window_in);
	status->fec_recovered = (int64_t)from.fec_recovered;
	status->fec_wasted = from.fec_repairs_in > from.fec_recovered
				     ? (int64_t)(from.fec_repairs_in - from.fec_recovered)
				     : 0;
	add_drops(status, &from);
	if (from.trouble)
		(void)control_strings_add(&status->warnings, from.trouble);
	if (p->inside)
		(void)control_strings_add(&status->warnings, NATIVE_INSIDE_TEXT);
}

static void add_listener(const struct native_socket *socket, struct control_status *status)
{
	struct kcpvpn_endpoint local;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	if (socket && udp_socket_local(&socket->udp, &local) == 0)
		(void)control_strings_add(&status->listen, kcpvpn_endpoint_format(&local, text));
}

static void warn_count(struct control_status *status, uint64_t count, const char *what)
{
	if (count > 0)
		(void)control_strings_addf(
			&status->warnings, "%llu %s", (unsigned long long)count, what);
}

/* Of what is worth a warning, of all threads; workers stand still. @return whether all of them keep their keys in memory */
static bool sum_stats(const struct native_wire *wire, struct kcpvpn_native_stats *ret_stats)
{
	bool locked = kcpvpn_native_keys_locked(wire->native) && workers_locked(wire->workers);
	struct kcpvpn_native_stats more;

	kcpvpn_native_stats(wire->native, ret_stats);
	for (unsigned i = 0; i < workers_count(wire->workers); i++) {
		const struct kcpvpn_native *native = workers_native(wire->workers, i);
		kcpvpn_native_stats(native, &more);
		ret_stats->drop_shard += more.drop_shard;
		ret_stats->drop_memory += more.drop_memory;
		ret_stats->nonce_refused += more.nonce_refused;
		locked = locked && kcpvpn_native_keys_locked(native);
	}
	return locked;
}

void native_status(const struct wire *base, struct control_status *status)
{
	const struct native_wire *wire = (const struct native_wire *)base;
	struct kcpvpn_native_stats stats;
	const struct kcpvpn_endpoint *missing;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	for (size_t i = 0; i < wire->listener_count; i++)
		add_listener(wire->listeners[i], status);
	add_listener(wire->spare, status);
	for (size_t i = 0; (missing = native_listen_missing(wire, i)) != NULL; i++)
		(void)control_strings_addf(&status->warnings,
			"not listening on %s: the socket had to make way for settings that were "
			"refused, "
			"and cannot be opened again; trying",
			kcpvpn_endpoint_format(missing, text));
	if (!sum_stats(wire, &stats))
		(void)control_strings_add(&status->warnings,
			"keys may be written to swap: the limit of locked memory is too low "
			"(LimitMEMLOCK= in the unit, ulimit -l)");
	if (wire->state && state_file_failed(wire->state))
		(void)control_strings_add(&status->warnings,
			"the state file cannot be written: where peers are is not remembered over "
			"a "
			"restart; see the log");
	warn_count(status, stats.drop_unknown_peer,
		"handshakes came from keys that no peer here has: a peer that is not configured, "
		"or "
		"is disabled");
	warn_count(status, stats.drop_mac1,
		"handshakes were made for another public key or network key than ours");
	warn_count(status, stats.nonce_refused,
		"datagrams were not sent because their number was not new; please report this");
	warn_count(status, stats.drop_memory,
		"datagrams were dropped for want of memory: the bound on what peers may hold was "
		"reached, or the host has none left");
	warn_count(status, stats.drop_shard,
		"datagrams came to the wrong thread, or for one that there is none of");
}
