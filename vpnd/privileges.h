/*
 * What the process may do, and how it gives that up.
 *
 * vpnd is two processes once it runs. The worker, the one that the service manager knows, has all that touches a packet
 * or a peer: it runs as user `vpnd` (else `nobody`) with no capability, no way to get one, a filter of system calls,
 * and no core dumps. The helper (broker.h) keeps CAP_NET_ADMIN and never reads a byte from the network.
 *
 *      privileges_begin()          first of all: is there enough, who will the worker be; raises limits
 *      broker_new()                starts the helper, which calls privileges_keep()
 *      privileges_drop()           the worker's end of it, before the first packet
 *
 * Each step either succeeds or ends the program: there is no running on with too many rights. No thread may exist at
 * the time of a drop: user and filter could be set for all, capabilities belong to each thread alone.
 */
#ifndef VPND_PRIVILEGES_H
#define VPND_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

struct fault;

enum {
	PRIVILEGES_NAME_BYTES = 64,
	PRIVILEGES_FILES = 65536, /* open files wanted */
	PRIVILEGES_LOCKED_BYTES =
		256 << 20, /* locked memory wanted: keys of 10 000 peers a page each, and room */
	PRIVILEGES_PORT_MIN = 1024, /* ports below take CAP_NET_BIND_SERVICE */
};

/** The standing warning. */
#define PRIVILEGES_BORROWED_TEXT                                                                   \
	"there is no user vpnd: packets are handled as nobody, which other programs may be, too; " \
	"make it with: useradd --system --no-create-home vpnd"

struct privileges {
	bool change_user; /* false: not started as root, the user stays */
	bool borrowed;	  /* the user is nobody's own: other programs may run as the same */
	uid_t uid;	  /* of the worker */
	gid_t gid;
	char user[PRIVILEGES_NAME_BYTES];
	unsigned extra; /* enum privileges_extra that the helper keeps; the caller's */
};

/** What the helper keeps beside CAP_NET_ADMIN; flags. */
enum privileges_extra {
	PRIVILEGES_READ_FILES =
		1 << 0, /* CAP_DAC_READ_SEARCH: configuration that root's own rights do not open */
	PRIVILEGES_LOW_PORTS = 1 << 1, /* CAP_NET_BIND_SERVICE: listening below 1024 */
};

/**
 * Finds out whether there is enough to begin, and who the worker will be; raises the limits of open files and locked
 * memory as far as allowed; forbids core dumps.
 *
 * @return  0; -EPERM with `*fault` filled: no CAP_NET_ADMIN, or root without what leaving root takes
 */
int privileges_begin(struct privileges *ret_privileges, struct fault *fault);

/**
 * For a program that is run: the limits as they were before privileges_begin(). Async-signal-safe; does nothing before that.
 */
void privileges_restore_limits(void);

/**
 * Puts the power to read everybody's files aside, or takes it back, so that a caller can learn whether files are
 * readable without it. Does nothing where there is none.
 *
 * @return  true if something was put aside or taken back
 */
bool privileges_hide_reading(bool hide);

/**
 * For the helper: keeps CAP_NET_ADMIN and `extra` and gives up all else, for good. The user stays.
 *
 * @extra   set of enum privileges_extra; what the process does not have is left out
 * @return  0 or a negative errno with `*fault` filled: the caller must end
 */
int privileges_keep(unsigned extra, struct fault *fault);

/**
 * For the worker: another user, no groups, no capability, no new ones, no core dumps, no tracing, the filter of system
 * calls. All verified.
 *
 * @return  0 or a negative errno with `*fault` filled: the caller must end
 */
int privileges_drop(const struct privileges *privileges, struct fault *fault);

#endif
