/* When outer packets may be marked as ECN-capable: tried at once, given up where what is marked gets lost or everything is. */
#include "session/ecn_path.h"

#include <criterion/criterion.h>

enum {
	S = 1000000,
};

static struct ecn_path ecn;
static struct ecn_path_news news;

static void setup(void)
{
	ecn_path_init(&ecn);
	news = (struct ecn_path_news){.acked = 1000, .marked = 500};
}

static bool on_at_s(int64_t s)
{
	return ecn_path_on(&ecn, &news, mono_at_us(s * S));
}

/* So many more arrive, of which some are marked. */
static void arrive(uint64_t acked, uint64_t marked)
{
	news.acked += acked;
	news.marked += marked;
	news.lost_row = 0;
}

Test(ecn_path, is_tried_at_once_and_kept_up, .init = setup)
{
	for (int64_t s = 0; s < 1000; s++) {
		cr_assert(on_at_s(s));
		arrive(50, s % 7);
		news.lost_row = ECN_PATH_LOST - 1;
		cr_assert(on_at_s(s));
		news.lost_row = 0;
	}
}

Test(ecn_path, losses_in_a_row_end_it_for_a_while, .init = setup)
{
	cr_assert(on_at_s(0));
	news.lost_row = ECN_PATH_LOST;
	cr_assert_not(on_at_s(1));
	news.lost_row = 0; /* what goes unmarked arrives */
	cr_assert_not(on_at_s(60));
	cr_assert(on_at_s(61));
}

Test(ecn_path, each_time_in_vain_doubles_the_pause, .init = setup)
{
	int64_t at_s = 0, pause_s = ECN_PATH_AGAIN_US / S;

	for (int i = 0; i < 8; i++) {
		news.lost_row = 0;
		cr_assert(on_at_s(at_s));
		news.lost_row = ECN_PATH_LOST;
		cr_assert_not(on_at_s(at_s));
		news.lost_row = 0;
		cr_assert_not(on_at_s(at_s + pause_s - 1));
		at_s += pause_s;
		pause_s = pause_s * 2 < ECN_PATH_AGAIN_MAX_US / S ? pause_s * 2
								  : ECN_PATH_AGAIN_MAX_US / S;
	}
	/* once it works for a while the next pause is a short one */
	cr_assert(on_at_s(at_s));
	arrive(ECN_PATH_SAMPLE, 1);
	cr_assert(on_at_s(at_s + 10));
	news.lost_row = ECN_PATH_LOST;
	cr_assert_not(on_at_s(at_s + 11));
	news.lost_row = 0;
	cr_assert(on_at_s(at_s + 11 + ECN_PATH_AGAIN_US / S));
}

Test(ecn_path, marks_on_everything_are_no_queue, .init = setup)
{
	cr_assert(on_at_s(0));
	arrive(ECN_PATH_SAMPLE - 1, ECN_PATH_SAMPLE - 1);
	cr_assert(on_at_s(10)); /* too few */
	arrive(1, 1);
	cr_assert_not(on_at_s(10));
	cr_assert_not(on_at_s(69));
	cr_assert(on_at_s(70));
}

Test(ecn_path, a_moment_of_marks_may_be_a_queue, .init = setup)
{
	cr_assert(on_at_s(0));
	arrive(1000, 1000);
	cr_assert(on_at_s(2)); /* a probe for more takes no longer */
	arrive(1000, 0);
	cr_assert(on_at_s(3));
	/* the sample that ended does not weigh on the next */
	arrive(ECN_PATH_SAMPLE, ECN_PATH_SAMPLE);
	cr_assert_not(on_at_s(6));
}

Test(ecn_path, what_came_before_it_was_on_does_not_count, .init = setup)
{
	cr_assert(on_at_s(0));
	news.lost_row = ECN_PATH_LOST;
	cr_assert_not(on_at_s(1));
	arrive(1000, 1000); /* late news of before */
	cr_assert(on_at_s(61));
	arrive(ECN_PATH_SAMPLE, 0);
	cr_assert(on_at_s(65));
}

Test(ecn_path, another_path_is_another_matter, .init = setup)
{
	cr_assert(on_at_s(0));
	news.lost_row = ECN_PATH_LOST;
	cr_assert_not(on_at_s(1));
	news.lost_row = 0;
	ecn_path_init(&ecn);
	cr_assert(on_at_s(1));
}
