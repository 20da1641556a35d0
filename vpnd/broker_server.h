/* The helper: the process that keeps CAP_NET_ADMIN, serves one worker, and cleans up after it. */
#ifndef VPND_BROKER_SERVER_H
#define VPND_BROKER_SERVER_H

#include "config/config.h"
#include "vpnd/broker_rules.h"
#include "vpnd/control_socket.h"
#include "vpnd/host_net.h"

#include <stdbool.h>

struct log;
struct netlink;
struct runner;

enum broker_dns {
	BROKER_DNS_NOBODY,
	BROKER_DNS_RESOLVED,
	BROKER_DNS_RESOLVCONF,
};

struct broker_server {
	int fd; /* of the pair; owned by the caller */
	int ifindex;
	const char *file;
	struct broker_rules rules;
	struct host_net host;
	const struct config_reader *reader; /* how files are read; NULL = config_reader_default() */
	struct control_socket control;	    /* path empty = none */
	const struct log *log;
	struct netlink *netlink; /* of this namespace, for policy rules; NULL = none are made */
	struct runner *runner;	 /* of programs; NULL = there is none */
	bool foreign;		 /* this is not the network that the host's services know */
	enum broker_dns dns;	 /* who was told the tunnel's resolvers */
	bool tunnel_on;		 /* the rules of a full tunnel are up */
	bool hook_due;		 /* `up` was run, and `down` was not */
	struct {
		char peer[BROKER_NAME_BYTES]; /* "" = free */
		int ifindex;
	} devices[CONFIG_DEVICES_MAX]; /* of single peers */
	bool ending;		       /* BROKER_END was answered */
	unsigned complaints;	       /* logged */
};

/** Serves requests until the worker says that it ends, or is gone; removes the control socket then. */
void broker_server_run(struct broker_server *server);

#endif
