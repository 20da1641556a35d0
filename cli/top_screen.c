/*
 * A peer is a line with its name and some cells below it, as many beside each other as there is room for: two at 60 columns,
 * four at 120. A cell is a word, a number and a graph: a line of what was (rates, round trip), or a bar of what is (shares on a
 * straight scale, times on a logarithmic one, since 3 ms and 300 ms both matter).
 *
 * A line is put together with its width counted and is cut there, so no line ever wraps.
 */
#include "cli/top_screen.h"

#include "cli/output.h"
#include "cli/top_model.h"

#include <string.h>

enum {
	CELL_COLUMNS = 29,
	LABEL_COLUMNS = 7,
	VALUE_COLUMNS = 10,
	GRAPH_COLUMNS = 10,
	CELLS = 10,
};

static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
static const char *const parts[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
static const char steps[] = ".:-=+*#@";

struct pen {
	const struct cli *cli;
	struct top_size size;
	int column; /* of the line so far */
	int line;   /* finished ones */
};

/* Text from outside goes through cli_put_text(), one character at a time, up to the line's end. */
static void put(struct pen *pen, const char *text)
{
	while (*text) {
		char one[8] = "";
		size_t len = 1;
		while ((text[len] & 0xc0) == 0x80 && len < 4)
			len++;
		memcpy(one, text, len);
		text += len;
		if (pen->column >= pen->size.columns)
			continue;
		cli_put_text(pen->cli->out, one);
		pen->column++;
	}
}

static void put_padded(struct pen *pen, const char *text, int columns, bool right)
{
	int width = 0;

	for (const char *c = text; *c; c++)
		width += (*c & 0xc0) != 0x80;
	for (int i = width; right && i < columns; i++)
		put(pen, " ");
	put(pen, text);
	for (int i = width; !right && i < columns; i++)
		put(pen, " ");
}

static void end_line(struct pen *pen)
{
	(void)fputs("\033[K", pen->cli->out);
	pen->line++;
	pen->column = 0;
	if (pen->line < pen->size.lines)
		(void)fputs("\r\n", pen->cli->out);
}

static void colour(const struct pen *pen, const char *code)
{
	if (pen->cli->options.color)
		(void)fputs(code, pen->cli->out);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static const char *bits(double bps, char text[OUTPUT_CELL_BYTES])
{
	static const char *const units[] = {"b/s", "kb/s", "Mb/s", "Gb/s", "Tb/s"};
	size_t unit = 0;

	if (!(bps >= 0) || bps > 1e17) {
		(void)strcpy(text, "-");
		return text;
	}
	while (bps >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		bps /= 1000;
		unit++;
	}
	(void)snprintf(text, OUTPUT_CELL_BYTES, unit && bps < 99.5 ? "%.1f %s" : "%.0f %s", bps,
		units[unit]);
	return text;
}

static const char *percent(double share, char text[OUTPUT_CELL_BYTES])
{
	if (!(share >= 0) || share > 1e6)
		(void)strcpy(text, "-");
	else
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%.1f %%", share * 100);
	return text;
}

static const char *per_second(double value, char text[OUTPUT_CELL_BYTES])
{
	if (!(value >= 0) || value > 1e12)
		(void)strcpy(text, "-");
	else
		(void)snprintf(text, OUTPUT_CELL_BYTES, "%.0f /s", value);
	return text;
}

/* ---- graphs -------------------------------------------------------------------------------------------------- */

/* @part  0..1; negative = unknown */
static void put_bar(struct pen *pen, double part)
{
	int eighths = part > 0 ? (int)(part * GRAPH_COLUMNS * 8 + 0.5) : 0;

	if (part > 0 && eighths == 0)
		eighths = 1; /* something is not nothing */
	if (eighths > GRAPH_COLUMNS * 8)
		eighths = GRAPH_COLUMNS * 8;
	for (int i = 0; i < GRAPH_COLUMNS; i++) {
		int here = eighths - 8 * i;
		if (pen->size.utf8)
			put(pen, parts[here < 0 ? 0 : here > 8 ? 8 : here]);
		else
			put(pen, here >= 4 ? "#" : here > 0 ? "+" : ".");
	}
}

static void put_track(struct pen *pen, const struct top_track *track)
{
	size_t shown = track->count < GRAPH_COLUMNS ? track->count : GRAPH_COLUMNS;
	const double *values = track->values + track->count - shown;
	double most = 0;

	for (size_t i = 0; i < shown; i++)
		most = values[i] > most ? values[i] : most;
	for (size_t i = shown; i < GRAPH_COLUMNS; i++)
		put(pen, " ");
	for (size_t i = 0; i < shown; i++) {
		int level = most > 0 ? (int)(values[i] / most * 7 + 0.5) : 0;
		char step[2] = {steps[level < 0 ? 0 : level], '\0'};
		if (values[i] < 0)
			put(pen, " ");
		else
			put(pen, pen->size.utf8 ? blocks[level] : step);
	}
}

/* 1 ms is a tenth or so of the bar, 1 s all of it: doubling adds the same everywhere. */
static double on_time_scale(double ms)
{
	double part = 0;

	if (!(ms >= 0))
		return -1;
	for (double at = 1000; at > ms && part < 1; at /= 2)
		part += 0.1;
	return part < 1 ? 1 - part : 0.01 * (ms > 0);
}

/* ---- cells --------------------------------------------------------------------------------------------------- */

static void put_cell(struct pen *pen, const struct top_peer *p, int cell)
{
	char text[OUTPUT_CELL_BYTES];
	const char *label = "", *value = "";
	const struct top_track *track = NULL;
	double part = -1;

	switch (cell) {
	case 0:
		label = "rx", value = bits(p->rx_bps, text), track = &p->rx;
		break;
	case 1:
		label = "tx", value = bits(p->tx_bps, text), track = &p->tx;
		break;
	case 2:
		label = "rtt", value = output_ms(p->rtt_ms, text), track = &p->rtt;
		break;
	case 3:
		label = "queue", value = output_ms(p->queue_ms, text);
		part = on_time_scale(p->queue_ms);
		break;
	case 4:
		label = "loss<", value = percent(p->loss_in, text), part = p->loss_in * 5;
		break;
	case 5:
		label = "loss>", value = percent(p->loss_out, text), part = p->loss_out * 5;
		break;
	case 6:
		label = "par<", value = percent(p->parity_in, text), part = p->parity_in;
		break;
	case 7:
		label = "par>", value = percent(p->parity_out, text), part = p->parity_out;
		break;
	case 8:
		label = "resid<", value = percent(p->residual_in, text), part = p->residual_in * 5;
		break;
	default:
		label = "resent", value = per_second(p->resent_per_s, text);
		part = p->resent_per_s / 100;
		break;
	}
	put_padded(pen, label, LABEL_COLUMNS, false);
	put_padded(pen, value, VALUE_COLUMNS, true);
	put(pen, " ");
	if (track)
		put_track(pen, track);
	else
		put_bar(pen, part);
}

static const char *state_colour(enum control_state state)
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

static void put_state(struct pen *pen, enum control_state state, int columns)
{
	colour(pen, state_colour(state));
	put_padded(pen, control_state_str(state), columns, false);
	colour(pen, "\033[0m");
}

static void draw_peer(struct pen *pen, const struct top_peer *p, int beside)
{
	colour(pen, "\033[1m");
	put_padded(pen, p->name, 20, false);
	colour(pen, "\033[0m");
	put(pen, " ");
	put_state(pen, p->state, 11);
	put(pen, p->endpoint[0] ? p->endpoint : "-");
	end_line(pen);
	for (int cell = 0; cell < CELLS; cell += beside) {
		put(pen, "  ");
		for (int i = cell; i < cell + beside && i < CELLS; i++) {
			if (i > cell)
				put(pen, "  ");
			put_cell(pen, p, i);
		}
		end_line(pen);
	}
}

static void draw_head(struct pen *pen, const struct top_model *m)
{
	char text[OUTPUT_CELL_BYTES];

	put(pen, m->network[0] ? m->network : "?");
	put(pen, "  ");
	put_state(pen, m->state, 0);
	if (control_state_is_up(m->state)) {
		put(pen, " ");
		put(pen, output_duration(m->uptime_s, text));
	}
	put(pen, "  ");
	put(pen, m->interface);
	if (m->mtu >= 0) {
		(void)snprintf(text, sizeof(text), " mtu %lld", (long long)m->mtu);
		put(pen, text);
	}
	(void)snprintf(text, sizeof(text), "  %zu peer%s", m->count, m->count == 1 ? "" : "s");
	put(pen, text);
	if (m->warnings) {
		(void)snprintf(text, sizeof(text), "  %zu warning%s", m->warnings,
			m->warnings == 1 ? "" : "s");
		colour(pen, "\033[33m");
		put(pen, text);
		colour(pen, "\033[0m");
	}
	end_line(pen);
}

void top_screen_draw(const struct cli *cli, const struct top_model *m, struct top_size size)
{
	struct pen pen = {.cli = cli, .size = size};
	char text[OUTPUT_CELL_BYTES];

	if (pen.size.columns < 20)
		pen.size.columns = 20;
	if (pen.size.lines < 5)
		pen.size.lines = 5;
	int beside = (pen.size.columns + 2 - 2) / (CELL_COLUMNS + 1);
	if (beside < 1)
		beside = 1;
	if (beside > CELLS / 2)
		beside = CELLS / 2;
	int height = 1 + (CELLS + beside - 1) / beside;
	(void)fputs("\033[H", cli->out);
	draw_head(&pen, m);
	size_t shown = 0;
	while (shown < m->count && pen.line + height <= pen.size.lines - 1)
		draw_peer(&pen, &m->peers[shown++], beside);
	while (pen.line < pen.size.lines - 1)
		end_line(&pen);
	(void)snprintf(text, sizeof(text), "s sort: %s%s  r reverse  q quit", top_sort_str(m->sort),
		m->reverse ? " (reversed)" : "");
	colour(&pen, "\033[2m");
	put(&pen, text);
	if (shown < m->count) {
		(void)snprintf(text, sizeof(text), "  %zu more", m->count - shown);
		put(&pen, text);
	}
	colour(&pen, "\033[0m");
	(void)fputs("\033[K\033[J", cli->out);
	(void)fflush(cli->out);
}

/* ---- plain --------------------------------------------------------------------------------------------------- */

void top_screen_plain(const struct cli *cli, const struct top_model *m)
{
	struct pen pen = {.cli = cli, .size = {.columns = 200, .lines = 1}};
	char a[OUTPUT_CELL_BYTES], b[OUTPUT_CELL_BYTES];

	(void)fprintf(cli->out, "%-20s %-10s %10s %10s %8s %8s %8s %8s %8s %8s %8s %8s\n", "PEER",
		"STATE", "RX", "TX", "RTT", "QUEUE", "LOSS<", "LOSS>", "PARITY<", "PARITY>",
		"RESID<", "RESENT");
	for (size_t i = 0; i < m->count; i++) {
		const struct top_peer *p = &m->peers[i];
		pen.column = 0;
		put_padded(&pen, p->name, 20, false);
		(void)fprintf(cli->out, " %-10s %10s %10s", control_state_str(p->state),
			bits(p->rx_bps, a), bits(p->tx_bps, b));
		(void)fprintf(
			cli->out, " %8s %8s", output_ms(p->rtt_ms, a), output_ms(p->queue_ms, b));
		(void)fprintf(
			cli->out, " %8s %8s", percent(p->loss_in, a), percent(p->loss_out, b));
		(void)fprintf(
			cli->out, " %8s %8s", percent(p->parity_in, a), percent(p->parity_out, b));
		(void)fprintf(cli->out, " %8s %8s\n", percent(p->residual_in, a),
			per_second(p->resent_per_s, b));
	}
	(void)fflush(cli->out);
}
