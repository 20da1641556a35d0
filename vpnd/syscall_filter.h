/* Which system calls the two processes of vpnd may make (seccomp). */
#ifndef VPND_SYSCALL_FILTER_H
#define VPND_SYSCALL_FILTER_H

enum syscall_filter_role {
	SYSCALL_FILTER_WORKER, /* packets, peers, names, control socket */
	SYSCALL_FILTER_HELPER, /* netlink, configuration files, the control socket's name */
};

/**
 * Loads the filter for this thread and all that it starts. There is no way back. no_new_privs must be set.
 *
 * @return  0 or a negative errno: nothing is filtered
 */
int syscall_filter_load(enum syscall_filter_role role);

#endif
