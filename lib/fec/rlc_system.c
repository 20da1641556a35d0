/*
 * Rows are kept in reduced echelon form: each has a pivot, the oldest column it holds, and no other row holds that column.
 * So nothing is ever solved in one go: a new row is reduced by all others, its own pivot is taken out of them, and whoever
 * is left with its pivot alone is a symbol.
 *
 * Because a pivot is the oldest column of its row, forgetting the oldest column of all costs at most the row that has it as
 * pivot, and the others keep all that they say.
 *
 * The coefficients are worked out first, which is cheap (128 bytes a row); then the bytes of the new row are one sum over the
 * repair, the symbols known and the rows that reduce it. A repair that says nothing new is found before its bytes are touched.
 *
 * Work in the worst case, in products of a symbol and a number (about 30 to 60 ns for 1400 bytes):
 *   a repair     64 (known or other rows, together at most RLC_SUM_MAX) + 63 (its pivot out of the others) + 64 (solved)
 *   a source     64 (itself out of the rows) + 63 (a new pivot, if it was one) + 64 (solved)
 *   a column forgotten: none
 * Rows differ in length; zeros beyond the end of a sum are as true as its bytes, so the shorter is extended. A row is clean
 * up to the vector its end is in, always.
 */
#include "fec/rlc_system.h"

#include "core/pool.h"

#include <assert.h>

void rlc_system_init(struct rlc_system *system, struct pool *pool)
{
	memset(system, 0, sizeof(*system));
	system->pool = pool;
}

static void row_drop(struct rlc_system *system, struct rlc_row *row)
{
	pool_return(system->pool, row->sum.bytes);
	row->sum = (struct rlc_buffer){0};
	system->count--;
}

unsigned rlc_system_clear(struct rlc_system *system)
{
	unsigned before = system->count;

	for (unsigned i = 0; i < RLC_DECODER_REPAIRS_MAX; i++) {
		if (system->rows[i].sum.bytes)
			row_drop(system, &system->rows[i]);
	}
	pool_return(system->pool, system->scratch);
	system->scratch = NULL;
	return before;
}

unsigned rlc_system_slots(const struct rlc_system *system)
{
	return system->count + (system->scratch ? 1 : 0);
}

/* @return  the oldest column that is not 0; RLC_COLUMNS if all are */
static unsigned oldest_of(const uint8_t *coefs, unsigned oldest)
{
	for (unsigned i = 0; i < RLC_COLUMNS; i++) {
		unsigned column = (oldest + i) % RLC_COLUMNS;
		if (coefs[column] != 0)
			return column;
	}
	return RLC_COLUMNS;
}

static size_t max_of(size_t a, size_t b)
{
	return a > b ? a : b;
}

static uint64_t max_pn(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Takes `pivot` of `row` out of all other rows. */
static void sweep(struct rlc_system *system, struct rlc_row *row, unsigned pivot)
{
	uint8_t *coefs[RLC_DECODER_REPAIRS_MAX], *sums[RLC_DECODER_REPAIRS_MAX];
	uint8_t factors[RLC_DECODER_REPAIRS_MAX];
	size_t len = RLC_ALIGNED(row->sum.len);
	unsigned count = 0;

	for (unsigned i = 0; i < RLC_DECODER_REPAIRS_MAX; i++) {
		struct rlc_row *other = &system->rows[i];
		if (!other->sum.bytes || other == row || other->coefs[pivot] == 0)
			continue;
		rlc_buffer_extend(&other->sum, len);
		other->sum.len = (uint32_t)max_of(other->sum.len, row->sum.len);
		other->pn = max_pn(other->pn, row->pn);
		factors[count] = rlc_ratio(other->coefs[pivot], row->coefs[pivot]);
		coefs[count] = other->coefs;
		sums[count++] = other->sum.bytes;
	}
	row->pivot = (uint8_t)pivot;
	if (count == 0)
		return;
	rlc_spread(coefs, RLC_COLUMNS, factors, row->coefs, count);
	rlc_spread(sums, len, factors, row->sum.bytes, count);
}

/* The row to be written; if there is none, the one that will be forgotten first. */
static struct rlc_row *row_take(struct rlc_system *system, unsigned oldest, unsigned *ret_forgotten)
{
	struct rlc_row *eldest = NULL;
	unsigned least = RLC_COLUMNS;

	for (unsigned i = 0; i < RLC_DECODER_REPAIRS_MAX; i++) {
		struct rlc_row *row = &system->rows[i];
		if (!row->sum.bytes)
			return row;
		unsigned age = (row->pivot - oldest) % RLC_COLUMNS;
		if (age < least) {
			least = age;
			eldest = row;
		}
	}
	row_drop(system, eldest);
	(*ret_forgotten)++;
	return eldest;
}

/*
 * Writes the equation's coefficients, reduced by all rows, to `coefs`, and the rows that were needed with their factors.
 */
static unsigned reduce(struct rlc_system *system, struct rlc_equation *equation, uint8_t *coefs,
	struct rlc_row **rows, uint8_t *factors)
{
	uint8_t *terms[RLC_DECODER_REPAIRS_MAX + 1];
	unsigned count = 0;

	for (unsigned i = 0; i < RLC_DECODER_REPAIRS_MAX; i++) {
		struct rlc_row *row = &system->rows[i];
		if (!row->sum.bytes || equation->coefs[row->pivot] == 0)
			continue;
		factors[count] = rlc_ratio(equation->coefs[row->pivot], row->coefs[row->pivot]);
		terms[count] = row->coefs;
		rows[count++] = row;
	}
	factors[count] = 1;
	terms[count] = equation->coefs;
	rlc_sum(coefs, RLC_COLUMNS, factors, terms, count + 1);
	return count;
}

enum rlc_verdict rlc_system_add(struct rlc_system *system, struct rlc_equation *equation,
	unsigned oldest, unsigned *ret_forgotten)
{
	_Alignas(RLC_ALIGN_BYTES) uint8_t coefs[RLC_COLUMNS];
	struct rlc_row *reducing[RLC_DECODER_REPAIRS_MAX];
	uint8_t factors[RLC_SUM_MAX], *terms[RLC_SUM_MAX];

	*ret_forgotten = 0;
	/* First: a row that makes place must not be one that reduces the new one. */
	struct rlc_row *row = row_take(system, oldest, ret_forgotten);
	unsigned count = reduce(system, equation, coefs, reducing, factors);
	const unsigned reduced_by = count;
	unsigned pivot = oldest_of(coefs, oldest);
	if (pivot == RLC_COLUMNS)
		return RLC_REPAIR_REDUNDANT;
	if (!system->scratch)
		system->scratch = pool_take(system->pool);
	uint8_t *slot = system->scratch ? pool_take(system->pool) : NULL;
	if (!slot)
		return RLC_REPAIR_NO_MEMORY;

	size_t len = equation->len;
	for (unsigned i = 0; i < count; i++)
		len = max_of(len, reducing[i]->sum.len);
	size_t all = RLC_ALIGNED(len);
	for (unsigned i = 0; i < count; i++) {
		rlc_buffer_extend(&reducing[i]->sum, all);
		terms[i] = reducing[i]->sum.bytes;
	}
	for (unsigned i = 0; i < equation->known_count; i++) {
		rlc_buffer_extend(equation->known[i], all);
		factors[count] = equation->known_coefs[i];
		terms[count++] = equation->known[i]->bytes;
	}
	memcpy(system->scratch, equation->sum, equation->len);
	memset(system->scratch + equation->len, 0, all - equation->len);
	factors[count] = 1;
	terms[count++] = system->scratch;
	rlc_sum(slot, all, factors, terms, count);

	memcpy(row->coefs, coefs, sizeof(coefs));
	row->sum = (struct rlc_buffer){slot, (uint32_t)len, (uint32_t)all};
	row->pn = equation->pn;
	for (unsigned i = 0; i < reduced_by; i++)
		row->pn = max_pn(row->pn, reducing[i]->pn);
	system->count++;
	sweep(system, row, pivot);
	return RLC_REPAIR_USED;
}

unsigned rlc_system_learn(
	struct rlc_system *system, unsigned column, struct rlc_buffer *symbol, unsigned oldest)
{
	uint8_t *sums[RLC_DECODER_REPAIRS_MAX], factors[RLC_DECODER_REPAIRS_MAX];
	size_t len = RLC_ALIGNED(symbol->len);
	struct rlc_row *headless = NULL;
	unsigned count = 0, dropped = 0;

	for (unsigned i = 0; i < RLC_DECODER_REPAIRS_MAX && system->count > 0; i++) {
		struct rlc_row *row = &system->rows[i];
		if (!row->sum.bytes || row->coefs[column] == 0)
			continue;
		if (symbol->len > row->sum.len) {
			row_drop(system, row); /* it cannot hold this symbol: a lie */
			dropped++;
			continue;
		}
		factors[count] = row->coefs[column];
		sums[count++] = row->sum.bytes;
		row->coefs[column] = 0;
		if (row->pivot == column)
			headless = row;
	}
	if (count == 0)
		return dropped;
	rlc_buffer_extend(symbol, len);
	rlc_spread(sums, len, factors, symbol->bytes, count);
	if (!headless)
		return dropped;
	unsigned pivot = oldest_of(headless->coefs, oldest);
	if (pivot == RLC_COLUMNS) {
		row_drop(system, headless);
		return dropped + 1;
	}
	sweep(system, headless, pivot);
	return dropped;
}

unsigned rlc_system_forget(struct rlc_system *system, unsigned column)
{
	for (unsigned i = 0; i < RLC_DECODER_REPAIRS_MAX && system->count > 0; i++) {
		struct rlc_row *row = &system->rows[i];
		if (row->sum.bytes && row->pivot == column) {
			row_drop(system, row);
			return 1;
		}
	}
	return 0;
}

static bool alone(const struct rlc_row *row)
{
	static const uint8_t zeros[RLC_COLUMNS];

	return memcmp(row->coefs, zeros, row->pivot) == 0 &&
	       memcmp(row->coefs + row->pivot + 1, zeros, RLC_COLUMNS - 1U - row->pivot) == 0;
}

bool rlc_system_solved(struct rlc_system *system, unsigned *ret_column,
	struct rlc_buffer *ret_symbol, uint64_t *ret_pn)
{
	for (unsigned i = 0; i < RLC_DECODER_REPAIRS_MAX && system->count > 0; i++) {
		struct rlc_row *row = &system->rows[i];
		if (!row->sum.bytes || !alone(row))
			continue;
		size_t all = RLC_ALIGNED(row->sum.len);
		uint8_t factor = rlc_ratio(1, row->coefs[row->pivot]);
		rlc_sum(system->scratch, all, &factor, &row->sum.bytes, 1);
		*ret_column = row->pivot;
		*ret_symbol = (struct rlc_buffer){system->scratch, row->sum.len, (uint32_t)all};
		*ret_pn = row->pn;
		system->scratch = row->sum.bytes;
		row->sum = (struct rlc_buffer){0};
		system->count--;
		return true;
	}
	return false;
}
