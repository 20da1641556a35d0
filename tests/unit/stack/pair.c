#include "pair.h"

#include "core/endian.h"
#include "crypto/crc32.h"
#include "kcp/kcp_segment.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t key[KCPVPN_KEY_BYTES] = "a key that only these tests use";

void pair_random_fill(void *ctx, void *buf, size_t len)
{
	uint64_t *state = ctx;
	uint8_t *at = buf;

	for (size_t i = 0; i < len; i++) {
		*state = *state * 6364136223846793005u + 1442695040888963407u;
		at[i] = (uint8_t)(*state >> 56);
	}
}

struct kcpvpn_config pair_config(void)
{
	struct kcpvpn_config config;

	kcpvpn_config_init(&config);
	cr_assert_eq(kcpvpn_config_mode(&config, "fast3"), 0);
	config.key = key;
	config.key_len = sizeof(key);
	config.stream = false;
	return config;
}

struct kcpvpn_endpoint pair_endpoint(uint8_t host)
{
	return (struct kcpvpn_endpoint){.address = {192, 0, 2, host}, .port = 29900, .family = 4};
}

static void port_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct pair_end *end = ctx;

	cr_assert(count >= 1 && count <= KCPVPN_BATCH_MAX);
	for (size_t i = 0; i < count; i++) {
		end->datagrams++;
		end->bytes += batch[i].len + 28;
		end->sent_tos[batch[i].tos]++;
		cr_assert(batch[i].len > 0 && batch[i].len <= KCPVPN_MTU_MAX_BYTES);
		cr_assert(end->out_count < PAIR_PENDING_MAX);
		struct pair_datagram *d = &end->out[end->out_count++];
		d->to = batch[i].remote;
		d->len = batch[i].len;
		memcpy(d->bytes, batch[i].data, d->len);
	}
}

static void end_open(
	struct pair_end *end, struct pair *pair, uint8_t host, const struct kcpvpn_config *config)
{
	*end = (struct pair_end){
		.pair = pair,
		.port = {.send = port_send, .ctx = end},
		.address = pair_endpoint(host),
		.random = host,
		.out = calloc(PAIR_PENDING_MAX, sizeof(struct pair_datagram)),
		.spare = calloc(PAIR_PENDING_MAX, sizeof(struct pair_datagram)),
	};
	cr_assert(end->out != NULL && end->spare != NULL);
	cr_assert_eq(
		kcpvpn_node_new(config, pair_random_fill, &end->random, pair->now_us, &end->node),
		0);
}

void pair_open(struct pair *pair, const struct kcpvpn_config *a, const struct kcpvpn_config *b)
{
	*pair = (struct pair){.now_us = 1000000000};
	end_open(&pair->a, pair, 1, a);
	end_open(&pair->b, pair, 2, b ? b : a);
	pair->b.accepts = true;
}

void pair_close(struct pair *pair)
{
	kcpvpn_node_free(pair->a.node);
	kcpvpn_node_free(pair->b.node);
	free(pair->a.out);
	free(pair->a.spare);
	free(pair->b.out);
	free(pair->b.spare);
}

void pair_dial(struct pair *pair, uint32_t number)
{
	cr_assert_eq(kcpvpn_node_dial(pair->a.node, &pair->a.port, &pair->b.address, number,
			     pair->now_us, &pair->a.conv),
		0);
}

void pair_take_events(struct pair_end *end)
{
	struct kcpvpn_conv *conv;
	unsigned events;

	while ((conv = kcpvpn_node_next_event(end->node, &events)) != NULL) {
		end->events |= events;
		if (events & KCPVPN_EVENT_ACCEPTED)
			end->conv = conv;
		if (events & KCPVPN_EVENT_CLOSED && !end->keep_closed) {
			end->closed++;
			end->closed_reason = kcpvpn_conv_close_reason(conv);
			cr_assert(end->closed_reason != KCPVPN_OPEN);
			if (end->conv == conv)
				end->conv = NULL;
			kcpvpn_conv_close(conv, end->pair->now_us);
		}
	}
}

unsigned pair_events(struct pair_end *end)
{
	unsigned events = end->events;

	end->events = 0;
	return events;
}

/* Hands over what `from` has sent. @return whether there was anything */
static bool carry(struct pair *pair, struct pair_end *from, struct pair_end *to)
{
	size_t count = from->out_count;
	struct pair_datagram *out = from->out;

	if (count == 0)
		return false;
	/* what `to` answers at once must not land in the array that is being read */
	from->out = from->spare;
	from->spare = out;
	from->out_count = 0;
	for (size_t i = 0; i < count; i++) {
		if (!kcpvpn_endpoint_equal(&out[i].to, &to->address))
			continue;
		if (!pair->filter || pair->filter(from, out[i].bytes, out[i].len))
			pair_inject(to, &from->address, out[i].bytes, out[i].len);
	}
	return true;
}

void pair_inject(
	struct pair_end *end, const struct kcpvpn_endpoint *from, const void *bytes, size_t len)
{
	/* of exactly this size, so that a sanitizer sees a read past the end */
	uint8_t *copy = malloc(len ? len : 1);
	struct kcpvpn_datagram d = {
		.remote = *from, .local = end->address, .data = copy, .len = len};

	cr_assert(copy != NULL);
	if (len > 0)
		memcpy(copy, bytes, len);
	kcpvpn_node_input(end->node, &end->port, end->accepts, &d, 1, end->pair->now_us);
	free(copy);
	pair_take_events(end);
}

void pair_exchange(struct pair *pair)
{
	bool moved;
	int rounds = 0;

	do {
		pair_take_events(&pair->a);
		pair_take_events(&pair->b);
		kcpvpn_node_flush(pair->a.node, pair->now_us);
		kcpvpn_node_flush(pair->b.node, pair->now_us);
		pair_take_events(&pair->a);
		pair_take_events(&pair->b);
		moved = carry(pair, &pair->a, &pair->b);
		moved |= carry(pair, &pair->b, &pair->a);
		cr_assert(++rounds < 10000, "the ends talk for ever without time passing");
	} while (moved);
}

void pair_run(struct pair *pair, int64_t us)
{
	int64_t until = pair->now_us + us;

	pair_exchange(pair);
	for (;;) {
		int64_t a = kcpvpn_node_next_deadline(pair->a.node);
		int64_t b = kcpvpn_node_next_deadline(pair->b.node);
		int64_t next = a < b ? a : b;
		if (next > until)
			break;
		if (next > pair->now_us)
			pair->now_us = next;
		pair->wakes++;
		kcpvpn_node_on_deadline(pair->a.node, pair->now_us);
		kcpvpn_node_on_deadline(pair->b.node, pair->now_us);
		pair_exchange(pair);
	}
	pair->now_us = until;
}

bool pair_run_until(struct pair *pair, bool (*holds)(struct pair *pair))
{
	int64_t give_up = pair->now_us + 60000000;

	pair_exchange(pair);
	while (!holds(pair)) {
		if (pair->now_us >= give_up)
			return false;
		pair_run(pair, 1000);
	}
	return true;
}

struct kcpvpn_stats pair_stats(const struct pair_end *end)
{
	struct kcpvpn_stats stats;

	kcpvpn_node_stats(end->node, &stats);
	return stats;
}

struct kcpvpn_conv_stats pair_conv_stats(const struct pair_end *end)
{
	struct kcpvpn_conv_stats stats;

	kcpvpn_conv_stats(end->conv, &stats);
	return stats;
}

uint8_t pair_pattern(uint8_t seed, size_t i)
{
	return (uint8_t)(seed + 7 * i + i / 251);
}

int pair_send(struct pair_end *end, uint8_t seed, size_t len)
{
	uint8_t *data = malloc(len ? len : 1);

	cr_assert(data != NULL);
	for (size_t i = 0; i < len; i++)
		data[i] = pair_pattern(seed, i);
	int error = kcpvpn_conv_send(end->conv, data, len, end->pair->now_us);
	free(data);
	return error;
}

void pair_expect(struct pair_end *end, uint8_t seed, size_t len)
{
	static uint8_t buf[400000];
	size_t got = 0;
	int error = kcpvpn_conv_recv(end->conv, buf, sizeof(buf), end->pair->now_us, &got);

	cr_assert_eq(error, 0, "message %u: %d", (unsigned)seed, error);
	cr_assert_eq(got, len, "message %u has %zu bytes, not %zu", (unsigned)seed, got, len);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(
			buf[i], pair_pattern(seed, i), "message %u, byte %zu", (unsigned)seed, i);
}

/* ---- crafted datagrams ------------------------------------------------------------------------------------------- */

void craft_add_segment(struct craft *craft, const struct craft_segment *segment)
{
	struct kcp_segment s = {
		.conv = segment->conv,
		.cmd = segment->cmd,
		.frg = segment->frg,
		.wnd = segment->wnd,
		.ts = segment->ts,
		.sn = segment->sn,
		.una = segment->una,
		.len = segment->len,
	};
	uint8_t *body = kcp_segment_write(craft->bytes + craft->len, &s);

	memset(body, 0, segment->body);
	craft->len += KCP_OVERHEAD_BYTES + segment->body;
	cr_assert(craft->len <= CRAFT_MAX);
}

static void make_room(struct craft *craft, size_t bytes)
{
	cr_assert(craft->len + bytes <= CRAFT_MAX);
	memmove(craft->bytes + bytes, craft->bytes, craft->len);
	memset(craft->bytes, 0, bytes);
	craft->len += bytes;
}

void craft_wrap_fec(struct craft *craft, uint32_t seqid, uint16_t type, int size)
{
	uint16_t right = (uint16_t)(craft->len + 2);

	make_room(craft, 8);
	store_le32(craft->bytes, seqid);
	store_le16(craft->bytes + 4, type);
	store_le16(craft->bytes + 6, size < 0 ? right : (uint16_t)size);
}

void craft_wrap_none(struct craft *craft)
{
	uint32_t crc = crc32_of(craft->bytes, craft->len);

	make_room(craft, 20);
	store_le32(craft->bytes + 16, crc);
}
