#include "tests/lab/lab_command.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static struct lab_links links;
static char reply[LAB_REPLY_BYTES];

static void setup(void)
{
	struct link_config config = {.delay_us = 1000};

	memset(&links, 0, sizeof(links));
	for (size_t d = 0; d < LAB_DIRECTIONS; d++)
		link_model_init(&links.direction[d], &config, d, mono_at_us(0));
}

static void teardown(void)
{
	struct link_departure leaves;

	for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
		while (link_model_pop(&links.direction[d], MONO_NEVER, &leaves))
			;
		link_model_fini(&links.direction[d]);
	}
}

static const char *run(const char *command, int64_t at_us)
{
	char line[LAB_LINE_BYTES];

	snprintf(line, sizeof(line), "%s", command);
	lab_command_run(&links, line, mono_at_us(at_us), reply);
	return reply;
}

TestSuite(lab_command, .init = setup, .fini = teardown);

Test(lab_command, sets_one_or_both_directions)
{
	const struct link_config *ab = &links.direction[LAB_A_TO_B].config;
	const struct link_config *ba = &links.direction[LAB_B_TO_A].config;

	cr_expect_str_eq(run("set b loss=5% rate=5M", 0), "ok");
	cr_expect_eq(ba->loss_ppm, 50000);
	cr_expect_eq(ba->rate_bps, 5000000);
	cr_expect_eq(ab->loss_ppm, 0);
	cr_expect_str_eq(run("  set   ab  delay=7ms ", 0), "ok");
	cr_expect_eq(ab->delay_us, 7000);
	cr_expect_eq(ba->delay_us, 1000);
	cr_expect_str_eq(run("set both jitter=1ms", 0), "ok");
	cr_expect_eq(ab->jitter_us + ba->jitter_us, 2000);
}

Test(lab_command, changes_all_or_nothing)
{
	run("set both loss=1% rate=fast", 0);
	cr_expect_eq(strncmp(reply, "error: rate", 11), 0, "%s", reply);
	cr_expect_eq(links.direction[LAB_A_TO_B].config.loss_ppm, 0);
}

Test(lab_command, refuses_what_it_does_not_know)
{
	static const char *const commands[] = {"", " ", "set", "set both", "set c loss=1%",
		"set loss=1%", "outage", "outage both", "outage both soon", "stat", "set both loss",
		"quit"};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		cr_expect_eq(strncmp(run(commands[i], 0), "error: ", 7), 0, "%s", commands[i]);
}

Test(lab_command, starts_and_ends_an_outage)
{
	struct link_packet packets[2] = {{.len = 100}, {.len = 100}};

	cr_expect_str_eq(run("outage ab 3s", 1000000), "ok");
	link_model_push(&links.direction[LAB_A_TO_B], &packets[0], mono_at_us(3999999));
	cr_expect_eq(links.direction[LAB_A_TO_B].stats.lost_outage, 1);
	cr_expect_str_eq(run("outage ab 0", 3999999), "ok");
	link_model_push(&links.direction[LAB_A_TO_B], &packets[1], mono_at_us(3999999));
	cr_expect_eq(links.direction[LAB_A_TO_B].stats.lost_outage, 1);
	teardown();
	setup();
}

Test(lab_command, statistics_are_json)
{
	struct link_packet packet = {.len = 100};
	struct link_departure leaves;

	link_model_push(&links.direction[LAB_A_TO_B], &packet, mono_at_us(0));
	cr_assert(link_model_pop(&links.direction[LAB_A_TO_B], mono_at_us(1000), &leaves));
	/* Numbers no link will ever reach must fit, too. */
	memset(&links.direction[LAB_B_TO_A].stats, 0x1f, sizeof(struct link_stats));
	memset(&links.counters, 0x1f, sizeof(links.counters));
	json_t *root = json_loads(run("stats", 2000), 0, NULL);
	cr_assert_neq(root, NULL, "%s", reply);
	cr_expect_eq(
		json_integer_value(json_object_get(json_object_get(root, "ab"), "out_bytes")), 100);
	json_decref(root);
	cr_expect_str_eq(run("reset", 2000), "ok");
	cr_expect_eq(links.direction[LAB_A_TO_B].stats.out_bytes, 0);
	root = json_loads(run("show", 2000), 0, NULL);
	cr_assert_neq(root, NULL);
	cr_expect_eq(
		json_integer_value(json_object_get(json_object_get(root, "ba"), "delay_us")), 1000);
	json_decref(root);
}
