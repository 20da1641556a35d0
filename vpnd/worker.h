/* One worker: inside of vpnd/workers.h. */
#ifndef VPND_WORKER_H
#define VPND_WORKER_H

#include "core/list.h"
#include "vpnd/handover.h"
#include "vpnd/packet_path.h"
#include "vpnd/shard_ring.h"
#include "vpnd/wire.h"
#include "vpnd/workers.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	WORKER_REFUSED_MAX = 16, /* sizes that the host refused and that wait to be told */
	WORKER_REST_US = 10000000,
	WORKER_RETRY_US = 1000, /* after a ring was full */
	WORKER_TAKES =
		16, /* batches taken of what another thread handed over before others have their turn */
};

struct worker_socket {
	struct list in_worker;
	struct udp_socket udp;
	struct loop_watch watch;
	struct worker *worker;
	uint64_t number; /* of the group */
};

struct worker_refused {
	struct kcpvpn_endpoint remote;
	size_t len;
};

struct worker {
	struct wire wire; /* what its packet path sees; first member */
	struct workers *set;
	unsigned shard;
	pthread_t thread;
	bool running; /* the thread exists */
	struct loop *loop;
	struct tun tun;
	struct loop_watch tun_watch;
	struct packet_path path;
	struct udp_batch *batch;
	struct kcpvpn_native *native; /* NULL while no wire has shards */
	struct loop_timer timer;      /* the library's deadline */
	struct loop_timer rest;	      /* armed while queues hold memory */
	struct loop_timer retry;      /* armed while a ring is full */
	bool resting;
	struct list peers;   /* mirrors: struct peer, by in_daemon */
	struct list sockets; /* struct worker_socket */
	struct handover_side handover;
	struct worker_refused refused[WORKER_REFUSED_MAX];
	size_t refused_count;
	uint64_t handed_on;
	/* from others */
	struct bell bell;
	struct loop_watch bell_watch;
	struct message_ring down; /* from the leader */
	struct message_ring up;	  /* to it */
	/* to those of lower shards: packets that these send for it; `bells` says whom to wake after the round */
	struct packet_ring packets[KCPVPN_SHARDS_MAX];
	uint32_t bells; /* a bit for each */
};

struct workers {
	struct worker *items; /* each in its place: nothing in it may move */
	unsigned count;
	struct loop *loop; /* the main thread's */
	struct bell bell;  /* the main thread's */
	struct loop_watch bell_watch;
	struct workers_leader leader; /* native NULL: there is none */
	struct handover *handover;
	struct handover_side side; /* the main thread's */
	/* Standing still: `stop` is looked at by workers after each round. */
	atomic_bool stop, ended;
	atomic_bool failed; /* a loop did */
	void (*on_failure)(void *ctx);
	void *failure_ctx;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned parked;
	unsigned depth; /* of workers_stop(); main thread */
	bool started;
};

/** @return 0 or a negative errno: then nothing of it is left */
int worker_init(struct worker *worker, struct workers *set, unsigned shard, struct tun *queue,
	uint16_t mtu_bytes);
void worker_fini(struct worker *worker);

/** What the thread does. */
void *worker_run(void *worker);

/** Takes what the leader told. By the worker, or by the main thread while it stands still. */
void worker_hear(struct worker *worker, struct mono now);

/** Wakes threads. @to  a bit for each, the main thread's is the lowest */
void workers_wake(struct workers *set, uint32_t to);

/** For the library of a follower. @ctx  the worker */
bool worker_tell(void *ctx, unsigned shard, const struct kcpvpn_shard_message *message);

void worker_on_socket(struct loop_watch *watch, uint32_t events);
void worker_on_too_big(void *ctx, const struct kcpvpn_datagram *datagram);

/** Stands still until the main thread is done. @return false if it is to end */
bool workers_park(struct workers *set);

/** The same, but waits until it is asked to. */
bool workers_park_next(struct workers *set);

#endif
