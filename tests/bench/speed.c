/*
 * The settings are those of kcp-go's sess_test.go: stream mode, nodelay 1, interval 10, fast resend 2, no congestion
 * window, windows of 1024 for the client and 4096 for the server, mtu 1400, socket buffers of 4 MiB. What kcp-go has no
 * word for (the measured window) is as kcpvpn_config_init() sets it.
 *
 * Writes are cut into CHUNK_BYTES with a flush behind each, so that the first datagrams are under way while the next ones
 * are made. Reading copies into a buffer, as kcp-go's Read does; the echo is written from where it lies. What the first
 * operation brings back is compared with what was sent.
 */
#include "tests/bench/speed.h"

#include "tests/bench/end.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	PIECES = 64, /* read at once */
	CHUNK_BYTES = 64 * 1024,
	READ_BUFFER_BYTES = 64 * 1024,
	CLIENT_WND = 1024,
	SERVER_WND = 4096,
};

struct server {
	struct end end;
	bool echoes;
	atomic_uint_fast64_t read_bytes; /* by a sink */
};

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8) * 13);
}

static struct kcpvpn_config settings(bool sealed)
{
	struct kcpvpn_config config;

	kcpvpn_config_init(&config);
	config.crypt = sealed ? "salsa20" : "null";
	config.key = bench_key();
	config.key_len = KCPVPN_KEY_BYTES;
	config.data_shards = 0;
	config.parity_shards = 0;
	config.mtu_bytes = 1400;
	config.nodelay = true;
	config.interval_ms = 10;
	config.fast_resend = 2;
	config.no_congestion_window = true;
	return config;
}

static void open_server(struct server *server, bool echoes)
{
	struct kcpvpn_config config = settings(echoes);

	config.snd_wnd = SERVER_WND;
	config.rcv_wnd = SERVER_WND;
	server->echoes = echoes;
	atomic_init(&server->read_bytes, 0);
	end_open(&server->end, &config, NULL);
	server->end.stop_fd = eventfd(0, EFD_CLOEXEC);
	if (server->end.stop_fd < 0)
		fail("eventfd");
}

static struct kcpvpn_conv *open_client(struct end *end, const struct server *server, bool echoes)
{
	struct kcpvpn_config config = settings(echoes);
	struct kcpvpn_conv *conv;

	config.snd_wnd = CLIENT_WND;
	config.rcv_wnd = CLIENT_WND;
	if (echoes) {
		config.data_shards = 10;
		config.parity_shards = 3;
	}
	end_open(end, &config, &server->end.link.local);
	if (kcpvpn_node_dial(end->node, &end->link.port, &server->end.link.local, 0, bench_now_us(),
		    &conv) < 0)
		fail("kcpvpn_node_dial");
	return conv;
}

/* ---- server ------------------------------------------------------------------------------------------------------ */

/* There is always room: the client has at most one operation under way, and the queue holds more. */
static void echo(struct kcpvpn_conv *conv, int64_t now_us)
{
	struct iovec iov[PIECES];
	size_t len;
	int count;

	while ((count = kcpvpn_conv_recv_peek(conv, iov, PIECES, &len)) > 0) {
		for (int i = 0; i < count; i++) {
			if (kcpvpn_conv_send(conv, iov[i].iov_base, iov[i].iov_len, now_us) < 0)
				fail("echo: kcpvpn_conv_send");
		}
		kcpvpn_conv_recv_drop(conv, now_us);
	}
}

/* What was written, by its place in the stream. */
static void check(const uint8_t *bytes, size_t len, size_t at)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != pattern((at + i) % CHUNK_BYTES))
			fail("what came is not what was sent");
	}
}

/*
 * Reads what there is into `buf` of READ_BUFFER_BYTES.
 *
 * @checked  bytes of the stream that came before, to compare what comes; SIZE_MAX: no comparison
 * @return   bytes
 */
static size_t read_some(struct kcpvpn_conv *conv, uint8_t *buf, size_t checked, int64_t now_us)
{
	struct iovec iov[PIECES];
	size_t total = 0;
	size_t len;
	int count;

	while ((count = kcpvpn_conv_recv_peek(conv, iov, PIECES, &len)) > 0) {
		size_t at = 0;
		for (int i = 0; i < count; i++) {
			if (at + iov[i].iov_len > READ_BUFFER_BYTES)
				at = 0;
			memcpy(buf + at, iov[i].iov_base, iov[i].iov_len);
			if (checked != SIZE_MAX) {
				check(buf + at, iov[i].iov_len, checked);
				checked += iov[i].iov_len;
			}
			at += iov[i].iov_len;
		}
		kcpvpn_conv_recv_drop(conv, now_us);
		total += len;
	}
	return total;
}

static void *serve(void *ctx)
{
	struct server *server = ctx;
	uint8_t buf[READ_BUFFER_BYTES];
	struct kcpvpn_conv *conv;
	unsigned events;

	while (end_turn(&server->end)) {
		while ((conv = kcpvpn_node_next_event(server->end.node, &events)) != NULL) {
			int64_t now_us = bench_now_us();
			if (events & KCPVPN_EVENT_CLOSED)
				fail("server: the conversation was closed");
			if (!server->echoes)
				atomic_fetch_add_explicit(&server->read_bytes,
					read_some(conv, buf, SIZE_MAX, now_us),
					memory_order_release);
			else
				echo(conv, now_us);
		}
	}
	return NULL;
}

static void stop_server(struct server *server, pthread_t thread)
{
	uint64_t one = 1;

	if (write(server->end.stop_fd, &one, sizeof(one)) != sizeof(one))
		fail("eventfd");
	pthread_join(thread, NULL);
	close(server->end.stop_fd);
	end_close(&server->end);
}

/* ---- client ------------------------------------------------------------------------------------------------------ */

struct client {
	struct end end;
	struct kcpvpn_conv *conv;
	uint8_t buf[READ_BUFFER_BYTES];
	uint8_t chunk[CHUNK_BYTES];
	size_t bytes; /* of an operation */
	size_t unwritten;
	size_t unread;
	bool checks; /* compares what comes back */
};

static void write_some(struct client *client, int64_t now_us)
{
	while (client->unwritten > 0) {
		size_t len = client->unwritten < CHUNK_BYTES ? client->unwritten : CHUNK_BYTES;
		if (kcpvpn_conv_send(client->conv, client->chunk, len, now_us) < 0)
			return;
		client->unwritten -= len;
		if (client->unwritten > 0)
			kcpvpn_node_flush(client->end.node, now_us);
	}
}

/* One turn of the wheel, with what it brought. */
static void turn(struct client *client)
{
	unsigned events;

	if (!end_turn(&client->end))
		fail("client: stopped");
	while (kcpvpn_node_next_event(client->end.node, &events) != NULL) {
		int64_t now_us = bench_now_us();
		if (events & KCPVPN_EVENT_CLOSED)
			fail("client: the conversation was closed");
		if (events & KCPVPN_EVENT_WRITABLE)
			write_some(client, now_us);
		if (events & KCPVPN_EVENT_READABLE) {
			size_t checked = client->checks ? client->bytes - client->unread : SIZE_MAX;
			size_t len = read_some(client->conv, client->buf, checked, now_us);
			if (len > client->unread)
				fail("client: more came back than was sent");
			client->unread -= len;
		}
	}
}

static double run(bool echoes, size_t bytes, uint64_t count)
{
	struct server *server = calloc(1, sizeof(*server));
	struct client *client = calloc(1, sizeof(*client));
	int64_t started_us = bench_now_us();
	uint64_t whole = bytes * count;
	pthread_t thread;

	if (!server || !client)
		fail("out of memory");
	for (size_t i = 0; i < CHUNK_BYTES; i++)
		client->chunk[i] = pattern(i);
	open_server(server, echoes);
	client->conv = open_client(&client->end, server, echoes);
	if (pthread_create(&thread, NULL, serve, server) != 0)
		fail("pthread_create");
	for (uint64_t i = 0; i < count; i++) {
		client->bytes = bytes;
		client->checks = i == 0;
		client->unwritten = bytes;
		client->unread = echoes ? bytes : 0;
		write_some(client, bench_now_us());
		while (client->unwritten > 0 || client->unread > 0)
			turn(client);
	}
	while (!echoes && atomic_load_explicit(&server->read_bytes, memory_order_acquire) < whole)
		turn(client);
	double seconds = (double)(bench_now_us() - started_us) / 1e6;

	stop_server(server, thread);
	end_close(&client->end);
	free(client);
	free(server);
	return seconds;
}

double speed_echo(size_t bytes, uint64_t count)
{
	return run(true, bytes, count);
}

double speed_sink(size_t bytes, uint64_t count)
{
	return run(false, bytes, count);
}
