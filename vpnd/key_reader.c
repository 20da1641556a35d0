/* The configuration layer has no cryptography of its own; here it meets that of the stack. */
#include "vpnd/key_reader.h"

#include "config/config_reader.h"
#include "kcpvpn/native.h"

_Static_assert((int)CONFIG_KEY_BYTES == (int)KCPVPN_NATIVE_KEY_BYTES, "both are X25519");

static int public_half(void *ctx, const uint8_t private_key[CONFIG_KEY_BYTES],
	uint8_t ret_public_key[CONFIG_KEY_BYTES])
{
	(void)ctx;
	kcpvpn_native_public_half(private_key, ret_public_key);
	return 0;
}

const struct config_reader *key_reader(void)
{
	static struct config_reader reader;

	if (!reader.public_half) {
		reader = *config_reader_default();
		reader.public_half = public_half;
	}
	return &reader;
}
