/* Unordered messages that come: how many numbers their flows used, and how many of these came. */
#include "kcp/kcp_dgram.h"

#include <criterion/criterion.h>

static struct kcp_dgram_in in;

static void come(uint32_t sn, int64_t second)
{
	struct mono now = mono_at_ms(second * 1000);

	cr_assert_eq(kcp_dgram_in_check(&in, 7, sn, now), KCP_DGRAM_NEW, "%u", sn);
	kcp_dgram_in_note(&in, 7, sn);
	cr_assert_eq(kcp_dgram_in_check(&in, 7, sn, now), KCP_DGRAM_SEEN, "%u", sn);
}

static void counted(uint64_t numbers, uint64_t came)
{
	cr_assert_eq(in.numbers, numbers, "numbers: %lu", (unsigned long)in.numbers);
	cr_assert_eq(in.came, came, "came: %lu", (unsigned long)in.came);
}

Test(dgram_in, counts_what_is_missing)
{
	in = (struct kcp_dgram_in){0};
	come(1000, 0);
	counted(1, 1);
	come(1003, 0);
	counted(4, 2);
	come(1001, 0); /* overtaken */
	counted(4, 3);
	come(1003 + 5000, 59); /* more than the window: all of it was lost */
	counted(5004, 4);
	kcp_dgram_in_fini(&in);
}

Test(dgram_in, a_flow_that_began_anew_lost_nothing)
{
	static const uint32_t anew[] = {400000, 1000, 1001, (uint32_t)-5000};

	in = (struct kcp_dgram_in){0};
	come(200000, 0);
	for (uint64_t i = 0; i < sizeof(anew) / sizeof(anew[0]); i++) {
		/* Longer than a sender keeps a flow that is silent, and nobody has freed it here meanwhile. */
		come(anew[i], (int64_t)(i + 1) * (KCP_DGRAM_IN_IDLE_US / 1000000));
		counted(i + 2, i + 2);
	}
	kcp_dgram_in_fini(&in);
}
