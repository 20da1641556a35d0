/*
 * An end that has nothing to do looks at its socket for a while (SPIN_US) before it sleeps: waking up costs more than the
 * answer of a peer on the same machine takes. kcp-go's runtime does the same with its idle threads. Where that is in vain
 * (the peer waits for a processor, too) it sleeps at once for the next SPINS_LEFT_OUT times. With BENCH_PLAIN in the
 * environment every datagram goes through the kernel on its own, without UDP_SEGMENT and UDP_GRO.
 */
#include "tests/bench/end.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

enum {
	SPIN_US = 200,
	SPINS_LEFT_OUT = 8,
	BATCHES_A_TURN = 8, /* taken in before what they call for is sent */
};

int64_t bench_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void bench_sleep_until(int64_t at_us)
{
	struct timespec at = {at_us / 1000000, at_us % 1000000 * 1000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

double bench_cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

const uint8_t *bench_key(void)
{
	static const uint8_t key[KCPVPN_KEY_BYTES] = "a key for benchmarks, 32 bytes!";
	return key;
}

static void random_fill(void *ctx, void *buf, size_t len)
{
	uint8_t *at = buf;

	(void)ctx;
	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);
		if (n < 0 && errno != EINTR)
			abort();
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

struct kcpvpn_node *bench_node_new(const struct kcpvpn_config *config)
{
	struct kcpvpn_node *node;
	int error = kcpvpn_node_new(config, random_fill, NULL, bench_now_us(), &node);

	if (error < 0) {
		fprintf(stderr, "kcpvpn_node_new: error %d\n", -error);
		exit(1);
	}
	return node;
}

void end_open(
	struct end *end, const struct kcpvpn_config *config, const struct kcpvpn_endpoint *remote)
{
	*end = (struct end){.accepts = remote == NULL, .stop_fd = -1, .spin_us = SPIN_US};
	udp_link_open(&end->link, remote, END_SOCKET_BUFFER_BYTES, getenv("BENCH_PLAIN") == NULL);
	end->buffers = udp_buffers_new();
	end->node = bench_node_new(config);
}

void end_close(struct end *end)
{
	kcpvpn_node_free(end->node);
	udp_buffers_free(end->buffers);
	udp_link_close(&end->link);
}

/* @return true if datagrams were taken in */
static bool receive(struct end *end, int64_t now_us)
{
	const struct kcpvpn_datagram *batch;
	bool any = false;

	for (int i = 0; i < BATCHES_A_TURN; i++) {
		size_t count = udp_link_receive(&end->link, end->buffers, &batch);
		if (count == 0)
			break;
		kcpvpn_node_input(end->node, &end->link.port, end->accepts, batch, count, now_us);
		any = true;
	}
	return any;
}

/* @return false if `stop_fd` became readable */
static bool sleep_until(struct end *end, int64_t deadline_us, int64_t now_us)
{
	struct pollfd fds[2] = {{end->link.fd, POLLIN, 0}, {end->stop_fd, POLLIN, 0}};
	struct timespec wait = {0};
	bool timed = deadline_us != KCPVPN_NEVER;

	if (timed && deadline_us > now_us) {
		wait.tv_sec = (deadline_us - now_us) / 1000000;
		wait.tv_nsec = (deadline_us - now_us) % 1000000 * 1000;
	}
	(void)ppoll(fds, 2, timed ? &wait : NULL, NULL);
	return fds[1].revents == 0;
}

bool end_turn(struct end *end)
{
	int64_t now_us = bench_now_us();
	int64_t spin_until_us = now_us;

	if (end->no_spins > 0)
		end->no_spins--;
	else
		spin_until_us += end->spin_us;

	kcpvpn_node_flush(end->node, now_us);
	if (end->gather_us > 0 && now_us < end->turned_us + end->gather_us)
		bench_sleep_until(end->turned_us + end->gather_us);
	for (;;) {
		int64_t deadline_us = kcpvpn_node_next_deadline(end->node);
		now_us = bench_now_us();
		end->turned_us = now_us;
		bool any = receive(end, now_us);
		if (deadline_us <= now_us) {
			kcpvpn_node_on_deadline(end->node, now_us);
			return true;
		}
		if (any)
			return true;
		if (now_us < spin_until_us)
			continue;
		if (end->no_spins == 0)
			end->no_spins = SPINS_LEFT_OUT;
		if (!sleep_until(end, deadline_us, now_us))
			return false;
	}
}
