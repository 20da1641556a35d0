/*
 * Who may do what. The kernel says who opened the connection (SO_PEERCRED) and which groups that process was in
 * (SO_PEERGROUPS): both as of connect(), so they cannot be changed afterwards. Root writes; a member of admin_group
 * writes; a member of group reads. Whatever cannot be found out counts as "not allowed".
 */
#include "vpnd/control_access.h"

#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
	GROUPS_MAX = 65536, /* the kernel's own limit, NGROUPS_MAX */
	TRIES = 3,
};

gid_t control_access_gid(const char *group)
{
	const struct group *found = group && *group ? getgrnam(group) : NULL;
	return found ? found->gr_gid : (gid_t)-1;
}

static bool is_member(gid_t wanted, gid_t gid, const gid_t *groups, size_t count)
{
	if (wanted == (gid_t)-1)
		return false;
	if (gid == wanted)
		return true;
	for (size_t i = 0; i < count; i++) {
		if (groups[i] == wanted)
			return true;
	}
	return false;
}

enum control_access control_access_of(uid_t uid, gid_t gid, const gid_t *groups, size_t count,
	uid_t trusted_uid, gid_t read_gid, gid_t admin_gid)
{
	if (uid == (uid_t)-1)
		return CONTROL_ACCESS_NONE;
	if (uid == 0 || uid == trusted_uid || is_member(admin_gid, gid, groups, count))
		return CONTROL_ACCESS_WRITE;
	return is_member(read_gid, gid, groups, count) ? CONTROL_ACCESS_READ : CONTROL_ACCESS_NONE;
}

/* The supplementary groups, allocated; none (and *ret_count 0) if they cannot be had. */
static gid_t *peer_groups(int fd, size_t *ret_count)
{
	gid_t *groups = NULL;
	socklen_t bytes = 64 * sizeof(gid_t);

	*ret_count = 0;
	for (int i = 0; i < TRIES && bytes <= GROUPS_MAX * sizeof(gid_t); i++) {
		gid_t *grown = realloc(groups, bytes);
		if (!grown)
			break;
		groups = grown;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) == 0) {
			*ret_count = bytes / sizeof(gid_t);
			return groups;
		}
		if (errno != ERANGE) /* ERANGE: `bytes` now says how much it takes */
			break;
	}
	free(groups);
	return NULL;
}

enum control_access control_access_read(
	int fd, uid_t trusted_uid, gid_t read_gid, gid_t admin_gid, struct ucred *ret_peer)
{
	struct ucred peer = {.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
	socklen_t bytes = sizeof(peer);
	enum control_access access;
	size_t count;
	gid_t *groups;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0 || bytes != sizeof(peer)) {
		*ret_peer = (struct ucred){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
		return CONTROL_ACCESS_NONE;
	}
	groups = peer_groups(fd, &count);
	access = control_access_of(
		peer.uid, peer.gid, groups, count, trusted_uid, read_gid, admin_gid);
	free(groups);
	*ret_peer = peer;
	return access;
}
