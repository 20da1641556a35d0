/*
 * kcpctl writes the file itself, with the rights of whoever calls it: the daemon reads its configuration and never writes it,
 * and who may order peers at run time need not be allowed to change files.
 *
 * The file comes into being under a name that `include` does not match, and is linked to its own when it is complete and on
 * disk; so neither a crash nor a reload at the same moment finds half of it, and nothing that stands there is overwritten.
 */
#include "cli/peer_file.h"

#include "control/control_error.h"

#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	FILE_MAX_BYTES = 1 << 20,
};

static const char HEADER[] =
	"# Written by kcpctl peer add --save; kcpctl peer del --save removes it.\n";

bool peer_file_path(const char *config_file, const char *name, char path[PEER_FILE_PATH_BYTES])
{
	const char *slash = strrchr(config_file, '/');
	int folder = slash ? (int)(slash - config_file) + 1 : 0;

	return snprintf(path, PEER_FILE_PATH_BYTES, "%.*speers.d/%s.yaml", folder, config_file,
		       name) < PEER_FILE_PATH_BYTES;
}

static int fail(const struct cli *cli, const char *path, const char *what, int error)
{
	int status = error == EACCES || error == EPERM ? EXIT_PERMISSION : EXIT_OTHER;

	return cli_fail(cli, status, CONTROL_CODE_PEER_FILE,
		error == EACCES ? "try it with sudo" : NULL, "cannot %s %.500s: %s", what, path,
		strerror(error));
}

/* @return the text, freed by the caller; NULL with errno set */
static char *read_whole(const char *path)
{
	char *text = NULL;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;
	ssize_t got = 0;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX_BYTES)
		text = malloc((size_t)st.st_size + 1);
	else
		errno = EINVAL;
	while (text && len < (size_t)st.st_size &&
		(got = read(fd, text + len, (size_t)st.st_size - len)) > 0)
		len += (size_t)got;
	if (text)
		text[len] = '\0';
	int error = errno;
	close(fd);
	errno = error;
	return text;
}

static int write_whole(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t put = write(fd, text, left);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		text += put;
		left -= (size_t)put;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* Makes the folder, a complete file in it, and its name. @return 0 or a negative errno */
static int put_file(const char *path, const char *text)
{
	char folder[PEER_FILE_PATH_BYTES];
	char hidden[PEER_FILE_PATH_BYTES + 16];
	int error;

	memcpy(folder, path, strlen(path) + 1);
	*strrchr(folder, '/') = '\0';
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return -errno;
	(void)snprintf(hidden, sizeof(hidden), "%s/.new-XXXXXX", folder);
	int fd = mkostemp(hidden, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = fchmod(fd, 0644) < 0 ? -errno : write_whole(fd, text);
	close(fd);
	if (!error && link(hidden, path) < 0)
		error = -errno;
	(void)unlink(hidden);
	return error;
}

int peer_file_write(
	const struct cli *cli, const char *path, const struct config_draft *draft, bool *ret_made)
{
	char *peers = NULL, *text = NULL, *there = NULL;
	int status = EXIT_OK;

	*ret_made = false;
	if (config_peers_write(draft, 1, &peers) || asprintf(&text, "%s%s", HEADER, peers) < 0) {
		free(peers);
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	}
	int error = put_file(path, text);
	if (error == -EEXIST && (there = read_whole(path)) != NULL && strcmp(there, text) == 0)
		error = 0;
	else if (error == 0)
		*ret_made = true;
	if (error == -EEXIST)
		status = cli_fail(cli, EXIT_OTHER, CONTROL_CODE_PEER_FILE,
			"change that file, then: kcpctl reload", "%.500s says something else",
			path);
	else if (error)
		status = fail(cli, path, "write", -error);
	free(there);
	free(text);
	free(peers);
	return status;
}

/* As written by kcpctl, and with this one peer. */
static bool is_ours(const char *text, const char *name)
{
	size_t peers = 0;
	bool named = false;

	if (strncmp(text, HEADER, sizeof(HEADER) - 1) != 0)
		return false;
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, "  ", 2) != 0 || line[2] == ' ' || !line[2] || line[2] == '\n')
			continue;
		const char *key = line + 2 + (line[2] == '"');
		peers++;
		named |= strncmp(key, name, strlen(name)) == 0 &&
			 (key[strlen(name)] == ':' || key[strlen(name)] == '"');
	}
	return named && peers == 1;
}

int peer_file_remove(const struct cli *cli, const char *path, const char *name, bool *ret_removed)
{
	char *text = read_whole(path);

	*ret_removed = false;
	if (!text)
		return errno == ENOENT || errno == ENOTDIR ? EXIT_OK
							   : fail(cli, path, "read", errno);
	bool ours = is_ours(text, name);
	free(text);
	if (!ours)
		return cli_fail(cli, EXIT_OTHER, CONTROL_CODE_PEER_FILE,
			"take the peer out of it by hand, then: kcpctl reload",
			"%.500s was not written by kcpctl, or holds more than this peer", path);
	if (unlink(path) < 0)
		return fail(cli, path, "remove", errno);
	*ret_removed = true;
	return EXIT_OK;
}
