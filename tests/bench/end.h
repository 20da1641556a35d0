/* One end of a benchmark: a node on a link of its own, and the wheel that a program turns (kcpvpn/node.h). */
#ifndef BENCH_END_H
#define BENCH_END_H

#include "kcpvpn/node.h"
#include "tests/bench/udp_link.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	END_SOCKET_BUFFER_BYTES = 4 << 20, /* what kcp-go's benchmarks ask for */
};

struct end {
	struct udp_link link;
	struct udp_buffers *buffers;
	struct kcpvpn_node *node;
	bool accepts;
	int stop_fd;	   /* readable: stop waiting; -1 = none */
	int64_t spin_us;   /* how long it looks at its socket before it sleeps */
	unsigned no_spins; /* waits that it sleeps through at once, because looking was in vain */
	int64_t gather_us; /* turns begin at least so far apart: what comes meanwhile is taken together */
	int64_t turned_us; /* when the last one began */
};

/** Microseconds of the monotonic clock. */
int64_t bench_now_us(void);

/** Sleeps until then. */
void bench_sleep_until(int64_t at_us);

/** Seconds of CPU that this process took so far. */
double bench_cpu_seconds(void);

/** The key of all benchmarks. */
const uint8_t *bench_key(void);

/** Makes a node. Its randomness is the kernel's. Exits with a message on failure. */
struct kcpvpn_node *bench_node_new(const struct kcpvpn_config *config);

/** @remote  the only peer, NULL for an end that accepts */
void end_open(
	struct end *end, const struct kcpvpn_config *config, const struct kcpvpn_endpoint *remote);
void end_close(struct end *end);

/**
 * Sends what is to go, waits until something came or is due, and takes it in. Events are there afterwards.
 *
 * @return  false if `stop_fd` became readable
 */
bool end_turn(struct end *end);

#endif
