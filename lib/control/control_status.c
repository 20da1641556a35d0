/*
 * The status document's memory: init, growth, end. The JSON side stands in control_status_json.c.
 *
 * Numbers start as CONTROL_UNKNOWN, so a field that nobody fills is null for the reader, never a plausible zero.
 */
#include "control/control_status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FIRST_PEERS = 8,
};

static const char *const state_names[] = {
	[CONTROL_DOWN] = "down",
	[CONTROL_CONNECTING] = "connecting",
	[CONTROL_UP] = "up",
	[CONTROL_DEGRADED] = "degraded",
	[CONTROL_IDLE] = "idle",
};

void control_status_init(struct control_status *status)
{
	*status = (struct control_status){
		.uptime_s = CONTROL_UNKNOWN,
		.interface = {.ifindex = CONTROL_UNKNOWN,
			.mtu = CONTROL_UNKNOWN,
			.queues = CONTROL_UNKNOWN},
		.config = {.generation = CONTROL_UNKNOWN},
	};
}

static void peer_fini(struct control_peer *peer)
{
	control_strings_fini(&peer->endpoints);
	control_strings_fini(&peer->allowed_ips);
	control_strings_fini(&peer->warnings);
	free(peer->drops);
}

void control_status_fini(struct control_status *status)
{
	for (size_t i = 0; i < status->peer_count; i++)
		peer_fini(&status->peers[i]);
	free(status->peers);
	free(status->config.file);
	control_strings_fini(&status->listen);
	control_strings_fini(&status->interface.addresses);
	control_strings_fini(&status->warnings);
	*status = (struct control_status){0};
}

struct control_peer *control_status_add_peer(struct control_status *status, const char *name)
{
	if (status->peer_count == status->peer_capacity) {
		size_t capacity = status->peer_capacity ? status->peer_capacity * 2 : FIRST_PEERS;
		struct control_peer *peers = reallocarray(status->peers, capacity, sizeof(*peers));
		if (!peers)
			return NULL;
		status->peers = peers;
		status->peer_capacity = capacity;
	}
	struct control_peer *peer = &status->peers[status->peer_count++];
	*peer = (struct control_peer){
		.state = CONTROL_DOWN,
		.enabled = true,
		.endpoint_moved_age_s = CONTROL_UNKNOWN,
		.last_rx_age_s = CONTROL_UNKNOWN,
		.handshake_age_s = CONTROL_UNKNOWN,
		.rtt_ms = CONTROL_UNKNOWN,
		.rtt_var_ms = CONTROL_UNKNOWN,
		.path_mtu = CONTROL_UNKNOWN,
		.loss_raw_in = CONTROL_UNKNOWN,
		.loss_raw_out = CONTROL_UNKNOWN,
		.loss_residual_in = CONTROL_UNKNOWN,
		.queue_ms = CONTROL_UNKNOWN,
		.aqm_drops = CONTROL_UNKNOWN,
		.aqm_marks = CONTROL_UNKNOWN,
		.retransmits = CONTROL_UNKNOWN,
		.rate_bps = CONTROL_UNKNOWN,
		.fec_out = {CONTROL_FEC_UNKNOWN, CONTROL_UNKNOWN, CONTROL_UNKNOWN},
		.fec_in = {CONTROL_FEC_UNKNOWN, CONTROL_UNKNOWN, CONTROL_UNKNOWN},
		.fec_recovered = CONTROL_UNKNOWN,
		.fec_wasted = CONTROL_UNKNOWN,
		.rx_bytes = CONTROL_UNKNOWN,
		.tx_bytes = CONTROL_UNKNOWN,
		.rx_packets = CONTROL_UNKNOWN,
		.tx_packets = CONTROL_UNKNOWN,
	};
	(void)snprintf(peer->name, sizeof(peer->name), "%s", name);
	return peer;
}

int control_peer_add_drop(struct control_peer *peer, const char *verdict, uint64_t count)
{
	struct control_drop *drops =
		reallocarray(peer->drops, peer->drop_count + 1, sizeof(*drops));

	if (!drops)
		return -ENOMEM;
	peer->drops = drops;
	struct control_drop *drop = &drops[peer->drop_count++];
	size_t len = strnlen(verdict, sizeof(drop->verdict));
	if (len == sizeof(drop->verdict)) { /* cut at a character's border: it becomes a JSON key */
		len--;
		while (len && (verdict[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(drop->verdict, verdict, len);
	drop->verdict[len] = '\0';
	drop->count = count;
	return 0;
}

int control_status_set_file(struct control_status *status, const char *file)
{
	char *copy = strdup(file);

	if (!copy)
		return -ENOMEM;
	free(status->config.file);
	status->config.file = copy;
	return 0;
}

const struct control_peer *control_status_peer(
	const struct control_status *status, const char *name)
{
	for (size_t i = 0; i < status->peer_count; i++) {
		if (!strcmp(status->peers[i].name, name))
			return &status->peers[i];
	}
	return NULL;
}

bool control_status_keep(struct control_status *status, const char *name)
{
	size_t kept = 0;

	for (size_t i = 0; i < status->peer_count; i++) {
		if (kept == 0 && !strcmp(status->peers[i].name, name))
			status->peers[kept++] = status->peers[i];
		else
			peer_fini(&status->peers[i]);
	}
	status->peer_count = kept;
	return kept > 0;
}

const char *control_state_str(enum control_state state)
{
	size_t index = (size_t)state;
	return index < sizeof(state_names) / sizeof(state_names[0]) ? state_names[index]
								    : "unknown";
}

bool control_state_is_up(enum control_state state)
{
	return state == CONTROL_UP || state == CONTROL_DEGRADED;
}

const char *control_mtu_source_str(enum control_mtu_source source)
{
	switch (source) {
	case CONTROL_MTU_UNKNOWN:
		return NULL;
	case CONTROL_MTU_CONFIGURED:
		return "configured";
	case CONTROL_MTU_DERIVED:
		return "derived";
	case CONTROL_MTU_PROBED:
		return "probed";
	}
	return NULL;
}

const char *control_fec_code_str(enum control_fec_code code)
{
	switch (code) {
	case CONTROL_FEC_UNKNOWN:
		return NULL;
	case CONTROL_FEC_OFF:
		return "off";
	case CONTROL_FEC_RS:
		return "rs";
	case CONTROL_FEC_RLC:
		return "rlc";
	}
	return NULL;
}
