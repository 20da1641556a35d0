/* What people see, byte for byte against tests/unit/cli/golden/. GOLDEN_UPDATE=1 writes the files anew: read the diff. */
#include "cli/output.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *text_of(void (*print)(const struct cli *), bool color)
{
	char *text = NULL;
	size_t len = 0;
	struct cli cli = {.out = open_memstream(&text, &len), .err = stderr};

	cli.options.color = color;
	print(&cli);
	fclose(cli.out);
	return text;
}

static void golden(const char *name, void (*print)(const struct cli *), bool color)
{
	char path[128];
	static char want[16384];
	char *text = text_of(print, color);
	FILE *file;
	size_t len;

	snprintf(path, sizeof(path), "%s/unit/cli/golden/%s.txt", TESTS_DIR, name);
	if (getenv("GOLDEN_UPDATE")) {
		file = fopen(path, "w");
		cr_assert(file);
		fputs(text, file);
		fclose(file);
	}
	file = fopen(path, "r");
	cr_assert(file, "no %s", path);
	len = fread(want, 1, sizeof(want) - 1, file);
	want[len] = '\0';
	fclose(file);
	cr_assert_str_eq(text, want, "%s:\n%s", name, text);
	free(text);
}

static void office(struct control_status *s)
{
	control_status_init(s);
	strcpy(s->network, "office");
	s->state = CONTROL_UP;
	s->uptime_s = 3 * 86400 + 4 * 3600 + 59;
	strcpy(s->interface.name, "kcp0");
	s->interface.mtu = 1400;
	s->interface.mtu_source = CONTROL_MTU_PROBED;
	control_strings_add(&s->interface.addresses, "10.40.0.1/24");
	control_strings_add(&s->interface.addresses, "fd40::1/64");
	control_strings_add(&s->listen, "[::]:29900");
}

static void picture(struct control_status *s)
{
	struct control_peer *p;

	office(s);
	p = control_status_add_peer(s, "branch-2");
	p->state = CONTROL_UP;
	strcpy(p->endpoint, "198.51.100.7:29900");
	p->rtt_ms = 38;
	p->loss_raw_in = 0.001;
	p->loss_raw_out = 0;
	p->fec_in.code = p->fec_out.code = CONTROL_FEC_OFF;
	p->rx_bytes = 1900000000;
	p->tx_bytes = 400000000;
	p->last_rx_age_s = 12;
	p = control_status_add_peer(s, "lap-mia");
	p->state = CONTROL_DEGRADED;
	strcpy(p->endpoint, "203.0.113.9:51311");
	p->endpoint_moved_age_s = 14.4;
	p->rtt_ms = 91.2;
	p->loss_raw_in = 0.062;
	p->loss_raw_out = 0.004;
	p->fec_in = (struct control_fec){CONTROL_FEC_RLC, 100, 0.11};
	p->fec_out = (struct control_fec){CONTROL_FEC_RLC, 100, 0.02};
	p->rx_bytes = 212000000;
	p->tx_bytes = 31000000;
	p->last_rx_age_s = 0.1;
}

static void print_picture(const struct cli *cli)
{
	struct control_status s;

	picture(&s);
	output_status(cli, &s);
	control_status_fini(&s);
}

/* All states, kcp-go's unknown values, several addresses moved, warnings. */
static void mixed(struct control_status *s)
{
	struct control_peer *p;

	office(s);
	s->state = CONTROL_DEGRADED;
	s->uptime_s = 59.9;
	s->interface.mtu_source = CONTROL_MTU_UNKNOWN;
	control_strings_add(&s->warnings, "this wire is not authenticated\033[2J");
	p = control_status_add_peer(s, "a");
	p->state = CONTROL_CONNECTING;
	control_strings_add(&p->endpoints, "a.example.net:29900");
	control_strings_add(&p->allowed_ips, "10.1.0.0/16");
	control_strings_add(&p->allowed_ips, "fd01::/48");
	p = control_status_add_peer(s, "waiting-for-a-call");
	p->state = CONTROL_IDLE;
	p->rx_bytes = 0;
	p->tx_bytes = 999;
	p->endpoint_moved_age_s = 100;
	strcpy(p->endpoint, "[2001:db8::1]:65535");
	p = control_status_add_peer(s, "off");
	p->enabled = false;
	p->endpoint_moved_age_s = 301; /* long ago: not pointed out */
	strcpy(p->endpoint, "192.0.2.1:1");
	p = control_status_add_peer(s, "go");
	p->state = CONTROL_UP;
	p->rtt_ms = 0.42;
	p->loss_raw_in = 0.5;
	p->fec_out = (struct control_fec){CONTROL_FEC_RS, 10, 0.3};
	p->rx_bytes = 999999;
	p->tx_bytes = 12345;
	p->last_rx_age_s = 3605;
	p->endpoint_moved_age_s = 0;
	p->handshake_age_s = 90000;
	p->retransmits = 5;
	p->rate_bps = 50000000;
	control_peer_add_drop(p, "bad_crc", 17);
	control_peer_add_drop(p, "short", 0);
	strcpy(p->endpoint, "198.51.100.200:29900");
	control_strings_add(&p->warnings, "residual loss 2 %");
}

static void print_mixed(const struct cli *cli)
{
	struct control_status s;

	mixed(&s);
	output_status(cli, &s);
	control_status_fini(&s);
}

static void print_list(const struct cli *cli)
{
	struct control_status s;

	mixed(&s);
	output_peer_list(cli, &s);
	control_status_fini(&s);
}

static void print_peers(const struct cli *cli)
{
	struct control_status s;

	mixed(&s);
	for (size_t i = 0; i < s.peer_count; i++)
		output_peer(cli, &s.peers[i]);
	control_status_fini(&s);
}

static void print_down(const struct cli *cli)
{
	struct control_status s;

	office(&s);
	s.state = CONTROL_DOWN;
	s.uptime_s = 0;
	output_status(cli, &s);
	control_status_fini(&s);
	control_status_init(&s); /* a daemon that says nothing */
	output_status(cli, &s);
	output_peer_list(cli, &s);
	control_status_fini(&s);
}

static void print_reload(const struct cli *cli)
{
	struct control_reload reload = {.generation = 2};

	output_reload(cli, "office", &reload);
	control_strings_add(&reload.added, "lap");
	control_strings_add(&reload.changed, "branch-2");
	control_strings_add(&reload.removed, "old");
	control_strings_add(&reload.settings, "log.level: info -> debug");
	control_strings_add(&reload.warnings, "mtu takes effect after a restart");
	output_reload(cli, "office", &reload);
	reload.dry_run = true;
	output_reload(cli, "office", &reload);
	control_reload_fini(&reload);
}

Test(output, status_is_as_in_the_manual)
{
	golden("picture", print_picture, false);
}

static void print_verbose(const struct cli *cli)
{
	struct cli verbose = *cli;
	struct control_status s;

	picture(&s);
	strcpy(s.public_key, "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
	output_status(cli, &s);
	verbose.options.given |= OPTION_VERBOSE;
	output_status(&verbose, &s);
	control_status_fini(&s);
}

/* Our own public key is there for who asks for more. */
Test(output, verbose_status_tells_the_own_key)
{
	char *once = text_of(print_picture, false);
	char *both = text_of(print_verbose, false);
	size_t len = strlen(once);

	cr_assert_eq(strncmp(both, once, len), 0);
	char *line = strchr(both + len, '\n') + 1;
	cr_assert_eq(strncmp(line, "public key hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n", 56),
		0, "%s", line);
	free(once);
	free(both);
}

Test(output, every_state_and_unknown_values)
{
	golden("mixed", print_mixed, false);
}

Test(output, colour_moves_nothing)
{
	char *plain = text_of(print_mixed, false);
	char *colour = text_of(print_mixed, true);
	char *to = colour;

	golden("mixed-colour", print_mixed, true);
	for (const char *from = colour; *from;) {
		if (*from == '\033')
			from = strchr(from, 'm') + 1;
		else
			*to++ = *from++;
	}
	*to = '\0';
	cr_assert_str_eq(colour, plain);
	free(plain);
	free(colour);
}

Test(output, peers_in_depth_and_list)
{
	golden("peers", print_peers, false);
	golden("peer-list", print_list, false);
}

Test(output, down_and_empty)
{
	golden("down", print_down, false);
}

Test(output, reload)
{
	golden("reload", print_reload, false);
}

Test(output, durations)
{
	static const struct {
		double seconds;
		const char *want;
	} rows[] = {{0, "0 s"}, {59.99, "59 s"}, {60, "1m 0s"}, {3599, "59m 59s"}, {3600, "1h 0m"},
		{86399, "23h 59m"}, {86400, "1d 0h"}, {273600, "3d 4h"}, {-1, "-"}, {1e300, "-"}};
	char text[OUTPUT_CELL_BYTES];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert_str_eq(output_duration(rows[i].seconds, text), rows[i].want);
}

Test(output, byte_pairs_share_a_unit)
{
	static const struct {
		int64_t rx, tx;
		const char *want;
	} rows[] = {{0, 0, "0 B / 0 B"}, {999, 1, "999 B / 1 B"}, {1000, 0, "1.0 KB / 0.0 KB"},
		{999499, 1, "999 KB / 0.0 KB"}, {999500, 1, "1.0 MB / 0.0 MB"},
		{1900000000, 400000000, "1.9 GB / 0.4 GB"}, {31000000, 212000000, "31 MB / 212 MB"},
		{-1, -1, "-"}, {-1, 5, "- B / 5 B"}, {INT64_MAX, 0, "9223 PB / 0.0 PB"}};
	char text[OUTPUT_CELL_BYTES];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert_str_eq(output_bytes_pair(rows[i].rx, rows[i].tx, text), rows[i].want);
}

Test(output, milliseconds)
{
	char text[OUTPUT_CELL_BYTES];

	cr_assert_str_eq(output_ms(0.42, text), "0.4 ms");
	cr_assert_str_eq(output_ms(9.94, text), "9.9 ms");
	cr_assert_str_eq(output_ms(9.96, text), "10 ms");
	cr_assert_str_eq(output_ms(1234.5, text), "1234 ms");
	cr_assert_str_eq(output_ms(-1, text), "-");
}

static void print_metrics(const struct cli *cli)
{
	struct control_status s;

	picture(&s);
	strcpy(s.version, "0.1.0");
	strcpy(s.wire, "native");
	s.config.generation = 3;
	s.peers[0].rate_bps = 80000000;
	s.peers[1].retransmits = 17;
	control_peer_add_drop(&s.peers[1], "in_source", 4);
	strcpy(s.peers[1].name, "q\"\\\n\033");
	output_metrics(cli, &s);
	control_status_fini(&s);
}

Test(output, metrics)
{
	golden("metrics", print_metrics, false);
}

static void print_events(const struct cli *cli)
{
	static const struct control_event events[] = {
		{CONTROL_EVENT_NETWORK, 1700000000000, "office", CONTROL_DEGRADED, CONTROL_UNKNOWN,
			3},
		{CONTROL_EVENT_PEER, 1700000000000, "branch", CONTROL_UP, CONTROL_CONNECTING, -1},
		{CONTROL_EVENT_ADDED, 1700000001000, "lap\033", CONTROL_IDLE, CONTROL_UNKNOWN, -1},
		{CONTROL_EVENT_REMOVED, 1700000001000, "old", CONTROL_UNKNOWN, CONTROL_DOWN, -1},
		{CONTROL_EVENT_CONFIG, 1700000002000, "office", CONTROL_UNKNOWN, CONTROL_UNKNOWN,
			4}};

	setenv("TZ", "UTC", 1);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		output_event(cli, &events[i]);
}

Test(output, events)
{
	golden("events", print_events, false);
}
