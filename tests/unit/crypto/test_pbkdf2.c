#include "crypto/pbkdf2.h"

#include <criterion/criterion.h>
#include <string.h>

Test(pbkdf2, an_empty_password_may_be_a_null_pointer)
{
	uint8_t with_text[PBKDF2_KEY_BYTES];
	uint8_t with_null[PBKDF2_KEY_BYTES];

	cr_assert_eq(pbkdf2_kcptun_key("", 0, with_text), 0);
	cr_assert_eq(pbkdf2_kcptun_key(NULL, 0, with_null), 0);
	cr_assert_arr_eq(with_text, with_null, sizeof(with_text));
}

Test(pbkdf2, takes_the_length_and_not_the_terminator)
{
	uint8_t whole[PBKDF2_KEY_BYTES];
	uint8_t part[PBKDF2_KEY_BYTES];
	uint8_t with_zero[PBKDF2_KEY_BYTES];

	cr_assert_eq(pbkdf2_kcptun_key("abc", 3, whole), 0);
	cr_assert_eq(pbkdf2_kcptun_key("abcdef", 3, part), 0);
	cr_assert_eq(pbkdf2_kcptun_key("a\0c", 3, with_zero), 0);
	cr_assert_arr_eq(whole, part, sizeof(whole));
	cr_assert(memcmp(whole, with_zero, sizeof(whole)) != 0);
}
