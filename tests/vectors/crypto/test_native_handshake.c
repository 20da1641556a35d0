/* native.json, "handshakes", "shard_keys", "cookies": whole messages and keys of the native wire. */
#include "answers.h"

#include "core/endian.h"
#include "core/rand.h"
#include "crypto/handshake.h"
#include "crypto/handshake_mac.h"
#include "kcpvpn/endpoint.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static void take(const json_t *object, const char *name, uint8_t *to, size_t len)
{
	struct answer_bytes answer = answer_hex(object, name, 0);

	cr_assert_eq(answer.len, len, "%s", name);
	memcpy(to, answer.bytes, len);
	free(answer.bytes);
}

static void is(const json_t *object, const char *name, const uint8_t *bytes, size_t len)
{
	struct answer_bytes answer = answer_hex(object, name, 0);

	cr_assert_eq(answer.len, len, "%s", name);
	cr_assert_arr_eq(bytes, answer.bytes, len, "%s", name);
	free(answer.bytes);
}

static void hash_is(const json_t *object, const char *name, const uint8_t *bytes, size_t len)
{
	uint8_t hash[32];

	crypto_generichash(hash, sizeof(hash), bytes, len, NULL, 0);
	is(object, name, hash, sizeof(hash));
}

/* Gives what stands in the vector instead of randomness. */
struct given {
	const json_t *vector;
	const char *name;
};

static void fill_given(void *ctx, void *buf, size_t len)
{
	const struct given *given = ctx;

	take(given->vector, given->name, buf, len);
}

struct ends {
	struct handshake_self init_self, resp_self;
	struct handshake_peer init_peer, resp_peer; /* each as the other sees it */
	uint8_t params_i[48], params_r[48];
	uint32_t index;
};

static void ends_init(const json_t *vector, struct ends *ends)
{
	struct answer_bytes network = answer_hex(vector, "network_key", 0);
	const uint8_t *network_key = network.len ? network.bytes : NULL;
	uint8_t key[32], psk[32];

	take(vector, "init_static", key, 32);
	cr_assert_eq(handshake_self_init(&ends->init_self, key, network_key), 0);
	take(vector, "resp_static", key, 32);
	cr_assert_eq(handshake_self_init(&ends->resp_self, key, network_key), 0);
	free(network.bytes);
	take(vector, "psk", psk, 32);
	const uint8_t *psk_or_none = sodium_is_zero(psk, 32) ? NULL : psk;
	cr_assert_eq(handshake_peer_init(&ends->resp_peer, &ends->init_self,
			     ends->resp_self.public_key, psk_or_none),
		0);
	cr_assert_eq(handshake_peer_init(
			     &ends->init_peer, &ends->resp_self, ends->init_self.public_key, psk),
		0);
	take(vector, "params_i", ends->params_i, 48);
	take(vector, "params_r", ends->params_r, 48);
	ends->index = (uint32_t)json_integer_value(json_object_get(vector, "sender_index"));
}

static void check_cookie(const json_t *vector, const struct ends *ends,
	const struct handshake_attempt *attempt, uint8_t init[HANDSHAKE_INIT_BYTES])
{
	struct given nonce = {vector, "nonce"};
	struct rand_source rnd = {fill_given, &nonce};
	uint8_t cookie[16], bytes[HANDSHAKE_COOKIE_BYTES];

	is(vector, "cookie_key", ends->resp_self.cookie_key, 32);
	is(vector, "cookie_key", ends->resp_peer.cookie_key, 32);
	take(vector, "cookie", cookie, sizeof(cookie));
	handshake_cookie_write(&ends->resp_self, init, cookie, &rnd, bytes);
	is(vector, "cookie_message", bytes, sizeof(bytes));
	memset(cookie, 0, sizeof(cookie));
	cr_assert_eq(handshake_cookie_open(attempt, &ends->resp_peer, bytes, cookie), HANDSHAKE_OK);
	is(vector, "cookie", cookie, sizeof(cookie));
	handshake_init_set_cookie(init, cookie);
	is(vector, "init_with_cookie", init, HANDSHAKE_INIT_BYTES);
	handshake_init_set_cookie(init, NULL);
	is(vector, "init", init, HANDSHAKE_INIT_BYTES);
}

static void check_reject(const json_t *vector, const struct handshake_attempt *attempt,
	const struct handshake_responder *responder)
{
	struct given nonce = {vector, "nonce"};
	struct rand_source rnd = {fill_given, &nonce};
	uint8_t last_seq[8], bytes[HANDSHAKE_REJECT_BYTES], key[32], plain[16];
	struct handshake_reject reject, opened;

	take(vector, "reject_last_seq", last_seq, sizeof(last_seq));
	reject.last_seq = load_be64(last_seq); /* written as a number */
	reject.reason = (uint8_t)json_integer_value(json_object_get(vector, "reject_reason"));
	handshake_reject_write(responder, &reject, &rnd, bytes);
	is(vector, "reject_message", bytes, sizeof(bytes));

	take(vector, "reject_key", key, sizeof(key));
	cr_assert_eq(crypto_aead_xchacha20poly1305_ietf_decrypt(
			     plain, NULL, NULL, bytes + 32, 32, attempt->mac1, 16, bytes + 8, key),
		0);
	cr_assert_eq(handshake_reject_open(attempt, bytes, &opened), HANDSHAKE_OK);
	cr_assert_eq(opened.last_seq, reject.last_seq);
	cr_assert_eq(opened.reason, reject.reason);
}

static void check_handshake(const json_t *vector)
{
	struct ends ends;
	struct handshake_attempt attempt;
	struct handshake_responder responder;
	struct handshake_keys init_keys, resp_keys;
	uint8_t init[HANDSHAKE_INIT_BYTES], resp[HANDSHAKE_RESP_BYTES];
	uint8_t peer_public[32], params[48];
	struct given e = {vector, "init_ephemeral"};
	struct rand_source rnd = {fill_given, &e};

	ends_init(vector, &ends);
	handshake_init_write(
		&attempt, &ends.init_self, &ends.resp_peer, ends.index, ends.params_i, &rnd, init);
	is(vector, "mac1_init", init + HANDSHAKE_INIT_AT_MAC1, 16);
	is(vector, "init", init, sizeof(init));
	hash_is(vector, "init_hash", init, sizeof(init));
	check_cookie(vector, &ends, &attempt, init);

	cr_assert(handshake_init_mac1_ok(&ends.resp_self, init));
	cr_assert_eq(handshake_init_open_static(&ends.resp_self, init, &responder, peer_public),
		HANDSHAKE_OK);
	cr_assert_arr_eq(peer_public, ends.init_self.public_key, 32);
	cr_assert_eq(responder.sender_index, ends.index);
	cr_assert_eq(handshake_init_open_params(&responder, &ends.init_peer, params), HANDSHAKE_OK);
	cr_assert_arr_eq(params, ends.params_i, 48);
	check_reject(vector, &attempt, &responder);

	e.name = "resp_ephemeral";
	cr_assert_eq(handshake_resp_write(
			     &responder, &ends.init_peer, ends.params_r, &rnd, resp, &resp_keys),
		HANDSHAKE_OK);
	is(vector, "mac1_resp", resp + 104, 16);
	is(vector, "resp", resp, sizeof(resp));
	hash_is(vector, "resp_hash", resp, sizeof(resp));
	cr_assert_eq(handshake_resp_open(
			     &attempt, &ends.init_self, &ends.resp_peer, resp, params, &init_keys),
		HANDSHAKE_OK);
	cr_assert_arr_eq(params, ends.params_r, 48);
	is(vector, "t_i2r", init_keys.t_send, 32);
	is(vector, "t_i2r", resp_keys.t_recv, 32);
	is(vector, "t_r2i", init_keys.t_recv, 32);
	is(vector, "t_r2i", resp_keys.t_send, 32);
}

Test(native_handshake, messages)
{
	json_t *document = answers_load("native.json");
	const json_t *vector;
	size_t i;

	json_array_foreach(json_object_get(document, "handshakes"), i, vector)
	{
		check_handshake(vector);
	}
	cr_assert_eq(i, 2);
	json_decref(document);
}

Test(native_handshake, shard_keys)
{
	json_t *document = answers_load("native.json");
	const json_t *vector;
	size_t i;

	json_array_foreach(json_object_get(document, "shard_keys"), i, vector)
	{
		uint8_t t[32], key[32];
		uint32_t shard = (uint32_t)json_integer_value(json_object_get(vector, "shard"));

		take(vector, "t", t, 32);
		handshake_shard_key(t, shard, key);
		is(vector, "key", key, 32);
		handshake_shard_key(t, shard, t);
		is(vector, "key", t, 32);
	}
	cr_assert_eq(i, 4);
	json_decref(document);
}

Test(native_handshake, cookies)
{
	json_t *document = answers_load("native.json");
	const json_t *vector;
	size_t i;

	json_array_foreach(json_object_get(document, "cookies"), i, vector)
	{
		struct kcpvpn_endpoint from = {0};
		struct answer_bytes address = answer_hex(vector, "address", 0);
		uint8_t secret[32], cookie[16];

		memcpy(from.address, address.bytes, address.len);
		free(address.bytes);
		from.family = (uint8_t)json_integer_value(json_object_get(vector, "family"));
		from.port = (uint16_t)json_integer_value(json_object_get(vector, "port"));
		take(vector, "secret", secret, 32);
		handshake_cookie_of(secret, &from, cookie);
		is(vector, "cookie", cookie, 16);
	}
	cr_assert_eq(i, 4);
	json_decref(document);
}
