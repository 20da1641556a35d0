/*
 * key gen, key pub, key psk: no daemon needed. What a script wants, the public half, goes to stdout alone; what a person
 * should know beside it goes to stderr, and only where a person reads. Secrets go into files and nowhere else.
 */
#include "cli/command.h"
#include "cli/key.h"
#include "cli/output.h"

#include "core/err.h"

#include <errno.h>
#include <string.h>

enum {
	HINT_BYTES = CLI_PATH_BYTES + 160,
};

static int fail_name(const struct cli *cli, const char *verb, const char *path)
{
	if (strcmp(path, "-") == 0)
		return cli_fail(cli, EXIT_USAGE, "E-CLI-4",
			"a secret goes into a file, as  kcpctl key gen /etc/vpnd/office.key",
			"\"key %s\" writes a file, not \"-\"", verb);
	if (path[0] == '\0' || strlen(path) >= CLI_PATH_BYTES || path[strlen(path) - 1] == '/')
		return cli_fail(cli, EXIT_USAGE, "E-CLI-4",
			"such as  kcpctl key gen /etc/vpnd/office.key",
			"\"%.100s\" does not name a file", path);
	return EXIT_OK;
}

static int fail_write(const struct cli *cli, const char *verb, const char *path, int error)
{
	char hint[HINT_BYTES];
	const char *slash = strrchr(path, '/');
	int folder = slash ? (int)(slash - path) : 1;
	const char *dir = slash ? path : ".";

	switch (-error) {
	case EEXIST:
		(void)snprintf(hint, sizeof(hint),
			strcmp(verb, "gen") == 0
				? "its public half:  kcpctl key pub %s        or choose another "
				  "name"
				: "use it as it is, or choose another name than %s",
			path);
		return cli_fail(cli, EXIT_OTHER, "E-KEY-2", hint,
			"%s is there already and stays: a key is never overwritten", path);
	case ENOENT:
	case ENOTDIR:
		(void)snprintf(hint, sizeof(hint), "make it:  sudo mkdir -p %.*s",
			folder ? folder : 1, folder ? dir : "/");
		return cli_fail(cli, EXIT_OTHER, "E-KEY-1", hint,
			"cannot write %s: there is no folder %.*s", path, folder ? folder : 1,
			folder ? dir : "/");
	case EACCES:
	case EPERM:
		(void)snprintf(hint, sizeof(hint), "try:  sudo kcpctl key %s %s", verb, path);
		return cli_fail(cli, EXIT_PERMISSION, "E-KEY-1", hint,
			"cannot write %s: you may not write into %.*s", path, folder ? folder : 1,
			folder ? dir : "/");
	case EIO:
		return cli_fail(cli, EXIT_OTHER, "E-KEY-5", NULL,
			"cannot make a key: libsodium does not start, or the disk fails");
	default:
		return cli_fail(cli, EXIT_OTHER, "E-KEY-1",
			"nothing was left behind; choose a place that can be written",
			"cannot write %s: %s", path, err_str(error));
	}
}

/* @return an exit status */
static int put_public(const struct cli *cli, const char *path, const char *text)
{
	if (cli->options.json)
		return output_json_key(cli, path, text);
	if (text)
		(void)fprintf(cli->out, "%s\n", text);
	return EXIT_OK;
}

/* A person looks, and did not ask for silence. */
static bool wants_notes(const struct cli *cli)
{
	return cli->terminal && !(cli->options.given & OPTION_QUIET) && !cli->options.json;
}

int verb_key_gen(struct cli *cli, const char *const *args, int count)
{
	char text[CONFIG_KEY_TEXT_BYTES];
	int status = fail_name(cli, "gen", args[0]);

	(void)count;
	if (status)
		return status;
	int error = key_make(KEY_PRIVATE, args[0], text);
	if (error)
		return fail_write(cli, "gen", args[0], error);
	status = put_public(cli, args[0], text);
	if (wants_notes(cli)) {
		(void)fputs("The key is in ", cli->err);
		cli_put_text(cli->err, args[0]);
		(void)fputs(" and stays on this host: identity.private_key_file names it.\n"
			    "The line above is its public half, for the other side: "
			    "peers.NAME.public_key there.\n",
			cli->err);
	}
	return status;
}

int verb_key_psk(struct cli *cli, const char *const *args, int count)
{
	char text[CONFIG_KEY_TEXT_BYTES];
	int status = fail_name(cli, "psk", args[0]);

	(void)count;
	if (status)
		return status;
	int error = key_make(KEY_SHARED, args[0], text);
	if (error)
		return fail_write(cli, "psk", args[0], error);
	status = put_public(cli, args[0], NULL);
	if (wants_notes(cli)) {
		(void)fputs("The secret is in ", cli->err);
		cli_put_text(cli->err, args[0]);
		(void)fputs(". Copy it to the other side by a way that nobody can read, such as "
			    "scp;\npeers.NAME.preshared_key_file names it on both sides (or, for "
			    "all members, identity.network_key_file).\n",
			cli->err);
	}
	return status;
}

int verb_key_pub(struct cli *cli, const char *const *args, int count)
{
	const char *path = args[0];
	char text[CONFIG_KEY_TEXT_BYTES];
	char hint[HINT_BYTES];
	unsigned mode = 0;
	int error = key_read_public(path, text, &mode);

	(void)count;
	switch (-error) {
	case 0:
		break;
	case ENOENT:
		(void)snprintf(hint, sizeof(hint), "make it:  kcpctl key gen %.*s",
			(int)CLI_PATH_BYTES, path);
		return cli_fail(cli, EXIT_OTHER, "E-KEY-3", hint, "there is no file %.300s", path);
	case EACCES:
	case EPERM:
		(void)snprintf(hint, sizeof(hint), "try:  sudo kcpctl key pub %.*s",
			(int)CLI_PATH_BYTES, path);
		return cli_fail(
			cli, EXIT_PERMISSION, "E-KEY-3", hint, "you may not read %.300s", path);
	case EBADMSG:
		return cli_fail(cli, EXIT_OTHER, "E-KEY-4",
			"a key is 32 bytes in base64, one line of 44 characters that ends in =, as "
			"kcpctl key gen or wg genkey makes it",
			"%.300s holds no key", strcmp(path, "-") == 0 ? "standard input" : path);
	case EIO:
		return cli_fail(cli, EXIT_OTHER, "E-KEY-5", NULL,
			"libsodium does not start, or the disk fails");
	default:
		return cli_fail(cli, EXIT_OTHER, "E-KEY-3", NULL, "cannot read %.300s: %s", path,
			err_str(error));
	}
	if (mode & CONFIG_KEY_MODE_FORBIDDEN && !(cli->options.given & OPTION_QUIET)) {
		(void)fprintf(cli->err,
			"kcpctl: mode %04o is more than the 0640 that vpnd takes; use: "
			"chmod 0600 ",
			mode);
		cli_put_text(cli->err, path);
		(void)fputc('\n', cli->err);
	}
	return put_public(cli, path, text);
}
