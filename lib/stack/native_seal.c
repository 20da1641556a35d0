/* Who seals: a choice of the process, which programs make by what they know of the machine or want to measure. */
#include "crypto/cipher_library.h"
#include "crypto/seal.h"
#include "kcpvpn/native.h"

const char *kcpvpn_native_seal_with(bool libsodium)
{
	enum seal_impl impl = SEAL_IMPL_SODIUM;

	/* If the library does not start, there will be no node that could seal. */
	if (cipher_library_init() == 0 && !libsodium)
		impl = seal_batch_self_test();
	seal_use(libsodium ? SEAL_IMPL_SODIUM : SEAL_IMPL_AUTO);
	return seal_impl_name(impl);
}
