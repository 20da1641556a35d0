/*
 * Four bytes in front of the segments, ten in front of a repair. What is too short to hold one segment's header (a repair:
 * one symbol with one segment) carries nothing, so it is judged here once and nobody behind has to.
 *
 * Whether a repair covers more than this side accepts depends on what it told the peer: the decoder judges that.
 */
#include "session/session_frame.h"

#include "core/endian.h"
#include "core/wire.h"

enum session_frame_verdict session_frame_parse(
	const void *plaintext, size_t len, struct session_frame *ret_frame)
{
	struct wire w = wire_of(plaintext, len);
	struct session_frame frame = {0};

	if (len == 0)
		return SESSION_FRAME_KEEPALIVE;
	if (len < SESSION_FRAME_PLAINTEXT_BYTES_MIN)
		return SESSION_FRAME_SHORT;
	uint32_t head = wire_le32(&w);
	if ((head & 0xff) > SESSION_FRAME_REPAIR_BULK)
		return SESSION_FRAME_BAD_KIND;
	frame.kind = (enum session_frame_kind)(head & 0xff);
	if (frame.kind != SESSION_FRAME_PLAIN)
		frame.cidx = head >> 8;
	if (session_frame_is_repair(frame.kind)) {
		if (len < SESSION_FRAME_REPAIR_PLAINTEXT_BYTES_MIN)
			return SESSION_FRAME_SHORT;
		frame.id = wire_le32(&w);
		frame.window = wire_u8(&w);
		if (frame.window == 0)
			return SESSION_FRAME_BAD_WINDOW;
	}
	frame.body_at = session_frame_is_repair(frame.kind) ? SESSION_FRAME_REPAIR_BYTES
							    : SESSION_FRAME_BYTES;
	*ret_frame = frame;
	return SESSION_FRAME_OK;
}

size_t session_frame_write(uint8_t *at, const struct session_frame *frame)
{
	uint32_t cidx =
		frame->kind == SESSION_FRAME_PLAIN ? 0 : frame->cidx & SESSION_FRAME_CIDX_MASK;

	store_le32(at, cidx << 8 | (uint32_t)frame->kind);
	if (!session_frame_is_repair(frame->kind))
		return SESSION_FRAME_BYTES;
	store_le32(at + 4, frame->id);
	at[8] = frame->window;
	at[9] = 0;
	return SESSION_FRAME_REPAIR_BYTES;
}

const char *session_frame_verdict_str(enum session_frame_verdict verdict)
{
	switch (verdict) {
	case SESSION_FRAME_OK:
		return "ok";
	case SESSION_FRAME_KEEPALIVE:
		return "keepalive";
	case SESSION_FRAME_SHORT:
		return "short";
	case SESSION_FRAME_BAD_KIND:
		return "bad_kind";
	case SESSION_FRAME_BAD_WINDOW:
		return "bad_window";
	case SESSION_FRAME_VERDICTS:
		break;
	}
	return "unknown";
}
