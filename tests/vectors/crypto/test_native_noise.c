/* native.json, "noise": the public vector of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b, token by token, from both ends. */
#include "answers.h"

#include "core/endian.h"
#include "crypto/handshake_mac.h"
#include "crypto/noise.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct side {
	struct noise noise;
	uint8_t s_private[32], s_public[32], e_private[32], e_public[32];
};

static void take(const json_t *object, const char *name, uint8_t *to, size_t len)
{
	struct answer_bytes answer = answer_hex(object, name, 0);

	cr_assert_eq(answer.len, len, "%s", name);
	memcpy(to, answer.bytes, len);
	free(answer.bytes);
}

static void mix_dh(struct noise *noise, const uint8_t private_key[32], const uint8_t public_key[32])
{
	uint8_t shared[32];

	cr_assert(noise_dh(shared, private_key, public_key));
	noise_mix_key(noise, shared);
}

static void mix_ephemeral(struct noise *noise, const uint8_t e_public[32])
{
	noise_mix_hash(noise, e_public, 32);
	noise_mix_key(noise, e_public);
}

static void sides(const json_t *vector, struct side *init, struct side *resp)
{
	struct answer_bytes prologue = answer_hex(vector, "prologue", 0);
	uint8_t want[32];

	take(vector, "init_static", init->s_private, 32);
	take(vector, "init_ephemeral", init->e_private, 32);
	take(vector, "resp_static", resp->s_private, 32);
	take(vector, "resp_ephemeral", resp->e_private, 32);
	for (struct side *side = init; side; side = side == init ? resp : NULL) {
		noise_public(side->s_public, side->s_private);
		noise_public(side->e_public, side->e_private);
	}
	take(vector, "init_remote_static", want, 32);
	cr_assert_arr_eq(resp->s_public, want, 32);
	noise_init(&init->noise, prologue.bytes, prologue.len, resp->s_public);
	noise_init(&resp->noise, prologue.bytes, prologue.len, resp->s_public);
	free(prologue.bytes);
}

static struct answer_bytes message(const json_t *vector, size_t i, const char *part)
{
	return answer_hex(json_array_get(json_object_get(vector, "messages"), i), part, 0);
}

static void message_1(const json_t *vector, struct side *init, struct side *resp)
{
	struct answer_bytes payload = message(vector, 0, "payload");
	struct answer_bytes want = message(vector, 0, "ciphertext");
	uint8_t out[200], opened[200];

	cr_assert_eq(want.len, 32 + 48 + payload.len + 16);
	memcpy(out, init->e_public, 32);
	mix_ephemeral(&init->noise, init->e_public);
	mix_dh(&init->noise, init->e_private, resp->s_public);
	noise_seal(&init->noise, init->s_public, 32, out + 32);
	mix_dh(&init->noise, init->s_private, resp->s_public);
	noise_seal(&init->noise, payload.bytes, payload.len, out + 80);
	cr_assert_arr_eq(out, want.bytes, want.len);

	mix_ephemeral(&resp->noise, want.bytes);
	mix_dh(&resp->noise, resp->s_private, want.bytes);
	cr_assert(noise_open(&resp->noise, want.bytes + 32, 32, opened));
	cr_assert_arr_eq(opened, init->s_public, 32);
	mix_dh(&resp->noise, resp->s_private, opened);
	cr_assert(noise_open(&resp->noise, want.bytes + 80, payload.len, opened));
	cr_assert_arr_eq(opened, payload.bytes, payload.len);
	free(payload.bytes);
	free(want.bytes);
}

static void message_2(const json_t *vector, struct side *init, struct side *resp)
{
	struct answer_bytes payload = message(vector, 1, "payload");
	struct answer_bytes want = message(vector, 1, "ciphertext");
	uint8_t out[200], opened[200], psk[32], hash[64];

	take(vector, "psk", psk, sizeof(psk));
	cr_assert_eq(want.len, 32 + payload.len + 16);
	memcpy(out, resp->e_public, 32);
	mix_ephemeral(&resp->noise, resp->e_public);
	mix_dh(&resp->noise, resp->e_private, init->e_public);
	mix_dh(&resp->noise, resp->e_private, init->s_public);
	take(vector, "hash_before_psk", hash, sizeof(hash));
	cr_assert_arr_eq(resp->noise.h, hash, sizeof(hash));
	noise_mix_key_and_hash(&resp->noise, psk);
	noise_seal(&resp->noise, payload.bytes, payload.len, out + 32);
	cr_assert_arr_eq(out, want.bytes, want.len);

	mix_ephemeral(&init->noise, want.bytes);
	mix_dh(&init->noise, init->e_private, want.bytes);
	mix_dh(&init->noise, init->s_private, want.bytes);
	noise_mix_key_and_hash(&init->noise, psk);
	cr_assert(noise_open(&init->noise, want.bytes + 32, payload.len, opened));
	cr_assert_arr_eq(opened, payload.bytes, payload.len);
	free(payload.bytes);
	free(want.bytes);
}

/* Messages 3 .. 6 are Noise transport messages; they show that Split() is right. */
static void transport(const json_t *vector, const struct noise *noise)
{
	uint8_t keys[2][32], nonce[12] = {0}, out[200];

	noise_split(noise, keys[0], keys[1]);
	for (size_t i = 0; i < 4; i++) {
		struct answer_bytes payload = message(vector, 2 + i, "payload");
		struct answer_bytes want = message(vector, 2 + i, "ciphertext");

		store_le64(nonce + 4, i / 2);
		crypto_aead_chacha20poly1305_ietf_encrypt(
			out, NULL, payload.bytes, payload.len, NULL, 0, NULL, nonce, keys[i % 2]);
		cr_assert_eq(want.len, payload.len + 16);
		cr_assert_arr_eq(out, want.bytes, want.len, "message %zu", 3 + i);
		free(payload.bytes);
		free(want.bytes);
	}
}

Test(native_noise, public_vector)
{
	json_t *document = answers_load("native.json");
	const json_t *vector = json_object_get(document, "noise");
	struct side init, resp;
	uint8_t want[64], c1[32], c2[32], t[32];

	sides(vector, &init, &resp);
	message_1(vector, &init, &resp);
	message_2(vector, &init, &resp);
	take(vector, "handshake_hash", want, 64);
	cr_assert_arr_eq(init.noise.h, want, 64);
	cr_assert_arr_eq(resp.noise.h, want, 64);
	cr_assert_arr_eq(init.noise.ck, resp.noise.ck, 64);
	transport(vector, &init.noise);

	noise_split(&resp.noise, c1, c2);
	handshake_hash(t, c1, 32, "vpnd1 data i2r", resp.noise.h, 64);
	take(vector, "t_i2r", want, 32);
	cr_assert_arr_eq(t, want, 32);
	handshake_hash(t, c2, 32, "vpnd1 data r2i", resp.noise.h, 64);
	take(vector, "t_r2i", want, 32);
	cr_assert_arr_eq(t, want, 32);
	json_decref(document);
}
