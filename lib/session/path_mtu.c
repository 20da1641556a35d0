/*
 * What happens to a path, and what the search (path_mtu_search.c) is to make of it: sessions that begin, addresses that change,
 * acknowledgements and losses, and the limit that no search goes above.
 *
 * The limit is the least of what is told: what both sides receive, what the own link carries, what the kernel refused. What the
 * kernel says about the own link (EMSGSIZE, interface MTU) is believed at once. An ICMP hint and a peer's MTU_ACK come from outside
 * and are not: the former only raises doubt, the latter counts if its number was sent on this path and its size is possible.
 *
 * Invariants: base <= limit; see path_mtu_search.c for the others.
 *
 * Standards: RFC 8899 (DPLPMTUD); RFC 8201 and RFC 1191 for what a hint is worth.
 */
#include "session/path_mtu.h"

#include "session/path_mtu_search.h"

enum {
	PAYLOAD_MAX_BYTES = 65507,
};

static uint16_t min_u16(uint16_t a, uint16_t b)
{
	return a < b ? a : b;
}

uint16_t path_mtu_payload(uint8_t family, uint32_t link_mtu)
{
	uint32_t header = family == 4 ? PATH_MTU_V4_HEADER_BYTES : PATH_MTU_V6_HEADER_BYTES;

	if (link_mtu <= header)
		return 0;
	if (link_mtu - header > PAYLOAD_MAX_BYTES)
		return PAYLOAD_MAX_BYTES;
	return (uint16_t)(link_mtu - header);
}

void path_mtu_init(struct path_mtu *mtu)
{
	*mtu = (struct path_mtu){
		.probe_at = MONO_NEVER,
		.raise_at = MONO_NEVER,
		.size = PATH_MTU_BASE_BYTES,
		.limit = PATH_MTU_BASE_BYTES,
		.told_max = PATH_MTU_BASE_BYTES,
		.high = PATH_MTU_BASE_BYTES + 1,
		.lost_min = UINT16_MAX,
		.family = 6,
		.state = PATH_MTU_OFF,
	};
}

/* ---- what happens ---------------------------------------------------------------------------------------------------- */

static void recompute_limit(struct path_mtu *mtu)
{
	uint16_t link =
		mtu->link_max ? mtu->link_max : path_mtu_payload(mtu->family, PATH_MTU_LINK_BYTES);
	uint16_t limit = min_u16(mtu->told_max, link);

	if (mtu->refused && mtu->refused <= limit)
		limit = (uint16_t)(mtu->refused - 1);
	mtu->limit = limit < PATH_MTU_BASE_BYTES ? PATH_MTU_BASE_BYTES : limit;
}

/* The limit moved: sizes above it are out of the question now. @fits  what is confirmed below it still holds */
static void apply_limit(struct path_mtu *mtu, bool fits, struct mono now)
{
	uint16_t before = mtu->limit;

	recompute_limit(mtu);
	if (mtu->state == PATH_MTU_OFF) {
		mtu->high = (uint16_t)(mtu->limit + 1);
		return;
	}
	if (mtu->limit > before) {
		if (mtu->state == PATH_MTU_SETTLED)
			path_mtu_search_more(mtu, now);
		else if (mtu->high == before + 1)
			mtu->high = (uint16_t)(mtu->limit + 1);
		return;
	}
	if (mtu->high > mtu->limit + 1)
		mtu->high = (uint16_t)(mtu->limit + 1);
	if (mtu->size > mtu->limit) {
		path_mtu_search_set_size(mtu, fits ? mtu->limit : PATH_MTU_BASE_BYTES);
		path_mtu_search_clear_losses(mtu);
		mtu->path_id = mtu->next_id;
		if (mtu->state == PATH_MTU_VERIFYING || mtu->state == PATH_MTU_SETTLED)
			path_mtu_search_next_step(mtu, now);
	}
	if (mtu->old > mtu->limit) {
		mtu->old = mtu->limit > mtu->size ? mtu->limit : 0;
		mtu->changed = true;
	}
	if ((mtu->state == PATH_MTU_SEARCHING || mtu->state == PATH_MTU_STALLED) &&
		!path_mtu_search_open_to(mtu, mtu->probe))
		path_mtu_search_next_step(mtu, now);
}

void path_mtu_start(struct path_mtu *mtu, uint8_t family, uint16_t told_max, uint32_t link_mtu,
	bool probing, struct mono now)
{
	if (!probing) {
		path_mtu_stop(mtu);
		return;
	}
	if (mtu->state != PATH_MTU_OFF && mtu->family == family) {
		mtu->told_max = told_max;
		apply_limit(mtu, true, now);
		if (link_mtu)
			path_mtu_set_link(mtu, link_mtu, now);
		return;
	}
	mtu->family = family;
	mtu->told_max = told_max;
	mtu->link_max = link_mtu ? path_mtu_payload(family, link_mtu) : 0;
	mtu->refused = 0;
	recompute_limit(mtu);
	path_mtu_search_forget(mtu);
	mtu->old = 0;
	path_mtu_search_guess(mtu, mtu->limit, 1);
	path_mtu_search_next_step(mtu, now);
}

void path_mtu_stop(struct path_mtu *mtu)
{
	mtu->state = PATH_MTU_OFF;
	mtu->probe_at = MONO_NEVER;
	mtu->raise_at = MONO_NEVER;
	if (mtu->old)
		mtu->changed = true;
	mtu->old = 0;
	path_mtu_search_forget(mtu);
}

void path_mtu_set_link(struct path_mtu *mtu, uint32_t link_mtu, struct mono now)
{
	uint16_t link_max = link_mtu ? path_mtu_payload(mtu->family, link_mtu) : 0;

	if (link_max == mtu->link_max)
		return;
	mtu->link_max = link_max;
	mtu->refused = 0;
	apply_limit(mtu, true, now);
}

void path_mtu_switched(struct path_mtu *mtu, uint8_t family, struct mono now)
{
	uint16_t old = mtu->old > mtu->size ? mtu->old : mtu->size;

	mtu->family = family;
	mtu->link_max = 0;
	mtu->refused = 0;
	if (mtu->state == PATH_MTU_OFF)
		return;
	recompute_limit(mtu);
	old = min_u16(old, mtu->limit);
	path_mtu_search_forget(mtu);
	mtu->old = old > PATH_MTU_BASE_BYTES ? old : 0;
	mtu->changed = true;
	path_mtu_search_guess(
		mtu, mtu->old ? mtu->old : mtu->limit, mtu->old ? PATH_MTU_PROBES : 1);
	path_mtu_search_next_step(mtu, now);
}

static bool is_ours(const struct path_mtu *mtu, struct path_mtu_probe probe)
{
	uint16_t sent = (uint16_t)(mtu->next_id - mtu->path_id);

	return (uint16_t)(probe.id - mtu->path_id) < sent &&
	       probe.size_bytes >= PATH_MTU_BASE_BYTES && probe.size_bytes <= mtu->limit;
}

void path_mtu_acked_probe(struct path_mtu *mtu, struct path_mtu_probe probe, struct mono now)
{
	if (mtu->state == PATH_MTU_OFF || !is_ours(mtu, probe))
		return;
	mtu->counters.acks++;
	if (mtu->state == PATH_MTU_VERIFYING) {
		if (probe.size_bytes < mtu->size) {
			mtu->heard = true;
			return;
		}
		path_mtu_search_end_doubt(mtu, now);
	}
	mtu->heard = true;
	if (probe.size_bytes > mtu->size)
		path_mtu_search_confirm(mtu, probe.size_bytes, now);
	else if (mtu->state == PATH_MTU_STALLED)
		path_mtu_search_resume(mtu, now);
}

void path_mtu_acked(struct path_mtu *mtu, uint32_t size_bytes, struct mono now)
{
	if (size_bytes >= mtu->lost_min)
		path_mtu_search_clear_losses(mtu);
	switch ((enum path_mtu_state)mtu->state) {
	case PATH_MTU_OFF:
		return;
	case PATH_MTU_SEARCHING:
		mtu->heard = true;
		return;
	case PATH_MTU_VERIFYING:
		if (size_bytes >= mtu->size)
			path_mtu_search_end_doubt(mtu, now);
		else
			mtu->heard = true;
		return;
	case PATH_MTU_STALLED:
		path_mtu_search_resume(mtu, now);
		return;
	case PATH_MTU_SETTLED:
		if (!mono_due(mtu->raise_at, now))
			return;
		mtu->refused = 0;
		recompute_limit(mtu);
		/* What failed last is asked alone first: mostly nothing has changed. */
		path_mtu_search_guess(
			mtu, mtu->high <= mtu->limit ? mtu->high : mtu->limit, PATH_MTU_PROBES);
		mtu->high = (uint16_t)(mtu->first + 1);
		path_mtu_search_next_step(mtu, now);
		return;
	}
}

void path_mtu_lost(struct path_mtu *mtu, uint32_t size_bytes, struct mono now)
{
	if (size_bytes <= PATH_MTU_BASE_BYTES || size_bytes > mtu->size ||
		mtu->state == PATH_MTU_OFF || mtu->state == PATH_MTU_VERIFYING)
		return;
	if (size_bytes < mtu->lost_min)
		mtu->lost_min = (uint16_t)size_bytes;
	if (++mtu->losses >= PATH_MTU_LOSSES)
		path_mtu_search_doubt(mtu, now);
}

void path_mtu_refused(
	struct path_mtu *mtu, uint32_t size_bytes, uint32_t fits_bytes, struct mono now)
{
	bool fits_known = fits_bytes >= PATH_MTU_BASE_BYTES && fits_bytes < size_bytes;

	mtu->counters.too_big++;
	if (size_bytes <= PATH_MTU_BASE_BYTES || size_bytes > PAYLOAD_MAX_BYTES)
		return;
	uint16_t refused = (uint16_t)(fits_known ? fits_bytes + 1 : size_bytes);
	if (mtu->refused && mtu->refused <= refused)
		return;
	mtu->refused = refused;
	apply_limit(mtu, fits_known, now);
}

void path_mtu_hint(struct path_mtu *mtu, uint32_t fits_bytes, struct mono now)
{
	if (mtu->state != PATH_MTU_SETTLED && mtu->state != PATH_MTU_SEARCHING)
		return;
	if (fits_bytes >= mtu->size || mtu->size == PATH_MTU_BASE_BYTES ||
		!mono_due(mtu->hint_at, now))
		return;
	mtu->hint_at = mono_add_us(now, PATH_MTU_HINT_US);
	if (fits_bytes > PATH_MTU_BASE_BYTES)
		path_mtu_search_guess(mtu, (uint16_t)fits_bytes, 1);
	path_mtu_search_doubt(mtu, now);
}

void path_mtu_follow(struct path_mtu *mtu, uint16_t size_bytes, bool waiting)
{
	if (size_bytes < PATH_MTU_BASE_BYTES)
		size_bytes = PATH_MTU_BASE_BYTES;
	mtu->changed |= size_bytes != mtu->size || waiting != path_mtu_waiting(mtu);
	mtu->size = size_bytes;
	mtu->old = waiting ? size_bytes : 0;
}

bool path_mtu_take_change(struct path_mtu *mtu)
{
	bool changed = mtu->changed;

	mtu->changed = false;
	return changed;
}
