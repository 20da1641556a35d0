/* Defaults, kcptun's modes, and the sizes that follow from a configuration. */
#include "stack/node_config.h"

#include "crypto/cipher.h"
#include "crypto/packet_seal.h"
#include "crypto/pbkdf2.h"
#include "fec/fec_header.h"
#include "kcp/kcp_segment.h"

#include <errno.h>
#include <string.h>

_Static_assert((int)KCPVPN_KEY_BYTES == (int)PBKDF2_KEY_BYTES, "a derived key fills a key");

const char *kcpvpn_crypt_name(size_t index)
{
	return index < CIPHER_KINDS ? cipher_kind_name((enum cipher_kind)index) : NULL;
}

int kcpvpn_key_derive(const char *password, size_t password_len, uint8_t ret_key[KCPVPN_KEY_BYTES])
{
	return pbkdf2_kcptun_key(password, password_len, ret_key) < 0 ? -EIO : 0;
}

void kcpvpn_config_init(struct kcpvpn_config *config)
{
	*config = (struct kcpvpn_config){
		.crypt = "salsa20",
		.data_shards = 10,
		.parity_shards = 3,
		.mtu_bytes = 1350,
		.snd_wnd = 1024,
		.rcv_wnd = 1024,
		.stream = true,
		.measured_window = true,
		.profile = KCPVPN_PROFILE_5_6_72,
		.convs_max = 4096,
		.memory_max_bytes = (uint64_t)256 << 20,
	};
	(void)kcpvpn_config_mode(config, "fast");
}

int kcpvpn_config_mode(struct kcpvpn_config *config, const char *mode)
{
	static const struct {
		const char *name;
		bool nodelay;
		uint32_t interval_ms;
		uint32_t fast_resend;
	} modes[] = {
		{"normal", false, 40, 2},
		{"fast", false, 30, 2},
		{"fast2", true, 20, 2},
		{"fast3", true, 10, 2},
	};
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(mode, modes[i].name) != 0)
			continue;
		config->nodelay = modes[i].nodelay;
		config->interval_ms = modes[i].interval_ms;
		config->fast_resend = modes[i].fast_resend;
		config->no_congestion_window = true;
		return 0;
	}
	return -EINVAL;
}

bool node_config_has_fec(const struct kcpvpn_config *config)
{
	return config->data_shards > 0 && config->parity_shards > 0;
}

/* Crypt header and trailer by the way a cipher takes part. */
static uint32_t crypt_bytes(enum cipher_framing framing)
{
	switch (framing) {
	case CIPHER_FRAMING_PLAIN:
		return 0;
	case CIPHER_FRAMING_CHECKSUM:
		return PACKET_HEADROOM_BYTES;
	case CIPHER_FRAMING_AEAD:
		return CIPHER_AEAD_NONCE_BYTES + CIPHER_AEAD_TAG_BYTES;
	}
	return 0;
}

size_t kcpvpn_config_mss(const struct kcpvpn_config *config)
{
	enum cipher_kind kind;

	if (!config->crypt || cipher_kind_by_name(config->crypt, &kind) < 0 ||
		config->mtu_bytes < KCPVPN_MTU_MIN_BYTES ||
		config->mtu_bytes > KCPVPN_MTU_MAX_BYTES)
		return 0;
	uint32_t overhead = crypt_bytes(cipher_kind_framing(kind)) + KCP_OVERHEAD_BYTES +
			    (node_config_has_fec(config) ? FEC_OVERHEAD_BYTES : 0);
	return overhead < config->mtu_bytes ? config->mtu_bytes - overhead : 0;
}

bool node_config_valid(const struct kcpvpn_config *config)
{
	return kcpvpn_config_mss(config) > 0 && config->data_shards <= 255 &&
	       config->parity_shards <= 255 && config->data_shards + config->parity_shards <= 255 &&
	       config->snd_wnd >= 1 && config->snd_wnd <= KCPVPN_WND_MAX && config->rcv_wnd >= 1 &&
	       config->rcv_wnd <= KCPVPN_WND_MAX && config->interval_ms >= 10 &&
	       config->interval_ms <= 5000 && config->convs_max >= 1 &&
	       (config->profile == KCPVPN_PROFILE_5_6_72 ||
		       config->profile == KCPVPN_PROFILE_5_6_1) &&
	       config->keepalive_us >= 0 && config->dead_after_us >= 0 &&
	       config->idle_after_us >= 0;
}
