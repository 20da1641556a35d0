/*
 * A body is judged whole before anything of it takes effect, so the walk behind needs no errors. Two things are strict on
 * purpose: the length of a known type (a longer one is a newer meaning that this side would get wrong), and the count, which
 * also counts padding and what is skipped, since walking costs the same whatever is found.
 */
#include "session/session_control.h"

#include <string.h>

/* Bytes of a type's value, or -1 if any number will do. */
static int value_bytes(uint8_t type)
{
	switch (type) {
	case SESSION_CONTROL_PING:
	case SESSION_CONTROL_PONG:
	case SESSION_CONTROL_PATH_CHALLENGE:
	case SESSION_CONTROL_PATH_RESPONSE:
		return SESSION_CONTROL_TOKEN_BYTES;
	case SESSION_CONTROL_MTU_PROBE:
	case SESSION_CONTROL_MTU_ACK:
		return SESSION_CONTROL_MTU_BYTES;
	case SESSION_CONTROL_CLOSE:
		return SESSION_CONTROL_CLOSE_BYTES;
	default:
		return -1;
	}
}

static bool is_known(uint8_t type)
{
	return value_bytes(type) >= 0;
}

enum session_control_verdict session_control_check(const void *body, size_t len, unsigned *tlvs)
{
	struct wire w = wire_of(body, len);

	while (wire_left(&w) > 0) {
		uint8_t type = wire_u8(&w);
		uint8_t bytes = wire_u8(&w);

		(void)wire_bytes(&w, bytes);
		if (!wire_ok(&w))
			return SESSION_CONTROL_CUT;
		if (*tlvs >= SESSION_CONTROL_TLVS_MAX)
			return SESSION_CONTROL_TOO_MANY;
		++*tlvs;
		if (is_known(type)) {
			if (bytes != value_bytes(type))
				return SESSION_CONTROL_BAD_LENGTH;
		} else if (type != SESSION_CONTROL_PADDING && type < SESSION_CONTROL_OPTIONAL) {
			return SESSION_CONTROL_UNKNOWN;
		}
	}
	return SESSION_CONTROL_OK;
}

const char *session_control_verdict_str(enum session_control_verdict verdict)
{
	switch (verdict) {
	case SESSION_CONTROL_OK:
		return "ok";
	case SESSION_CONTROL_CUT:
		return "cut";
	case SESSION_CONTROL_BAD_LENGTH:
		return "bad_length";
	case SESSION_CONTROL_UNKNOWN:
		return "unknown_type";
	case SESSION_CONTROL_TOO_MANY:
		return "too_many";
	case SESSION_CONTROL_VERDICTS:
		break;
	}
	return "unknown";
}

static void read_value(struct wire value, struct session_control_tlv *tlv)
{
	switch (tlv->type) {
	case SESSION_CONTROL_MTU_PROBE:
	case SESSION_CONTROL_MTU_ACK:
		tlv->mtu_bytes = wire_le16(&value);
		tlv->mtu_id = wire_le16(&value);
		return;
	case SESSION_CONTROL_CLOSE:
		tlv->close_reason = wire_u8(&value);
		return;
	default:
		memcpy(tlv->token, value.at, sizeof(tlv->token));
		return;
	}
}

bool session_control_next(struct wire *body, struct session_control_tlv *ret_tlv)
{
	while (wire_ok(body) && wire_left(body) > 0) {
		uint8_t type = wire_u8(body);
		uint8_t bytes = wire_u8(body);
		const uint8_t *value = wire_bytes(body, bytes);

		/* The length is checked again, so that a body nobody has judged is cut short and not misread. */
		if (!value || (is_known(type) && bytes != value_bytes(type)))
			return false;
		if (!is_known(type))
			continue;
		memset(ret_tlv, 0, sizeof(*ret_tlv));
		ret_tlv->type = (enum session_control_type)type;
		read_value(wire_of(value, bytes), ret_tlv);
		return true;
	}
	return false;
}

/* Room for the value behind a head that is written here, or NULL. */
static uint8_t *put_head(
	struct session_control_builder *builder, enum session_control_type type, size_t bytes)
{
	uint8_t *at = builder->bytes + builder->len;
	size_t whole = SESSION_CONTROL_HEAD_BYTES + bytes;

	if (builder->tlvs >= SESSION_CONTROL_TLVS_MAX || builder->capacity - builder->len < whole)
		return NULL;
	at[0] = (uint8_t)type;
	at[1] = (uint8_t)bytes;
	builder->len += whole;
	builder->tlvs++;
	return at + SESSION_CONTROL_HEAD_BYTES;
}

bool session_control_put_token(struct session_control_builder *builder,
	enum session_control_type type, const uint8_t token[SESSION_CONTROL_TOKEN_BYTES])
{
	uint8_t *at = put_head(builder, type, SESSION_CONTROL_TOKEN_BYTES);

	if (!at)
		return false;
	memcpy(at, token, SESSION_CONTROL_TOKEN_BYTES);
	return true;
}

bool session_control_put_mtu(struct session_control_builder *builder,
	enum session_control_type type, uint16_t mtu_bytes, uint16_t mtu_id)
{
	uint8_t *at = put_head(builder, type, SESSION_CONTROL_MTU_BYTES);

	if (!at)
		return false;
	store_le16(at, mtu_bytes);
	store_le16(at + 2, mtu_id);
	return true;
}

bool session_control_put_close(
	struct session_control_builder *builder, enum session_control_close reason)
{
	uint8_t *at = put_head(builder, SESSION_CONTROL_CLOSE, SESSION_CONTROL_CLOSE_BYTES);

	if (!at)
		return false;
	*at = (uint8_t)reason;
	return true;
}
