/*
 * The address in use changes by proof only. Three things make a proof here:
 *  - the trigger must be authentic and newer than all before, so replaying what was captured moves nothing;
 *  - the candidate must answer itself, with a token that was sent to it and to nobody else. The address in use is asked with
 *    a token of its own: were it the same one, somebody on the path could take the answer of the address in use and send it
 *    on under the candidate's name, and have data sent to an address that never asked for any;
 *  - one candidate at a time, at most ten a second, and each is sent challenges only for what came from it: the next one if
 *    those before are not longer in sum than that. So a copied keepalive (32 bytes) draws one challenge (70), a copied PING
 *    two, and nobody is sent more than he sent and one challenge. A peer that did move and has more to say earns the
 *    whole schedule by its first datagram of some size.
 *
 * Who sits on the path and is faster than the peer can still pass a datagram on from an address of his own and also pass
 * the challenge on; that makes him a relay, which he was already. The challenge to the address in use draws a newer datagram
 * from the peer, whose source becomes the next candidate, and the peer is back.
 *
 * A candidate is not taken back by a timer: its challenges end after 1.5 s, its tokens after 3 s, and a newer datagram from
 * the same source makes it a candidate again.
 */
#include "session/roam.h"

#include "core/rand.h"

#include <string.h>

static const struct token_rate TRIGGER_RATE = {.interval_us = ROAM_TRIGGER_US, .burst = 1};

void roam_init(struct roam *roam, bool roaming)
{
	*roam = (struct roam){.pinned = !roaming};
}

static void forget_candidate(struct roam *roam)
{
	roam->candidate = (struct roam_address){0};
	memset(roam->candidate_token, 0, sizeof(roam->candidate_token));
	memset(roam->current_token, 0, sizeof(roam->current_token));
	roam->came_bytes = 0;
	roam->asked = 0;
	roam->step = ROAM_STEPS;
}

void roam_set_roaming(struct roam *roam, bool roaming)
{
	roam->pinned = !roaming;
	if (roam->pinned)
		forget_candidate(roam);
}

static bool same_ip(const struct kcpvpn_endpoint *a, const struct kcpvpn_endpoint *b)
{
	return a->family == b->family && a->scope_id == b->scope_id &&
	       memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

/* Of the own address only the IP matters: `port` tells the socket. */
static bool same_local(const struct roam_address *a, const struct roam_address *b)
{
	return a->port == b->port &&
	       (a->local.family == 0 || b->local.family == 0 || same_ip(&a->local, &b->local));
}

bool roam_address_equal(const struct roam_address *a, const struct roam_address *b)
{
	return kcpvpn_endpoint_equal(&a->remote, &b->remote) && same_local(a, b);
}

static enum roam_change change_of(const struct roam_address *from, const struct roam_address *to)
{
	if (roam_address_equal(from, to))
		return ROAM_UNCHANGED;
	if (same_local(from, to) && same_ip(&from->remote, &to->remote))
		return ROAM_PORT_CHANGED;
	return ROAM_IP_CHANGED;
}

static enum roam_change use(struct roam *roam, const struct roam_address *address)
{
	enum roam_change change = change_of(&roam->current, address);
	struct roam_address next = *address; /* may be the candidate itself */

	if (change != ROAM_UNCHANGED)
		forget_candidate(roam);
	/* Taken also if equal: an own address that was not known is better than the kernel's choice. */
	if (change != ROAM_UNCHANGED || next.local.family != 0)
		roam->current = next;
	return change;
}

enum roam_change roam_set(struct roam *roam, const struct roam_address *address)
{
	return use(roam, address);
}

enum roam_change roam_proven(struct roam *roam, const struct roam_address *address)
{
	if (roam->pinned && roam->current.remote.family != 0 &&
		!kcpvpn_endpoint_equal(&roam->current.remote, &address->remote))
		return ROAM_UNCHANGED;
	return use(roam, address);
}

void roam_local_changed(struct roam *roam)
{
	roam->current.local = (struct kcpvpn_endpoint){0};
	forget_candidate(roam);
}

static bool has_candidate(const struct roam *roam, struct mono now)
{
	return roam->candidate.remote.family != 0 &&
	       !mono_due(mono_add_us(roam->candidate_since, ROAM_TOKEN_LIFE_US), now);
}

static uint16_t sum_bytes(uint16_t a, size_t b)
{
	return b < (size_t)UINT16_MAX - a ? (uint16_t)(a + b) : UINT16_MAX;
}

enum roam_verdict roam_datagram(struct roam *roam, const struct roam_address *source, size_t bytes,
	bool newest, struct mono now, const struct rand_source *rnd)
{
	if (roam_address_equal(source, &roam->current))
		return ROAM_CURRENT;
	if (roam->pinned && roam->current.remote.family != 0)
		return ROAM_PINNED;
	if (!newest)
		return ROAM_NOT_NEWEST;
	if (has_candidate(roam, now) && roam_address_equal(source, &roam->candidate)) {
		roam->came_bytes = sum_bytes(roam->came_bytes, bytes);
		return ROAM_WAITING;
	}
	if (!token_bucket_take(&roam->triggers, TRIGGER_RATE, now))
		return ROAM_LIMITED;
	roam->candidate = *source;
	roam->candidate_since = now;
	roam->came_bytes = sum_bytes(0, bytes);
	roam->asked = 0;
	roam->step = 0;
	rand_fill(rnd, roam->candidate_token, sizeof(roam->candidate_token));
	rand_fill(rnd, roam->current_token, sizeof(roam->current_token));
	return ROAM_CANDIDATE;
}

enum roam_answer roam_response(struct roam *roam, const uint8_t token[ROAM_TOKEN_BYTES],
	const struct roam_address *source, struct mono now, enum roam_change *ret_change)
{
	*ret_change = ROAM_UNCHANGED;
	if (!has_candidate(roam, now))
		return ROAM_ANSWER_FOREIGN;
	if (roam_address_equal(source, &roam->candidate) &&
		memcmp(token, roam->candidate_token, ROAM_TOKEN_BYTES) == 0) {
		*ret_change = use(roam, source);
		return ROAM_ANSWER_SWITCHED;
	}
	if (roam_address_equal(source, &roam->current) &&
		memcmp(token, roam->current_token, ROAM_TOKEN_BYTES) == 0)
		return ROAM_ANSWER_CURRENT;
	return ROAM_ANSWER_FOREIGN;
}

/* 0, 0.1, 0.3, 0.7, 1.5 s after the trigger. */
static struct mono step_at(const struct roam *roam)
{
	int64_t gaps = ((int64_t)1 << roam->step) - 1;

	return mono_add_us(roam->candidate_since, gaps * ROAM_FIRST_GAP_US);
}

struct mono roam_next_deadline(const struct roam *roam)
{
	if (roam->candidate.remote.family == 0 || roam->step >= ROAM_STEPS)
		return MONO_NEVER;
	return step_at(roam);
}

size_t roam_on_deadline(struct roam *roam, struct mono now,
	struct roam_challenge ret_challenges[ROAM_CHALLENGES_MAX])
{
	size_t count = 0;

	if (!mono_due(roam_next_deadline(roam), now))
		return 0;
	while (mono_due(roam_next_deadline(roam), now))
		roam->step++;
	if (!has_candidate(roam, now)) {
		forget_candidate(roam);
		return 0;
	}
	if (roam->asked * ROAM_CHALLENGE_BYTES <= roam->came_bytes) {
		ret_challenges[count].to = roam->candidate;
		memcpy(ret_challenges[count].token, roam->candidate_token, ROAM_TOKEN_BYTES);
		roam->asked++;
		count++;
	}
	if (roam->current.remote.family != 0) {
		ret_challenges[count].to = roam->current;
		memcpy(ret_challenges[count].token, roam->current_token, ROAM_TOKEN_BYTES);
		count++;
	}
	return count;
}

const char *roam_verdict_str(enum roam_verdict verdict)
{
	switch (verdict) {
	case ROAM_CURRENT:
		return "current";
	case ROAM_NOT_NEWEST:
		return "not_newest";
	case ROAM_PINNED:
		return "pinned";
	case ROAM_WAITING:
		return "waiting";
	case ROAM_LIMITED:
		return "limited";
	case ROAM_CANDIDATE:
		return "candidate";
	case ROAM_VERDICTS:
		break;
	}
	return "unknown";
}
