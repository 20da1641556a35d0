#include "crypto/cipher_library.h"

#include "crypto/cipher.h"

#include <criterion/criterion.h>
#include <pthread.h>

Test(cipher_library, starts_and_may_be_started_again)
{
	cr_assert_eq(cipher_library_init(), 0);
	cr_assert_eq(cipher_library_init(), 0);
}

static void *make_and_free(void *ret_result)
{
	const uint8_t key[CIPHER_KEY_BYTES_MAX] = {1};
	struct cipher *cipher;
	int rc = cipher_new("aes", key, sizeof(key), &cipher);

	if (rc == 0)
		cipher_free(cipher);
	*(int *)ret_result = rc;
	return NULL;
}

Test(cipher_library, is_started_by_the_first_cipher_of_any_thread)
{
	enum { THREADS = 8 };
	pthread_t threads[THREADS];
	int results[THREADS];

	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, make_and_free, &results[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		cr_assert_eq(results[i], 0);
	}
}
