/*
 * What programs have done to the host and is to be undone, written down where a crash does not wipe it out: who starts next
 * finds it. Only one of a network holds the mark, so that the next one waits while the last one still undoes.
 */
#ifndef VPND_RUNNER_MARK_H
#define VPND_RUNNER_MARK_H

#include <stdbool.h>

enum {
	RUNNER_MARK_PATH_BYTES = 128,
};

#define RUNNER_MARK_FOLDER "/run/vpnd"

struct runner_mark {
	int fd; /* -1 = it is not held */
	char folder[RUNNER_MARK_PATH_BYTES];
	char path[RUNNER_MARK_PATH_BYTES];
	bool link;	/* `pre_up` or `up` was run, and `down` was not */
	bool resolvers; /* resolvconf was told, and it was not taken back */
};

/** Whether anybody has left a mark, or holds one. */
bool runner_mark_exists(const char *folder, const char *network);

/**
 * Takes the mark, or makes it, and reads what was left to be undone.
 *
 * @return  0; -EAGAIN: somebody else holds it; another negative errno: it cannot be had here
 */
int runner_mark_take(struct runner_mark *ret_mark, const char *folder, const char *network);

/** Writes down what would have to be undone. Harmless if it is not held. */
void runner_mark_write(struct runner_mark *mark, bool link, bool resolvers);

/** Gives it back; it goes if nothing is to be undone. */
void runner_mark_drop(struct runner_mark *mark);

#endif
