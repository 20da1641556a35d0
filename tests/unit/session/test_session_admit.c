#include "session/session_admit.h"

#include <criterion/criterion.h>

Test(session_admit, table)
{
	static const struct {
		struct session_admit_facts facts;
		enum session_admit_verdict want;
	} rows[] = {
		{{.known = true, .own_conv = 7, .has_conv = true, .conv = 7},
			SESSION_ADMIT_DELIVER},
		{{.known = true, .own_conv = 7}, SESSION_ADMIT_DELIVER},
		{{.known = true, .own_conv = 7, .accepts = true, .has_conv = true, .conv = 8},
			SESSION_ADMIT_OTHER_CONV},
		{{.known = true,
			 .own_conv = 7,
			 .accepts = true,
			 .has_conv = true,
			 .conv = 8,
			 .from_start = true},
			SESSION_ADMIT_REPLACE},
		{{.known = true,
			 .own_conv = 7,
			 .accepts = true,
			 .has_conv = true,
			 .conv = 8,
			 .from_start = true,
			 .remnant = true},
			SESSION_ADMIT_OTHER_CONV},
		{{.known = true, .own_conv = 7, .has_conv = true, .conv = 8, .from_start = true},
			SESSION_ADMIT_OTHER_CONV},
		{{.accepts = true, .has_conv = true, .conv = 8}, SESSION_ADMIT_OPEN},
		{{.accepts = true, .has_conv = true, .conv = 8, .remnant = true},
			SESSION_ADMIT_REMNANT},
		{{.has_conv = true, .conv = 8, .remnant = true}, SESSION_ADMIT_STRANGER},
		{{.known = true, .own_conv = 8, .has_conv = true, .conv = 8, .remnant = true},
			SESSION_ADMIT_DELIVER},
		{{.accepts = true}, SESSION_ADMIT_NO_CONV},
		{{.has_conv = true, .conv = 8, .from_start = true}, SESSION_ADMIT_STRANGER},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect_eq(session_admit(&rows[i].facts), rows[i].want, "row %zu", i);
}
