/* pbkdf2.json: kcptun's keys and the table of the xor cipher. */
#include "answers.h"

#include "crypto/pbkdf2.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(pbkdf2_json, kcptun_keys)
{
	json_t *document = answers_load("pbkdf2.json");
	const json_t *entry;
	size_t i, checked = 0;

	json_array_foreach(json_object_get(document, "kcptun"), i, entry)
	{
		const char *password = answer_text(entry, "password");
		struct answer_bytes want = answer_hex(entry, "key", 0);
		uint8_t key[PBKDF2_KEY_BYTES];

		cr_assert_eq(want.len, sizeof(key));
		cr_assert_eq(pbkdf2_kcptun_key(password, strlen(password), key), 0);
		cr_assert_arr_eq(key, want.bytes, sizeof(key), "password %zu", i);
		free(want.bytes);
		checked++;
	}
	cr_assert_eq(checked, 5);
	json_decref(document);
}

Test(pbkdf2_json, xor_table)
{
	json_t *document = answers_load("pbkdf2.json");
	const json_t *entry = json_object_get(document, "xor_table");
	struct answer_bytes key = answer_hex(entry, "key", 0);
	struct answer_bytes want = answer_hex(entry, "table", 0);
	uint8_t table[PBKDF2_XOR_TABLE_BYTES];

	cr_assert_eq(want.len, sizeof(table));
	cr_assert_eq(pbkdf2_xor_table(key.bytes, key.len, table), 0);
	cr_assert_arr_eq(table, want.bytes, sizeof(table));
	free(key.bytes);
	free(want.bytes);
	json_decref(document);
}
