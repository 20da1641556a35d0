/*
 * The order matters: limits are raised while that is allowed; the bounding set goes before the capability that changing
 * it takes (CAP_SETPCAP); groups go before the user; the kernel takes the capabilities away with the user, and they are
 * taken away once more by name for who was not root. Setting no_new_privs closes the last way back, programs with rights
 * of their own. The kernel forgets "may be dumped" when credentials change, so that is said after all of them. Then
 * everything is looked at again, and the filter of system calls comes last, because it forbids most of this.
 *
 * Capabilities and the filter belong to a thread. Both drops run before the process has a second one; later threads
 * inherit.
 *
 * Sources: capabilities(7), credentials(7), prctl(2).
 */
#include "vpnd/privileges.h"

#include "vpnd/fault.h"
#include "vpnd/syscall_filter.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	NOBODY = 65534, /* where not even `nobody` has an entry, as in small containers */
};

/* ---- the beginning ---------------------------------------------------------------------------------------------- */

static bool has(unsigned capability)
{
	return capng_have_capability(CAPNG_EFFECTIVE, capability) != 0;
}

/* Limits that are changed here, and what they were. */
static const __rlimit_resource_t LIMITS[] = {RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_CORE};
static struct rlimit limits_before[sizeof(LIMITS) / sizeof(LIMITS[0])];
static bool limits_known[sizeof(LIMITS) / sizeof(LIMITS[0])];

static void note_limits(void)
{
	for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++)
		limits_known[i] = getrlimit(LIMITS[i], &limits_before[i]) == 0;
}

void privileges_restore_limits(void)
{
	for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++) {
		if (limits_known[i])
			(void)setrlimit(LIMITS[i], &limits_before[i]);
	}
}

/* As much of `wanted` as may be had; never less than there is. */
static void raise_limit(__rlimit_resource_t resource, rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	struct rlimit more = {wanted, limit.rlim_max > wanted ? limit.rlim_max : wanted};
	if (setrlimit(resource, &more) == 0)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	(void)setrlimit(resource, &limit);
}

static int find_user(struct privileges *privileges, struct fault *fault)
{
	static const char *const NAMES[] = {"vpnd", "nobody"};
	const struct passwd *found = NULL;
	size_t i;

	for (i = 0; !found && i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
		found = getpwnam(NAMES[i]);
	privileges->uid = found ? found->pw_uid : NOBODY;
	privileges->gid = found ? found->pw_gid : NOBODY;
	privileges->borrowed = i != 1;
	(void)snprintf(privileges->user, sizeof(privileges->user), "%s",
		found ? found->pw_name : "nobody");
	if (privileges->uid == 0 || privileges->gid == 0)
		return fault_set(fault, -EPERM, "E-PRIV-2",
			"give it a user number and group of its own",
			"the user %s is root under another name", privileges->user);
	return 0;
}

int privileges_begin(struct privileges *ret_privileges, struct fault *fault)
{
	struct privileges privileges = {0};
	uid_t real, effective, saved;

	if (getresuid(&real, &effective, &saved) < 0 || capng_get_caps_process() < 0)
		return fault_set(fault, -EPERM, "E-PRIV-1", NULL,
			"cannot find out what this process may do");
	if (!has(CAP_NET_ADMIN))
		return fault_set(fault, -EPERM, "E-PRIV-1",
			"start as root (sudo vpnd ...), or with CAP_NET_ADMIN",
			"a tunnel takes CAP_NET_ADMIN, which this process does not have");
	privileges.change_user = real == 0 || effective == 0 || saved == 0;
	if (privileges.change_user) {
		if (!has(CAP_SETUID) || !has(CAP_SETGID))
			return fault_set(fault, -EPERM, "E-PRIV-2",
				"give it CAP_SETUID and CAP_SETGID, or start it as another user "
				"with "
				"CAP_NET_ADMIN",
				"root must be able to become another user, and this process is "
				"not");
		int error = find_user(&privileges, fault);
		if (error)
			return error;
	} else {
		privileges.uid = effective;
		privileges.gid = getegid();
		(void)snprintf(privileges.user, sizeof(privileges.user), "%u", (unsigned)effective);
	}
	/* keys are in memory already; it is said once more after the last change of credentials */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	note_limits();
	raise_limit(RLIMIT_NOFILE, PRIVILEGES_FILES);
	raise_limit(RLIMIT_MEMLOCK, PRIVILEGES_LOCKED_BYTES);
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	*ret_privileges = privileges;
	return 0;
}

bool privileges_hide_reading(bool hide)
{
	static const unsigned READERS[] = {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH};
	bool any = false;

	if (capng_get_caps_process() < 0)
		return false;
	for (size_t i = 0; i < sizeof(READERS) / sizeof(READERS[0]); i++) {
		if (!capng_have_capability(CAPNG_PERMITTED, READERS[i]) || has(READERS[i]) != hide)
			continue;
		(void)capng_update(hide ? CAPNG_DROP : CAPNG_ADD, CAPNG_EFFECTIVE, READERS[i]);
		any = true;
	}
	return any && capng_apply(CAPNG_SELECT_CAPS) == 0;
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

/* Other threads would keep what they have. A host without /proc cannot tell. */
static bool is_alone(void)
{
#ifdef __SANITIZE_THREAD__
	return true; /* the sanitizer has a thread of its own */
#else
	struct stat st;

	return stat("/proc/self/task", &st) < 0 || st.st_nlink == 3;
#endif
}

static int failed(struct fault *fault, const char *what)
{
	int error = errno ? errno : EPERM;

	/* -EPERM whatever it was: who cannot give rights up leaves with the status for that */
	return fault_set(fault, -EPERM, "E-PRIV-3",
		"this vpnd would run with more rights than it should, and does not",
		"cannot %s: %s", what, strerror(error));
}

/* The bounding set limits what programs can give; with no_new_privs nothing can, so without CAP_SETPCAP it may stay. */
static int clear_bounding_set(struct fault *fault)
{
	errno = 0;
	if (capng_get_caps_process() < 0)
		return failed(fault, "read the capabilities");
	if (!has(CAP_SETPCAP))
		return 0;
	capng_clear(CAPNG_SELECT_BOUNDS);
	if (capng_apply(CAPNG_SELECT_BOUNDS) != 0)
		return failed(fault, "clear the bounding set of capabilities");
	return 0;
}

static int close_ways_back(struct fault *fault)
{
	errno = 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return failed(fault, "set no_new_privs");
	/* kernels before 4.3 have no ambient set, and refuse */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return failed(fault, "clear the ambient capabilities");
	return 0;
}

static int forbid_dumps(struct fault *fault)
{
	errno = 0;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return failed(fault, "forbid core dumps and tracing");
	return 0;
}

static int become(const struct privileges *privileges, struct fault *fault)
{
	uid_t uid = privileges->uid, r, e, s;
	gid_t gid = privileges->gid, rg, eg, sg;

	errno = 0;
	if (setgroups(0, NULL) < 0)
		return failed(fault, "give up the groups");
	if (setresgid(gid, gid, gid) < 0)
		return failed(fault, "change the group");
	if (setresuid(uid, uid, uid) < 0)
		return failed(fault, "change the user");
	if (getresuid(&r, &e, &s) < 0 || r != uid || e != uid || s != uid ||
		getresgid(&rg, &eg, &sg) < 0 || rg != gid || eg != gid || sg != gid ||
		getgroups(0, NULL) != 0)
		return failed(fault, "become another user");
	return 0;
}

static int verify_nothing_left(const struct privileges *privileges, struct fault *fault)
{
	errno = 0;
	if (capng_get_caps_process() < 0 ||
		capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
		return failed(fault, "give up all capabilities");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return failed(fault, "close the ways back");
	if (privileges->change_user && setresuid((uid_t)-1, 0, (uid_t)-1) == 0)
		return failed(fault, "leave root for good");
	return 0;
}

static int filter(enum syscall_filter_role role, struct fault *fault)
{
	int error = syscall_filter_load(role);

	if (!error)
		return 0;
	errno = -error;
	return failed(fault, "filter system calls (does the kernel have seccomp?)");
}

int privileges_keep(unsigned extra, struct fault *fault)
{
	int error = clear_bounding_set(fault);

	if (!error)
		error = close_ways_back(fault);
	if (error)
		return error;
	if (capng_get_caps_process() < 0)
		return failed(fault, "read the capabilities");
	bool reads = extra & PRIVILEGES_READ_FILES &&
		     capng_have_capability(CAPNG_PERMITTED, CAP_DAC_READ_SEARCH);
	bool ports = extra & PRIVILEGES_LOW_PORTS &&
		     capng_have_capability(CAPNG_PERMITTED, CAP_NET_BIND_SERVICE);
	capng_clear(CAPNG_SELECT_CAPS);
	const capng_type_t both = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
	(void)capng_update(CAPNG_ADD, both, CAP_NET_ADMIN);
	if (reads)
		(void)capng_update(CAPNG_ADD, both, CAP_DAC_READ_SEARCH);
	if (ports)
		(void)capng_update(CAPNG_ADD, both, CAP_NET_BIND_SERVICE);
	errno = 0;
	if (capng_apply(CAPNG_SELECT_CAPS) != 0 || capng_get_caps_process() < 0)
		return failed(fault, "give up capabilities");
	for (unsigned i = 0; i <= CAP_LAST_CAP; i++) {
		bool wanted = i == CAP_NET_ADMIN || (reads && i == CAP_DAC_READ_SEARCH) ||
			      (ports && i == CAP_NET_BIND_SERVICE);
		if (!wanted && capng_have_capability(CAPNG_PERMITTED, i))
			return failed(fault, "give up capabilities");
	}
	error = forbid_dumps(fault);
	return error ? error : filter(SYSCALL_FILTER_HELPER, fault);
}

int privileges_drop(const struct privileges *privileges, struct fault *fault)
{
	if (!is_alone())
		return fault_set(fault, -EPERM, "E-PRIV-3", NULL,
			"cannot give up privileges: there is a second thread already");
	int error = clear_bounding_set(fault);
	if (!error && privileges->change_user)
		error = become(privileges, fault);
	if (!error)
		error = close_ways_back(fault);
	if (error)
		return error;
	errno = 0;
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return failed(fault, "give up all capabilities");
	error = forbid_dumps(fault);
	if (!error)
		error = verify_nothing_left(privileges, fault);
	return error ? error : filter(SYSCALL_FILTER_WORKER, fault);
}
