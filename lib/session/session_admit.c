/*
 * A pure decision, and kcp-go's but for three cases. A dialled conversation is never replaced, since the dialler chose its
 * number. A conversation that the other side began with somebody before us (we were restarted) is told apart, since its
 * numbers can never fit ours. And a known conversation ends only for the true beginning of another, number 0 from an end
 * that has received nothing: kcp-go lets any segment numbered 0, and any out-of-band message, end it, so that one old
 * datagram sent again would cut off whoever uses the address now.
 */
#include "session/session_admit.h"

enum session_admit_verdict session_admit(const struct session_admit_facts *facts)
{
	if (facts->known) {
		if (!facts->has_conv || facts->conv == facts->own_conv)
			return SESSION_ADMIT_DELIVER;
		if (facts->accepts && facts->from_start && !facts->remnant)
			return SESSION_ADMIT_REPLACE;
		return SESSION_ADMIT_OTHER_CONV;
	}
	if (!facts->accepts)
		return SESSION_ADMIT_STRANGER;
	if (!facts->has_conv)
		return SESSION_ADMIT_NO_CONV;
	return facts->remnant ? SESSION_ADMIT_REMNANT : SESSION_ADMIT_OPEN;
}
