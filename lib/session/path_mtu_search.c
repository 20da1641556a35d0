/*
 * A search between `size`, the largest that is known to pass, and `high`, the smallest that is believed not to. A step is one
 * size, probed until it is acknowledged (then it is used) or three probes are lost (high falls). Sizes to try, in this order:
 *  - a guess (`first`): at the start the limit itself, since most paths carry it and one round trip then ends the search;
 *    after a switch the size the peer had before. A lost guess at the limit proves nothing, it is only sent once;
 *  - the table of sizes that real paths have, from below;
 *  - the middle, until both are PATH_MTU_PRECISION_BYTES apart: what tunnels and PPPoE leave.
 *
 * Probes get lost as other datagrams do. Two rules keep that from being read as a small path. A step ends in failure only
 * if something else came back meanwhile; if not, the path is dead and not small: the search stalls, sends nothing more, and
 * goes on with the first acknowledgement of anything. And a size that failed is tried again after 10 s, 60 s, then every
 * 600 s, when data flows; that is the raise timer, and it is not armed: an idle path has no deadline.
 *
 * A black hole shows itself by losses of datagrams above the base in a row. On a path with 30 % loss three in a row are an
 * everyday event, so they only raise suspicion: after a wait of one timeout, in which an acknowledgement of any datagram
 * as large takes it back, the size in use and the base are probed side by side. Only if the base answers and the size in
 * use does not, the path has become small. Detection takes the losses and four timeouts, on a path of 300 ms still below 3 s.
 * An ICMP hint starts the same check, so a forged one costs two small probes and moves nothing.
 *
 * Invariants: base <= size < high <= limit + 1; a probe in progress is above size and below high.
 *
 * Standards: RFC 8899 (DPLPMTUD); RFC 8201 and RFC 1191 for what a hint is worth.
 */
#include "session/path_mtu_search.h"

#include <stddef.h>

enum {
	IDS_KEPT = 64, /* probes that can still be acknowledged */
};

/* UDP payloads of: a tunnel over minimal IPv6; a tunnel in a tunnel; Ethernet under IPv6; Ethernet under IPv4. */
static const uint16_t TABLE[] = {1280, 1400, 1452, 1472};

/* ---- sizes ----------------------------------------------------------------------------------------------------- */

void path_mtu_search_set_size(struct path_mtu *mtu, uint16_t size)
{
	if (mtu->size != size)
		mtu->changed = true;
	mtu->size = size;
}

/* The old size of a switched path is judged once something as large has passed, or it is known to fail. */
static void judge_old(struct path_mtu *mtu)
{
	if (mtu->old == 0 || (mtu->size < mtu->old && mtu->old < mtu->high))
		return;
	mtu->old = 0;
	mtu->changed = true;
}

void path_mtu_search_clear_losses(struct path_mtu *mtu)
{
	mtu->losses = 0;
	mtu->lost_min = UINT16_MAX;
}

void path_mtu_search_forget(struct path_mtu *mtu)
{
	mtu->high = (uint16_t)(mtu->limit + 1);
	mtu->path_id = mtu->next_id;
	mtu->first = 0;
	mtu->probe = 0;
	mtu->raises = 0;
	path_mtu_search_clear_losses(mtu);
	path_mtu_search_set_size(mtu, PATH_MTU_BASE_BYTES);
}

/* ---- the search ------------------------------------------------------------------------------------------------ */

void path_mtu_search_guess(struct path_mtu *mtu, uint16_t size, uint8_t tries)
{
	mtu->first = size;
	mtu->first_tries = tries;
}

static void begin_step(struct path_mtu *mtu, uint16_t size, uint8_t tries_max, struct mono now)
{
	mtu->state = PATH_MTU_SEARCHING;
	mtu->probe = size;
	mtu->tries = 0;
	mtu->tries_max = tries_max;
	mtu->heard = false;
	mtu->probe_at = now;
}

static int64_t raise_wait_us(uint8_t raises)
{
	if (raises == 0)
		return PATH_MTU_RAISE_FIRST_US;
	return raises == 1 ? PATH_MTU_RAISE_SECOND_US : PATH_MTU_RAISE_US;
}

static void settle(struct path_mtu *mtu, struct mono now)
{
	mtu->state = PATH_MTU_SETTLED;
	mtu->probe = 0;
	mtu->probe_at = MONO_NEVER;
	mtu->raise_at = MONO_NEVER;
	if (mtu->size < mtu->limit || mtu->refused) {
		mtu->raise_at = mono_add_us(now, raise_wait_us(mtu->raises));
		if (mtu->raises < 2)
			mtu->raises++;
	}
}

bool path_mtu_search_open_to(const struct path_mtu *mtu, uint16_t size)
{
	return size > mtu->size && size < mtu->high;
}

/* The next size of the table or the middle, 0 if the search is over. */
static uint16_t next_size(const struct path_mtu *mtu)
{
	for (size_t i = 0; i < sizeof(TABLE) / sizeof(TABLE[0]); i++)
		if (path_mtu_search_open_to(mtu, TABLE[i]))
			return TABLE[i];
	if (path_mtu_search_open_to(mtu, mtu->limit))
		return mtu->limit;
	if (mtu->high - mtu->size <= PATH_MTU_PRECISION_BYTES)
		return 0;
	return (uint16_t)(mtu->size + (mtu->high - mtu->size) / 2);
}

void path_mtu_search_next_step(struct path_mtu *mtu, struct mono now)
{
	uint16_t first = mtu->first;

	mtu->first = 0;
	if (first && path_mtu_search_open_to(mtu, first)) {
		begin_step(mtu, first, mtu->first_tries, now);
		return;
	}
	uint16_t size = next_size(mtu);
	if (size)
		begin_step(mtu, size, PATH_MTU_PROBES, now);
	else
		settle(mtu, now);
}

void path_mtu_search_confirm(struct path_mtu *mtu, uint16_t size, struct mono now)
{
	if (size <= mtu->size)
		return;
	mtu->raises = 0;
	path_mtu_search_set_size(mtu, size);
	if (mtu->high <= size + 1) { /* loss, or what made it fail is over: who knows how far */
		mtu->high = (uint16_t)(mtu->limit + 1);
		path_mtu_search_guess(mtu, mtu->limit, 1);
	}
	judge_old(mtu);
	if (mtu->state == PATH_MTU_SEARCHING && mtu->probe > size)
		return; /* late; the step goes on */
	path_mtu_search_next_step(mtu, now);
}

/* The probes of a step are lost. */
static void step_failed(struct path_mtu *mtu, struct mono now)
{
	if (mtu->tries_max == PATH_MTU_PROBES) {
		if (!mtu->heard) {
			mtu->state = PATH_MTU_STALLED;
			mtu->probe_at = MONO_NEVER;
			return;
		}
		if (mtu->probe < mtu->high)
			mtu->high = mtu->probe;
		judge_old(mtu);
	}
	path_mtu_search_next_step(mtu, now);
}

void path_mtu_search_resume(struct path_mtu *mtu, struct mono now)
{
	begin_step(mtu, mtu->probe, PATH_MTU_PROBES, now);
	mtu->heard = true; /* just now: if these are lost too, it is their size */
}

void path_mtu_search_more(struct path_mtu *mtu, struct mono now)
{
	mtu->high = (uint16_t)(mtu->limit + 1);
	if (!mtu->first)
		path_mtu_search_guess(mtu, mtu->limit, 1);
	path_mtu_search_next_step(mtu, now);
}

/* ---- doubt ----------------------------------------------------------------------------------------------------- */

void path_mtu_search_doubt(struct path_mtu *mtu, struct mono now)
{
	mtu->state = PATH_MTU_VERIFYING;
	mtu->tries = 0;
	mtu->heard = false;
	mtu->small_due = false;
	mtu->probe_at = now;
}

void path_mtu_search_end_doubt(struct path_mtu *mtu, struct mono now)
{
	path_mtu_search_clear_losses(mtu);
	mtu->first = 0;
	if (mtu->probe && path_mtu_search_open_to(mtu, mtu->probe)) {
		begin_step(mtu, mtu->probe, mtu->tries_max, now);
	} else if (mtu->probe) { /* the limit fell below it meanwhile */
		path_mtu_search_next_step(mtu, now);
	} else {
		mtu->state = PATH_MTU_SETTLED;
		mtu->probe_at = MONO_NEVER;
	}
}

/* The size in use does not pass and the base does. */
static void fall(struct path_mtu *mtu, struct mono now)
{
	uint16_t failed = mtu->size;
	uint16_t hint = mtu->first;

	mtu->counters.black_holes++;
	path_mtu_search_forget(mtu);
	mtu->high = failed;
	mtu->old = 0;
	if (hint)
		path_mtu_search_guess(mtu, hint, 1);
	path_mtu_search_next_step(mtu, now);
}

/*
 * First a wait in which data in flight may speak for the size in use, then pairs of probes, each pair followed by the wait
 * for its answers.
 */
static bool verify_on_deadline(
	struct path_mtu *mtu, int64_t timeout_us, struct mono now, struct path_mtu_probe *ret_probe)
{
	if (mtu->small_due) {
		mtu->small_due = false;
		mtu->probe_at = mono_add_us(now, timeout_us);
		ret_probe->size_bytes = PATH_MTU_BASE_BYTES;
		return true;
	}
	if (mtu->tries == 0) {
		mtu->tries = 1;
		mtu->probe_at = mono_add_us(now, timeout_us);
		return false;
	}
	if (mtu->tries > PATH_MTU_PROBES) {
		if (mtu->heard)
			fall(mtu, now);
		else
			path_mtu_search_end_doubt(mtu, now);
		return false;
	}
	mtu->tries++;
	mtu->small_due = true;
	ret_probe->size_bytes = mtu->size;
	return true;
}

/* ---- time ------------------------------------------------------------------------------------------------------------- */

struct mono path_mtu_next_deadline(const struct path_mtu *mtu)
{
	return mtu->probe_at;
}

static int64_t timeout_of(int64_t pto_us)
{
	if (pto_us <= 0)
		return PATH_MTU_TIMEOUT_UNKNOWN_US;
	if (pto_us < PATH_MTU_TIMEOUT_MIN_US)
		return PATH_MTU_TIMEOUT_MIN_US;
	return pto_us > PATH_MTU_TIMEOUT_MAX_US ? PATH_MTU_TIMEOUT_MAX_US : pto_us;
}

bool path_mtu_on_deadline(
	struct path_mtu *mtu, int64_t pto_us, struct mono now, struct path_mtu_probe *ret_probe)
{
	struct path_mtu_probe probe = {0};
	bool send = false;

	if (!mono_due(mtu->probe_at, now))
		return false;
	if (mtu->state == PATH_MTU_VERIFYING)
		send = verify_on_deadline(mtu, timeout_of(pto_us), now, &probe);
	else if (mtu->tries >= mtu->tries_max)
		step_failed(mtu, now);
	/* What was decided just now goes on at once. */
	if (!send && mtu->state == PATH_MTU_SEARCHING && mono_due(mtu->probe_at, now)) {
		mtu->tries++;
		mtu->probe_at = mono_add_us(now, timeout_of(pto_us));
		probe.size_bytes = mtu->probe;
		send = true;
	}
	if (!send)
		return false;
	probe.id = mtu->next_id++;
	if ((uint16_t)(mtu->next_id - mtu->path_id) > IDS_KEPT)
		mtu->path_id = (uint16_t)(mtu->next_id - IDS_KEPT);
	mtu->counters.probes++;
	*ret_probe = probe;
	return true;
}
