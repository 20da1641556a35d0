/*
 * The observer's books. Every message of a run is unlike all others: its first two bytes are its number (one of a single byte
 * is its number), the rest a stretch of one random pattern that begins at a place of its own, so a piece that is wrong,
 * shifted or somebody else's is seen by comparing bytes. Charges are counted as late as the rules permit to return them:
 * what the observer calls charged must be charged.
 */
#include "tests/sim/path_model_watch.h"

#include "tests/sim/path_model_account.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PATTERN_BYTES = 1 << 18,
	PATTERN_STEP = 7919,
	FREED_US = 30000000, /* after that a sender may have freed a lane */
};

void *watch_grow(void *array, int count, int *cap, size_t entry_bytes)
{
	if (count < *cap)
		return array;
	*cap = *cap * 2 + 16;
	array = realloc(array, (size_t)*cap * entry_bytes);
	if (!array)
		abort();
	return array;
}

struct path_watch *watch_new(void)
{
	struct path_watch *watch = calloc(1, sizeof(*watch));
	uint64_t random = 1;

	if (!watch)
		abort();
	watch->pattern = malloc(PATTERN_BYTES);
	if (!watch->pattern)
		abort();
	for (int i = 0; i < PATTERN_BYTES; i++)
		watch->pattern[i] = (uint8_t)model_random(&random);
	return watch;
}

void watch_free(struct path_watch *watch)
{
	if (!watch)
		return;
	for (int s = 0; s < 2; s++) {
		struct watch_side *side = &watch->sides[s];
		for (int e = 0; e < ACCOUNT_EPOCHS; e++) {
			struct watch_half *half = &side->halves[e];
			for (int l = 0; l < half->lane_cap; l++) {
				free(half->lanes[l].items);
				free(half->lanes[l].messages);
			}
			free(half->lanes);
			free(half->items);
			free(half->dgrams);
			free(half->refs);
			free(half->news);
		}
		free(side->messages);
	}
	free(watch->pattern);
	free(watch);
}

void watch_begin(struct path_watch *watch, const struct watch_side_config config[2], bool trace)
{
	watch->trace = trace;
	watch->calm = false;
	watch->failed = false;
	for (unsigned s = 0; s < 2; s++) {
		struct watch_side *side = &watch->sides[s];
		int64_t deadline = config[s].bulk_deadline_us;
		side->config = config[s];
		side->epoch = 0;
		side->piece_max = config[s].piece_bytes;
		side->bulk_min_us = deadline > 0 ? deadline : 1000000;
		side->bulk_max_us = side->bulk_min_us;
		side->srtt_max_us = 0;
		side->refused_at = INT64_MIN / 2;
		side->message_count = 0;
		side->bytes_used = 0;
		for (int e = 0; e < ACCOUNT_EPOCHS; e++)
			side->halves[e].used = false;
	}
}

void watch_fail(struct path_watch *watch, const char *format, ...)
{
	va_list args;

	if (watch->failed)
		return;
	watch->failed = true;
	va_start(args, format);
	vsnprintf(watch->failure, sizeof(watch->failure), format, args);
	va_end(args);
	if (watch->trace)
		fprintf(stderr, "FAILED: %s\n", watch->failure);
}

const char *watch_failure(const struct path_watch *watch)
{
	return watch->failed ? watch->failure : NULL;
}

struct watch_totals *watch_totals(struct path_watch *watch)
{
	return &watch->totals;
}

struct watch_half *watch_half(struct path_watch *watch, unsigned side, uint32_t epoch)
{
	struct watch_half *half = &watch->sides[side].halves[epoch % ACCOUNT_EPOCHS];

	if (half->used && half->epoch == epoch)
		return half;
	struct watch_half kept = *half;
	*half = (struct watch_half){.epoch = epoch,
		.used = true,
		.origin = watch->sides[side].config.origin,
		.lanes = kept.lanes,
		.lane_cap = kept.lane_cap,
		.items = kept.items,
		.item_cap = kept.item_cap,
		.dgrams = kept.dgrams,
		.dgram_cap = kept.dgram_cap,
		.refs = kept.refs,
		.ref_cap = kept.ref_cap,
		.news = kept.news,
		.news_cap = kept.news_cap,
		.limit = watch->sides[1 - side].config.rx_credit_bytes,
		.must_report_since = INT64_MAX};
	return half;
}

/* ---- messages ------------------------------------------------------------------------------------------------------- */

static const uint8_t *pattern_of(const struct path_watch *watch, unsigned side, int message)
{
	uint32_t at = ((uint32_t)message * 2 + side) * PATTERN_STEP;

	return watch->pattern + at % (PATTERN_BYTES - WATCH_MESSAGE_MAX - 8);
}

const uint8_t *watch_next_message(struct path_watch *watch, unsigned side, size_t len)
{
	struct watch_side *s = &watch->sides[side];

	memcpy(watch->buf, pattern_of(watch, side, s->message_count), len);
	if (len == 1) {
		watch->buf[0] = (uint8_t)s->bytes_used;
	} else {
		watch->buf[0] = (uint8_t)s->message_count;
		watch->buf[1] = (uint8_t)(s->message_count >> 8);
	}
	return watch->buf;
}

int watch_message_of(const struct path_watch *watch, unsigned side, const uint8_t *body,
	size_t body_len, bool whole)
{
	const struct watch_side *s = &watch->sides[side];

	if (body_len == 1 && whole)
		return body[0] < s->bytes_used ? s->by_byte[body[0]] : -1;
	if (body_len < 2)
		return -1;
	int message = body[0] | body[1] << 8;
	return message < s->message_count && s->messages[message].len > 1 ? message : -1;
}

bool watch_content_is(const struct path_watch *watch, unsigned side, int message, uint32_t from,
	const uint8_t *body, size_t len)
{
	const struct watch_message *m = &watch->sides[side].messages[message];
	uint32_t skip = 0;

	if (from + len > m->len)
		return false;
	if (m->len == 1)
		return watch->sides[side].by_byte[body[0]] == message;
	if (from == 0) {
		if (body[0] != (uint8_t)message || (len > 1 && body[1] != message >> 8))
			return false;
		skip = len > 1 ? 2 : 1;
	}
	return memcmp(pattern_of(watch, side, message) + from + skip, body + skip, len - skip) == 0;
}

static int add_lane(struct path_watch *watch, struct watch_half *half, uint32_t conv, int previous)
{
	int old_cap = half->lane_cap;

	(void)watch;
	half->lanes =
		watch_grow(half->lanes, half->lane_count, &half->lane_cap, sizeof(*half->lanes));
	if (half->lane_cap > old_cap)
		memset(half->lanes + old_cap, 0,
			(size_t)(half->lane_cap - old_cap) * sizeof(*half->lanes));
	struct watch_lane *lane = &half->lanes[half->lane_count];
	*lane = (struct watch_lane){.conv = conv,
		.previous = previous,
		.items = lane->items,
		.items_cap = lane->items_cap,
		.messages = lane->messages,
		.message_cap = lane->message_cap,
		.una_out_at = INT64_MAX,
		.delivered = -1};
	return half->lane_count++;
}

int watch_find_lane(const struct watch_half *half, uint32_t conv)
{
	for (int l = half->lane_count; l-- > 0;)
		if (half->lanes[l].conv == conv)
			return l;
	return -1;
}

/* Whether nothing of a lane can be under way: a message that was never sent was given up, sooner or later. */
static bool all_settled(const struct path_watch *watch, unsigned side,
	const struct watch_lane *lane, struct mono now)
{
	const struct watch_side *s = &watch->sides[side];

	for (int i = lane->open; i < lane->message_count; i++) {
		const struct watch_message *m = &s->messages[lane->messages[i]];
		if (m->acked < m->pieces &&
			(m->sent > 0 || now.us - m->at_us <= watch_longest_us(s)))
			return false;
	}
	return true;
}

static void put_in_lane(struct path_watch *watch, unsigned side, struct watch_half *half,
	int message, struct mono now)
{
	struct watch_message *m = &watch->sides[side].messages[message];
	int at = watch_find_lane(half, m->flow);

	/* A lane that was freed in the meantime begins somewhere else. */
	if (at < 0 || (now.us - half->lanes[at].accepted_at >= FREED_US &&
			      all_settled(watch, side, &half->lanes[at], now)))
		at = add_lane(watch, half, m->flow, at);
	struct watch_lane *lane = &half->lanes[at];
	lane->accepted_at = now.us;
	lane->messages = watch_grow(
		lane->messages, lane->message_count, &lane->message_cap, sizeof(*lane->messages));
	while (lane->items_cap < lane->rel_next + m->pieces) {
		lane->items_cap = lane->items_cap * 2 + 16;
		lane->items = realloc(lane->items, lane->items_cap * sizeof(*lane->items));
		if (!lane->items)
			abort();
	}
	m->lane = at;
	m->order = lane->message_count;
	m->rel = lane->rel_next;
	for (uint32_t i = 0; i < m->pieces; i++)
		lane->items[lane->rel_next + i] = m->first_item + (int)i;
	lane->messages[lane->message_count++] = message;
	lane->rel_next += m->pieces;
}

static uint32_t piece_cost(uint32_t len)
{
	return (len + KCP_PATH_CHARGE_BYTES - 1) / KCP_PATH_CHARGE_BYTES * KCP_PATH_CHARGE_BYTES;
}

void watch_accepted(struct path_watch *watch, unsigned side, enum kcp_path_class class,
	uint32_t flow, size_t len, uint32_t head, uint32_t cut, bool ordered, struct mono now)
{
	struct watch_side *s = &watch->sides[side];
	struct watch_half *half = watch_current(watch, side);
	int message = s->message_count;
	uint32_t rest = (uint32_t)(len > head ? len - head : 0);
	uint32_t pieces = ordered ? 1 + (rest + cut - 1) / cut : 1;
	uint32_t cost = 0;

	s->messages = watch_grow(s->messages, message, &s->message_cap, sizeof(*s->messages));
	s->message_count++;
	if (len == 1)
		s->by_byte[s->bytes_used++] = message;
	if (ordered)
		cost = piece_cost((uint32_t)len - rest) + rest / cut * piece_cost(cut) +
		       piece_cost(rest % cut);
	s->messages[message] = (struct watch_message){.half_epoch = s->epoch,
		.class = class,
		.flow = flow,
		.len = (uint32_t)len,
		.head = head,
		.cut = cut,
		.pieces = pieces,
		.cost = cost,
		.at_us = now.us,
		.ordered = ordered,
		.calm = watch->calm,
		.lane = -1,
		.first_item = half->item_count};
	watch->totals.messages++;
	for (uint32_t i = 0; i < pieces; i++) {
		half->items = watch_grow(
			half->items, half->item_count, &half->item_cap, sizeof(*half->items));
		half->items[half->item_count++] =
			(struct watch_item){.message = message, .index = i};
	}
	if (watch->trace)
		fprintf(stderr,
			"%10.3f %c accepts message %d, %zu bytes, class %d, flow %u, %u pieces\n",
			(double)now.us / 1000, 'A' + (int)side, message, len, class, flow, pieces);
	if (!ordered)
		return;
	if (head == 0 || head > cut)
		watch_fail(watch, "message %d begins with a piece of %u bytes", message, head);
	if (pieces > KCP_PATH_PIECES_MAX)
		watch_fail(watch, "message %d was cut into %u pieces", message, pieces);
	uint64_t charged = watch_charged(watch, side, now);
	if (charged > 0 && charged + cost > half->limit)
		watch_fail(watch,
			"message %d of cost %u was accepted with %llu charged and a limit of %llu",
			message, cost, (unsigned long long)charged,
			(unsigned long long)half->limit);
	put_in_lane(watch, side, half, message, now);
	half->charged += cost;
}

void watch_settle(struct path_watch *watch, unsigned side, struct watch_half *half, int at)
{
	const struct watch_message *messages = watch->sides[side].messages;
	struct watch_lane *lane = &half->lanes[at];
	int passed = lane->open > lane->returned ? lane->open : lane->returned;
	bool clean = lane->dirty_end <= lane->base_acked;

	while (passed < lane->message_count &&
		messages[lane->messages[passed]].acked == messages[lane->messages[passed]].pieces)
		passed++;
	while (lane->returned < passed) {
		const struct watch_message *m = &messages[lane->messages[lane->returned]];
		if (!clean && m->rel + m->pieces > lane->base_acked)
			return;
		half->charged -= m->cost;
		lane->returned++;
	}
}

uint64_t watch_charged(const struct path_watch *watch, unsigned side, struct mono now)
{
	const struct watch_side *s = &watch->sides[side];
	const struct watch_half *half = &s->halves[s->epoch % ACCOUNT_EPOCHS];

	if (!half->used || half->epoch != s->epoch)
		return 0;
	uint64_t charged = half->charged;
	for (int l = 0; charged > 0 && l < half->lane_count; l++) {
		const struct watch_lane *lane = &half->lanes[l];
		bool freed = now.us - lane->accepted_at >= FREED_US &&
			     all_settled(watch, side, lane, now);
		for (int i = lane->returned; i < lane->message_count; i++) {
			const struct watch_message *m = &s->messages[lane->messages[i]];
			if (freed)
				charged -= m->cost; /* what was withheld goes with the lane */
			else if (m->sent == 0 &&
				 (m->too_long || m->at_us + watch_shortest_us(s) <= now.us))
				charged -= m->cost; /* given up, perhaps, and nobody ever saw it */
		}
	}
	return charged;
}

int64_t watch_shortest_us(const struct watch_side *side)
{
	return side->bulk_min_us < 150000 ? side->bulk_min_us : 150000;
}

void watch_charge_settled(struct path_watch *watch, unsigned side)
{
	watch_current(watch, side)->inexact = false;
}

int64_t watch_longest_us(const struct watch_side *side)
{
	int64_t longest = side->bulk_max_us;

	if (longest < 4 * side->srtt_max_us)
		longest = 4 * side->srtt_max_us;
	return longest < 1000000 ? 1000000 : longest;
}

bool watch_charge_exact(const struct path_watch *watch, unsigned side, struct mono now)
{
	const struct watch_side *s = &watch->sides[side];
	const struct watch_half *half = &s->halves[s->epoch % ACCOUNT_EPOCHS];

	if (!half->used || half->epoch != s->epoch)
		return true;
	if (half->inexact)
		return false;
	for (int l = 0; l < half->lane_count; l++) {
		const struct watch_lane *lane = &half->lanes[l];
		for (int i = lane->returned; i < lane->message_count; i++)
			if (s->messages[lane->messages[i]].at_us + watch_shortest_us(s) <= now.us)
				return false;
	}
	return true;
}

/* ---- settings ------------------------------------------------------------------------------------------------------- */

void watch_restart(struct path_watch *watch, unsigned side, uint32_t epoch, struct mono now)
{
	if (watch->trace)
		fprintf(stderr, "%10.3f %c begins instance %u\n", (double)now.us / 1000,
			'A' + (int)side, epoch);
	watch->sides[side].epoch = epoch;
}

void watch_set_mtu(struct path_watch *watch, unsigned side, uint32_t payload_bytes,
	uint32_t piece_bytes, bool final)
{
	struct watch_side *s = &watch->sides[side];
	struct watch_half *half = watch_current(watch, side);

	s->config.payload_bytes = payload_bytes;
	s->config.piece_bytes = piece_bytes;
	if (piece_bytes > s->piece_max)
		s->piece_max = piece_bytes;
	if (!final)
		return;
	for (int i = 0; i < s->message_count; i++) {
		struct watch_message *m = &s->messages[i];
		uint32_t longest = m->pieces > 1 ? m->cut : m->len;
		if (m->half_epoch == half->epoch && m->acked < m->pieces && longest > piece_bytes) {
			m->too_long = true;
			half->inexact = true;
		}
	}
}

void watch_set_bulk_deadline(struct path_watch *watch, unsigned side, int64_t deadline_us)
{
	struct watch_side *s = &watch->sides[side];
	int64_t shortest = deadline_us > 0 ? deadline_us : 1000000;

	s->config.bulk_deadline_us = deadline_us;
	if (shortest < s->bulk_min_us)
		s->bulk_min_us = shortest;
	if (shortest > s->bulk_max_us)
		s->bulk_max_us = shortest;
}

void watch_refused(struct path_watch *watch, unsigned side, struct mono now)
{
	watch->sides[side].refused_at = now.us;
}

void watch_calm(struct path_watch *watch)
{
	watch->calm = true;
}
