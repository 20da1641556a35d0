/*
 * Connections of a real kcptun client and server around a TCP echo, each direction played to a node of ours; the streams
 * hold smux frames, and these what TCP sent. smux.json and its snappy part check the readers that see this.
 */
#include "capture.h"
#include "smux_frames.h"

#include "core/endian.h"
#include "kcp/kcp_segment.h"

#include <criterion/criterion.h>
#include <string.h>

static struct capture capture;
static struct stand_in end;

/* Finds the conversation's number as a listener does. */
static void learn_conv(const struct kcpvpn_config *config)
{
	stand_in_open(&end, &capture, config, false);
	for (size_t i = 0; i < capture.count && !end.conv; i++) {
		struct capture_packet p = capture.packets[i];
		struct kcpvpn_datagram d = {.remote = end.remote, .data = p.bytes, .len = p.len};
		unsigned events;
		if (!p.from_client)
			continue;
		kcpvpn_node_input(end.node, &end.port, true, &d, 1, 0);
		end.conv = kcpvpn_node_next_event(end.node, &events);
	}
	cr_assert_not_null(end.conv);
	capture.conv = kcpvpn_conv_number(end.conv);
	kcpvpn_node_free(end.node);
}

static void check_direction(const json_t *session, const struct kcpvpn_config *config,
	bool is_client, int version, const uint8_t *tcp, size_t tcp_len)
{
	static struct smux_tally tally;
	static uint8_t plain[CAPTURE_STREAM_MAX];
	const char *name = json_string_value(json_object_get(session, "name"));

	stand_in_open(&end, &capture, config, is_client);
	stand_in_play(&end, &capture, SIZE_MAX);
	memset(&tally, 0, sizeof(tally));
	if (json_is_true(json_object_get(session, "compressed"))) {
		size_t len = snappy_unframe(end.stream, end.stream_len, plain, sizeof(plain));
		smux_read(&tally, version, plain, len);
	} else {
		smux_read(&tally, version, end.stream, end.stream_len);
	}
	cr_assert_eq(tally.stream, 3, "%s", name);
	cr_assert_eq(tally.frames[SMUX_SYN], is_client ? 0 : 1, "%s", name);
	cr_assert(tally.frames[SMUX_PSH] > 0);
	cr_assert_eq(tally.data_len, tcp_len, "%s: %zu of %zu", name, tally.data_len, tcp_len);
	cr_assert(memcmp(tally.data, tcp, tcp_len) == 0, "%s", name);
	stand_in_close(&end);
}

Test(kcptun, both_directions)
{
	static uint8_t tcp[CAPTURE_STREAM_MAX];
	json_t *file = capture_file("kcptun.json");
	const json_t *session;
	size_t i;

	json_array_foreach(json_object_get(file, "sessions"), i, session)
	{
		const json_t *args = json_object_get(session, "args"), *arg;
		int version = 1;
		size_t k;
		json_array_foreach(args, k, arg)
		{
			if (strcmp(json_string_value(arg), "--smuxver") == 0)
				version = json_string_value(json_array_get(args, k + 1))[0] - '0';
		}
		capture_load(&capture, session);
		size_t tcp_len = capture_hex(
			json_object_get(session, "tcp_sent_and_echoed"), tcp, sizeof(tcp));
		struct kcpvpn_config config =
			capture_config(&capture, "salsa20", 10, 3, 1350, true);
		learn_conv(&config);
		check_direction(session, &config, false, version, tcp, tcp_len);
		check_direction(session, &config, true, version, tcp, tcp_len);
		config.data_shards = 0;
		check_direction(session, &config, false, version, tcp, tcp_len);
	}
	cr_assert_eq(i, 2);
	json_decref(file);
}

/* kcptun's default password gives the key that the capture names. */
Test(kcptun, default_key)
{
	static const char password[] = "it's a secrect";
	uint8_t key[KCPVPN_KEY_BYTES];
	json_t *file = capture_file("kcptun.json");

	capture_load(&capture, json_array_get(json_object_get(file, "sessions"), 0));
	cr_assert_eq(kcpvpn_key_derive(password, strlen(password), key), 0);
	cr_assert_arr_eq(key, capture.key, sizeof(key));
	json_decref(file);
}

Test(kcptun, the_readers_of_these_tests)
{
	json_t *file = capture_file("smux.json");
	const json_t *session, *step, *frame, *write;
	static struct smux_tally tally[2];
	static uint8_t bytes[CAPTURE_STREAM_MAX], plain[CAPTURE_STREAM_MAX],
		sum[CAPTURE_STREAM_MAX];
	size_t i, k, n;

	json_array_foreach(json_object_get(file, "sessions"), i, session)
	{
		int version = (int)json_integer_value(json_object_get(session, "version"));
		memset(tally, 0, sizeof(tally));
		json_array_foreach(json_object_get(session, "steps"), k, step)
		{
			json_array_foreach(json_object_get(step, "frames"), n, frame)
			{
				const char *from =
					json_string_value(json_object_get(frame, "from"));
				size_t len = capture_hex(
					json_object_get(frame, "bytes"), bytes, sizeof(bytes));
				smux_read(&tally[from[0] == 's'], version, bytes, len);
			}
		}
		cr_assert(tally[0].frames[SMUX_SYN] >= 1 && tally[0].frames[SMUX_NOP] >= 1);
		cr_assert_eq(tally[0].data_len, 5);
		cr_assert(memcmp(tally[0].data, "hello", 5) == 0);
		cr_assert_eq(tally[1].data_len, 250);
		cr_assert_eq(tally[1].frames[SMUX_PSH], 3);
		cr_assert_eq(tally[0].frames[SMUX_UPD] > 0, version == 2);
	}
	size_t framed = 0, want = 0;
	json_array_foreach(json_object_get(json_object_get(file, "snappy"), "writes"), i, write)
	{
		want += capture_hex(
			json_object_get(write, "write"), sum + want, sizeof(sum) - want);
		framed += capture_hex(
			json_object_get(write, "bytes"), bytes + framed, sizeof(bytes) - framed);
	}
	cr_assert(want > 0);
	cr_assert_eq(snappy_unframe(bytes, framed, plain, sizeof(plain)), want);
	cr_assert(memcmp(plain, sum, want) == 0);
	json_decref(file);
}
