/*
 * Reading files: the one place of this layer that touches the file system, for programs that have no
 * ops of their own. Nothing here blocks on a device: only regular files and pipes (`<(...)`) are
 * read, up to a bound.
 */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, size_t max, char **ret_data, size_t *ret_len)
{
	size_t capacity = 4096;
	size_t len = 0;
	char *data = malloc(capacity);

	while (data) {
		ssize_t n = read(fd, data + len, capacity - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int error = -errno;
			explicit_bzero(data, len);
			free(data);
			return error;
		}
		len += (size_t)n;
		if (n == 0 || len > max)
			break;
		if (len < capacity)
			continue;
		/* not realloc: it would leave a copy of what may be a key */
		char *grown = malloc(2 * capacity);
		if (grown)
			memcpy(grown, data, len);
		explicit_bzero(data, len);
		free(data);
		data = grown;
		capacity *= 2;
	}
	if (!data)
		return -ENOMEM;
	if (len > max) {
		explicit_bzero(data, len);
		free(data);
		return -EFBIG;
	}
	*ret_data = data;
	*ret_len = len;
	return 0;
}

static int file_read(void *ctx, const char *path, size_t max, char **ret_data, size_t *ret_len,
	unsigned *ret_mode)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int error = 0;

	(void)ctx;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		error = -errno;
	else if (S_ISDIR(st.st_mode))
		error = -EISDIR;
	else if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		error = -EINVAL;
	else if (fcntl(fd, F_SETFL, 0) < 0)
		error = -errno;
	if (!error)
		error = read_all(fd, max, ret_data, ret_len);
	if (!error)
		/* the modes of a pipe say nothing about who can read it */
		*ret_mode = S_ISREG(st.st_mode) ? st.st_mode & 07777 : 0;
	(void)close(fd);
	return error;
}

/* A folder that is not there holds no file; one that cannot be read might. @return 1 ends the search */
static int on_glob_error(const char *path, int error)
{
	(void)path;
	return error != ENOENT && error != ENOTDIR;
}

static int file_glob(void *ctx, const char *pattern, char ***ret_paths, size_t *ret_count)
{
	glob_t found = {0};
	int result = glob(pattern, 0, on_glob_error, &found);
	char **paths = NULL;

	(void)ctx;
	if (result == GLOB_NOMATCH) {
		*ret_paths = NULL;
		*ret_count = 0;
		return 0;
	}
	if (result)
		return result == GLOB_NOSPACE ? -ENOMEM : -EACCES;
	paths = calloc(found.gl_pathc, sizeof(*paths));
	if (!paths)
		goto free_found;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		paths[i] = strdup(found.gl_pathv[i]);
		if (!paths[i])
			goto free_paths;
	}
	*ret_paths = paths;
	*ret_count = found.gl_pathc;
	globfree(&found);
	return 0;

free_paths:
	for (size_t i = 0; i < found.gl_pathc; i++)
		free(paths[i]);
	free(paths);
free_found:
	globfree(&found);
	return -ENOMEM;
}

const struct config_file_ops *config_file_ops_default(void)
{
	static const struct config_file_ops OPS = {.read = file_read, .glob = file_glob};

	return &OPS;
}

const struct config_file_ops *config_file_ops_no_secrets(void)
{
	static const struct config_file_ops OPS = {
		.read = file_read, .glob = file_glob, .skip_secrets = true};

	return &OPS;
}
