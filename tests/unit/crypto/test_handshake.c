/* INIT and RESP: whole exchanges, and every way for a message to be bad, each with its verdict. */
#include "handshake_ends.h"

#include "core/endian.h"
#include "crypto/handshake_mac.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static bool is_zero(const void *bytes, size_t len)
{
	return sodium_is_zero(bytes, len);
}

static void exchange(struct handshake_ends *ends)
{
	uint8_t params[HANDSHAKE_PARAMS_BYTES];

	handshake_ends_write_init(ends);
	handshake_ends_read_init(ends);
	handshake_ends_write_resp(ends);
	cr_assert_eq(handshake_resp_open(&ends->attempt, &ends->a, &ends->b_at_a, ends->resp,
			     params, &ends->keys_a),
		HANDSHAKE_OK);
	cr_assert_arr_eq(params, ends->params_b, sizeof(params));
	cr_assert_arr_eq(ends->keys_a.t_send, ends->keys_b.t_recv, HANDSHAKE_KEY_BYTES);
	cr_assert_arr_eq(ends->keys_a.t_recv, ends->keys_b.t_send, HANDSHAKE_KEY_BYTES);
	cr_assert_neq(memcmp(ends->keys_a.t_send, ends->keys_a.t_recv, HANDSHAKE_KEY_BYTES), 0);
}

Test(handshake, random_exchanges_agree)
{
	static const uint8_t network_key[HANDSHAKE_KEY_BYTES] = {1, 2, 3};
	struct handshake_keys last = {{0}, {0}};

	for (uint64_t seed = 0; seed < 200; seed++) {
		struct handshake_ends ends;

		handshake_ends_init(&ends, seed, seed % 2 ? network_key : NULL);
		exchange(&ends);
		cr_assert_neq(memcmp(&last, &ends.keys_a, sizeof(last)), 0);
		last = ends.keys_a;
		exchange(&ends); /* the same two again: other keys */
		cr_assert_neq(memcmp(&last, &ends.keys_a, sizeof(last)), 0);
		last = ends.keys_a;
	}
}

Test(handshake, secrets_do_not_stay)
{
	struct handshake_ends ends;
	uint8_t params[HANDSHAKE_PARAMS_BYTES];

	handshake_ends_init(&ends, 1, NULL);
	exchange(&ends);
	cr_assert(is_zero(&ends.responder, sizeof(ends.responder)), "after the answer");
	handshake_attempt_wipe(&ends.attempt);
	cr_assert(is_zero(&ends.attempt, sizeof(ends.attempt)));
	handshake_ends_write_init(&ends);
	handshake_ends_read_init(&ends);
	handshake_responder_wipe(&ends.responder);
	cr_assert(is_zero(&ends.responder, sizeof(ends.responder)));
	handshake_ends_read_init(&ends);
	cr_assert_eq(handshake_init_open_params(&ends.responder, &ends.b_at_a, params),
		HANDSHAKE_BAD_PEER);
	cr_assert(is_zero(&ends.responder, sizeof(ends.responder)), "after a fault");
	handshake_keys_wipe(&ends.keys_a);
	handshake_peer_wipe(&ends.b_at_a);
	handshake_self_wipe(&ends.a);
	cr_assert(is_zero(&ends.keys_a, sizeof(ends.keys_a)));
	cr_assert(is_zero(&ends.b_at_a, sizeof(ends.b_at_a)));
	cr_assert(is_zero(&ends.a, sizeof(ends.a)));
}

/* ---- keys that are refused --------------------------------------------------------------------------------------- */

Test(handshake, refuses_keys)
{
	static const uint8_t zeros[HANDSHAKE_KEY_BYTES];
	uint8_t one[HANDSHAKE_KEY_BYTES] = {1};
	struct handshake_ends ends;
	struct handshake_peer peer;
	struct handshake_self self;

	handshake_ends_init(&ends, 2, NULL);
	cr_assert_eq(handshake_self_init(&self, zeros, NULL), -EINVAL);
	memset(&peer, 0xee, sizeof(peer));
	cr_assert_eq(handshake_peer_init(&peer, &ends.a, zeros, NULL), -EINVAL);
	cr_assert(is_zero(&peer, sizeof(peer)));
	cr_assert_eq(handshake_peer_init(&peer, &ends.a, one, NULL), -EINVAL);
	one[31] = 0x80; /* the bit that X25519 ignores */
	cr_assert_eq(handshake_peer_init(&peer, &ends.a, one, NULL), -EINVAL);
	cr_assert_eq(handshake_peer_init(&peer, &ends.a, ends.a.public_key, NULL), -EINVAL);
	cr_assert(is_zero(&peer, sizeof(peer)));
	cr_assert_eq(handshake_peer_init(&peer, &ends.a, ends.b.public_key, NULL), 0);
}

/* ---- INIT -------------------------------------------------------------------------------------------------------- */

/* Everything b does with an INIT; OK if it would answer. */
static enum handshake_verdict read_init(struct handshake_ends *ends, const uint8_t *init)
{
	uint8_t peer_public[HANDSHAKE_KEY_BYTES], params[HANDSHAKE_PARAMS_BYTES];
	enum handshake_verdict verdict;

	if (!handshake_init_mac1_ok(&ends->b, init))
		return HANDSHAKE_BAD_MAC1;
	memset(peer_public, 0xee, sizeof(peer_public));
	memset(params, 0xee, sizeof(params));
	verdict = handshake_init_open_static(&ends->b, init, &ends->responder, peer_public);
	if (verdict == HANDSHAKE_OK)
		verdict = handshake_init_open_params(&ends->responder, &ends->a_at_b, params);
	if (verdict != HANDSHAKE_OK) {
		cr_assert_eq(params[0], 0xee, "results are written on OK only");
		cr_assert(is_zero(&ends->responder, sizeof(ends->responder)));
	}
	return verdict;
}

Test(handshake_init, every_flipped_bit_is_refused)
{
	struct handshake_ends ends;

	handshake_ends_init(&ends, 3, NULL);
	handshake_ends_write_init(&ends);
	cr_assert_eq(read_init(&ends, ends.init), HANDSHAKE_OK);
	for (size_t bit = 0; bit < HANDSHAKE_INIT_BYTES * 8; bit++) {
		uint8_t init[HANDSHAKE_INIT_BYTES];
		size_t at = bit / 8;

		memcpy(init, ends.init, sizeof(init));
		init[at] ^= (uint8_t)(1 << bit % 8);
		enum handshake_verdict want =
			at < HANDSHAKE_INIT_AT_MAC2 ? HANDSHAKE_BAD_MAC1 : HANDSHAKE_OK;
		cr_assert_eq(read_init(&ends, init), want, "bit %zu", bit);
		if (at >= HANDSHAKE_INIT_AT_MAC1)
			continue;
		/* With a mac1 that is right again, the word and the Noise message are left. The top bit of E is
		 * ignored by X25519, but not by the transcript. */
		handshake_ends_remac_init(&ends, init);
		want = at < 4	 ? HANDSHAKE_BAD_MAC1
		       : at < 88 ? HANDSHAKE_BAD_STATIC
				 : HANDSHAKE_BAD_PARAMS;
		cr_assert_eq(read_init(&ends, init), want, "bit %zu, mac1 repaired", bit);
	}
}

Test(handshake_init, small_order_is_refused)
{
	struct handshake_ends ends;

	handshake_ends_init(&ends, 4, NULL);
	handshake_ends_write_init(&ends);
	memset(ends.init + 8, 0, HANDSHAKE_KEY_BYTES);
	handshake_ends_remac_init(&ends, ends.init);
	cr_assert_eq(read_init(&ends, ends.init), HANDSHAKE_BAD_POINT);
}

/* An attacker knows both public keys and has an ephemeral key of its own, but not the private key it claims. */
Test(handshake_init, a_claimed_identity_is_not_proven)
{
	struct handshake_ends ends;
	struct handshake_self mallory;
	struct handshake_peer b_at_mallory;
	uint8_t key[HANDSHAKE_KEY_BYTES] = {7};

	handshake_ends_init(&ends, 5, NULL);
	cr_assert_eq(handshake_self_init(&mallory, key, NULL), 0);
	cr_assert_eq(handshake_peer_init(&b_at_mallory, &mallory, ends.b.public_key, NULL), 0);
	memcpy(mallory.public_key, ends.a.public_key, HANDSHAKE_KEY_BYTES);
	handshake_init_write(
		&ends.attempt, &mallory, &b_at_mallory, 16, ends.params_a, &ends.rnd, ends.init);
	cr_assert_eq(read_init(&ends, ends.init), HANDSHAKE_BAD_PARAMS);
}

Test(handshake_init, for_another_responder_or_network)
{
	static const uint8_t network_key[HANDSHAKE_KEY_BYTES] = {9};
	struct handshake_ends ends, others, networked;

	handshake_ends_init(&ends, 6, NULL);
	handshake_ends_init(&others, 7, NULL);
	handshake_ends_init(&networked, 6, network_key); /* the same keys but for this one */
	handshake_ends_write_init(&ends);
	cr_assert_eq(read_init(&ends, ends.init), HANDSHAKE_OK);
	cr_assert_eq(read_init(&others, ends.init), HANDSHAKE_BAD_MAC1);
	cr_assert_eq(read_init(&networked, ends.init), HANDSHAKE_BAD_MAC1);
	handshake_ends_write_init(&networked);
	cr_assert_eq(read_init(&networked, networked.init), HANDSHAKE_OK);
	cr_assert_eq(read_init(&ends, networked.init), HANDSHAKE_BAD_MAC1);

	/* mac1 repaired for the wrong responder: it cannot open what was sealed for another key. */
	handshake_ends_remac_init(&others, ends.init);
	cr_assert_eq(read_init(&others, ends.init), HANDSHAKE_BAD_STATIC);
}

/* ---- RESP -------------------------------------------------------------------------------------------------------- */

/* a reads a RESP that has to be refused: nothing may change. */
static enum handshake_verdict read_resp(
	struct handshake_ends *ends, const struct handshake_peer *peer, const uint8_t *resp)
{
	struct handshake_attempt before = ends->attempt;
	struct handshake_keys keys;
	uint8_t params[HANDSHAKE_PARAMS_BYTES];
	enum handshake_verdict verdict;

	memset(&keys, 0xee, sizeof(keys));
	memset(params, 0xee, sizeof(params));
	verdict = handshake_resp_open(&ends->attempt, &ends->a, peer, resp, params, &keys);
	cr_assert_eq(memcmp(&before, &ends->attempt, sizeof(before)), 0);
	for (size_t i = 0; verdict != HANDSHAKE_OK && i < HANDSHAKE_KEY_BYTES; i++) {
		cr_assert_eq(keys.t_send[i], 0xee);
		cr_assert_eq(keys.t_recv[i], 0xee);
		cr_assert_eq(params[i], 0xee);
	}
	return verdict;
}

Test(handshake_resp, every_flipped_bit_is_refused_and_the_attempt_lives)
{
	struct handshake_ends ends;

	handshake_ends_init(&ends, 8, NULL);
	handshake_ends_write_init(&ends);
	handshake_ends_read_init(&ends);
	handshake_ends_write_resp(&ends);
	for (size_t bit = 0; bit < HANDSHAKE_RESP_BYTES * 8; bit++) {
		uint8_t resp[HANDSHAKE_RESP_BYTES];
		size_t at = bit / 8;

		memcpy(resp, ends.resp, sizeof(resp));
		cr_assert(handshake_resp_mac1_ok(&ends.a, resp));
		cr_assert_not(handshake_resp_mac1_ok(&ends.b, resp), "not for its sender");
		resp[at] ^= (uint8_t)(1 << bit % 8);
		cr_assert_not(handshake_resp_mac1_ok(&ends.a, resp), "bit %zu", bit);
		cr_assert_eq(read_resp(&ends, &ends.b_at_a, resp),
			at < 4	 ? HANDSHAKE_BAD_WORD
			: at < 8 ? HANDSHAKE_BAD_INDEX
				 : HANDSHAKE_BAD_MAC1,
			"bit %zu", bit);
		if (at < 8 || at >= 104)
			continue;
		handshake_ends_remac_resp(&ends, resp);
		cr_assert_eq(
			read_resp(&ends, &ends.b_at_a, resp), HANDSHAKE_BAD_RESP, "bit %zu", bit);
	}
	cr_assert_eq(read_resp(&ends, &ends.b_at_a, ends.resp), HANDSHAKE_OK, "still");
}

Test(handshake_resp, small_order_is_refused)
{
	struct handshake_ends ends;

	handshake_ends_init(&ends, 9, NULL);
	handshake_ends_write_init(&ends);
	handshake_ends_read_init(&ends);
	handshake_ends_write_resp(&ends);
	memset(ends.resp + 8, 0, HANDSHAKE_KEY_BYTES);
	handshake_ends_remac_resp(&ends, ends.resp);
	cr_assert_eq(read_resp(&ends, &ends.b_at_a, ends.resp), HANDSHAKE_BAD_POINT);
}

Test(handshake_resp, another_psk)
{
	struct handshake_ends ends;
	struct handshake_peer other;
	uint8_t psk[HANDSHAKE_KEY_BYTES];

	handshake_ends_init(&ends, 10, NULL);
	handshake_ends_write_init(&ends);
	handshake_ends_read_init(&ends); /* INIT does not depend on it */
	handshake_ends_write_resp(&ends);
	memcpy(psk, ends.b_at_a.psk, sizeof(psk));
	psk[31] ^= 1;
	cr_assert_eq(handshake_peer_init(&other, &ends.a, ends.b.public_key, psk), 0);
	cr_assert_eq(read_resp(&ends, &other, ends.resp), HANDSHAKE_BAD_RESP);
	cr_assert_eq(handshake_peer_init(&other, &ends.a, ends.b.public_key, NULL), 0);
	cr_assert_eq(read_resp(&ends, &other, ends.resp), HANDSHAKE_BAD_RESP);
	cr_assert_eq(read_resp(&ends, &ends.b_at_a, ends.resp), HANDSHAKE_OK);
}

/* An answer to one attempt is none to another, though index and keys are the same. */
Test(handshake_resp, of_another_attempt)
{
	struct handshake_ends ends;

	handshake_ends_init(&ends, 11, NULL);
	handshake_ends_write_init(&ends);
	handshake_ends_read_init(&ends);
	handshake_ends_write_resp(&ends);
	handshake_ends_write_init(&ends);
	cr_assert_eq(read_resp(&ends, &ends.b_at_a, ends.resp), HANDSHAKE_BAD_RESP);
}

/* Somebody else with the right PSK who saw the INIT. */
Test(handshake_resp, of_somebody_else)
{
	struct handshake_ends ends, others;

	handshake_ends_init(&ends, 12, NULL);
	handshake_ends_init(&others, 13, NULL);
	handshake_ends_write_init(&ends);
	handshake_ends_read_init(&ends);
	struct handshake_responder stolen = ends.responder;
	memset(stolen.noise.ck, 1, sizeof(stolen.noise.ck)); /* all but the secrets */
	cr_assert_eq(handshake_resp_write(&stolen, &ends.a_at_b, ends.params_b, &others.rnd,
			     ends.resp, &ends.keys_b),
		HANDSHAKE_OK);
	cr_assert_eq(read_resp(&ends, &ends.b_at_a, ends.resp), HANDSHAKE_BAD_RESP);
}

/* A responder whose state names a point of small order (which reading an INIT never lets through) answers nothing. */
Test(handshake_resp, is_not_written_to_small_order)
{
	struct handshake_ends ends;

	handshake_ends_init(&ends, 14, NULL);
	handshake_ends_write_init(&ends);
	handshake_ends_read_init(&ends);
	memset(ends.responder.e_initiator, 0, HANDSHAKE_KEY_BYTES);
	memset(&ends.keys_b, 0xee, sizeof(ends.keys_b));
	cr_assert_eq(handshake_resp_write(&ends.responder, &ends.a_at_b, ends.params_b, &ends.rnd,
			     ends.resp, &ends.keys_b),
		HANDSHAKE_BAD_POINT);
	cr_assert(is_zero(ends.resp, sizeof(ends.resp)));
	cr_assert(is_zero(&ends.keys_b, sizeof(ends.keys_b)));
	cr_assert(is_zero(&ends.responder, sizeof(ends.responder)));
}

/* ---- recognising, naming ----------------------------------------------------------------------------------------- */

Test(handshake, messages_are_known_by_word_and_size)
{
	static const struct {
		uint32_t word;
		size_t len;
		enum handshake_message message;
	} known[] = {
		{HANDSHAKE_WORD_INIT, HANDSHAKE_INIT_BYTES, HANDSHAKE_INIT},
		{HANDSHAKE_WORD_RESP, HANDSHAKE_RESP_BYTES, HANDSHAKE_RESP},
		{HANDSHAKE_WORD_COOKIE, HANDSHAKE_COOKIE_BYTES, HANDSHAKE_COOKIE},
		{HANDSHAKE_WORD_REJECT, HANDSHAKE_REJECT_BYTES, HANDSHAKE_REJECT},
	};

	for (size_t i = 0; i < 4; i++) {
		for (size_t len = 0; len <= 200; len++) {
			uint8_t *bytes = calloc(1, len ? len : 1), word[4];

			store_le32(word, known[i].word);
			memcpy(bytes, word, len < 4 ? len : 4);
			cr_assert_eq(handshake_message_of(bytes, len),
				len == known[i].len ? known[i].message : HANDSHAKE_NONE);
			for (size_t bit = 0; len == known[i].len && bit < 32; bit++) {
				/* INIT and RESP, COOKIE and REJECT differ by one bit of type. */
				bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
				if (bit > 0 || len != HANDSHAKE_COOKIE_BYTES)
					cr_assert_eq(
						handshake_message_of(bytes, len), HANDSHAKE_NONE);
				bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			}
			free(bytes);
		}
	}
}

Test(handshake, every_verdict_has_a_text)
{
	const char *unknown = handshake_verdict_text(HANDSHAKE_VERDICTS);

	for (unsigned v = 0; v < HANDSHAKE_VERDICTS; v++) {
		const char *text = handshake_verdict_text((enum handshake_verdict)v);
		cr_assert(strcmp(text, unknown) != 0, "%u", v);
		for (unsigned w = 0; w < v; w++)
			cr_assert(strcmp(text, handshake_verdict_text((enum handshake_verdict)w)) !=
				  0);
	}
}

Test(handshake, shard_keys_differ)
{
	uint8_t t[HANDSHAKE_KEY_BYTES] = {4}, keys[HANDSHAKE_SHARDS_MAX][HANDSHAKE_KEY_BYTES];

	for (uint32_t s = 0; s < HANDSHAKE_SHARDS_MAX; s++) {
		handshake_shard_key(t, s, keys[s]);
		for (uint32_t other = 0; other < s; other++)
			cr_assert_neq(memcmp(keys[s], keys[other], HANDSHAKE_KEY_BYTES), 0);
	}
	cr_assert_arr_eq(keys[0], t, HANDSHAKE_KEY_BYTES);
}
