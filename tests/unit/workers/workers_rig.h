/*
 * Workers on the real library, without a host: their queues of the device are one end of a socket pair. With threads or, as long
 * as they are not started, without.
 */
#ifndef TESTS_WORKERS_RIG_H
#define TESTS_WORKERS_RIG_H

#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/worker.h"
#include "vpnd/workers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RIG_MTU = 1400,
	RIG_HANDED_MAX = 64,
};

struct workers_rig {
	struct loop *loop;
	struct workers *workers;
	int hosts[KCPVPN_SHARDS_MAX]; /* the other ends of the queues */
	struct kcpvpn_native *leader;
	struct fault fault;
	unsigned handed; /* packets that the leader got, and the numbers of their peers */
	uint64_t handed_to[RIG_HANDED_MAX];
	unsigned datagrams; /* that the leader got */
	unsigned failures;
};

/** @count  of workers beside the main thread */
void rig_open(struct workers_rig *rig, unsigned count);
void rig_close(struct workers_rig *rig);

/** A leader and its followers, and the end of both. Workers may run. */
void rig_attach(struct workers_rig *rig);
void rig_detach(struct workers_rig *rig);

/** The configuration that rig_attach() uses. @workers  beside the main thread */
struct kcpvpn_native_config rig_config(struct workers_rig *rig, unsigned workers);

/** A peer of the leader that followers know. @return its number */
uint64_t rig_peer(struct workers_rig *rig, uint8_t key);

/** A message of the library. */
struct native_shard_message;
struct kcpvpn_shard_message rig_message(const struct native_shard_message *inner);

#endif
