/* The conversation is dialled as the daemon does it: a probe goes out, and what answers is the other end. */
#include "inner_kcp_go.h"

#include "inner_end.h"

#include <string.h>
#include <sys/uio.h>

enum {
	MESSAGE_PIECES = 256,
	SEND_QUEUE_SEGMENTS = 512,
};

static const uint8_t key[KCPVPN_KEY_BYTES] = "a key for inner worlds, a secret";

struct kcpvpn_config inner_kcp_go_config(void)
{
	struct kcpvpn_config config;

	kcpvpn_config_init(&config);
	(void)kcpvpn_config_mode(&config, "fast2");
	config.key = key;
	config.key_len = sizeof(key);
	config.stream = false;
	config.keepalive_us = 1000000; /* dials again where the first probe is lost */
	config.send_queue_segments = SEND_QUEUE_SEGMENTS;
	return config;
}

void inner_kcp_go_start(
	struct inner_end *end, const struct kcpvpn_config *config, kcpvpn_random_fn random)
{
	if (kcpvpn_node_new(config, random, end, end->world->now.us, &end->node) < 0)
		inner_world_fail(end->world, "a node does not start");
}

void inner_kcp_go_introduce(struct inner_end *end, const struct kcpvpn_endpoint *other)
{
	struct kcpvpn_conv *conv;
	int64_t now_us = end->world->now.us;

	end->touched = true;
	if (end->side == 1)
		return;
	if (kcpvpn_node_dial(end->node, &end->port, other, 0, now_us, &conv) < 0)
		inner_world_fail(end->world, "a node does not dial");
	kcpvpn_conv_probe(conv, now_us);
}

static void read_messages(struct inner_end *end, struct kcpvpn_conv *conv)
{
	struct iovec pieces[MESSAGE_PIECES];
	size_t len;
	int count;

	while ((count = kcpvpn_conv_recv_peek(conv, pieces, MESSAGE_PIECES, &len)) > 0) {
		inner_end_hand_out(end, pieces, count, len);
		kcpvpn_conv_recv_drop(conv, end->world->now.us);
	}
}

bool inner_kcp_go_turn(struct inner_end *end)
{
	struct kcpvpn_conv *conv;
	unsigned events;
	bool any = false;

	kcpvpn_node_on_deadline(end->node, end->world->now.us);
	while ((conv = kcpvpn_node_next_event(end->node, &events)) != NULL) {
		any = true;
		if (events & KCPVPN_EVENT_CLOSED)
			inner_world_fail(end->world, "a conversation ended");
		if (events & (KCPVPN_EVENT_ACCEPTED | KCPVPN_EVENT_ALIVE))
			end->conv = conv;
		if (events & KCPVPN_EVENT_READABLE)
			read_messages(end, conv);
		end->pumping = true;
	}
	return any;
}

bool inner_kcp_go_ready(struct inner_end *end)
{
	return kcpvpn_conv_window_room(end->conv) > 0;
}

int inner_kcp_go_send(struct inner_end *end, const uint8_t *packet, size_t len)
{
	return kcpvpn_conv_send(end->conv, packet, len, end->world->now.us);
}

bool inner_kcp_go_measure(const struct inner_end *end, struct ingress_path *ret_path)
{
	struct kcpvpn_conv_stats stats;

	kcpvpn_conv_stats(end->conv, &stats);
	*ret_path =
		(struct ingress_path){stats.srtt_us, stats.rate_bps, stats.resent_ppm / 1e6, false};
	return stats.srtt_us >= 0;
}
