/* Round-trip time and congestion window: rows worked out by hand from the formulas. */
#include "kcp/kcp_cwnd.h"
#include "kcp/kcp_rtt.h"

#include <criterion/criterion.h>

Test(rtt, follows_the_formula)
{
	static const struct {
		int32_t sample;
		uint32_t srtt, var, rto;
	} rows[] = {
		{50, 50, 25, 150},
		{50, 50, 18, 122},
		{-1, 50, 18, 122},    /* a clock that is not ours */
		{60001, 50, 18, 122}, /* a stranger's ts */
		{90, 55, 23, 147},    /* delta 40 */
		{10, 49, 23,
			141}, /* delta -45 >> 3 = -6; 10 < 49 - 23: the variance moves by 1/32 */
		{60000, 7542, 15005, 60000},
	};
	struct kcp_rtt rtt;

	kcp_rtt_init(&rtt, true, 10);
	cr_assert_eq(rtt.rto_ms, 200);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		kcp_rtt_update(&rtt, rows[i].sample);
		cr_assert_eq(rtt.srtt_ms, rows[i].srtt, "row %zu: srtt %u", i, rtt.srtt_ms);
		cr_assert_eq(rtt.var_ms, rows[i].var, "row %zu: var %u", i, rtt.var_ms);
		cr_assert_eq(rtt.rto_ms, rows[i].rto, "row %zu: rto %u", i, rtt.rto_ms);
	}
	kcp_rtt_init(&rtt, false, 10);
	kcp_rtt_update(&rtt, 3);
	cr_assert_eq(rtt.rto_ms, 100);
}

Test(cwnd, starts_slowly_and_falls_back)
{
	struct kcp_cwnd cwnd;

	kcp_cwnd_init(&cwnd);
	cr_assert_eq(cwnd.segments, 0);
	kcp_cwnd_flushed(&cwnd, 40);
	kcp_cwnd_acked(&cwnd, 128, 40);
	cr_assert_eq(cwnd.segments, 2);
	for (int i = 0; i < 1000; i++)
		kcp_cwnd_acked(&cwnd, 20, 40);
	cr_assert_eq(cwnd.segments, 20);
	kcp_cwnd_fast(&cwnd, 16, 2, 40);
	cr_assert_eq(cwnd.ssthresh, 8);
	cr_assert_eq(cwnd.segments, 10);
	kcp_cwnd_fast(&cwnd, 16, UINT32_MAX, 40); /* wraps, as kcp-go's does */
	cr_assert_eq(cwnd.segments, 7);
	kcp_cwnd_timeout(&cwnd, 7, 40);
	cr_assert_eq(cwnd.segments, 1);
	cr_assert_eq(cwnd.ssthresh, 3);
}
