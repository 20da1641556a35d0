#include "capture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

json_t *capture_file(const char *name)
{
	char path[200];
	json_error_t error;

	snprintf(path, sizeof(path), TESTS_DIR "/vectors/data/%s", name);
	json_t *root = json_load_file(path, 0, &error);
	cr_assert(root != NULL, "%s: %s", path, error.text);
	return root;
}

size_t capture_hex(const json_t *text, uint8_t *bytes, size_t max)
{
	const char *digits = json_string_value(text);

	cr_assert_not_null(digits);
	size_t len = strlen(digits) / 2;
	cr_assert(len <= max);
	for (size_t i = 0; i < len; i++) {
		unsigned byte;
		cr_assert_eq(sscanf(digits + 2 * i, "%2x", &byte), 1);
		bytes[i] = (uint8_t)byte;
	}
	return len;
}

void capture_load(struct capture *capture, const json_t *session)
{
	const json_t *packets = json_object_get(session, "packets");
	const json_t *conv = json_object_get(session, "conv");
	const json_t *packet;
	size_t i;

	*capture = (struct capture){0};
	capture->key_len =
		capture_hex(json_object_get(session, "key"), capture->key, sizeof(capture->key));
	capture->conv = (uint32_t)json_integer_value(conv);
	capture->count = json_array_size(packets);
	cr_assert(capture->count > 0 && capture->count <= CAPTURE_PACKETS_MAX);
	json_array_foreach(packets, i, packet)
	{
		struct capture_packet *p = &capture->packets[i];
		const json_t *fec = json_object_get(packet, "fec");
		p->from_client =
			strcmp(json_string_value(json_object_get(packet, "from")), "c") == 0;
		p->dropped = json_is_true(json_object_get(packet, "dropped"));
		p->ms = json_integer_value(json_object_get(packet, "ms"));
		p->len = capture_hex(json_object_get(packet, "packet"), p->bytes, sizeof(p->bytes));
		if (fec) {
			p->fec_seqid = (uint32_t)json_integer_value(json_array_get(fec, 0));
			p->fec_type = (int)json_integer_value(json_array_get(fec, 1));
		}
	}
}

struct kcpvpn_config capture_config(const struct capture *capture, const char *crypt, unsigned data,
	unsigned parity, unsigned mtu, bool stream)
{
	struct kcpvpn_config config;

	kcpvpn_config_init(&config);
	cr_assert_eq(kcpvpn_config_mode(&config, "fast3"), 0);
	config.crypt = crypt;
	config.key = capture->key;
	config.key_len = capture->key_len;
	config.data_shards = data;
	config.parity_shards = parity;
	config.mtu_bytes = mtu;
	config.stream = stream;
	return config;
}

static void random_fill(void *ctx, void *buf, size_t len)
{
	static uint8_t next;
	uint8_t *at = buf;

	(void)ctx;
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(next += 73);
}

static void count_sent(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct stand_in *end = ctx;

	for (size_t i = 0; i < count; i++)
		cr_assert(kcpvpn_endpoint_equal(&batch[i].remote, &end->remote));
	end->sent += count;
}

void stand_in_open(struct stand_in *end, const struct capture *capture,
	const struct kcpvpn_config *config, bool is_client)
{
	*end = (struct stand_in){
		.port = {count_sent, end},
		.remote = {.address = {127, 0, 0, 1}, .port = 29900, .family = 4},
		.is_client = is_client,
	};
	cr_assert_eq(kcpvpn_node_new(config, random_fill, NULL, 0, &end->node), 0);
	if (is_client)
		cr_assert_eq(kcpvpn_node_dial(end->node, &end->port, &end->remote, capture->conv, 0,
				     &end->conv),
			0);
}

static void read_all(struct stand_in *end, int64_t now_us)
{
	size_t len;

	while (kcpvpn_conv_recv(end->conv, end->stream + end->stream_len,
		       CAPTURE_STREAM_MAX - end->stream_len, now_us, &len) == 0) {
		end->stream_len += len;
		cr_assert(end->message_count < CAPTURE_MESSAGES_MAX);
		end->message_ends[end->message_count++] = end->stream_len;
	}
}

void stand_in_play(struct stand_in *end, const struct capture *capture, size_t lose)
{
	for (size_t i = 0; i < capture->count; i++) {
		const struct capture_packet *p = &capture->packets[i];
		uint8_t bytes[1500];
		unsigned events;
		struct kcpvpn_conv *conv;

		if (p->from_client == end->is_client || p->dropped || i == lose)
			continue;
		memcpy(bytes, p->bytes, p->len);
		struct kcpvpn_datagram d = {.remote = end->remote, .data = bytes, .len = p->len};
		int64_t now_us = p->ms * 1000;
		kcpvpn_node_on_deadline(end->node, now_us);
		kcpvpn_node_input(end->node, &end->port, !end->is_client, &d, 1, now_us);
		while ((conv = kcpvpn_node_next_event(end->node, &events)) != NULL) {
			cr_assert_eq(events & KCPVPN_EVENT_CLOSED, 0);
			if (events & KCPVPN_EVENT_ACCEPTED) {
				cr_assert_null(end->conv);
				end->conv = conv;
			}
		}
		cr_assert_not_null(end->conv);
		read_all(end, now_us);
		kcpvpn_node_flush(end->node, now_us);
	}
	cr_assert_eq(kcpvpn_conv_number(end->conv), capture->conv);
}

void stand_in_close(struct stand_in *end)
{
	struct kcpvpn_stats stats;

	kcpvpn_node_stats(end->node, &stats);
	cr_assert_eq(stats.drop_short, 0);
	cr_assert_eq(stats.drop_checksum, 0);
	cr_assert_eq(stats.drop_source, 0);
	cr_assert_eq(stats.drop_no_conv, 0);
	cr_assert_eq(stats.drop_conv, 0);
	cr_assert_eq(stats.drop_segment, 0);
	cr_assert_eq(stats.drop_fec, 0);
	cr_assert_eq(stats.drop_window, 0);
	cr_assert_eq(stats.drop_memory, 0);
	cr_assert_eq(stats.fec_errors, 0);
	cr_assert(stats.in_datagrams > 0);
	cr_assert(end->sent > 0, "what came was acknowledged");
	kcpvpn_node_free(end->node);
}
