/* ciphers.json: buffers and whole packets made by kcp-go. */
#include "answers.h"

#include "core/rand.h"
#include "crypto/cipher.h"
#include "crypto/crc32.h"
#include "crypto/packet_seal.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { CIPHERS_OF_KCP_GO = 13 };

static struct cipher *cipher_of(const json_t *entry)
{
	struct answer_bytes key = answer_hex(entry, "key", 0);
	const char *name = answer_text(entry, "cipher");
	struct cipher *cipher = NULL;

	cr_assert_eq(cipher_new(name, key.bytes, key.len, &cipher), 0, "%s", name);
	cr_assert_str_eq(cipher_name(cipher), name);
	free(key.bytes);
	return cipher;
}

static void check_buffer(struct cipher *cipher, struct answer_bytes in, struct answer_bytes want)
{
	const char *name = cipher_name(cipher);
	uint8_t *work = malloc(in.len);

	cr_assert_eq(in.len, want.len);
	memcpy(work, in.bytes, in.len);
	cipher_encrypt(cipher, work, in.len);
	cr_assert_arr_eq(work, want.bytes, want.len, "%s encrypts %zu bytes", name, in.len);
	cipher_decrypt(cipher, work, in.len);
	cr_assert_arr_eq(work, in.bytes, in.len, "%s decrypts %zu bytes", name, in.len);
	free(work);
	free(in.bytes);
	free(want.bytes);
}

Test(ciphers_json, buffers_of_every_size)
{
	json_t *document = answers_load("ciphers.json");
	const json_t *plain = json_object_get(document, "plain");
	const json_t *entry;
	size_t i, checked = 0, ciphers = 0;

	json_array_foreach(json_object_get(document, "ciphers"), i, entry)
	{
		json_t *out = json_object_get(entry, "out");
		const char *size;
		json_t *bytes;

		if (!out)
			continue;
		struct cipher *cipher = cipher_of(entry);
		ciphers++;
		json_object_foreach(out, size, bytes)
		{
			check_buffer(cipher, answer_hex(plain, size, 0), answer_hex(out, size, 0));
			checked++;
		}
		cipher_free(cipher);
	}
	cr_assert_eq(ciphers, CIPHERS_OF_KCP_GO);
	cr_assert_eq(checked, 12 * 18 + 15);
	json_decref(document);
}

Test(ciphers_json, other_keys)
{
	json_t *document = answers_load("ciphers.json");
	const json_t *entry;
	size_t i, checked = 0;

	json_array_foreach(json_object_get(document, "ciphers"), i, entry)
	{
		if (!json_object_get(entry, "in"))
			continue;
		struct cipher *cipher = cipher_of(entry);
		check_buffer(cipher, answer_hex(entry, "in", 0), answer_hex(entry, "packet", 0));
		cipher_free(cipher);
		checked++;
	}
	cr_assert_eq(checked, 3);
	json_decref(document);
}

/* A "random" source that gives the bytes of the answer. */
static void fill_from_answer(void *ctx, void *buf, size_t len)
{
	const struct answer_bytes *nonce = ctx;

	cr_assert_eq(len, nonce->len);
	memcpy(buf, nonce->bytes, len);
}

static void check_sealed(struct cipher *cipher, const json_t *sealed)
{
	struct answer_bytes nonce = answer_hex(sealed, "nonce", 0);
	struct answer_bytes payload = answer_hex(sealed, "payload", 0);
	struct answer_bytes plain = answer_hex(sealed, "plain", 0);
	struct answer_bytes want = answer_hex(sealed, "packet", 0);
	size_t header = packet_header_bytes(cipher);
	struct rand_source rnd = {fill_from_answer, &nonce};

	cr_assert_eq(crc32_of(payload.bytes, payload.len),
		(uint32_t)json_integer_value(json_object_get(sealed, "crc32")));
	cr_assert_eq(header + payload.len, plain.len);
	cr_assert_arr_eq(plain.bytes + header, payload.bytes, payload.len);

	uint8_t *packet = malloc(plain.len);
	memset(packet, 0xee, header);
	memcpy(packet + header, payload.bytes, payload.len);
	struct packet_seal_item out = {packet, plain.len};
	packet_seal(cipher, &out, 1, &rnd);
	cr_assert_eq(out.len, want.len);
	cr_assert_arr_eq(packet, want.bytes, want.len, "%s", cipher_name(cipher));

	struct packet_open_item in = {.packet = packet, .len = out.len};
	packet_open(cipher, &in, 1);
	cr_assert_eq(in.verdict, PACKET_OPEN_OK);
	cr_assert_eq(in.payload_len, payload.len);
	cr_assert_arr_eq(in.payload, payload.bytes, payload.len);
	cr_assert_arr_eq(packet, plain.bytes, plain.len);

	free(packet);
	free(nonce.bytes);
	free(payload.bytes);
	free(plain.bytes);
	free(want.bytes);
}

Test(ciphers_json, sealed_packets)
{
	json_t *document = answers_load("ciphers.json");
	const json_t *entry, *sealed;
	size_t i, k, checked = 0;

	json_array_foreach(json_object_get(document, "ciphers"), i, entry)
	{
		struct cipher *cipher = cipher_of(entry);
		json_array_foreach(json_object_get(entry, "sealed"), k, sealed)
		{
			check_sealed(cipher, sealed);
			checked++;
		}
		cipher_free(cipher);
	}
	cr_assert_eq(checked, 3 * CIPHERS_OF_KCP_GO);
	json_decref(document);
}
