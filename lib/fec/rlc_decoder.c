/*
 * A ring of cells, one for each of the last 2 x window_max indices, says what is here; a system of equations (rlc_system.c)
 * says what is known of the rest. A repair whose sources are all here ends after a look at its cells. One that touches a
 * gap becomes an equation; whatever that or a late source solves is put into its cell, as if it had come, and is given out.
 *
 * Index space. `newest` is the highest index that came or was covered; the `kept` indices up to it are remembered. One that is
 * ahead moves the ring on, and what falls out of it is forgotten, with the equations that began there. One that is out of
 * reach in either direction is either a straggler or the first of a peer whose indices began anew: the packet number tells, for
 * those never begin anew without both sides beginning anew. At a start everything below the first index is open, as
 * the first repair may cover sources that were lost before anything came.
 *
 * All input is authentic, but a peer may lie. What it can reach is a wrong symbol of its own (it might as well have
 * sent that), the slots this decoder may hold, and a bounded amount of work for each datagram. A solved symbol that is no
 * symbol shows that equations contradict each other; then all is forgotten, because any of them may be wrong.
 *
 * Lane bases are not looked at, unlike what one might do to forget sooner: what lies below one costs a slot until
 * its age is over, and the path drops it like any duplicate.
 */
#include "fec/rlc_decoder.h"

#include "core/pool.h"
#include "core/wire.h"
#include "fec/rlc_system.h"

#include <assert.h>
#include <stdlib.h>

enum cell_state {
	CELL_BEFORE, /* below the first index heard of: nobody knows whether it was ever sent */
	CELL_MISSING,
	CELL_HERE,    /* it came, but there was no slot for it: unknown, but not wanted */
	CELL_KEPT,    /* it came */
	CELL_REBUILT, /* it did not, but is known */
};

struct cell {
	struct rlc_buffer symbol; /* of CELL_KEPT and CELL_REBUILT */
	struct mono at;		  /* when it or something newer came */
	uint64_t pn;		  /* of CELL_REBUILT */
	enum cell_state state;
};

struct rlc_decoder_ring {
	struct rlc_system system;
	struct cell cells[RLC_COLUMNS]; /* of index i at i % RLC_COLUMNS */
	unsigned held;			/* slots in cells */
	/* rebuilt and not yet given out */
	unsigned fresh_next;
	unsigned fresh_count;
	uint8_t fresh[RLC_COLUMNS];
};

_Static_assert((RLC_CIDX_MASK + 1) % RLC_COLUMNS == 0, "columns go on where indices wrap");

const char *rlc_verdict_str(enum rlc_verdict verdict)
{
	switch (verdict) {
	case RLC_SOURCE_KEPT:
		return "source kept";
	case RLC_SOURCE_LATE:
		return "source was rebuilt before";
	case RLC_SOURCE_DUPLICATE:
		return "duplicate source";
	case RLC_SOURCE_OLD:
		return "old source";
	case RLC_SOURCE_LENGTH:
		return "source of a length not kept";
	case RLC_SOURCE_NO_MEMORY:
		return "no memory for a source";
	case RLC_REPAIR_USED:
		return "repair used";
	case RLC_REPAIR_SPARE:
		return "spare repair";
	case RLC_REPAIR_REDUNDANT:
		return "redundant repair";
	case RLC_REPAIR_OLD:
		return "old repair";
	case RLC_REPAIR_NO_MEMORY:
		return "no memory for a repair";
	case RLC_REPAIR_BAD_LENGTH:
		return "bad length of a repair";
	case RLC_REPAIR_BAD_WINDOW:
		return "bad window of a repair";
	case RLC_REPAIR_BAD_SHORT:
		return "repair shorter than its sources";
	case RLC_VERDICTS:
		break;
	}
	return "?";
}

void rlc_decoder_init(struct rlc_decoder *dec, unsigned window_max, size_t segments_bytes_max,
	int64_t age_us, struct pool *pool)
{
	assert(window_max >= 1 && window_max <= RLC_WINDOW_MAX);
	assert(segments_bytes_max >= RLC_SEGMENTS_BYTES_MIN && segments_bytes_max <= UINT16_MAX &&
		RLC_SLOT_BYTES(segments_bytes_max) <= pool->slot_bytes);
	*dec = (struct rlc_decoder){
		.pool = pool,
		.span = 2 * window_max,
		.window_max = (uint8_t)window_max,
		.symbol_max = RLC_SYMBOL_HEADER_BYTES + (uint32_t)segments_bytes_max,
	};
	rlc_decoder_set_age(dec, age_us);
}

void rlc_decoder_set_age(struct rlc_decoder *dec, int64_t age_us)
{
	assert(age_us > 0);
	dec->age_us = age_us;
}

unsigned rlc_decoder_slots(const struct rlc_decoder *dec)
{
	return dec->ring ? dec->ring->held + rlc_system_slots(&dec->ring->system) : 0;
}

/* ---- cells ------------------------------------------------------------------------------------------------------- */

static struct cell *cell_at(const struct rlc_decoder *dec, uint32_t cidx)
{
	return &dec->ring->cells[cidx % RLC_COLUMNS];
}

static uint32_t oldest_of(const struct rlc_decoder *dec)
{
	return dec->newest - dec->kept + 1;
}

static void cell_release(struct rlc_decoder *dec, struct cell *cell)
{
	if (!cell->symbol.bytes)
		return;
	pool_return(dec->pool, cell->symbol.bytes);
	cell->symbol = (struct rlc_buffer){0};
	dec->ring->held--;
}

static void forget_oldest(struct rlc_decoder *dec)
{
	uint32_t oldest = oldest_of(dec);
	struct cell *cell = cell_at(dec, oldest);

	if (cell->state == CELL_MISSING)
		dec->stats.lost++;
	cell_release(dec, cell);
	dec->stats.forgotten +=
		rlc_system_forget(&dec->ring->system, (unsigned)(oldest % RLC_COLUMNS));
	dec->kept--;
}

/* Forgets all symbols and equations; indices stand. */
static void forget_all(struct rlc_decoder *dec)
{
	if (!dec->ring)
		return;
	while (dec->kept > 0)
		forget_oldest(dec);
	dec->stats.forgotten += rlc_system_clear(&dec->ring->system);
	dec->ring->fresh_count = 0;
}

static void expire(struct rlc_decoder *dec, struct mono now)
{
	while (dec->kept > 0 && mono_diff_us(now, cell_at(dec, oldest_of(dec))->at) > dec->age_us)
		forget_oldest(dec);
}

/* An index nobody heard of before. */
static void open_next(struct rlc_decoder *dec, enum cell_state state, struct mono now)
{
	if (dec->kept == dec->span)
		forget_oldest(dec);
	dec->newest = (dec->newest + 1) & RLC_CIDX_MASK;
	dec->kept++;
	*cell_at(dec, dec->newest) = (struct cell){.at = now, .state = state};
}

static void begin_at(struct rlc_decoder *dec, uint32_t cidx, struct mono now)
{
	forget_all(dec);
	dec->started = true;
	dec->newest = cidx - dec->span;
	for (uint32_t i = 1; i < dec->span; i++)
		open_next(dec, CELL_BEFORE, now);
	open_next(dec, CELL_MISSING, now);
}

/*
 * Moves the ring so that it reaches up to `cidx`, if that is where it goes.
 *
 * @return  false: out of reach and not new
 */
static bool reach(struct rlc_decoder *dec, uint32_t cidx, uint64_t pn, struct mono now)
{
	int32_t ahead = rlc_cidx_diff(cidx, dec->newest);
	int32_t span = (int32_t)dec->span;

	if (!dec->started) {
		begin_at(dec, cidx, now);
	} else if (ahead > span || ahead < -span) {
		if (pn <= dec->pn_top)
			return false;
		dec->stats.restarts++;
		begin_at(dec, cidx, now);
	} else {
		for (; ahead > 0; ahead--)
			open_next(dec, CELL_MISSING, now);
	}
	if (pn > dec->pn_top)
		dec->pn_top = pn;
	return true;
}

static bool remembered(const struct rlc_decoder *dec, uint32_t cidx)
{
	int32_t behind = rlc_cidx_diff(dec->newest, cidx);

	return behind >= 0 && behind < (int32_t)dec->kept;
}

/* What every datagram begins with. @return false: no memory */
static bool begin(struct rlc_decoder *dec, struct mono now)
{
	if (!dec->ring) {
		dec->ring = aligned_alloc(RLC_ALIGN_BYTES, RLC_ALIGNED(sizeof(*dec->ring)));
		if (!dec->ring)
			return false;
		memset(dec->ring, 0, sizeof(*dec->ring));
		rlc_system_init(&dec->ring->system, dec->pool);
		dec->kept = 0;
	}
	dec->ring->fresh_next = dec->ring->fresh_count = 0;
	dec->last_at = now;
	expire(dec, now);
	return true;
}

/* ---- what was solved --------------------------------------------------------------------------------------------- */

/* @return  false: these bytes are no symbol, or it comes from nowhere */
static bool symbol_good(const struct rlc_buffer *symbol, uint64_t repair_pn, uint64_t *ret_pn)
{
	struct wire w = wire_of(symbol->bytes, symbol->len);
	uint32_t low = wire_le32(&w);
	uint16_t len = wire_le16(&w);
	const uint8_t *segments = wire_bytes(&w, len);

	if (!segments || len < RLC_SEGMENTS_BYTES_MIN)
		return false;
	while (wire_left(&w) > 0) {
		if (wire_u8(&w) != 0)
			return false;
	}
	/* The repair was sent after what it covers. */
	uint64_t pn = (repair_pn & ~(uint64_t)UINT32_MAX) | low;
	if (pn >= repair_pn) {
		if (pn <= UINT32_MAX)
			return false;
		pn -= (uint64_t)1 << 32;
	}
	*ret_pn = pn;
	return true;
}

static void collect(struct rlc_decoder *dec)
{
	struct rlc_decoder_ring *ring = dec->ring;
	struct rlc_buffer symbol;
	uint64_t repair_pn;
	unsigned column;

	while (rlc_system_solved(&ring->system, &column, &symbol, &repair_pn)) {
		struct cell *cell = &ring->cells[column];
		uint64_t pn;
		if (!symbol_good(&symbol, repair_pn, &pn)) {
			pool_return(dec->pool, symbol.bytes);
			dec->stats.bad_symbols++;
			forget_all(dec);
			return;
		}
		symbol.len = RLC_SYMBOL_HEADER_BYTES + (uint32_t)load_le16(symbol.bytes + 4);
		cell->symbol = symbol;
		ring->held++;
		if (cell->state == CELL_HERE) {
			cell->state = CELL_KEPT;
			continue;
		}
		cell->state = CELL_REBUILT;
		cell->pn = pn;
		ring->fresh[ring->fresh_count++] = (uint8_t)column;
	}
}

bool rlc_decoder_rebuilt(struct rlc_decoder *dec, struct rlc_symbol *ret_symbol)
{
	struct rlc_decoder_ring *ring = dec->ring;

	if (!ring || ring->fresh_next == ring->fresh_count)
		return false;
	const struct cell *cell = &ring->cells[ring->fresh[ring->fresh_next++]];
	dec->stats.rebuilt++;
	*ret_symbol = (struct rlc_symbol){
		.pn = cell->pn,
		.segments = cell->symbol.bytes + RLC_SYMBOL_HEADER_BYTES,
		.len = cell->symbol.len - RLC_SYMBOL_HEADER_BYTES,
	};
	return true;
}

/* ---- input ------------------------------------------------------------------------------------------------------- */

static enum rlc_verdict take_source(struct rlc_decoder *dec, uint32_t cidx, uint64_t pn,
	const void *segments, size_t len, struct mono now)
{
	if (len < RLC_SEGMENTS_BYTES_MIN || len + RLC_SYMBOL_HEADER_BYTES > dec->symbol_max)
		return RLC_SOURCE_LENGTH;
	if (!begin(dec, now))
		return RLC_SOURCE_NO_MEMORY;
	if (!reach(dec, cidx, pn, now) || !remembered(dec, cidx))
		return RLC_SOURCE_OLD;

	struct cell *cell = cell_at(dec, cidx);
	if (cell->state == CELL_REBUILT) {
		cell->state = CELL_KEPT;
		return RLC_SOURCE_LATE;
	}
	if (cell->state == CELL_KEPT || cell->state == CELL_HERE)
		return RLC_SOURCE_DUPLICATE;
	uint8_t *slot = pool_take(dec->pool);
	if (!slot) {
		cell->state = CELL_HERE;
		return RLC_SOURCE_NO_MEMORY;
	}
	store_le32(slot, (uint32_t)pn);
	store_le16(slot + 4, (uint16_t)len);
	memcpy(slot + RLC_SYMBOL_HEADER_BYTES, segments, len);
	uint32_t bytes = RLC_SYMBOL_HEADER_BYTES + (uint32_t)len;
	cell->symbol = (struct rlc_buffer){slot, bytes, bytes};
	cell->state = CELL_KEPT;
	dec->ring->held++;
	dec->stats.forgotten += rlc_system_learn(&dec->ring->system, cidx % RLC_COLUMNS,
		&cell->symbol, oldest_of(dec) % RLC_COLUMNS);
	collect(dec);
	return RLC_SOURCE_KEPT;
}

enum rlc_verdict rlc_decoder_source(struct rlc_decoder *dec, uint32_t cidx, uint64_t pn,
	const void *segments, size_t len, struct mono now)
{
	enum rlc_verdict verdict = take_source(dec, cidx & RLC_CIDX_MASK, pn, segments, len, now);

	dec->stats.verdicts[verdict]++;
	return verdict;
}

/* @return  RLC_REPAIR_USED if a repair of so many bytes may say something about these sources */
static enum rlc_verdict survey(struct rlc_decoder *dec, uint32_t first, unsigned window, size_t len)
{
	unsigned missing = 0;
	bool old = false;

	for (uint32_t i = 0; i < window; i++) {
		uint32_t cidx = (first + i) & RLC_CIDX_MASK;
		if (!remembered(dec, cidx)) {
			old = true;
			continue;
		}
		struct cell *cell = cell_at(dec, cidx);
		if (cell->symbol.bytes && cell->symbol.len > len)
			return RLC_REPAIR_BAD_SHORT;
		if (cell->state == CELL_BEFORE)
			cell->state = CELL_MISSING;
		missing += cell->state == CELL_MISSING;
	}
	if (old)
		return RLC_REPAIR_OLD;
	return missing > 0 ? RLC_REPAIR_USED : RLC_REPAIR_SPARE;
}

/* Sorts the sources of a repair into known and unknown. */
static void sort_terms(struct rlc_decoder *dec, uint32_t id, uint32_t first, unsigned window,
	struct rlc_equation *equation)
{
	for (uint32_t i = 0; i < window; i++) {
		uint32_t cidx = (first + i) & RLC_CIDX_MASK;
		struct cell *cell = cell_at(dec, cidx);
		uint8_t coef = rlc_coef(id, cidx);
		if (!cell->symbol.bytes) {
			equation->coefs[cidx % RLC_COLUMNS] = coef;
			continue;
		}
		equation->known_coefs[equation->known_count] = coef;
		equation->known[equation->known_count++] = &cell->symbol;
	}
}

static enum rlc_verdict take_repair(struct rlc_decoder *dec, uint32_t cidx, uint64_t pn,
	const void *body, size_t len, struct mono now)
{
	struct wire w = wire_of(body, len);
	uint32_t id = wire_le32(&w);
	unsigned window = wire_u8(&w);
	(void)wire_u8(&w);

	size_t sum_len = wire_left(&w);
	if (!wire_ok(&w) || sum_len < RLC_SYMBOL_HEADER_BYTES + RLC_SEGMENTS_BYTES_MIN ||
		sum_len > dec->symbol_max)
		return RLC_REPAIR_BAD_LENGTH;
	if (window < 1 || window > dec->window_max)
		return RLC_REPAIR_BAD_WINDOW;

	if (!begin(dec, now))
		return RLC_REPAIR_NO_MEMORY;
	if (!reach(dec, (cidx + window - 1) & RLC_CIDX_MASK, pn, now))
		return RLC_REPAIR_OLD;
	enum rlc_verdict verdict = survey(dec, cidx, window, sum_len);
	if (verdict != RLC_REPAIR_USED)
		return verdict;

	struct rlc_equation equation = {.sum = wire_bytes(&w, sum_len), .len = sum_len, .pn = pn};
	unsigned forgotten;
	sort_terms(dec, id, cidx, window, &equation);
	verdict = rlc_system_add(
		&dec->ring->system, &equation, oldest_of(dec) % RLC_COLUMNS, &forgotten);
	dec->stats.forgotten += forgotten;
	collect(dec);
	return verdict;
}

enum rlc_verdict rlc_decoder_repair(struct rlc_decoder *dec, uint32_t cidx, uint64_t pn,
	const void *body, size_t len, struct mono now)
{
	enum rlc_verdict verdict = take_repair(dec, cidx & RLC_CIDX_MASK, pn, body, len, now);

	dec->stats.verdicts[verdict]++;
	return verdict;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void give_all_back(struct rlc_decoder *dec)
{
	forget_all(dec);
	free(dec->ring);
	dec->ring = NULL;
}

void rlc_decoder_fini(struct rlc_decoder *dec)
{
	give_all_back(dec);
}

void rlc_decoder_restart(struct rlc_decoder *dec)
{
	give_all_back(dec);
	dec->started = false;
	dec->pn_top = 0;
}

struct mono rlc_decoder_trim(struct rlc_decoder *dec, struct mono now)
{
	if (!dec->ring)
		return MONO_NEVER;
	dec->ring->fresh_next = dec->ring->fresh_count = 0;
	expire(dec, now);
	if (dec->kept == 0)
		dec->stats.forgotten += rlc_system_clear(&dec->ring->system);
	struct mono idle_at = mono_add_us(dec->last_at, RLC_DECODER_IDLE_US);
	if (mono_due(idle_at, now)) {
		give_all_back(dec);
		return MONO_NEVER;
	}
	if (dec->kept == 0)
		return idle_at;
	return mono_min(idle_at, mono_add_us(cell_at(dec, oldest_of(dec))->at, dec->age_us + 1));
}

size_t rlc_decoder_bytes(const struct rlc_decoder *dec)
{
	return dec->ring ? RLC_ALIGNED(sizeof(*dec->ring)) : 0;
}
