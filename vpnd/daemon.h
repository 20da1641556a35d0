/*
 * The daemon of one network: where device, packet path, wire, peers, control socket and configuration meet.
 *
 *      daemon.c          one round of the loop, peers, the link
 *      daemon_start.c    start and end
 *      daemon_control.c  what the verbs of kcpctl do
 *      daemon_reload.c   another configuration, all or nothing
 *      daemon_peers.c    peers that come and go by order
 *      daemon_status.c   the status document
 *      daemon_mtu.c      the MTU of the device
 *      daemon_host.c     what is done to the host besides: full tunnel, resolvers, hooks, devices of peers
 *      daemon_manager.c  what a service manager hears
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
#include "vpnd/runtime_peers.h"
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
	int netns;		 /* of the device, until the helper has it, too; 0 = none */
	struct netlink *inner;	 /* the same where the device is; NULL = that is here */
	struct netlink_monitor *monitor;
	struct netlink_monitor *inner_monitor;
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
	struct loop_timer restore; /* of what somebody removed */
	int64_t restore_us;	   /* how long that waits the next time */
	struct mono restored_at;
	struct loop_timer hooks_again; /* what there was no room for */
	struct list gone;	       /* peers that went, and `peer_down` is still to be told */
	bool pre_up_hook, peer_hooks;  /* there are such programs */
	struct loop_timer refresh; /* of what depends on the host's network, when that changed */
	int64_t refresh_us;
	struct mono refreshed_at;
	bool tunnel_stands;	/* rules of a full tunnel may be on the host */
	bool tunnel_failed;	/* the helper could not be told the last time what is to be */
	struct loop_timer rest; /* gives back the memory of queues; armed while there is some */
	struct control_server *control;
	struct notify notify;
	struct loop_timer alive;	  /* to be told to the service manager */
	struct list peers;		  /* struct peer */
	struct list *status_next;	  /* the first that is not in the status document yet */
	struct list *found;		  /* by the last daemon_peer(); NULL = none */
	struct mono up_at;		  /* since when the link is up */
	bool resting;			  /* `rest` is armed */
	bool reloading;			  /* the helper reads the configuration */
	bool reload_dry;		  /* that is only to say what would change */
	struct runtime_peers peers_given; /* by order, over the files */
	struct runtime_peers peers_next;  /* the same once the change under way is done */
	struct control_request change;	  /* peer.add or peer.del; else a reload */
	bool reload_signal;		  /* SIGHUP wanted it: the log hears what comes of it */
	bool reload_again;		  /* SIGHUP came meanwhile */
	bool helper_back;     /* it answers again: what it missed is to be done after this round */
	bool peers_moved;     /* the state of one, or of more, changed */
	bool dns_failed;      /* the resolvers could not be told */
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

/** For daemon_start.c: what wires tell. */
struct wire_events daemon_wire_events(struct daemon *daemon);

/** For daemon_start.c: makes the loop and what it drives; lets it read the device. @return 0 or a negative errno with `*fault` filled */
int daemon_loop_open(struct daemon *daemon, struct fault *fault);
int daemon_loop_start(struct daemon *daemon, struct fault *fault);

/** A device_wanted_fn, and what a netlink monitor calls. @ctx  the daemon */
bool daemon_routes_wanted(void *ctx, const char *name);
void daemon_network_changed(void *ctx);

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

/** Prepares what the others of daemon_host.c need. */
void daemon_host_init(struct daemon *daemon);
void daemon_host_fini(struct daemon *daemon);

/** Runs pre_up, before the link comes up. @return 0 or a negative errno with `*fault` filled: it must not */
int daemon_host_before_up(struct daemon *daemon, struct fault *fault);

/** The link is up: rules, resolvers, hook. @return as daemon_host_before_up() */
int daemon_host_up(struct daemon *daemon, struct fault *fault);

/** The link is about to go down by order; it is down. @return the first: 0 or a negative errno with `*fault` filled */
int daemon_host_before_down(struct daemon *daemon, struct fault *fault);
void daemon_host_down(struct daemon *daemon);

/**
 * Tries again what the helper was told in vain.
 *
 * @ordered_down  somebody orders the link down, which it is: what stands all the same goes
 * @return        as daemon_host_before_up()
 */
int daemon_host_repair(struct daemon *daemon, bool ordered_down, struct fault *fault);

/** Whether daemon_host_repair() has anything to do, the link being down by order. */
bool daemon_host_unclean(const struct daemon *daemon);

/**
 * Another configuration is in force, and the helper knows.
 *
 * @was_full    whether the one before had a full tunnel
 * @dns_before  its servers and search
 */
void daemon_host_changed(
	struct daemon *daemon, bool was_full, const struct config_strings dns_before[2]);

/** Names are to be asked outside the tunnel of this configuration. @return 0 or a negative errno with `*fault` filled */
int daemon_host_prepare_lookups(
	struct daemon *daemon, const struct config *config, struct fault *fault);

/** Makes the peer's device, if it is to have one; and takes it away. */
int daemon_host_peer_added(struct daemon *daemon, struct peer *peer, struct fault *fault);
void daemon_host_peer_gone(struct daemon *daemon, struct peer *peer);

/** A device_peer_ifindex_fn. @ctx  the daemon */
int daemon_host_peer_ifindex(void *ctx, const char *name);

/** Sets the MTU of peers' devices. */
void daemon_host_set_mtu(struct daemon *daemon, uint16_t bytes);

/** Tells hooks and devices what became of peers. After each round. */
void daemon_host_after_round(struct daemon *daemon);

/** The host's links, addresses or routes changed. */
void daemon_host_network_changed(struct daemon *daemon);

/** A netlink_lost_fn. @ctx  the daemon */
void daemon_host_lost(void *ctx);

/** For struct netlink_own: the device of a peer. @ctx  the daemon */
bool daemon_host_owns(void *ctx, int ifindex);

/** Prepares what the others need: finds the service manager, if there is one. */
void daemon_manager_init(struct daemon *daemon);

/** The control socket is the manager's; `usual` is where it would be without. */
void daemon_manager_tell_socket(struct daemon *daemon, const char *usual);

/** Everything is started; a reload is done, with whatever outcome; the end begins. */
void daemon_manager_begin(struct daemon *daemon);
void daemon_manager_reloaded(struct daemon *daemon);
void daemon_manager_end(struct daemon *daemon);

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

/**
 * Adds or removes a peer by order.
 *
 * @return 0 if there is nothing to do; else as daemon_reload()
 */
int daemon_change_peer(struct daemon *daemon, const struct control_request *request,
	struct control_reload *result, struct control_error *err);

/** For daemon_reload.c: lets the helper read the files, with `next` (taken) laid over them. As daemon_reload(). */
int daemon_begin_change(
	struct daemon *daemon, struct runtime_peers *next, bool dry_run, struct control_error *err);

/** The order under way would change just what it says. @return 0, or a negative errno with `err` filled */
int daemon_judge_change(struct daemon *daemon, const struct config *after,
	const struct config_diff *diff, struct control_error *err);

/** Lets the helper know the addresses of peers that no file names. */
void daemon_tell_destinations(
	struct daemon *daemon, const struct config *after, struct control_reload *result);

/** The same as daemon_reload(); the log hears of the outcome. While one is under way another one follows it. */
void daemon_reload_by_signal(struct daemon *daemon);

/** Fills the status document but for its peers. @return 0 or a negative errno with `err` filled */
int daemon_status(struct daemon *daemon, struct control_status *status, struct control_error *err);

/** Probes, see control_ops. */
int daemon_ping(struct daemon *daemon, const char *name, int64_t size, uint64_t *ret_ping,
	struct control_error *err);
bool daemon_pong(struct daemon *daemon, const char *name, uint64_t ping, bool final,
	struct control_ping *ret_ping);

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
