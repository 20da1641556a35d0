/* Every way for a datagram to be bad has its counter, and a bad one changes nothing else. */
#include "pair.h"

#include "fec/fec_header.h"
#include "kcp/kcp_segment.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

enum {
	CONV = 0x11223344,
	STRANGER = 77,
};

static struct pair pair;

/* Cipher "none" without FEC of its own, a conversation that has carried a message each way. */
static struct kcpvpn_config plain_config(void)
{
	struct kcpvpn_config config = pair_config();

	config.crypt = "none";
	config.data_shards = 0;
	config.parity_shards = 0;
	return config;
}

static void open_established(const struct kcpvpn_config *config)
{
	pair_open(&pair, config, NULL);
	pair_dial(&pair, CONV);
	cr_assert_eq(pair_send(&pair.a, 1, 100), 0);
	pair_run(&pair, 100000);
	pair_expect(&pair.b, 1, 100);
	cr_assert_eq(pair_send(&pair.b, 2, 100), 0);
	pair_run(&pair, 100000);
	pair_expect(&pair.a, 2, 100);
}

static struct craft push(uint32_t conv, uint32_t sn, uint32_t len, size_t body)
{
	struct craft craft = {0};
	struct craft_segment segment = {
		.conv = conv, .cmd = KCP_CMD_PUSH, .wnd = 128, .sn = sn, .len = len, .body = body};

	craft_add_segment(&craft, &segment);
	return craft;
}

static void inject_none(const struct kcpvpn_endpoint *from, struct craft craft)
{
	craft_wrap_none(&craft);
	pair_inject(&pair.b, from, craft.bytes, craft.len);
}

/*
 * Checks that of all verdicts `counter` alone grew, by one, and that the conversation is as good as before. What a
 * datagram counts as received depends on how far it got, so those counters are left out.
 */
static void expect_only(const struct kcpvpn_stats *before, size_t counter, const char *what)
{
	static const size_t verdicts[] = {
		offsetof(struct kcpvpn_stats, drop_short),
		offsetof(struct kcpvpn_stats, drop_checksum),
		offsetof(struct kcpvpn_stats, drop_source),
		offsetof(struct kcpvpn_stats, drop_no_conv),
		offsetof(struct kcpvpn_stats, drop_conv),
		offsetof(struct kcpvpn_stats, drop_backlog),
		offsetof(struct kcpvpn_stats, drop_segment),
		offsetof(struct kcpvpn_stats, drop_fec),
		offsetof(struct kcpvpn_stats, drop_window),
		offsetof(struct kcpvpn_stats, drop_memory),
		offsetof(struct kcpvpn_stats, drop_oob),
	};
	struct kcpvpn_stats after = pair_stats(&pair.b);

	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		uint64_t was, is;
		memcpy(&was, (const uint8_t *)before + verdicts[i], sizeof(was));
		memcpy(&is, (const uint8_t *)&after + verdicts[i], sizeof(is));
		cr_assert_eq(is - was, verdicts[i] == counter ? 1 : 0,
			"%s: counter %zu grew by %lu", what, i, (unsigned long)(is - was));
	}
	cr_assert_eq(after.conversations, before->conversations, "%s", what);
	cr_assert_eq(after.passive_opens, before->passive_opens, "%s", what);
	cr_assert_eq(after.bytes_received, before->bytes_received, "%s", what);
}

static void expect_alive(const char *what)
{
	static uint8_t seed = 10;

	seed++;
	cr_assert_eq(pair_send(&pair.a, seed, 300), 0, "%s", what);
	pair_run(&pair, 200000);
	pair_expect(&pair.b, seed, 300);
	cr_assert_eq(pair_send(&pair.b, seed, 300), 0, "%s", what);
	pair_run(&pair, 200000);
	pair_expect(&pair.a, seed, 300);
}

#define EXPECT(counter, what) expect_only(&before, offsetof(struct kcpvpn_stats, counter), what)

Test(verdicts, short_datagrams)
{
	struct kcpvpn_config config = plain_config();
	struct craft craft;

	open_established(&config);
	for (size_t len = 0; len < 20 + KCP_OVERHEAD_BYTES; len++) {
		struct kcpvpn_stats before = pair_stats(&pair.b);
		craft = (struct craft){.len = len > 20 ? len - 20 : 0};
		if (len < 20)
			craft.len = len;
		else
			craft_wrap_none(&craft);
		pair_inject(&pair.b, &pair.a.address, craft.bytes, craft.len);
		EXPECT(drop_short, "shorter than header and segment");
	}
	/* one that says it has an FEC header and ends within */
	for (size_t len = 6; len < 8; len++) {
		struct kcpvpn_stats before = pair_stats(&pair.b);
		craft = (struct craft){0};
		craft_wrap_fec(&craft, 5, FEC_TYPE_DATA, -1);
		craft.len = len;
		inject_none(&pair.a.address, craft);
		EXPECT(drop_short, "cut FEC header");
	}
	expect_alive("short datagrams");
	pair_close(&pair);
}

Test(verdicts, wrong_key_and_wrong_cipher)
{
	static const uint8_t other_key[KCPVPN_KEY_BYTES] = "not the key of the others here";
	const char *name;

	for (size_t i = 0; (name = kcpvpn_crypt_name(i)) != NULL; i++) {
		struct kcpvpn_config right = pair_config();
		struct kcpvpn_config wrong = right;
		if (strcmp(name, "null") == 0)
			continue; /* nothing to check by */
		right.crypt = name;
		wrong.crypt = name;
		wrong.key = other_key;
		if (strcmp(name, "none") == 0)
			wrong.crypt = "aes"; /* "none" has no key */
		pair_open(&pair, &wrong, &right);
		pair_dial(&pair, CONV);
		cr_assert_eq(pair_send(&pair.a, 1, 500), 0);
		pair_run(&pair, 10000);
		struct kcpvpn_stats stats = pair_stats(&pair.b);
		cr_assert(stats.drop_checksum > 0, "%s", name);
		cr_assert_eq(stats.drop_checksum, pair.a.datagrams, "%s", name);
		cr_assert_eq(stats.in_datagrams, 0, "%s", name);
		cr_assert_eq(stats.conversations, 0, "%s", name);
		cr_assert_eq(pair.b.datagrams, 0, "%s: strangers get no answer", name);
		pair_close(&pair);
	}
}

static bool flip_one_bit(struct pair_end *from, uint8_t *bytes, size_t len)
{
	if (from == &from->pair->a)
		bytes[from->datagrams % len] ^= (uint8_t)(1u << (from->datagrams % 8));
	return true;
}

Test(verdicts, damaged_datagrams)
{
	static const char *const ciphers[] = {"salsa20", "aes-128-gcm", "aes"};

	for (size_t i = 0; i < 3; i++) {
		struct kcpvpn_config config = pair_config();
		config.crypt = ciphers[i];
		config.data_shards = 0;
		open_established(&config);
		struct kcpvpn_stats before = pair_stats(&pair.b);
		pair.filter = flip_one_bit;
		cr_assert_eq(pair_send(&pair.a, 9, 400), 0);
		pair_run(&pair, 300000);
		cr_assert(
			pair_stats(&pair.b).drop_checksum > before.drop_checksum, "%s", ciphers[i]);
		cr_assert_eq(pair_events(&pair.b) & KCPVPN_EVENT_CLOSED, 0);
		pair.filter = NULL;
		pair_run(&pair, 3000000);
		pair_expect(&pair.b, 9, 400);
		pair_close(&pair);
	}
}

Test(verdicts, strangers_where_none_is_accepted)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_endpoint stranger = pair_endpoint(STRANGER);

	open_established(&config);
	pair.b.accepts = false;
	struct kcpvpn_stats before = pair_stats(&pair.b);
	inject_none(&stranger, push(CONV, 0, 10, 10));
	EXPECT(drop_source, "stranger");

	/* the same host from another port, and the same address on IPv6, are strangers, too */
	before = pair_stats(&pair.b);
	stranger = pair.a.address;
	stranger.port++;
	inject_none(&stranger, push(CONV, 0, 10, 10));
	EXPECT(drop_source, "another port");
	before = pair_stats(&pair.b);
	stranger = pair.a.address;
	stranger.family = 6;
	inject_none(&stranger, push(CONV, 0, 10, 10));
	EXPECT(drop_source, "another family");

	/* known addresses are known at one port only */
	struct kcpvpn_udp_port other = pair.b.port;
	struct craft craft = push(CONV, 0, 10, 10);
	craft_wrap_none(&craft);
	struct kcpvpn_datagram d = {
		.remote = pair.a.address, .data = craft.bytes, .len = craft.len};
	before = pair_stats(&pair.b);
	kcpvpn_node_input(pair.b.node, &other, false, &d, 1, pair.now_us);
	EXPECT(drop_source, "another port of our own");
	expect_alive("strangers");
	pair_close(&pair);
}

Test(verdicts, parity_from_a_stranger_names_no_conversation)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_endpoint stranger = pair_endpoint(STRANGER);
	struct craft craft = {.len = 40};

	open_established(&config);
	craft_wrap_fec(&craft, 12, FEC_TYPE_PARITY, -1);
	struct kcpvpn_stats before = pair_stats(&pair.b);
	inject_none(&stranger, craft);
	EXPECT(drop_no_conv, "parity");

	/* data too short to hold a whole segment behind the FEC header: as in kcp-go */
	craft = (struct craft){.len = 20};
	craft_wrap_fec(&craft, 12, FEC_TYPE_DATA, -1);
	before = pair_stats(&pair.b);
	inject_none(&stranger, craft);
	EXPECT(drop_no_conv, "short data");
	pair_close(&pair);
}

Test(verdicts, another_conversation_of_a_known_address)
{
	struct kcpvpn_config config = plain_config();

	open_established(&config);
	struct kcpvpn_stats before = pair_stats(&pair.b);
	inject_none(&pair.a.address, push(CONV + 1, 7, 10, 10));
	EXPECT(drop_conv, "in the middle of another conversation");

	pair.b.accepts = false;
	before = pair_stats(&pair.b);
	inject_none(&pair.a.address, push(CONV + 1, 0, 10, 10));
	EXPECT(drop_conv, "the beginning of another one, where none is accepted");
	pair.b.accepts = true;
	expect_alive("other conversations");
	pair_close(&pair);
}

Test(verdicts, more_conversations_than_allowed)
{
	struct kcpvpn_config config = plain_config();

	config.convs_max = 3;
	open_established(&config);
	for (uint8_t i = 0; i < 2; i++) {
		struct kcpvpn_endpoint stranger = pair_endpoint((uint8_t)(STRANGER + i));
		inject_none(&stranger, push(100u + i, 0, 10, 10));
	}
	cr_assert_eq(pair_stats(&pair.b).conversations, 3);
	struct kcpvpn_endpoint stranger = pair_endpoint(STRANGER + 9);
	struct kcpvpn_stats before = pair_stats(&pair.b);
	inject_none(&stranger, push(200, 0, 10, 10));
	EXPECT(drop_backlog, "one too many");
	struct kcpvpn_conv *conv;
	cr_assert_eq(kcpvpn_node_dial(pair.b.node, &pair.b.port, &stranger, 0, pair.now_us, &conv),
		-ENOBUFS);
	pair_close(&pair);
}

Test(verdicts, malformed_segments)
{
	struct kcpvpn_config config = plain_config();
	struct craft craft;

	open_established(&config);
	static const struct {
		const char *what;
		uint8_t cmd;
		uint32_t len;
		size_t body;
	} rows[] = {
		{"command 0", 0, 0, 0},
		{"command 80", 80, 0, 0},
		{"command 85", 85, 0, 0},
		{"command 255", 255, 0, 0},
		{"body one byte short", KCP_CMD_PUSH, 11, 10},
		{"length 2^31", KCP_CMD_PUSH, 0x80000000u, 10},
		{"length 2^32 - 1", KCP_CMD_PUSH, UINT32_MAX, 10},
		{"length 2^32 - 24", KCP_CMD_PUSH, UINT32_MAX - 23, 0},
		{"an ACK whose body passes the end", KCP_CMD_ACK, 1, 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcpvpn_stats before = pair_stats(&pair.b);
		struct craft_segment segment = {.conv = CONV,
			.cmd = rows[i].cmd,
			.wnd = 128,
			.sn = 50,
			.len = rows[i].len,
			.body = rows[i].body};
		craft = (struct craft){0};
		craft_add_segment(&craft, &segment);
		inject_none(&pair.a.address, craft);
		EXPECT(drop_segment, rows[i].what);
	}
	/* they neither open a conversation nor end one, whatever number they name */
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcpvpn_endpoint stranger = pair_endpoint(STRANGER);
		struct craft_segment segment = {.conv = CONV + 1,
			.cmd = rows[i].cmd,
			.wnd = 128,
			.len = rows[i].len,
			.body = rows[i].body};
		craft = (struct craft){0};
		craft_add_segment(&craft, &segment);
		for (int fec = 0; fec < 2; fec++) {
			struct kcpvpn_stats before = pair_stats(&pair.b);
			inject_none(&stranger, craft);
			EXPECT(drop_segment, rows[i].what);
			before = pair_stats(&pair.b);
			uint64_t counted = pair_conv_stats(&pair.b).drop_segment;
			inject_none(&pair.a.address, craft);
			EXPECT(drop_segment, rows[i].what);
			cr_assert_eq(pair_conv_stats(&pair.b).drop_segment, counted + 1);
			craft_wrap_fec(&craft, 1, FEC_TYPE_DATA, -1);
		}
	}
	/* the second segment is of another conversation */
	struct kcpvpn_stats before = pair_stats(&pair.b);
	craft = (struct craft){0};
	craft_add_segment(
		&craft, &(struct craft_segment){.conv = CONV, .cmd = KCP_CMD_WINS, .wnd = 128});
	craft_add_segment(
		&craft, &(struct craft_segment){.conv = CONV + 1, .cmd = KCP_CMD_WINS, .wnd = 128});
	inject_none(&pair.a.address, craft);
	EXPECT(drop_segment, "two conversations in a datagram");
	cr_assert(pair_conv_stats(&pair.b).drop_segment > 0);
	expect_alive("malformed segments");
	pair_close(&pair);
}

Test(verdicts, fec_numbers_that_no_sender_uses)
{
	struct kcpvpn_config config = plain_config();

	config.data_shards = 10;
	config.parity_shards = 3;
	open_established(&config);
	static const uint32_t seqids[] = {UINT32_MAX, UINT32_MAX / 13 * 13, UINT32_MAX - 1};
	for (size_t i = 0; i < 3; i++) {
		struct craft craft = {.len = 40};
		struct kcpvpn_stats before = pair_stats(&pair.b);
		craft_wrap_fec(&craft, seqids[i], FEC_TYPE_PARITY, -1);
		inject_none(&pair.a.address, craft);
		EXPECT(drop_fec, "parity beyond the wrap");
	}
	expect_alive("FEC numbers");
	pair_close(&pair);
}

Test(verdicts, data_beyond_the_window)
{
	struct kcpvpn_config config = plain_config();

	config.rcv_wnd = 64;
	open_established(&config);
	/* one message was taken: number 1 is expected, 1 .. 64 are inside */
	static const uint32_t outside[] = {65, 66, 1000, 0x7fffffff};
	for (size_t i = 0; i < 4; i++) {
		struct kcpvpn_stats before = pair_stats(&pair.b);
		inject_none(&pair.a.address, push(CONV, outside[i], 10, 10));
		EXPECT(drop_window, "outside");
	}
	struct kcpvpn_stats before = pair_stats(&pair.b);
	inject_none(&pair.a.address, push(CONV, 64, 10, 10));
	cr_assert_eq(pair_stats(&pair.b).drop_window, before.drop_window, "the last one inside");

	/* long gone: a repetition, however far back */
	inject_none(&pair.a.address, push(CONV, 0xfffffff0u, 10, 10));
	cr_assert_eq(pair_stats(&pair.b).duplicates, before.duplicates + 1);
	pair_close(&pair);
}

Test(verdicts, no_memory_for_segments)
{
	struct kcpvpn_config config = plain_config();
	struct kcpvpn_config poor = config;

	poor.memory_max_bytes = 8600; /* four segments, one of them to receive only */
	pair_open(&pair, &config, &poor);
	pair_dial(&pair, CONV);
	for (uint8_t i = 0; i < 20; i++)
		cr_assert_eq(pair_send(&pair.a, i, 1000), 0);
	pair_run(&pair, 20000);
	cr_assert(pair_stats(&pair.b).drop_memory > 0);
	/* refused, not lost: the peer repeats them */
	uint8_t next = 0;
	for (int round = 0; round < 200 && next < 20; round++) {
		size_t len;
		uint8_t buf[2000];
		while (kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf), pair.now_us, &len) == 0) {
			cr_assert_eq(len, 1000);
			cr_assert_eq(buf[0], pair_pattern(next, 0));
			next++;
		}
		pair_run(&pair, 100000);
	}
	cr_assert_eq(next, 20);
	/* and its own messages are refused with an error, not accepted and forgotten */
	for (int i = 0; i < 6; i++) {
		int error = pair_send(&pair.b, 1, 1000);
		cr_assert(error == (i < 3 ? 0 : -ENOBUFS), "send %d gave %d", i, error);
	}
	pair_close(&pair);
}

Test(verdicts, out_of_band_messages_that_nobody_takes)
{
	struct kcpvpn_config config = pair_config();
	uint8_t buf[100];
	size_t len;

	open_established(&config);
	for (uint8_t i = 0; i < KCPVPN_OOB_WAITING_MAX; i++)
		cr_assert_eq(kcpvpn_conv_send_oob(pair.a.conv, &i, 1), 0);
	pair_exchange(&pair);
	struct kcpvpn_stats before = pair_stats(&pair.b);
	cr_assert_eq(before.oob_in, KCPVPN_OOB_WAITING_MAX);
	cr_assert_eq(kcpvpn_conv_send_oob(pair.a.conv, "x", 1), 0);
	pair_exchange(&pair);
	EXPECT(drop_oob, "one too many");
	for (uint8_t i = 0; i < KCPVPN_OOB_WAITING_MAX; i++) {
		cr_assert_eq(kcpvpn_conv_recv_oob(pair.b.conv, buf, sizeof(buf), &len), 0);
		cr_assert(len == 1 && buf[0] == i, "in order, the oldest kept");
	}
	cr_assert_eq(kcpvpn_conv_recv_oob(pair.b.conv, buf, sizeof(buf), &len), -EAGAIN);
	expect_alive("out-of-band messages");
	pair_close(&pair);
}

/* Values that are well formed and lie: none may move what it has no right to move. */
Test(verdicts, hostile_but_well_formed)
{
	struct kcpvpn_config config = plain_config();

	config.rcv_wnd = 64;
	open_established(&config);
	static const struct craft_segment rows[] = {
		/* una beyond what was sent */
		{.cmd = KCP_CMD_WINS, .wnd = 128, .una = 2},
		{.cmd = KCP_CMD_WINS, .wnd = 128, .una = 0x7fffffff},
		{.cmd = KCP_CMD_WINS, .wnd = 128, .una = 0x80000001},
		/* acknowledgements of what was never sent */
		{.cmd = KCP_CMD_ACK, .wnd = 128, .sn = 5},
		{.cmd = KCP_CMD_ACK, .wnd = 128, .sn = 0x7fffffff, .ts = 0x7fffffff},
		{.cmd = KCP_CMD_ACK, .wnd = 128, .sn = 0xffffffff, .ts = 0xffffffff},
		/* a message that the window could never hold */
		{.cmd = KCP_CMD_PUSH, .frg = 255, .wnd = 128, .sn = 1, .len = 5, .body = 5},
		{.cmd = KCP_CMD_PUSH, .frg = 64, .wnd = 128, .sn = 1, .len = 5, .body = 5},
		/* a window of nothing, then all is well again */
		{.cmd = KCP_CMD_WINS, .wnd = 0},
		{.cmd = KCP_CMD_WINS, .wnd = 128},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct craft craft = {0};
		struct craft_segment segment = rows[i];
		segment.conv = CONV;
		craft_add_segment(&craft, &segment);
		inject_none(&pair.a.address, craft);
		pair_run(&pair, 20000);
	}
	expect_alive("lies");
	pair_close(&pair);
}
