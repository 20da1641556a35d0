#include "core/pool.h"
#include "fec/fec_encoder.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { PACKET_BYTES = 1400, DATA = 10, PARITY = 3 };

static struct fec_matrix_cache cache;
static struct pool pool;
static struct fec_encoder enc;

static void setup(void)
{
	fec_matrix_cache_init(&cache, FEC_MATRIX_CACHE_BYTES_MAX);
	pool_init(&pool, FEC_SLOT_BYTES(PACKET_BYTES), 100);
}

static void teardown(void)
{
	fec_encoder_fini(&enc);
	fec_encoder_fini(&enc); /* harmless */
	cr_assert_eq(pool.slots_used, 0);
	cr_assert_eq(cache.bytes_used, 0);
	pool_fini(&pool);
	fec_matrix_cache_fini(&cache);
}

TestSuite(fec_encoder, .init = setup, .fini = teardown);

static void start(unsigned data, unsigned parity, enum fec_profile profile)
{
	cr_assert_eq(fec_encoder_init(&enc, data, parity, PACKET_BYTES, profile, &cache, &pool), 0);
}

static int push(size_t payload_len, int64_t now_ms, struct fec_parity *ret_parity)
{
	static uint8_t packet[PACKET_BYTES];
	memset(packet, 0x5a, sizeof(packet));
	return fec_encoder_push(&enc, packet, payload_len, mono_at_ms(now_ms), ret_parity);
}

Test(fec_encoder, refuses_bad_arguments)
{
	struct pool small;
	pool_init(&small, FEC_SLOT_BYTES(PACKET_BYTES) - 1, 10);
	cr_assert_eq(fec_encoder_init(&enc, 10, 3, PACKET_BYTES, FEC_PROFILE_NEW, &cache, &small),
		-EINVAL);
	cr_assert_eq(fec_encoder_init(&enc, 0, 3, PACKET_BYTES, FEC_PROFILE_NEW, &cache, &pool),
		-EINVAL);
	cr_assert_eq(fec_encoder_init(&enc, 10, 0, PACKET_BYTES, FEC_PROFILE_NEW, &cache, &pool),
		-EINVAL);
	cr_assert_eq(fec_encoder_init(&enc, 254, 3, PACKET_BYTES, FEC_PROFILE_NEW, &cache, &pool),
		-EINVAL);
	cr_assert_eq(fec_encoder_init(&enc, 10, 3, 7, FEC_PROFILE_NEW, &cache, &pool), -EINVAL);
	cr_assert_eq(fec_encoder_init(&enc, 10, 3, 65536, FEC_PROFILE_NEW, &cache, &pool), -EINVAL);
	pool_fini(&small);
}

Test(fec_encoder, longest_and_too_long_packets)
{
	struct fec_parity parity = {0};

	start(1, 2, FEC_PROFILE_OLD);
	cr_assert_eq(push(PACKET_BYTES - FEC_HEADER_BYTES + 1, 0, &parity), -EMSGSIZE);
	cr_assert_eq(push(SIZE_MAX, 0, &parity), -EMSGSIZE);
	cr_assert_eq(enc.next_seqid, 0);
	cr_assert_eq(push(PACKET_BYTES - FEC_HEADER_BYTES, 0, &parity), 2);
	cr_assert_eq(parity.len, PACKET_BYTES);
	cr_assert_eq(push(0, 0, &parity), 2);
	cr_assert_eq(parity.len, FEC_HEADER_BYTES);
	cr_assert_eq(enc.next_seqid, 6);
}

Test(fec_encoder, wraps_on_a_groups_end)
{
	struct fec_parity parity = {0};

	start(DATA, PARITY, FEC_PROFILE_OLD);
	enc.next_seqid = fec_paws(DATA + PARITY) - (DATA + PARITY);
	for (int i = 0; i < DATA - 1; i++)
		cr_assert_eq(push(100, 0, &parity), 0);
	cr_assert_eq(push(100, 0, &parity), PARITY);
	cr_assert_eq(load_le32(parity.packets[PARITY - 1]), fec_paws(DATA + PARITY) - 1);
	cr_assert_eq(enc.next_seqid, 0);
}

/* Gaps in ms before each packet of a group of three; whether its parity is sent by each profile. */
static const struct {
	int64_t gaps[3];
	int sent_new;
	int sent_old;
} pauses[] = {
	{{0, 0, 0}, 2, 2},
	{{0, 0, 499}, 2, 2},
	{{0, 0, 500}, 0, 2},
	{{0, 500, 0}, 2, 2},
	{{100000, 0, 499}, 2, 2},
	{{0, 300, 300}, 2, 2},
	{{0, 0, 100000}, 0, 2},
};

Test(fec_encoder, pause_before_the_last_packet)
{
	for (int profile = FEC_PROFILE_NEW; profile <= FEC_PROFILE_OLD; profile++) {
		int64_t now = 1000;
		uint32_t seqid = 0;
		start(3, 2, (enum fec_profile)profile);
		for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
			struct fec_parity parity = {0};
			int sent = 0;
			for (int k = 0; k < 3; k++) {
				now += pauses[i].gaps[k];
				sent += push(50, now, &parity);
			}
			cr_assert_eq(sent,
				profile == FEC_PROFILE_OLD ? pauses[i].sent_old
							   : pauses[i].sent_new,
				"row %zu profile %d", i, profile);
			seqid += 5;
			cr_assert_eq(enc.next_seqid, seqid);
		}
		cr_assert_eq(enc.stats.skipped_pause, profile == FEC_PROFILE_OLD ? 0 : 2);
		fec_encoder_fini(&enc);
	}
}

Test(fec_encoder, memory_is_taken_late_and_given_back)
{
	struct fec_parity parity = {0};

	start(DATA, PARITY, FEC_PROFILE_NEW);
	cr_assert_eq(pool.slots_used, 0);
	push(100, 0, &parity);
	cr_assert_eq(pool.slots_used, PARITY);
	cr_assert(!fec_encoder_trim(&enc));
	cr_assert_eq(pool.slots_used, PARITY);
	for (int i = 1; i < DATA; i++)
		push(100, 0, &parity);
	cr_assert_eq(enc.stats.parity_packets, PARITY);
	cr_assert(fec_encoder_trim(&enc));
	cr_assert_eq(pool.slots_used, 0);
	cr_assert(fec_encoder_trim(&enc));
}

Test(fec_encoder, an_abandoned_group_ends_without_parity)
{
	struct fec_parity parity = {0};

	start(DATA, PARITY, FEC_PROFILE_NEW);
	fec_encoder_abandon(&enc); /* no group is open */
	push(100, 0, &parity);
	fec_encoder_abandon(&enc);
	cr_assert_eq(pool.slots_used, 0);
	for (int i = 1; i < DATA; i++)
		cr_assert_eq(push(100, 0, &parity), 0);
	cr_assert_eq(enc.next_seqid, DATA + PARITY);
	cr_assert_eq(enc.stats.skipped_abandon, 1);
	cr_assert_eq(pool.slots_used, 0);
	for (int i = 0; i < DATA - 1; i++)
		cr_assert_eq(push(100, 0, &parity), 0);
	cr_assert_eq(push(100, 0, &parity), PARITY);
}

Test(fec_encoder, without_slots_data_goes_on)
{
	struct fec_parity parity = {0};

	for (unsigned slots = 0; slots < PARITY; slots++) {
		start(DATA, PARITY, FEC_PROFILE_NEW);
		pool.slots_max = slots;
		for (int i = 0; i < DATA; i++)
			cr_assert_eq(push(100, 0, &parity), 0);
		cr_assert_eq(enc.stats.skipped_memory, 1);
		cr_assert_eq(enc.next_seqid, DATA + PARITY);
		cr_assert_eq(pool.slots_used, 0);
		/* Slots that come back in the middle of a group are of no use to it, but to the next. */
		push(100, 0, &parity);
		pool.slots_max = 100;
		for (int i = 1; i < DATA; i++)
			cr_assert_eq(push(100, 0, &parity), 0);
		for (int i = 1; i < DATA; i++)
			cr_assert_eq(push(100, 0, &parity), 0);
		cr_assert_eq(push(100, 0, &parity), PARITY);
		fec_encoder_fini(&enc);
	}
}

Test(fec_encoder, init_survives_every_failed_allocation)
{
	int failures = 0;

	for (size_t bytes = 0;; bytes += 8) {
		struct fec_matrix_cache tight;
		fec_matrix_cache_init(&tight, bytes);
		int error = fec_encoder_init(
			&enc, DATA, PARITY, PACKET_BYTES, FEC_PROFILE_NEW, &tight, &pool);
		if (error) {
			cr_assert_eq(error, -ENOMEM);
			cr_assert_eq(tight.bytes_used, 0);
			failures++;
		}
		fec_encoder_fini(&enc);
		fec_matrix_cache_fini(&tight);
		if (!error)
			break;
	}
	cr_assert(failures > 100);
}
