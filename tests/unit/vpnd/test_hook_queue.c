/* What is run, in what order, and how often, whatever comes in. */
#include "vpnd/hook_queue.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
	struct hook_queue queue;
	struct mono now;
	char ran[4096]; /* "pre_up up +a -a set unset down", in this order */
};

static void setup(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	b->now = mono_at_ms(1000);
	hook_queue_init(&b->queue);
}

static bool take(struct bench *b, struct hook_due *due)
{
	struct mono at;

	return hook_queue_next(&b->queue, b->now, due, &at);
}

static void write_down(struct bench *b, const struct hook_due *due)
{
	size_t len = strlen(b->ran);
	const char *text = "", *peer = "";

	switch (due->kind) {
	case HOOK_DUE_RESOLVERS_SET:
		text = "set";
		break;
	case HOOK_DUE_RESOLVERS_UNSET:
		text = "unset";
		break;
	case HOOK_DUE_LINK:
		text = config_hook_str(due->hook);
		break;
	case HOOK_DUE_PEER:
		text = due->hook == CONFIG_HOOK_PEER_UP ? "+" : "-";
		peer = due->peer;
		break;
	}
	(void)snprintf(b->ran + len, sizeof(b->ran) - len, "%s%s%s", len ? " " : "", text, peer);
}

/* Runs all that is due now. */
static void run(struct bench *b)
{
	struct hook_due due;

	while (take(b, &due)) {
		write_down(b, &due);
		hook_queue_done(&b->queue, true);
	}
}

static void expect(struct bench *b, const char *ran)
{
	run(b);
	cr_assert_str_eq(b->ran, ran);
	b->ran[0] = '\0';
}

static void peer(struct bench *b, const char *name, bool up)
{
	cr_assert_eq(hook_queue_peer(&b->queue, up ? CONFIG_HOOK_PEER_UP : CONFIG_HOOK_PEER_DOWN,
			     name, NULL),
		0);
}

static void link_to(struct bench *b, enum config_hook hook)
{
	hook_queue_link(&b->queue, hook);
}

Test(hook_queue, the_link_goes_up_and_down)
{
	struct bench b;

	setup(&b);
	expect(&b, "");
	link_to(&b, CONFIG_HOOK_PRE_UP);
	expect(&b, "pre_up");
	hook_queue_resolvers(&b.queue, true);
	link_to(&b, CONFIG_HOOK_UP);
	expect(&b, "set up");
	hook_queue_resolvers(&b.queue, false);
	link_to(&b, CONFIG_HOOK_DOWN);
	expect(&b, "unset down");
	hook_queue_resolvers(&b.queue, false);
	link_to(&b, CONFIG_HOOK_DOWN);
	expect(&b, "");
	hook_queue_fini(&b.queue);
}

Test(hook_queue, programs_alternate)
{
	struct bench b;

	setup(&b);
	link_to(&b, CONFIG_HOOK_UP);
	link_to(&b, CONFIG_HOOK_UP);
	expect(&b, "up");
	link_to(&b, CONFIG_HOOK_UP);
	expect(&b, "");
	link_to(&b, CONFIG_HOOK_PRE_UP); /* the `down` was lost */
	link_to(&b, CONFIG_HOOK_UP);
	expect(&b, "down pre_up up");
	link_to(&b, CONFIG_HOOK_DOWN);
	link_to(&b, CONFIG_HOOK_PRE_UP);
	link_to(&b, CONFIG_HOOK_UP);
	expect(&b, "down pre_up up");
	link_to(&b, CONFIG_HOOK_DOWN);
	link_to(&b, CONFIG_HOOK_DOWN);
	expect(&b, "down");
	link_to(&b, CONFIG_HOOK_UP);
	link_to(&b, CONFIG_HOOK_DOWN); /* before it had run */
	expect(&b, "");
	peer(&b, "a", false);
	expect(&b, "");
	peer(&b, "a", true);
	peer(&b, "a", true);
	expect(&b, "+a");
	peer(&b, "a", true);
	expect(&b, "");
	peer(&b, "a", false);
	peer(&b, "a", true);
	expect(&b, "");
	peer(&b, "a", false);
	peer(&b, "a", false);
	expect(&b, "-a");
	hook_queue_fini(&b.queue);
}

Test(hook_queue, what_comes_while_one_runs_comes_after_it)
{
	struct bench b;
	struct hook_due due;

	setup(&b);
	link_to(&b, CONFIG_HOOK_UP);
	cr_assert(take(&b, &due));
	link_to(&b, CONFIG_HOOK_UP); /* it is being told */
	hook_queue_done(&b.queue, true);
	expect(&b, "");
	link_to(&b, CONFIG_HOOK_DOWN);
	cr_assert(take(&b, &due));
	link_to(&b, CONFIG_HOOK_DOWN);
	hook_queue_done(&b.queue, true);
	expect(&b, "");
	link_to(&b, CONFIG_HOOK_UP);
	cr_assert(take(&b, &due));
	link_to(&b, CONFIG_HOOK_DOWN);
	hook_queue_done(&b.queue, true);
	expect(&b, "down");
	peer(&b, "a", true);
	cr_assert(take(&b, &due));
	peer(&b, "a", false);
	hook_queue_done(&b.queue, true);
	expect(&b, "-a");
	hook_queue_fini(&b.queue);
}

Test(hook_queue, a_pre_up_that_failed_is_not_undone)
{
	struct bench b;
	struct hook_due due;

	setup(&b);
	link_to(&b, CONFIG_HOOK_PRE_UP);
	cr_assert(take(&b, &due));
	link_to(&b, CONFIG_HOOK_DOWN);
	hook_queue_done(&b.queue, false);
	expect(&b, "");
	link_to(&b, CONFIG_HOOK_PRE_UP);
	expect(&b, "pre_up");
	link_to(&b, CONFIG_HOOK_PRE_UP);
	cr_assert(take(&b, &due));
	hook_queue_done(&b.queue, false);
	link_to(&b, CONFIG_HOOK_DOWN); /* the first one had succeeded */
	expect(&b, "down");
	hook_queue_fini(&b.queue);
}

Test(hook_queue, the_link_goes_before_peers)
{
	struct bench b;

	setup(&b);
	link_to(&b, CONFIG_HOOK_UP);
	run(&b);
	b.ran[0] = '\0';
	peer(&b, "b", true);
	peer(&b, "a", true);
	cr_assert_not(hook_queue_is_pressed(&b.queue));
	link_to(&b, CONFIG_HOOK_DOWN);
	cr_assert(hook_queue_is_pressed(&b.queue));
	expect(&b, "down +b +a");
	peer(&b, "a", false);
	peer(&b, "b", false);
	link_to(&b, CONFIG_HOOK_UP);
	hook_queue_resolvers(&b.queue, true);
	expect(&b, "set up -a -b");
	peer(&b, "a", true);
	hook_queue_end(&b.queue);
	cr_assert(hook_queue_is_pressed(&b.queue));
	expect(&b, "unset down");
	peer(&b, "a", true);
	link_to(&b, CONFIG_HOOK_UP);
	hook_queue_resolvers(&b.queue, true);
	expect(&b, "");
	hook_queue_fini(&b.queue);
}

Test(hook_queue, who_moved_goes_and_comes)
{
	struct bench b;
	struct hook_due due;
	const struct kcpvpn_endpoint here = {.family = 4, .port = 1},
				     there = {.family = 4, .port = 2};

	setup(&b);
	cr_assert_eq(hook_queue_peer(&b.queue, CONFIG_HOOK_PEER_UP, "a", &here), 0);
	cr_assert(take(&b, &due));
	cr_assert(kcpvpn_endpoint_equal(&due.endpoint, &here));
	hook_queue_done(&b.queue, true);
	peer(&b, "a", false);
	cr_assert_eq(hook_queue_peer(&b.queue, CONFIG_HOOK_PEER_UP, "a", &there), 0);
	cr_assert(take(&b, &due));
	cr_assert_eq(due.hook, CONFIG_HOOK_PEER_DOWN);
	cr_assert_eq(due.endpoint.family, 0);
	hook_queue_done(&b.queue, true);
	cr_assert(take(&b, &due));
	cr_assert_eq(due.hook, CONFIG_HOOK_PEER_UP);
	cr_assert(kcpvpn_endpoint_equal(&due.endpoint, &there));
	hook_queue_done(&b.queue, true);
	expect(&b, "");
	hook_queue_fini(&b.queue);
}

Test(hook_queue, who_flaps_has_an_allowance)
{
	struct bench b;
	struct hook_due due;
	struct mono at;
	int count = 0;

	setup(&b);
	for (int i = 0; i < 1000; i++) {
		peer(&b, "a", i % 2 == 0);
		run(&b);
	}
	for (const char *c = b.ran; *c; c++)
		count += *c == 'a';
	cr_assert_eq(count, HOOK_PEER_BURST);
	b.ran[0] = '\0';
	peer(&b, "b", true);
	expect(&b, "+b"); /* others do not suffer */
	peer(&b, "a", true);
	cr_assert_not(hook_queue_next(&b.queue, b.now, &due, &at));
	cr_assert_eq(mono_diff_us(at, b.now), HOOK_PERIOD_US);
	b.now = mono_add_us(at, -1);
	expect(&b, "");
	b.now = at;
	expect(&b, "+a"); /* the last state wins */
	for (int i = 0; i < 1000; i++) {
		link_to(&b, i % 2 ? CONFIG_HOOK_DOWN : CONFIG_HOOK_UP);
		run(&b);
	}
	count = 0;
	for (const char *c = b.ran; *c; c++)
		count += *c == 'p' || *c == 'd';
	cr_assert_eq(count, HOOK_LINK_BURST);
	cr_assert_not(hook_queue_next(&b.queue, b.now, &due, &at));
	link_to(&b, CONFIG_HOOK_UP);
	b.ran[0] = '\0';
	expect(&b, "");
	b.now = mono_add_us(b.now, HOOK_PERIOD_US);
	expect(&b, "up");
	hook_queue_end(&b.queue); /* the end needs none */
	expect(&b, "down");
	hook_queue_fini(&b.queue);
}

Test(hook_queue, what_was_left_behind_is_undone_first)
{
	struct bench b;
	struct hook_due due;

	setup(&b);
	hook_queue_undo(&b.queue, true, true);
	link_to(&b, CONFIG_HOOK_PRE_UP);
	link_to(&b, CONFIG_HOOK_UP);
	expect(&b, "unset down pre_up up");
	hook_queue_fini(&b.queue);
	setup(&b);
	hook_queue_undo(&b.queue, false, true);
	cr_assert(take(&b, &due));
	hook_queue_done(&b.queue, false);
	expect(&b, ""); /* not for ever */
	hook_queue_end(&b.queue);
	expect(&b, "unset"); /* but once more */
	hook_queue_fini(&b.queue);
}

/* Against what anybody would see who writes down what ran: by chance, with failures, and long. */
Test(hook_queue, chance_breaks_no_promise)
{
	struct bench b;
	struct hook_due due = {0};
	bool up[5] = {0}, wanted[5] = {0}, told = false, running = false;
	int link = 0, ran = 0;

	setup(&b);
	srand(7);
	for (int i = 0; i < 200000; i++) {
		int what = rand() % 10, who = rand() % 5;
		char name[2] = {(char)('a' + who), 0};
		b.now = mono_add_us(b.now, rand() % 500000);
		if (what < 3)
			link_to(&b, (enum config_hook)(CONFIG_HOOK_PRE_UP + what));
		else if (what < 5)
			peer(&b, name, wanted[who] = what == 3);
		else if (what == 5)
			hook_queue_resolvers(&b.queue, rand() % 2);
		else if (!running)
			running = take(&b, &due);
		else {
			bool success = rand() % 4;
			hook_queue_done(&b.queue, success);
			running = false;
			ran++;
			if (due.kind == HOOK_DUE_PEER) {
				bool now_up = due.hook == CONFIG_HOOK_PEER_UP;
				cr_assert_neq(up[due.peer[0] - 'a'], now_up, "step %d", i);
				up[due.peer[0] - 'a'] = now_up;
			} else if (due.kind == HOOK_DUE_RESOLVERS_UNSET) {
				cr_assert(told, "step %d", i);
				told = !success;
			} else if (due.kind == HOOK_DUE_RESOLVERS_SET) {
				told = true;
			} else if (due.hook == CONFIG_HOOK_DOWN) {
				cr_assert_neq(link, 0, "step %d", i);
				link = 0;
			} else {
				cr_assert_neq(link, 2, "step %d", i);
				if (due.hook == CONFIG_HOOK_UP)
					link = 2;
				else if (success)
					link = 1;
			}
		}
	}
	cr_assert_gt(ran, 10000);
	if (running)
		hook_queue_done(&b.queue, true);
	b.now = mono_add_us(b.now, 1000 * HOOK_PERIOD_US);
	b.ran[0] = '\0';
	run(&b);
	b.now = mono_add_us(b.now, 1000 * HOOK_PERIOD_US);
	run(&b);
	for (int i = 0; i < 5; i++) {
		char text[4] = {wanted[i] ? '+' : '-', (char)('a' + i), 0};
		if (running && due.kind == HOOK_DUE_PEER && due.peer[0] == 'a' + i)
			up[i] = due.hook == CONFIG_HOOK_PEER_UP;
		cr_assert(up[i] == wanted[i] || strstr(b.ran, text), "peer %d: %s", i, b.ran);
	}
	hook_queue_fini(&b.queue);
}
