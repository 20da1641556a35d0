/*
 * Datagrams on their way are a heap by arrival. A round of an end is what a program does: take what came, serve deadlines,
 * read, flush. Ends have their rounds in order, as long as one of them has something to do at the present instant; then the
 * clock moves to the next arrival or deadline.
 */
#include "native_pair.h"

#include "core/endian.h"
#include "crypto/noise.h"
#include "stack/native_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum {
	START_US = 1000000000,
	ROUNDS_MAX = 100000, /* at one instant */
	WORD_DATA = 0x0000010c,
	PORT = 1, /* what leader and followers call it */
	ECN_BITS = 3,
};

struct native_flight {
	int64_t at_us;
	uint64_t order;
	size_t to; /* end */
	struct kcpvpn_endpoint from;
	size_t len;
	uint8_t *bytes;
	uint8_t tos;
};

struct native_mail {
	struct native_mail *next;
	int64_t at_us;
	struct kcpvpn_shard_message message;
};

/* Open addressing; an entry is empty while `hash` is 0. */
struct nonce {
	uint64_t hash; /* of the datagram */
	uint64_t counter;
	uint32_t index;
};

struct native_nonces {
	struct nonce *entries;
	size_t mask;
	size_t count;
};

void native_pair_fail(const struct native_pair *pair, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "native_pair: at %lld us: ", (long long)(pair->now_us - START_US));
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

uint64_t native_pair_random(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	struct native_end *end = ctx;
	uint8_t *at = buf;

	while (len > 0) {
		uint64_t v = native_pair_random(&end->random);
		size_t some = len < sizeof(v) ? len : sizeof(v);
		memcpy(at, &v, some);
		at += some;
		len -= some;
	}
}

static int64_t realtime(void *ctx)
{
	struct native_end *end = ctx;

	return end->realtime_us + end->pair->now_us;
}

/* ---- what passes -------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const uint8_t *bytes, size_t len)
{
	struct siphash_key key = {1, 2};
	uint64_t hash = siphash(key, bytes, len);

	return hash ? hash : 1;
}

static struct nonce *nonce_at(const struct native_nonces *nonces, uint32_t index, uint64_t counter)
{
	uint64_t state = counter ^ ((uint64_t)index << 32);
	size_t at = (size_t)native_pair_random(&state);

	for (;; at++) {
		struct nonce *nonce = &nonces->entries[at & nonces->mask];
		if (nonce->hash == 0 || (nonce->index == index && nonce->counter == counter))
			return nonce;
	}
}

static void grow_nonces(struct native_nonces *nonces)
{
	struct native_nonces grown = {.mask = nonces->mask * 2 + 1, .count = nonces->count};

	grown.entries = calloc(grown.mask + 1, sizeof(struct nonce));
	for (size_t i = 0; i <= nonces->mask; i++)
		if (nonces->entries[i].hash != 0)
			*nonce_at(&grown, nonces->entries[i].index, nonces->entries[i].counter) =
				nonces->entries[i];
	free(nonces->entries);
	*nonces = grown;
}

static void watch_nonce(struct native_pair *pair, const uint8_t *bytes, size_t len)
{
	struct native_nonces *nonces = pair->nonces;
	uint32_t index = load_le32(bytes + 4);
	uint64_t counter = load_le64(bytes + 8);
	uint64_t hash = hash_of(bytes, len);

	if (nonces->count * 2 > nonces->mask)
		grow_nonces(nonces);
	struct nonce *nonce = nonce_at(nonces, index, counter);
	if (nonce->hash == 0) {
		*nonce = (struct nonce){hash, counter, index};
		nonces->count++;
	} else if (nonce->hash != hash) {
		native_pair_fail(pair, "counter %llu of index %08x was used twice",
			(unsigned long long)counter, (unsigned)index);
	}
}

static void watch_session(struct native_end *end, const uint8_t *bytes)
{
	uint32_t index = load_le32(bytes + 4);
	unsigned shard = index & 15;

	for (size_t i = 0; i < NATIVE_PAIR_ENDS; i++) {
		const struct kcpvpn_peer *peer =
			shard > 0 ? end->followers[shard].peers[i] : end->peers[i];
		for (size_t s = 0; peer && s < NATIVE_SLOTS; s++) {
			const struct native_session *session = peer->hs.slots[s];
			if (session && session->remote_index == index &&
				!mono_is_never(session->confirmed_at) &&
				mono_before(mono_at_us(end->pair->now_us),
					native_session_ends(session)))
				return;
		}
	}
	native_pair_fail(end->pair, "end %zu sends DATA to index %08x, which no session may do",
		end->number, (unsigned)index);
}

/* ---- flights ------------------------------------------------------------------------------------------------------ */

static bool flight_before(const struct native_flight *a, const struct native_flight *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void push_flight(struct native_pair *pair, struct native_flight flight)
{
	if (pair->flights_count == pair->flights_max) {
		pair->flights_max = pair->flights_max ? pair->flights_max * 2 : 64;
		pair->flights =
			realloc(pair->flights, pair->flights_max * sizeof(struct native_flight));
	}
	size_t at = pair->flights_count++;
	while (at > 0 && flight_before(&flight, &pair->flights[(at - 1) / 2])) {
		pair->flights[at] = pair->flights[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	pair->flights[at] = flight;
}

static struct native_flight pop_flight(struct native_pair *pair)
{
	struct native_flight top = pair->flights[0];
	struct native_flight last = pair->flights[--pair->flights_count];
	size_t at = 0;

	for (;;) {
		size_t child = at * 2 + 1;
		if (child >= pair->flights_count)
			break;
		if (child + 1 < pair->flights_count &&
			flight_before(&pair->flights[child + 1], &pair->flights[child]))
			child++;
		if (!flight_before(&pair->flights[child], &last))
			break;
		pair->flights[at] = pair->flights[child];
		at = child;
	}
	if (pair->flights_count > 0)
		pair->flights[at] = last;
	return top;
}

static struct native_end *end_at(struct native_pair *pair, const struct kcpvpn_endpoint *address)
{
	for (size_t i = 0; i < NATIVE_PAIR_ENDS; i++)
		if (kcpvpn_endpoint_equal(&pair->ends[i].address, address))
			return &pair->ends[i];
	return NULL;
}

static bool happens(struct native_pair *pair, uint32_t ppm)
{
	return ppm > 0 && native_pair_random(&pair->random) % 1000000 < ppm;
}

static void launch(struct native_end *from, struct native_end *to, const uint8_t *bytes, size_t len,
	uint8_t tos)
{
	struct native_pair *pair = from->pair;
	const struct native_link *link = &from->link;
	int64_t delay_us = link->delay_us;

	if (link->jitter_us > 0)
		delay_us += (int64_t)(native_pair_random(&pair->random) %
				      (uint64_t)(link->jitter_us + 1));
	struct native_flight flight = {
		.at_us = from->link_free_us + delay_us,
		.order = pair->flights_made++,
		.to = to->number,
		.from = from->address,
		.len = len,
		.bytes = malloc(len ? len : 1),
		.tos = tos,
	};
	memcpy(flight.bytes, bytes, len);
	push_flight(pair, flight);
}

static void mark(struct native_end *end, uint8_t *tos)
{
	if ((*tos & ECN_BITS) == 0)
		return;
	*tos |= ECN_BITS;
	end->marked++;
}

/* @return false if there is no room before the bottleneck. @tos  may be marked */
static bool queue_up(struct native_end *end, size_t len, uint8_t *tos)
{
	int64_t now_us = end->pair->now_us;
	const struct native_link *link = &end->link;

	if (link->rate_bps == 0) {
		end->link_free_us = now_us;
		return true;
	}
	if (end->link_free_us < now_us)
		end->link_free_us = now_us;
	uint64_t waiting =
		(uint64_t)(end->link_free_us - now_us) * link->rate_bps / (8 * (uint64_t)1000000);
	if (waiting + len > link->queue_bytes) {
		end->overflows++;
		return false;
	}
	if (link->mark_bytes > 0 && waiting > link->mark_bytes)
		mark(end, tos);
	end->link_free_us += (int64_t)(len * 8 * (uint64_t)1000000 / link->rate_bps);
	return true;
}

static void send_one(struct native_end *end, const struct kcpvpn_datagram *datagram)
{
	struct native_pair *pair = end->pair;
	uint8_t bytes[NATIVE_PAIR_DATAGRAM_MAX];
	uint8_t tos = datagram->tos;

	if (datagram->len < 32 || datagram->len > sizeof(bytes))
		native_pair_fail(pair, "end %zu sends %zu bytes", end->number, datagram->len);
	memcpy(bytes, datagram->data, datagram->len);
	end->sent[bytes[0] & 15]++;
	end->sent_bytes += datagram->len;
	end->sent_tos[tos]++;
	if (load_le32(bytes) == WORD_DATA) {
		end->keepalives += datagram->len == 32;
		watch_nonce(pair, bytes, datagram->len);
		watch_session(end, bytes);
	}
	if (end->link.mtu_bytes > 0 && datagram->len > end->link.mtu_bytes) {
		end->too_long++;
		return;
	}
	if (pair->filter && !pair->filter(end, &datagram->remote, bytes, datagram->len))
		return;
	if (end->link.drops_capable && (tos & ECN_BITS) != 0)
		return;
	if (end->link.marks_all || happens(pair, end->link.mark_ppm))
		mark(end, &tos);
	if (!queue_up(end, datagram->len, &tos))
		return;
	struct native_end *to = end_at(pair, &datagram->remote);
	if (!to || happens(pair, end->link.loss_ppm))
		return;
	launch(end, to, bytes, datagram->len, tos);
	if (happens(pair, end->link.duplicate_ppm))
		launch(end, to, bytes, datagram->len, tos);
}

static void port_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	for (size_t i = 0; i < count; i++)
		send_one(ctx, &batch[i]);
}

static void follower_send(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct native_pair_follower *follower = ctx;

	follower->sent += count;
	port_send(follower->end, batch, count);
}

/* ---- rounds ------------------------------------------------------------------------------------------------------- */

/* As the sockets of a host would be dealt datagrams. */
static struct native_pair_follower *follower_of(
	struct native_end *end, const uint8_t *bytes, size_t len)
{
	unsigned shard = len > 4 && bytes[0] == (WORD_DATA & 0xff) ? bytes[4] & 15 : 0;

	return end->followers[shard].native ? &end->followers[shard] : NULL;
}

static void arrive(struct native_end *end, const struct kcpvpn_endpoint *from, const uint8_t *bytes,
	size_t len, uint8_t tos)
{
	/* Memory of exactly its size, so that a step beyond it is seen. */
	uint8_t *room = malloc(len > 0 ? len : 1);
	struct kcpvpn_datagram datagram = {
		.remote = *from,
		.local = end->address,
		.data = room,
		.len = len,
		.tos = tos,
	};

	memcpy(datagram.data, bytes, len);
	struct native_pair_follower *follower = follower_of(end, bytes, len);
	kcpvpn_native_input(follower ? follower->native : end->native,
		follower ? &follower->port : &end->port, &datagram, 1, end->pair->now_us);
	free(room);
}

static void read_messages(struct native_end *end, struct kcpvpn_peer *peer, size_t i)
{
	struct iovec iov[256];
	size_t len;
	int pieces;

	while ((pieces = kcpvpn_peer_recv_peek(peer, iov, 256, &len)) > 0) {
		size_t at = 0;
		for (int p = 0; p < pieces; p++) {
			if (at + iov[p].iov_len > sizeof(end->last))
				native_pair_fail(end->pair, "a message is too long");
			memcpy(end->last + at, iov[p].iov_base, iov[p].iov_len);
			at += iov[p].iov_len;
		}
		if (at != len)
			native_pair_fail(end->pair, "pieces of %zu make %zu bytes", len, at);
		end->last_len = len;
		end->messages[i]++;
		kcpvpn_peer_recv_drop(peer, end->pair->now_us);
		if (end->pair->on_message)
			end->pair->on_message(end, i, end->last, len);
	}
}

static void finish_follower(struct native_end *end, struct native_pair_follower *follower)
{
	struct kcpvpn_peer *peer;
	unsigned events;

	while ((peer = kcpvpn_native_next_event(follower->native, &events)) != NULL) {
		for (size_t i = 0; i < NATIVE_PAIR_ENDS; i++) {
			uint64_t before = end->messages[i];
			if (follower->peers[i] != peer || !(events & KCPVPN_PEER_EVENT_READABLE))
				continue;
			read_messages(end, peer, i);
			follower->messages[i] += end->messages[i] - before;
		}
	}
	kcpvpn_native_flush(follower->native, end->pair->now_us);
}

static void finish_round(struct native_end *end)
{
	struct kcpvpn_peer *peer;
	unsigned events;

	for (size_t s = 1; s < KCPVPN_SHARDS_MAX; s++)
		if (end->followers[s].native)
			finish_follower(end, &end->followers[s]);

	while ((peer = kcpvpn_native_next_event(end->native, &events)) != NULL) {
		for (size_t i = 0; i < NATIVE_PAIR_ENDS; i++) {
			if (end->peers[i] != peer)
				continue;
			end->events[i] |= events;
			if (end->pair->on_events)
				end->pair->on_events(end, i, events);
			if ((events & KCPVPN_PEER_EVENT_READABLE) && !end->unread)
				read_messages(end, peer, i);
		}
	}
	kcpvpn_native_flush(end->native, end->pair->now_us);
}

/* ---- between leader and followers --------------------------------------------------------------------------------- */

static bool carry(void *ctx, unsigned shard, const struct kcpvpn_shard_message *message)
{
	struct native_end *end = ctx;
	struct native_mail *mail = calloc(1, sizeof(*mail)), **last = &end->mail[shard];
	int64_t delay_us = end->options.shard_delay_us;

	mail->at_us = end->pair->now_us;
	if (delay_us > 0)
		mail->at_us += (int64_t)(native_pair_random(&end->pair->random) %
					 (uint64_t)(delay_us + 1));
	for (; *last; last = &(*last)->next)
		if ((*last)->at_us > mail->at_us)
			mail->at_us = (*last)->at_us;
	mail->message = *message;
	*last = mail;
	return true;
}

static bool deliver(struct native_end *end)
{
	bool any = false;

	for (size_t s = 0; s < KCPVPN_SHARDS_MAX; s++) {
		struct native_mail *mail;
		while ((mail = end->mail[s]) != NULL && mail->at_us <= end->pair->now_us) {
			struct kcpvpn_native *to = s > 0 ? end->followers[s].native : end->native;
			end->mail[s] = mail->next;
			if (to)
				kcpvpn_native_hear(to, &mail->message, end->pair->now_us);
			free(mail);
			any = true;
		}
	}
	if (any)
		finish_round(end);
	return any;
}

static void start_followers(struct native_end *end, const struct kcpvpn_native_config *config)
{
	for (unsigned s = 1; s < config->shards; s++) {
		struct native_pair_follower *follower = &end->followers[s];
		follower->end = end;
		follower->port = (struct kcpvpn_udp_port){follower_send, follower};
		int error =
			kcpvpn_native_new_follower(config, s, end->pair->now_us, &follower->native);
		if (error == 0)
			error = kcpvpn_native_name_port(follower->native, &follower->port, PORT);
		if (error < 0)
			native_pair_fail(end->pair, "shard %u does not start: %d", s, error);
	}
}

static void follow(struct native_end *end, size_t to, const struct kcpvpn_peer_config *config)
{
	for (unsigned s = 1; s < end->options.shards; s++) {
		struct native_pair_follower *follower = &end->followers[s];
		int error =
			kcpvpn_native_follow_peer(follower->native, kcpvpn_peer_id(end->peers[to]),
				config, end->pair->now_us, &follower->peers[to]);
		if (error < 0)
			native_pair_fail(end->pair, "shard %u does not follow: %d", s, error);
	}
}

static void end_followers(struct native_end *end)
{
	for (unsigned s = 0; s < KCPVPN_SHARDS_MAX; s++) {
		struct native_mail *mail;
		while ((mail = end->mail[s]) != NULL) {
			end->mail[s] = mail->next;
			free(mail);
		}
		kcpvpn_native_free(end->followers[s].native);
		end->followers[s] = (struct native_pair_follower){0};
	}
}

static int64_t next_of_followers(const struct native_end *end, int64_t at_us)
{
	for (unsigned s = 0; s < KCPVPN_SHARDS_MAX; s++) {
		const struct kcpvpn_native *native = end->followers[s].native;
		if (end->mail[s] && end->mail[s]->at_us < at_us)
			at_us = end->mail[s]->at_us;
		if (native && kcpvpn_native_next_deadline(native) < at_us)
			at_us = kcpvpn_native_next_deadline(native);
	}
	return at_us;
}

static bool serve_followers(struct native_end *end)
{
	bool any = deliver(end);

	for (unsigned s = 1; s < KCPVPN_SHARDS_MAX; s++) {
		struct native_pair_follower *follower = &end->followers[s];
		if (!follower->native ||
			kcpvpn_native_next_deadline(follower->native) > end->pair->now_us)
			continue;
		kcpvpn_native_on_deadline(follower->native, end->pair->now_us);
		finish_follower(end, follower);
		any = true;
	}
	return any;
}

/* @return whether it had anything to do */
static bool serve(struct native_end *end)
{
	struct native_pair *pair = end->pair;
	bool any = serve_followers(end);
	bool due = kcpvpn_native_next_deadline(end->native) <= pair->now_us;

	if (due) {
		end->wakes++;
		kcpvpn_native_on_deadline(end->native, pair->now_us);
		finish_round(end);
	}
	return due || any;
}

void native_pair_exchange(struct native_pair *pair)
{
	for (size_t rounds = 0;; rounds++) {
		bool busy = false;
		if (rounds > ROUNDS_MAX)
			native_pair_fail(pair, "no time passes");
		while (pair->flights_count > 0 && pair->flights[0].at_us <= pair->now_us) {
			struct native_flight flight = pop_flight(pair);
			struct native_end *end = &pair->ends[flight.to];
			if (end->native) {
				arrive(end, &flight.from, flight.bytes, flight.len, flight.tos);
				finish_round(end);
			}
			free(flight.bytes);
			busy = true;
		}
		for (size_t i = 0; i < NATIVE_PAIR_ENDS; i++)
			if (pair->ends[i].native)
				busy |= serve(&pair->ends[i]);
		if (!busy)
			return;
	}
}

static int64_t next_us(const struct native_pair *pair, int64_t until_us)
{
	int64_t at_us = until_us;

	if (pair->flights_count > 0 && pair->flights[0].at_us < at_us)
		at_us = pair->flights[0].at_us;
	for (size_t i = 0; i < NATIVE_PAIR_ENDS; i++) {
		if (!pair->ends[i].native)
			continue;
		int64_t deadline_us = kcpvpn_native_next_deadline(pair->ends[i].native);
		if (deadline_us < at_us)
			at_us = deadline_us;
		at_us = next_of_followers(&pair->ends[i], at_us);
	}
	return at_us;
}

bool native_pair_run_until(
	struct native_pair *pair, bool (*holds)(struct native_pair *pair), int64_t us)
{
	int64_t until_us = pair->now_us + us;

	for (;;) {
		native_pair_exchange(pair);
		if (holds && holds(pair))
			return true;
		if (pair->now_us >= until_us)
			return false;
		pair->now_us = next_us(pair, until_us);
	}
}

void native_pair_run(struct native_pair *pair, int64_t us)
{
	(void)native_pair_run_until(pair, NULL, us);
}

/* ---- ends --------------------------------------------------------------------------------------------------------- */

struct native_end_options native_pair_options(void)
{
	return (struct native_end_options){
		.peer =
			{
				.tun_mtu = 1400,
				.dead_after_us = 15000000,
				.roaming = true,
				.persistent = true,
			},
		.datagram_max_bytes = 1472,
		.memory_max_bytes = (uint64_t)64 << 20,
	};
}

struct kcpvpn_endpoint native_pair_endpoint(uint8_t host)
{
	return (struct kcpvpn_endpoint){.address = {192, 0, 2, host}, .port = 29900, .family = 4};
}

void native_pair_private_key(size_t i, uint8_t ret_key[KCPVPN_NATIVE_KEY_BYTES])
{
	memset(ret_key, (int)(0x40 + i), KCPVPN_NATIVE_KEY_BYTES);
}

void native_pair_public_key(size_t i, uint8_t ret_key[KCPVPN_NATIVE_KEY_BYTES])
{
	/* They are wanted often, and each costs an X25519. */
	static uint8_t keys[NATIVE_PAIR_ENDS][KCPVPN_NATIVE_KEY_BYTES];
	static bool known[NATIVE_PAIR_ENDS];
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];

	if (!known[i]) {
		native_pair_private_key(i, key);
		noise_public(keys[i], key);
		known[i] = true;
	}
	memcpy(ret_key, keys[i], KCPVPN_NATIVE_KEY_BYTES);
}

void native_pair_init(struct native_pair *pair, uint64_t seed)
{
	memset(pair, 0, sizeof(*pair));
	pair->now_us = START_US;
	pair->random = seed;
	pair->nonces = calloc(1, sizeof(*pair->nonces));
	pair->nonces->mask = 255;
	pair->nonces->entries = calloc(pair->nonces->mask + 1, sizeof(struct nonce));
	for (size_t i = 0; i < NATIVE_PAIR_ENDS; i++) {
		struct native_end *end = &pair->ends[i];
		end->pair = pair;
		end->number = i;
		end->port = (struct kcpvpn_udp_port){port_send, end};
		end->address = native_pair_endpoint((uint8_t)(i + 1));
		end->realtime_us = (int64_t)1700000000 * 1000000;
		end->random = native_pair_random(&pair->random);
	}
}

void native_pair_fini(struct native_pair *pair)
{
	for (size_t i = 0; i < NATIVE_PAIR_ENDS; i++)
		native_pair_kill(pair, i);
	while (pair->flights_count > 0)
		free(pop_flight(pair).bytes);
	free(pair->flights);
	free(pair->nonces->entries);
	free(pair->nonces);
	pair->flights = NULL;
	pair->nonces = NULL;
}

struct native_end *native_pair_start(
	struct native_pair *pair, size_t i, const struct native_end_options *options)
{
	struct native_end *end = &pair->ends[i];
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
	uint8_t network_key[KCPVPN_NATIVE_KEY_BYTES];

	end->options = options ? *options : native_pair_options();
	native_pair_private_key(i, key);
	memset(network_key, end->options.network_key, sizeof(network_key));
	struct kcpvpn_native_config config = {
		.private_key = key,
		.network_key = end->options.has_network_key ? network_key : NULL,
		.datagram_max_bytes = end->options.datagram_max_bytes,
		.peers_max = NATIVE_PAIR_ENDS,
		.memory_max_bytes = end->options.memory_max_bytes,
		.super_max_bytes = end->options.super_max_bytes,
		.handshake_limits_off = end->options.limits_off,
		.realtime_us = realtime,
		.random = fill_random,
		.shards = end->options.shards,
		.tell = carry,
		.ctx = end,
	};
	int error = kcpvpn_native_new(&config, pair->now_us, &end->native);
	if (error < 0)
		native_pair_fail(pair, "end %zu does not start: %d", i, error);
	start_followers(end, &config);
	error = kcpvpn_native_name_port(end->native, &end->port, PORT);
	if (error < 0)
		native_pair_fail(pair, "end %zu: its port has no name: %d", i, error);
	return end;
}

void native_pair_kill(struct native_pair *pair, size_t i)
{
	struct native_end *end = &pair->ends[i];

	kcpvpn_native_free(end->native);
	end->native = NULL;
	end_followers(end);
	memset(end->peers, 0, sizeof(end->peers));
	memset(end->events, 0, sizeof(end->events));
}

void native_pair_know(struct native_pair *pair, size_t from, size_t to, bool calls)
{
	struct native_end *end = &pair->ends[from];
	struct kcpvpn_peer_config config = end->options.peer;
	uint8_t key[KCPVPN_NATIVE_KEY_BYTES];
	uint8_t psk[KCPVPN_NATIVE_KEY_BYTES];

	native_pair_public_key(to, key);
	memset(psk, end->options.psk, sizeof(psk));
	config.public_key = key;
	config.preshared_key = end->options.has_psk ? psk : NULL;
	config.persistent = config.persistent && calls;
	int error = kcpvpn_native_add_peer(end->native, &config, pair->now_us, &end->peers[to]);
	if (error < 0)
		native_pair_fail(pair, "end %zu does not take %zu: %d", from, to, error);
	follow(end, to, &config);
	struct kcpvpn_target target = {pair->ends[to].address, &end->port};
	if (calls)
		kcpvpn_peer_set_targets(end->peers[to], &target, 1, pair->now_us);
	kcpvpn_peer_up(end->peers[to], pair->now_us);
	kcpvpn_native_flush(end->native, pair->now_us);
}

void native_pair_join(struct native_pair *pair, size_t a, size_t b, bool both)
{
	native_pair_know(pair, a, b, true);
	native_pair_know(pair, b, a, both);
}

void native_pair_open(
	struct native_pair *pair, uint64_t seed, const struct native_end_options *options)
{
	native_pair_init(pair, seed);
	native_pair_start(pair, 0, options);
	native_pair_start(pair, 1, options);
	native_pair_join(pair, 0, 1, false);
}

bool native_pair_is_up(struct native_pair *pair)
{
	return pair->ends[0].peers[1] && pair->ends[1].peers[0] &&
	       kcpvpn_peer_state(pair->ends[0].peers[1]) == KCPVPN_PEER_UP &&
	       kcpvpn_peer_state(pair->ends[1].peers[0]) == KCPVPN_PEER_UP;
}

unsigned native_pair_events(struct native_end *end, size_t peer)
{
	unsigned events = end->events[peer];

	end->events[peer] = 0;
	return events;
}

void native_pair_inject(
	struct native_end *end, const struct kcpvpn_endpoint *from, const void *bytes, size_t len)
{
	arrive(end, from, bytes, len, 0);
	finish_round(end);
}

void native_pair_packet(
	uint8_t *packet, size_t len, uint8_t from, uint8_t to, uint16_t flow, uint32_t seed)
{
	uint64_t state = seed;

	memset(packet, 0, 28);
	packet[0] = 0x45;
	store_be16(packet + 2, (uint16_t)len);
	packet[8] = 64;
	packet[9] = 17;
	memcpy(packet + 12, (uint8_t[]){10, 0, 0, from}, 4);
	memcpy(packet + 16, (uint8_t[]){10, 0, 0, to}, 4);
	store_be16(packet + 20, flow);
	store_be16(packet + 22, flow);
	store_be16(packet + 24, (uint16_t)(len - 20));
	for (size_t i = 28; i < len; i++)
		packet[i] = (uint8_t)native_pair_random(&state);
}
