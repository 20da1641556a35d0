/* Moves bytes between a node's conversations and the standard streams until it is time to leave. */
#ifndef KCPCAT_PUMP_H
#define KCPCAT_PUMP_H

#include "options.h"
#include "socket.h"

struct pump;

/** @socket  open; must outlive the pump   @return NULL after a message on stderr */
struct pump *pump_new(const struct options *options, struct udp_socket *socket);
void pump_free(struct pump *pump);

/** Runs until done or told to stop by SIGINT or SIGTERM. */
enum exit_status pump_run(struct pump *pump);

#endif
