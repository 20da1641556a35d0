/*
 * FEC decoder. The input's first byte chooses between two runs:
 *
 *   even  a script of packets: raw bytes, or made-up ones with chosen number, type and length, mixed with reads, trims
 *         and shortages. Nothing may crash, leak a slot or give out more bytes than a packet has.
 *   odd   a real encoder's packets with losses, doubles and swaps chosen by the input. What is rebuilt must be what was
 *         sent, and every group with enough packets must be rebuilt whole.
 */
#include "core/pool.h"
#include "core/wire.h"
#include "fec/fec_decoder.h"
#include "fec/fec_encoder.h"
#include "fec/fec_matrix.h"
#include "fec/fec_slot.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { PACKET_BYTES = 1500, SLOTS = 1200, STEPS_MAX = 3000 };

static void check(bool truth)
{
	if (!truth)
		abort();
}

static uint8_t packet[PACKET_BYTES + 100];

static void drain(struct fec_decoder *dec, unsigned reads_max)
{
	const uint8_t *payload;
	size_t payload_len;
	volatile uint8_t sum = 0;

	while (reads_max-- > 0 && (payload = fec_decoder_recovered(dec, &payload_len)) != NULL) {
		check(payload_len <= PACKET_BYTES - FEC_HEADER_BYTES);
		for (size_t i = 0; i < payload_len; i++)
			sum = (uint8_t)(sum + payload[i]);
	}
}

static void run_script(struct wire *in, struct fec_matrix_cache *cache, struct pool *pool)
{
	struct fec_decoder dec;
	enum fec_profile profile = wire_u8(in) % 2 ? FEC_PROFILE_OLD : FEC_PROFILE_NEW;
	unsigned data_shards = wire_u8(in);
	unsigned parity_shards = wire_u8(in);
	uint32_t seqid = 0;
	struct mono now = mono_at_ms(0);

	if (fec_decoder_init(&dec, data_shards, parity_shards, PACKET_BYTES, profile, cache, pool))
		return;
	for (int step = 0; step < STEPS_MAX && wire_left(in) > 0 && wire_ok(in); step++) {
		uint8_t op = wire_u8(in);
		switch (op % 8) {
		case 0: { /* raw */
			size_t raw_len = wire_le16(in) % sizeof(packet);
			if (raw_len > wire_left(in))
				raw_len = wire_left(in);
			const uint8_t *raw = wire_bytes(in, raw_len);
			if (raw)
				memcpy(packet, raw, raw_len);
			fec_decoder_input(&dec, packet, raw_len, now);
			break;
		}
		case 1: /* go somewhere */
			seqid = wire_le32(in);
			break;
		case 2: /* trim, shortage */
			pool->slots_max = op & 0x80 ? SLOTS : pool->slots_used + op / 8 % 8;
			if (op & 0x40)
				fec_decoder_trim(&dec);
			break;
		case 3: /* time */
			now = mono_add_ms(now, wire_le16(in));
			break;
		default: { /* made up: fitting the counts or not, near the last number */
			unsigned n = (unsigned)dec.data_shards + dec.parity_shards;
			bool is_data = (seqid % n < dec.data_shards) != ((op & 0xf8) == 0xf8);
			size_t made_len = 6 + wire_le16(in) % (PACKET_BYTES - 4);
			memset(packet + 6, op, made_len - 6);
			fec_header_write(packet, seqid, is_data ? FEC_TYPE_DATA : FEC_TYPE_PARITY);
			if (op & 0x08)
				store_le16(packet + 6, (uint16_t)(made_len - 6));
			fec_decoder_input(&dec, packet, made_len, now);
			seqid += op % 8 == 4 ? 1u : op % 8 == 5 ? 2u : (uint32_t)(op >> 4) - 4u;
			break;
		}
		}
		drain(&dec, op & 0x10 ? 300 : op % 3);
		check(pool->slots_used <= SLOTS);
		check(fec_decoder_group_count(&dec) <= FEC_DECODER_GROUPS);
		(void)fec_decoder_group_min(&dec);
	}
	fec_decoder_fini(&dec);
}

static struct {
	uint8_t bytes[PACKET_BYTES];
	size_t len;
} group[FEC_SHARDS_MAX];

static void make_group(struct wire *in, struct fec_encoder *enc)
{
	struct fec_parity parity = {0};
	unsigned at = 0;
	int count = 0;

	for (; at < enc->data_shards; at++) {
		size_t payload_len = wire_le16(in) % (PACKET_BYTES - FEC_HEADER_BYTES + 1);
		uint8_t fill = wire_u8(in);
		for (size_t i = 0; i < payload_len; i++)
			group[at].bytes[FEC_HEADER_BYTES + i] =
				(uint8_t)(fill + at + i * (fill | 1u));
		count = fec_encoder_push(enc, group[at].bytes, payload_len, mono_at_us(0), &parity);
		group[at].len = payload_len + FEC_HEADER_BYTES;
	}
	check(count == enc->parity_shards);
	for (unsigned i = 0; i < parity.count; i++, at++) {
		memcpy(group[at].bytes, parity.packets[i], parity.len);
		group[at].len = parity.len;
	}
}

static void run_honest(struct wire *in, struct fec_matrix_cache *cache, struct pool *pool)
{
	struct fec_encoder enc;
	struct fec_decoder dec;
	unsigned data_shards = 1u + wire_u8(in) % 40, parity_shards = 1u + wire_u8(in) % 20;
	unsigned n = data_shards + parity_shards;

	check(fec_encoder_init(&enc, data_shards, parity_shards, PACKET_BYTES, FEC_PROFILE_OLD,
		      cache, pool) == 0);
	check(fec_decoder_init(&dec, data_shards, parity_shards, PACKET_BYTES, FEC_PROFILE_NEW,
		      cache, pool) == 0);
	enc.next_seqid = wire_u8(in) % 2 ? fec_paws(n) - n : 0;
	for (int g = 0; g < 4 && wire_left(in) > 0; g++) {
		bool came[FEC_SHARDS_MAX] = {false};
		unsigned count = 0, step = 1u + wire_u8(in) % n;
		const uint8_t *payload;
		size_t payload_len;

		make_group(in, &enc);
		while (n % step == 0 && step > 1)
			step--;
		for (unsigned i = 0; i < n; i++) {
			unsigned at = i * step % n;
			if (came[at] || wire_u8(in) % 4 == 0)
				continue;
			came[at] = true;
			enum fec_verdict verdict = fec_decoder_input(
				&dec, group[at].bytes, group[at].len, mono_at_us(0));
			count++;
			check((verdict == FEC_STORED) == (count < data_shards));
			if (count == data_shards) {
				unsigned missing = 0;
				for (unsigned k = 0; k < data_shards; k++)
					missing += !came[k];
				check(verdict == (missing ? FEC_REBUILT : FEC_COMPLETE));
				for (unsigned k = 0; k < data_shards; k++) {
					if (came[k])
						continue;
					payload = fec_decoder_recovered(&dec, &payload_len);
					check(payload != NULL);
					check(payload_len == group[k].len - FEC_HEADER_BYTES);
					check(memcmp(payload, group[k].bytes + FEC_HEADER_BYTES,
						      payload_len) == 0);
				}
				check(fec_decoder_recovered(&dec, &payload_len) == NULL);
			}
		}
	}
	check(dec.stats.errors == 0);
	fec_encoder_fini(&enc);
	fec_decoder_fini(&dec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct wire in = wire_of(data, len);
	struct fec_matrix_cache cache;
	struct pool pool;

	fec_matrix_cache_init(&cache, FEC_MATRIX_CACHE_BYTES_MAX);
	pool_init(&pool, FEC_SLOT_BYTES(PACKET_BYTES), SLOTS);
	if (wire_u8(&in) % 2)
		run_honest(&in, &cache, &pool);
	else
		run_script(&in, &cache, &pool);
	check(pool.slots_used == 0);
	check(cache.bytes_used == 0);
	pool_fini(&pool);
	fec_matrix_cache_fini(&cache);
	return 0;
}
