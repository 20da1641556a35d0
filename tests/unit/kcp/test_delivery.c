/*
 * What goes in comes out once, whole and in order, whatever the path does: random messages through two engines over
 * a link that loses, doubles and reorders, checked against the list of what was sent. Sequence numbers and the
 * wire's clock pass 2^32 on the way.
 */
#include "link.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

enum {
	STREAM_BYTES = 1 << 20,
	MESSAGES = 1500,
	MESSAGE_MAX = 5000,
};

struct row {
	const char *name;
	double loss, reorder, duplicate;
	enum kcp_profile profile;
	bool stream, measured, window, nodelay;
	uint32_t fast_resend, wnd;
};

static const struct row rows[] = {
	{"clean", 0, 0, 0, KCP_PROFILE_5_6_72, false, false, false, true, 2, 128},
	{"clean, stream", 0, 0, 0, KCP_PROFILE_5_6_72, true, true, false, true, 2, 1024},
	{"5 %", .05, 0, 0, KCP_PROFILE_5_6_72, false, true, false, true, 2, 1024},
	{"5 %, small window", .05, .1, .05, KCP_PROFILE_5_6_72, false, false, false, true, 2, 8},
	{"30 %", .30, .2, .05, KCP_PROFILE_5_6_72, false, true, false, true, 2, 256},
	{"30 %, stream", .30, .2, .05, KCP_PROFILE_5_6_72, true, false, false, true, 2, 256},
	{"30 %, old", .30, .2, .05, KCP_PROFILE_5_6_1, false, false, false, true, 2, 256},
	{"reordered", 0, .5, .2, KCP_PROFILE_5_6_72, false, true, false, false, 0, 256},
	{"reordered, old", 0, .5, .2, KCP_PROFILE_5_6_1, true, true, false, false, 2, 256},
	{"congestion window", .10, .1, 0, KCP_PROFILE_5_6_72, false, false, true, true, 2, 128},
	{"congestion window, old", .10, .1, 0, KCP_PROFILE_5_6_1, true, false, true, true, 0, 64},
};

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 0x9e3779b97f4a7c15u >> 56);
}

static void open_row(struct link *link, const struct row *row, uint64_t seed)
{
	struct link_config path = {
		.rate_bps = 50000000,
		.delay_us = 15000,
		.queue_bytes = 200000,
		.loss = row->loss,
		.reorder = row->reorder,
		.duplicate = row->duplicate,
		.jitter_us = 20000,
		.seed = seed,
	};
	struct kcp_config config = link_kcp_config();

	config.profile = row->profile;
	config.stream = row->stream;
	config.measured_window = row->measured;
	config.no_congestion_window = !row->window;
	config.nodelay = row->nodelay;
	config.fast_resend = row->fast_resend;
	config.snd_wnd = row->wnd;
	config.rcv_wnd = row->wnd;
	config.start_sn = 0xffffff80;
	link_open(link, &path, &config, &config);
	link->now = mono_at_ms(0xffffffff - 1000);
}

/* Bytes of a message: its number, then what follows from number and offset. */
static size_t message(struct link *link, const struct row *row, uint32_t number, uint8_t *to)
{
	/* pieces that the receive window can hold */
	size_t most = row->wnd < 16 ? 4000 : MESSAGE_MAX;
	size_t len = 4 + link_random(link, number % 3 ? 200 : most - 4);

	memcpy(to, &number, 4);
	for (size_t i = 4; i < len; i++)
		to[i] = byte_at(number * 100000u + i);
	return len;
}

static void run_messages(const struct row *row, uint64_t seed)
{
	static struct link link;
	static uint8_t out[MESSAGE_MAX], in[MESSAGE_MAX], want[MESSAGE_MAX];
	static size_t lens[MESSAGES];
	uint32_t sent = 0, got = 0;
	size_t len = 0, out_len = 0;

	open_row(&link, row, seed);
	struct mono until = mono_add_ms(link.now, 600000);
	do {
		while (sent < MESSAGES) {
			if (out_len == 0)
				out_len = message(&link, row, sent, out);
			int err = kcp_send(link.a.kcp, out, out_len, link.now);
			if (err == -EAGAIN)
				break;
			cr_assert_eq(err, 0);
			lens[sent++] = out_len;
			out_len = 0;
		}
		while (kcp_recv(link.b.kcp, in, sizeof(in), &len) == 0) {
			cr_assert(got < sent, "%s: message out of nothing", row->name);
			cr_assert_eq(len, lens[got], "%s: message %u", row->name, got);
			memcpy(want, &got, 4);
			for (size_t i = 4; i < len; i++)
				want[i] = byte_at(got * 100000u + i);
			cr_assert(memcmp(in, want, len) == 0, "%s: message %u", row->name, got);
			got++;
		}
	} while (link_step(&link, until));
	cr_assert_eq(got, MESSAGES, "%s: %u messages arrived", row->name, got);
	cr_assert(mono_is_never(link_next(&link)), "%s: not idle in the end", row->name);
	cr_assert_eq(link.pool.slots_used, 0);
	link_close(&link);
}

static void run_stream(const struct row *row, uint64_t seed)
{
	static struct link link;
	static uint8_t out[3000];
	struct iovec iov[64];
	uint64_t sent = 0, got = 0;

	open_row(&link, row, seed);
	struct mono until = mono_add_ms(link.now, 600000);
	do {
		while (sent < STREAM_BYTES) {
			size_t len = 1 + link_random(&link, sizeof(out));
			if (len > STREAM_BYTES - sent)
				len = STREAM_BYTES - sent;
			for (size_t i = 0; i < len; i++)
				out[i] = byte_at(sent + i);
			if (kcp_send(link.a.kcp, out, len, link.now) != 0)
				break;
			sent += len;
		}
		size_t len = 0;
		int n;
		while ((n = kcp_recv_iov(link.b.kcp, iov, 64, &len)) > 0) {
			size_t sum = 0;
			for (int i = 0; i < n; i++) {
				const uint8_t *at = iov[i].iov_base;
				for (size_t j = 0; j < iov[i].iov_len; j++)
					cr_assert_eq(at[j], byte_at(got + sum + j), "%s: byte %lu",
						row->name, got + sum + j);
				sum += iov[i].iov_len;
			}
			cr_assert_eq(sum, len);
			got += len;
			kcp_recv_consume(link.b.kcp);
		}
	} while (link_step(&link, until));
	cr_assert_eq(got, STREAM_BYTES, "%s: %lu bytes arrived", row->name, got);
	cr_assert(mono_is_never(link_next(&link)), "%s: not idle in the end", row->name);
	cr_assert_eq(link.pool.slots_used, 0);
	link_close(&link);
}

Test(delivery, once_whole_and_in_order)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (uint64_t seed = 1; seed <= 3; seed++) {
			if (rows[i].stream)
				run_stream(&rows[i], seed);
			else
				run_messages(&rows[i], seed);
		}
	}
}
