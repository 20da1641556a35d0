/*
 * Threads beside the main one that carry packets. Each has a queue of the device, a socket of every port, a loop, a packet
 * path with its own table of who owns which address, and one shard of every session (kcpvpn/native_shards.h). The main
 * thread has shard 0, and everything else that the daemon does.
 *
 *                    main thread                          worker of shard s
 *      TUN queue 0, sockets 0, handshakes            TUN queue s, sockets s
 *      kcpvpn_native (leader)      -- messages -->   kcpvpn_native (follower)
 *                                  <-- messages --
 *                                  <-- packets ---   of peers whose sessions lack shard s
 *                                  <- datagrams ->   that came to the socket of another (handover.h)
 *
 * On the way of a packet nothing is shared. What changes seldom (configuration, peers, sockets, MTU) the main thread changes
 * in the workers' structures while they stand still: between workers_stop() and workers_go(), which nest. All functions here
 * are the main thread's, and those that change something must stand between the two. NULL stands for no workers, and is fine
 * everywhere.
 */
#ifndef VPND_WORKERS_H
#define VPND_WORKERS_H

#include "core/mono.h"
#include "core/super_message.h"
#include "kcpvpn/native_shards.h"
#include "vpnd/loop.h"
#include "vpnd/tun.h"
#include "vpnd/udp_socket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault;
struct handover_side;
struct kcpvpn_datagram;
struct packet_path;
struct peer;
struct worker;
struct worker_socket;
struct workers;

/** Who hears what workers tell: the wire of the main thread. */
struct workers_leader {
	void *ctx;
	struct kcpvpn_native *native;
	struct super_limits takes; /* as in struct wire */
	/** A packet of the peer of that number, whose sessions lack the worker's shard; lent. */
	void (*packet)(void *ctx, uint64_t peer, const void *packet, size_t len);
	/** Datagrams that came to a worker's socket of the group `number` and are the main thread's. @return false: it is gone */
	bool (*datagrams)(
		void *ctx, uint64_t number, const struct kcpvpn_datagram *batch, size_t count);
};

/** How many workers, the main thread included, `queues` of the configuration means on this host. @queues  CONFIG_AUTO or 1..16 */
unsigned workers_wanted(int queues);

/**
 * Prepares workers; their threads begin with workers_start().
 *
 * @loop       the main thread's
 * @queues     of the device, one for each worker; they move in
 * @count      1 .. KCPVPN_SHARDS_MAX - 1
 * @mtu_bytes  as for packet_path_init()
 * @return     0 or a negative errno
 */
int workers_new(struct loop *loop, struct tun *queues, unsigned count, uint16_t mtu_bytes,
	struct workers **ret_workers, struct fault *fault);

/** A worker can wait for events no more, so a part of the packets is stuck; called by the main thread's loop, perhaps more than once. */
void workers_on_failure(struct workers *workers, void (*on_failure)(void *ctx), void *ctx);

/** Starts the threads, which inherit what the main thread may do. @return 0 or a negative errno: then none runs, nor ever will */
int workers_start(struct workers *workers, struct fault *fault);

/** Ends the threads and frees everything. Peers and sockets are gone by now. */
void workers_free(struct workers *workers);

/** Workers beside the main thread. */
unsigned workers_count(const struct workers *workers);

void workers_stop(struct workers *workers);
void workers_go(struct workers *workers);

void workers_set_mtu(struct workers *workers, uint16_t mtu_bytes);

/* ---- the wire -------------------------------------------------------------------------------------------------------- */

/**
 * Makes the followers of a wire that begins.
 *
 * @config  as the leader's; `tell`, its memory and `ctx` are replaced
 * @return  0 or a negative errno: then there are none
 */
int workers_attach(struct workers *workers, const struct workers_leader *leader,
	const struct kcpvpn_native_config *config, int64_t now_us);

/** The wire ends: its peers and sockets are gone by now. */
void workers_detach(struct workers *workers);

/** Takes a message of the leader to a follower. Anywhere. */
void workers_tell(
	struct workers *workers, unsigned shard, const struct kcpvpn_shard_message *message);

/**
 * Opens a socket of a group for each worker, joined to the leader's.
 *
 * @options      of the group's first socket, but for `on_too_big`
 * @number       of the group: above 0, never used again
 * @ret_sockets  workers_count() of them, closed by workers_close_sockets()
 * @return       0 or a negative errno: then there are none
 */
int workers_open_sockets(struct workers *workers, const struct udp_socket_options *options,
	uint64_t number, struct worker_socket **ret_sockets, struct fault *fault);
void workers_close_sockets(struct workers *workers, struct worker_socket *sockets);

/**
 * Of what came to a socket of the main thread: hands to workers what is theirs. Anywhere.
 *
 * @number  of the group
 * @batch   in and out: what is the main thread's
 * @return  how many these are
 */
size_t workers_sort(struct workers *workers, uint64_t number, const struct kcpvpn_datagram **batch,
	size_t count);

/** Whether datagrams may leave as runs. */
void workers_set_runs(struct workers *workers, bool runs);

/* ---- peers: each has a mirror in every worker -------------------------------------------------------------------------- */

/** @return 0 or -ENOMEM */
int workers_peer_add(struct workers *workers, struct peer *peer);
/** Its wire has ended. */
void workers_peer_remove(struct workers *workers, struct peer *peer);
/** Gives and takes the inner addresses of its configuration. @return 0 or -ENOMEM */
int workers_peer_own(struct workers *workers, struct peer *peer);
void workers_peer_disown(struct workers *workers, struct peer *peer);
/** Its configuration, an order or a size changed. */
void workers_peer_copy(struct workers *workers, struct peer *peer);
/** What waits for it is dropped. */
void workers_peer_clear(struct workers *workers, struct peer *peer);

/** The library has it now. @id  kcpvpn_peer_id()   @return 0 or a negative errno: no worker knows it */
int workers_peer_start(struct workers *workers, struct peer *peer, uint64_t id,
	const struct kcpvpn_peer_config *config, int64_t now_us);
void workers_peer_end(struct workers *workers, struct peer *peer);
int workers_peer_configure(struct workers *workers, struct peer *peer,
	const struct kcpvpn_peer_config *config, int64_t now_us);

/* ---- to be seen: between stop and go ----------------------------------------------------------------------------------- */

/** @index  0 .. workers_count() - 1 */
const struct packet_path *workers_path(const struct workers *workers, unsigned index);
const struct kcpvpn_native *workers_native(const struct workers *workers, unsigned index);
/** Whether what passes between the threads, keys too, is kept out of swap. */
bool workers_locked(const struct workers *workers);
/** Packets from and to the host. */
const struct tun_counters *workers_tun(const struct workers *workers, unsigned index);
/** Packets handed to another worker, because their peer's sessions lack the shard. */
uint64_t workers_handed_on(const struct workers *workers, unsigned index);
/** Datagrams that came to the wrong socket. @thread  0 = the main one */
const struct handover_side *workers_handover(const struct workers *workers, unsigned thread);

#endif
