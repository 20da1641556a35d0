/* The control socket that a service manager opened beforehand and passed on, by the protocol of sd_listen_fds(3). */
#ifndef VPND_PASSED_SOCKET_H
#define VPND_PASSED_SOCKET_H

struct fault;

/**
 * Takes the socket, and the variables that tell of it out of the environment, so that no program started later thinks
 * them its own. Call it once, before descriptors are opened that one may mistake for it.
 *
 * @ret_fd  owned by the caller: a Unix stream socket that listens, non-blocking and close-on-exec; -1 = none was passed
 * @return  0; -EINVAL with `*fault` filled: what was passed is no such socket, or more than one was. Its descriptors are
 *          closed then, and `*ret_fd` is -1
 */
int passed_socket_take(int *ret_fd, struct fault *fault);

#endif
