/*
 * A pure decision. The one place where it is stricter than kcp-go: a dialled conversation is never
 * replaced, since the dialler chose its number.
 */
#include "session/session_admit.h"

enum session_admit_verdict session_admit(const struct session_admit_facts *facts)
{
	if (facts->known) {
		if (!facts->has_conv || facts->conv == facts->own_conv)
			return SESSION_ADMIT_DELIVER;
		if (facts->accepts && facts->from_start)
			return SESSION_ADMIT_REPLACE;
		return SESSION_ADMIT_OTHER_CONV;
	}
	if (!facts->accepts)
		return SESSION_ADMIT_STRANGER;
	return facts->has_conv ? SESSION_ADMIT_OPEN : SESSION_ADMIT_NO_CONV;
}
