/*
 * The peer may have as much outstanding as this says: messages sent and not wholly acknowledged, each piece rounded up to
 * 512 bytes. So a grant has to hold the path's product, what waits behind a hole until it is filled (one round trip more,
 * two if the resend is lost, too), and the rounding: four times what arrives in a round trip. It grows with the rate, because a
 * sender who is held back by it fills it, and then a round trip carries more. It falls slowly, an eighth a second: a pause
 * says little about the path.
 *
 * `reach` never falls: data sent under an older, larger grant may still arrive.
 */
#include "kcp/kcp_grant.h"

#include "kcp/kcp_path.h"

enum {
	ARRIVALS_GAIN = 8,
	ROUND_MIN_US = 10000,
	ROUND_UNKNOWN_US = 100000,
	DECAY_US = 1000000, /* an eighth in each */
};

void kcp_grant_init(struct kcp_grant *grant, uint32_t credit_bytes)
{
	*grant = (struct kcp_grant){
		.floor_bytes = credit_bytes,
		.told_bytes = credit_bytes,
		.reach_bytes = credit_bytes,
		.round_at = mono_at_us(INT64_MIN / 2),
	};
	if (grant->reach_bytes < KCP_PATH_GRANT_MIN_BYTES)
		grant->reach_bytes = KCP_PATH_GRANT_MIN_BYTES;
}

void kcp_grant_arrived(struct kcp_grant *grant, size_t bytes, int64_t srtt_us, struct mono now)
{
	int64_t round_us = srtt_us > 0 ? srtt_us : ROUND_UNKNOWN_US;
	int64_t elapsed_us = mono_diff_us(now, grant->round_at);

	if (round_us < ROUND_MIN_US)
		round_us = ROUND_MIN_US;
	grant->round_bytes += bytes;
	if (elapsed_us < round_us)
		return;
	uint64_t wanted = 0;
	if (elapsed_us < 8 * round_us)
		wanted = ARRIVALS_GAIN * grant->round_bytes * (uint64_t)round_us /
			 (uint64_t)elapsed_us;
	if (elapsed_us > 8 * DECAY_US)
		grant->level_bytes = 0;
	else
		grant->level_bytes -= grant->level_bytes / 8 * (uint64_t)elapsed_us / DECAY_US;
	if (wanted > grant->level_bytes)
		grant->level_bytes = wanted;
	grant->round_bytes = 0;
	grant->round_at = now;
}

uint64_t kcp_grant_bytes(const struct kcp_grant *grant, uint64_t unread_bytes, bool tight)
{
	uint64_t bytes =
		grant->level_bytes > grant->floor_bytes ? grant->level_bytes : grant->floor_bytes;

	if (bytes > KCP_PATH_GRANT_MAX_BYTES)
		bytes = KCP_PATH_GRANT_MAX_BYTES;
	bytes = bytes > unread_bytes ? bytes - unread_bytes : 0;
	if (tight || bytes < KCP_PATH_GRANT_MIN_BYTES)
		bytes = KCP_PATH_GRANT_MIN_BYTES;
	return bytes / KCP_PATH_GRANT_UNIT_BYTES * KCP_PATH_GRANT_UNIT_BYTES;
}

void kcp_grant_told(struct kcp_grant *grant, uint64_t bytes)
{
	grant->told_bytes = bytes;
	if (bytes > grant->reach_bytes)
		grant->reach_bytes = bytes;
}
