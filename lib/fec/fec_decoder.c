/*
 * The decoder sorts packets into groups by their number (group = seqid / shards) and closes a group as soon as it has
 * as many packets as the group has data packets: either nothing is missing, or what is missing is rebuilt. A closed
 * group's number is remembered for a while, so that its late packets (in a session without loss: all parity) are
 * dropped at once, take no memory and are not rebuilt a second time.
 *
 * Invariants: an open group has fewer packets than data_shards, so each arrival closes at most its own group. Two open
 * groups have different numbers. `stored` is the sum of the open groups' packets.
 *
 * What is kept is bounded. New profile: groups up to FEC_DECODER_WINDOW behind the newest. Old profile:
 * FEC_DECODER_OLD_SETS times a group's packets, for FEC_DECODER_OLD_AGE_MS. Both: FEC_DECODER_GROUPS groups; when room
 * is needed the group goes that was begun first. kcp-go's old version gives up single packets, lowest number first;
 * here whole groups go, because the rest of such a group is of no use, and by age, because a forged number far ahead
 * would otherwise push out every honest group. The bytes in memory are bounded by the pool.
 *
 * Shard counts. Data packets have numbers with seqid mod shards < data_shards. A packet that contradicts this shows that
 * the other end uses other counts; they are then read off the numbers (fec_autotune.c). The old profile goes on with
 * the packets that fit meanwhile; the new one keeps nothing until the tuner has a result, or until two groups' worth of
 * packets in a row fit after all: one damaged packet on a lossy link would otherwise stop recovery for long.
 * New counts empty the store.
 *
 * A sender that starts again from 0, or one forged number far ahead, leaves the window of the new profile ahead of all
 * that follows. After as many stale packets in a row as three groups have, the window follows.
 *
 * Wrong shard counts that were not noticed yet are worse than no recovery. Each parity row sums up to 1, so bytes that
 * are equal in all packets (conv, cmd, len of full segments) come out right even if a group is taken for another one,
 * and sn lands in the window: KCP takes such a segment for a good one. The caller can therefore ask for a proof, a run
 * of packets that fit: wrong counts pass only if all the packets that contradict them are lost.
 *
 * Anybody who can make packets that pass the layers outside can make the decoder rebuild nonsense; KCP's own checks
 * stand behind it. Rebuilding costs at most parity_shards passes over data_shards packets for each data_shards packets
 * received.
 */
#include "fec/fec_decoder.h"

#include "core/pool.h"
#include "fec/fec_group.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"

#include <errno.h>

enum {
	STALE_GROUPS = 3, /* stale packets in a row, in groups, after which the window follows */
	FITTING_GROUPS =
		2, /* fitting packets in a row, in groups, that end tuning without a result */
	NEW_SHARDS_END = 256, /* the new profile takes tuned counts with a sum below this */
};

#define GROUP_NONE UINT32_MAX /* no group has this number: groups have two packets or more */

static unsigned shards(const struct fec_decoder *dec)
{
	return (unsigned)dec->data_shards + dec->parity_shards;
}

/* How far group `a` is ahead of `b`; negative = behind. Numbers wrap with the sequence numbers. */
static int64_t group_ahead(const struct fec_decoder *dec, uint32_t a, uint32_t b)
{
	int64_t groups = dec->paws / shards(dec);
	int64_t ahead = (int64_t)a - (int64_t)b;

	if (ahead > groups / 2)
		return ahead - groups;
	if (ahead < -(groups / 2))
		return ahead + groups;
	return ahead;
}

static void forget_rebuilt(struct fec_decoder *dec)
{
	fec_group_free(dec->rebuilt, dec->pool);
	dec->rebuilt = NULL;
}

/* Gives an open group up. */
static void drop_group(struct fec_decoder *dec, struct fec_group **group)
{
	dec->stats.short_groups++;
	dec->stats.short_shards += (*group)->data_count;
	dec->stored -= (*group)->shard_count;
	fec_group_free(*group, dec->pool);
	*group = NULL;
}

static void drop_all(struct fec_decoder *dec)
{
	forget_rebuilt(dec);
	for (unsigned i = 0; i < FEC_DECODER_GROUPS; i++) {
		if (dec->groups[i])
			drop_group(dec, &dec->groups[i]);
	}
}

/* Takes shard counts and forgets all that was read with other ones. */
static void set_shards(struct fec_decoder *dec, unsigned data_shards, unsigned parity_shards)
{
	fec_matrix_release(dec->matrix);
	dec->matrix = NULL;
	dec->data_shards = (uint16_t)data_shards;
	dec->parity_shards = (uint16_t)parity_shards;
	dec->paws = fec_paws(data_shards + parity_shards);
	dec->newest_known = false;
	dec->stale_run = 0;
	for (unsigned i = 0; i < FEC_DECODER_GROUPS; i++)
		dec->closed[i] = GROUP_NONE;
}

int fec_decoder_init(struct fec_decoder *dec, unsigned data_shards, unsigned parity_shards,
	size_t packet_bytes_max, enum fec_profile profile, struct fec_matrix_cache *cache,
	struct pool *pool)
{
	*dec = (struct fec_decoder){0};
	if (!fec_matrix_valid(data_shards, parity_shards) || packet_bytes_max < FEC_HEADER_BYTES ||
		packet_bytes_max > FEC_PACKET_BYTES_MAX ||
		pool->slot_bytes < FEC_SLOT_BYTES(packet_bytes_max))
		return -EINVAL;
	dec->pool = pool;
	dec->cache = cache;
	dec->packet_bytes_max = (uint16_t)packet_bytes_max;
	dec->profile = (uint8_t)profile;
	set_shards(dec, data_shards, parity_shards);
	return 0;
}

void fec_decoder_fini(struct fec_decoder *dec)
{
	fec_decoder_trim(dec);
	*dec = (struct fec_decoder){0};
}

void fec_decoder_trim(struct fec_decoder *dec)
{
	drop_all(dec);
	fec_autotune_reset(&dec->tune, dec->pool);
	fec_matrix_release(dec->matrix);
	dec->matrix = NULL;
}

/* Asks the tuner. */
static void tune(struct fec_decoder *dec)
{
	unsigned data_shards, parity_shards;

	if (!fec_autotune_find(&dec->tune, &data_shards, &parity_shards) ||
		!fec_matrix_valid(data_shards, parity_shards))
		return;
	if (dec->profile == FEC_PROFILE_NEW && data_shards + parity_shards >= NEW_SHARDS_END)
		return;
	dec->tuning = false;
	if (dec->fitting_run < dec->proof_packets)
		dec->fitting_run = dec->proof_packets; /* whole runs were seen: no better proof */
	if (data_shards == dec->data_shards && parity_shards == dec->parity_shards)
		return;
	drop_all(dec);
	set_shards(dec, data_shards, parity_shards);
	dec->stats.tunes++;
}

static bool proven(const struct fec_decoder *dec)
{
	return dec->fitting_run >= dec->proof_packets;
}

static bool fits(const struct fec_decoder *dec, uint32_t seqid, bool is_data)
{
	return (seqid % shards(dec) < dec->data_shards) == is_data;
}

/* Watches the shard counts. @return true if the packet can be kept */
static bool watch_shards(struct fec_decoder *dec, uint32_t seqid, bool is_data)
{
	fec_autotune_sample(&dec->tune, dec->pool, seqid, is_data);
	if (fits(dec, seqid, is_data)) {
		if (dec->fitting_run < UINT32_MAX)
			dec->fitting_run++;
		if (!dec->tuning)
			return true;
		if (dec->fitting_run >= FITTING_GROUPS * shards(dec) && proven(dec)) {
			dec->tuning = false;
			return true;
		}
	} else {
		dec->tuning = dec->profile == FEC_PROFILE_NEW;
		dec->fitting_run = 0;
	}
	tune(dec);
	return !dec->tuning && fits(dec, seqid, is_data);
}

static bool group_closed(const struct fec_decoder *dec, uint32_t number)
{
	for (unsigned i = 0; i < FEC_DECODER_GROUPS; i++) {
		if (dec->closed[i] == number)
			return true;
	}
	return false;
}

/* Moves the window of the new profile. @return false if `number` is behind it */
static bool enter_window(struct fec_decoder *dec, uint32_t number)
{
	int64_t ahead = dec->newest_known ? group_ahead(dec, number, dec->newest) : 0;

	if (ahead < -FEC_DECODER_WINDOW) {
		if (++dec->stale_run < STALE_GROUPS * shards(dec))
			return false;
		drop_all(dec);
		set_shards(dec, dec->data_shards, dec->parity_shards);
		dec->stats.resyncs++;
		ahead = 0;
	}
	dec->stale_run = 0;
	if (dec->newest_known && ahead <= 0)
		return true;
	dec->newest = number;
	dec->newest_known = true;
	for (unsigned i = 0; i < FEC_DECODER_GROUPS; i++) {
		struct fec_group *group = dec->groups[i];
		if (group && group_ahead(dec, group->number, number) < -FEC_DECODER_WINDOW)
			drop_group(dec, &dec->groups[i]);
	}
	return true;
}

static void drop_aged(struct fec_decoder *dec, struct mono now)
{
	for (unsigned i = 0; i < FEC_DECODER_GROUPS; i++) {
		struct fec_group *group = dec->groups[i];
		if (group &&
			mono_diff_us(now, group->first_at) > (int64_t)FEC_DECODER_OLD_AGE_MS * 1000)
			drop_group(dec, &dec->groups[i]);
	}
}

/* Drops the group that was begun first. There is one. */
static void drop_first_begun(struct fec_decoder *dec)
{
	struct fec_group **first = NULL;

	for (unsigned i = 0; i < FEC_DECODER_GROUPS; i++) {
		struct fec_group **group = &dec->groups[i];
		if (*group && (!first || mono_before((*group)->first_at, (*first)->first_at)))
			first = group;
	}
	if (first)
		drop_group(dec, first);
}

/* @return the place of an open group; it is begun if there is none. NULL = no memory */
static struct fec_group **open_group(struct fec_decoder *dec, uint32_t number, struct mono now)
{
	struct fec_group **vacant = NULL;

	for (unsigned i = 0; i < FEC_DECODER_GROUPS; i++) {
		if (!dec->groups[i])
			vacant = &dec->groups[i];
		else if (dec->groups[i]->number == number)
			return &dec->groups[i];
	}
	if (!vacant) {
		drop_first_begun(dec);
		return open_group(dec, number, now);
	}
	*vacant = fec_group_new(dec->pool, number, now);
	return *vacant ? vacant : NULL;
}

/* Closes a group that has as many packets as it has data packets. */
static enum fec_verdict close_group(struct fec_decoder *dec, struct fec_group **place)
{
	struct fec_group *group = *place;

	*place = NULL;
	dec->stored -= group->shard_count;
	dec->closed[dec->closed_next++ % FEC_DECODER_GROUPS] = group->number;
	if (group->data_count == dec->data_shards) {
		fec_group_free(group, dec->pool);
		dec->stats.full_groups++;
		return FEC_COMPLETE;
	}
	if (!proven(dec)) {
		dec->stats.short_groups++;
		dec->stats.short_shards += group->data_count;
		fec_group_free(group, dec->pool);
		return FEC_TUNING;
	}
	if (!dec->matrix)
		dec->matrix = fec_matrix_acquire(dec->cache, dec->data_shards, dec->parity_shards);
	if (!dec->matrix) {
		dec->stats.errors += (uint64_t)(dec->data_shards - group->data_count);
		fec_group_free(group, dec->pool);
		return FEC_NO_MEMORY;
	}
	fec_group_solve(group, dec->matrix);
	dec->rebuilt = group;
	return FEC_REBUILT;
}

static enum fec_verdict take(struct fec_decoder *dec, const struct fec_header *header,
	const uint8_t *packet, size_t len, struct mono now)
{
	bool is_data = header->type == FEC_TYPE_DATA;

	if (header->seqid >= dec->paws && dec->profile == FEC_PROFILE_NEW)
		return FEC_PAWS;
	if (!watch_shards(dec, header->seqid, is_data))
		return FEC_TUNING;
	if (header->seqid >= dec->paws)
		return FEC_PAWS;

	uint32_t number = header->seqid / shards(dec);
	unsigned index = header->seqid % shards(dec);
	if (group_closed(dec, number))
		return FEC_LATE;
	if (dec->profile == FEC_PROFILE_NEW) {
		if (!enter_window(dec, number))
			return FEC_STALE;
	} else {
		drop_aged(dec, now);
		while (dec->stored >= FEC_DECODER_OLD_SETS * shards(dec))
			drop_first_begun(dec);
	}

	struct fec_group **place = open_group(dec, number, now);
	if (!place)
		return FEC_NO_MEMORY;
	if (fec_group_has(*place, index))
		return FEC_DUPLICATE;
	if (!fec_group_add(*place, dec->pool, index, is_data, packet + FEC_HEADER_SEQID_BYTES,
		    len - FEC_HEADER_SEQID_BYTES)) {
		if ((*place)->shard_count == 0)
			drop_group(dec, place);
		return FEC_NO_MEMORY;
	}
	dec->stored++;
	return (*place)->shard_count == dec->data_shards ? close_group(dec, place) : FEC_STORED;
}

enum fec_verdict fec_decoder_input(
	struct fec_decoder *dec, const uint8_t *packet, size_t len, struct mono now)
{
	enum fec_verdict verdict = FEC_MALFORMED;
	struct fec_header header;

	forget_rebuilt(dec);
	enum fec_kind kind = fec_header_parse(packet, len, &header);
	if (len <= dec->packet_bytes_max && (kind == FEC_KIND_DATA || kind == FEC_KIND_PARITY)) {
		if (kind == FEC_KIND_PARITY)
			dec->stats.parity_shards++;
		verdict = take(dec, &header, packet, len, now);
	}
	dec->stats.verdicts[verdict]++;
	return verdict;
}

const uint8_t *fec_decoder_recovered(struct fec_decoder *dec, size_t *ret_len)
{
	struct fec_group_tally tally = {0, 0};

	if (!dec->rebuilt)
		return NULL;
	const uint8_t *payload =
		fec_group_next(dec->rebuilt, dec->pool, dec->matrix, &tally, ret_len);
	dec->stats.recovered += tally.rebuilt;
	dec->stats.errors += tally.errors;
	if (!payload)
		forget_rebuilt(dec);
	return payload;
}

unsigned fec_decoder_group_count(const struct fec_decoder *dec)
{
	unsigned count = 0;
	for (unsigned i = 0; i < FEC_DECODER_GROUPS; i++)
		count += dec->groups[i] != NULL;
	return count;
}

uint32_t fec_decoder_group_min(const struct fec_decoder *dec)
{
	const struct fec_group *min = NULL;
	for (unsigned i = 0; i < FEC_DECODER_GROUPS; i++) {
		const struct fec_group *group = dec->groups[i];
		if (group && (!min || group_ahead(dec, group->number, min->number) < 0))
			min = group;
	}
	return min ? min->number : 0;
}

const char *fec_verdict_name(enum fec_verdict verdict)
{
	static const char *const names[FEC_VERDICTS] = {
		[FEC_STORED] = "stored",
		[FEC_COMPLETE] = "complete",
		[FEC_REBUILT] = "rebuilt",
		[FEC_LATE] = "late",
		[FEC_DUPLICATE] = "duplicate",
		[FEC_STALE] = "stale",
		[FEC_TUNING] = "tuning",
		[FEC_PAWS] = "paws",
		[FEC_MALFORMED] = "malformed",
		[FEC_NO_MEMORY] = "no-memory",
	};
	return (unsigned)verdict < FEC_VERDICTS ? names[verdict] : "?";
}
