/* Inside of the native wire: what its files share. */
#ifndef VPND_WIRE_NATIVE_PEER_H
#define VPND_WIRE_NATIVE_PEER_H

#include "core/list.h"
#include "core/mono.h"
#include "kcpvpn/native.h"
#include "vpnd/loop.h"
#include "vpnd/netlink.h"
#include "vpnd/resolver.h"
#include "vpnd/udp_socket.h"
#include "vpnd/wire.h"
#include "vpnd/workers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct control_peer;
struct control_status;
struct log;
struct native_peer;
struct native_wire;
struct peer;
struct state_file;

enum {
	NATIVE_REOPEN_US = 10000000,	/* how often a missing listener is tried again */
	NATIVE_REOPEN_MIN_US = 1000000, /* if the network changes all the time */
	NATIVE_NAME_ADDRESSES =
		4, /* of one name that are called; hosts with more have them for load, not for reach */
	NATIVE_TOO_BIG_MAX = 16, /* refused sizes that wait to be told to the library */
};

/** A socket and its place in the loop, and a second one of the same port where the host has it (udp_group.h). */
struct native_socket {
	struct udp_socket udp;
	struct loop_watch watch;
	/* What is not DATA comes here, if `parted`, and nothing leaves here: to the library both are one port. */
	struct udp_socket calls;
	struct loop_watch calls_watch;
	bool parted;
	struct worker_socket *shards; /* one for each worker; NULL = there are none */
	uint64_t number;	      /* of the group: from 1 on, in the whole process */
	struct native_wire *wire;
	struct kcpvpn_endpoint
		listen; /* as configured; family 6, all zero = any address and port */
};

/** An endpoint of the configuration and what it means now. */
struct native_name {
	char *text; /* "host:port"; owned */
	struct native_peer *owner;
	struct resolver_query query; /* only if it is a name */
	bool numeric;
	bool failed; /* the last question brought nothing: said once */
	size_t count;
	struct kcpvpn_endpoint found[NATIVE_NAME_ADDRESSES];
};

/** What the wire knows of a peer that is started. */
struct native_peer {
	struct list in_wire;
	struct native_wire *wire;
	struct peer *peer;
	struct kcpvpn_peer *handle;
	enum wire_peer_state told;		  /* last state told to the packet path */
	uint32_t told_mtu, told_most, told_super; /* last sizes told to the packet path */
	struct loop_timer mtu_due;		  /* tell that the path is short */
	const char *told_trouble;		  /* last trouble logged */
	bool wanted; /* called once although it is not persistent: its address was remembered */
	int64_t keepalive_us;		/* in use */
	struct netlink_path path;	/* how the host reaches where it is; ifindex 0 = unknown */
	struct kcpvpn_endpoint path_to; /* where that is */
	bool unsummed;	  /* what goes there leaves by a device that does not compute checksums */
	bool way_changed; /* the way to the same place did, and the library was not told yet */

	struct native_name *names; /* its endpoints */
	size_t name_count;
	size_t name_first; /* the first of those that are called, if there are more than can be */
	size_t names_open; /* questions without an answer yet */
	bool inside;	   /* all its addresses are reached by the tunnel itself: said once */
	struct mono asked_at;	     /* when names were last asked; MONO_NEVER = never */
	int64_t pause_us;	     /* before the next question, after one that brought nothing */
	struct loop_timer names_due; /* ask again */
};

struct native_refused {
	struct kcpvpn_endpoint remote;
	size_t len;
};

struct native_wire {
	struct wire wire; /* first member */
	struct loop *loop;
	const struct config *config;
	struct workers *workers; /* NULL = none */
	struct netlink *netlink;
	struct state_file *state; /* NULL = nothing is remembered */
	const struct log *log;
	struct kcpvpn_native *native;
	struct kcpvpn_shared_memory *memory; /* of it and its followers; NULL = there are none */
	struct udp_batch *batch;
	size_t unsummed_count; /* peers that are */
	struct resolver *resolver;
	/* For each address of config->listen in its order, each in memory of its own: a socket must not move. NULL: it
	   had to make way for a reload that was refused, and could not be opened again yet. */
	struct native_socket **listeners;
	size_t listener_count;
	struct loop_timer reopen; /* armed while one is missing */
	struct mono reopened_at;  /* last try; MONO_NEVER = none */
	struct native_socket *
		spare; /* for addresses of a family that no listener serves; NULL = not needed yet */
	bool no_spare;		 /* the host gave none: not tried again before a change */
	bool no_spare_said;	 /* logged once until there is one */
	uint16_t mtu_bytes;	 /* most of an inner packet that we take */
	struct loop_timer timer; /* the library's deadline */
	struct list peers;	 /* struct native_peer */
	size_t peer_count;

	struct native_refused refused[NATIVE_TOO_BIG_MAX];
	size_t refused_count;

	struct loop_timer sweep; /* looks at some peers' paths, after the network changed */
	struct list *sweep_next; /* the next of them; the head of the list = done */
	bool sweep_again;	 /* something changed since this one began */
	struct mono swept_at;	 /* when the last one began; MONO_NEVER = never */
	struct mono told_at; /* when the library was last told of a change; MONO_NEVER = never */
	struct loop_timer trouble; /* look at peers that are called; armed while there are some */
	struct loop_timer tell;	   /* tell it again */
};

/* wire_native_sockets.c */
/** Prepares what the others need. */
void native_listen_init(struct native_wire *wire);
/**
 * Listens on exactly the addresses of `config`: keeps those open already, all or nothing.
 *
 * @return  0: all is as it was; 1: the sockets are others, so all peers' targets are to be set anew; a negative errno: the
 *          old addresses hold, but sockets may have been closed and opened again, so the same
 */
int native_listen(struct native_wire *wire, const struct config *config, struct fault *fault);
/** The host's network changed: what is missing is tried again soon. */
void native_listen_again(struct native_wire *wire);
/** Address `index` that should be listened on and is not, from 0 on. @return NULL behind the last */
const struct kcpvpn_endpoint *native_listen_missing(const struct native_wire *wire, size_t index);
void native_listen_end(struct native_wire *wire);
/** The socket of that number. @return NULL: it is gone */
struct native_socket *native_socket_of(const struct native_wire *wire, uint64_t number);
/** Any descriptor that answers questions about interfaces; -1 = there is none. */
int native_any_socket(const struct native_wire *wire);
/**
 * The socket that reaches `remote`, opening one if it must.
 *
 * @source  the own address that the host's routes give; family 0 = not known
 * @return  NULL if the host cannot reach that family
 */
const struct kcpvpn_udp_port *native_port_for(struct native_wire *wire,
	const struct kcpvpn_endpoint *remote, const struct kcpvpn_endpoint *source);

/* wire_native_targets.c */
#define NATIVE_INSIDE_TEXT                                                                         \
	"all its addresses are reached by the tunnel itself, so it cannot be called: a route, or " \
	"allowed_ips of a peer, holds them"
/** Takes over the endpoints of the peer's configuration and begins to ask for names. @return 0 or -ENOMEM */
int native_targets_start(struct native_peer *p);
void native_targets_stop(struct native_peer *p);
/** Gives the library the addresses as they are known now. */
void native_targets_set(struct native_peer *p);
void native_targets_set_all(struct native_wire *wire);
/** The configuration may be another: takes over what differs. @return 0 or -ENOMEM */
int native_targets_changed(struct native_peer *p);
/** No address answers: names may mean others by now. */
void native_targets_ask_again(struct native_peer *p);
/** The state changed: names are asked at another pace. */
void native_targets_state(struct native_peer *p);
/** Where the peer is, or may be. @return false if nothing is known */
bool native_targets_where(const struct native_peer *p, struct kcpvpn_endpoint *ret_remote);

/* wire_native.c */
/** Looks how the host reaches the peer. */
void native_peer_look(struct native_peer *p);
/** Takes over configuration and keepalive. */
void native_peer_configure(struct native_peer *p);
int64_t native_now(const struct native_wire *wire);

/* wire_native_status.c */
void native_peer_loss(
	const struct wire *wire, const struct peer *peer, double *ret_raw, double *ret_residual);
void native_peer_status(
	const struct wire *wire, const struct peer *peer, struct control_peer *status);
void native_status(const struct wire *wire, struct control_status *status);

/** True for addresses that are not reachable from everywhere: something on the way translates them. */
bool native_address_private(const struct kcpvpn_endpoint *endpoint);

#endif
