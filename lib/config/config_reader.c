/*
 * The default reader: the one place of this layer that touches the file system, for programs that have
 * no reader of their own. Nothing here blocks on a device or waits for a writer: only regular files are
 * read, up to a bound. Symbolic links are followed, because credentials and configuration management
 * use them; what counts is the file that was opened, so modes are those of the descriptor. But whoever can lay a link into
 * a folder of this configuration could have any file read that root can read, and quoted in a message: links of others, and
 * in folders of others, are refused before a byte is read.
 *
 * Who can change a file can change what runs as root, if it may name programs. So with a file comes a judgement, as sshd has
 * one for its keys: the file, and each folder up to the root, belongs to root or to the user who asks, and nobody else may
 * write there.
 */
#include "config/config_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
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

static bool is_ours(const struct stat *st)
{
	return st->st_uid == 0 || st->st_uid == geteuid();
}

/* @path  absolute, without links; cut on the way up */
static bool folders_are_ours(char *path)
{
	struct stat st;

	for (char *slash; (slash = strrchr(path, '/')) != NULL;) {
		slash[slash == path] = '\0'; /* the root keeps its own */
		if (stat(path, &st) < 0)
			return false;
		if (!is_ours(&st) || (st.st_mode & (S_IWGRP | S_IWOTH) && !(st.st_mode & S_ISVTX)))
			return false;
		if (slash == path)
			break;
	}
	return true;
}

/* Where the name stands, which may be another place than where the file is. */
static bool link_is_ours(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct stat st;
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	char *real = folder ? realpath(folder, NULL) : NULL;
	char *inside = NULL;
	bool ours = lstat(path, &st) == 0 && is_ours(&st) && real &&
		    asprintf(&inside, "%s/x", real) > 0 && folders_are_ours(inside);

	if (real)
		free(inside);
	free(real);
	free(folder);
	return ours;
}

static bool is_link(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

enum config_exposure config_path_exposure(const char *path)
{
	enum config_exposure exposure = CONFIG_EXPOSED_NOT;
	struct stat st;
	char *real = realpath(path, NULL);

	if (!real)
		return CONFIG_EXPOSED_NOT;
	if (stat(real, &st) < 0)
		exposure = CONFIG_EXPOSED_FOLDER; /* it has just gone */
	else if (!is_ours(&st))
		exposure = CONFIG_EXPOSED_OWNER;
	else if (st.st_mode & (S_IWGRP | S_IWOTH))
		exposure = CONFIG_EXPOSED_MODE;
	else if (!folders_are_ours(real) || (is_link(path) && !link_is_ours(path)))
		exposure = CONFIG_EXPOSED_FOLDER;
	free(real);
	return exposure;
}

const char *config_exposure_str(enum config_exposure exposure)
{
	switch (exposure) {
	case CONFIG_EXPOSED_OWNER:
		return "it belongs to another user than root";
	case CONFIG_EXPOSED_MODE:
		return "others than its owner may write it";
	case CONFIG_EXPOSED_FOLDER:
		return "others than root may write a folder on the way to it";
	case CONFIG_EXPOSED_NOT:
		break;
	}
	return "nobody else may write it";
}

static enum config_exposure default_exposure(void *ctx, const char *path)
{
	(void)ctx;
	return config_path_exposure(path);
}

/* "credential:NAME" as a path. @return 0, -ENOENT without a folder, -ENAMETOOLONG */
static int find_file(const char *path, char buffer[CONFIG_READER_PATH_BYTES], const char **ret_path)
{
	static const size_t prefix = sizeof(CONFIG_CREDENTIAL_PREFIX) - 1;

	if (strncmp(path, CONFIG_CREDENTIAL_PREFIX, prefix) != 0) {
		*ret_path = path;
		return 0;
	}
	const char *folder = secure_getenv("CREDENTIALS_DIRECTORY");
	if (!folder || folder[0] != '/')
		return -ENOENT;
	int len = snprintf(buffer, CONFIG_READER_PATH_BYTES, "%s/%s", folder, path + prefix);
	if (len < 0 || len >= CONFIG_READER_PATH_BYTES)
		return -ENAMETOOLONG;
	*ret_path = buffer;
	return 0;
}

static int default_read_file(void *ctx, const char *path, size_t max_bytes, unsigned flags,
	char **ret_data, size_t *ret_len, struct config_file_stat *ret_stat)
{
	char buffer[CONFIG_READER_PATH_BYTES];
	struct stat st;
	int error = find_file(path, buffer, &path);

	(void)ctx, (void)flags;
	if (error)
		return error;
	if (is_link(path) && !link_is_ours(path))
		return -ELOOP;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		error = -errno;
	else if (S_ISDIR(st.st_mode))
		error = -EISDIR;
	else if (!S_ISREG(st.st_mode)) /* a pipe without a writer would never end */
		error = -EINVAL;
	if (!error)
		error = read_all(fd, max_bytes, ret_data, ret_len);
	if (!error) {
		*ret_stat = (struct config_file_stat){
			.regular = true,
			.mode = st.st_mode & 07777,
			.exposure = config_path_exposure(path),
		};
	}
	(void)close(fd);
	return error;
}

/* A folder that is not there holds no file; one that cannot be read might. @return 1 ends the search */
static int on_glob_error(const char *path, int error)
{
	(void)path;
	return error != ENOENT && error != ENOTDIR;
}

static int default_list_files(void *ctx, const char *pattern, char ***ret_paths, size_t *ret_count)
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

const struct config_reader *config_reader_default(void)
{
	static const struct config_reader READER = {.read_file = default_read_file,
		.list_files = default_list_files,
		.exposure = default_exposure};

	return &READER;
}

const struct config_reader *config_reader_no_secrets(void)
{
	static const struct config_reader READER = {.read_file = default_read_file,
		.list_files = default_list_files,
		.exposure = default_exposure,
		.skip_secrets = true};

	return &READER;
}
