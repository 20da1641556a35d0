/* Inside of the kcp-go wire: what its files share. */
#ifndef VPND_WIRE_KCP_GO_PEER_H
#define VPND_WIRE_KCP_GO_PEER_H

#include "core/ip_header.h"
#include "core/list.h"
#include "core/mono.h"
#include "kcpvpn/node.h"
#include "vpnd/loop.h"
#include "vpnd/netlink.h"
#include "vpnd/resolver.h"
#include "vpnd/udp_socket.h"
#include "vpnd/wire.h"

#include <stdbool.h>

struct config;
struct kcp_go;
struct log;
struct peer;

enum {
	CALLS_PER_PEER = 4, /* conversations of one peer that may exist at once; more are closed */
};

/** A socket and its place in the loop. */
struct kcp_go_socket {
	struct udp_socket udp;
	struct loop_watch watch;
	struct kcp_go *wire;
	bool accepts;		       /* strangers may open conversations */
	struct kcpvpn_endpoint listen; /* as configured, if it accepts */
};

/** What the user pointer of a conversation points to. */
struct kcp_go_owner {
	bool is_call; /* part of a struct kcp_go_call, else of a struct wire_peer */
};

/** A conversation that came in. */
struct kcp_go_call {
	struct kcp_go_owner owner;
	struct list in_list; /* of its peer, or of the unknown */
	struct kcp_go *wire;
	struct kcpvpn_conv *conv;
	struct wire_peer *peer; /* NULL = not known yet */
	struct loop_timer
		timer; /* not known: its time; known: when it may become the current one */
	struct mono began_at;
	struct mono
		asked_at; /* when the current call was asked for a sign of life; MONO_NEVER = not yet */
	uint8_t source
		[IP_HEADER_V6_BYTES]; /* a bare packet from the inner address that told whose it is */
	size_t source_len;	      /* 0 = none did */
	bool by_default;	      /* given to the only peer without endpoints */
	bool spoke;		      /* brought a message while it was not known */
};

/** What the wire knows of a peer. */
struct wire_peer {
	struct kcp_go_owner dial_owner;
	struct list in_wire;
	struct kcp_go *wire;
	struct peer *peer;
	bool started;
	bool held;		   /* has more to send than the round takes */
	bool unsummed;		   /* behind a device that computes no checksums */
	enum wire_peer_state told; /* last state told to the packet path */

	/* dialling: only with endpoints */
	struct kcp_go_socket socket;
	struct kcpvpn_conv *dialled; /* NULL = between attempts */
	bool dormant; /* gave up until there is something to send (session.persistent: false) */
	unsigned failures; /* attempts in a row without an answer */
	bool alive;	   /* the dialled conversation has answered */
	struct resolver_query query;
	struct kcpvpn_endpoint found
		[RESOLVER_ENDPOINTS_MAX]; /* addresses of the endpoint that was resolved last */
	size_t found_count;
	size_t found_next;    /* which of them is next */
	size_t endpoint_next; /* which of the configured endpoints is next */
	struct mono resolved_at;
	struct kcpvpn_endpoint remote; /* where it is dialled now */
	struct netlink_path path;      /* how the host reaches it; ifindex 0 = unknown */
	struct loop_timer retry;       /* dial again, or try the next address */
	int64_t pause_us;	       /* before the next attempt */

	/* being called: conversations of this peer that came in, the one to send on first */
	struct list calls;
	struct mono up_at; /* since when it is up; MONO_NEVER = it is not */

	/* what conversations that are gone had counted, and loss over the last ten seconds */
	struct kcpvpn_conv_stats past;
	struct mono loss_from;
	uint64_t loss_numbers, loss_numbered, loss_recovered; /* totals at `loss_from` */
	double loss_raw_in, loss_residual_in;		      /* 0..1; negative = unknown */
	struct loop_timer loss_timer;

	/* a probe: a WASK, whose answer is the next WINS of the same conversation */
	uint64_t pings; /* sent */
	const struct kcpvpn_conv *ping_conv;
	uint64_t ping_windows; /* WINS that had come before it */
	struct mono ping_at;   /* MONO_NEVER = none was sent */
	int64_t ping_took_us;  /* -1 = no answer yet */
};

struct kcp_go {
	struct wire wire; /* first member */
	struct loop *loop;
	const struct config *config;
	struct netlink *netlink;
	const struct log *log;
	struct kcpvpn_node *node;
	uint8_t *packet; /* SUPER_PACKET_BYTES_MAX bytes: one that cannot be made in its place */
	struct udp_batch *batch;
	struct resolver *resolver;
	size_t round_bytes;		  /* taken since the last flush */
	bool holds;			  /* a peer is held */
	struct kcp_go_socket **listeners; /* each in memory of its own: a socket must not move */
	size_t listener_count;
	struct loop_timer timer; /* the node's deadline */
	struct list peers;	 /* struct wire_peer */
	struct list unknown;	 /* struct kcp_go_call */
	size_t unknown_count;
	uint64_t unknown_refused; /* callers beyond the bound */
	size_t unsummed_count;	  /* peers behind such devices: none, or nothing leaves as runs */
	uint64_t unknown_expired; /* callers that never showed whose they are */
};

/* wire_kcp_go_dial.c */
void kcp_go_dial_start(struct wire_peer *p);
void kcp_go_dial_stop(struct wire_peer *p);
/** Wakes a peer that gave up. */
void kcp_go_dial_wake(struct wire_peer *p);
/** The dialled conversation has events. */
void kcp_go_dial_event(struct wire_peer *p, unsigned events);
/** Dials anew at once if the host's way to the peer changed, or if it is not up. */
void kcp_go_dial_network_changed(struct wire_peer *p);

/* wire_kcp_go_call.c */
/** A conversation came in. @return false if there was no room: it is closed */
bool kcp_go_call_accept(struct kcp_go *wire, struct kcpvpn_conv *conv);
void kcp_go_call_event(struct kcp_go_call *call, unsigned events);
void kcp_go_call_free(struct kcp_go_call *call);
/** Other addresses or peers are configured: ends those calls of a peer that are no longer its own by them. */
void kcp_go_call_check(struct wire_peer *p);
/** The same for callers nobody knew: some may have become a peer. */
void kcp_go_call_check_unknown(struct kcp_go *wire);
/** The conversation of a call that packets to the peer leave on; NULL if none is alive. */
struct kcpvpn_conv *kcp_go_call_current(const struct wire_peer *p);

/* wire_kcp_go_listen.c */
/** Listens on exactly the addresses of `config`: keeps those open already, all or nothing. */
int kcp_go_listen(struct kcp_go *wire, const struct config *config, struct fault *fault);
void kcp_go_listen_end(struct kcp_go *wire);

/* wire_kcp_go_runs.c */
/** Asks how the host reaches a peer: what leaves for it leaves by another way, or not any more. */
void kcp_go_look(struct wire_peer *p);

/* wire_kcp_go.c */
/** Sets keepalive and dead_after of a conversation as its peer's configuration says. */
void kcp_go_configure(const struct wire_peer *p, struct kcpvpn_conv *conv);
int64_t kcp_go_now(const struct kcp_go *wire);
/** Hands all messages of a conversation to the packet path. */
void kcp_go_receive(struct wire_peer *p, struct kcpvpn_conv *conv);
/** Tells the packet path if the peer's state differs from what it was told. */
void kcp_go_tell_state(struct wire_peer *p);
/** Closes a conversation; its counters stay with the peer. @p  NULL = nobody's */
void kcp_go_close(struct kcp_go *wire, struct wire_peer *p, struct kcpvpn_conv *conv);
/** The conversation packets to the peer leave on; NULL if there is none. */
struct kcpvpn_conv *kcp_go_conv(const struct wire_peer *p);
int kcp_go_socket_open(struct kcp_go *wire, struct kcp_go_socket *socket,
	const struct udp_socket_options *options, struct fault *fault);
void kcp_go_socket_close(struct kcp_go_socket *socket);

/* wire_kcp_go_ping.c */
int kcp_go_ping(struct wire *wire, struct peer *peer, uint32_t size_bytes, uint64_t *ret_ping);
int64_t kcp_go_pong(const struct wire *wire, const struct peer *peer, uint64_t ping);

/* wire_kcp_go_status.c */
void kcp_go_peer_loss(
	const struct wire *wire, const struct peer *peer, double *ret_raw, double *ret_residual);
void kcp_go_peer_status(
	const struct wire *wire, const struct peer *peer, struct control_peer *status);
void kcp_go_status(const struct wire *wire, struct control_status *status);
void kcp_go_loss_start(struct wire_peer *p);
/** Sums up what all conversations of a peer counted, also those that are gone. */
void kcp_go_totals(const struct wire_peer *p, struct kcpvpn_conv_stats *ret_totals);
void kcp_go_add_stats(struct kcpvpn_conv_stats *sum, const struct kcpvpn_conv_stats *more);

#endif
