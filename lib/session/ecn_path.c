/*
 * Two things go wrong with ECN outside of textbooks. Some boxes drop what is marked as capable, all of it, while the rest
 * passes: so a handshake succeeds and no data arrives. And some write the mark themselves, on everything: whoever believes
 * it slows down for ever. What merely clears the bits does no harm: then losses tell, as without.
 *
 * The first shows as losses in a row, whatever the reason: on a path that is dead for a moment nothing is lost by sending
 * unmarked for a minute. The second shows as marks on nearly everything for seconds, although the answer to each is to send less.
 *
 * Source: RFC 9000, section 13.4.2, which tests with the first datagrams only; paths change.
 */
#include "session/ecn_path.h"

enum {
	PERCENT = 100,
};

void ecn_path_init(struct ecn_path *ecn)
{
	*ecn = (struct ecn_path){
		.off_until = mono_at_us(INT64_MIN / 2),
		.off_us = ECN_PATH_AGAIN_US,
	};
}

static void begin(struct ecn_path *ecn, const struct ecn_path_news *news, struct mono now)
{
	ecn->on = true;
	ecn->since = now;
	ecn->acked = news->acked;
	ecn->marked = news->marked;
}

static void give_up(struct ecn_path *ecn, struct mono now)
{
	ecn->on = false;
	ecn->off_until = mono_add_us(now, ecn->off_us);
	ecn->off_us *= 2;
	if (ecn->off_us > ECN_PATH_AGAIN_MAX_US)
		ecn->off_us = ECN_PATH_AGAIN_MAX_US;
}

bool ecn_path_on(struct ecn_path *ecn, const struct ecn_path_news *news, struct mono now)
{
	if (!mono_due(ecn->off_until, now))
		return false;
	if (!ecn->on)
		begin(ecn, news, now);
	if (news->lost_row >= ECN_PATH_LOST) {
		give_up(ecn, now);
		return false;
	}
	uint64_t acked = news->acked - ecn->acked;
	if (acked < ECN_PATH_SAMPLE || mono_diff_us(now, ecn->since) < ECN_PATH_SAMPLE_US)
		return true;
	if ((news->marked - ecn->marked) * PERCENT >= acked * ECN_PATH_CE_PERCENT) {
		give_up(ecn, now);
		return false;
	}
	ecn->off_us = ECN_PATH_AGAIN_US;
	begin(ecn, news, now);
	return true;
}
