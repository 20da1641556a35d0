/* The replay window of a session as it grows from the small one in the session to the whole on the heap: nothing that came is
 * taken twice, and nothing that did not come is refused while it is near enough to the top. */
#include "kcp/kcp_path_state.h"
#include "native_pair.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum {
	SMALL_SPAN = (NATIVE_WINDOW_SMALL_WORDS - 1) * REPLAY_WORD_BITS,
	FULL_SPAN = (REPLAY_WORDS_DEFAULT - 1) * REPLAY_WORD_BITS,
	COUNTERS = 200000,
};

/* Sessions lie in a node; all the window needs of it is the number that tells them apart and the row of datagrams. */
static struct kcpvpn_native *native;
static struct native_session *session;

static struct native_session_data *fresh(void)
{
	native = calloc(1, sizeof(*native));
	session = calloc(1, sizeof(*session));
	native_session_data_init(native, &session->data);
	return &session->data;
}

static void end(void)
{
	native_session_data_fini(native, &session->data);
	free(session);
	free(native);
}

static bool is_small(const struct native_session_data *data)
{
	return data->window.words == data->small;
}

Test(native_window, a_quiet_session_stays_small)
{
	struct native_session_data *data = fresh();

	for (uint64_t c = 1000; c < 1000 + SMALL_SPAN; c++) {
		cr_assert(native_window_commit(data, c));
		cr_assert(!native_window_commit(data, c));
	}
	cr_assert(is_small(data));
	end();
}

Test(native_window, growing_forgets_nothing_and_invents_nothing)
{
	struct native_session_data *data = fresh();

	/* Every third is missing. */
	for (uint64_t c = 5000; c < 5000 + SMALL_SPAN; c++)
		if (c % 3 != 0)
			cr_assert(native_window_commit(data, c));
	cr_assert(is_small(data));
	cr_assert(native_window_commit(data, 5000 + 9000));
	cr_assert(!is_small(data));
	for (uint64_t c = 5000; c < 5000 + SMALL_SPAN; c++)
		cr_assert_eq(
			native_window_commit(data, c), c % 3 == 0, "%llu", (unsigned long long)c);
	/* What lies below the least that came was never there. */
	cr_assert(native_window_commit(data, 4000));
	cr_assert(!native_window_commit(data, 4000));
	end();
}

Test(native_window, grows_before_the_first_counter_falls_out)
{
	struct native_session_data *data = fresh();

	cr_assert(native_window_commit(data, 0));
	cr_assert(native_window_commit(data, SMALL_SPAN - 1));
	cr_assert(is_small(data));
	cr_assert(native_window_commit(data, SMALL_SPAN));
	cr_assert(!is_small(data));
	cr_assert(!native_window_commit(data, 0));
	cr_assert(native_window_commit(data, 1));
	end();
}

Test(native_window, a_late_first_counter_counts_too)
{
	struct native_session_data *data = fresh();

	cr_assert(native_window_commit(data, 500));
	cr_assert(native_window_commit(data, 400)); /* the least from now on */
	cr_assert(native_window_commit(data, 400 + SMALL_SPAN));
	cr_assert(!native_window_commit(data, 400));
	cr_assert(!native_window_commit(data, 500));
	end();
}

Test(native_window, what_comes_far_before_the_first_is_taken_once)
{
	for (uint64_t back = 1; back < FULL_SPAN + 100; back += back < 300 ? 1 : 977) {
		struct native_session_data *data = fresh();
		bool want = back < FULL_SPAN;

		cr_assert(native_window_commit(data, 100000));
		cr_assert_eq(native_window_fresh(data, 100000 - back), want);
		cr_assert_eq(native_window_commit(data, 100000 - back), want, "%d", (int)back);
		cr_assert_not(native_window_fresh(data, 100000 - back));
		cr_assert_not(native_window_commit(data, 100000 - back));
		cr_assert_not(native_window_commit(data, 100000));
		cr_assert_eq(is_small(data), back < SMALL_SPAN || !want);
		end();
	}
}

Test(native_window, what_was_refused_leaves_no_trace)
{
	struct native_session_data *data = fresh();

	cr_assert(native_window_commit(data, 100000));
	cr_assert_not(native_window_commit(data, 5), "too old even for the whole window");
	cr_assert_not(native_window_commit(data, REPLAY_COUNTER_END));
	cr_assert(native_window_commit(data, 100001));
	cr_assert(is_small(data));
	cr_assert(native_window_commit(data, 100000 - 10));
	cr_assert(native_window_commit(data, 100000 + 10000));
	cr_assert(native_window_commit(data, 100000 - 11));
	cr_assert_not(native_window_commit(data, 100000 - 10));
	end();
}

/* As after a time without memory: the small window was left behind. */
Test(native_window, what_was_outrun_is_refused)
{
	struct native_session_data *data = fresh();

	cr_assert(native_window_commit(data, 1000));
	cr_assert_eq(replay_commit(&data->window, 5000), REPLAY_FRESH);
	cr_assert_not(native_window_fresh(data, 1000));
	cr_assert_not(native_window_commit(data, 1000));
	cr_assert_not(native_window_fresh(data, 2000), "nobody knows");
	cr_assert(native_window_commit(data, 4999));
	cr_assert(native_window_commit(data, 5300));
	cr_assert_not(is_small(data));
	cr_assert_not(native_window_commit(data, 1000));
	cr_assert_not(native_window_commit(data, 4999));
	cr_assert(native_window_commit(data, 5299));
	end();
}

/* End 0's first datagram, kept back; more are lost while `lose_data`. */
static uint8_t kept[1500];
static size_t kept_len;
static bool lose_data;

static bool keep_first_data(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	(void)to;
	if (from->number != 0 || bytes[0] != 0x0c)
		return true;
	if (kept_len == 0) {
		memcpy(kept, bytes, len);
		kept_len = len;
	}
	return !lose_data;
}

Test(native_window, a_datagram_far_before_the_first_gets_in)
{
	static struct native_pair pair;
	struct kcpvpn_peer_status before, after;

	kept_len = 0;
	lose_data = true;
	native_pair_open(&pair, 3, NULL);
	pair.filter = keep_first_data;
	native_pair_run(&pair, 1000);
	cr_assert_gt(kept_len, 0);
	lose_data = false;
	kcp_sent_skip(&pair.ends[0].peers[1]->data.path->sent, 1000);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 1000000));
	cr_assert(is_small(&pair.ends[1].peers[0]->hs.slots[NATIVE_SLOT_CUR]->data));
	kcpvpn_peer_status(pair.ends[1].peers[0], &before);
	native_pair_inject(&pair.ends[1], &pair.ends[0].address, kept, kept_len);
	kcpvpn_peer_status(pair.ends[1].peers[0], &after);
	cr_assert_eq(after.in_datagrams, before.in_datagrams + 1);
	cr_assert_eq(after.drop_replay, 0);
	native_pair_fini(&pair);
}

Test(native_window, agrees_with_a_set)
{
	srand(11);
	for (int run = 0; run < 200; run++) {
		struct native_session_data *data = fresh();
		uint8_t *came = calloc(COUNTERS, 1);
		uint64_t top = (uint64_t)(rand() % 1000);
		bool any = false;

		for (int step = 0; step < 3000; step++) {
			uint64_t c = top;
			int what = rand() % 10;
			if (what < 6)
				c = top + 1 + (uint64_t)(rand() % 3);
			else if (what < 9)
				c = top - (uint64_t)rand() % (top + 1) % (what < 8 ? 150 : 5000);
			else if (rand() % 20 == 0)
				c = top + (uint64_t)(rand() % 20000);
			if (c >= COUNTERS)
				break;
			/* Small or not: what is this near to the top is judged right. */
			bool near = !any || c + FULL_SPAN > top;
			cr_assert_eq(native_window_fresh(data, c), near && !came[c]);
			bool fresh_one = native_window_commit(data, c);
			if (near)
				cr_assert_eq(fresh_one, !came[c], "run %d step %d", run, step);
			else
				cr_assert(!(fresh_one && came[c]));
			came[c] |= fresh_one;
			if (fresh_one && (!any || c > top))
				top = c;
			any = true;
		}
		free(came);
		end();
	}
}

Test(native_window, each_session_has_a_serial_of_its_own)
{
	struct native_session other;
	struct native_session_data *data = fresh();

	native_session_data_init(native, &other.data);
	cr_assert_neq(other.data.serial, data->serial);
	native_session_data_fini(native, &other.data);
	end();
}
