/* What follows from a struct kcpvpn_config. */
#ifndef STACK_NODE_CONFIG_H
#define STACK_NODE_CONFIG_H

#include "kcpvpn/node.h"

#include <stdbool.h>

/** FEC is on if both shard counts are at least 1. */
bool node_config_has_fec(const struct kcpvpn_config *config);

/** Every value is in its range (the key is judged by the cipher). */
bool node_config_valid(const struct kcpvpn_config *config);

#endif
