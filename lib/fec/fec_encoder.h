/*
 * The sending side of kcp-go's FEC: numbers data packets, and after each `data_shards` of them gives `parity_shards`
 * packets from which a receiver can rebuild as many lost ones.
 *
 * Data packets are neither kept nor copied: each is folded into the parity buffers as it passes.
 */
#ifndef FEC_ENCODER_H
#define FEC_ENCODER_H

#include "core/mono.h"
#include "fec/fec_header.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fec_matrix;
struct fec_matrix_cache;
struct pool;

enum {
	FEC_PARITY_HEADROOM_BYTES =
		58, /* writable bytes in front of a parity packet: a crypt header fits */
	FEC_PARITY_TAILROOM_BYTES = 32, /* and behind it: an authentication tag fits */
	FEC_ENCODER_PAUSE_MS =
		500, /* a pause this long before a group's last packet: its parity is of no use */
};

/** Parity of one group, lent by the encoder until the next call on it. All packets are equally long. */
struct fec_parity {
	/*
	 * The packets in order, each from its FEC header on, with FEC_PARITY_HEADROOM_BYTES and
	 * FEC_PARITY_TAILROOM_BYTES around it. The receiver of this may overwrite all of it, so a cipher can work
	 * in place.
	 */
	uint8_t *const *packets;
	size_t count;
	size_t len; /* bytes of each, from the FEC header on */
};

struct fec_encoder_stats {
	uint64_t data_packets;
	uint64_t parity_packets;
	uint64_t groups;	  /* full groups, with parity sent or not */
	uint64_t skipped_pause;	  /* groups without parity: pause before the last packet */
	uint64_t skipped_memory;  /* groups without parity: the pool had no slots */
	uint64_t skipped_abandon; /* groups without parity: fec_encoder_abandon() */
};

/** Visible so that it embeds; only `stats` is for reading from outside. */
struct fec_encoder {
	struct pool *pool;
	struct fec_matrix_cache *cache;
	struct fec_matrix *matrix;
	uint8_t **
		parity; /* the coded part of each parity packet, behind seqid and type; then the packets */
	struct mono last_at; /* when the last data packet was pushed */
	uint32_t next_seqid;
	uint32_t paws;
	uint16_t data_shards;
	uint16_t parity_shards;
	uint16_t packet_bytes_max;
	uint16_t shards_pushed; /* of the open group; 0 = none open */
	uint16_t
		longest; /* coded bytes of its longest data shard: so many bytes of each buffer are set */
	uint8_t profile;      /* enum fec_profile */
	uint8_t parity_state; /* why the open group has parity or will have none */
	bool pushed_before;
	bool holds_slots;
	struct fec_encoder_stats stats;
};

/**
 * @data_shards, parity_shards  each at least 1, at most FEC_SHARDS_MAX together. 0 means no FEC: then have no encoder
 * @packet_bytes_max  longest data packet from the FEC header on, FEC_HEADER_BYTES .. FEC_PACKET_BYTES_MAX
 * @cache, @pool      shared with other sessions of this thread, outlive the encoder; pool slots have at least
 *                    FEC_SLOT_BYTES(packet_bytes_max)
 * @return            0, -EINVAL, -ENOMEM. On failure there is nothing to undo
 */
int fec_encoder_init(struct fec_encoder *enc, unsigned data_shards, unsigned parity_shards,
	size_t packet_bytes_max, enum fec_profile profile, struct fec_matrix_cache *cache,
	struct pool *pool);

/** Returns slots and references. Also fine on a zeroed encoder. */
void fec_encoder_fini(struct fec_encoder *enc);

/**
 * Numbers a data packet, writes its FEC header, and folds it into the parity of its group.
 *
 * @packet       the place of the FEC header; the payload stands FEC_HEADER_BYTES behind it
 * @payload_len  FEC_HEADER_BYTES + payload_len is at most packet_bytes_max
 * @now          does not run backwards
 * @ret_parity   set if the return value is positive. To be sent straight after the packet
 * @return       number of parity packets: parity_shards when the packet fills its group, else 0; -EMSGSIZE if the
 *               packet is too long (it took no number and must not be sent).
 *               A full group gives 0 if its parity is skipped (see fec_encoder_stats); numbers are used up all the same
 */
int fec_encoder_push(struct fec_encoder *enc, uint8_t *packet, size_t payload_len, struct mono now,
	struct fec_parity *ret_parity);

/** Returns the parity buffers to the pool if no group is open. @return true if none are held afterwards. */
bool fec_encoder_trim(struct fec_encoder *enc);

/**
 * Gives up the parity of the open group and returns the buffers, for a session that fell silent: what the open group
 * holds was either received or resent long ago. The group goes on; it ends without parity, as after a pause.
 */
void fec_encoder_abandon(struct fec_encoder *enc);

#endif
