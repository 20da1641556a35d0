/*
 * doctor: looks at everything that a tunnel stands on, one check after the other, each on its own, and says what is wrong and
 * what to do (the help of the finding's code). It changes nothing, and works with and without a daemon, with and without root;
 * what it cannot see it says so.
 */
#include "cli/doctor.h"

#include "cli/client.h"
#include "cli/command.h"
#include "cli/key.h"
#include "cli/output.h"
#include "control/control_code.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void doctor_add(struct doctor *d, enum doctor_level level, const char *code, const char *check,
	const char *format, ...)
{
	va_list args;

	if (d->count == DOCTOR_FINDINGS_MAX) {
		d->lost++;
		return;
	}
	struct doctor_finding *f = &d->findings[d->count++];
	f->level = level;
	f->code = code;
	f->check = check;
	va_start(args, format);
	(void)vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
}

size_t doctor_found(const struct doctor *d, const char *check)
{
	size_t found = 0;

	for (size_t i = 0; i < d->count; i++)
		found += d->findings[i].level != DOCTOR_OK && !strcmp(d->findings[i].check, check);
	return found;
}

/* ---- the report ---------------------------------------------------------------------------------------------- */

static const char *help_of(const char *code)
{
	size_t count;
	const struct control_code_row *rows = control_codes(&count);

	for (size_t i = 0; i < count; i++) {
		if (!strcmp(rows[i].code, code))
			return rows[i].help;
	}
	return "";
}

static const char *level_str(enum doctor_level level)
{
	static const char *const names[] = {"problem", "warning", "unknown", "ok"};

	return names[level];
}

static void put_finding(const struct cli *cli, const struct doctor_finding *f, bool explain)
{
	static const char *const colours[] = {"\033[31m", "\033[33m", "\033[2m", "\033[32m"};

	(void)fprintf(cli->out, "%s%-8s%s %-9s ", cli->options.color ? colours[f->level] : "",
		level_str(f->level), cli->options.color ? "\033[0m" : "", f->code ? f->code : "-");
	cli_put_text(cli->out, f->text);
	(void)fputc('\n', cli->out);
	if (!explain)
		return;
	/* wrapped at words, behind the columns above */
	int column = 0;
	for (const char *word = help_of(f->code); *word;) {
		int len = (int)strcspn(word, " ");
		if (column && column + len > 76) {
			(void)fputc('\n', cli->out);
			column = 0;
		}
		(void)fprintf(cli->out, column ? " %.*s" : "                   %.*s", len, word);
		column += len + 1;
		word += len + (word[len] == ' ');
	}
	(void)fputc('\n', cli->out);
}

/* True if the next finding that is shown has the same code: what to do is said once, below the last. */
static bool said_below(const struct doctor *d, size_t i)
{
	for (size_t k = i + 1; k < d->count; k++) {
		if (d->findings[k].level == d->findings[i].level && d->findings[k].code &&
			!strcmp(d->findings[k].code, d->findings[i].code))
			return true;
	}
	return false;
}

int doctor_report(const struct doctor *d)
{
	const struct cli *cli = d->cli;
	size_t counts[DOCTOR_OK + 1] = {0};

	for (size_t i = 0; i < d->count; i++)
		counts[d->findings[i].level]++;
	if (cli->options.json) {
		int status = output_json_doctor(cli, d);
		if (status)
			return status;
	} else {
		for (int level = DOCTOR_PROBLEM; level <= DOCTOR_OK; level++) {
			bool quiet = (cli->options.given & OPTION_QUIET) && level != DOCTOR_PROBLEM;
			for (size_t i = 0; !quiet && i < d->count; i++) {
				const struct doctor_finding *f = &d->findings[i];
				if ((int)f->level == level)
					put_finding(cli, f, f->code && !said_below(d, i));
			}
		}
		(void)fprintf(cli->out, "%zu problem%s, %zu warning%s, %zu not known, %zu fine\n",
			counts[DOCTOR_PROBLEM], counts[DOCTOR_PROBLEM] == 1 ? "" : "s",
			counts[DOCTOR_WARNING], counts[DOCTOR_WARNING] == 1 ? "" : "s",
			counts[DOCTOR_UNKNOWN], counts[DOCTOR_OK]);
		if (d->lost)
			(void)fprintf(cli->out, "%zu more are not shown\n", d->lost);
	}
	return counts[DOCTOR_PROBLEM] ? EXIT_OTHER : EXIT_OK;
}

/* ---- the case ------------------------------------------------------------------------------------------------ */

/* The daemon's status, if one answers; nothing is told if not. */
static bool ask_daemon(const struct cli *cli, struct control_status *ret_status)
{
	struct cli quiet = *cli;
	struct control_request request = {.method = CONTROL_STATUS};
	struct control_answer answer;
	struct client client;
	bool got = false;

	quiet.err = fopen("/dev/null", "w");
	if (!quiet.err)
		return false;
	quiet.deadline_ms = cli_now_ms() + 3000;
	if (client_open(&quiet, &client) == EXIT_OK) {
		if (client_call(&client, &request, &answer) == EXIT_OK) {
			got = control_status_from_json(answer.result, ret_status) == 0;
			control_answer_fini(&answer);
		}
		client_close(&client);
	}
	(void)fclose(quiet.err);
	return got;
}

/* The only file in /etc/vpnd; "" if there is none, or several. */
static void find_only(const struct cli *cli, char path[CLI_PATH_BYTES])
{
	DIR *dir = opendir(cli->etc_dir);
	const struct dirent *entry;
	int found = 0;

	while (dir && (entry = readdir(dir)) != NULL) {
		size_t len = strlen(entry->d_name);
		if (entry->d_name[0] == '.' || len <= 5 || strcmp(entry->d_name + len - 5, ".yaml"))
			continue;
		found++;
		(void)snprintf(path, CLI_PATH_BYTES, "%s/%s", cli->etc_dir, entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (found != 1)
		path[0] = '\0';
}

static void find_file(const struct cli *cli, const char *given, const struct control_status *status,
	char path[CLI_PATH_BYTES])
{
	path[0] = '\0';
	if (given)
		(void)snprintf(path, CLI_PATH_BYTES, "%s", given);
	else if (status && status->config.file)
		(void)snprintf(path, CLI_PATH_BYTES, "%s", status->config.file);
	else if (cli->options.network && client_network_name_ok(cli->options.network))
		client_config_path(cli, cli->options.network, path);
	else
		find_only(cli, path);
}

/* Below it NETWORK/control.sock of all networks stand: usually /run/vpnd, else where --control has it. */
static void find_sockets(struct doctor *d)
{
	const char *control = d->cli->options.control;

	(void)snprintf(d->sockets, sizeof(d->sockets), "%s", control ? control : d->cli->run_dir);
	for (int i = 0; control && i < 2; i++) {
		char *slash = strrchr(d->sockets, '/');
		if (slash && slash != d->sockets)
			*slash = '\0';
	}
}

static struct config *load(struct doctor *d, const char *path)
{
	struct config_report *report = calloc(1, sizeof(*report));
	struct config_reader reader = *config_reader_default();
	struct config *config = NULL;
	char code[16];

	if (!report || !*path) {
		free(report);
		return NULL;
	}
	reader.public_half = key_public_half;
	int rc = config_load(path, &reader, &config, report);
	if (rc && (report->read_error == -EACCES || report->read_error == -EPERM) && !d->root) {
		/* what needs no key can be looked at all the same */
		doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "config",
			"%s or a key file cannot be read without root", path);
		(void)config_load(path, config_reader_no_secrets(), &config, report);
		free(report);
		return config;
	}
	for (size_t i = 0; i < report->error_count; i++) {
		const struct config_finding *f = &report->errors[i];
		doctor_add(d, DOCTOR_PROBLEM, f->number == CONFIG_E_MODE ? "E-DOC-12" : "E-DOC-3",
			"config", "%s:%u: %s %s", f->file, f->line, config_finding_code(f, code),
			f->text);
	}
	for (size_t i = 0; i < report->warning_count; i++) {
		const struct config_finding *f = &report->warnings[i];
		if (f->number == CONFIG_W_KEY_READABLE || f->number == CONFIG_W_FILE_WRITABLE)
			doctor_add(d, DOCTOR_WARNING, "E-DOC-12", "config", "%s: %s %s", f->file,
				config_finding_code(f, code), f->text);
	}
	if (!config) /* what is wrong with keys does not keep the rest from being looked at */
		(void)config_load(path, config_reader_no_secrets(), &config, report);
	else if (!doctor_found(d, "config"))
		doctor_add(d, DOCTOR_OK, NULL, "config", "%s is valid, and key files are private",
			path);
	free(report);
	return config;
}

static void check_all(struct doctor *d)
{
	static void (*const checks[])(struct doctor *) = {
		doctor_check_tun,
		doctor_check_capability,
		doctor_check_clock,
		doctor_check_ports,
		doctor_check_firewall,
		doctor_check_rp_filter,
		doctor_check_addresses,
		doctor_check_routes,
		doctor_check_rules,
		doctor_check_endpoints,
		doctor_check_twins,
		doctor_check_daemon,
		doctor_check_paths,
	};

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		checks[i](d);
}

int verb_doctor(struct cli *cli, const char *const *args, int count)
{
	struct control_status status;
	struct doctor d = {.cli = cli, .root = geteuid() == 0};
	char file[CLI_PATH_BYTES];

	d.findings = calloc(DOCTOR_FINDINGS_MAX, sizeof(*d.findings));
	if (!d.findings)
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	bool runs = ask_daemon(cli, &status);
	d.status = runs ? &status : NULL;
	find_file(cli, count ? args[0] : NULL, d.status, file);
	find_sockets(&d);
	d.file = file;
	struct config *config = load(&d, file);
	d.config = config;
	check_all(&d);
	int exit_status = doctor_report(&d);
	config_free(config);
	if (runs)
		control_status_fini(&status);
	free(d.findings);
	return exit_status;
}
