/* vpnd: one process, one network, one YAML file. See daemon.h for what it is made of. */
#include "config/config.h"
#include "vpnd/daemon.h"
#include "vpnd/fault.h"
#include "vpnd/full_tunnel.h"
#include "vpnd/key_reader.h"
#include "vpnd/logger.h"
#include "vpnd/netlink.h"
#include "vpnd/options.h"
#include "vpnd/passed_socket.h"
#include "vpnd/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Reads the configuration; all that is wrong with it goes to stderr. First without the power to read everybody's files,
 * which the helper is to have for reloads only if it takes that.
 */
static int load(const struct options *options, struct config **ret_config, unsigned *ret_extra)
{
	struct config_report *report = calloc(1, sizeof(*report));
	char *text = NULL;

	if (!report) {
		(void)fprintf(stderr, "vpnd: E-VPND-2 out of memory\n");
		return EXIT_STATUS_OTHER;
	}
	const struct config_reader *reader =
		options->hold || options->release ? config_reader_no_secrets() : key_reader();
	bool hidden = privileges_hide_reading(true);
	int error = config_load(options->file, reader, ret_config, report);
	if (hidden) {
		(void)privileges_hide_reading(false);
		if (error < 0) {
			error = config_load(options->file, reader, ret_config, report);
			*ret_extra |= PRIVILEGES_READ_FILES;
		}
	}
	if (config_report_format(report, "vpnd", &text) == 0)
		(void)fputs(text, stderr);
	free(text);
	bool forbidden = report->read_error == -EACCES || report->read_error == -EPERM;
	free(report);
	if (error == 0)
		return EXIT_STATUS_OK;
	return forbidden ? EXIT_STATUS_PERMISSION : EXIT_STATUS_CONFIG;
}

static void print_fault(const struct fault *fault)
{
	(void)fprintf(stderr, "vpnd: %s %s\n", fault->code, fault->text);
	if (fault->hint[0])
		(void)fprintf(stderr, "  %s\n", fault->hint);
}

/* What the manager says about itself is for one start; `--check` is none. */
static int take_passed(struct options *options)
{
	struct fault fault = {0};

	if (passed_socket_take(&options->passed_fd, &fault) == 0)
		return EXIT_STATUS_OK;
	print_fault(&fault);
	return EXIT_STATUS_OTHER;
}

static int begin(struct privileges *privileges, const struct config *config, unsigned extra)
{
	struct fault fault = {0};

	if (privileges_begin(privileges, &fault) < 0) {
		print_fault(&fault);
		return EXIT_STATUS_PERMISSION;
	}
	privileges->extra = extra;
	for (size_t i = 0; i < config->listen.count; i++) {
		if (config->listen.items[i].port < PRIVILEGES_PORT_MIN)
			privileges->extra |= PRIVILEGES_LOW_PORTS;
	}
	return EXIT_STATUS_OK;
}

/*
 * The kill switch alone: before there is a daemon (at boot, in front of the network), or to lift what one left behind. While a
 * daemon runs `kcpctl down` is the word: it would put back what --release removes.
 */
static int hold(const struct config *config, bool on)
{
	struct full_tunnel tunnel = {.ifindex = (int)if_nametoindex(config->interface.name)};
	struct fault fault = {0};

	if (on && config->full_tunnel.mode != CONFIG_FULL_TUNNEL_KILL_SWITCH)
		return EXIT_STATUS_OK;
	int error = netlink_new(&tunnel.netlink, &fault);
	if (!error)
		error = full_tunnel_apply(&tunnel, config, on, NULL, &fault);
	netlink_free(tunnel.netlink);
	if (!error)
		return EXIT_STATUS_OK;
	print_fault(&fault);
	return error == -EPERM || error == -EACCES ? EXIT_STATUS_PERMISSION : EXIT_STATUS_OTHER;
}

/* Whoever cannot mend the file must still get the network back; by the file's name the rules are known, if it is the network's. */
static int release_unread(const struct options *options)
{
	static const char TEXT[] = "version: 1\nidentity: {private_key_file: none}\n";
	struct config_report *report = calloc(1, sizeof(*report));
	struct config *config = NULL;
	int status = EXIT_STATUS_CONFIG;

	if (report && config_parse_text(
			      options->file, TEXT, sizeof(TEXT) - 1, NULL, &config, report) == 0)
		status = hold(config, false);
	config_free(config);
	free(report);
	return status;
}

/* Standard streams that were closed are opened on nothing, or a socket would become one of them. */
static void fill_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		(void)close(fd);
}

int main(int argc, char **argv)
{
	struct options options;
	struct config *config = NULL;
	struct logger *logger = NULL;
	struct daemon *daemon = NULL;
	struct privileges privileges = {0};
	unsigned extra = 0;

	fill_standard_streams();
	(void)signal(SIGPIPE,
		SIG_IGN); /* a control client or a log that went away is no reason to die */
	int status = options_parse(argc, argv, &options);
	if (status != EXIT_STATUS_OK)
		goto free_options;
	status = take_passed(&options);
	if (status != EXIT_STATUS_OK)
		goto free_options;
	status = load(&options, &config, &extra);
	if (status == EXIT_STATUS_CONFIG && options.release) {
		status = release_unread(&options);
		goto free_config;
	}
	if (status != EXIT_STATUS_OK || options.check)
		goto free_config;
	if (options.hold || options.release) {
		status = hold(config, options.hold);
		goto free_config;
	}
	status = begin(&privileges, config, extra);
	if (status != EXIT_STATUS_OK)
		goto free_config;
	logger = malloc(sizeof(*logger));
	if (!logger) {
		status = EXIT_STATUS_OTHER;
		goto free_config;
	}
	logger_init(logger);
	status = daemon_new(&options, &privileges, logger, config, &daemon);
	config = NULL;
	if (status == EXIT_STATUS_OK)
		status = daemon_run(daemon);
	daemon_free(daemon);
	logger_fini(logger);
	free(logger);
free_config:
	config_free(config);
free_options:
	options_fini(&options);
	return status < 0 ? EXIT_STATUS_OK : status;
}
