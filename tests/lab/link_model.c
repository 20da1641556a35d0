/*
 * A packet passes three places. The queue is a list whose head is being sent: `sent_at_ns` says when that is done,
 * and the next one starts at that very instant, however late the caller asks. What has been sent is judged (outage,
 * burst, random) and then either waits to be handed back as lost or gets an instant in the delay line, a binary heap.
 *
 * Everything is worked out lazily: each call first brings the link up to `now`. So departures depend on when packets
 * came in and on changes of the configuration, never on how often the caller looked.
 *
 * Time is nanoseconds inside: at 500 Mb/s a packet takes 22.4 us, and rounding that to microseconds would be a rate
 * that is 2 % wrong. What is left over by the division is carried to the next packet.
 *
 * Packets in order leave no earlier than the one before (`order_floor_ns`): jitter alone does not reorder, because
 * real queues do not. A late packet does not move the floor, so those behind overtake it.
 *
 * Sources: E. N. Gilbert, "Capacity of a burst-noise channel", 1960; the generator is SplitMix64 (Steele, Lea,
 * Flood 2014); exponential variates by comparisons alone, after J. von Neumann, 1951, so that results do not depend
 * on the C library's logarithm.
 */
#include "tests/lab/link_model.h"

#include <stdlib.h>
#include <string.h>

#define FAR_NS (INT64_MAX / 4)

struct link_flight {
	int64_t at_ns;
	uint64_t entry;
	struct link_packet *packet;
	uint64_t entropy;
	bool corrupt;
};

static int64_t ns_of(struct mono t)
{
	if (t.us > FAR_NS / 1000)
		return FAR_NS;
	return t.us * 1000;
}

static int64_t add_ns(int64_t a, int64_t b)
{
	int64_t sum = a + b; /* both are within FAR_NS */
	return sum > FAR_NS ? FAR_NS : sum;
}

/* ---- chance ---------------------------------------------------------------------------------------------------- */

static uint64_t draw(struct link_model *link, enum link_chance kind)
{
	uint64_t z = (link->chance[kind] += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Evenly in 0 .. bound - 1. */
static uint64_t draw_below(struct link_model *link, enum link_chance kind, uint64_t bound)
{
	return (uint64_t)(((unsigned __int128)draw(link, kind) * bound) >> 64);
}

/* Always draws, so that a stream stays in step with the packets whatever the probability is. */
static bool happens(struct link_model *link, enum link_chance kind, uint32_t ppm)
{
	return draw_below(link, kind, LINK_PPM) < ppm;
}

/* Exponentially distributed with this mean: runs of falling uniform numbers end after an odd count with the right
 * probability; each failed run adds one whole mean. */
static int64_t draw_exponential(struct link_model *link, enum link_chance kind, int64_t mean_ns)
{
	for (int64_t whole = 0;; whole++) {
		uint64_t first = draw(link, kind), last = first;
		unsigned run = 1;
		for (;;) {
			uint64_t next = draw(link, kind);
			if (next >= last)
				break;
			last = next;
			run++;
		}
		if (run % 2 == 1) {
			uint64_t part =
				(uint64_t)(((unsigned __int128)first * (uint64_t)mean_ns) >> 64);
			return whole * mean_ns + (int64_t)part;
		}
	}
}

/* ---- the delay line: a heap by (instant, entry) ------------------------------------------------------------------ */

static bool flight_before(const struct link_flight *a, const struct link_flight *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->entry < b->entry;
}

static void flight_add(struct link_model *link, struct link_flight flight)
{
	if (link->flight_count == link->flight_room) {
		size_t room = link->flight_room ? link->flight_room * 2 : 256;
		struct link_flight *grown = realloc(link->flights, room * sizeof(*grown));
		if (!grown)
			abort(); /* an emulator that silently loses packets would lie */
		link->flights = grown;
		link->flight_room = room;
	}
	flight.entry = link->next_entry++;
	size_t i = link->flight_count++;
	while (i > 0 && flight_before(&flight, &link->flights[(i - 1) / 2])) {
		link->flights[i] = link->flights[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	link->flights[i] = flight;
}

static struct link_flight flight_take(struct link_model *link)
{
	struct link_flight first = link->flights[0];
	struct link_flight moved = link->flights[--link->flight_count];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= link->flight_count)
			break;
		if (child + 1 < link->flight_count &&
			flight_before(&link->flights[child + 1], &link->flights[child]))
			child++;
		if (!flight_before(&link->flights[child], &moved))
			break;
		link->flights[i] = link->flights[child];
		i = child;
	}
	if (link->flight_count > 0)
		link->flights[i] = moved;
	return first;
}

/* ---- losses ------------------------------------------------------------------------------------------------------ */

static int64_t burst_bad_ns(const struct link_config *config)
{
	return config->burst_us * 1000;
}

/* Mean length of the good state, so that bad / (bad + good) is the loss that was asked for. */
static int64_t burst_good_ns(const struct link_config *config)
{
	return burst_bad_ns(config) * (LINK_PPM - config->burst_ppm) / config->burst_ppm;
}

/* Puts the two-state process into its long-run distribution at `at_ns`. Time lengths have no memory. */
static void burst_restart(struct link_model *link, int64_t at_ns)
{
	const struct link_config *config = &link->config;

	link->burst_bad = happens(link, LINK_CHANCE_BURST, config->burst_ppm);
	link->burst_switch_ns = FAR_NS;
	if (config->burst_ppm > 0 && config->burst_us > 0) {
		int64_t mean = link->burst_bad ? burst_bad_ns(config) : burst_good_ns(config);
		link->burst_switch_ns =
			add_ns(at_ns, draw_exponential(link, LINK_CHANCE_BURST, mean));
	}
}

static bool burst_loses_by_time(struct link_model *link, int64_t at_ns)
{
	const struct link_config *config = &link->config;
	int64_t bad = burst_bad_ns(config), good = burst_good_ns(config);

	if (at_ns - link->burst_switch_ns > 1000 * (bad + good))
		burst_restart(link, at_ns); /* nobody saw what happened in between */
	while (link->burst_switch_ns <= at_ns) {
		link->burst_bad = !link->burst_bad;
		int64_t mean = link->burst_bad ? bad : good;
		link->burst_switch_ns = add_ns(
			link->burst_switch_ns, 1 + draw_exponential(link, LINK_CHANCE_BURST, mean));
	}
	return link->burst_bad;
}

/* The chain moves before each packet. A burst ends with probability 1/L; it begins often enough for the mean. */
static bool burst_loses_by_packet(struct link_model *link)
{
	const struct link_config *config = &link->config;
	uint64_t dice = draw_below(link, LINK_CHANCE_BURST, (uint64_t)1 << 32);
	uint64_t length = config->burst_packets;

	if (link->burst_bad)
		link->burst_bad = dice >= ((uint64_t)1 << 32) / length;
	else
		link->burst_bad = dice < ((uint64_t)config->burst_ppm << 32) /
						 (length * (LINK_PPM - config->burst_ppm));
	return link->burst_bad;
}

static bool is_lost(struct link_model *link, int64_t at_ns)
{
	const struct link_config *config = &link->config;
	bool random = happens(link, LINK_CHANCE_LOSS, config->loss_ppm);
	bool burst = false;

	if (config->burst_ppm > 0)
		burst = config->burst_us > 0 ? burst_loses_by_time(link, at_ns)
					     : burst_loses_by_packet(link);
	if (at_ns < link->outage_until_ns)
		link->stats.lost_outage++;
	else if (burst)
		link->stats.lost_burst++;
	else if (random)
		link->stats.lost_random++;
	else
		return false;
	return true;
}

/* ---- the bottleneck ---------------------------------------------------------------------------------------------- */

/* How long the bottleneck takes for so many bytes, with what the last division left over. */
static int64_t send_time_ns(struct link_model *link, uint32_t bytes)
{
	if (link->config.rate_bps == 0)
		return 0;
	unsigned __int128 work = (unsigned __int128)bytes * 8 * 1000000000u + link->rate_remainder;
	link->rate_remainder = (uint64_t)(work % link->config.rate_bps);
	unsigned __int128 ns = work / link->config.rate_bps;
	return ns > FAR_NS ? FAR_NS : (int64_t)ns;
}

static struct link_packet *queue_head(const struct link_model *link)
{
	return list_empty(&link->queue) ? NULL
					: list_entry(link->queue.next, struct link_packet, node);
}

/* The packet has left the bottleneck at `at_ns`: it is lost, or flies. */
static void packet_sent(struct link_model *link, struct link_packet *packet, int64_t at_ns)
{
	const struct link_config *config = &link->config;

	if (is_lost(link, at_ns)) {
		packet->copies = 0;
		list_add_tail(&link->lost, &packet->node);
		return;
	}
	int64_t jitter_ns = config->jitter_us * 1000;
	uint64_t spread = draw_below(link, LINK_CHANCE_JITTER, 2 * (uint64_t)jitter_ns + 1);
	int64_t delay = config->delay_us * 1000 - jitter_ns + (int64_t)spread;
	int64_t arrives = add_ns(at_ns, delay > 0 ? delay : 0);

	if (arrives < link->order_floor_ns)
		arrives = link->order_floor_ns;
	if (happens(link, LINK_CHANCE_REORDER, config->reorder_ppm)) {
		int64_t late = config->reorder_us ? config->reorder_us : LINK_LATE_DEFAULT_US;
		arrives = add_ns(arrives, late * 1000);
	} else {
		link->order_floor_ns = arrives;
	}
	bool twice = happens(link, LINK_CHANCE_DUPLICATE, config->duplicate_ppm);
	struct link_flight flight = {.at_ns = arrives, .packet = packet};
	packet->copies = twice ? 2 : 1;
	link->stats.duplicated += twice;
	for (uint32_t i = 0; i < packet->copies; i++) {
		flight.corrupt = happens(link, LINK_CHANCE_CORRUPT, config->corrupt_ppm);
		flight.entropy = draw(link, LINK_CHANCE_CORRUPT);
		flight_add(link, flight);
	}
}

/* Works out all that the bottleneck has sent by `to_ns`. */
static void advance(struct link_model *link, int64_t to_ns)
{
	struct link_packet *packet;

	if (to_ns < link->now_ns)
		return;
	while ((packet = queue_head(link)) != NULL && link->sent_at_ns <= to_ns) {
		list_remove(&packet->node);
		packet_sent(link, packet, link->sent_at_ns);
		packet = queue_head(link);
		if (packet) {
			link->stats.queue_bytes -= packet->len;
			link->sent_at_ns =
				add_ns(link->sent_at_ns, send_time_ns(link, packet->len));
		}
	}
	link->now_ns = to_ns;
}

bool link_model_push(struct link_model *link, struct link_packet *packet, struct mono now)
{
	struct link_stats *stats = &link->stats;

	advance(link, ns_of(now));
	stats->in_packets++;
	stats->in_bytes += packet->len;
	list_init(&packet->node);
	if (list_empty(&link->queue)) {
		int64_t starts = link->now_ns > link->sent_at_ns ? link->now_ns : link->sent_at_ns;
		if (starts > link->sent_at_ns)
			link->rate_remainder = 0;
		link->sent_at_ns = add_ns(starts, send_time_ns(link, packet->len));
	} else {
		if (stats->queue_bytes + packet->len > link_config_queue_bytes(&link->config)) {
			stats->dropped_queue++;
			return false;
		}
		stats->queue_bytes += packet->len;
		if (stats->queue_bytes > stats->queue_bytes_most)
			stats->queue_bytes_most = stats->queue_bytes;
	}
	packet->number = ++link->next_number;
	list_add_tail(&link->queue, &packet->node);
	advance(link, link->now_ns);
	return true;
}

bool link_model_pop(struct link_model *link, struct mono now, struct link_departure *ret)
{
	advance(link, ns_of(now));

	struct list *node = list_pop(&link->lost);
	if (node) {
		*ret = (struct link_departure){
			.packet = list_entry(node, struct link_packet, node),
			.lost = true,
			.last = true,
			.at_ns = link->now_ns,
		};
		return true;
	}
	if (link->flight_count == 0 || link->flights[0].at_ns > link->now_ns)
		return false;

	struct link_flight flight = flight_take(link);
	struct link_packet *packet = flight.packet;
	packet->copies--;
	link->stats.out_packets++;
	link->stats.out_bytes += packet->len;
	link->stats.corrupted += flight.corrupt;
	if (packet->number < link->last_number)
		link->stats.reordered++;
	else
		link->last_number = packet->number;
	*ret = (struct link_departure){
		.packet = packet,
		.last = packet->copies == 0,
		.corrupt = flight.corrupt,
		.entropy = flight.entropy,
		.at_ns = flight.at_ns,
	};
	return true;
}

struct mono link_model_next(const struct link_model *link)
{
	int64_t next = INT64_MAX;

	if (!list_empty(&link->lost))
		return mono_at_us(link->now_ns / 1000);
	if (!list_empty(&link->queue))
		next = link->sent_at_ns;
	if (link->flight_count > 0 && link->flights[0].at_ns < next)
		next = link->flights[0].at_ns;
	if (next == INT64_MAX)
		return MONO_NEVER;
	return mono_at_us((next + 999) / 1000);
}

void link_model_configure(
	struct link_model *link, const struct link_config *config, struct mono now)
{
	advance(link, ns_of(now));

	const struct link_config old = link->config;
	bool bursts_differ = old.burst_ppm != config->burst_ppm ||
			     old.burst_us != config->burst_us ||
			     old.burst_packets != config->burst_packets;
	link->config = *config;
	if (old.rate_bps != config->rate_bps) {
		/* What is left of the packet being sent goes on at the new rate. */
		int64_t left = link->sent_at_ns - link->now_ns;
		link->rate_remainder = 0;
		if (left > 0 && !list_empty(&link->queue)) {
			unsigned __int128 bits_ns = (unsigned __int128)left * old.rate_bps;
			unsigned __int128 ns = config->rate_bps ? bits_ns / config->rate_bps : 0;
			link->sent_at_ns = add_ns(link->now_ns, ns > FAR_NS ? FAR_NS : (int64_t)ns);
		}
	}
	if (bursts_differ)
		burst_restart(link, link->now_ns);
	advance(link, link->now_ns);
}

void link_model_outage(struct link_model *link, struct mono now, struct mono until)
{
	advance(link, ns_of(now));
	link->outage_until_ns = ns_of(until);
}

void link_model_init(
	struct link_model *link, const struct link_config *config, uint64_t seed, struct mono now)
{
	*link = (struct link_model){.config = *config, .now_ns = ns_of(now)};
	list_init(&link->queue);
	list_init(&link->lost);
	link->sent_at_ns = link->now_ns;
	link->order_floor_ns = link->now_ns;
	link->outage_until_ns = link->now_ns;
	for (size_t i = 0; i < LINK_CHANCES; i++) {
		/* Streams of one seed must not be shifted copies of each other: start each at a mixed point. */
		link->chance[i] = seed * LINK_CHANCES + i;
		link->chance[i] = draw(link, (enum link_chance)i);
	}
	burst_restart(link, link->now_ns);
}

void link_model_fini(struct link_model *link)
{
	free(link->flights);
	link->flights = NULL;
	link->flight_count = link->flight_room = 0;
}
