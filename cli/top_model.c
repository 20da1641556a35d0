/*
 * Rates are differences of counters over the time between two documents, by the documents' own clock (uptime_s), so that a
 * slow answer makes no false rate. A counter that went back (the daemon was restarted) or was not known makes the rate unknown
 * for one look.
 */
#include "cli/top_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void track_push(struct top_track *track, double value)
{
	if (track->count == TOP_HISTORY) {
		memmove(track->values, track->values + 1,
			(TOP_HISTORY - 1) * sizeof(track->values[0]));
		track->count--;
	}
	track->values[track->count++] = value;
}

static double rate(int64_t now, int64_t before, double seconds)
{
	if (now < 0 || before < 0 || now < before || seconds <= 0)
		return -1;
	return (double)(now - before) / seconds;
}

static struct top_peer *find(struct top_peer *peers, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(peers[i].name, name) == 0)
			return &peers[i];
	}
	return NULL;
}

static void fill(struct top_peer *to, const struct control_peer *from,
	const struct top_peer *before, double seconds)
{
	if (before)
		*to = *before;
	(void)snprintf(to->name, sizeof(to->name), "%s", from->name);
	(void)snprintf(to->endpoint, sizeof(to->endpoint), "%s", from->endpoint);
	to->state = from->state;
	to->rx_bps = before ? 8 * rate(from->rx_bytes, before->rx_bytes, seconds) : -1;
	to->tx_bps = before ? 8 * rate(from->tx_bytes, before->tx_bytes, seconds) : -1;
	to->resent_per_s = before ? rate(from->retransmits, before->retransmits, seconds) : -1;
	to->rx_bytes = from->rx_bytes;
	to->tx_bytes = from->tx_bytes;
	to->retransmits = from->retransmits;
	to->rtt_ms = from->rtt_ms;
	to->queue_ms = from->queue_ms;
	to->loss_in = from->loss_raw_in;
	to->loss_out = from->loss_raw_out;
	to->residual_in = from->loss_residual_in;
	to->parity_in = from->fec_in.rate;
	to->parity_out = from->fec_out.rate;
	if (before) {
		track_push(&to->rx, to->rx_bps);
		track_push(&to->tx, to->tx_bps);
	}
	track_push(&to->rtt, to->rtt_ms);
}

int top_model_update(struct top_model *m, const struct control_status *status, int64_t now_ms)
{
	struct top_peer *peers =
		calloc(status->peer_count ? status->peer_count : 1, sizeof(*peers));
	double seconds = status->uptime_s - m->uptime_s;

	if (!peers)
		return -ENOMEM;
	if (!(seconds > 0))
		seconds = (double)(now_ms - m->looked_ms) / 1000;
	for (size_t i = 0; i < status->peer_count; i++)
		fill(&peers[i], &status->peers[i],
			m->looked ? find(m->peers, m->count, status->peers[i].name) : NULL,
			seconds);
	free(m->peers);
	m->peers = peers;
	m->count = status->peer_count;
	(void)snprintf(m->network, sizeof(m->network), "%s", status->network);
	(void)snprintf(m->interface, sizeof(m->interface), "%s", status->interface.name);
	m->state = status->state;
	m->uptime_s = status->uptime_s;
	m->mtu = status->interface.mtu;
	m->warnings = status->warnings.count;
	for (size_t i = 0; i < status->peer_count; i++)
		m->warnings += status->peers[i].warnings.count;
	m->looked_ms = now_ms;
	m->looked = true;
	top_model_sort(m);
	return 0;
}

static const int badness[] = {
	[CONTROL_CONNECTING] = 4,
	[CONTROL_DEGRADED] = 3,
	[CONTROL_DOWN] = 2,
	[CONTROL_IDLE] = 1,
	[CONTROL_UP] = 0,
};

static double weight(const struct top_peer *p, enum top_sort sort)
{
	switch (sort) {
	case TOP_SORT_RATE:
		return (p->rx_bps > 0 ? p->rx_bps : 0) + (p->tx_bps > 0 ? p->tx_bps : 0);
	case TOP_SORT_RTT:
		return p->rtt_ms;
	case TOP_SORT_LOSS:
		return p->residual_in * 1000 + p->loss_in;
	case TOP_SORT_STATE:
		return badness[p->state];
	case TOP_SORT_NAME:
	case TOP_SORTS:
		break;
	}
	return 0;
}

/* The largest first; names decide among equals, so that nothing jumps. */
static int compare(const void *a, const void *b, void *arg)
{
	const struct top_model *m = arg;
	const struct top_peer *x = a, *y = b;
	double wx = weight(x, m->sort), wy = weight(y, m->sort);
	int order = wx > wy ? -1 : wx < wy ? 1 : strcmp(x->name, y->name);

	return m->reverse ? -order : order;
}

void top_model_sort(struct top_model *m)
{
	qsort_r(m->peers, m->count, sizeof(*m->peers), compare, m);
}

const char *top_sort_str(enum top_sort sort)
{
	static const char *const names[TOP_SORTS] = {"name", "rate", "rtt", "loss", "state"};

	return (unsigned)sort < TOP_SORTS ? names[sort] : "";
}

void top_model_fini(struct top_model *m)
{
	free(m->peers);
	*m = (struct top_model){0};
}
