/*
 * Two nodes that talk over a network whose every decision is a byte of the input: what is lost, doubled, delayed or
 * damaged. What arrives must be what was sent, once and in order; and when the input ends the network is perfect, and all
 * that was sent must arrive.
 *
 * Damage is one byte, which a CRC-32 always finds. Under cipher "null" there is none, and so no damage.
 */
#include "core/endian.h"
#include "core/wire.h"
#include "kcpvpn/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	FLYING_MAX = 1024,
	MESSAGES = 16,
	MESSAGE_BYTES_MAX = 4000,
	STEPS_MAX = 60000,
	DELAY_US = 5000,
};

struct end {
	struct net *net;
	struct kcpvpn_node *node;
	struct kcpvpn_udp_port port;
	struct kcpvpn_endpoint address;
	struct kcpvpn_conv *conv;
	bool stream, blocked;
	uint32_t sent, received; /* messages */
	uint32_t part;		 /* stream: bytes of the next message */
};

struct flight {
	int64_t at_us;
	uint64_t order;
	struct end *to;
	size_t len;
	uint8_t *bytes;
};

struct net {
	struct wire tape;
	struct end a, b;
	int64_t now_us;
	bool may_damage;
	struct flight flying[FLYING_MAX];
	size_t count;
	uint64_t order;
};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void random_fill(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 0x33, len);
}

/* ---- network ----------------------------------------------------------------------------------------------------- */

static void fly(struct net *net, struct end *to, const uint8_t *bytes, size_t len, int64_t delay_us)
{
	if (net->count == FLYING_MAX)
		return; /* lost */
	struct flight *f = &net->flying[net->count++];
	*f = (struct flight){.at_us = net->now_us + delay_us,
		.order = net->order++,
		.to = to,
		.len = len,
		.bytes = malloc(len)};
	check(f->bytes != NULL);
	memcpy(f->bytes, bytes, len);
}

static uint8_t decision(struct net *net)
{
	return wire_left(&net->tape) > 0 ? wire_u8(&net->tape) : 0;
}

static void port_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct end *from = ctx;
	struct net *net = from->net;
	struct end *to = from == &net->a ? &net->b : &net->a;

	for (size_t i = 0; i < count; i++) {
		uint8_t what = decision(net);
		check(kcpvpn_endpoint_equal(&batch[i].remote, &to->address));
		if (what < 128) {
			fly(net, to, batch[i].data, batch[i].len, DELAY_US);
		} else if (what < 192) {
			continue; /* lost */
		} else if (what < 208) {
			fly(net, to, batch[i].data, batch[i].len, DELAY_US);
			fly(net, to, batch[i].data, batch[i].len, DELAY_US * (what & 15));
		} else if (what < 240) {
			fly(net, to, batch[i].data, batch[i].len, DELAY_US * (what & 31));
		} else if (net->may_damage) {
			fly(net, to, batch[i].data, batch[i].len, DELAY_US);
			if (net->count > 0) {
				struct flight *f = &net->flying[net->count - 1];
				f->bytes[decision(net) * 7u % f->len] ^= (uint8_t)(what | 1);
			}
		}
	}
}

static void arrive(struct net *net)
{
	for (;;) {
		struct flight *first = NULL;
		for (size_t i = 0; i < net->count; i++) {
			struct flight *f = &net->flying[i];
			if (f->at_us <= net->now_us &&
				(!first || f->at_us < first->at_us ||
					(f->at_us == first->at_us && f->order < first->order)))
				first = f;
		}
		if (!first)
			return;
		struct flight f = *first;
		*first = net->flying[--net->count];
		struct end *from = f.to == &net->a ? &net->b : &net->a;
		struct kcpvpn_datagram d = {.remote = from->address,
			.local = f.to->address,
			.data = f.bytes,
			.len = f.len};
		kcpvpn_node_input(f.to->node, &f.to->port, f.to == &net->b, &d, 1, net->now_us);
		free(f.bytes);
	}
}

/* ---- programs ---------------------------------------------------------------------------------------------------- */

static uint32_t message(const struct end *from, uint32_t i, uint8_t *bytes)
{
	uint32_t seed = (i + 1) * 2654435761u ^ (from == &from->net->a ? 0 : 0x9e3779b9u);
	uint32_t len = 1 + seed % (i % 5 == 0 ? MESSAGE_BYTES_MAX : 100);

	for (uint32_t k = 0; k < len; k++)
		bytes[k] = (uint8_t)(seed >> (k % 4 * 8)) ^ (uint8_t)k;
	return len;
}

static void program_send(struct end *end)
{
	uint8_t bytes[MESSAGE_BYTES_MAX];

	while (end->conv && !end->blocked && end->sent < MESSAGES) {
		uint32_t len = message(end, end->sent, bytes);
		int error = kcpvpn_conv_send(end->conv, bytes, len, end->net->now_us);
		if (error == -EAGAIN)
			end->blocked = true;
		else
			check(error == 0);
		end->sent += error == 0;
		/* a few at a time, so that there is a conversation and not only a burst */
		if (end->sent % 4 == 0)
			return;
	}
}

static void compare(struct end *end, const uint8_t *got, size_t len)
{
	struct end *from = end == &end->net->a ? &end->net->b : &end->net->a;
	uint8_t want[MESSAGE_BYTES_MAX];

	while (len > 0) {
		check(end->received < from->sent);
		uint32_t want_len = message(from, end->received, want);
		size_t some = want_len - end->part < len ? want_len - end->part : len;
		check(memcmp(got, want + end->part, some) == 0);
		check(end->stream || (end->part == 0 && len == want_len));
		end->part += (uint32_t)some;
		got += some;
		len -= some;
		if (end->part == want_len) {
			end->part = 0;
			end->received++;
		}
	}
}

static void events(struct end *end)
{
	uint8_t bytes[MESSAGE_BYTES_MAX];
	struct kcpvpn_conv *conv;
	unsigned what;
	size_t len;

	while ((conv = kcpvpn_node_next_event(end->node, &what)) != NULL) {
		check(!(what & KCPVPN_EVENT_CLOSED));
		if (what & KCPVPN_EVENT_ACCEPTED) {
			check(end->conv == NULL);
			end->conv = conv;
		}
		check(end->conv == conv);
		if (what & KCPVPN_EVENT_WRITABLE)
			end->blocked = false;
		if (what & KCPVPN_EVENT_READABLE)
			while (kcpvpn_conv_recv(
				       conv, bytes, sizeof(bytes), end->net->now_us, &len) == 0)
				compare(end, bytes, len);
	}
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void end_open(struct net *net, struct end *end, uint8_t host, uint8_t flags, uint8_t more,
	const char *crypt, bool stream)
{
	static const uint8_t codes[][2] = {{0, 0}, {2, 1}, {10, 3}, {1, 1}};
	static const char *const modes[] = {"normal", "fast", "fast2", "fast3"};
	struct kcpvpn_config config;

	kcpvpn_config_init(&config);
	check(kcpvpn_config_mode(&config, modes[flags >> 2 & 3]) == 0);
	config.crypt = crypt;
	config.data_shards = codes[flags & 3][0];
	config.parity_shards = codes[flags & 3][1];
	config.profile = flags & 16 ? KCPVPN_PROFILE_5_6_72 : KCPVPN_PROFILE_5_6_1;
	config.ack_no_delay = flags & 32;
	config.measured_window = flags & 64;
	config.no_congestion_window = !(flags & 128);
	config.mtu_bytes = more & 1 ? KCPVPN_MTU_MIN_BYTES + 200 : 1350;
	config.snd_wnd = more & 2 ? 8 : 256;
	config.rcv_wnd = more & 4 ? 32 : 256;
	config.send_queue_segments = more & 8 ? 40 : 0;
	config.stream = stream;
	*end = (struct end){.net = net,
		.port = {port_send, end},
		.address = {.address = {10, 0, 0, host}, .port = 1, .family = 4},
		.stream = stream};
	check(kcpvpn_node_new(&config, random_fill, NULL, net->now_us, &end->node) == 0);
}

static bool done(const struct net *net)
{
	return net->b.conv && net->a.sent == MESSAGES && net->b.sent == MESSAGES &&
	       net->a.received == MESSAGES && net->b.received == MESSAGES &&
	       kcpvpn_conv_drained(net->a.conv) && kcpvpn_conv_drained(net->b.conv);
}

static int64_t next_instant(const struct net *net)
{
	int64_t a = kcpvpn_node_next_deadline(net->a.node);
	int64_t b = kcpvpn_node_next_deadline(net->b.node);
	int64_t next = a < b ? a : b;

	for (size_t i = 0; i < net->count; i++)
		next = net->flying[i].at_us < next ? net->flying[i].at_us : next;
	return next;
}

static void instant(struct net *net)
{
	kcpvpn_node_on_deadline(net->a.node, net->now_us);
	kcpvpn_node_on_deadline(net->b.node, net->now_us);
	arrive(net);
	events(&net->a);
	events(&net->b);
	program_send(&net->a);
	program_send(&net->b);
	kcpvpn_node_flush(net->a.node, net->now_us);
	kcpvpn_node_flush(net->b.node, net->now_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct net storage;
	struct net *net = &storage;
	uint8_t head[5] = {0};

	*net = (struct net){.tape = wire_of(data, len), .now_us = 1000000};
	for (size_t i = 0; i < sizeof(head); i++)
		head[i] = decision(net);
	const char *crypt = head[4] & 1 ? "none" : "null";
	net->may_damage = head[4] & 1;
	end_open(net, &net->a, 1, head[0], head[1], crypt, head[4] & 2);
	end_open(net, &net->b, 2, head[2], head[3], crypt, head[4] & 2);
	check(kcpvpn_node_dial(net->a.node, &net->a.port, &net->b.address, 7, net->now_us,
		      &net->a.conv) == 0);
	/* the time between resends grows by a constant, so n losses of one segment take n x n / 2 of it */
	int64_t tape = (int64_t)len + 30;
	int64_t limit = net->now_us + tape * tape * 1000000;
	for (int steps = 0; !done(net); steps++) {
		check(steps < STEPS_MAX && net->now_us < limit);
		instant(net);
		int64_t next = next_instant(net);
		/* with nothing on its way and nothing due, the programs go on */
		net->now_us = next == KCPVPN_NEVER ? net->now_us + DELAY_US
			      : next > net->now_us ? next
						   : net->now_us;
	}
	for (size_t i = 0; i < net->count; i++)
		free(net->flying[i].bytes);
	kcpvpn_node_free(net->a.node);
	kcpvpn_node_free(net->b.node);
	return 0;
}
