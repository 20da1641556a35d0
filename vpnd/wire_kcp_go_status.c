/*
 * What `status` shows of the kcp-go wire. Counters of conversations that are gone stay with their peer. Loss is taken
 * from the sequence numbers of FEC, over ten seconds: what is missing between them was lost on the way (raw), what
 * parity did not bring back of it was left to retransmission (residual). Without FEC nobody counts: unknown.
 */
#include "config/config.h"
#include "control/control_status.h"
#include "vpnd/peer.h"
#include "vpnd/wire_kcp_go.h"
#include "vpnd/wire_kcp_go_peer.h"

#include <stdio.h>
#include <string.h>

enum {
	LOSS_SPAN_US = 10000000,
	LOSS_NUMBERS_MIN = 20, /* fewer tell nothing */
};

void kcp_go_add_stats(struct kcpvpn_conv_stats *sum, const struct kcpvpn_conv_stats *more)
{
	sum->in_datagrams += more->in_datagrams;
	sum->out_datagrams += more->out_datagrams;
	sum->in_bytes += more->in_bytes;
	sum->out_bytes += more->out_bytes;
	sum->retransmits += more->retransmits;
	sum->duplicates += more->duplicates;
	sum->fec_recovered += more->fec_recovered;
	sum->fec_parity_in += more->fec_parity_in;
	sum->fec_parity_out += more->fec_parity_out;
	sum->drop_segment += more->drop_segment;
	sum->fec_numbers_in += more->fec_numbers_in;
	sum->fec_numbered_in += more->fec_numbered_in;
}

static void add_conv(struct kcpvpn_conv_stats *sum, const struct kcpvpn_conv *conv)
{
	struct kcpvpn_conv_stats stats;

	kcpvpn_conv_stats(conv, &stats);
	kcp_go_add_stats(sum, &stats);
}

void kcp_go_totals(const struct wire_peer *p, struct kcpvpn_conv_stats *ret_totals)
{
	*ret_totals = p->past;
	if (p->dialled)
		add_conv(ret_totals, p->dialled);
	list_for_each (at, &p->calls)
		add_conv(ret_totals, list_entry(at, struct kcp_go_call, in_list)->conv);
}

static void mark_loss(struct wire_peer *p, struct mono now)
{
	struct kcpvpn_conv_stats totals;

	kcp_go_totals(p, &totals);
	p->loss_from = now;
	p->loss_numbers = totals.fec_numbers_in;
	p->loss_numbered = totals.fec_numbered_in;
	p->loss_recovered = totals.fec_recovered;
	loop_timer_arm(p->wire->loop, &p->loss_timer, mono_add_us(now, LOSS_SPAN_US));
}

static void on_loss_timer(struct loop_timer *timer, struct mono now)
{
	struct wire_peer *p = list_entry(timer, struct wire_peer, loss_timer);
	struct kcpvpn_conv_stats totals;

	kcp_go_totals(p, &totals);
	double numbers = (double)(totals.fec_numbers_in - p->loss_numbers);
	double missing = numbers - (double)(totals.fec_numbered_in - p->loss_numbered);
	double recovered = (double)(totals.fec_recovered - p->loss_recovered);
	if (numbers >= LOSS_NUMBERS_MIN) {
		p->loss_raw_in = missing > 0 ? missing / numbers : 0;
		p->loss_residual_in = missing > recovered ? (missing - recovered) / numbers : 0;
	} else {
		p->loss_raw_in = p->loss_residual_in = -1;
	}
	mark_loss(p, now);
	p->wire->wire.events->state_changed(p->wire->wire.events->ctx, p->peer);
}

void kcp_go_loss_start(struct wire_peer *p)
{
	loop_timer_init(&p->loss_timer, on_loss_timer);
	mark_loss(p, loop_now(p->wire->loop));
}

static void fill_fec(const struct wire_peer *p, const struct kcpvpn_conv_stats *live,
	struct control_peer *status)
{
	const struct config_kcp_go *c = &p->wire->config->kcp_go;

	if (c->datashard > 0 && c->parityshard > 0) {
		status->fec_out.code = CONTROL_FEC_RS;
		status->fec_out.window = c->datashard;
		status->fec_out.rate = (double)c->parityshard / c->datashard;
	} else {
		status->fec_out.code = CONTROL_FEC_OFF;
		status->fec_out.rate = 0;
	}
	if (live->fec_in_data > 0) {
		status->fec_in.code = CONTROL_FEC_RS;
		status->fec_in.window = live->fec_in_data;
		status->fec_in.rate = (double)live->fec_in_parity / live->fec_in_data;
	} else if (live->in_datagrams > 0) {
		status->fec_in.code = CONTROL_FEC_OFF;
		status->fec_in.rate = 0;
	}
}

static double age_s(struct mono now, int64_t then_us)
{
	return then_us < 0 ? CONTROL_UNKNOWN : (double)(now.us - then_us) / 1e6;
}

void kcp_go_peer_loss(
	const struct wire *wire, const struct peer *peer, double *ret_raw, double *ret_residual)
{
	const struct wire_peer *p = peer->wire;

	(void)wire;
	*ret_raw = p ? p->loss_raw_in : CONTROL_UNKNOWN;
	*ret_residual = p ? p->loss_residual_in : CONTROL_UNKNOWN;
}

void kcp_go_peer_status(
	const struct wire *wire, const struct peer *peer, struct control_peer *status)
{
	const struct wire_peer *p = peer->wire;
	struct kcpvpn_conv_stats live, totals;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	(void)wire;
	if (!p)
		return;
	struct kcpvpn_conv *conv = kcp_go_conv(p);
	struct mono now = loop_now(p->wire->loop);
	kcp_go_totals(p, &totals);
	status->retransmits = (int64_t)totals.retransmits;
	status->fec_recovered = (int64_t)totals.fec_recovered;
	int64_t wasted = (int64_t)totals.fec_parity_in - (int64_t)totals.fec_recovered;
	status->fec_wasted = wasted > 0 ? wasted : 0;
	status->loss_raw_in = p->loss_raw_in;
	status->loss_residual_in = p->loss_residual_in;
	if (totals.drop_segment > 0)
		(void)control_peer_add_drop(status, "in_segment", totals.drop_segment);
	if (!mono_is_never(p->up_at))
		status->handshake_age_s = age_s(now, p->up_at.us);
	if (!conv) {
		if (p->dialled)
			(void)snprintf(status->endpoint, sizeof(status->endpoint), "%s",
				kcpvpn_endpoint_format(&p->remote, text));
		return;
	}
	kcpvpn_conv_stats(conv, &live);
	(void)snprintf(status->endpoint, sizeof(status->endpoint), "%s",
		kcpvpn_endpoint_format(kcpvpn_conv_remote(conv), text));
	status->last_rx_age_s = age_s(now, live.last_rx_us);
	status->rtt_ms = live.srtt_us < 0 ? CONTROL_UNKNOWN : (double)live.srtt_us / 1e3;
	status->rtt_var_ms = live.rtt_var_us < 0 ? CONTROL_UNKNOWN : (double)live.rtt_var_us / 1e3;
	status->rate_bps = live.rate_bps > 0 ? (int64_t)live.rate_bps : CONTROL_UNKNOWN;
	status->path_mtu = p->wire->config->kcp_go.mtu;
	fill_fec(p, &live, status);
}

void kcp_go_status(const struct wire *base, struct control_status *status)
{
	const struct kcp_go *wire = (const struct kcp_go *)base;
	struct kcpvpn_stats node;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	for (size_t i = 0; i < wire->listener_count; i++) {
		struct kcpvpn_endpoint local;
		if (udp_socket_local(&wire->listeners[i]->udp, &local) == 0)
			(void)control_strings_add(
				&status->listen, kcpvpn_endpoint_format(&local, text));
	}
	(void)control_strings_add(&status->warnings,
		"wire kcp-go: peers are not authenticated; whoever knows the "
		"key can read and forge everything");
	kcpvpn_node_stats(wire->node, &node);
	if (node.drop_checksum > 0)
		(void)control_strings_addf(&status->warnings,
			"%llu datagrams failed the checksum: another key or cipher, damage, or a "
			"stranger",
			(unsigned long long)node.drop_checksum);
	if (wire->unknown_refused + wire->unknown_expired > 0)
		(void)control_strings_addf(&status->warnings,
			"%llu callers could not be told whose they are: no inner packet from an "
			"address in allowed_ips came",
			(unsigned long long)(wire->unknown_refused + wire->unknown_expired));
}
