/*
 * Programs that the configuration names: hooks, and resolvconf. They run with the rights that vpnd was started with, which
 * neither worker nor helper have kept, so a third process starts them:
 *
 *      worker  -- BROKER_HOOK -->  helper  -- what, for whom -->  runner  -- fork, exec -->  /etc/vpnd/on-up
 *
 * It is there only if the configuration at the start of vpnd names a program or a resolver. It knows the programs from that
 * configuration and takes no other: whoever asks it can but choose the moment.
 */
#ifndef VPND_RUNNER_H
#define VPND_RUNNER_H

#include "config/config.h"
#include "kcpvpn/endpoint.h"

#include <stdbool.h>
#include <stddef.h>

struct fault;
struct log;

enum {
	RUNNER_TEXT_BYTES = 8192, /* for resolvconf */
	RUNNER_PROGRAM_MS = 10000,
	RUNNER_WAIT_MS = 21000, /* for an answer: a program may be running, and then one's own */
};

/** The helper's end. */
struct runner {
	int fd; /* -1 = there is none */
	unsigned asked, answered;
};

enum runner_verb {
	RUNNER_HOOK,
	RUNNER_RESOLVERS_SET,
	RUNNER_RESOLVERS_EXCLUSIVE, /* the same, and no others are asked */
	RUNNER_RESOLVERS_UNSET,
};

struct runner_order {
	enum runner_verb verb;
	enum config_hook hook;
	char peer[CONFIG_NAME_MAX + 1];	 /* "" = none */
	struct kcpvpn_endpoint endpoint; /* of that peer; family 0 = not known */
	size_t text_len;
	char text[RUNNER_TEXT_BYTES]; /* as in resolv.conf */
};

/** Whether there is anything for it to run. */
bool runner_wanted(const struct config *config);

/**
 * Starts the process, which ends when the other end is closed and all orders are done.
 *
 * @config  copied by the fork
 * @device  name of the network's interface
 * @return  0 or a negative errno
 */
int runner_start(struct runner *runner, const struct config *config, const char *device,
	const struct log *log);

/** Gives an order without waiting. @return 0; -EPIPE: there is no runner; -EBUSY: too many wait */
int runner_tell(struct runner *runner, const struct runner_order *order);

/** Gives an order and waits for its end. @return 0 or a negative errno with `*fault` filled */
int runner_do(struct runner *runner, const struct runner_order *order, struct fault *fault);

/** Waits until all that was told is done, a bounded time. */
void runner_finish(struct runner *runner);

/** Where resolvconf is; NULL = nowhere. */
const char *runner_resolvconf(void);

#endif
