/* vpnd [-c FILE | NAME] [--check | --hold | --release] [--control PATH] [--state DIR] [--log-level L] [--log-format text|json] */
#include "vpnd/options.h"

#include "config/config.h"
#include "core/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_CHECK = 256,
	OPT_HOLD,
	OPT_RELEASE,
	OPT_CONTROL,
	OPT_STATE,
	OPT_LOG_LEVEL,
	OPT_LOG_FORMAT,
	OPT_HELP,
	OPT_VERSION,
};

static const char USAGE[] =
	"usage: vpnd [-c FILE | NAME] [options]\n"
	"  NAME                   a network: /etc/vpnd/NAME.yaml\n"
	"  -c FILE                its file\n"
	"  --check                read and check the file, then exit with 0 or 5\n"
	"  --hold                 put up the kill switch of the file without a tunnel, then exit\n"
	"  --release              remove what a full tunnel left on the host, then exit\n"
	"  --control PATH         control socket (/run/vpnd/NAME/control.sock)\n"
	"  --state DIR            folder for where peers were last seen ($STATE_DIRECTORY, "
	"/var/lib/vpnd/NAME)\n"
	"  --log-level LEVEL      error, warn, info or debug\n"
	"  --log-format FORMAT    text or json\n";

static const struct option LONG_OPTIONS[] = {
	{"check", no_argument, NULL, OPT_CHECK},
	{"hold", no_argument, NULL, OPT_HOLD},
	{"release", no_argument, NULL, OPT_RELEASE},
	{"control", required_argument, NULL, OPT_CONTROL},
	{"state", required_argument, NULL, OPT_STATE},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"log-format", required_argument, NULL, OPT_LOG_FORMAT},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static int usage(const char *what)
{
	(void)fprintf(stderr, "vpnd: E-VPND-4 %s\n  see:  vpnd --help\n", what);
	return EXIT_STATUS_USAGE;
}

static int set_word(const char *option, const char *words, const char *value, int *ret)
{
	char text[160];
	int index = config_words_index(words, value);

	if (index >= 0) {
		*ret = index;
		return EXIT_STATUS_OK;
	}
	(void)snprintf(text, sizeof(text), "%s: \"%.40s\" is not one of %s", option, value, words);
	return usage(text);
}

static int set_copy(char **place, const char *value)
{
	free(*place);
	*place = strdup(value);
	return *place ? EXIT_STATUS_OK : EXIT_STATUS_OTHER;
}

static int set_option(int id, const char *value, struct options *o)
{
	switch (id) {
	case 'c':
		return set_copy(&o->file, value);
	case OPT_CHECK:
		o->check = true;
		return EXIT_STATUS_OK;
	case OPT_HOLD:
		o->hold = true;
		return EXIT_STATUS_OK;
	case OPT_RELEASE:
		o->release = true;
		return EXIT_STATUS_OK;
	case OPT_CONTROL:
		return set_copy(&o->control, value);
	case OPT_STATE:
		return *value ? set_copy(&o->state, value) : usage("--state: give a folder");
	case OPT_LOG_LEVEL:
		return set_word("--log-level", "error warn info debug", value, &o->log_level);
	case OPT_LOG_FORMAT:
		return set_word("--log-format", "text json", value, &o->log_format);
	case OPT_HELP:
		(void)fputs(USAGE, stdout);
		return -1;
	case OPT_VERSION:
		(void)puts("vpnd " KCPVPN_VERSION);
		return -1;
	default:
		return EXIT_STATUS_USAGE;
	}
}

/* What getopt_long() has to say, in our words. @id  '?' or ':' */
static int refuse(int id, char **argv)
{
	static const char WORDS[] =
		"--check --hold --release --control --state --log-level --log-format --help "
		"--version -c";
	const char *given = argv[optind - 1];
	char text[160], near[32];

	if (id == ':')
		(void)snprintf(text, sizeof(text), "%.60s: the value is missing", given);
	else if (optopt >= OPT_CHECK)
		(void)snprintf(text, sizeof(text), "%.60s: it takes no value", given);
	else if (optopt)
		(void)snprintf(text, sizeof(text), "unknown option \"-%c\"", optopt);
	else if (config_words_nearest(WORDS, given, near, sizeof(near)))
		(void)snprintf(text, sizeof(text), "unknown option \"%.60s\"; did you mean \"%s\"?",
			given, near);
	else
		(void)snprintf(text, sizeof(text), "unknown option \"%.60s\"", given);
	return usage(text);
}

int options_parse(int argc, char **argv, struct options *o)
{
	int id;

	_Static_assert(
		(int)LOG_LEVEL_ERROR == 0 && (int)LOG_LEVEL_DEBUG == 3, "words are in order");
	*o = (struct options){.log_level = -1, .log_format = -1, .passed_fd = -1};
	opterr = 0;
	while ((id = getopt_long(argc, argv, ":c:", LONG_OPTIONS, NULL)) != -1) {
		int status = id == '?' || id == ':' ? refuse(id, argv) : set_option(id, optarg, o);
		if (status != EXIT_STATUS_OK)
			return status;
	}
	if (o->check + o->hold + o->release > 1)
		return usage("give one of --check, --hold and --release");
	if (optind < argc && o->file)
		return usage("give either -c FILE or NAME");
	if (optind + 1 < argc)
		return usage("one network a process: give one NAME");
	if (optind < argc && config_default_path(argv[optind], &o->file) < 0)
		return usage("NAME is 1 to 63 letters, digits, '.', '_' and '-'; for a path use -c "
			     "FILE");
	return o->file ? EXIT_STATUS_OK : usage("give a NAME or -c FILE");
}

void options_fini(struct options *o)
{
	free(o->file);
	free(o->control);
	free(o->state);
	o->file = o->control = o->state = NULL;
}
