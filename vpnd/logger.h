/* Where the daemon's log goes: stderr, as text or JSON, and the ring that `kcpctl log` reads. */
#ifndef VPND_LOGGER_H
#define VPND_LOGGER_H

#include "core/log.h"
#include "vpnd/log_ring.h"

#include <stdbool.h>

struct logger {
	struct log log; /* handed to the modules; ctx = this */
	struct log_ring ring;
	bool json;
	bool stamped; /* text lines carry the time: not under a service manager, which does that itself */
};

/** In place: it must not move. */
void logger_init(struct logger *logger);
void logger_fini(struct logger *logger);

/** @json  one JSON object a line, {"time","level","text"} */
void logger_configure(struct logger *logger, enum log_level level, bool json);

#endif
