/* A datagram that is being filled. For the files of this layer only. */
#ifndef KCP_PATH_WRITE_H
#define KCP_PATH_WRITE_H

#include "kcp/kcp_path_state.h"

struct kcp_path_datagram {
	struct kcp_path *path;
	struct mono now;
	uint8_t *start;
	size_t room;
	size_t used;
	unsigned flags;	     /* KCP_PATH_OUT_... */
	unsigned sent_flags; /* KCP_SENT_... */
	bool exempt;	     /* window or pace is shut: it passes as urgent */
	uint8_t mark;	     /* of the items in it */
	uint32_t refs;
	uint64_t pn;
	uint64_t grant_bytes;
};

/** Gets a buffer. @return false, and the path is blocked for a while, if there is none */
bool kcp_path_open_datagram(struct kcp_path_datagram *out, struct kcp_path *path, struct mono now);

/** Takes the number, notes the datagram and hands it over. It must hold something. */
void kcp_path_close_datagram(struct kcp_path_datagram *out);

/** Whether a segment with a body of `len` fits. */
static inline bool kcp_path_fits(const struct kcp_path_datagram *out, size_t len)
{
	return out->used + KCP_OVERHEAD_BYTES + len <= out->room;
}

/** Each writes what is due of its kind, as far as it fits. */
void kcp_path_write_rack(struct kcp_path_datagram *out);
void kcp_path_write_bases(struct kcp_path_datagram *out);
void kcp_path_write_control(struct kcp_path_datagram *out);
void kcp_path_write_flags(struct kcp_path_datagram *out); /* WASK, WINS */

/** Items of one class that wait: as many as fit, at most KCP_PATH_PACK_MAX. */
void kcp_path_write_class(struct kcp_path_datagram *out, enum kcp_path_class class);

/** The newest item that flies, or an empty PROBE. */
void kcp_path_write_probe(struct kcp_path_datagram *out);

/** A PROBE without a body. @asks  for acknowledgement */
void kcp_path_write_padding(struct kcp_path_datagram *out, bool asks);

#endif
