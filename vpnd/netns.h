/* Steps of one thread into another network namespace and back. Takes CAP_SYS_ADMIN, so it is done at the start. */
#ifndef VPND_NETNS_H
#define VPND_NETNS_H

struct fault;

/**
 * From here on what this thread opens belongs to the namespace.
 *
 * @netns     a name (of /run/netns) or an absolute path; NULL = stay here
 * @ret_back  for netns_leave()
 * @return    0 or a negative errno with `*fault` filled
 */
int netns_enter(const char *netns, int *ret_back, struct fault *fault);

/** Goes back. Ends the program if that fails: it would go on in the wrong place. */
void netns_leave(int back);

#endif
