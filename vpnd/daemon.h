/*
 * The daemon of one network: where device, packet path, wire, peers, control socket and configuration meet.
 *
 *      daemon.c          start, stop, one round of the loop, peers
 *      daemon_control.c  what the verbs of kcpctl do
 *      daemon_reload.c   another configuration, all or nothing
 *      daemon_status.c   the status document
 *      daemon_mtu.c      the MTU of the device
 */
#ifndef VPND_DAEMON_H
#define VPND_DAEMON_H

#include "config/config.h"
#include "core/list.h"
#include "vpnd/control_server.h"
#include "vpnd/device.h"
#include "vpnd/logger.h"
#include "vpnd/loop.h"
#include "vpnd/notify.h"
#include "vpnd/options.h"
#include "vpnd/packet_path.h"
#include "vpnd/profile.h"
#include "vpnd/wire.h"

struct broker;
struct netlink;
struct netlink_monitor;
struct peer;
struct privileges;
struct state_file;
struct workers;

struct daemon {
	const struct options *options;	     /* lent */
	const struct privileges *privileges; /* lent */
	struct logger *logger;		     /* lent */
	struct config *config;		     /* in force */
	int64_t generation;		     /* of the configuration */
	struct loop *loop;
	struct broker *broker;	 /* does what the worker may not */
	struct netlink *netlink; /* for what needs no rights: asking */
	struct netlink_monitor *monitor;
	struct device device;
	struct loop_watch tun_watch;
	struct packet_path path;
	struct workers *workers; /* beside this thread; NULL = none */
	struct profile *profile; /* NULL = nobody asked for one */
	struct wire *wire; /* NULL only while stopping, after a reload that could not be undone */
	struct wire_events wire_events;
	struct state_file *state;  /* where peers were, for wires that ask */
	uint16_t mtu_bytes;	   /* of the device */
	bool mtu_probed;	   /* as a path was measured */
	bool mtu_failed;	   /* could not be set the last time */
	struct loop_timer mtu_due; /* to be made smaller */
	struct loop_timer rest;	   /* gives back the memory of queues; armed while there is some */
	struct control_server *control;
	struct notify notify;
	struct list peers;	  /* struct peer */
	struct list *status_next; /* the first that is not in the status document yet */
	struct list *found;	  /* by the last daemon_peer(); NULL = none */
	struct mono up_at;	  /* since when the link is up */
	bool resting;		  /* `rest` is armed */
	bool reloading;		  /* the helper reads the configuration */
	bool reload_dry;	  /* that is only to say what would change */
	bool reload_signal;	  /* SIGHUP wanted it: the log hears what comes of it */
	bool reload_again;	  /* SIGHUP came meanwhile */
	bool helper_back;     /* it answers again: what it missed is to be done after this round */
	bool network_changed; /* to be told to the wire after this round */
	bool slept;	      /* the host was suspended: the same */
	bool stopping;
	int exit_status;
};

/**
 * Starts everything: device, addresses, routes, listening, dialling, control socket. Says on stderr what failed.
 *
 * On the way it gives up its privileges: what comes back runs as another user, beside a helper process.
 *
 * @options, @privileges, @logger  lent
 * @config                         taken, also on failure
 * @ret_daemon                     freed by daemon_free()
 * @return                         EXIT_STATUS_OK or the status to leave with
 */
int daemon_new(const struct options *options, const struct privileges *privileges,
	struct logger *logger, struct config *config, struct daemon **ret_daemon);

/** Runs until SIGTERM, SIGINT or a fatal error. @return the exit status */
int daemon_run(struct daemon *daemon);

/** Closes sessions, withdraws routes and addresses, removes device and socket. NULL is fine. */
void daemon_free(struct daemon *daemon);

/* for the other files of the daemon */

/** @return NULL if there is none of that name. Asking for all in their order is fast. */
struct peer *daemon_peer(struct daemon *daemon, const char *name);

/** Adds a peer of the configuration in force: owner of its addresses, started if wanted. @return 0 or -ENOMEM */
int daemon_peer_add(struct daemon *daemon, const struct config_peer *config);
void daemon_peer_remove(struct daemon *daemon, struct peer *peer);

/** Starts or stops a peer as the configuration, orders and the link say. */
void daemon_peer_apply(struct daemon *daemon, struct peer *peer);

/** Takes the addresses of its configuration away, before it gets another one. */
void daemon_peer_disown(struct daemon *daemon, struct peer *peer);

/** Gives a peer that owns none the addresses of its configuration. */
int daemon_peer_own(struct daemon *daemon, struct peer *peer);

/** Makes the wire that `config` asks for. @return 0 or a negative errno with `*fault` filled */
int daemon_wire_new(struct daemon *daemon, const struct config *config, struct wire **ret_wire,
	struct fault *fault);

int daemon_link_up(struct daemon *daemon, struct fault *fault);

/** @return 0, or the first error with `*fault` filled; the link is down for the daemon in any case */
int daemon_link_down(struct daemon *daemon, struct fault *fault);

/** Prepares what the others need. */
void daemon_mtu_init(struct daemon *daemon);

/** Most of an inner packet that the device may ever carry with this configuration. */
uint16_t daemon_mtu_most(const struct config *config);

/** The configuration in force, the link, or what is known of paths changed: the device follows where it may. */
void daemon_mtu_follow(struct daemon *daemon);

/** The device was given the MTU of the configuration. */
void daemon_mtu_begin(struct daemon *daemon);

/** Tells the log which level and format hold: the command line's, else the configuration's. */
void daemon_configure_log(struct daemon *daemon);

/** The ops of the control socket. */
struct control_ops daemon_control_ops(struct daemon *daemon);

/**
 * Reads the file again, beside everything else.
 *
 * @return -EINPROGRESS: the outcome goes to control_server_reloaded(); -EBUSY: one is under way; another negative
 *         errno with `err` filled
 */
int daemon_reload(struct daemon *daemon, bool dry_run, struct control_error *err);

/** The same; the log hears of the outcome. While one is under way another one follows it. */
void daemon_reload_by_signal(struct daemon *daemon);

/** Fills the status document but for its peers. @return 0 or a negative errno with `err` filled */
int daemon_status(struct daemon *daemon, struct control_status *status, struct control_error *err);

/** Adds one peer to it. */
int daemon_status_peer(struct daemon *daemon, const char *name, struct control_status *status,
	struct control_error *err);

/** Adds the next peers to it, see control_ops. @return how many, or a negative errno */
int daemon_status_peers(
	struct daemon *daemon, bool again, size_t most, struct control_status *status);

/** What `wait` looks at. @return 0 or a negative errno */
int daemon_states(struct daemon *daemon, struct control_states *ret_states);

/** Fills a control error from a fault. */
void daemon_fault_error(const struct fault *fault, struct control_error *err);

#endif
