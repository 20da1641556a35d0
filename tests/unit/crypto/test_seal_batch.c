/* Each implementation that the machine has, against a twin of libsodium's plain calls; and what must be refused. */
#include "crypto/seal_batch.h"

#include "core/endian.h"
#include "crypto/seal.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	BATCH_MAX = 64,
	LEN_MAX = 2000,
	SLOT_BYTES = LEN_MAX + 128,
#if SEAL_ABORTS_ON_REUSE /* a build for a sanitizer is slow */
	JOBS = 20000,
#else
	JOBS = 120000,
#endif
};

static uint64_t seed = 1;

static uint64_t random_64(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static size_t random_below(size_t end)
{
	return (size_t)(random_64() % end);
}

static void random_fill(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)random_64();
}

static void setup(void)
{
	cr_assert(sodium_init() >= 0);
}

TestSuite(seal_batch, .init = setup);

/* The specification in the plainest way: the whole key stream, then XOR byte by byte. */
static void twin_seal(const struct seal_job *job, uint8_t *out, uint8_t tag[16])
{
	static uint8_t stream[64 + SEAL_PAYLOAD_MAX], text[16 + SEAL_PAYLOAD_MAX];

	crypto_stream_salsa20(stream, 64 + job->len, job->nonce, job->key);
	memcpy(text, job->aad, 16);
	for (size_t i = 0; i < job->len; i++)
		out[i] = text[16 + i] = job->in[i] ^ stream[64 + i];
	crypto_onetimeauth_poly1305(tag, text, 16 + job->len, stream);
}

/* Memory of a job: what it reads and writes stands at odd places, with a pattern around it. */
struct slot {
	uint8_t key[33], aad[17], nonce[9], in[SLOT_BYTES], out[SLOT_BYTES], tag[17 + 32];
	uint8_t want[LEN_MAX], want_tag[16], plain[LEN_MAX];
	bool in_place;
};

static struct slot slots[BATCH_MAX];
static struct seal_job jobs[BATCH_MAX];

enum {
	PATTERN = 0xa5,
	MARGIN = 32,
};

static size_t random_len(void)
{
	switch (random_below(4)) {
	case 0: /* around whole blocks and groups */
		return random_below(LEN_MAX / 64) * 64 + random_below(3) +
		       (random_below(2) ? 0 : 16 * random_below(4));
	case 1:
		return random_below(100);
	default:
		return random_below(LEN_MAX + 1);
	}
}

static void slot_make(struct slot *slot, struct seal_job *job, const uint8_t *key)
{
	size_t len = random_len();

	memset(slot, PATTERN, sizeof(*slot));
	slot->in_place = random_below(2);
	random_fill(slot->key, sizeof(slot->key));
	random_fill(slot->aad, sizeof(slot->aad));
	random_fill(slot->nonce, sizeof(slot->nonce));
	*job = (struct seal_job){
		.key = key ? key : slot->key + random_below(2),
		.nonce = random_below(2) ? slot->aad + 1 + 8 : slot->nonce + random_below(2),
		.aad = slot->aad + 1,
		.in = slot->in + MARGIN + random_below(64),
		.out = slot->out + MARGIN + random_below(64),
		.len = len < LEN_MAX ? len : LEN_MAX,
		.tag = slot->tag + MARGIN / 2 + random_below(2),
	};
	if (slot->in_place)
		job->out = slot->in + (job->in - slot->in);
	random_fill(slot->plain, job->len);
	memcpy(slot->in + (job->in - slot->in), slot->plain, job->len);
	twin_seal(job, slot->want, slot->want_tag);
}

/* Nothing beside the `len` bytes of output was written. */
static void check_margins(const struct slot *slot, const struct seal_job *job)
{
	const uint8_t *area = slot->in_place ? slot->in : slot->out;

	for (const uint8_t *at = area; at < job->out; at++)
		cr_assert_eq(*at, PATTERN);
	for (const uint8_t *at = job->out + job->len; at < area + SLOT_BYTES; at++)
		cr_assert_eq(*at, PATTERN);
	for (const uint8_t *at = slot->tag; at < slot->tag + sizeof(slot->tag); at++)
		if (at < job->tag || at >= job->tag + 16)
			cr_assert_eq(*at, PATTERN);
}

static void make_batch(size_t count)
{
	const uint8_t *key = NULL;

	for (size_t i = 0; i < count; i++) {
		if (random_below(8) == 0)
			key = i > 0 && random_below(2) ? jobs[i - 1].key : NULL;
		slot_make(&slots[i], &jobs[i], key);
	}
}

/* Turns the batch around: what was output becomes input, in place or out of place. */
static void swap_for_opening(size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!slots[i].in_place) {
			uint8_t *out = jobs[i].out;
			jobs[i].out = slots[i].in + (jobs[i].in - slots[i].in);
			jobs[i].in = out;
			memset(jobs[i].out, PATTERN, jobs[i].len);
		}
}

static void check_batch(enum seal_impl impl, size_t count)
{
	make_batch(count);
	seal_batch_seal(impl, jobs, count);
	for (size_t i = 0; i < count; i++) {
		cr_assert(jobs[i].ok);
		cr_assert_eq(memcmp(jobs[i].out, slots[i].want, jobs[i].len), 0,
			"%s: %zu of %zu, %zu bytes", seal_impl_name(impl), i, count, jobs[i].len);
		cr_assert_eq(memcmp(jobs[i].tag, slots[i].want_tag, 16), 0,
			"%s: tag, %zu of %zu, %zu bytes", seal_impl_name(impl), i, count,
			jobs[i].len);
		check_margins(&slots[i], &jobs[i]);
	}
	swap_for_opening(count);
	seal_batch_open(impl, jobs, count);
	for (size_t i = 0; i < count; i++) {
		cr_assert(jobs[i].ok, "%s: %zu of %zu, %zu bytes", seal_impl_name(impl), i, count,
			jobs[i].len);
		cr_assert_eq(memcmp(jobs[i].out, slots[i].plain, jobs[i].len), 0,
			"%s: %zu of %zu, %zu bytes", seal_impl_name(impl), i, count, jobs[i].len);
	}
}

static void check_impl(enum seal_impl impl)
{
	if (!seal_batch_supported(impl))
		return;
	for (size_t count = 0; count <= BATCH_MAX; count++)
		check_batch(impl, count);
	for (size_t done = 0; done < JOBS;) {
		size_t count = 1 + random_below(BATCH_MAX);
		check_batch(impl, count);
		done += count;
	}
}

Test(seal_batch, libsodium_gives_the_bytes_of_the_twin)
{
	check_impl(SEAL_IMPL_SODIUM);
}

Test(seal_batch, avx2_gives_the_bytes_of_the_twin)
{
	check_impl(SEAL_IMPL_AVX2);
}

Test(seal_batch, avx512_gives_the_bytes_of_the_twin)
{
	check_impl(SEAL_IMPL_AVX512);
}

Test(seal_batch, auto_gives_the_bytes_of_the_twin)
{
	check_impl(SEAL_IMPL_AUTO);
}

/* ---- choice ------------------------------------------------------------------------------------------------------ */

Test(seal_batch, what_the_cpu_has_holds)
{
	enum seal_impl best = SEAL_IMPL_SODIUM;

	for (int i = SEAL_IMPL_SODIUM; i < SEAL_IMPLS; i++) {
		enum seal_impl impl = (enum seal_impl)i;
		cr_assert_eq(seal_batch_holds(impl), seal_batch_supported(impl), "%s",
			seal_impl_name(impl));
		if (seal_batch_supported(impl))
			best = impl;
	}
	cr_assert_eq(seal_batch_self_test(), best);
	cr_assert(seal_batch_holds(SEAL_IMPL_AUTO));
	cr_assert(!seal_batch_holds(SEAL_IMPLS));
	cr_assert_eq(sodium_runtime_has_avx2() != 0, seal_batch_supported(SEAL_IMPL_AVX2));
}

Test(seal_batch, what_is_not_there_is_replaced)
{
	for (int impl = SEAL_IMPL_AUTO; impl <= SEAL_IMPLS + 1; impl++)
		check_batch((enum seal_impl)impl, 5);
}

/* ---- refusal ----------------------------------------------------------------------------------------------------- */

/* Damages one bit of what job i hands in, and gives it back by a second call. */
static void flip(size_t i, size_t which, size_t bit)
{
	struct slot *slot = &slots[i];
	uint8_t *at;

	switch (which) {
	case 0:
		at = slot->aad + 1 + bit / 8 % 16;
		break;
	case 1:
		at = jobs[i].tag + bit / 8 % 16;
		break;
	default:
		at = slot->in + (jobs[i].in - slot->in) + bit / 8 % jobs[i].len;
	}
	*at ^= (uint8_t)(1u << bit % 8);
}

static void check_refusals(enum seal_impl impl)
{
	if (!seal_batch_supported(impl))
		return;
	for (size_t round = 0; round < 400; round++) {
		size_t count = 1 + random_below(20);
		uint64_t bad = random_64() & random_64();
		size_t bits[BATCH_MAX];

		make_batch(count);
		for (size_t i = 0; i < count; i++) {
			struct slot *slot = &slots[i];
			jobs[i].out =
				slot->in_place ? slot->in + (jobs[i].in - slot->in) : jobs[i].out;
			memcpy(slot->in + (jobs[i].in - slot->in), slot->want, jobs[i].len);
			memcpy(jobs[i].tag, slot->want_tag, 16);
			bits[i] = random_below(1 << 20);
			if (bad >> i & 1)
				flip(i, bits[i] % (jobs[i].len > 0 ? 3 : 2), bits[i] / 3);
			memcpy(slot->want, jobs[i].in, jobs[i].len);
		}
		seal_batch_open(impl, jobs, count);
		for (size_t i = 0; i < count; i++) {
			const struct slot *slot = &slots[i];
			cr_assert_eq(jobs[i].ok, !(bad >> i & 1), "%s: %zu of %zu",
				seal_impl_name(impl), i, count);
			if (jobs[i].ok) {
				cr_assert_eq(memcmp(jobs[i].out, slot->plain, jobs[i].len), 0);
			} else if (slot->in_place) {
				cr_assert_eq(memcmp(jobs[i].out, slot->want, jobs[i].len), 0,
					"a refused datagram stays as it is");
			} else {
				for (size_t k = 0; k < jobs[i].len; k++)
					cr_assert_eq(jobs[i].out[k], PATTERN);
			}
			check_margins(slot, &jobs[i]);
		}
	}
}

Test(seal_batch, one_flipped_bit_is_refused_and_nothing_written)
{
	check_refusals(SEAL_IMPL_SODIUM);
	check_refusals(SEAL_IMPL_AVX2);
	check_refusals(SEAL_IMPL_AVX512);
}

/* Every bit of a short datagram, in the middle of a batch. */
Test(seal_batch, each_single_bit_counts)
{
	for (int impl = SEAL_IMPL_SODIUM; impl < SEAL_IMPLS; impl++) {
		uint8_t bytes[3][16 + 75 + 16], key[32];
		if (!seal_batch_supported((enum seal_impl)impl))
			continue;
		random_fill(key, sizeof(key));
		random_fill(bytes[0], sizeof(bytes));
		for (size_t i = 0; i < 3; i++)
			jobs[i] = (struct seal_job){key, bytes[i] + 8, bytes[i], bytes[i] + 16,
				bytes[i] + 16, 75, bytes[i] + 16 + 75, false};
		seal_batch_seal((enum seal_impl)impl, jobs, 3);
		for (size_t bit = 0; bit < 8 * sizeof(bytes[0]); bit++) {
			uint8_t before[3][16 + 75 + 16];
			bytes[1][bit / 8] ^= (uint8_t)(1u << bit % 8);
			memcpy(before, bytes, sizeof(bytes));
			seal_batch_open((enum seal_impl)impl, jobs, 3);
			cr_assert(jobs[0].ok && jobs[2].ok);
			cr_assert(!jobs[1].ok, "%s: bit %zu", seal_impl_name((enum seal_impl)impl),
				bit);
			cr_assert_arr_eq(bytes[1], before[1], sizeof(bytes[1]));
			seal_batch_seal((enum seal_impl)impl, jobs, 1);
			seal_batch_seal((enum seal_impl)impl, jobs + 2, 1);
			bytes[1][bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

/* ---- edges ------------------------------------------------------------------------------------------------------- */

/* Text that ends, or begins, where memory does: a byte read or written outside ends the test. */
Test(seal_batch, nothing_outside_is_touched)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(map, MAP_FAILED);
	cr_assert_eq(mprotect(map + page, page, PROT_READ | PROT_WRITE), 0);
	for (int impl = SEAL_IMPL_AUTO; impl < SEAL_IMPLS; impl++)
		for (size_t len = 0; len <= LEN_MAX; len += len < 300 ? 1 : 53)
			for (int at_end = 0; at_end < 2; at_end++) {
				uint8_t *text = at_end ? map + 2 * page - len : map + page;
				uint8_t key[32], aad[16], tag[16], want[LEN_MAX], plain[LEN_MAX],
					want_tag[16];
				if (!seal_batch_supported((enum seal_impl)impl))
					continue;
				random_fill(key, sizeof(key));
				random_fill(aad, sizeof(aad));
				random_fill(plain, len);
				memcpy(text, plain, len);
				jobs[0] = (struct seal_job){
					key, aad + 8, aad, text, text, len, tag, false};
				twin_seal(&jobs[0], want, want_tag);
				seal_batch_seal((enum seal_impl)impl, jobs, 1);
				cr_assert_eq(memcmp(text, want, len), 0);
				cr_assert_eq(memcmp(tag, want_tag, 16), 0);
				seal_batch_open((enum seal_impl)impl, jobs, 1);
				cr_assert(jobs[0].ok);
				cr_assert_eq(memcmp(text, plain, len), 0);
			}
	munmap(map, 3 * page);
}

Test(seal_batch, no_text_needs_no_memory)
{
	for (int impl = SEAL_IMPL_AUTO; impl < SEAL_IMPLS; impl++)
		for (size_t count = 1; count <= BATCH_MAX; count++) {
			uint8_t tags[BATCH_MAX][16], want[16];
			for (size_t i = 0; i < count; i++)
				jobs[i] = (struct seal_job){.key = slots[0].key,
					.nonce = slots[0].nonce,
					.aad = slots[0].aad,
					.tag = tags[i]};
			twin_seal(&jobs[0], NULL, want);
			seal_batch_seal((enum seal_impl)impl, jobs, count);
			for (size_t i = 0; i < count; i++)
				cr_assert_arr_eq(tags[i], want, 16);
			seal_batch_open((enum seal_impl)impl, jobs, count);
			for (size_t i = 0; i < count; i++)
				cr_assert(jobs[i].ok);
		}
}

/* The largest datagrams, and the same bytes as seal.h gives. */
Test(seal_batch, agrees_with_whole_datagrams)
{
	static const size_t lens[] = {0, 28, 1368, 1400, 9000, SEAL_PAYLOAD_MAX};
	enum { LENS = sizeof(lens) / sizeof(lens[0]) };

	for (int impl = SEAL_IMPL_AUTO; impl < SEAL_IMPLS; impl++) {
		uint8_t key[32], *ours[LENS], *theirs[LENS];
		struct seal_item items[LENS];
		struct seal_key seal;

		random_fill(key, sizeof(key));
		seal_key_init(&seal, key);
		for (size_t i = 0; i < LENS; i++) {
			size_t whole = lens[i] + SEAL_OVERHEAD_BYTES;
			ours[i] = malloc(whole);
			theirs[i] = malloc(whole);
			random_fill(theirs[i], whole);
			items[i] = (struct seal_item){.payload = theirs[i] + SEAL_HEADER_BYTES,
				.len = lens[i],
				.counter = i << 40,
				.key = &seal,
				.receiver_index = 7};
			memcpy(ours[i] + SEAL_HEADER_BYTES, theirs[i] + SEAL_HEADER_BYTES, lens[i]);
		}
		seal_batch(items, LENS);
		for (size_t i = 0; i < LENS; i++) {
			uint8_t *text = ours[i] + SEAL_HEADER_BYTES;
			memcpy(ours[i], theirs[i], SEAL_HEADER_BYTES);
			jobs[i] = (struct seal_job){key, ours[i] + 8, ours[i], text, text, lens[i],
				text + lens[i], false};
		}
		seal_batch_seal((enum seal_impl)impl, jobs, LENS);
		for (size_t i = 0; i < LENS; i++) {
			cr_assert_eq(items[i].verdict, SEAL_OK);
			cr_assert_arr_eq(ours[i], theirs[i], lens[i] + SEAL_OVERHEAD_BYTES);
			free(ours[i]);
			free(theirs[i]);
		}
	}
}
