/* One table of long options; every number is checked against its range, and each error names option and range. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_id {
	OPT_KEY = 256,
	OPT_KEY_HEX,
	OPT_CRYPT,
	OPT_DATASHARD,
	OPT_PARITYSHARD,
	OPT_MODE,
	OPT_MTU,
	OPT_SNDWND,
	OPT_RCVWND,
	OPT_CONV,
	OPT_STREAM,
	OPT_MESSAGE,
	OPT_IDLE,
	OPT_SINK,
	OPT_STATS,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option LONG_OPTIONS[] = {
	{"key", required_argument, NULL, OPT_KEY},
	{"key-hex", required_argument, NULL, OPT_KEY_HEX},
	{"crypt", required_argument, NULL, OPT_CRYPT},
	{"datashard", required_argument, NULL, OPT_DATASHARD},
	{"parityshard", required_argument, NULL, OPT_PARITYSHARD},
	{"mode", required_argument, NULL, OPT_MODE},
	{"mtu", required_argument, NULL, OPT_MTU},
	{"sndwnd", required_argument, NULL, OPT_SNDWND},
	{"rcvwnd", required_argument, NULL, OPT_RCVWND},
	{"conv", required_argument, NULL, OPT_CONV},
	{"stream", no_argument, NULL, OPT_STREAM},
	{"message", no_argument, NULL, OPT_MESSAGE},
	{"idle", required_argument, NULL, OPT_IDLE},
	{"sink", no_argument, NULL, OPT_SINK},
	{"stats", no_argument, NULL, OPT_STATS},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static const char USAGE[] =
	"usage: kcpcat [options] HOST PORT         dial; stdin to the session, session to stdout\n"
	"       kcpcat -l [options] [HOST] PORT    listen; serves one session\n"
	"  -k                 with -l: serve all sessions that come (stdin is not read)\n"
	"  -e                 echo back what comes\n"
	"  --sink             discard and count what comes\n"
	"  --key PASS         password, derived as kcptun does\n"
	"  --key-hex HEX      32 raw bytes; a cipher takes the leading ones it needs\n"
	"  --crypt NAME       cipher (salsa20)\n"
	"  --datashard N      FEC: data packets of a group, 0 = off (10)\n"
	"  --parityshard N    FEC: parity packets of a group, 0 = off (3)\n"
	"  --mode NAME        normal, fast, fast2 or fast3 (fast)\n"
	"  --mtu N            UDP payload in bytes, 128-1500 (1350)\n"
	"  --sndwnd N         send window in segments, 1-32768 (1024)\n"
	"  --rcvwnd N         receive window in segments, 1-32768 (1024)\n"
	"  --conv N           conversation number to dial with (random)\n"
	"  --stream           a stream of bytes (default)\n"
	"  --message          each read of stdin, at most 64 KiB, is one message\n"
	"  --idle S           leave after S seconds of silence (5)\n"
	"  --stats            counters as JSON to stderr on exit\n";

static int fail(const char *what, const char *value, const char *want)
{
	(void)fprintf(
		stderr, "kcpcat: %s: \"%s\" is not %s\n  see:  kcpcat --help\n", what, value, want);
	return EXIT_STATUS_USAGE;
}

/* Decimal, or hexadecimal with 0x; no sign, nothing behind it. */
static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	unsigned long long value = strtoull(text, &end, text[1] == 'x' ? 16 : 10);
	if (errno || *end || value < min || value > max)
		return false;
	*ret = value;
	return true;
}

static int set_u32(const char *option, const char *text, uint32_t min, uint32_t max, uint32_t *ret)
{
	char want[64];
	uint64_t value;

	if (parse_number(text, min, max, &value)) {
		*ret = (uint32_t)value;
		return EXIT_STATUS_OK;
	}
	(void)snprintf(want, sizeof(want), "a number in %u..%u", min, max);
	return fail(option, text, want);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int set_key_hex(char *text, struct options *o)
{
	size_t len = strlen(text);
	bool good = len == 2 * KCPVPN_KEY_BYTES;

	for (size_t i = 0; good && i < KCPVPN_KEY_BYTES; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
		good = high >= 0 && low >= 0;
		o->key[i] = (uint8_t)(good ? high * 16 + low : 0);
	}
	explicit_bzero(text, len); /* out of the process list */
	if (!good) {
		(void)fprintf(stderr, "kcpcat: --key-hex wants exactly 64 hexadecimal digits\n");
		return EXIT_STATUS_USAGE;
	}
	o->node.key_len = KCPVPN_KEY_BYTES;
	return EXIT_STATUS_OK;
}

static int set_password(char *text, struct options *o)
{
	size_t len = strlen(text);

	int error = kcpvpn_key_derive(text, len, o->key);
	explicit_bzero(text, len); /* out of the process list */
	if (error < 0) {
		(void)fprintf(stderr, "kcpcat: the crypto library could not derive a key\n");
		return EXIT_STATUS_OTHER;
	}
	o->node.key_len = KCPVPN_KEY_BYTES;
	return EXIT_STATUS_OK;
}

static int set_crypt(const char *text, struct options *o)
{
	const char *name;

	for (size_t i = 0; (name = kcpvpn_crypt_name(i)) != NULL; i++) {
		if (strcmp(name, text) == 0) {
			o->node.crypt = name;
			return EXIT_STATUS_OK;
		}
	}
	(void)fprintf(stderr, "kcpcat: --crypt: \"%s\" is not a cipher; there are", text);
	for (size_t i = 0; (name = kcpvpn_crypt_name(i)) != NULL; i++)
		(void)fprintf(stderr, " %s", name);
	(void)fputc('\n', stderr);
	return EXIT_STATUS_USAGE;
}

static int set_idle(const char *text, struct options *o)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0.01 && seconds <= 86400))
		return fail("--idle", text, "a number of seconds in 0.01..86400");
	o->idle_us = (int64_t)(seconds * 1e6);
	o->idle_given = true;
	return EXIT_STATUS_OK;
}

static int set_option(int id, char *value, struct options *o)
{
	struct kcpvpn_config *node = &o->node;

	switch (id) {
	case 'l':
		o->listen = true;
		return EXIT_STATUS_OK;
	case 'k':
		o->keep = true;
		return EXIT_STATUS_OK;
	case 'e':
		o->echo = true;
		return EXIT_STATUS_OK;
	case OPT_SINK:
		o->sink = true;
		return EXIT_STATUS_OK;
	case OPT_STATS:
		o->stats = true;
		return EXIT_STATUS_OK;
	case OPT_STREAM:
		node->stream = true;
		return EXIT_STATUS_OK;
	case OPT_MESSAGE:
		node->stream = false;
		return EXIT_STATUS_OK;
	case OPT_KEY:
		return set_password(value, o);
	case OPT_KEY_HEX:
		return set_key_hex(value, o);
	case OPT_CRYPT:
		return set_crypt(value, o);
	case OPT_DATASHARD:
		return set_u32("--datashard", value, 0, 254, &node->data_shards);
	case OPT_PARITYSHARD:
		return set_u32("--parityshard", value, 0, 254, &node->parity_shards);
	case OPT_MODE:
		return kcpvpn_config_mode(node, value) < 0
			       ? fail("--mode", value, "one of normal, fast, fast2, fast3")
			       : EXIT_STATUS_OK;
	case OPT_MTU:
		return set_u32("--mtu", value, KCPVPN_MTU_MIN_BYTES, KCPVPN_MTU_MAX_BYTES,
			&node->mtu_bytes);
	case OPT_SNDWND:
		return set_u32("--sndwnd", value, 1, KCPVPN_WND_MAX, &node->snd_wnd);
	case OPT_RCVWND:
		return set_u32("--rcvwnd", value, 1, KCPVPN_WND_MAX, &node->rcv_wnd);
	case OPT_CONV:
		return set_u32("--conv", value, 1, UINT32_MAX, &o->conv);
	case OPT_IDLE:
		return set_idle(value, o);
	case OPT_HELP:
		(void)fputs(USAGE, stdout);
		return -1;
	case OPT_VERSION:
		(void)puts("kcpcat " KCPVPN_VERSION);
		return -1;
	default:
		(void)fputs("  see:  kcpcat --help\n", stderr);
		return EXIT_STATUS_USAGE;
	}
}

/* What only makes sense together. */
static int check(const struct options *o)
{
	const struct kcpvpn_config *node = &o->node;
	const char *wrong = NULL;

	if ((o->keep || o->echo || o->sink) && !o->listen)
		wrong = "-k, -e and --sink go with -l";
	else if (o->echo && o->sink)
		wrong = "-e and --sink exclude each other";
	else if (o->conv && o->listen)
		wrong = "--conv goes with dialling: a listener takes the dialler's number";
	else if (node->data_shards + node->parity_shards > 255)
		wrong = "--datashard and --parityshard together are more than 255";
	else if (node->key_len == 0 && strcmp(node->crypt, "none") != 0 &&
		 strcmp(node->crypt, "null") != 0)
		wrong = "--key or --key-hex is required (not with --crypt none or null)";
	else if (kcpvpn_config_mss(node) == 0)
		wrong = "--mtu leaves no room for data";
	if (!wrong)
		return EXIT_STATUS_OK;
	(void)fprintf(stderr, "kcpcat: %s\n  see:  kcpcat --help\n", wrong);
	return EXIT_STATUS_USAGE;
}

int options_parse(int argc, char **argv, struct options *o)
{
	int id;

	*o = (struct options){.idle_us = 5000000};
	kcpvpn_config_init(&o->node);
	o->node.key = o->key;
	while ((id = getopt_long(argc, argv, "lke", LONG_OPTIONS, NULL)) != -1) {
		int status = set_option(id, optarg, o);
		if (status != EXIT_STATUS_OK)
			return status;
	}
	int words = argc - optind;
	if (words == 2) {
		o->host = argv[optind];
		o->port = argv[optind + 1];
	} else if (words == 1 && o->listen) {
		o->port = argv[optind];
	} else {
		(void)fprintf(stderr, "kcpcat: %s\n%s",
			o->listen ? "-l wants [HOST] PORT" : "HOST and PORT are required", USAGE);
		return EXIT_STATUS_USAGE;
	}
	return check(o);
}

void options_wipe(struct options *o)
{
	explicit_bzero(o->key, sizeof(o->key));
}
