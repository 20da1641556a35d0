/* Moves packets between two TUN devices through two link models, and answers the control socket, in one thread. */
#ifndef LAB_RELAY_H
#define LAB_RELAY_H

#include "tests/lab/lab_command.h"

#include <stddef.h>
#include <stdint.h>

struct relay;

struct relay_options {
	int tun[LAB_DIRECTIONS]; /* A's and B's device: non-blocking descriptors, lent */
	unsigned mtu;		 /* longest packet in bytes */
	struct link_config config[LAB_DIRECTIONS];
	uint64_t seed;
	int control; /* listening Unix stream socket, non-blocking, lent; -1 = none */
};

/** @return 0 or a negative errno */
int relay_new(const struct relay_options *options, struct relay **ret_relay);

/** Frees the relay and the packets under way. NULL is fine. */
void relay_free(struct relay *relay);

/** Runs until SIGTERM or SIGINT. @return 0, or a negative errno if a device is gone */
int relay_run(struct relay *relay);

#endif
