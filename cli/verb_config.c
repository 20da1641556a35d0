/*
 * config check, config show, config schema: the daemon's own parser on a file, without the daemon. Which file: FILE, else that of the
 * network, else the only one in /etc/vpnd.
 */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/key.h"
#include "cli/output.h"

#include "config/config.h"
#include "core/err.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	NAMES_BYTES = 400,
};

static bool is_config_name(const char *entry)
{
	size_t len = strlen(entry);

	return entry[0] != '.' && len > 5 && !strcmp(entry + len - 5, ".yaml");
}

static int choose_only(const struct cli *cli, char path[CLI_PATH_BYTES])
{
	DIR *dir = opendir(cli->etc_dir);
	const struct dirent *entry;
	char names[NAMES_BYTES] = "";
	int found = 0;

	while (dir && (entry = readdir(dir)) != NULL) {
		if (!is_config_name(entry->d_name))
			continue;
		found++;
		(void)snprintf(path, CLI_PATH_BYTES, "%s/%s", cli->etc_dir, entry->d_name);
		size_t used = strlen(names);
		(void)snprintf(names + used, sizeof(names) - used, "%s%.*s", used ? ", " : "",
			(int)strlen(entry->d_name) - 5, entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (found == 1)
		return EXIT_OK;
	if (found > 1)
		return cli_fail(cli, EXIT_USAGE, "E-CLI-3",
			"choose one:  kcpctl -n NETWORK config ...",
			"there are several networks: %s", names);
	return cli_fail(cli, EXIT_NOT_FOUND, "E-CONN-5", "name a file:  kcpctl config check FILE",
		"no network is configured in %s", cli->etc_dir);
}

static int choose_file(
	const struct cli *cli, const char *const *args, int count, char path[CLI_PATH_BYTES])
{
	const char *network = cli->options.network;

	if (count) {
		if ((size_t)snprintf(path, CLI_PATH_BYTES, "%s", args[0]) >= CLI_PATH_BYTES)
			return cli_fail(
				cli, EXIT_USAGE, "E-CLI-4", NULL, "the file's name is too long");
		return EXIT_OK;
	}
	if (!network)
		return choose_only(cli, path);
	if (!client_network_name_ok(network))
		return cli_fail(cli, EXIT_USAGE, "E-CLI-4", NULL,
			"\"%s\" is not the name of a network", network);
	client_config_path(cli, network, path);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return cli_fail(cli, EXIT_NOT_FOUND, "E-CONN-5", NULL,
			"no network \"%s\": there is no %s", network, path);
	return EXIT_OK;
}

static int put_report(const struct cli *cli, const struct config_report *report)
{
	char *text = NULL;

	if (config_report_format(report, "kcpctl", &text))
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	cli_put_report(cli->err, text);
	free(text);
	return EXIT_OK;
}

/* Loads; tells what is wrong. @return EXIT_OK and a configuration, or the exit status */
static int load(const struct cli *cli, const char *path, const struct config_reader *reader,
	struct config **ret_config, struct config_report *report)
{
	int rc = config_load(path, reader, ret_config, report);
	int status = EXIT_OK;

	if (rc && rc != -ERR_CONFIG)
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "%s: %s", path, err_str(rc));
	if (report->error_count || !(cli->options.given & OPTION_QUIET))
		status = put_report(cli, report);
	if (!rc)
		return status;
	return report->read_error == -EACCES || report->read_error == -EPERM ? EXIT_PERMISSION
									     : EXIT_CONFIG;
}

int verb_config_check(struct cli *cli, const char *const *args, int count)
{
	char path[CLI_PATH_BYTES];
	struct config *config = NULL;
	struct config_report *report;
	int status = choose_file(cli, args, count, path);
	int json_status;

	if (status)
		return status;
	report = calloc(1, sizeof(*report));
	if (!report)
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	struct config_reader reader = *config_reader_default();
	reader.public_half = key_public_half;
	status = load(cli, path, &reader, &config, report);
	if (cli->options.json) {
		json_status = output_json_report(cli, path, report);
		status = status ? status : json_status;
	} else if (!status && !(cli->options.given & OPTION_QUIET)) {
		cli_put_text(cli->out, path);
		(void)fputs(": ok\n", cli->out);
	}
	config_free(config);
	free(report);
	return status;
}

int verb_config_show(struct cli *cli, const char *const *args, int count)
{
	char path[CLI_PATH_BYTES];
	struct config *config = NULL;
	struct config_report *report;
	char *text = NULL;
	int status = choose_file(cli, args, count, path);

	if (status)
		return status;
	report = calloc(1, sizeof(*report));
	if (!report)
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	status = load(cli, path, config_reader_no_secrets(), &config, report);
	bool effective = (cli->options.given & OPTION_EFFECTIVE) != 0;
	if (!status && (cli->options.json ? config_show_json(config, effective, &text)
					  : config_show(config, effective, &text)))
		status = cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	if (!status)
		cli_put_report(cli->out, text);
	free(text);
	config_free(config);
	free(report);
	return status;
}

int verb_config_schema(struct cli *cli, const char *const *args, int count)
{
	(void)args;
	(void)count;
	return cli->options.given & OPTION_STATUS ? output_schema_status(cli)
						  : output_schema_config(cli);
}
