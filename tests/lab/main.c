/*
 * lab: an emulated link between two network namespaces, for machines whose kernel has no netem, and for tests that
 * want the same losses twice.
 */
#include "tests/lab/lab_tun.h"
#include "tests/lab/ready_wait.h"
#include "tests/lab/relay.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char usage[] =
	"usage: lab --a NETNS:IFNAME:ADDRESS/PREFIX[,...] --b NETNS:IFNAME:ADDRESS/PREFIX[,...]\n"
	"           [--rate R] [--queue Q] [--delay T] [--jitter T] [--loss P] [--burst P/LENGTH]\n"
	"           [--reorder P] [--late T] [--duplicate P] [--corrupt P]      both directions\n"
	"           [--ab KEY=VALUE[,...]] [--ba KEY=VALUE[,...]]               one; later ones "
	"win\n"
	"           [--mtu N] [--seed N] [--control PATH] [--ready-fd N] [--nice N]\n"
	"       lab ctl PATH set ab|ba|both KEY=VALUE... | outage ab|ba|both TIME | stats | show | "
	"reset\n"
	"       lab await SOCKET SECONDS       waits for READY=1 on a NOTIFY_SOCKET\n"
	"Makes a TUN device in each namespace (a name, a path, or - for the own one) and carries "
	"IP packets\n"
	"between them through a queue, a bottleneck, losses and a delay. Says READY on standard "
	"output, or on\n"
	"the descriptor of --ready-fd; ends on SIGTERM.\n"
	"R: 100M bits/s (0 = no limit)  Q: 750000 bytes or 60ms  T: 30ms  P: 5%  LENGTH: 4 packets "
	"or 10ms\n";

struct options {
	const char *end[LAB_DIRECTIONS]; /* A, B */
	struct link_config config[LAB_DIRECTIONS];
	unsigned mtu;
	uint64_t seed;
	const char *control;
	int ready_fd;
	int nice;
};

enum {
	OPT_A = 1000,
	OPT_B,
	OPT_AB,
	OPT_BA,
	OPT_MTU,
	OPT_SEED,
	OPT_CONTROL,
	OPT_READY_FD,
	OPT_NICE,
	OPT_HELP,
	OPT_LINK, /* and the keys of a link behind it */
};

static int wrong_usage(const char *why)
{
	fprintf(stderr, "lab: %s\n%s", why, usage);
	return 2;
}

static bool parse_number(const char *text, long long min, long long max, long long *ret)
{
	char *end;

	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno || end == text || *end || value < min || value > max)
		return false;
	*ret = value;
	return true;
}

/* "loss=5%,rate=5M" */
static bool set_pairs(struct link_config *config, char *pairs, char *why)
{
	char *rest = NULL;

	for (char *pair = strtok_r(pairs, ",", &rest); pair; pair = strtok_r(NULL, ",", &rest)) {
		if (link_config_set_pair(config, pair, why) < 0)
			return false;
	}
	return true;
}

/* @return 0, an exit status, or -1 after --help */
static int take_option(struct options *options, int option, const char *name, char *value)
{
	char why[LINK_CONFIG_WHY_BYTES] = "";
	long long number = 0;
	bool good = true;

	switch (option) {
	case OPT_A:
	case OPT_B:
		options->end[option == OPT_A ? LAB_A_TO_B : LAB_B_TO_A] = value;
		break;
	case OPT_AB:
	case OPT_BA:
		good = set_pairs(
			&options->config[option == OPT_AB ? LAB_A_TO_B : LAB_B_TO_A], value, why);
		break;
	case OPT_MTU:
		good = parse_number(value, 576, 65535, &number);
		options->mtu = (unsigned)number;
		break;
	case OPT_SEED:
		good = parse_number(value, 0, INT64_MAX, &number);
		options->seed = (uint64_t)number;
		break;
	case OPT_CONTROL:
		options->control = value;
		break;
	case OPT_READY_FD:
		good = parse_number(value, 0, 1023, &number);
		options->ready_fd = (int)number;
		break;
	case OPT_NICE:
		good = parse_number(value, -20, 19, &number);
		options->nice = (int)number;
		break;
	case OPT_HELP:
		fputs(usage, stdout);
		return -1;
	default:
		if (option < OPT_LINK)
			return wrong_usage("wrong option");
		for (size_t d = 0; d < LAB_DIRECTIONS && good; d++)
			good = link_config_set(&options->config[d], name, value, why) == 0;
	}
	if (good)
		return 0;
	if (why[0] == '\0')
		snprintf(why, sizeof(why), "--%s: \"%.60s\" is out of range", name, value);
	return wrong_usage(why);
}

/* @return 0, an exit status, or -1 after --help */
static int parse_options(int argc, char **argv, struct options *options)
{
	struct option table[32] = {
		{"a", required_argument, NULL, OPT_A},
		{"b", required_argument, NULL, OPT_B},
		{"ab", required_argument, NULL, OPT_AB},
		{"ba", required_argument, NULL, OPT_BA},
		{"mtu", required_argument, NULL, OPT_MTU},
		{"seed", required_argument, NULL, OPT_SEED},
		{"control", required_argument, NULL, OPT_CONTROL},
		{"ready-fd", required_argument, NULL, OPT_READY_FD},
		{"nice", required_argument, NULL, OPT_NICE},
		{"help", no_argument, NULL, OPT_HELP},
	};
	size_t used = 10;
	int option, index = 0;

	for (size_t i = 0; link_config_keys[i]; i++)
		table[used++] = (struct option){
			link_config_keys[i], required_argument, NULL, OPT_LINK + (int)i};
	while ((option = getopt_long(argc, argv, "+", table, &index)) != -1) {
		const char *name = option >= OPT_A ? table[index].name : "";
		int status = take_option(options, option, name, optarg);
		if (status)
			return status;
	}
	if (optind != argc || !options->end[LAB_A_TO_B] || !options->end[LAB_B_TO_A])
		return wrong_usage("--a and --b are needed, and options only");
	return 0;
}

static int unix_address(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	memcpy(ret->sun_path, path, strlen(path));
	return 0;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address;
	int err = unix_address(path, &address);

	if (err)
		return err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fd, 16) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static void say_ready(int fd)
{
	static const char word[] = "READY\n";

	if (write(fd, word, sizeof(word) - 1) < 0)
		fprintf(stderr, "lab: cannot say READY: %s\n", strerror(errno));
	if (fd > STDERR_FILENO)
		close(fd);
}

static int run_link(const struct options *options)
{
	struct relay_options relay_options = {
		.tun = {-1, -1}, .mtu = options->mtu, .seed = options->seed, .control = -1};
	struct relay *relay = NULL;
	struct lab_tun_spec spec;
	char why[LAB_TUN_WHY_BYTES];
	int status = 1;

	for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
		relay_options.config[d] = options->config[d];
		if (lab_tun_parse(options->end[d], &spec, why) < 0)
			return wrong_usage(why);
		relay_options.tun[d] = lab_tun_open(&spec, options->mtu, why);
		if (relay_options.tun[d] < 0) {
			fprintf(stderr, "lab: %s\n", why);
			goto close_all;
		}
	}
	if (options->control) {
		relay_options.control = listen_at(options->control);
		if (relay_options.control < 0) {
			fprintf(stderr, "lab: cannot listen on %s: %s\n", options->control,
				strerror(-relay_options.control));
			goto close_all;
		}
	}
	/* The link stands for hardware: it should not wait behind the programs that use it. */
	if (setpriority(PRIO_PROCESS, 0, options->nice) < 0)
		fprintf(stderr, "lab: runs without priority: %s\n", strerror(errno));
	int err = relay_new(&relay_options, &relay);
	if (!err) {
		say_ready(options->ready_fd);
		err = relay_run(relay);
	}
	if (err)
		fprintf(stderr, "lab: the link is gone: %s\n", strerror(-err));
	status = err ? 1 : 0;
	relay_free(relay);
	if (options->control)
		unlink(options->control);
close_all:
	if (relay_options.control >= 0)
		close(relay_options.control);
	for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
		if (relay_options.tun[d] >= 0)
			close(relay_options.tun[d]);
	}
	return status;
}

/* Sends one command and prints the reply. */
static int run_ctl(int argc, char **argv)
{
	char text[LAB_LINE_BYTES > LAB_REPLY_BYTES ? LAB_LINE_BYTES : LAB_REPLY_BYTES + 1] = "";
	struct sockaddr_un address;
	size_t len = 0;

	if (argc < 2 || unix_address(argv[0], &address) < 0)
		return wrong_usage("ctl needs a socket and a command");
	for (int i = 1; i < argc; i++) {
		if (len + strlen(argv[i]) + 2 > LAB_LINE_BYTES)
			return wrong_usage("the command is too long");
		len += (size_t)sprintf(text + len, "%s%c", argv[i], i + 1 < argc ? ' ' : '\n');
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len) {
		fprintf(stderr, "lab: nobody answers on %s: %s\n", argv[0], strerror(errno));
		if (fd >= 0)
			close(fd);
		return 1;
	}
	ssize_t got;
	for (len = 0; len < sizeof(text) - 1; len += (size_t)got) {
		got = recv(fd, text + len, sizeof(text) - 1 - len, 0);
		if (got <= 0 || memchr(text + len, '\n', (size_t)got)) {
			len += got > 0 ? (size_t)got : 0;
			break;
		}
	}
	close(fd);
	bool good = len > 0 && text[len - 1] == '\n' && strncmp(text, "error", 5) != 0;
	fwrite(text, 1, len, good ? stdout : stderr);
	return good ? 0 : 1;
}

static int run_await(int argc, char **argv)
{
	long long seconds = 0;

	if (argc != 2 || !parse_number(argv[1], 0, 86400, &seconds))
		return wrong_usage("await needs a socket and seconds");
	int err = ready_wait(argv[0], seconds * 1000);
	if (err)
		fprintf(stderr, "lab: no READY on %s: %s\n", argv[0], strerror(-err));
	return err == 0 ? 0 : err == -ETIMEDOUT ? 8 : 1;
}

int main(int argc, char **argv)
{
	struct options options = {.mtu = 1500, .seed = 1, .ready_fd = STDOUT_FILENO, .nice = -10};

	signal(SIGPIPE, SIG_IGN);
	if (argc > 1 && strcmp(argv[1], "ctl") == 0)
		return run_ctl(argc - 2, argv + 2);
	if (argc > 1 && strcmp(argv[1], "await") == 0)
		return run_await(argc - 2, argv + 2);
	int status = parse_options(argc, argv, &options);
	if (status)
		return status < 0 ? 0 : status;
	return run_link(&options);
}
