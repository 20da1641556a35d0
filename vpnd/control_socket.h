/* The control socket in the file system: made, guarded against a second daemon, removed. */
#ifndef VPND_CONTROL_SOCKET_H
#define VPND_CONTROL_SOCKET_H

#include "control/control_error.h"

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

enum {
	CONTROL_SOCKET_PATH_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path),
};

struct control_socket {
	int fd; /* listens, non-blocking, close-on-exec; -1 = closed */
	char path[CONTROL_SOCKET_PATH_BYTES];
	dev_t dev; /* who the socket is, so that another daemon's is never removed */
	ino_t ino;
	bool made_folder; /* the folder of the socket */
	bool made_parent; /* and the one above */
	bool passed;	  /* somebody else made it, and removes it */
};

/**
 * Listens at `path` with mode 0660, owned by root and `gid`.
 *
 * The last two folders of the path are made where they are missing. A socket on which nobody answers is replaced,
 * by rename, so that no moment is without a socket; whatever else lies there is left alone.
 *
 * @gid         (gid_t)-1 = the group stays the caller's
 * @ret_socket  owned by the caller on success: control_socket_close()
 * @err         filled on failure; may be NULL
 * @return      0; -EADDRINUSE: somebody answers there; another negative errno
 */
int control_socket_open(
	const char *path, gid_t gid, struct control_socket *ret_socket, struct control_error *err);

/**
 * Takes a socket that listens already, as a service manager passes it on. Its group and mode become those of
 * control_socket_open() where that is possible; its file stays when it is closed, for whoever made it.
 *
 * @fd          taken
 * @ret_socket  owned by the caller: control_socket_close(). Its path is empty if the socket has none
 */
void control_socket_adopt(int fd, gid_t gid, struct control_socket *ret_socket);

/** Removes the socket from the file system if it is still this one, then the folders if they are ours and empty. */
void control_socket_remove(const struct control_socket *socket);

/** Closes; removes the socket if it is still this one, then the folders if they are ours and empty. */
void control_socket_close(struct control_socket *socket);

#endif
