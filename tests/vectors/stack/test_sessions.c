/* Sessions captured between two kcp-go ends, each played to a node of ours in place of one of the two. */
#include "capture.h"

#include "fec/fec_header.h"

#include <criterion/criterion.h>
#include <string.h>

static struct capture capture;
static struct stand_in end;

/* A session of the file: its configuration, and what went each way. */
struct session {
	const char *name;
	struct kcpvpn_config config;
	unsigned data, parity;
	bool stream;
	uint8_t up[CAPTURE_STREAM_MAX]; /* client's writes, then the server's stream */
	size_t up_len;
	size_t write_ends[CAPTURE_MESSAGES_MAX];
	size_t write_count;
	uint8_t down[CAPTURE_STREAM_MAX];
	size_t down_len;
};

static struct session session;

static unsigned number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	cr_assert(json_is_integer(value), "%s", key);
	return (unsigned)json_integer_value(value);
}

static const char *cipher_of(const char *name)
{
	static const char *const ciphers[] = {"salsa20", "aes", "none", "null"};

	for (size_t i = 0; i < 4; i++)
		if (strncmp(name, ciphers[i], strlen(ciphers[i])) == 0)
			return ciphers[i];
	cr_assert_fail("%s", name);
	return NULL;
}

static void load(const json_t *object)
{
	const json_t *write;
	size_t i;

	session = (struct session){
		.name = json_string_value(json_object_get(object, "name")),
		.data = number(object, "data"),
		.parity = number(object, "parity"),
		.stream = json_is_true(json_object_get(object, "stream")),
	};
	capture_load(&capture, object);
	session.config = capture_config(&capture, cipher_of(session.name), session.data,
		session.parity, number(object, "mtu"), session.stream);
	json_array_foreach(json_object_get(object, "client_writes"), i, write)
	{
		size_t len = capture_hex(
			write, session.up + session.up_len, CAPTURE_STREAM_MAX - session.up_len);
		size_t mss = kcpvpn_config_mss(&session.config);
		/* kcp-go cuts what is longer than a segment: it arrives as several messages */
		for (size_t at = 0; at < len; at += mss) {
			session.up_len += len - at < mss ? len - at : mss;
			session.write_ends[session.write_count++] = session.up_len;
		}
	}
	session.down_len = capture_hex(
		json_object_get(object, "server_stream"), session.down, CAPTURE_STREAM_MAX);
}

static void each_session(void (*check)(void))
{
	json_t *file = capture_file("sessions.json");
	const json_t *object;
	size_t i;

	json_array_foreach(json_object_get(file, "sessions"), i, object)
	{
		load(object);
		check();
	}
	cr_assert_eq(i, 7);
	json_decref(file);
}

static void expect_stream(const uint8_t *want, size_t len)
{
	cr_assert_eq(
		end.stream_len, len, "%s: %zu of %zu bytes", session.name, end.stream_len, len);
	cr_assert(memcmp(end.stream, want, len) == 0, "%s", session.name);
}

static void check_as_server(void)
{
	stand_in_open(&end, &capture, &session.config, false);
	stand_in_play(&end, &capture, SIZE_MAX);
	expect_stream(session.up, session.up_len);
	if (!session.stream) {
		cr_assert_eq(end.message_count, session.write_count, "%s", session.name);
		for (size_t i = 0; i < end.message_count; i++)
			cr_assert_eq(end.message_ends[i], session.write_ends[i], "%s: message %zu",
				session.name, i);
	}
	stand_in_close(&end);
}

Test(sessions, a_node_in_place_of_the_server)
{
	each_session(check_as_server);
}

static void check_as_client(void)
{
	stand_in_open(&end, &capture, &session.config, true);
	/* the server acknowledges what the client sent: let there be something */
	size_t from = 0;
	for (size_t i = 0; i < session.write_count; i++) {
		cr_assert_eq(kcpvpn_conv_send(
				     end.conv, session.up + from, session.write_ends[i] - from, 0),
			0);
		from = session.write_ends[i];
	}
	kcpvpn_node_flush(end.node, 0);
	stand_in_play(&end, &capture, SIZE_MAX);
	expect_stream(session.down, session.down_len);
	if (!session.stream)
		cr_assert(kcpvpn_conv_drained(end.conv), "%s: all is acknowledged", session.name);
	stand_in_close(&end);
}

Test(sessions, a_node_in_place_of_the_client)
{
	each_session(check_as_client);
}

static void check_without_fec(void)
{
	session.config.data_shards = 0;
	session.config.parity_shards = 0;
	check_as_server();
	check_as_client();
	session.config.data_shards = 7;
	session.config.parity_shards = 2;
	check_as_server();
	check_as_client();
}

Test(sessions, whatever_code_we_expected)
{
	each_session(check_without_fec);
}

static void check_old_profile(void)
{
	session.config.profile = KCPVPN_PROFILE_5_6_1;
	check_as_server();
	check_as_client();
}

Test(sessions, by_the_older_rules)
{
	each_session(check_old_profile);
}

static bool group_is_whole(size_t index)
{
	unsigned n = session.data + session.parity;
	uint32_t group = capture.packets[index].fec_seqid / n;
	unsigned found = 0;

	for (size_t i = 0; i < capture.count; i++) {
		const struct capture_packet *p = &capture.packets[i];
		if (p->from_client && !p->dropped && p->fec_type != 0 && p->fec_seqid / n == group)
			found++;
	}
	return found == n;
}

static unsigned recovered;

/*
 * Loses one more data packet of the client, each in its turn. Once enough packets have shown that the code is the one
 * expected, the lost one must come back from parity, and the bytes are all there at the end.
 */
static void check_losses(void)
{
	size_t before = 0;

	if (session.data == 0)
		return;
	for (size_t i = 0; i < capture.count; i++) {
		const struct capture_packet *p = &capture.packets[i];
		struct kcpvpn_stats stats;
		if (!p->from_client || p->dropped)
			continue;
		before++;
		if (p->fec_type != FEC_TYPE_DATA || before < 40 || !group_is_whole(i))
			continue;
		stand_in_open(&end, &capture, &session.config, false);
		stand_in_play(&end, &capture, i);
		expect_stream(session.up, session.up_len);
		kcpvpn_node_stats(end.node, &stats);
		cr_assert_eq(stats.fec_recovered, 1, "%s: packet %zu", session.name, i);
		recovered++;
		stand_in_close(&end);
	}
}

Test(sessions, lost_packets_come_back_from_parity)
{
	each_session(check_losses);
	cr_assert(recovered >= 15, "%u", recovered);
}

static void check_wrong_key(void)
{
	struct kcpvpn_stats stats;
	uint64_t packets = 0;

	if (capture.key_len == 0 || strcmp(session.config.crypt, "none") == 0)
		return;
	capture.key[0] ^= 1;
	stand_in_open(&end, &capture, &session.config, false);
	for (size_t i = 0; i < capture.count; i++) {
		struct capture_packet *p = &capture.packets[i];
		struct kcpvpn_datagram d = {.remote = end.remote, .data = p->bytes, .len = p->len};
		kcpvpn_node_input(end.node, &end.port, true, &d, 1, 0);
		packets++;
	}
	kcpvpn_node_stats(end.node, &stats);
	cr_assert_eq(stats.drop_checksum, packets, "%s", session.name);
	cr_assert_eq(stats.conversations, 0);
	kcpvpn_node_free(end.node);
}

Test(sessions, another_key_opens_nothing)
{
	each_session(check_wrong_key);
}
