/* The helper: the process that keeps CAP_NET_ADMIN, serves one worker, and cleans up after it. */
#ifndef VPND_BROKER_SERVER_H
#define VPND_BROKER_SERVER_H

#include "config/config.h"
#include "vpnd/broker_rules.h"
#include "vpnd/control_socket.h"
#include "vpnd/full_tunnel.h"
#include "vpnd/host_net.h"

#include <stdbool.h>
#include <stdint.h>

struct fault;
struct log;
struct netlink_guard_watch;
struct runner;

struct broker_server {
	int fd; /* of the pair; owned by the caller */
	int ifindex;
	const char *file;
	struct broker_rules rules;
	struct host_net host;
	const struct config_reader *reader; /* how files are read; NULL = config_reader_default() */
	struct control_socket control;	    /* path empty = none */
	const struct log *log;
	struct full_tunnel
		tunnel;	       /* its netlink is that of this namespace; NULL = no rules are made */
	struct runner *runner; /* of programs; NULL = there is none */
	bool foreign;	       /* this is not the network that the host's services know */
	bool told_resolved;    /* the tunnel's resolvers, or some of that */
	bool told_resolvconf;
	bool tunnel_on; /* rules of a full tunnel are up, or some of them */
	bool said_crowded, said_deaf;
	struct netlink_guard_watch
		*watch; /* on the packet filter of a kill switch; NULL = there is none */
	struct {
		int64_t due_us; /* when it is put back, on loop_clock(); 0 = not at all */
		int64_t wait_us, done_us, said_us;
		unsigned count; /* since that was said */
	} put_back;
	struct {
		char peer[BROKER_NAME_BYTES]; /* "" = free */
		int ifindex;
	} devices[CONFIG_DEVICES_MAX]; /* of single peers */
	bool ending;		       /* BROKER_END was answered */
	unsigned complaints;	       /* logged */
};

/**
 * Sets the full tunnel as the configuration in force says, and watches over the packet filter of a kill switch.
 *
 * @how  enum broker_tunnel
 */
int broker_server_tunnel(
	struct broker_server *server, uint32_t how, size_t *ret_changed, struct fault *fault);

/* for the other file of the server (broker_tunnel.c): what is to be waited for, and done afterwards */
int broker_server_watch_fd(const struct broker_server *server); /* -1 = nothing */
int broker_server_wait_ms(const struct broker_server *server);	/* -1 = for ever */
void broker_server_look(struct broker_server *server);
void broker_server_put_back(struct broker_server *server);

/** Serves requests until the worker says that it ends, or is gone; removes the control socket then. */
void broker_server_run(struct broker_server *server);

#endif
