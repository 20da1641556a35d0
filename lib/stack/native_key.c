/* The public half of a private key, for programs that hold a key and no node yet: to check a configuration, say. */
#include "crypto/noise.h"
#include "kcpvpn/native.h"

_Static_assert((int)KCPVPN_NATIVE_KEY_BYTES == (int)NOISE_KEY_BYTES, "both are X25519");

void kcpvpn_native_public_half(const uint8_t private_key[KCPVPN_NATIVE_KEY_BYTES],
	uint8_t ret_public_key[KCPVPN_NATIVE_KEY_BYTES])
{
	noise_public(ret_public_key, private_key);
}
