/* Rates, history and order of what `top` shows; what a terminal gets of it is compared in tests/interop/kcpctl_shells.sh. */
#include "cli/top_model.h"
#include "cli/top_screen.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void look(struct top_model *m, double uptime_s, int64_t rx, int64_t tx, int64_t now_ms)
{
	struct control_status s;
	struct control_peer *p;

	control_status_init(&s);
	s.state = CONTROL_UP;
	s.uptime_s = uptime_s;
	p = control_status_add_peer(&s, "b");
	p->state = CONTROL_UP;
	p->rx_bytes = rx;
	p->tx_bytes = tx;
	p->rtt_ms = 10;
	p->retransmits = rx / 1000;
	p = control_status_add_peer(&s, "a");
	p->state = CONTROL_DEGRADED;
	p->rtt_ms = 20;
	p->loss_raw_in = 0.1;
	cr_assert_eq(top_model_update(m, &s, now_ms), 0);
	control_status_fini(&s);
}

static const struct top_peer *peer(const struct top_model *m, const char *name)
{
	for (size_t i = 0; i < m->count; i++) {
		if (!strcmp(m->peers[i].name, name))
			return &m->peers[i];
	}
	cr_assert_fail("no %s", name);
	return NULL;
}

Test(top, rates_by_the_documents_own_clock)
{
	struct top_model m = {0};

	look(&m, 100, 1000, 0, 0);
	cr_assert_lt(peer(&m, "b")->rx_bps, 0, "not known yet");
	look(&m, 102, 251000, 125000, 99000);
	cr_assert_float_eq(peer(&m, "b")->rx_bps, 1e6, 1);
	cr_assert_float_eq(peer(&m, "b")->tx_bps, 5e5, 1);
	cr_assert_float_eq(peer(&m, "b")->resent_per_s, 125, 0.1);
	cr_assert_lt(peer(&m, "a")->rx_bps, 0, "its counters are not known");
	look(&m, 102, 252000, 125000, 100000);
	cr_assert_float_eq(peer(&m, "b")->rx_bps, 8000, 1, "the link is down: by the clock");
	look(&m, 1, 5, 5, 101000);
	cr_assert_lt(peer(&m, "b")->rx_bps, 0, "the daemon is another: counters went back");
	cr_assert_eq(peer(&m, "b")->rx.count, 3);
	top_model_fini(&m);
}

Test(top, history_has_an_end)
{
	struct top_model m = {0};

	for (int i = 0; i < 3 * TOP_HISTORY; i++)
		look(&m, i, 1000 * i, 0, 0);
	cr_assert_eq(peer(&m, "b")->rx.count, TOP_HISTORY);
	cr_assert_float_eq(peer(&m, "b")->rx.values[0], 8000, 1);
	top_model_fini(&m);
}

Test(top, order)
{
	static const struct {
		enum top_sort sort;
		const char *first;
	} rows[] = {{TOP_SORT_NAME, "a"}, {TOP_SORT_RATE, "b"}, {TOP_SORT_RTT, "a"},
		{TOP_SORT_LOSS, "a"}, {TOP_SORT_STATE, "a"}};
	struct top_model m = {0};

	look(&m, 1, 0, 0, 0);
	look(&m, 2, 5, 5, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		m.sort = rows[i].sort;
		m.reverse = false;
		top_model_sort(&m);
		cr_assert_str_eq(m.peers[0].name, rows[i].first, "%s", top_sort_str(m.sort));
		m.reverse = true;
		top_model_sort(&m);
		cr_assert_str_neq(m.peers[0].name, rows[i].first, "%s", top_sort_str(m.sort));
	}
	top_model_fini(&m);
}

/* Widest line of a screen in characters, without what steers the terminal. */
static int widest(const char *text)
{
	int most = 0, now = 0;

	for (; *text; text++) {
		if (*text == '\033') {
			text += strcspn(text, "HJKmhl");
		} else if (*text == '\n') {
			now = 0;
		} else if (*text != '\r' && (*text & 0xc0) != 0x80) {
			now++;
			most = now > most ? now : most;
		}
	}
	return most;
}

Test(top, no_line_is_longer_than_the_screen_whatever_its_size)
{
	struct top_model m = {0};

	look(&m, 1, 0, 0, 0);
	look(&m, 2, 5000, 5, 0);
	for (int columns = 1; columns < 260; columns++) {
		struct top_size size = {columns, 3 + columns / 4, columns % 2};
		char *text = NULL;
		size_t len;
		int lines = 1;
		struct cli cli = {.out = open_memstream(&text, &len)};
		top_screen_draw(&cli, &m, size);
		fclose(cli.out);
		for (const char *c = text; *c; c++)
			lines += *c == '\n';
		cr_assert(widest(text) <= (columns < 20 ? 20 : columns), "%d: %d", columns,
			widest(text));
		cr_assert_eq(lines, size.lines < 5 ? 5 : size.lines, "%d", columns);
		free(text);
	}
	top_model_fini(&m);
}
