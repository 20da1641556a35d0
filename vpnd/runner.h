/*
 * Programs that the configuration names: hooks, and resolvconf. They run with the rights that vpnd was started with, which
 * neither worker nor helper have kept, so a third process starts them:
 *
 *      worker  -- BROKER_HOOK -->  helper  -- what, for whom -->  runner  -- fork, exec -->  /etc/vpnd/on-up
 *
 * It is there only if the configuration at the start of vpnd names a program or a resolver, or something was left behind. It
 * knows the programs from that configuration and takes no other: whoever asks it can but choose the moment, and not even
 * that freely (hook_queue.h).
 */
#ifndef VPND_RUNNER_H
#define VPND_RUNNER_H

#include "config/config.h"
#include "kcpvpn/endpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault;
struct log;

enum {
	RUNNER_TEXT_BYTES = 8192, /* for resolvconf */
	RUNNER_PROGRAM_MS = 10000,
	RUNNER_HURRY_MS =
		2000, /* what is left to a peer's program when the link, or the end, waits */
	RUNNER_MARK_MS = 10000, /* for the last runner of this network to end */
	/* For an answer: a peer's program, then resolvers and `down`, then one's own. */
	RUNNER_WAIT_MS = RUNNER_HURRY_MS + 3 * RUNNER_PROGRAM_MS + 2000,
	/* For its end: what runs, then resolvers and `down`. */
	RUNNER_END_MS = RUNNER_HURRY_MS + 2 * RUNNER_PROGRAM_MS + 1000,
};

/** The helper's end. */
struct runner {
	int fd; /* -1 = there is none */
	uint32_t asked;
};

enum runner_verb {
	RUNNER_HOOK,
	RUNNER_RESOLVERS_SET,
	RUNNER_RESOLVERS_EXCLUSIVE, /* the same, and no others are asked */
	RUNNER_RESOLVERS_UNSET,
	RUNNER_END, /* all is to be undone, and nothing comes after it */
};

struct runner_order {
	enum runner_verb verb;
	uint32_t id; /* comes back with the answer; 0 = none is wanted */
	enum config_hook hook;
	char peer[CONFIG_NAME_MAX + 1];	 /* "" = none */
	struct kcpvpn_endpoint endpoint; /* of that peer; family 0 = not known */
	size_t text_len;
	char text[RUNNER_TEXT_BYTES]; /* as in resolv.conf */
};

struct runner_answer {
	uint32_t id;
	int how; /* as program_ended(), program.h; -ECANCELED: it was not run, or ended early */
};

/** What the process begins with; copied by the fork. */
struct runner_setup {
	const struct config *config;
	const char *device; /* name of the network's interface */
	const char *folder; /* for the mark; NULL = RUNNER_MARK_FOLDER */
	const struct log *log;
};

/** Whether there is anything for it to run. */
bool runner_wanted(const struct config *config);

/**
 * Starts the process. It ends with RUNNER_END; and when this process is gone without that, with the process that started
 * this one.
 *
 * @return  0 or a negative errno
 */
int runner_start(struct runner *runner, const struct runner_setup *setup);

/** Gives an order without waiting. @return 0; -EPIPE: there is no runner; -EBUSY: not just now */
int runner_tell(struct runner *runner, const struct runner_order *order);

/** The same for an order that may not be lost: waits for room, half a second at most. @return as runner_tell() */
int runner_insist(struct runner *runner, const struct runner_order *order);

/** Gives an order and waits for its end. @return 0 or a negative errno with `*fault` filled */
int runner_do(struct runner *runner, struct runner_order *order, struct fault *fault);

/** Has all undone, and waits for that, RUNNER_END_MS at most. */
void runner_finish(struct runner *runner);

/** Where resolvconf is; NULL = nowhere. */
const char *runner_resolvconf(void);

/** The process itself, runner_process.c. @fd  its end @owner_fd  readable when the worker is gone; -1 = it is */
_Noreturn void runner_process(int fd, int owner_fd, const struct runner_setup *setup);

#endif
