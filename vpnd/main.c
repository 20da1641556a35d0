/* vpnd: one process, one network, one YAML file. See daemon.h for what it is made of. */
#include "config/config.h"
#include "vpnd/daemon.h"
#include "vpnd/logger.h"
#include "vpnd/options.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Reads the configuration; all that is wrong with it goes to stderr. */
static int load(const struct options *options, struct config **ret_config)
{
	struct config_report *report = calloc(1, sizeof(*report));
	char *text = NULL;

	if (!report) {
		(void)fprintf(stderr, "vpnd: E-VPND-2 out of memory\n");
		return EXIT_STATUS_OTHER;
	}
	int error = config_load(options->file, NULL, ret_config, report);
	if (config_report_format(report, "vpnd", &text) == 0)
		(void)fputs(text, stderr);
	free(text);
	bool forbidden = report->read_error == -EACCES || report->read_error == -EPERM;
	free(report);
	if (error == 0)
		return EXIT_STATUS_OK;
	return forbidden ? EXIT_STATUS_PERMISSION : EXIT_STATUS_CONFIG;
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

	fill_standard_streams();
	(void)signal(SIGPIPE,
		SIG_IGN); /* a control client or a log that went away is no reason to die */
	int status = options_parse(argc, argv, &options);
	if (status != EXIT_STATUS_OK)
		goto free_options;
	status = load(&options, &config);
	if (status != EXIT_STATUS_OK || options.check)
		goto free_config;
	logger = malloc(sizeof(*logger));
	if (!logger) {
		status = EXIT_STATUS_OTHER;
		goto free_config;
	}
	logger_init(logger);
	status = daemon_new(&options, logger, config, &daemon);
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
