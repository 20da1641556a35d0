/*
 * Packets of the light flow and pings carry the number of their sample; a sample's time of sending is kept, and its delay
 * filled in when it comes. Each request of the web flow is a connection of its own, from the SYN to the last byte.
 */
#include "inner_flow.h"

#include "core/endian.h"
#include "core/ip_header.h"
#include "inner_world.h"

#include <stdlib.h>
#include <string.h>

enum {
	WINDOW_BYTES = 4 << 20, /* about what Linux lets a receiver grow to */
	PLAIN_MTU = 1500,
	PORT_BULK = 5201,
	PORT_WEB = 30000,
	PORT_THIN = 4000,
	IP_BYTES = 20,
	UDP_BYTES = 8,
	ICMP_BYTES = 8,
	ICMP_ECHO = 8,
};

/* ---- samples ---------------------------------------------------------------------------------------------------- */

static size_t begin_sample(struct inner_samples *samples, struct mono now)
{
	if (samples->count == samples->room) {
		samples->room = samples->room ? samples->room * 2 : 1024;
		samples->us = realloc(samples->us, samples->room * sizeof(*samples->us));
		samples->sent_at =
			realloc(samples->sent_at, samples->room * sizeof(*samples->sent_at));
		if (!samples->us || !samples->sent_at)
			abort();
	}
	samples->us[samples->count] = -1;
	samples->sent_at[samples->count] = now;
	return samples->count++;
}

static void end_sample(struct inner_flow *flow, size_t i, struct mono now)
{
	struct inner_samples *samples = &flow->samples;

	if (i >= samples->count)
		abort();
	if (samples->us[i] >= 0)
		flow->again++;
	else
		samples->us[i] = mono_diff_us(now, samples->sent_at[i]);
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

struct inner_delays inner_flow_delays(
	const struct inner_flow *flow, struct mono from, struct mono to, int64_t base_us)
{
	const struct inner_samples *samples = &flow->samples;
	struct inner_delays delays = {0};
	int64_t *came = malloc((samples->count + 1) * sizeof(*came));
	size_t n = 0;

	if (!came)
		abort();
	for (size_t i = 0; i < samples->count; i++) {
		if (mono_before(samples->sent_at[i], from) || !mono_before(samples->sent_at[i], to))
			continue;
		delays.count++;
		delays.lost += samples->us[i] < 0;
		delays.late += samples->us[i] > INNER_FLOW_LATE_US;
		if (samples->us[i] >= 0)
			came[n++] = samples->us[i] - base_us;
	}
	if (n > 0) {
		qsort(came, n, sizeof(*came), compare);
		delays.p50_us = came[(n - 1) / 2];
		delays.p90_us = came[(n - 1) * 90 / 100];
		delays.p99_us = came[(n - 1) * 99 / 100];
		delays.most_us = came[n - 1];
	}
	free(came);
	return delays;
}

/* ---- light ------------------------------------------------------------------------------------------------------ */

static void put_ip(const struct inner_flow *flow, size_t side, uint8_t *packet, uint8_t protocol,
	size_t payload_bytes)
{
	uint8_t src[4], dst[4];

	inner_world_address(flow->route, side, src);
	inner_world_address(flow->route, 1 - side, dst);
	ip_header_write(packet, 4, src, dst, protocol, payload_bytes);
}

static void send_thin(struct inner_flow *flow, struct mono now)
{
	uint8_t packet[IP_BYTES + UDP_BYTES + INNER_FLOW_THIN_BYTES] = {0};
	uint8_t *udp = packet + IP_BYTES;

	put_ip(flow, 0, packet, IP_PROTOCOL_UDP, sizeof(packet) - IP_BYTES);
	store_be16(udp, (uint16_t)(INNER_WORLD_PORT + flow->id));
	store_be16(udp + 2, PORT_THIN);
	store_be16(udp + 4, sizeof(packet) - IP_BYTES);
	store_le64(udp + UDP_BYTES, begin_sample(&flow->samples, now));
	flow->next_at = mono_add_us(now, INNER_FLOW_THIN_US);
	inner_world_send(flow->world, flow->route, 0, packet, sizeof(packet), now);
}

static void send_ping(struct inner_flow *flow, size_t side, uint64_t number, struct mono now)
{
	uint8_t packet[INNER_FLOW_PING_BYTES] = {0};
	uint8_t *icmp = packet + IP_BYTES;

	put_ip(flow, side, packet, IP_PROTOCOL_ICMP, sizeof(packet) - IP_BYTES);
	icmp[0] = side == 0 ? ICMP_ECHO : 0;
	store_be16(icmp + 4, (uint16_t)(INNER_WORLD_PORT + flow->id));
	store_le64(icmp + ICMP_BYTES, number);
	inner_world_send(flow->world, flow->route, side, packet, sizeof(packet), now);
}

/* ---- TCP -------------------------------------------------------------------------------------------------------- */

static void emit(const struct inner_tcp *tcp, size_t side, const uint8_t *packet, size_t len,
	struct mono now)
{
	const struct inner_flow *flow = tcp->user;

	inner_world_send(flow->world, flow->route, side, packet, len, now);
}

static void emit_0(void *ctx, const uint8_t *packet, size_t len, struct mono now)
{
	emit(&((struct inner_flow *)ctx)->ends[0], 0, packet, len, now);
}

static void emit_1(void *ctx, const uint8_t *packet, size_t len, struct mono now)
{
	emit(&((struct inner_flow *)ctx)->ends[1], 1, packet, len, now);
}

static void connect_ends(struct inner_flow *flow, uint16_t other_port)
{
	bool plain = flow->route == INNER_WORLD_PLAIN;

	for (size_t side = 0; side < 2; side++) {
		uint16_t own = (uint16_t)(INNER_WORLD_PORT + flow->id);
		struct inner_tcp_options options = {
			.control = flow->control,
			.ecn = flow->ecn,
			.mtu_bytes = plain ? PLAIN_MTU : flow->world->options.mtu_bytes,
			.window_bytes = WINDOW_BYTES,
			.src_port = side == 0 ? own : other_port,
			.dst_port = side == 0 ? other_port : own,
			.emit = side == 0 ? emit_0 : emit_1,
			.ctx = flow,
		};
		inner_world_address(flow->route, side, options.src);
		inner_world_address(flow->route, 1 - side, options.dst);
		inner_tcp_fini(&flow->ends[side]);
		inner_tcp_init(&flow->ends[side], &options);
		flow->ends[side].user = flow;
	}
}

static void on_request(struct inner_tcp *tcp, struct mono now)
{
	if (tcp->delivered_bytes == INNER_FLOW_WEB_ASK_BYTES && tcp->to_send == 0)
		inner_tcp_write(tcp, INNER_FLOW_WEB_BYTES, now);
}

static void on_response(struct inner_tcp *tcp, struct mono now)
{
	struct inner_flow *flow = tcp->user;

	if (tcp->delivered_bytes < INNER_FLOW_WEB_BYTES)
		return;
	end_sample(flow, flow->samples.count - 1, now);
	flow->next_at = mono_add_us(now, INNER_FLOW_WEB_PAUSE_US);
}

static void ask(struct inner_flow *flow, struct mono now)
{
	flow->next_at = MONO_NEVER;
	connect_ends(flow, (uint16_t)(PORT_WEB + flow->generation++ % 10000));
	begin_sample(&flow->samples, now);
	flow->ends[0].on_data = on_request;
	flow->ends[1].on_data = on_response;
	inner_tcp_open(&flow->ends[1], now);
	inner_tcp_write(&flow->ends[1], INNER_FLOW_WEB_ASK_BYTES, now);
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

static struct inner_flow *new_flow(
	struct inner_world *world, size_t route, enum inner_flow_kind kind)
{
	struct inner_flow *flow = calloc(1, sizeof(*flow));

	if (!flow || world->flow_count == INNER_WORLD_FLOWS)
		abort();
	flow->world = world;
	flow->kind = kind;
	flow->id = world->flow_count;
	flow->route = route;
	flow->next_at = world->now;
	flow->stop_at = MONO_NEVER;
	world->flows[world->flow_count++] = flow;
	return flow;
}

struct inner_flow *inner_flow_bulk(
	struct inner_world *world, size_t route, enum inner_tcp_control control, bool ecn)
{
	struct inner_flow *flow = new_flow(world, route, INNER_FLOW_BULK);

	flow->control = control;
	flow->ecn = ecn;
	connect_ends(flow, PORT_BULK);
	return flow;
}

struct inner_flow *inner_flow_add(
	struct inner_world *world, size_t route, enum inner_flow_kind kind)
{
	return new_flow(world, route, kind);
}

void inner_flow_free(struct inner_flow *flow)
{
	inner_tcp_fini(&flow->ends[0]);
	inner_tcp_fini(&flow->ends[1]);
	free(flow->samples.us);
	free(flow->samples.sent_at);
	free(flow);
}

uint64_t inner_flow_delivered(const struct inner_flow *flow)
{
	return flow->ends[1].delivered_bytes;
}

void inner_flow_input(
	struct inner_flow *flow, size_t side, const uint8_t *packet, size_t len, struct mono now)
{
	switch (flow->kind) {
	case INNER_FLOW_THIN:
		end_sample(flow, load_le64(packet + IP_BYTES + UDP_BYTES), now);
		return;
	case INNER_FLOW_PING:
		if (side == 1)
			send_ping(flow, 1, load_le64(packet + IP_BYTES + ICMP_BYTES), now);
		else
			end_sample(flow, load_le64(packet + IP_BYTES + ICMP_BYTES), now);
		return;
	case INNER_FLOW_BULK:
	case INNER_FLOW_WEB:
		/* A late packet of an earlier connection has no one to go to. */
		if (load_be16(packet + IP_BYTES + (side == 0 ? 0 : 2)) ==
			flow->ends[0].options.dst_port)
			inner_tcp_input(&flow->ends[side], packet, len, now);
		return;
	}
}

struct mono inner_flow_next_deadline(const struct inner_flow *flow)
{
	struct mono at = mono_before(flow->next_at, flow->stop_at) ? flow->next_at : MONO_NEVER;

	if (flow->ends[0].segments)
		at = mono_min(at, mono_min(inner_tcp_next_deadline(&flow->ends[0]),
					  inner_tcp_next_deadline(&flow->ends[1])));
	return at;
}

void inner_flow_on_deadline(struct inner_flow *flow, struct mono now)
{
	for (size_t side = 0; side < 2; side++)
		if (flow->ends[side].segments &&
			mono_due(inner_tcp_next_deadline(&flow->ends[side]), now))
			inner_tcp_on_deadline(&flow->ends[side], now);
	if (!mono_due(flow->next_at, now) || !mono_before(flow->next_at, flow->stop_at))
		return;
	switch (flow->kind) {
	case INNER_FLOW_BULK:
		flow->next_at = MONO_NEVER;
		inner_tcp_open(&flow->ends[0], now);
		inner_tcp_write(&flow->ends[0], UINT64_MAX / 2, now);
		return;
	case INNER_FLOW_THIN:
		send_thin(flow, now);
		return;
	case INNER_FLOW_PING:
		flow->next_at = mono_add_us(now, INNER_FLOW_PING_US);
		send_ping(flow, 0, begin_sample(&flow->samples, now), now);
		return;
	case INNER_FLOW_WEB:
		ask(flow, now);
		return;
	}
}
