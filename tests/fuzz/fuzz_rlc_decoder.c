/*
 * Decoder of the sliding-window code. The input's first byte chooses between two runs:
 *
 *   even  a script: sources and repairs with made-up indices, numbers, windows and bytes, jumps, time, shortages. Nothing may
 *         crash, hold more slots than it may, or give out a symbol of a length or number that cannot be.
 *   odd   a real encoder's datagrams with losses, doubles and swaps chosen by the input. What is rebuilt must be what was sent.
 */
#include "core/pool.h"
#include "core/wire.h"
#include "fec/rlc_decoder.h"
#include "fec/rlc_encoder.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { SEGMENTS = 300, SLOTS = 300, STEPS_MAX = 2000, HELD = 16, AGE_US = 200000 };

static void check(bool truth)
{
	if (!truth)
		abort();
}

static uint64_t segment_state;

static uint8_t segment_byte(void)
{
	segment_state = segment_state * 6364136223846793005u + 1442695040888963407u;
	return (uint8_t)(segment_state >> 56);
}

/* The segments of a source are a function of its number. */
static size_t segments_of(uint64_t pn, uint8_t *segments)
{
	segment_state = pn;
	size_t len = RLC_SEGMENTS_BYTES_MIN + segment_byte() % 200u;
	for (size_t i = 0; i < len; i++)
		segments[i] = segment_byte();
	return len;
}

static void drain(struct rlc_decoder *dec, unsigned window_max, bool honest, uint64_t pn_end)
{
	struct rlc_symbol symbol;
	uint8_t want[SEGMENTS];
	volatile uint8_t sum = 0;

	check(rlc_decoder_slots(dec) <= 2 * window_max + RLC_DECODER_REPAIRS_MAX + 1);
	check(dec->kept <= 2 * window_max);
	while (rlc_decoder_rebuilt(dec, &symbol)) {
		check(symbol.len >= RLC_SEGMENTS_BYTES_MIN && symbol.len <= SEGMENTS);
		check(symbol.pn < pn_end);
		for (size_t i = 0; i < symbol.len; i++)
			sum = (uint8_t)(sum + symbol.segments[i]);
		if (honest) {
			check(segments_of(symbol.pn, want) == symbol.len);
			check(memcmp(symbol.segments, want, symbol.len) == 0);
		}
	}
}

static void run_script(struct wire *in, struct pool *pool)
{
	struct rlc_decoder dec;
	unsigned window_max = 1 + wire_u8(in) % RLC_WINDOW_MAX;
	uint32_t cidx = 0;
	uint64_t pn = 0;
	struct mono now = mono_at_ms(0);
	uint8_t body[RLC_REPAIR_BYTES(SEGMENTS) + 20];

	rlc_decoder_init(&dec, window_max, SEGMENTS, AGE_US, pool);
	for (int step = 0; step < STEPS_MAX && wire_left(in) > 0 && wire_ok(in); step++) {
		uint8_t op = wire_u8(in);
		switch (op % 8) {
		case 0: /* go somewhere */
			cidx = wire_le32(in) & RLC_CIDX_MASK;
			break;
		case 1: /* another number */
			pn = wire_le64(in) & (((uint64_t)1 << 48) - 1);
			break;
		case 2: /* shortage */
			pool->slots_max = op & 0x80 ? SLOTS : pool->slots_used + op / 8 % 4;
			break;
		case 3: /* time */
			now = mono_add_us(now, (int64_t)wire_le16(in) * 100);
			if (op & 0x80)
				rlc_decoder_trim(&dec, now);
			if (op == 0x7b)
				rlc_decoder_restart(&dec);
			break;
		case 4:
		case 5: { /* a source */
			cidx = (cidx + op / 8 % 4) & RLC_CIDX_MASK;
			size_t len = op & 0x80 ? segments_of(pn, body) : wire_u8(in);
			rlc_decoder_source(&dec, cidx, pn++, body, len, now);
			break;
		}
		default: { /* a repair */
			size_t len = op & 0x40 ? wire_le16(in) % sizeof(body) : 80;
			size_t given = op & 0x80 ? wire_u8(in) : 8;
			given = given < len ? given : len;
			given = given < wire_left(in) ? given : wire_left(in);
			memset(body, 0, sizeof(body));
			const uint8_t *bytes = wire_bytes(in, given);
			if (bytes)
				memcpy(body, bytes, given);
			rlc_decoder_repair(
				&dec, (cidx - op / 8 % 4) & RLC_CIDX_MASK, pn++, body, len, now);
			break;
		}
		}
		drain(&dec, window_max, false, ((uint64_t)1 << 48) + STEPS_MAX);
	}
	rlc_decoder_fini(&dec);
}

struct held {
	uint64_t pn;
	size_t len;
	uint32_t cidx;
	bool repair;
	uint8_t bytes[RLC_REPAIR_BYTES(SEGMENTS)];
};

static void deliver(
	struct rlc_decoder *dec, const struct held *h, unsigned window_max, uint64_t pn_end)
{
	if (h->repair)
		rlc_decoder_repair(dec, load_le32(h->bytes) >> 8, h->pn, h->bytes + 4, h->len - 4,
			mono_at_us(0));
	else
		rlc_decoder_source(dec, h->cidx, h->pn, h->bytes, h->len, mono_at_us(0));
	drain(dec, window_max, true, pn_end);
}

static void run_honest(struct wire *in, struct pool *pool)
{
	static struct held held[HELD];
	struct rlc_encoder enc;
	struct rlc_decoder dec;
	unsigned window = 1 + wire_u8(in) % RLC_WINDOW_MAX;
	uint64_t pn = wire_le64(in) & (((uint64_t)1 << 47) - 1);
	unsigned count = 0;

	rlc_encoder_init(&enc, window, AGE_US, pool);
	rlc_decoder_init(&dec, window, SEGMENTS, AGE_US, pool);
	enc.next_cidx = wire_le32(in) & RLC_CIDX_MASK;
	for (int step = 0; step < STEPS_MAX && wire_left(in) > 0; step++) {
		uint8_t op = wire_u8(in);
		struct held *h = &held[count % HELD];
		h->pn = pn;
		h->repair = op & 1;
		h->len = h->repair ? rlc_encoder_repair(&enc, RLC_KIND_THIN_REPAIR, op / 32,
					     h->bytes, sizeof(h->bytes), mono_at_us(0))
				   : segments_of(pn, h->bytes);
		if (h->len == 0)
			continue;
		if (!h->repair)
			check(rlc_encoder_push(
				&enc, pn, h->bytes, h->len, mono_at_us(0), &h->cidx));
		pn++;
		count++;
		if (op & 2) /* lost, or late */
			continue;
		deliver(&dec, h, window, pn);
		if (op & 4 && count >= HELD)
			deliver(&dec, &held[(count + op / 8) % HELD], window, pn);
	}
	check(dec.stats.bad_symbols == 0);
	rlc_encoder_fini(&enc);
	rlc_decoder_fini(&dec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct wire in = wire_of(data, len);
	struct pool pool;
	bool honest = wire_u8(&in) & 1;

	pool_init(&pool, RLC_SLOT_BYTES(SEGMENTS), SLOTS);
	if (honest)
		run_honest(&in, &pool);
	else
		run_script(&in, &pool);
	check(pool.slots_used == 0);
	pool_fini(&pool);
	return 0;
}
