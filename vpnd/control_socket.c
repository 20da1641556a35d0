/*
 * How the socket comes into its place: bind to a hidden name in the same folder with mode 0600, give it group and mode,
 * listen, and only then rename it to its name. So nobody ever sees a socket with the wrong rights or one that refuses,
 * and replacing a dead one leaves no gap. A client that can connect to what lies at the name proves that another
 * daemon lives.
 *
 * Two daemons that start at once would both find the place free, and the later rename would take the socket of a daemon that
 * runs. So whoever looks and then renames or removes holds a lock meanwhile, on a file beside the socket that only root can
 * open. The file goes with the lock: whoever got the lock of a file that is gone takes another one.
 *
 * What is removed at the end is what this process put there: the inode is compared, and a folder goes only if it was made
 * here or belongs to the daemons (/run/vpnd/NAME may be left by one that was killed), and only if it is empty.
 *
 * A socket that a service manager opened is the manager's: it outlives the daemon, so that whoever connects starts the next
 * one. It is neither looked for nor removed; only group and mode are set, as the configuration names them.
 */
#include "vpnd/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DAEMONS_FOLDER "/run/vpnd/"

enum {
	BACKLOG = 64,
	MKDIR_TRIES = 4, /* another daemon that ends may remove the parent between two steps */
	FOLDER_MODE = 0755,
	SOCKET_MODE = 0660,
	LOCK_MS = 5000,	   /* it is held for milliseconds, unless its holder was stopped */
	LOCK_END_MS = 200, /* the end does not wait for long */
	LOCK_STEP_MS = 10,
	LOCK_PATH_BYTES = CONTROL_SOCKET_PATH_BYTES + 8,
};

/* "a/b/c" -> "a/b"; a name without a slash -> "." */
static void folder_of(const char *path, char folder[CONTROL_SOCKET_PATH_BYTES])
{
	char copy[CONTROL_SOCKET_PATH_BYTES];

	(void)snprintf(copy, sizeof(copy), "%s", path);
	(void)snprintf(folder, CONTROL_SOCKET_PATH_BYTES, "%s", dirname(copy));
}

static int make_folder(const char *folder, bool *ret_made)
{
	if (mkdir(folder, FOLDER_MODE) < 0)
		return errno == EEXIST ? 0 : -errno;
	*ret_made = true;
	/* a service manager's umask must not lock the group out */
	return chmod(folder, FOLDER_MODE) < 0 ? -errno : 0;
}

static int make_folders(struct control_socket *s)
{
	char folder[CONTROL_SOCKET_PATH_BYTES];
	char parent[CONTROL_SOCKET_PATH_BYTES];
	int rc = 0;

	folder_of(s->path, folder);
	folder_of(folder, parent);
	for (int i = 0; i < MKDIR_TRIES; i++) {
		rc = make_folder(folder, &s->made_folder);
		if (rc != -ENOENT)
			return rc;
		rc = make_folder(parent, &s->made_parent);
		if (rc)
			return rc;
	}
	return rc;
}

static void remove_folders(const struct control_socket *s)
{
	char folder[CONTROL_SOCKET_PATH_BYTES];
	char parent[CONTROL_SOCKET_PATH_BYTES];
	bool daemons = !strncmp(s->path, DAEMONS_FOLDER, strlen(DAEMONS_FOLDER));

	folder_of(s->path, folder);
	folder_of(folder, parent);
	if ((s->made_folder || daemons) && rmdir(folder) == 0 && s->made_parent)
		(void)rmdir(parent);
}

/* ---- the lock --------------------------------------------------------------------------------------------------- */

static void lock_path(const char *path, char file[LOCK_PATH_BYTES])
{
	char folder[CONTROL_SOCKET_PATH_BYTES];
	const char *name = strrchr(path, '/');

	folder_of(path, folder);
	(void)snprintf(file, LOCK_PATH_BYTES, "%s/.%s.lock", folder, name ? name + 1 : path);
}

/* @return the descriptor; -ENOENT without the folder; -EBUSY if another one keeps it; another negative errno */
static int lock(const char *path, int wait_ms)
{
	const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000L};
	char file[LOCK_PATH_BYTES];
	struct stat st;

	lock_path(path, file);
	for (int waited_ms = 0;;) {
		int fd = open(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
		if (fd < 0)
			return -errno;
		bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
		int error = locked ? 0 : errno;
		if (locked && fstat(fd, &st) == 0 && st.st_nlink > 0)
			return fd;
		close(fd);
		if (locked) /* of a file that was removed by its holder: another one */
			continue;
		if (error != EWOULDBLOCK && error != EINTR)
			return -error;
		if (waited_ms >= wait_ms)
			return -EBUSY;
		(void)nanosleep(&step, NULL);
		waited_ms += LOCK_STEP_MS;
	}
}

static void unlock(const char *path, int fd)
{
	char file[LOCK_PATH_BYTES];

	if (fd < 0)
		return;
	lock_path(path, file);
	(void)unlink(file); /* while it is held: nobody else's can be there */
	close(fd);
}

/* ---- the socket ------------------------------------------------------------------------------------------------- */

static int fill_address(struct sockaddr_un *address, const char *path)
{
	size_t len = strlen(path);

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len == 0)
		return -EINVAL;
	if (len >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memcpy(address->sun_path, path, len);
	return 0;
}

/* 0: the place is free or holds a dead socket; -EADDRINUSE: somebody answers; -EEXIST: it is something else. */
static int probe(const char *path)
{
	struct sockaddr_un address;
	struct stat st;
	int rc;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	rc = fill_address(&address, path);
	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN)
		rc = -EADDRINUSE; /* EAGAIN: its backlog is full, but it is there */
	else if (errno == ECONNREFUSED || errno == ENOENT)
		rc = 0;
	else
		rc = -errno;
	close(fd);
	return rc;
}

/* Without a group, root alone: group root. Who is not root cannot give the socket away and keeps it to himself. */
static int set_rights(const char *path, gid_t gid)
{
	bool root = geteuid() == 0;
	gid_t owner = gid != (gid_t)-1 ? gid : 0;
	bool given = (root || gid != (gid_t)-1) && lchown(path, (uid_t)-1, owner) == 0;

	if (root && !given)
		return -errno;
	return chmod(path, given ? SOCKET_MODE : SOCKET_MODE & ~S_IRWXG) < 0 ? -errno : 0;
}

static int bind_and_rename(struct control_socket *s, gid_t gid)
{
	struct sockaddr_un address;
	char folder[CONTROL_SOCKET_PATH_BYTES];
	char hidden[CONTROL_SOCKET_PATH_BYTES + 32];
	struct stat st;
	int rc;

	folder_of(s->path, folder);
	(void)snprintf(hidden, sizeof(hidden), "%s/.ctl%d", folder, (int)getpid());
	rc = fill_address(&address, hidden);
	if (rc)
		return rc;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return -errno;
	(void)unlink(hidden); /* of a killed process with the same number */
	if (fchmod(s->fd, S_IRUSR | S_IWUSR) < 0 ||
		bind(s->fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		rc = errno == EADDRINUSE ? -EBUSY : -errno; /* not "already running" */
		goto close_socket;
	}
	rc = set_rights(hidden, gid);
	if (rc)
		goto unlink_hidden;
	if (listen(s->fd, BACKLOG) < 0 || lstat(hidden, &st) < 0 || rename(hidden, s->path) < 0) {
		rc = -errno;
		goto unlink_hidden;
	}
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	return 0;
unlink_hidden:
	(void)unlink(hidden);
close_socket:
	close(s->fd);
	s->fd = -1;
	return rc;
}

static void explain(struct control_error *err, const char *path, int rc)
{
	switch (rc) {
	case -EADDRINUSE:
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_RUNNING,
			"already running: a daemon answers on %s", path);
		control_error_hint(err, "kcpctl --control %s status shows it", path);
		return;
	case -EBUSY:
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_SOCKET,
			"cannot listen on %s: another vpnd has been starting there for seconds",
			path);
		control_error_hint(err, "end that one, then try again");
		return;
	case -EEXIST:
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_SOCKET,
			"cannot listen on %s: something that is not a socket lies there", path);
		control_error_hint(err, "move it away, or choose another place with --control");
		return;
	case -ENAMETOOLONG:
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_SOCKET,
			"cannot listen on %s: a socket's path has at most %d bytes", path,
			CONTROL_SOCKET_PATH_BYTES - 1);
		return;
	case -EACCES:
	case -EPERM:
	case -EROFS:
		control_error_set(err, CONTROL_ERROR_PERMISSION, CONTROL_CODE_SOCKET,
			"cannot listen on %s: %s", path, strerrordesc_np(-rc));
		control_error_hint(err,
			"run it as root, or choose another place with --control; a unit takes "
			"SupplementaryGroups= for another control.group");
		return;
	default:
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_SOCKET,
			"cannot listen on %s: %s", path, strerrordesc_np(-rc));
		return;
	}
}

int control_socket_open(
	const char *path, gid_t gid, struct control_socket *ret_socket, struct control_error *err)
{
	struct control_socket s = {.fd = -1};
	struct sockaddr_un address;
	int rc = fill_address(&address, path);
	bool formed = rc == 0;

	(void)snprintf(s.path, sizeof(s.path), "%s", formed ? path : "");
	for (int i = 0; formed && i < MKDIR_TRIES; i++) {
		rc = make_folders(&s);
		int held = rc ? -1 : lock(path, LOCK_MS);
		if (!rc && held < 0)
			rc = held;
		if (!rc)
			rc = probe(path);
		if (!rc)
			rc = bind_and_rename(&s, gid);
		unlock(path, held);
		if (rc !=
			-ENOENT) /* or the folder went away meanwhile: the helper of a killed daemon cleans up */
			break;
	}
	if (rc) {
		if (s.made_folder || s.made_parent)
			remove_folders(&s);
		explain(err, path, rc);
		return rc;
	}
	*ret_socket = s;
	return 0;
}

void control_socket_adopt(int fd, gid_t gid, struct control_socket *ret_socket)
{
	struct control_socket s = {.fd = fd, .passed = true};
	union {
		struct sockaddr any;
		struct sockaddr_un un;
	} address = {.un = {.sun_family = AF_UNSPEC}};
	socklen_t len = sizeof(address.un);
	struct stat st;

	if (getsockname(fd, &address.any, &len) == 0 && address.un.sun_family == AF_UNIX &&
		len > offsetof(struct sockaddr_un, sun_path) &&
		len <= (socklen_t)sizeof(address.un) && address.un.sun_path[0] == '/')
		(void)snprintf(s.path, sizeof(s.path), "%.*s",
			(int)(len - offsetof(struct sockaddr_un, sun_path)), address.un.sun_path);
	/* The manager's unit has said who may open it; the configuration says so, too, and knows better. */
	if (s.path[0] && lstat(s.path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)set_rights(s.path, gid);
	*ret_socket = s;
}

void control_socket_remove(const struct control_socket *s)
{
	struct stat st;

	if (s->passed || !s->path[0])
		return;
	int held = lock(s->path, LOCK_END_MS); /* without it as well: nothing may stay behind */
	bool own = lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino;
	if (own)
		(void)unlink(s->path);
	unlock(s->path, held);
	if (own)
		remove_folders(s);
}

void control_socket_close(struct control_socket *s)
{
	if (s->fd < 0)
		return;
	control_socket_remove(s);
	close(s->fd);
	s->fd = -1;
}
