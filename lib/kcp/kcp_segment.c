/*
 * The codec, and nothing but: whether a command is known or a conversation is ours is for the engine to say. Length is
 * compared as 64 bits against what is left, so a hostile len of 4 GB cannot wrap.
 *
 * Source: the header of KCP as kcp-go writes it, little-endian.
 */
#include "kcp/kcp_segment.h"

static bool read_header(struct wire *in, struct kcp_segment *segment)
{
	segment->conv = wire_le32(in);
	segment->cmd = wire_u8(in);
	segment->frg = wire_u8(in);
	segment->wnd = wire_le16(in);
	segment->ts = wire_le32(in);
	segment->sn = wire_le32(in);
	segment->una = wire_le32(in);
	segment->len = wire_le32(in);
	segment->data = NULL;
	return wire_ok(in);
}

bool kcp_segment_peek(const void *bytes, size_t len, struct kcp_segment *ret_segment)
{
	struct kcp_segment segment;
	struct wire in = wire_of(bytes, len);

	if (!read_header(&in, &segment))
		return false;
	*ret_segment = segment;
	return true;
}

bool kcp_segment_read(struct wire *in, struct kcp_segment *ret_segment)
{
	struct kcp_segment segment;

	if (!read_header(in, &segment))
		return false;
	segment.data = wire_bytes(in, segment.len);
	*ret_segment = segment;
	return wire_ok(in);
}

uint8_t *kcp_segment_write(uint8_t at[KCP_OVERHEAD_BYTES], const struct kcp_segment *segment)
{
	store_le32(at, segment->conv);
	at[4] = segment->cmd;
	at[5] = segment->frg;
	store_le16(at + 6, segment->wnd);
	store_le32(at + 8, segment->ts);
	store_le32(at + 12, segment->sn);
	store_le32(at + 16, segment->una);
	store_le32(at + 20, segment->len);
	return at + KCP_OVERHEAD_BYTES;
}
