/* Who seals is a choice of the process. The bytes are compared in tests/unit/crypto. */
#include "crypto/seal_batch.h"
#include "kcpvpn/native.h"

#include <criterion/criterion.h>
#include <string.h>

Test(native_seal, tells_who_does_it)
{
	cr_assert_str_eq(kcpvpn_native_seal_with(true), "libsodium");
	cr_assert_str_eq(kcpvpn_native_seal_with(false), seal_impl_name(seal_batch_self_test()));
	if (seal_batch_supported(SEAL_IMPL_AVX2))
		cr_assert(strcmp(kcpvpn_native_seal_with(false), "libsodium") != 0);
}
