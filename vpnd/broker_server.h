/* The helper: the process that keeps CAP_NET_ADMIN, serves one worker, and cleans up after it. */
#ifndef VPND_BROKER_SERVER_H
#define VPND_BROKER_SERVER_H

#include "vpnd/broker_rules.h"
#include "vpnd/control_socket.h"
#include "vpnd/host_net.h"

#include <stdbool.h>

struct config_reader;
struct log;

struct broker_server {
	int fd; /* of the pair; owned by the caller */
	int ifindex;
	const char *file;
	struct broker_rules rules;
	struct host_net host;
	const struct config_reader *reader; /* how files are read; NULL = config_reader_default() */
	struct control_socket control;	    /* path empty = none */
	const struct log *log;
	bool ending;	     /* BROKER_END was answered */
	unsigned complaints; /* logged */
};

/** Serves requests until the worker says that it ends, or is gone; removes the control socket then. */
void broker_server_run(struct broker_server *server);

#endif
