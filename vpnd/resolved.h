/* systemd-resolved's settings of one link, told over the system's D-Bus. Blocks, RESOLVED_MS at most. */
#ifndef VPND_RESOLVED_H
#define VPND_RESOLVED_H

#include <stdbool.h>

struct config;
struct fault;

enum {
	RESOLVED_MS = 2000,
};

/**
 * Gives the link the servers and domains of the configuration. They go with the link, or by resolved_unset().
 *
 * @return  0; -ENOENT: there is no D-Bus, or systemd-resolved does not run; another negative errno with `*fault` filled
 */
int resolved_set(const struct config *config, int ifindex, struct fault *fault);

/** Takes back what resolved_set() told. @return as that */
int resolved_unset(int ifindex, struct fault *fault);

#endif
