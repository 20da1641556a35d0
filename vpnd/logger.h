/*
 * Where the daemon's log goes: stderr, as text or JSON, and the ring that `kcpctl log` reads. It waits for nobody: lines that
 * stderr does not take at once are counted, and are still in the ring.
 */
#ifndef VPND_LOGGER_H
#define VPND_LOGGER_H

#include "core/log.h"
#include "vpnd/log_ring.h"

#include <stdbool.h>
#include <stdint.h>

struct logger {
	struct log log; /* handed to the modules; ctx = this */
	struct log_ring ring;
	bool json;
	bool stamped; /* text lines carry the time: not under a service manager, which does that itself */
	int fd;	      /* stderr */
	bool torn;     /* the last line did not go out whole */
	uint64_t lost; /* lines that were not taken, and nobody was told of yet */
};

/**
 * In place: it must not move. Where stderr is something that can be full, it is opened once more in this process, so that it
 * never blocks; whoever shares it keeps it as it was. Descriptor 2 is then another one.
 */
void logger_init(struct logger *logger);
void logger_fini(struct logger *logger);

/**
 * Writes to another descriptor, for tests.
 *
 * @fd  lent
 */
void logger_write_to(struct logger *logger, int fd);

/** Writes a text of several lines, each as a line of its own; empty ones are left out. */
void logger_write_lines(const struct logger *logger, enum log_level level, const char *text);

/** @json  one JSON object a line, {"time","level","text"} */
void logger_configure(struct logger *logger, enum log_level level, bool json);

#endif
