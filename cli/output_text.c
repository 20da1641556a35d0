/*
 * Text for people. A table is made in two passes: all cells first, then the widths, then the lines. A column's gap to
 * the next is part of its definition; colour is put around a padded cell, so it never moves anything. What is not known
 * is "-".
 */
#include "cli/output.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	COLUMNS_MAX = 8,
	MOVED_RECENTLY_S = 300, /* how long a changed address is pointed out */
};

struct column {
	const char *title;
	int gap; /* blanks behind the widest cell */
};

struct table {
	const struct column *columns;
	size_t column_count;
	char (*cells)[COLUMNS_MAX][OUTPUT_CELL_BYTES];
	enum control_state *states; /* of each row, for the colour */
	size_t state_column;
	size_t row_count;
};

/* ---- values -------------------------------------------------------------------------------------------------- */

char *output_duration(double seconds, char text[OUTPUT_CELL_BYTES])
{
	long long s = seconds >= 0 && seconds < 1e15 ? (long long)seconds : -1;

	if (s < 0)
		(void)strcpy(text, "-");
	else if (s < 60)
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%lld s", s);
	else if (s < 3600)
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%lldm %llds", s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%lldh %lldm", s / 3600, s / 60 % 60);
	else
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%lldd %lldh", s / 86400, s / 3600 % 24);
	return text;
}

char *output_ms(double ms, char text[OUTPUT_CELL_BYTES])
{
	if (!(ms >= 0) || ms > 1e12)
		(void)strcpy(text, "-");
	else
		(void)snprintf(text, OUTPUT_CELL_BYTES, ms < 9.95 ? "%.1f ms" : "%.0f ms", ms);
	return text;
}

static void number_in_unit(int64_t bytes, double divisor, char *text, size_t size)
{
	double value = (double)bytes / divisor;

	if (bytes < 0)
		(void)snprintf(text, size, "-");
	else
		(void)snprintf(text, size, divisor > 1 && value < 9.95 ? "%.1f" : "%.0f", value);
}

char *output_bytes_pair(int64_t rx, int64_t tx, char text[OUTPUT_CELL_BYTES])
{
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
	int64_t larger = rx > tx ? rx : tx;
	double divisor = 1;
	size_t unit = 0;
	char left[32];
	char right[32];

	if (larger < 0) {
		(void)strcpy(text, "-");
		return text;
	}
	while ((double)larger / divisor >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		divisor *= 1000;
		unit++;
	}
	number_in_unit(rx, divisor, left, sizeof(left));
	number_in_unit(tx, divisor, right, sizeof(right));
	(void)snprintf(
		text, OUTPUT_CELL_BYTES, "%s %s / %s %s", left, units[unit], right, units[unit]);
	return text;
}

/* A share as percent with one digit, "-" if unknown. */
static char *percent(double share, char text[OUTPUT_CELL_BYTES])
{
	if (!(share >= 0) || share > 1e6)
		(void)strcpy(text, "-");
	else
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%.1f", share * 100);
	return text;
}

static void loss_pair(double in, double out, char text[OUTPUT_CELL_BYTES])
{
	char left[OUTPUT_CELL_BYTES];
	char right[OUTPUT_CELL_BYTES];

	if (in < 0 && out < 0)
		(void)strcpy(text, "-");
	else
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%.24s/%.24s %%", percent(in, left),
			percent(out, right));
}

static char *fec_side(const struct control_fec *fec, char text[OUTPUT_CELL_BYTES])
{
	const char *code = control_fec_code_str(fec->code);

	if (!code)
		(void)strcpy(text, "-");
	else if (fec->code == CONTROL_FEC_OFF || !(fec->rate >= 0) || fec->rate > 1e6)
		(void)strcpy(text, code);
	else
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%.0f %%", fec->rate * 100);
	return text;
}

static void fec_pair(const struct control_peer *peer, char text[OUTPUT_CELL_BYTES])
{
	char in[OUTPUT_CELL_BYTES];
	char out[OUTPUT_CELL_BYTES];

	if (peer->fec_in.code == CONTROL_FEC_UNKNOWN && peer->fec_out.code == CONTROL_FEC_UNKNOWN)
		(void)strcpy(text, "-");
	else
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%.24s/%.24s", fec_side(&peer->fec_in, in),
			fec_side(&peer->fec_out, out));
}

static bool moved_recently(const struct control_peer *peer)
{
	return peer->endpoint_moved_age_s >= 0 && peer->endpoint_moved_age_s < MOVED_RECENTLY_S;
}

/* Joins strings by a blank; cut to the cell. */
static void join(const struct control_strings *list, char text[OUTPUT_CELL_BYTES])
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < list->count && used < OUTPUT_CELL_BYTES; i++)
		used += (size_t)snprintf(text + used, OUTPUT_CELL_BYTES - used, "%s%s",
			i ? " " : "", list->items[i]);
	if (used >= OUTPUT_CELL_BYTES)
		memcpy(text + OUTPUT_CELL_BYTES - 4, "...", 4);
	if (!text[0])
		(void)strcpy(text, "-");
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

static const char *colour_of(enum control_state state)
{
	switch (state) {
	case CONTROL_UP:
		return "\033[32m";
	case CONTROL_DEGRADED:
	case CONTROL_CONNECTING:
		return "\033[33m";
	case CONTROL_DOWN:
		return "\033[31m";
	case CONTROL_IDLE:
		return "\033[2m";
	}
	return "";
}

static void put_state(const struct cli *cli, enum control_state state, const char *text)
{
	if (cli->options.color)
		(void)fputs(colour_of(state), cli->out);
	cli_put_text(cli->out, text);
	if (cli->options.color)
		(void)fputs("\033[0m", cli->out);
}

/* Characters, not bytes: a cell may hold UTF-8 from a file. */
static int width_of(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

static bool table_new(
	struct table *t, const struct column *columns, size_t column_count, size_t rows_max)
{
	*t = (struct table){
		.columns = columns, .column_count = column_count, .state_column = SIZE_MAX};
	t->cells = calloc(rows_max ? rows_max : 1, sizeof(*t->cells));
	t->states = calloc(rows_max ? rows_max : 1, sizeof(*t->states));
	return t->cells && t->states;
}

static void table_free(struct table *t)
{
	free(t->cells);
	free(t->states);
}

static void table_print(const struct cli *cli, const struct table *t)
{
	int widths[COLUMNS_MAX];

	for (size_t c = 0; c < t->column_count; c++) {
		widths[c] = width_of(t->columns[c].title);
		for (size_t r = 0; r < t->row_count; r++) {
			int width = width_of(t->cells[r][c]);
			widths[c] = width > widths[c] ? width : widths[c];
		}
	}
	for (size_t r = 0; r <= t->row_count; r++) { /* row 0: the titles */
		for (size_t c = 0; c < t->column_count; c++) {
			const char *text = r ? t->cells[r - 1][c] : t->columns[c].title;
			if (r && c == t->state_column)
				put_state(cli, t->states[r - 1], text);
			else
				cli_put_text(cli->out, text);
			if (c + 1 < t->column_count)
				(void)fprintf(cli->out, "%*s",
					widths[c] - width_of(text) + t->columns[c].gap, "");
		}
		(void)fputc('\n', cli->out);
	}
}

/* ---- status -------------------------------------------------------------------------------------------------- */

static void put_list(const struct cli *cli, const char *before, const struct control_strings *list)
{
	for (size_t i = 0; i < list->count; i++) {
		(void)fputs(i ? " " : before, cli->out);
		cli_put_text(cli->out, list->items[i]);
	}
}

static void put_network(const struct cli *cli, const struct control_status *status)
{
	const char *source = control_mtu_source_str(status->interface.mtu_source);
	char text[OUTPUT_CELL_BYTES];

	cli_put_text(cli->out, status->network[0] ? status->network : "?");
	(void)fputs("  ", cli->out);
	put_state(cli, status->state, control_state_str(status->state));
	if (control_state_is_up(status->state) && status->uptime_s >= 0)
		(void)fprintf(cli->out, " %s", output_duration(status->uptime_s, text));
	if (status->interface.name[0]) {
		(void)fputs("   ", cli->out);
		cli_put_text(cli->out, status->interface.name);
	}
	put_list(cli, "  ", &status->interface.addresses);
	if (status->interface.mtu >= 0)
		(void)fprintf(cli->out, "   mtu %lld", (long long)status->interface.mtu);
	if (status->interface.mtu >= 0 && source)
		(void)fprintf(cli->out, " (%s)", source);
	put_list(cli, "   listen ", &status->listen);
	(void)fputc('\n', cli->out);
}

static void put_moved(const struct cli *cli, const struct control_status *status)
{
	char text[OUTPUT_CELL_BYTES];
	size_t moved = 0;
	bool first = true;

	for (size_t i = 0; i < status->peer_count; i++)
		moved += moved_recently(&status->peers[i]);
	if (!moved)
		return;
	(void)fputs("* address moved", cli->out);
	for (size_t i = 0; i < status->peer_count; i++) {
		const struct control_peer *peer = &status->peers[i];
		if (!moved_recently(peer))
			continue;
		(void)fprintf(cli->out, "%s %s ago", first ? "" : ",",
			output_duration(peer->endpoint_moved_age_s, text));
		if (moved > 1) {
			(void)fputs(" (", cli->out);
			cli_put_text(cli->out, peer->name);
			(void)fputc(')', cli->out);
		}
		first = false;
	}
	(void)fputc('\n', cli->out);
}

static void put_warnings(const struct cli *cli, const struct control_status *status)
{
	bool any = status->warnings.count > 0;

	for (size_t i = 0; i < status->peer_count; i++)
		any |= status->peers[i].warnings.count > 0;
	if (!any)
		return;
	(void)fputs("\nwarnings:\n", cli->out);
	for (size_t i = 0; i < status->warnings.count; i++) {
		(void)fputs("  ", cli->out);
		cli_put_text(cli->out, status->warnings.items[i]);
		(void)fputc('\n', cli->out);
	}
	for (size_t i = 0; i < status->peer_count; i++) {
		const struct control_peer *peer = &status->peers[i];
		for (size_t w = 0; w < peer->warnings.count; w++) {
			(void)fputs("  ", cli->out);
			cli_put_text(cli->out, peer->name);
			(void)fputs(": ", cli->out);
			cli_put_text(cli->out, peer->warnings.items[w]);
			(void)fputc('\n', cli->out);
		}
	}
}

static void fill_status_row(struct table *t, const struct control_peer *peer)
{
	char(*cells)[OUTPUT_CELL_BYTES] = t->cells[t->row_count];

	(void)snprintf(cells[0], OUTPUT_CELL_BYTES, "%s", peer->name);
	(void)snprintf(cells[1], OUTPUT_CELL_BYTES, "%s", control_state_str(peer->state));
	(void)snprintf(cells[2], OUTPUT_CELL_BYTES, "%s%s",
		peer->endpoint[0] ? peer->endpoint : "-", moved_recently(peer) ? " *" : "");
	(void)output_ms(peer->rtt_ms, cells[3]);
	loss_pair(peer->loss_raw_in, peer->loss_raw_out, cells[4]);
	fec_pair(peer, cells[5]);
	(void)output_bytes_pair(peer->rx_bytes, peer->tx_bytes, cells[6]);
	(void)output_duration(peer->last_rx_age_s, cells[7]);
	t->states[t->row_count++] = peer->state;
}

void output_status(const struct cli *cli, const struct control_status *status)
{
	static const struct column columns[] = {{"PEER", 2}, {"STATE", 3}, {"ENDPOINT", 3},
		{"RTT", 2}, {"LOSS in/out", 2}, {"FEC in/out", 3}, {"RX / TX", 4}, {"AGE", 0}};
	struct table t;

	put_network(cli, status);
	if (status->public_key[0] && cli->options.given & OPTION_VERBOSE) {
		(void)fputs("public key ", cli->out);
		cli_put_text(cli->out, status->public_key);
		(void)fputc('\n', cli->out);
	}
	if (status->peer_count == 0) {
		(void)fputs("no peers\n", cli->out);
	} else if (table_new(
			   &t, columns, sizeof(columns) / sizeof(columns[0]), status->peer_count)) {
		t.state_column = 1;
		for (size_t i = 0; i < status->peer_count; i++)
			fill_status_row(&t, &status->peers[i]);
		table_print(cli, &t);
		put_moved(cli, status);
		table_free(&t);
	} else {
		table_free(&t);
	}
	put_warnings(cli, status);
}

void output_peer_list(const struct cli *cli, const struct control_status *status)
{
	static const struct column columns[] = {
		{"PEER", 2}, {"STATE", 3}, {"ENABLED", 2}, {"ENDPOINTS", 3}, {"ALLOWED IPS", 0}};
	struct table t;

	if (status->peer_count == 0) {
		(void)fputs("no peers\n", cli->out);
		return;
	}
	if (table_new(&t, columns, sizeof(columns) / sizeof(columns[0]), status->peer_count)) {
		t.state_column = 1;
		for (size_t i = 0; i < status->peer_count; i++) {
			const struct control_peer *peer = &status->peers[i];
			char(*cells)[OUTPUT_CELL_BYTES] = t.cells[i];
			(void)snprintf(cells[0], OUTPUT_CELL_BYTES, "%s", peer->name);
			(void)snprintf(
				cells[1], OUTPUT_CELL_BYTES, "%s", control_state_str(peer->state));
			(void)strcpy(cells[2], peer->enabled ? "yes" : "no");
			join(&peer->endpoints, cells[3]);
			join(&peer->allowed_ips, cells[4]);
			t.states[i] = peer->state;
		}
		t.row_count = status->peer_count;
		table_print(cli, &t);
	}
	table_free(&t);
}

/* ---- one peer ------------------------------------------------------------------------------------------------ */

static void put_key(const struct cli *cli, const char *key)
{
	(void)fprintf(cli->out, "  %-17s", key);
}

static void put_text_row(const struct cli *cli, const char *key, const char *text)
{
	put_key(cli, key);
	cli_put_text(cli->out, text && *text ? text : "-");
	(void)fputc('\n', cli->out);
}

static void put_count_row(const struct cli *cli, const char *key, int64_t count, const char *unit)
{
	char text[OUTPUT_CELL_BYTES];

	if (count < 0)
		(void)strcpy(text, "-");
	else
		(void)snprintf(text, sizeof(text), "%lld%s", (long long)count, unit);
	put_text_row(cli, key, text);
}

static void put_list_row(const struct cli *cli, const char *key, const struct control_strings *list)
{
	put_key(cli, key);
	put_list(cli, "", list);
	(void)fputs(list->count ? "\n" : "-\n", cli->out);
}

static void put_loss_rows(const struct cli *cli, const struct control_peer *peer)
{
	char in[OUTPUT_CELL_BYTES];
	char out[OUTPUT_CELL_BYTES];
	char text[2 * OUTPUT_CELL_BYTES];

	loss_pair(peer->loss_raw_in, peer->loss_raw_out, in);
	put_text_row(cli, "loss in/out", in);
	if (peer->loss_residual_in >= 0) {
		(void)snprintf(text, sizeof(text), "%.40s %%", percent(peer->loss_residual_in, in));
		put_text_row(cli, "residual loss in", text);
	} else {
		put_text_row(cli, "residual loss in", NULL);
	}
	(void)snprintf(text, sizeof(text), "%.40s / %.40s", fec_side(&peer->fec_in, in),
		fec_side(&peer->fec_out, out));
	put_text_row(cli, "fec in/out", text);
}

void output_peer(const struct cli *cli, const struct control_peer *peer)
{
	char text[OUTPUT_CELL_BYTES];
	char var[OUTPUT_CELL_BYTES];
	char line[3 * OUTPUT_CELL_BYTES];

	cli_put_text(cli->out, peer->name);
	(void)fputs("  ", cli->out);
	put_state(cli, peer->state, control_state_str(peer->state));
	(void)fputs(peer->enabled ? "\n" : " (disabled)\n", cli->out);
	if (peer->public_key[0])
		put_text_row(cli, "public key", peer->public_key);
	(void)snprintf(line, sizeof(line), "%s%s%s%s", peer->endpoint[0] ? peer->endpoint : "-",
		moved_recently(peer) ? "   moved " : "",
		moved_recently(peer) ? output_duration(peer->endpoint_moved_age_s, text) : "",
		moved_recently(peer) ? " ago" : "");
	put_text_row(cli, "endpoint", line);
	put_list_row(cli, "endpoints", &peer->endpoints);
	put_list_row(cli, "allowed ips", &peer->allowed_ips);
	put_text_row(cli, "last received", output_duration(peer->last_rx_age_s, text));
	put_text_row(cli, "session age", output_duration(peer->handshake_age_s, text));
	(void)snprintf(line, sizeof(line), "%s, varies by %s", output_ms(peer->rtt_ms, text),
		output_ms(peer->rtt_var_ms, var));
	put_text_row(cli, "rtt", peer->rtt_ms < 0 ? NULL : line);
	put_count_row(cli, "path mtu", peer->path_mtu, "");
	put_loss_rows(cli, peer);
	put_count_row(cli, "fec recovered", peer->fec_recovered, "");
	put_count_row(cli, "fec wasted", peer->fec_wasted, "");
	put_text_row(cli, "queue", output_ms(peer->queue_ms, text));
	put_count_row(cli, "queue drops", peer->aqm_drops, "");
	put_count_row(cli, "queue marks", peer->aqm_marks, "");
	put_count_row(cli, "retransmits", peer->retransmits, "");
	put_count_row(cli, "rate", peer->rate_bps, " bit/s");
	put_text_row(cli, "rx / tx", output_bytes_pair(peer->rx_bytes, peer->tx_bytes, text));
	put_count_row(cli, "rx packets", peer->rx_packets, "");
	put_count_row(cli, "tx packets", peer->tx_packets, "");
	for (size_t i = 0; i < peer->drop_count; i++) {
		if (peer->drops[i].count == 0)
			continue;
		(void)snprintf(line, sizeof(line), "%llu %s",
			(unsigned long long)peer->drops[i].count, peer->drops[i].verdict);
		put_text_row(cli, "dropped", line);
	}
	for (size_t i = 0; i < peer->warnings.count; i++)
		put_text_row(cli, "warning", peer->warnings.items[i]);
}

/* ---- other verbs --------------------------------------------------------------------------------------------- */

static void put_changes(const struct cli *cli, const char *what, const struct control_strings *list)
{
	for (size_t i = 0; i < list->count; i++) {
		(void)fprintf(cli->out, "  %-9s", what);
		cli_put_text(cli->out, list->items[i]);
		(void)fputc('\n', cli->out);
	}
}

void output_reload(const struct cli *cli, const char *network, const struct control_reload *reload)
{
	size_t changes = reload->added.count + reload->changed.count + reload->removed.count +
			 reload->settings.count;

	cli_put_text(cli->out, network);
	if (changes == 0)
		(void)fputs(": nothing changed\n", cli->out);
	else if (reload->dry_run)
		(void)fputs(": a reload would change\n", cli->out);
	else
		(void)fprintf(cli->out, ": configuration %lld is in force\n",
			(long long)reload->generation);
	put_changes(cli, "added", &reload->added);
	put_changes(cli, "changed", &reload->changed);
	put_changes(cli, "removed", &reload->removed);
	put_changes(cli, "setting", &reload->settings);
	put_changes(cli, "warning", &reload->warnings);
}

static void put_time(const struct cli *cli, int64_t time_ms)
{
	time_t seconds = (time_t)(time_ms / 1000);
	struct tm local;
	char when[32] = "-";

	if (localtime_r(&seconds, &local))
		(void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &local);
	(void)fprintf(cli->out, "%s  ", when);
}

void output_log_line(const struct cli *cli, const struct control_log_line *line)
{
	put_time(cli, line->time_ms);
	cli_put_text(cli->out, line->level);
	(void)fprintf(
		cli->out, "%*s", 7 - width_of(line->level) > 1 ? 7 - width_of(line->level) : 1, "");
	cli_put_text(cli->out, line->text);
	(void)fputc('\n', cli->out);
}

static void put_known_state(const struct cli *cli, int state)
{
	if (state >= 0)
		put_state(cli, (enum control_state)state,
			control_state_str((enum control_state)state));
}

void output_event(const struct cli *cli, const struct control_event *event)
{
	static const char *const words[] = {
		[CONTROL_EVENT_NETWORK] = "network",
		[CONTROL_EVENT_PEER] = "peer",
		[CONTROL_EVENT_ADDED] = "peer",
		[CONTROL_EVENT_REMOVED] = "peer",
		[CONTROL_EVENT_CONFIG] = "network",
	};

	put_time(cli, event->time_ms);
	(void)fprintf(cli->out, "%s ", words[event->kind]);
	cli_put_text(cli->out, event->name);
	(void)fputs(": ", cli->out);
	switch (event->kind) {
	case CONTROL_EVENT_NETWORK:
	case CONTROL_EVENT_PEER:
		put_known_state(cli, event->state);
		if (event->was >= 0)
			(void)fprintf(cli->out, " (was %s)",
				control_state_str((enum control_state)event->was));
		break;
	case CONTROL_EVENT_ADDED:
		(void)fputs("added, ", cli->out);
		put_known_state(cli, event->state);
		break;
	case CONTROL_EVENT_REMOVED:
		(void)fputs("removed", cli->out);
		break;
	case CONTROL_EVENT_CONFIG:
		(void)fprintf(
			cli->out, "configuration %lld is in force", (long long)event->generation);
		break;
	}
	(void)fputc('\n', cli->out);
}
