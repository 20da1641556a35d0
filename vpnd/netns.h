/* Steps of one thread into another network namespace and back. Takes CAP_SYS_ADMIN, so it is done at the start. */
#ifndef VPND_NETNS_H
#define VPND_NETNS_H

struct fault;

/**
 * Opens a namespace. Its name may mean another one the next time: what belongs together uses one descriptor.
 *
 * @netns   a name (of /run/netns) or an absolute path
 * @ret_fd  owned by the caller
 * @return  0 or a negative errno with `*fault` filled
 */
int netns_open(const char *netns, int *ret_fd, struct fault *fault);

/**
 * From here on what this thread opens belongs to the namespace.
 *
 * @netns     of netns_open(); stays the caller's
 * @ret_back  for netns_leave()
 * @return    0 or a negative errno with `*fault` filled
 */
int netns_enter(int netns, int *ret_back, struct fault *fault);

/** Goes back; nothing to do if `back` is negative. Ends the program if that fails: it would go on in the wrong place. */
void netns_leave(int back);

#endif
