/*
 * The plaintext of a sealed datagram: its head, and CONTROL bodies behind it. The first byte chooses how many TLVs came
 * before. What is judged good must be walked to its end, and what is walked must be built again byte for byte.
 */
#include "session/session_control.h"
#include "session/session_frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int holds)
{
	if (!holds)
		abort();
}

static void check_frame(const uint8_t *data, size_t len)
{
	struct session_frame frame;
	uint8_t head[SESSION_FRAME_REPAIR_BYTES];

	if (session_frame_parse(data, len, &frame) != SESSION_FRAME_OK)
		return;
	require(frame.body_at + SESSION_FRAME_SEGMENT_BYTES <= len);
	require(frame.cidx <= SESSION_FRAME_CIDX_MASK);
	require(session_frame_write(head, &frame) == frame.body_at);
	if (frame.kind != SESSION_FRAME_PLAIN)
		require(memcmp(head, data, 9 < frame.body_at ? 9 : frame.body_at) == 0);
}

static bool put_again(struct session_control_builder *b, const struct session_control_tlv *tlv)
{
	switch (tlv->type) {
	case SESSION_CONTROL_MTU_PROBE:
	case SESSION_CONTROL_MTU_ACK:
		return session_control_put_mtu(b, tlv->type, tlv->mtu_bytes, tlv->mtu_id);
	case SESSION_CONTROL_CLOSE:
		return session_control_put_close(b, (enum session_control_close)tlv->close_reason);
	default:
		return session_control_put_token(b, tlv->type, tlv->token);
	}
}

static void check_control(const uint8_t *body, size_t len, unsigned before)
{
	uint8_t bytes[SESSION_CONTROL_BYTES_MAX];
	struct session_control_builder b = session_control_build(bytes, sizeof(bytes));
	struct session_control_tlv tlv;
	struct wire walk = wire_of(body, len);
	unsigned tlvs = before;
	enum session_control_verdict verdict = session_control_check(body, len, &tlvs);

	require(tlvs >= before && tlvs <= SESSION_CONTROL_TLVS_MAX);
	while (session_control_next(&walk, &tlv)) {
		const uint8_t *end = walk.at;
		size_t at = b.len;

		if (!put_again(&b, &tlv)) {
			require(verdict != SESSION_CONTROL_OK);
			return;
		}
		require(memcmp(bytes + at, end - (b.len - at), b.len - at) == 0);
	}
	if (verdict == SESSION_CONTROL_OK) {
		require(wire_ok(&walk) && wire_left(&walk) == 0);
		require(b.tlvs <= tlvs - before);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	check_frame(data + 1, len - 1);
	check_control(data + 1, len - 1, data[0] % (SESSION_CONTROL_TLVS_MAX + 1));
	return 0;
}
