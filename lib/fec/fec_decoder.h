/*
 * The receiving side of kcp-go's FEC: keeps the packets of the last few groups and rebuilds lost data packets once as
 * many packets of a group are there as it has data packets.
 *
 * It is given every data and parity packet. Data packets go to KCP whatever the verdict is: the decoder only adds what
 * it rebuilds. How the caller orders the two is a matter of the profile:
 *
 *     FEC_PROFILE_NEW   KCP input of the packet, then fec_decoder_input(), then KCP input of what it rebuilt
 *     FEC_PROFILE_OLD   fec_decoder_input(), KCP input of the packet, then KCP input of what it rebuilt
 *
 * An end that has FEC off itself makes a decoder with 1 + 1 when the first FEC packet comes; it tunes itself.
 */
#ifndef FEC_DECODER_H
#define FEC_DECODER_H

#include "core/mono.h"
#include "fec/fec_autotune.h"
#include "fec/fec_header.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fec_group;
struct fec_matrix;
struct fec_matrix_cache;
struct pool;

enum {
	FEC_DECODER_GROUPS = 8, /* groups kept at once, at most */
	FEC_DECODER_WINDOW = 3, /* new profile: how far behind the newest group one is still kept */
	FEC_DECODER_OLD_SETS = 3, /* old profile: packets kept, in multiples of a group's length */
	FEC_DECODER_OLD_AGE_MS = 60000, /* old profile: groups older than this go */
	FEC_DECODER_START_SHARDS = 1,	/* data and parity shards of a decoder made on demand */
	FEC_DECODER_PROOF_PACKETS =
		32, /* at 25 % loss wrong counts pass once in 10^4 times or less */
};

/** What became of a packet in the decoder; it says nothing about what KCP makes of it. */
enum fec_verdict {
	FEC_STORED, /* kept; its group lacks more */
	FEC_COMPLETE, /* all data packets of its group have come: nothing to rebuild, the group is closed */
	FEC_REBUILT,   /* its group is rebuilt and closed; ask fec_decoder_recovered() */
	FEC_LATE,      /* its group is closed already */
	FEC_DUPLICATE, /* its group has it already */
	FEC_STALE,     /* its group is too far behind the newest */
	FEC_TUNING, /* its kind does not fit its number, or shard counts are being looked for or not proven */
	FEC_PAWS, /* a number that no sender with these shard counts uses */
	FEC_MALFORMED, /* neither data nor parity, or shorter than its header, or longer than packet_bytes_max */
	FEC_NO_MEMORY, /* the pool or the cache is at its bound */
	FEC_VERDICTS,
};

struct fec_decoder_stats {
	uint64_t verdicts[FEC_VERDICTS]; /* packets by verdict */
	uint64_t recovered;		 /* packets rebuilt (FECRecovered) */
	uint64_t
		errors; /* rebuilt packets with an impossible size, or not rebuilt for want of memory (FECErrs) */
	uint64_t parity_shards; /* parity packets received (FECParityShards) */
	uint64_t full_groups;	/* groups closed with nothing to rebuild (FECFullShardSet) */
	uint64_t short_groups;	/* groups given up because too little of them came */
	uint64_t short_shards;	/* data packets in these (FECShortShards) */
	uint64_t tunes;		/* times that new shard counts were taken */
	uint64_t resyncs;	/* times that the window followed a sender that went back */
};

/**
 * Visible so that it embeds; `stats` and the shard counts are for reading from outside.
 *
 * `proof_packets` may be set after fec_decoder_init(): nothing is rebuilt before that many packets in a row fitted the
 * shard counts, or the tuner read them off the numbers. 0, the default, rebuilds at once as kcp-go does, and with
 * wrong counts then hands out segments that pass KCP's checks and hold bytes that nobody sent.
 */
struct fec_decoder {
	struct pool *pool;
	struct fec_matrix_cache *cache;
	struct fec_matrix *matrix;		      /* taken at the first loss */
	struct fec_group *groups[FEC_DECODER_GROUPS]; /* open groups in no order; NULL = free */
	struct fec_group *rebuilt; /* closed, being read by fec_decoder_recovered(); NULL = none */
	struct fec_autotune tune;
	uint32_t closed[FEC_DECODER_GROUPS]; /* numbers of the groups closed last */
	uint32_t closed_next;
	uint32_t newest; /* highest group number met */
	uint32_t paws;
	uint32_t stored; /* packets kept */
	uint32_t stale_run;
	uint32_t fitting_run; /* packets in a row whose kind fits their number */
	uint32_t proof_packets;
	uint16_t data_shards;
	uint16_t parity_shards;
	uint16_t packet_bytes_max;
	uint8_t profile; /* enum fec_profile */
	bool tuning;	 /* new profile: nothing is kept until the tuner has spoken */
	bool newest_known;
	struct fec_decoder_stats stats;
};

/**
 * @data_shards, parity_shards  the own encoder's, or FEC_DECODER_START_SHARDS twice
 * @packet_bytes_max  longest packet taken from the FEC header on, FEC_HEADER_BYTES .. FEC_PACKET_BYTES_MAX
 * @cache, @pool      as for an encoder; both may be the same ones
 * @return            0 or -EINVAL. Nothing is allocated yet
 */
int fec_decoder_init(struct fec_decoder *dec, unsigned data_shards, unsigned parity_shards,
	size_t packet_bytes_max, enum fec_profile profile, struct fec_matrix_cache *cache,
	struct pool *pool);

/** Returns slots and references. Also fine on a zeroed decoder. */
void fec_decoder_fini(struct fec_decoder *dec);

/**
 * Takes a packet. What was rebuilt before and not yet read is forgotten.
 *
 * @packet  from the FEC header on, hostile; copied if it is kept
 * @now     for the age limit of the old profile
 */
enum fec_verdict fec_decoder_input(
	struct fec_decoder *dec, const uint8_t *packet, size_t len, struct mono now);

/**
 * The next packet that the last fec_decoder_input() rebuilt, in order of its number. Call it until it gives NULL, after
 * FEC_REBUILT; at other times it gives NULL at once. Closing the session between two calls is fine.
 *
 * @ret_len  bytes of the payload (KCP segments, FEC header taken off), at least 0
 * @return   the payload, lent until the next call on this decoder
 */
const uint8_t *fec_decoder_recovered(struct fec_decoder *dec, size_t *ret_len);

/** Forgets kept packets and samples and returns all memory, for a session that fell silent. Counters stay. */
void fec_decoder_trim(struct fec_decoder *dec);

/** Open groups (FECShardSet), 0..FEC_DECODER_GROUPS. */
unsigned fec_decoder_group_count(const struct fec_decoder *dec);

/** Number of the oldest open group (FECShardMin), 0 if there is none. */
uint32_t fec_decoder_group_min(const struct fec_decoder *dec);

/** A short English name of a verdict ("stored", "late"), for counters; "?" beyond the last. */
const char *fec_verdict_name(enum fec_verdict verdict);

#endif
