/* native.json, "data": sealed datagrams, short ones whole, long ones by their hash. */
#include "answers.h"

#include "core/endian.h"
#include "crypto/seal.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static struct answer_bytes plaintext_of(const json_t *vector)
{
	struct answer_bytes plain;

	if (answer_text(vector, "plaintext"))
		return answer_hex(vector, "plaintext", 0);
	plain.len = (size_t)json_integer_value(json_object_get(vector, "plaintext_pattern"));
	plain.bytes = malloc(plain.len);
	for (size_t i = 0; i < plain.len; i++)
		plain.bytes[i] = (uint8_t)(7 * i * i + 13 * i);
	return plain;
}

static void check(const json_t *vector)
{
	struct answer_bytes key = answer_hex(vector, "key", 0);
	struct answer_bytes counter = answer_hex(vector, "counter", 0);
	struct answer_bytes plain = plaintext_of(vector);
	size_t len = plain.len + SEAL_OVERHEAD_BYTES;
	uint8_t *datagram = malloc(len);
	struct seal_key seal;

	seal_key_init(&seal, key.bytes);
	memcpy(datagram + SEAL_HEADER_BYTES, plain.bytes, plain.len);
	struct seal_item out = {
		.payload = datagram + SEAL_HEADER_BYTES,
		.len = plain.len,
		.counter = load_be64(counter.bytes), /* written as a number */
		.key = &seal,
		.receiver_index =
			(uint32_t)json_integer_value(json_object_get(vector, "receiver_index")),
	};
	seal_batch(&out, 1);
	cr_assert_eq(out.verdict, SEAL_OK);
	if (answer_text(vector, "datagram")) {
		struct answer_bytes want = answer_hex(vector, "datagram", 0);
		cr_assert_eq(want.len, len);
		cr_assert_arr_eq(datagram, want.bytes, len);
		free(want.bytes);
	} else {
		struct answer_bytes want = answer_hex(vector, "datagram_hash", 0);
		uint8_t hash[32];
		crypto_generichash(hash, sizeof(hash), datagram, len, NULL, 0);
		cr_assert_arr_eq(hash, want.bytes, sizeof(hash), "%zu bytes", plain.len);
		free(want.bytes);
	}

	struct seal_header header;
	cr_assert_eq(seal_header_read(datagram, len, &header), SEAL_OK);
	cr_assert_eq(header.counter, out.counter);
	cr_assert_eq(header.receiver_index, out.receiver_index);
	struct open_item in = {.datagram = datagram, .len = len, .key = key.bytes};
	open_batch(&in, 1);
	cr_assert_eq(in.verdict, SEAL_OK);
	cr_assert_eq(in.payload_len, plain.len);
	if (plain.len > 0)
		cr_assert_arr_eq(in.payload, plain.bytes, plain.len);
	free(datagram);
	free(plain.bytes);
	free(counter.bytes);
	free(key.bytes);
}

Test(native_data, datagrams)
{
	json_t *document = answers_load("native.json");
	const json_t *vector;
	size_t i;

	json_array_foreach(json_object_get(document, "data"), i, vector)
	{
		check(vector);
	}
	cr_assert_eq(i, 11);
	json_decref(document);
}
