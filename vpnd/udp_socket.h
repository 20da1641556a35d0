/*
 * UDP sockets in batches, behind the library's door to the network (struct kcpvpn_udp_port). Nothing that the network
 * answers is fatal: errors are counted by class and the datagram is lost.
 */
#ifndef VPND_UDP_SOCKET_H
#define VPND_UDP_SOCKET_H

#include "kcpvpn/endpoint.h"
#include "kcpvpn/udp_port.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault;
struct udp_batch;

enum {
	UDP_SOCKET_BUFFER_BYTES = 4 << 20, /* 4 MiB is 0.3 s at 100 Mb/s */
	UDP_DATAGRAM_BYTES = 2048,	   /* longest datagram of a wire of at most 1500 bytes */
	UDP_ALONE_RUNS = 1024, /* runs that go datagram by datagram after one was refused */
};

/** Classes of what a send or receive was refused for. */
enum udp_error {
	UDP_ERROR_FULL,	       /* EAGAIN, ENOBUFS, ENOMEM: the host cannot take more now */
	UDP_ERROR_REFUSED,     /* ECONNREFUSED: nobody listens there (ICMP) */
	UDP_ERROR_UNREACHABLE, /* no route, network or host down (host or ICMP) */
	UDP_ERROR_TOO_BIG,     /* EMSGSIZE */
	UDP_ERROR_FORBIDDEN,   /* EPERM, EACCES: a packet filter, or broadcast */
	UDP_ERROR_ADDRESS,     /* the own address is gone, or of the other family */
	UDP_ERROR_OTHER,
	UDP_ERRORS,
};

enum udp_fragmenting {
	UDP_FRAGMENTING_HOST, /* as the kernel does by default: DF while datagrams fit the known path MTU */
	UDP_FRAGMENTING_NEVER, /* always DF; the kernel's idea of the path MTU is ignored (for probing) */
};

struct udp_socket_counters {
	uint64_t rx_datagrams;
	uint64_t rx_bytes;
	uint64_t tx_datagrams;
	uint64_t tx_bytes;
	uint64_t
		rx_messages; /* what the kernel made of rx_datagrams and of those dropped: runs count once */
	uint64_t tx_messages;	  /* what tx_datagrams were to the kernel */
	uint64_t tx_runs_refused; /* and had to go datagram by datagram */
	uint64_t rx_cut;	  /* longer than the batch allows, dropped */
	uint64_t
		rx_strange; /* messages without a usable sender address, or that cannot be told apart, dropped */
	uint64_t rx_errors[UDP_ERRORS];
	uint64_t tx_errors[UDP_ERRORS]; /* datagrams lost */
};

struct udp_socket_options {
	/* Family 6 and no address: IPv6 and IPv4 (IPv4 alone where the host has no IPv6). Family 4 and no address: IPv4.
	   An address: that alone. Port 0: any. */
	struct kcpvpn_endpoint local;
	/* Family 4 or 6: the socket is connected to it, and the kernel drops what others send. 0: it talks to all. */
	struct kcpvpn_endpoint remote;
	uint32_t fwmark; /* 0 = none; needs CAP_NET_ADMIN */
	enum udp_fragmenting fragmenting;
	bool joins; /* the port of another socket, which udp_group_share() made ready for that */
	/**
	 * Called from within sending: the host would not send this datagram in one piece, and it is lost. It must not use
	 * the socket. NULL = nobody wants to know.
	 */
	void (*on_too_big)(void *ctx, const struct kcpvpn_datagram *datagram);
	void *ctx; /* of on_too_big */
};

struct udp_socket {
	int fd;	 /* non-blocking, close-on-exec; -1 = closed */
	bool v6; /* an AF_INET6 socket */
	bool connected;
	bool ipv4_only;		       /* asked for both families, the host has IPv4 only */
	uint16_t port;		       /* own, host order */
	struct kcpvpn_endpoint remote; /* if connected */
	struct udp_batch *batch;
	bool runs;	      /* the kernel takes runs of datagrams */
	bool kernel_has_more; /* the last receive got all it asked for */
	unsigned alone_runs;  /* runs still to go datagram by datagram, because one was refused */
	unsigned receive_messages; /* asked for by the next receive */
	void (*on_too_big)(void *ctx, const struct kcpvpn_datagram *datagram);
	void *ctx;
	struct kcpvpn_udp_port
		kcpvpn; /* the door to this socket; its address names the socket to the library */
	struct udp_socket_counters counters;
};

/**
 * The arrays that system calls need, and buffers for what arrives: one for all sockets of a thread.
 *
 * @datagram_bytes  the longest datagram, e.g. UDP_DATAGRAM_BYTES; longer ones are dropped
 * @return          freed by udp_batch_free() after the sockets; NULL without memory. 4 MiB of address space, of which
 *                  most is never touched
 */
struct udp_batch *udp_batch_new(size_t datagram_bytes);
void udp_batch_free(struct udp_batch *batch);

/**
 * Whether datagrams may leave as runs (udp_offload.h), from all sockets of the batch; not so at first. Right where the
 * devices they leave by compute checksums.
 */
void udp_batch_set_runs(struct udp_batch *batch, bool runs);

/** What udp_socket_open() does if no option is set: both families, any port, talks to all. */
void udp_socket_options_init(struct udp_socket_options *options);

/**
 * Opens a socket in place: `socket` must not move while open, and must have been zeroed or closed before.
 *
 * @batch   used by all calls on the socket; outlives it
 * @fault   says what, why and what next; may be NULL
 * @return  0; -EADDRINUSE; -EADDRNOTAVAIL; -EACCES (port below 1024); -ENETUNREACH and others from connecting
 */
int udp_socket_open(struct udp_socket *socket, const struct udp_socket_options *options,
	struct udp_batch *batch, struct fault *fault);

/**
 * A descriptor as udp_socket_open() begins with: non-blocking, close-on-exec, with large buffers, which take
 * CAP_NET_ADMIN.
 *
 * @local   port 0: only its family counts. Else it is bound there, which may take CAP_NET_BIND_SERVICE; without an
 *          address of family 6 it takes both families
 * @joins   as in struct udp_socket_options
 * @ret_fd  owned by the caller
 */
int udp_socket_prepare(
	const struct kcpvpn_endpoint *local, bool joins, int *ret_fd, struct fault *fault);

/** Does for this process what udp_socket_prepare() does, and marks the socket, which takes CAP_NET_ADMIN. @return 0 or a negative errno */
typedef int (*udp_socket_open_fn)(
	void *ctx, const struct kcpvpn_endpoint *local, bool joins, uint32_t fwmark, int *ret_fd);

/**
 * From now on descriptors of this process are asked for here first, because somebody else is allowed more; if that fails,
 * it does what it can by itself, but for a port below 1024, unless nobody answers (-EPIPE, -ETIMEDOUT). NULL = no longer. For all threads: set it while there is one.
 */
void udp_socket_set_opener(udp_socket_open_fn open, void *ctx);

/** Harmless on a closed or zeroed socket. */
void udp_socket_close(struct udp_socket *socket);

/**
 * Takes what has arrived, at most KCPVPN_BATCH_MAX datagrams.
 *
 * @ret_batch  the datagrams, with the own address they came to; in the batch's memory until its next receive; may be
 *             written to (decrypting in place); there may be no room around them
 * @return     how many; may be 0 although more waits, see udp_socket_more()
 */
size_t udp_socket_receive(struct udp_socket *socket, const struct kcpvpn_datagram **ret_batch);

/** @return  whether it is worth receiving again: something waits here or, perhaps, in the kernel */
bool udp_socket_more(const struct udp_socket *socket);

/**
 * @return  whether datagrams wait here: they must be received before the thread sleeps, since no event tells of them,
 *          and before another socket of the batch receives, since they would be lost
 */
bool udp_socket_pending(const struct udp_socket *socket);

/**
 * Sends as kcpvpn_udp_port.send() does. On a connected socket `remote` of the datagrams is ignored; on others an own
 * address that is gone is replaced by the kernel's choice.
 */
void udp_socket_send(struct udp_socket *socket, const struct kcpvpn_datagram *batch, size_t count);

/** The own address and port; of a connected socket the one that the route chose. @return 0 or a negative errno */
int udp_socket_local(const struct udp_socket *socket, struct kcpvpn_endpoint *ret_local);

/** "full", "refused", ...: names of the drop counters. Static. */
const char *udp_error_str(enum udp_error error);

#endif
