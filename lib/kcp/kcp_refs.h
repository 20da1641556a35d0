/* A queue of references to what is sent: pieces of lanes, unordered messages, bases. */
#ifndef KCP_REFS_H
#define KCP_REFS_H

#include "kcp/kcp_ring.h"

enum kcp_ref_kind {
	KCP_REF_PUSH,  /* piece `sn` of lane `lane` */
	KCP_REF_DGRAM, /* the unordered message of serial `sn` */
	KCP_REF_FWD,   /* the base of lane `lane` */
};

struct kcp_ref {
	uint32_t sn;
	uint16_t lane;
	uint16_t len; /* of the item's body */
	uint8_t kind; /* enum kcp_ref_kind */
	uint8_t mark; /* of the message */
	uint8_t unused[2];
};

/** [first, next) by running number. */
struct kcp_refs {
	struct kcp_ring ring;
	uint32_t first;
	uint32_t next;
};

static inline void kcp_refs_init(struct kcp_refs *refs)
{
	kcp_ring_init(&refs->ring, sizeof(struct kcp_ref));
	refs->first = 0;
	refs->next = 0;
}

static inline uint32_t kcp_refs_count(const struct kcp_refs *refs)
{
	return refs->next - refs->first;
}

/** Makes room for `count` more. @return false if out of memory */
static inline bool kcp_refs_reserve(struct kcp_refs *refs, uint32_t count)
{
	uint32_t used = kcp_refs_count(refs);

	return kcp_ring_reserve(&refs->ring, refs->first, used, used + count);
}

static inline struct kcp_ref *kcp_refs_at(const struct kcp_refs *refs, uint32_t number)
{
	return kcp_ring_at(&refs->ring, number);
}

/** @return false if out of memory */
static inline bool kcp_refs_push(struct kcp_refs *refs, struct kcp_ref ref)
{
	if (!kcp_refs_reserve(refs, 1))
		return false;
	*kcp_refs_at(refs, refs->next++) = ref;
	return true;
}

/** Empties and frees. */
static inline void kcp_refs_fini(struct kcp_refs *refs)
{
	kcp_ring_free(&refs->ring);
	refs->first = refs->next;
}

#endif
