#include "core/endian.h"
#include "session/session_frame.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *what;
	size_t len;
	uint8_t head[10];
	enum session_frame_verdict verdict;
	struct session_frame frame;
} ROWS[] = {
	{"keepalive", 0, {0}, SESSION_FRAME_KEEPALIVE, {0}},
	{"one byte", 1, {0}, SESSION_FRAME_SHORT, {0}},
	{"no whole segment", 27, {0}, SESSION_FRAME_SHORT, {0}},
	{"shortest", 28, {0}, SESSION_FRAME_OK, {.kind = SESSION_FRAME_PLAIN, .body_at = 4}},
	{"plain ignores cidx", 28, {0, 1, 2, 3}, SESSION_FRAME_OK,
		{.kind = SESSION_FRAME_PLAIN, .body_at = 4}},
	{"thin source", 28, {1, 0x11, 0x22, 0x33}, SESSION_FRAME_OK,
		{.kind = SESSION_FRAME_SOURCE_THIN, .cidx = 0x332211, .body_at = 4}},
	{"bulk source", 1400, {2, 0xff, 0xff, 0xff}, SESSION_FRAME_OK,
		{.kind = SESSION_FRAME_SOURCE_BULK, .cidx = 0xffffff, .body_at = 4}},
	{"short repair", 39, {3, 0, 0, 0, 0, 0, 0, 0, 1, 0}, SESSION_FRAME_SHORT, {0}},
	{"thin repair", 40, {3, 5, 0, 0, 1, 2, 3, 4, 6, 9}, SESSION_FRAME_OK,
		{SESSION_FRAME_REPAIR_THIN, 5, 0x04030201, 6, 10}},
	/* The head of the known answer for a bulk repair: id 1, window 2 from 0xffffff. */
	{"bulk repair", 44, {4, 0xff, 0xff, 0xff, 1, 0, 0, 0, 2, 0}, SESSION_FRAME_OK,
		{SESSION_FRAME_REPAIR_BULK, 0xffffff, 1, 2, 10}},
	{"empty window", 44, {4, 0, 0, 0, 1, 0, 0, 0, 0, 0}, SESSION_FRAME_BAD_WINDOW, {0}},
	{"next kind", 28, {5}, SESSION_FRAME_BAD_KIND, {0}},
	{"last kind", 28, {255}, SESSION_FRAME_BAD_KIND, {0}},
};

Test(session_frame, verdicts)
{
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		struct session_frame frame;
		struct session_frame untouched;
		uint8_t *bytes = calloc(1, ROWS[i].len + 1); /* exact: a sanitizer sees more */

		memset(&untouched, 0xa5, sizeof(untouched));
		frame = untouched;
		memcpy(bytes, ROWS[i].head, ROWS[i].len < 10 ? ROWS[i].len : 10);
		cr_assert_eq(session_frame_parse(bytes, ROWS[i].len, &frame), ROWS[i].verdict, "%s",
			ROWS[i].what);
		if (ROWS[i].verdict == SESSION_FRAME_OK) {
			cr_assert_eq(frame.kind, ROWS[i].frame.kind, "%s", ROWS[i].what);
			cr_assert_eq(frame.cidx, ROWS[i].frame.cidx, "%s", ROWS[i].what);
			cr_assert_eq(frame.id, ROWS[i].frame.id, "%s", ROWS[i].what);
			cr_assert_eq(frame.window, ROWS[i].frame.window, "%s", ROWS[i].what);
			cr_assert_eq(frame.body_at, ROWS[i].frame.body_at, "%s", ROWS[i].what);
		} else {
			cr_assert_eq(
				memcmp(&frame, &untouched, sizeof(frame)), 0, "%s", ROWS[i].what);
		}
		free(bytes);
	}
}

Test(session_frame, write_is_the_inverse)
{
	for (int kind = SESSION_FRAME_PLAIN; kind <= SESSION_FRAME_REPAIR_BULK; kind++) {
		struct session_frame in = {
			(enum session_frame_kind)kind, 0x7fabcdef, 0xdeadbeef, 64, 0};
		struct session_frame out;
		uint8_t bytes[64];

		memset(bytes, 0xee, sizeof(bytes));
		size_t at = session_frame_write(bytes, &in);
		cr_assert_eq(session_frame_parse(bytes, sizeof(bytes), &out), SESSION_FRAME_OK);
		cr_assert_eq(out.body_at, at);
		cr_assert_eq(bytes[at], 0xee, "written behind the head");
		cr_assert_eq(out.kind, in.kind);
		cr_assert_eq(out.cidx, kind == SESSION_FRAME_PLAIN ? 0 : 0xabcdef);
		cr_assert_eq(out.id, session_frame_is_repair(in.kind) ? in.id : 0);
		cr_assert_eq(out.window, session_frame_is_repair(in.kind) ? in.window : 0);
	}
}

Test(session_frame, verdicts_have_names)
{
	for (int i = 0; i < SESSION_FRAME_VERDICTS; i++)
		cr_assert_str_neq(
			session_frame_verdict_str((enum session_frame_verdict)i), "unknown");
}
