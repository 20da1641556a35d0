/*
 * Two questions: is this a flood, and how much of it may this source have? And a small third one: is it worth a COOKIE?
 * Sending one costs more than all that led to it, and whoever floods from one address does not want more of them.
 *
 * The first is answered by counting the INITs of the last second in ten parts, and by the length of the queue. Under load
 * the responder demands a cookie, so the second question is only asked about sources that can receive at their address.
 *
 * For the second, a source owns no entry that could be thrown out. It is hashed, with a secret key, to one bucket in each
 * of two rows, and what it used up is the smaller of both: a count-min sketch of token buckets, updated conservatively (a
 * row never learns more than the estimate). From that follows:
 *  - nobody gets more than the rate, for an estimate is never below the truth, and there is nothing to evict;
 *  - a source is wronged only if others hold both of its buckets empty. Refused INITs are charged to nobody and all
 *    together pass at most 1000 a second, so at most about 50 of the 2048 buckets of a row can be held empty however many
 *    sources an attacker owns: once in 1700 keys a given victim shares both of its buckets with them;
 *  - the key is replaced every ten seconds, so that such bad luck ends. What a source gains by that is one burst of five.
 *
 * The same is done for networks. The limit for all together is the one that an attacker with very many networks can
 * exhaust: then a newcomer gets in by chance, by sending the same INIT again, as everybody else.
 *
 * Sources: Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch", 2005; Estan and Varghese,
 * "New directions in traffic measurement and accounting", 2002 (conservative update).
 */
#include "session/init_guard.h"

#include "core/rand.h"

#include <string.h>

enum {
	SLOT_US = 1000000 / INIT_GUARD_SLOTS,
	HOST_V6_BYTES = 8, /* /64 */
	NET_V4_BYTES = 3,  /* /24 */
	NET_V6_BYTES = 6,  /* /48 */
};

_Static_assert((INIT_GUARD_HOST_BUCKETS & (INIT_GUARD_HOST_BUCKETS - 1)) == 0, "a mask is used");
_Static_assert((INIT_GUARD_NET_BUCKETS & (INIT_GUARD_NET_BUCKETS - 1)) == 0, "a mask is used");
_Static_assert(INIT_GUARD_ROWS == 2, "a hash of 64 bits gives two indices of 32");

/* The buckets of one source or network, a row each. */
struct bucket_set {
	struct token_bucket *row[INIT_GUARD_ROWS];
};

static void draw_key(struct init_guard *guard)
{
	uint8_t bytes[SIPHASH_KEY_BYTES];

	rand_fill(guard->rnd, bytes, sizeof(bytes));
	guard->key = siphash_key_of(bytes);
}

void init_guard_init(struct init_guard *guard, const struct rand_source *rnd)
{
	memset(guard, 0, sizeof(*guard));
	guard->rnd = rnd;
	draw_key(guard);
}

void init_guard_set_limits(struct init_guard *guard, bool on)
{
	guard->limits_off = !on;
}

/* Empties the parts of the ring that are more than a second old. */
static void advance_slots(struct init_guard *guard, struct mono now)
{
	int64_t number = now.us / SLOT_US;

	if (number - guard->slot_number >= INIT_GUARD_SLOTS) {
		memset(guard->slot_inits, 0, sizeof(guard->slot_inits));
		guard->second_inits = 0;
		guard->slot_number = number;
	}
	while (guard->slot_number < number) {
		uint32_t *oldest = &guard->slot_inits[++guard->slot_number % INIT_GUARD_SLOTS];
		guard->second_inits -= *oldest;
		*oldest = 0;
	}
}

bool init_guard_loaded(const struct init_guard *guard, struct mono now)
{
	return !guard->limits_off && mono_before(now, guard->loaded_until);
}

bool init_guard_arrived(struct init_guard *guard, size_t queued, struct mono now)
{
	bool loaded = init_guard_loaded(guard, now);

	guard->counters.arrived++;
	advance_slots(guard, now);
	guard->slot_inits[guard->slot_number % INIT_GUARD_SLOTS]++;
	guard->second_inits++;
	if (guard->limits_off)
		return false;
	if (guard->second_inits > INIT_GUARD_LOAD_INITS || queued > INIT_GUARD_LOAD_QUEUE) {
		guard->loaded_until = mono_add_us(now, INIT_GUARD_LOAD_US);
		if (!loaded)
			guard->counters.loads++;
		loaded = true;
	}
	if (loaded)
		guard->counters.under_load++;
	return loaded;
}

/* The first `bytes` of the address; the family and the length keep the kinds apart. */
static uint64_t hash_address(
	const struct init_guard *guard, const struct kcpvpn_endpoint *source, size_t bytes)
{
	uint8_t text[2 + sizeof(source->address)] = {source->family, (uint8_t)bytes};

	memcpy(text + 2, source->address, bytes);
	return siphash(guard->key, text, 2 + bytes);
}

static struct bucket_set host_buckets(struct init_guard *guard,
	struct token_bucket table[INIT_GUARD_ROWS][INIT_GUARD_HOST_BUCKETS],
	const struct kcpvpn_endpoint *source)
{
	uint64_t hash = hash_address(guard, source, source->family == 4 ? 4 : HOST_V6_BYTES);

	return (struct bucket_set){{
		&table[0][hash & (INIT_GUARD_HOST_BUCKETS - 1)],
		&table[1][hash >> 32 & (INIT_GUARD_HOST_BUCKETS - 1)],
	}};
}

static struct bucket_set net_buckets(struct init_guard *guard, const struct kcpvpn_endpoint *source)
{
	uint64_t hash =
		hash_address(guard, source, source->family == 4 ? NET_V4_BYTES : NET_V6_BYTES);

	return (struct bucket_set){{
		&guard->net[0][hash & (INIT_GUARD_NET_BUCKETS - 1)],
		&guard->net[1][hash >> 32 & (INIT_GUARD_NET_BUCKETS - 1)],
	}};
}

static struct token_bucket estimate(const struct bucket_set *set)
{
	return (struct token_bucket){mono_min(set->row[0]->full_at, set->row[1]->full_at)};
}

static void charge(struct bucket_set *set, struct token_rate rate, struct mono now)
{
	struct token_bucket used = estimate(set);

	(void)token_bucket_take(&used, rate, now);
	for (int i = 0; i < INIT_GUARD_ROWS; i++)
		set->row[i]->full_at = mono_max(set->row[i]->full_at, used.full_at);
}

static enum init_guard_verdict judge(
	struct init_guard *guard, const struct kcpvpn_endpoint *source, struct mono now)
{
	struct bucket_set host = host_buckets(guard, guard->host, source);
	struct bucket_set net = net_buckets(guard, source);

	if (!token_bucket_has(estimate(&host), INIT_GUARD_HOST_RATE, now))
		return INIT_GUARD_HOST;
	if (!token_bucket_has(estimate(&net), INIT_GUARD_NET_RATE, now))
		return INIT_GUARD_NET;
	if (!token_bucket_take(&guard->total, INIT_GUARD_TOTAL_RATE, now))
		return INIT_GUARD_TOTAL;
	charge(&host, INIT_GUARD_HOST_RATE, now);
	charge(&net, INIT_GUARD_NET_RATE, now);
	return INIT_GUARD_PASS;
}

static void rekey(struct init_guard *guard, struct mono now)
{
	if (!mono_due(guard->rekey_at, now))
		return;
	draw_key(guard);
	memset(guard->host, 0, sizeof(guard->host));
	memset(guard->net, 0, sizeof(guard->net));
	memset(guard->cookies_host, 0, sizeof(guard->cookies_host));
	guard->rekey_at = mono_add_us(now, INIT_GUARD_REKEY_US);
}

bool init_guard_cookie(
	struct init_guard *guard, const struct kcpvpn_endpoint *source, struct mono now)
{
	rekey(guard, now);
	if (guard->limits_off)
		return true;
	struct bucket_set own = host_buckets(guard, guard->cookies_host, source);
	if (token_bucket_has(estimate(&own), INIT_GUARD_COOKIE_HOST_RATE, now)) {
		charge(&own, INIT_GUARD_COOKIE_HOST_RATE, now);
		return true;
	}
	return token_bucket_take(&guard->cookies_rest, INIT_GUARD_COOKIE_REST_RATE, now);
}

enum init_guard_verdict init_guard_admit(
	struct init_guard *guard, const struct kcpvpn_endpoint *source, struct mono now)
{
	enum init_guard_verdict verdict = INIT_GUARD_PASS;

	rekey(guard, now);
	if (!guard->limits_off)
		verdict = judge(guard, source, now);
	guard->counters.verdicts[verdict]++;
	return verdict;
}

const char *init_guard_verdict_str(enum init_guard_verdict verdict)
{
	switch (verdict) {
	case INIT_GUARD_PASS:
		return "pass";
	case INIT_GUARD_HOST:
		return "host";
	case INIT_GUARD_NET:
		return "net";
	case INIT_GUARD_TOTAL:
		return "total";
	case INIT_GUARD_VERDICTS:
		break;
	}
	return "unknown";
}
