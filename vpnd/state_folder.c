/*
 * The folder is opened first and then looked at by its descriptor, never by its name again: who may write above it could
 * exchange it in between. The same holds for the files in it: while they are handed over the folder is root's, so that
 * nobody exchanges them, and each is looked at and given by one descriptor. The folder is given away only if it is known to be for this: the worker's already, or root's or
 * nobody's (there was no user `vpnd` then) with nothing in it but files of states. Service managers give it back to root
 * before each start, so this is what happens every time. Any other is left as it is: --state /etc must not give /etc
 * away.
 */
#include "vpnd/state_folder.h"

#include "vpnd/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	FOLDER_MODE = 0700,
	PARENT_MODE = 0755, /* of /var/lib/vpnd, which holds one folder a network */
};

int state_folder_path(
	const char *option, const char *network, char ret_path[STATE_FOLDER_PATH_BYTES])
{
	const char *given = option ? option : getenv("STATE_DIRECTORY");
	int len;

	if (given && *given) {
		/* a service manager names several with colons between; the first is ours */
		size_t end = option ? strlen(given) : strcspn(given, ":");
		len = snprintf(ret_path, STATE_FOLDER_PATH_BYTES, "%.*s", (int)end, given);
	} else {
		len = snprintf(ret_path, STATE_FOLDER_PATH_BYTES, "/var/lib/vpnd/%s", network);
	}
	return len < 0 || len >= STATE_FOLDER_PATH_BYTES ? -ENAMETOOLONG : 0;
}

/* Makes the folder and the one above. What is there already is fine. */
static int make(const char *path)
{
	char parent[STATE_FOLDER_PATH_BYTES];

	if (mkdir(path, FOLDER_MODE) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT)
		return -errno;
	(void)snprintf(parent, sizeof(parent), "%s", path);
	char *slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return -ENOENT;
	*slash = '\0';
	if (mkdir(parent, PARENT_MODE) < 0 && errno != EEXIST)
		return -errno;
	(void)chmod(parent, PARENT_MODE); /* not as a service manager's umask would have it */
	return mkdir(path, FOLDER_MODE) < 0 && errno != EEXIST ? -errno : 0;
}

typedef bool (*entry_fn)(int folder, const char *name, const void *ctx);

/* Calls `each` for the entries until it says false. @return 0 if it never did; 1; a negative errno */
static int for_each(int folder, entry_fn each, const void *ctx)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int result = 0;

	if (!dir) {
		int error = -errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	while (result == 0 && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			!each(folder, entry->d_name, ctx))
			result = 1;
	}
	closedir(dir);
	return result;
}

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), tail = strlen(end);

	return len > tail && strcmp(name + len - tail, end) == 0;
}

/* A file of states, or one that was being written when the power went. */
static bool is_state(int folder, const char *name, const void *ctx)
{
	struct stat st;

	(void)ctx;
	return (ends_with(name, ".peers") || ends_with(name, ".peers.new")) &&
	       fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       st.st_nlink == 1;
}

struct owner {
	uid_t uid;
	gid_t gid;
};

static bool hand_over(int folder, const char *name, const void *ctx)
{
	const struct owner *owner = ctx;
	struct stat st;
	int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return true;
	/* a file with a second name may be anybody's; what is left out the worker finds that it cannot read */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1) {
		int failed = fchownat(fd, "", owner->uid, owner->gid, AT_EMPTY_PATH);
		(void)failed;
	}
	close(fd);
	return true;
}

/* @ret_why  set if the folder is none to give away, which is -ENOTEMPTY */
static int give(int fd, uid_t uid, gid_t gid, const char **ret_why)
{
	const struct owner owner = {uid, gid};
	const struct passwd *nobody;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid == uid)
		return 0;
	/* a unit without the right to give files away has made it so that the worker's group may write */
	if (st.st_gid == gid && (st.st_mode & (S_IRWXG | S_IWOTH)) == S_IRWXG)
		return 0;
	nobody = getpwnam("nobody");
	bool ours = st.st_uid == geteuid() || (nobody && st.st_uid == nobody->pw_uid);
	int other = for_each(fd, is_state, NULL);
	if (other < 0)
		return other;
	if (!ours)
		*ret_why = "it belongs to somebody else";
	else if (st.st_mode & S_IWOTH)
		*ret_why = "everybody may write into it";
	else if (other)
		*ret_why = "it holds other files";
	if (*ret_why)
		return -ENOTEMPTY;
	/* from here on nobody else can put anything into it */
	if (fchown(fd, geteuid(), getegid()) < 0 || fchmod(fd, FOLDER_MODE) < 0)
		return -errno;
	(void)for_each(fd, hand_over, &owner);
	return fchown(fd, uid, gid) < 0 ? -errno : 0;
}

int state_folder_open(const char *path, uid_t uid, gid_t gid, int *ret_fd, struct fault *fault)
{
	const char *why = NULL;
	int fd = -1;
	int error = make(path);

	if (!error) {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		error = fd < 0 ? -errno : give(fd, uid, gid, &why);
	}
	if (!error) {
		*ret_fd = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	if (why)
		return fault_set(fault, error, "E-STATE-1",
			"choose an empty folder with --state, or give it to the user that vpnd "
			"runs as",
			"nothing is remembered over a restart: %s is not used: %s", path, why);
	return fault_set(fault, error, "E-STATE-1", "choose another folder with --state",
		"nothing is remembered over a restart: cannot use %s: %s", path, strerror(-error));
}
