/*
 * The status document as Prometheus text: base units (seconds, bytes, shares), counters end in _total, a metric that no peer
 * knows is left out, and so is a peer that does not know it. A network's own metrics carry the label network, a peer's also
 * the label peer; states are one metric each with a label, 1 where it holds.
 *
 * Standards: Prometheus text exposition format 0.0.4; metric and label naming of its documentation.
 */
#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

static void put_label(const struct cli *cli, const char *text)
{
	for (const char *c = text; *c; c++) {
		if (*c == '"' || *c == '\\')
			(void)fprintf(cli->out, "\\%c", *c);
		else if ((unsigned char)*c < 0x20 || *c == 0x7f)
			(void)fputc('?', cli->out);
		else
			(void)fputc(*c, cli->out);
	}
}

static void head(const struct cli *cli, const char *name, const char *type, const char *help)
{
	(void)fprintf(cli->out, "# HELP vpnd_%s %s\n# TYPE vpnd_%s %s\n", name, help, name, type);
}

/* "vpnd_NAME{network="..."": left open for more labels. */
static void begin(const struct cli *cli, const char *name, const char *network)
{
	(void)fprintf(cli->out, "vpnd_%s{network=\"", name);
	put_label(cli, network);
	(void)fputc('"', cli->out);
}

static void more(const struct cli *cli, const char *label, const char *value)
{
	(void)fprintf(cli->out, ",%s=\"", label);
	put_label(cli, value);
	(void)fputc('"', cli->out);
}

static void end_real(const struct cli *cli, double value)
{
	(void)fprintf(cli->out, "} %.9g\n", value);
}

static void end_count(const struct cli *cli, int64_t value)
{
	(void)fprintf(cli->out, "} %lld\n", (long long)value);
}

struct real_metric {
	const char *name;
	const char *help;
	size_t offset; /* of a double in struct control_peer */
	double scale;
};

struct count_metric {
	const char *name;
	const char *type;
	const char *help;
	size_t offset; /* of an int64_t in struct control_peer */
};

#define AT(field) offsetof(struct control_peer, field)

static const struct real_metric reals[] = {
	{"peer_last_receive_age_seconds", "Since something authentic came.", AT(last_rx_age_s), 1},
	{"peer_handshake_age_seconds", "Since the session was confirmed.", AT(handshake_age_s), 1},
	{"peer_rtt_seconds", "Smoothed round trip.", AT(rtt_ms), 1e-3},
	{"peer_rtt_variation_seconds", "Its variation.", AT(rtt_var_ms), 1e-3},
	{"peer_loss_raw_in_ratio", "Of what the peer sends, lost on the way.", AT(loss_raw_in), 1},
	{"peer_loss_raw_out_ratio", "Of what is sent, lost on the way.", AT(loss_raw_out), 1},
	{"peer_loss_residual_in_ratio", "Of what the peer sends, missing in the end.",
		AT(loss_residual_in), 1},
	{"peer_queue_seconds", "Wait of what leaves now.", AT(queue_ms), 1e-3},
	{"peer_fec_out_ratio", "Repairs sent per packet.", AT(fec_out.rate), 1},
	{"peer_fec_in_ratio", "Repairs received per packet.", AT(fec_in.rate), 1},
	{"peer_path_rate_bytes_per_second", "Estimate of the path's rate.", 0, 0},
};

static const struct count_metric counts[] = {
	{"peer_path_mtu_bytes", "gauge", "UDP payload that the path carries.", AT(path_mtu)},
	{"peer_receive_bytes_total", "counter", "Inner bytes from the peer.", AT(rx_bytes)},
	{"peer_transmit_bytes_total", "counter", "Inner bytes to the peer.", AT(tx_bytes)},
	{"peer_receive_packets_total", "counter", "Inner packets from the peer.", AT(rx_packets)},
	{"peer_transmit_packets_total", "counter", "Inner packets to the peer.", AT(tx_packets)},
	{"peer_retransmits_total", "counter", "Items sent again.", AT(retransmits)},
	{"peer_queue_drops_total", "counter", "Packets that the queue dropped.", AT(aqm_drops)},
	{"peer_queue_marks_total", "counter", "Packets that the queue marked (ECN).",
		AT(aqm_marks)},
	{"peer_fec_recovered_total", "counter", "Packets that FEC brought back.",
		AT(fec_recovered)},
	{"peer_fec_wasted_total", "counter", "Repairs that were not needed.", AT(fec_wasted)},
};

static double real_of(const struct control_peer *peer, const struct real_metric *metric)
{
	double value;

	if (metric->scale == 0) /* bits to bytes */
		return peer->rate_bps < 0 ? -1 : (double)peer->rate_bps / 8;
	memcpy(&value, (const char *)peer + metric->offset, sizeof(value));
	return value < 0 ? -1 : value * metric->scale;
}

static int64_t count_of(const struct control_peer *peer, const struct count_metric *metric)
{
	int64_t value;

	memcpy(&value, (const char *)peer + metric->offset, sizeof(value));
	return value;
}

static void put_reals(const struct cli *cli, const struct control_status *s)
{
	for (size_t m = 0; m < sizeof(reals) / sizeof(reals[0]); m++) {
		bool any = false;
		for (size_t i = 0; i < s->peer_count; i++) {
			double value = real_of(&s->peers[i], &reals[m]);
			if (!(value >= 0))
				continue;
			if (!any)
				head(cli, reals[m].name, "gauge", reals[m].help);
			any = true;
			begin(cli, reals[m].name, s->network);
			more(cli, "peer", s->peers[i].name);
			end_real(cli, value);
		}
	}
}

static void put_counts(const struct cli *cli, const struct control_status *s)
{
	for (size_t m = 0; m < sizeof(counts) / sizeof(counts[0]); m++) {
		bool any = false;
		for (size_t i = 0; i < s->peer_count; i++) {
			int64_t value = count_of(&s->peers[i], &counts[m]);
			if (value < 0)
				continue;
			if (!any)
				head(cli, counts[m].name, counts[m].type, counts[m].help);
			any = true;
			begin(cli, counts[m].name, s->network);
			more(cli, "peer", s->peers[i].name);
			end_count(cli, value);
		}
	}
}

static void put_states(const struct cli *cli, const struct control_status *s)
{
	if (s->peer_count)
		head(cli, "peer_state", "gauge", "1 for the state that the peer is in.");
	for (size_t i = 0; i < s->peer_count; i++) {
		for (int state = CONTROL_DOWN; state <= CONTROL_IDLE; state++) {
			begin(cli, "peer_state", s->network);
			more(cli, "peer", s->peers[i].name);
			more(cli, "state", control_state_str((enum control_state)state));
			end_count(cli, (int)s->peers[i].state == state);
		}
	}
}

static void put_drops(const struct cli *cli, const struct control_status *s)
{
	bool any = false;

	for (size_t i = 0; i < s->peer_count; i++) {
		for (size_t d = 0; d < s->peers[i].drop_count; d++) {
			if (!any)
				head(cli, "peer_drops_total", "counter",
					"Packets and datagrams dropped, by verdict.");
			any = true;
			begin(cli, "peer_drops_total", s->network);
			more(cli, "peer", s->peers[i].name);
			more(cli, "verdict", s->peers[i].drops[d].verdict);
			(void)fprintf(cli->out, "} %llu\n",
				(unsigned long long)s->peers[i].drops[d].count);
		}
	}
}

void output_metrics(const struct cli *cli, const struct control_status *s)
{
	head(cli, "info", "gauge", "Version and wire of the daemon; always 1.");
	begin(cli, "info", s->network);
	more(cli, "version", s->version);
	more(cli, "wire", s->wire);
	end_count(cli, 1);
	head(cli, "up", "gauge", "1 while the link is up.");
	begin(cli, "up", s->network);
	end_count(cli, s->state != CONTROL_DOWN);
	head(cli, "degraded", "gauge", "1 while a peer is degraded or connecting.");
	begin(cli, "degraded", s->network);
	end_count(cli, s->state == CONTROL_DEGRADED);
	if (s->uptime_s >= 0) {
		head(cli, "uptime_seconds", "gauge", "Since the link came up.");
		begin(cli, "uptime_seconds", s->network);
		end_real(cli, s->uptime_s);
	}
	if (s->interface.mtu >= 0) {
		head(cli, "interface_mtu_bytes", "gauge", "MTU of the interface.");
		begin(cli, "interface_mtu_bytes", s->network);
		end_count(cli, s->interface.mtu);
	}
	if (s->config.generation >= 0) {
		head(cli, "config_generation", "gauge", "1, and one more with each change.");
		begin(cli, "config_generation", s->network);
		end_count(cli, s->config.generation);
	}
	head(cli, "warnings", "gauge", "Warnings that stand.");
	begin(cli, "warnings", s->network);
	end_count(cli, (int64_t)s->warnings.count);
	put_states(cli, s);
	put_reals(cli, s);
	put_counts(cli, s);
	put_drops(cli, s);
}
