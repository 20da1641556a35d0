/* Who may use the control socket, decided by what the kernel knows about the other end. */
#ifndef VPND_CONTROL_ACCESS_H
#define VPND_CONTROL_ACCESS_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/** What a client may do. */
enum control_access {
	CONTROL_ACCESS_NONE, /* only `hello` and `version` */
	CONTROL_ACCESS_READ,
	CONTROL_ACCESS_WRITE, /* all */
};

/** @return the group's number; (gid_t)-1 if `group` is NULL, empty or does not exist */
gid_t control_access_gid(const char *group);

/**
 * Decides by credentials alone.
 *
 * @groups       supplementary groups of the client, `count` of them; may be NULL if count is 0
 * @trusted_uid  may write, beside root; (uid_t)-1 = none
 * @read_gid, @admin_gid  (gid_t)-1 = that group does not exist
 */
enum control_access control_access_of(uid_t uid, gid_t gid, const gid_t *groups, size_t count,
	uid_t trusted_uid, gid_t read_gid, gid_t admin_gid);

/**
 * Asks the kernel about the other end of a Unix socket and decides.
 *
 * @ret_peer  process, user and group of the other end; uid -1 if they cannot be had
 */
enum control_access control_access_read(
	int fd, uid_t trusted_uid, gid_t read_gid, gid_t admin_gid, struct ucred *ret_peer);

#endif
