/* A UDP socket of a benchmark, bound to the loopback, that sends and receives in batches. */
#ifndef BENCH_UDP_LINK_H
#define BENCH_UDP_LINK_H

#include "kcpvpn/udp_port.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct udp_buffers;

struct udp_link {
	int fd;
	bool connected;
	struct kcpvpn_endpoint local;
	struct kcpvpn_udp_port port; /* for the library; `ctx` is this link, so it must not move */
	uint64_t lost;		     /* datagrams that the kernel refused */
};

/** What a thread needs to receive; one serves all links of the thread. Exits if out of memory. */
struct udp_buffers *udp_buffers_new(void);
void udp_buffers_free(struct udp_buffers *buffers);

/**
 * Opens a link on a free port of 127.0.0.1 with socket buffers of `buffer_bytes` (cut at the host's limit, as for any
 * program). Exits with a message on failure.
 *
 * @remote   connects to it; NULL = talks to everybody
 * @segment  lets the kernel cut and join runs of datagrams of one length (UDP_SEGMENT, UDP_GRO) where it can
 */
void udp_link_open(struct udp_link *link, const struct kcpvpn_endpoint *remote, int buffer_bytes,
	bool segment);
void udp_link_close(struct udp_link *link);

/**
 * Takes what arrived, without waiting.
 *
 * @ret_batch  up to KCPVPN_BATCH_MAX datagrams, valid until the next call with these buffers
 * @return     how many; 0 = nothing there
 */
size_t udp_link_receive(struct udp_link *link, struct udp_buffers *buffers,
	const struct kcpvpn_datagram **ret_batch);

/** @return true if the last udp_link_receive() took all there was a moment ago, so that another call is not worth it */
bool udp_link_drained(const struct udp_link *link, const struct udp_buffers *buffers);

#endif
