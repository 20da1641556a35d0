/*
 * Offsets are those of the specification; what is reserved is written as zero and not looked at. Every number a peer tells
 * is checked here, once, so that nothing behind has to ask again whether it makes sense.
 */
#include "stack/native_params.h"

#include "core/wire.h"

#include <string.h>

void native_params_write(const struct native_params *params, enum native_params_role role,
	uint8_t ret_bytes[NATIVE_PARAMS_BYTES])
{
	memset(ret_bytes, 0, NATIVE_PARAMS_BYTES);
	if (role == NATIVE_PARAMS_INIT)
		store_le64(ret_bytes, params->init_seq);
	else
		store_le32(ret_bytes, params->sender_index);
	store_le64(ret_bytes + 8, params->instance_id);
	store_le16(ret_bytes + 16, params->features);
	store_le16(ret_bytes + 18, params->required);
	store_le16(ret_bytes + 20, params->datagram_max);
	store_le16(ret_bytes + 22, params->tun_mtu);
	store_le32(ret_bytes + 24, params->super_max);
	ret_bytes[28] = params->fec_window_max;
	ret_bytes[29] = params->shards;
	ret_bytes[31] = params->version_max;
	store_le32(ret_bytes + 32, params->rx_credit_bytes);
	store_le16(ret_bytes + 36, params->keepalive_s);
	store_le16(ret_bytes + 38, params->idle_timeout_s);
}

static bool in_range(const struct native_params *params, enum native_params_role role)
{
	if (role == NATIVE_PARAMS_INIT && params->init_seq >= NATIVE_INIT_SEQ_END)
		return false;
	if (role == NATIVE_PARAMS_RESP && params->sender_index % NATIVE_INDEX_STEP != 0)
		return false;
	return params->instance_id != 0 && params->datagram_max >= NATIVE_DATAGRAM_LEAST &&
	       params->datagram_max <= NATIVE_DATAGRAM_MOST &&
	       params->tun_mtu >= NATIVE_TUN_MTU_LEAST &&
	       (params->super_max == 0 || (params->super_max >= NATIVE_SUPER_LEAST &&
						  params->super_max <= NATIVE_SUPER_MOST)) &&
	       params->fec_window_max <= NATIVE_FEC_WINDOW_MOST && params->shards >= 1 &&
	       params->shards <= NATIVE_SHARDS_MAX && params->version_max >= NATIVE_VERSION &&
	       params->rx_credit_bytes >= NATIVE_CREDIT_LEAST &&
	       params->keepalive_s <= NATIVE_KEEPALIVE_MOST_S;
}

bool native_params_read(const uint8_t bytes[NATIVE_PARAMS_BYTES], enum native_params_role role,
	struct native_params *ret_params)
{
	struct wire wire = wire_of(bytes, NATIVE_PARAMS_BYTES);
	struct native_params params = {0};

	if (role == NATIVE_PARAMS_INIT) {
		params.init_seq = wire_le64(&wire);
	} else {
		params.sender_index = wire_le32(&wire);
		(void)wire_bytes(&wire, 4);
	}
	params.instance_id = wire_le64(&wire);
	params.features = wire_le16(&wire);
	params.required = wire_le16(&wire);
	params.datagram_max = wire_le16(&wire);
	params.tun_mtu = wire_le16(&wire);
	params.super_max = wire_le32(&wire);
	params.fec_window_max = wire_u8(&wire);
	params.shards = wire_u8(&wire);
	(void)wire_u8(&wire);
	params.version_max = wire_u8(&wire);
	params.rx_credit_bytes = wire_le32(&wire);
	params.keepalive_s = wire_le16(&wire);
	params.idle_timeout_s = wire_le16(&wire);
	if (!in_range(&params, role))
		return false;
	*ret_params = params;
	return true;
}
