/* The folder in which the worker keeps what it wants to know after a restart: --state, $STATE_DIRECTORY, /var/lib/vpnd/NAME. */
#ifndef VPND_STATE_FOLDER_H
#define VPND_STATE_FOLDER_H

#include <sys/types.h>

struct fault;

enum {
	STATE_FOLDER_PATH_BYTES = 4096,
};

/**
 * Where it is.
 *
 * @option   of the command line; NULL = not given
 * @network  its name
 * @return   0; -ENAMETOOLONG
 */
int state_folder_path(
	const char *option, const char *network, char ret_path[STATE_FOLDER_PATH_BYTES]);

/**
 * Makes the folder (mode 0700) where it is missing, and gives it to the worker's user. Call it before the drop.
 *
 * A folder that holds anything but files of states, or is somebody else's, or everybody may write into, is never given
 * away: it may be the wrong one. Files in it are made by openat() and renameat() on the descriptor, so the worker needs
 * no rights on the folders above.
 *
 * @uid, @gid  the worker's
 * @ret_fd     of the folder, close-on-exec; owned by the caller
 * @return     0 or a negative errno with `*fault` filled: the daemon warns and goes on without
 */
int state_folder_open(const char *path, uid_t uid, gid_t gid, int *ret_fd, struct fault *fault);

#endif
