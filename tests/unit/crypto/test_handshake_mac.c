/* Cookies over time and addresses; COOKIE and REJECT and every way for them to be bad. */
#include "crypto/handshake_mac.h"
#include "handshake_ends.h"

#include "kcpvpn/endpoint.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

static const struct kcpvpn_endpoint home = {.address = {192, 0, 2, 1}, .port = 4000, .family = 4};

/* ---- cookies over time ------------------------------------------------------------------------------------------- */

static bool good_at(const struct handshake_cookies *cookies, const uint8_t *init, int64_t s)
{
	return handshake_cookies_mac2_ok(cookies, init, &home, mono_at_ms(s * 1000));
}

/* An INIT with the cookie that `home` gets at second `s`. */
static void init_with_cookie_of(struct handshake_ends *ends, struct handshake_cookies *cookies,
	int64_t s, uint8_t init[HANDSHAKE_INIT_BYTES])
{
	uint8_t cookie[HANDSHAKE_MAC_BYTES];

	handshake_cookies_make(cookies, &home, mono_at_ms(s * 1000), &ends->rnd, cookie);
	memcpy(init, ends->init, HANDSHAKE_INIT_BYTES);
	handshake_init_set_cookie(init, cookie);
	cr_assert_eq(memcmp(init, ends->init, HANDSHAKE_INIT_AT_MAC2), 0);
}

Test(handshake_cookies, live_and_die)
{
	struct handshake_cookies cookies = {0};
	struct handshake_ends ends;
	uint8_t early[HANDSHAKE_INIT_BYTES], late[HANDSHAKE_INIT_BYTES], next[HANDSHAKE_INIT_BYTES];

	handshake_ends_init(&ends, 1, NULL);
	handshake_ends_write_init(&ends);
	cr_assert(!good_at(&cookies, ends.init, 0), "no secret yet");
	init_with_cookie_of(&ends, &cookies, 1000, early);
	init_with_cookie_of(&ends, &cookies, 1119, late);
	cr_assert_arr_eq(early, late, HANDSHAKE_INIT_BYTES, "one secret, one cookie");
	cr_assert(good_at(&cookies, early, 1000));
	cr_assert(good_at(&cookies, early, 1129), "renewed by nobody, it lives through the grace");
	cr_assert(!good_at(&cookies, early, 1130));
	cr_assert(!good_at(&cookies, ends.init, 1000), "no mac2");

	init_with_cookie_of(&ends, &cookies, 1120, next);
	cr_assert_neq(memcmp(next, early, HANDSHAKE_INIT_BYTES), 0);
	cr_assert(good_at(&cookies, next, 1120));
	cr_assert(good_at(&cookies, early, 1120));
	cr_assert(good_at(&cookies, early, 1129));
	cr_assert(!good_at(&cookies, early, 1130));
	cr_assert(good_at(&cookies, next, 1130));
	init_with_cookie_of(&ends, &cookies, 1240, late);
	cr_assert(good_at(&cookies, next, 1249));
	cr_assert(!good_at(&cookies, early, 1241));

	/* After a pause the old secret does not come back to life. */
	init_with_cookie_of(&ends, &cookies, 5000, next);
	cr_assert(!good_at(&cookies, late, 5000));
	cr_assert(good_at(&cookies, next, 5000));
	handshake_cookies_wipe(&cookies);
	cr_assert(!good_at(&cookies, next, 5000));
	cr_assert(sodium_is_zero((const uint8_t *)&cookies, sizeof(cookies)));
}

/* Before the first secret, and beside it, the zeros that stand in its place must not make cookies. */
Test(handshake_cookies, a_missing_secret_makes_none)
{
	static const uint8_t zeros[HANDSHAKE_KEY_BYTES];
	struct handshake_cookies cookies = {0};
	struct handshake_ends ends;
	uint8_t cookie[HANDSHAKE_MAC_BYTES], given[HANDSHAKE_INIT_BYTES];

	handshake_ends_init(&ends, 7, NULL);
	handshake_ends_write_init(&ends);
	handshake_cookie_of(zeros, &home, cookie);
	handshake_init_set_cookie(ends.init, cookie);
	cr_assert(!good_at(&cookies, ends.init, 5));
	init_with_cookie_of(&ends, &cookies, 5, given);
	cr_assert(good_at(&cookies, given, 5));
	cr_assert(!good_at(&cookies, ends.init, 5));
}

Test(handshake_cookies, hold_for_one_address_and_one_message)
{
	struct handshake_cookies cookies = {0};
	struct handshake_ends ends;
	uint8_t init[HANDSHAKE_INIT_BYTES];

	handshake_ends_init(&ends, 2, NULL);
	handshake_ends_write_init(&ends);
	init_with_cookie_of(&ends, &cookies, 10, init);
	cr_assert(good_at(&cookies, init, 11));
	for (size_t bit = 0; bit < HANDSHAKE_INIT_BYTES * 8; bit++) {
		init[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert(!good_at(&cookies, init, 11), "bit %zu", bit);
		init[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	struct kcpvpn_endpoint other = home;
	other.port ^= 0x100;
	cr_assert(!handshake_cookies_mac2_ok(&cookies, init, &other, mono_at_ms(11000)));
	other = home;
	other.address[3]++;
	cr_assert(!handshake_cookies_mac2_ok(&cookies, init, &other, mono_at_ms(11000)));
	other = home;
	other.family = 6; /* the same first bytes, another kind of address */
	cr_assert(!handshake_cookies_mac2_ok(&cookies, init, &other, mono_at_ms(11000)));
	handshake_init_set_cookie(init, NULL);
	cr_assert_arr_eq(init, ends.init, HANDSHAKE_INIT_BYTES);
}

Test(handshake_cookies, every_byte_of_an_ipv6_address_counts)
{
	struct kcpvpn_endpoint from = {.address = {0x20, 1, 0xd, 0xb8}, .port = 1, .family = 6};
	uint8_t secret[HANDSHAKE_KEY_BYTES] = {3}, first[HANDSHAKE_MAC_BYTES],
		other[HANDSHAKE_MAC_BYTES];

	handshake_cookie_of(secret, &from, first);
	for (size_t i = 0; i < 16; i++) {
		from.address[i] ^= 1;
		handshake_cookie_of(secret, &from, other);
		cr_assert_neq(memcmp(first, other, sizeof(first)), 0, "byte %zu", i);
		from.address[i] ^= 1;
	}
	handshake_cookie_of(secret, &from, other);
	cr_assert_arr_eq(first, other, sizeof(first));
}

/* ---- COOKIE ------------------------------------------------------------------------------------------------------ */

static enum handshake_verdict open_cookie(struct handshake_ends *ends,
	const struct handshake_attempt *attempt, const uint8_t bytes[HANDSHAKE_COOKIE_BYTES])
{
	static const uint8_t untouched[HANDSHAKE_MAC_BYTES];
	uint8_t cookie[HANDSHAKE_MAC_BYTES] = {0};
	struct handshake_attempt before = *attempt;
	enum handshake_verdict verdict =
		handshake_cookie_open(attempt, &ends->b_at_a, bytes, cookie);

	cr_assert_eq(memcmp(&before, attempt, sizeof(before)), 0);
	if (verdict == HANDSHAKE_OK)
		cr_assert_eq(cookie[0], 0xc0);
	else
		cr_assert_arr_eq(cookie, untouched, sizeof(cookie));
	return verdict;
}

Test(handshake_cookie, every_flipped_bit_is_refused)
{
	static const uint8_t cookie[HANDSHAKE_MAC_BYTES] = {0xc0, 1, 2};
	struct handshake_ends ends, others;
	uint8_t bytes[HANDSHAKE_COOKIE_BYTES];

	handshake_ends_init(&ends, 3, NULL);
	handshake_ends_init(&others, 4, NULL);
	handshake_ends_write_init(&ends);
	handshake_cookie_write(&ends.b, ends.init, cookie, &ends.rnd, bytes);
	cr_assert_eq(handshake_message_of(bytes, sizeof(bytes)), HANDSHAKE_COOKIE);
	cr_assert_eq(open_cookie(&ends, &ends.attempt, bytes), HANDSHAKE_OK);
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(open_cookie(&ends, &ends.attempt, bytes),
			bit < 32   ? HANDSHAKE_BAD_WORD
			: bit < 64 ? HANDSHAKE_BAD_INDEX
				   : HANDSHAKE_BAD_COOKIE,
			"bit %zu", bit);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}

	/* Of another responder; and to another attempt of the same index. */
	uint8_t foreign[HANDSHAKE_COOKIE_BYTES];
	handshake_cookie_write(&others.b, ends.init, cookie, &ends.rnd, foreign);
	cr_assert_eq(open_cookie(&ends, &ends.attempt, foreign), HANDSHAKE_BAD_COOKIE);
	struct handshake_attempt first = ends.attempt;
	handshake_ends_write_init(&ends);
	cr_assert_eq(open_cookie(&ends, &ends.attempt, bytes), HANDSHAKE_BAD_COOKIE);
	cr_assert_eq(open_cookie(&ends, &first, bytes), HANDSHAKE_OK);
}

/* ---- REJECT ------------------------------------------------------------------------------------------------------ */

static enum handshake_verdict open_reject(
	const struct handshake_attempt *attempt, const uint8_t bytes[HANDSHAKE_REJECT_BYTES])
{
	struct handshake_attempt before = *attempt;
	struct handshake_reject reject = {1, 77};
	enum handshake_verdict verdict = handshake_reject_open(attempt, bytes, &reject);

	cr_assert_eq(memcmp(&before, attempt, sizeof(before)), 0);
	cr_assert_eq(reject.last_seq, verdict == HANDSHAKE_OK ? 0xfedcba9876543210u : 1);
	cr_assert_eq(reject.reason, verdict == HANDSHAKE_OK ? HANDSHAKE_REJECT_FEATURE : 77);
	return verdict;
}

Test(handshake_reject, every_flipped_bit_is_refused)
{
	static const struct handshake_reject reject = {
		0xfedcba9876543210u, HANDSHAKE_REJECT_FEATURE};
	struct handshake_ends ends;
	uint8_t bytes[HANDSHAKE_REJECT_BYTES];

	handshake_ends_init(&ends, 5, NULL);
	handshake_ends_write_init(&ends);
	handshake_ends_read_init(&ends);
	struct handshake_responder before = ends.responder;
	handshake_reject_write(&ends.responder, &reject, &ends.rnd, bytes);
	cr_assert_eq(memcmp(&before, &ends.responder, sizeof(before)), 0);
	cr_assert_eq(handshake_message_of(bytes, sizeof(bytes)), HANDSHAKE_REJECT);
	cr_assert_eq(open_reject(&ends.attempt, bytes), HANDSHAKE_OK);
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(open_reject(&ends.attempt, bytes),
			bit < 32   ? HANDSHAKE_BAD_WORD
			: bit < 64 ? HANDSHAKE_BAD_INDEX
				   : HANDSHAKE_BAD_REJECT,
			"bit %zu", bit);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}

	/* Who knows all but the chaining key cannot make one; and the next attempt does not take an old one. */
	memset(before.noise.ck, 1, sizeof(before.noise.ck));
	uint8_t forged[HANDSHAKE_REJECT_BYTES];
	handshake_reject_write(&before, &reject, &ends.rnd, forged);
	cr_assert_eq(open_reject(&ends.attempt, forged), HANDSHAKE_BAD_REJECT);
	handshake_ends_write_init(&ends);
	cr_assert_eq(open_reject(&ends.attempt, bytes), HANDSHAKE_BAD_REJECT);
}

/* A REJECT before a RESP leaves nothing behind that would change the RESP. */
Test(handshake_reject, does_not_end_the_attempt)
{
	static const struct handshake_reject reject = {3, HANDSHAKE_REJECT_STALE};
	struct handshake_ends ends;
	uint8_t bytes[HANDSHAKE_REJECT_BYTES], params[HANDSHAKE_PARAMS_BYTES];
	struct handshake_reject opened;

	handshake_ends_init(&ends, 6, NULL);
	handshake_ends_write_init(&ends);
	handshake_ends_read_init(&ends);
	handshake_reject_write(&ends.responder, &reject, &ends.rnd, bytes);
	cr_assert_eq(handshake_reject_open(&ends.attempt, bytes, &opened), HANDSHAKE_OK);
	cr_assert_eq(opened.last_seq, 3);
	cr_assert_eq(opened.reason, HANDSHAKE_REJECT_STALE);
	handshake_ends_write_resp(&ends);
	cr_assert_eq(handshake_resp_open(
			     &ends.attempt, &ends.a, &ends.b_at_a, ends.resp, params, &ends.keys_a),
		HANDSHAKE_OK);
}
