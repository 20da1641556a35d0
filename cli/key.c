/*
 * Key files. A secret lives in memory that libsodium locks and wipes; it is written under a name of no meaning in the same
 * folder, flushed, and only then given its own name by a rename that refuses to replace. So a reader sees the whole key or
 * no file, a crash leaves no half of one, and an existing key is never lost.
 *
 * Standards: RFC 7748, section 5 (clamping); WireGuard's form of keys, which is base64 of 32 bytes on a line.
 */
#include "cli/key.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(crypto_scalarmult_BYTES == CONFIG_KEY_BYTES, "a point is a key");
_Static_assert(crypto_scalarmult_SCALARBYTES == CONFIG_KEY_BYTES, "a scalar is a key");

/* All that must not leak. */
struct secret {
	uint8_t key[CONFIG_KEY_BYTES];
	char text[CONFIG_KEY_TEXT_BYTES + 1]; /* with a line break */
	char input[CONFIG_KEY_FILE_MAX_BYTES + 1];
};

static struct secret *secret_new(void)
{
	if (sodium_init() < 0)
		return NULL;
	/* no core file may hold it */
	(void)prctl(PR_SET_DUMPABLE, 0);
	struct secret *secret = sodium_malloc(sizeof(*secret));
	if (secret)
		memset(secret, 0, sizeof(*secret));
	return secret;
}

static void public_text(const uint8_t key[CONFIG_KEY_BYTES], char text[CONFIG_KEY_TEXT_BYTES])
{
	uint8_t point[CONFIG_KEY_BYTES];

	(void)crypto_scalarmult_base(point, key);
	(void)config_key_format(point, text);
}

int key_public_half(void *ctx, const uint8_t private_key[CONFIG_KEY_BYTES],
	uint8_t ret_public_key[CONFIG_KEY_BYTES])
{
	(void)ctx;
	if (sodium_init() < 0 || crypto_scalarmult_base(ret_public_key, private_key))
		return -EIO;
	return 0;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* Some file systems know no rename that refuses to replace; a second link refuses as well. */
static int give_name(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (link(from, to) < 0)
		return -errno;
	(void)unlink(from);
	return 0;
}

/* The name is on disk, too. A file system that cannot promise it has not lost the key. */
static void sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	(void)close(fd);
}

static int write_new_file(const char *path, const char *data, size_t len)
{
	const char *slash = strrchr(path, '/');
	struct stat st;
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("./");
	char *draft = NULL;
	int error = -ENOMEM;

	if (!folder || asprintf(&draft, "%s.kcpctl-key-XXXXXX", folder) < 0)
		goto free_folder;
	error = -EEXIST;
	if (lstat(path, &st) == 0)
		goto free_draft;
	int fd = mkostemp(draft, O_CLOEXEC);
	error = fd < 0 ? -errno : 0;
	if (error)
		goto free_draft;
	if (fchmod(fd, 0600) < 0)
		error = -errno;
	if (!error)
		error = write_all(fd, data, len);
	if (close(fd) < 0 && !error)
		error = -errno;
	if (!error)
		error = give_name(draft, path);
	if (error)
		(void)unlink(draft);
	else
		sync_folder(folder);
free_draft:
	free(draft);
free_folder:
	free(folder);
	return error;
}

int key_make(enum key_kind kind, const char *path, char ret_public[CONFIG_KEY_TEXT_BYTES])
{
	struct secret *secret = secret_new();

	if (!secret)
		return -EIO;
	randombytes_buf(secret->key, sizeof(secret->key));
	if (kind == KEY_PRIVATE) {
		secret->key[0] &= 248;
		secret->key[31] = (uint8_t)((secret->key[31] & 127) | 64);
	}
	(void)config_key_format(secret->key, secret->text);
	secret->text[CONFIG_KEY_TEXT_BYTES - 1] = '\n';
	int error = write_new_file(path, secret->text, CONFIG_KEY_TEXT_BYTES);
	if (!error && kind == KEY_PRIVATE)
		public_text(secret->key, ret_public);
	sodium_free(secret);
	return error;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

/* Standard input up to its end. @return bytes, or a negative errno */
static ssize_t read_input(struct secret *secret)
{
	size_t len = 0;

	while (len < sizeof(secret->input)) {
		ssize_t n = read(STDIN_FILENO, secret->input + len, sizeof(secret->input) - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return (ssize_t)len;
		len += (size_t)n;
	}
	return -EBADMSG;
}

static int read_file(const char *path, struct secret *secret, unsigned *ret_mode)
{
	const struct config_reader *reader = config_reader_default();
	struct config_file_stat st = {0};
	char *data = NULL;
	size_t len = 0;
	int error = reader->read_file(
		reader->ctx, path, CONFIG_KEY_FILE_MAX_BYTES, CONFIG_READ_SECRET, &data, &len, &st);

	if (error)
		return error == -EFBIG ? -EBADMSG : error;
	*ret_mode = st.mode;
	error = config_key_parse_file(data, len, secret->key) ? -EBADMSG : 0;
	explicit_bzero(data, len);
	free(data);
	return error;
}

int key_read_public(const char *path, char ret_public[CONFIG_KEY_TEXT_BYTES], unsigned *ret_mode)
{
	struct secret *secret = secret_new();
	unsigned mode = 0;
	int error = 0;

	if (!secret)
		return -EIO;
	if (strcmp(path, "-") == 0) {
		ssize_t len = read_input(secret);
		if (len < 0)
			error = (int)len;
		else if (config_key_parse_file(secret->input, (size_t)len, secret->key))
			error = -EBADMSG;
	} else {
		error = read_file(path, secret, &mode);
	}
	if (!error) {
		public_text(secret->key, ret_public);
		*ret_mode = mode;
	}
	sodium_free(secret);
	return error;
}
