/* Commands are words between spaces. A `set` works on copies of the configurations, so that it changes all or nothing. */
#include "tests/lab/lab_command.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void error(char *reply, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void error(char *reply, const char *format, ...)
{
	va_list args;
	int head = snprintf(reply, LAB_REPLY_BYTES, "error: ");

	va_start(args, format);
	vsnprintf(reply + head, LAB_REPLY_BYTES - (size_t)head, format, args);
	va_end(args);
}

static void ok(char *reply)
{
	snprintf(reply, LAB_REPLY_BYTES, "ok");
}

static bool parse_directions(const char *word, bool ret_chosen[LAB_DIRECTIONS])
{
	bool both = word && strcmp(word, "both") == 0;

	ret_chosen[LAB_A_TO_B] = both || (word && (!strcmp(word, "ab") || !strcmp(word, "a")));
	ret_chosen[LAB_B_TO_A] = both || (word && (!strcmp(word, "ba") || !strcmp(word, "b")));
	return ret_chosen[LAB_A_TO_B] || ret_chosen[LAB_B_TO_A];
}

static void run_set(struct lab_links *links, char **rest, struct mono now, char *reply)
{
	bool chosen[LAB_DIRECTIONS];
	struct link_config changed[LAB_DIRECTIONS];
	char why[LINK_CONFIG_WHY_BYTES];
	const char *pair = strtok_r(NULL, " \t", rest);
	bool any = false;

	if (!parse_directions(pair, chosen)) {
		error(reply, "set needs a direction: ab, ba or both");
		return;
	}
	for (size_t d = 0; d < LAB_DIRECTIONS; d++)
		changed[d] = links->direction[d].config;
	while ((pair = strtok_r(NULL, " \t", rest)) != NULL) {
		any = true;
		for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
			if (chosen[d] && link_config_set_pair(&changed[d], pair, why) < 0) {
				error(reply, "%s", why);
				return;
			}
		}
	}
	if (!any) {
		error(reply, "set needs KEY=VALUE");
		return;
	}
	for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
		if (chosen[d])
			link_model_configure(&links->direction[d], &changed[d], now);
	}
	ok(reply);
}

static void run_outage(struct lab_links *links, char **rest, struct mono now, char *reply)
{
	bool chosen[LAB_DIRECTIONS];
	int64_t us;

	if (!parse_directions(strtok_r(NULL, " \t", rest), chosen)) {
		error(reply, "outage needs a direction: ab, ba or both");
		return;
	}
	const char *time = strtok_r(NULL, " \t", rest);
	if (!time || link_config_parse_time(time, &us) < 0) {
		error(reply, "outage needs a time such as 3s, or 0");
		return;
	}
	for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
		if (chosen[d])
			link_model_outage(&links->direction[d], now, mono_add_us(now, us));
	}
	ok(reply);
}

static void direction_stats(const struct link_model *link, char *text, size_t size)
{
	const struct link_stats *s = &link->stats;

	snprintf(text, size,
		"{\"in_packets\":%" PRIu64 ",\"in_bytes\":%" PRIu64 ",\"out_packets\":%" PRIu64
		",\"out_bytes\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"lost_random\":%" PRIu64
		",\"lost_burst\":%" PRIu64 ",\"lost_outage\":%" PRIu64 ",\"dropped_queue\":%" PRIu64
		",\"duplicated\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"corrupted\":%" PRIu64
		",\"queue_bytes\":%" PRIu64 ",\"queue_bytes_most\":%" PRIu64
		",\"flight_packets\":%zu}",
		s->in_packets, s->in_bytes, s->out_packets, s->out_bytes,
		s->lost_random + s->lost_burst + s->lost_outage, s->lost_random, s->lost_burst,
		s->lost_outage, s->dropped_queue, s->duplicated, s->reordered, s->corrupted,
		s->queue_bytes, s->queue_bytes_most, link->flight_count);
}

static void run_stats(const struct lab_links *links, char *reply)
{
	char text[LAB_DIRECTIONS][700];

	for (size_t d = 0; d < LAB_DIRECTIONS; d++)
		direction_stats(&links->direction[d], text[d], sizeof(text[d]));
	snprintf(reply, LAB_REPLY_BYTES,
		"{\"ab\":%s,\"ba\":%s,\"lab\":{\"ignored\":%" PRIu64 ",\"write_errors\":%" PRIu64
		",\"no_slot\":%" PRIu64 "}}",
		text[LAB_A_TO_B], text[LAB_B_TO_A], links->counters.ignored,
		links->counters.write_errors, links->counters.no_slot);
}

static void run_show(const struct lab_links *links, char *reply)
{
	char text[LAB_DIRECTIONS][LINK_CONFIG_TEXT_BYTES];

	snprintf(reply, LAB_REPLY_BYTES, "{\"ab\":%s,\"ba\":%s}",
		link_config_json(&links->direction[LAB_A_TO_B].config, text[LAB_A_TO_B]),
		link_config_json(&links->direction[LAB_B_TO_A].config, text[LAB_B_TO_A]));
}

static void run_reset(struct lab_links *links, char *reply)
{
	for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
		struct link_stats *stats = &links->direction[d].stats;
		uint64_t waiting = stats->queue_bytes;
		*stats = (struct link_stats){.queue_bytes = waiting, .queue_bytes_most = waiting};
	}
	links->counters = (struct lab_counters){0};
	ok(reply);
}

void lab_command_run(
	struct lab_links *links, char *line, struct mono now, char reply[LAB_REPLY_BYTES])
{
	char *rest = NULL;
	const char *verb = strtok_r(line, " \t\r", &rest);

	if (!verb)
		error(reply, "empty command");
	else if (strcmp(verb, "set") == 0)
		run_set(links, &rest, now, reply);
	else if (strcmp(verb, "outage") == 0)
		run_outage(links, &rest, now, reply);
	else if (strcmp(verb, "stats") == 0)
		run_stats(links, reply);
	else if (strcmp(verb, "show") == 0)
		run_show(links, reply);
	else if (strcmp(verb, "reset") == 0)
		run_reset(links, reply);
	else
		error(reply, "unknown command \"%.40s\": set, outage, stats, show, reset", verb);
}
