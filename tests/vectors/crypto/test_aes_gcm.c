/* aes-gcm.json: packets in kcp-go's AEAD framing. */
#include "answers.h"

#include "core/rand.h"
#include "crypto/cipher.h"
#include "crypto/packet_seal.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void fill_from_answer(void *ctx, void *buf, size_t len)
{
	const struct answer_bytes *nonce = ctx;

	cr_assert_eq(len, nonce->len);
	memcpy(buf, nonce->bytes, len);
}

Test(aes_gcm_json, packets)
{
	json_t *document = answers_load("aes-gcm.json");
	const json_t *entry;
	size_t i, checked = 0;

	json_array_foreach(json_object_get(document, "packets"), i, entry)
	{
		struct answer_bytes key = answer_hex(entry, "key", 0);
		struct answer_bytes nonce = answer_hex(entry, "nonce", 0);
		struct answer_bytes payload = answer_hex(entry, "payload", 0);
		struct answer_bytes want = answer_hex(entry, "packet", 0);
		struct rand_source rnd = {fill_from_answer, &nonce};
		struct cipher *cipher;

		cr_assert_eq(
			cipher_new_kind(key.len == 16 ? CIPHER_AES_128_GCM : CIPHER_AES_256_GCM,
				key.bytes, key.len, &cipher),
			0);
		size_t header = packet_header_bytes(cipher);
		uint8_t *packet = malloc(want.len);
		memcpy(packet + header, payload.bytes, payload.len);
		struct packet_seal_item out = {packet, header + payload.len};
		packet_seal(cipher, &out, 1, &rnd);
		cr_assert_eq(out.len, want.len);
		cr_assert_arr_eq(packet, want.bytes, want.len, "packet %zu", i);

		struct packet_open_item in = {.packet = packet, .len = want.len};
		packet_open(cipher, &in, 1);
		cr_assert_eq(in.verdict, PACKET_OPEN_OK);
		cr_assert_eq(in.payload_len, payload.len);
		if (payload.len > 0)
			cr_assert_arr_eq(in.payload, payload.bytes, payload.len);

		cipher_free(cipher);
		free(packet);
		free(key.bytes);
		free(nonce.bytes);
		free(payload.bytes);
		free(want.bytes);
		checked++;
	}
	cr_assert_eq(checked, 8);
	json_decref(document);
}
