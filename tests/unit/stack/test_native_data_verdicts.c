/* Every way for DATA to be bad: counted as what it is, without effect, and answered by silence. */
#include "native_load.h"

#include "core/endian.h"
#include "kcp/kcp_segment.h"
#include "stack/native_state.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MS = 1000,
	S = 1000000,
	ROOM = 2048,
};

static struct native_pair pair;
static struct native_load load;
static uint64_t sent_before;

static void open_up(const struct native_end_options *options)
{
	native_pair_open(&pair, 31, options);
	cr_assert(native_pair_run_until(&pair, native_pair_is_up, 10 * S));
	native_load_init(&load, &pair);
	native_load_run(&load, S, 50, 50, 300);
	native_pair_run(&pair, 30 * S);
}

static struct native_session *session_of(size_t end)
{
	return pair.ends[end].peers[1 - end]->hs.slots[NATIVE_SLOT_CUR];
}

static struct kcpvpn_native_stats stats_of(size_t end)
{
	struct kcpvpn_native_stats stats;

	kcpvpn_native_stats(pair.ends[end].native, &stats);
	return stats;
}

static struct kcpvpn_peer_status status_of(size_t end)
{
	struct kcpvpn_peer_status status;

	kcpvpn_peer_status(pair.ends[end].peers[1 - end], &status);
	return status;
}

/* A datagram that end 0 might have sent: sealed with its key, under its next number. */
static size_t sealed(const void *plaintext, size_t len, uint8_t datagram[ROOM])
{
	struct native_session *session = session_of(0);
	struct seal_item item = {
		.payload = datagram + SEAL_HEADER_BYTES,
		.len = len,
		.counter = kcp_path_take_pn(pair.ends[0].peers[1]->data.path, KCP_PATH_EXTRA_QUIET,
			len, mono_at_us(pair.now_us)),
		.key = &session->send,
		.receiver_index = session->remote_index,
	};

	if (len > 0)
		memcpy(item.payload, plaintext, len);
	seal_batch(&item, 1);
	cr_assert_eq(item.verdict, SEAL_OK);
	return len + SEAL_OVERHEAD_BYTES;
}

static size_t segment(uint8_t *at, uint8_t cmd, const void *body, size_t len)
{
	const struct kcp_segment s = {.cmd = cmd, .wnd = 64, .len = (uint32_t)len};

	kcp_segment_write(at, &s);
	if (len > 0)
		memcpy(at + KCP_OVERHEAD_BYTES, body, len);
	return KCP_OVERHEAD_BYTES + len;
}

/* PLAIN with one CONTROL. */
static size_t control(uint8_t *plaintext, const void *body, size_t len)
{
	memset(plaintext, 0, 4);
	return 4 + segment(plaintext + 4, KCP_CMD_CONTROL, body, len);
}

static void come(const void *datagram, size_t len)
{
	native_pair_inject(&pair.ends[1], &pair.ends[0].address, datagram, len);
}

static void come_sealed(const void *plaintext, size_t len)
{
	uint8_t datagram[ROOM];

	come(datagram, sealed(plaintext, len, datagram));
}

static uint64_t sent_by_1(void)
{
	uint64_t sum = 0;

	for (size_t t = 0; t < 16; t++)
		sum += pair.ends[1].sent[t];
	return sum;
}

/* `count` grew by one and nothing was sent for it. */
#define EXPECT_SILENT(field)                                               \
	do {                                                               \
		native_pair_exchange(&pair);                               \
		cr_assert_eq(stats_of(1).field - before.field, 1, #field); \
		cr_assert_eq(sent_by_1(), sent_before);                    \
	} while (0)
#define BEGIN()                                               \
	struct kcpvpn_native_stats before = stats_of(1);      \
	struct kcpvpn_peer_status peer_before = status_of(1); \
	(void)before, (void)peer_before;                      \
	sent_before = sent_by_1()

Test(native_verdicts, what_is_no_datagram_of_ours)
{
	static const size_t lengths[] = {1, 3, 4, 31, 33, 59, 1473, 2000};
	uint8_t bytes[ROOM] = {0};

	open_up(NULL);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		BEGIN();
		store_le32(bytes, 0x010c);
		come(bytes, lengths[i]);
		EXPECT_SILENT(drop_type);
	}
	static const uint32_t words[] = {0, 0x020c, 0x0001010c, 0x010d, 0x0c, 0x0107, 0x01};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		BEGIN();
		store_le32(bytes, words[i]);
		come(bytes, 100);
		EXPECT_SILENT(drop_type);
	}
	/* Handshake datagrams have one size each. */
	static const uint32_t handshake[] = {0x0108, 0x0109, 0x010a, 0x010b};
	for (size_t i = 0; i < 4; i++) {
		BEGIN();
		store_le32(bytes, handshake[i]);
		come(bytes, 100);
		EXPECT_SILENT(drop_type);
	}
	native_pair_fini(&pair);
}

Test(native_verdicts, header)
{
	uint8_t datagram[ROOM];

	open_up(NULL);
	size_t len = sealed(NULL, 0, datagram);
	{
		BEGIN();
		store_le32(datagram + 4, load_le32(datagram + 4) ^ 0x100000);
		come(datagram, len);
		store_le32(datagram + 4, load_le32(datagram + 4) ^ 0x100000);
		EXPECT_SILENT(drop_index);
	}
	for (uint32_t shard = 1; shard < 16; shard++) {
		BEGIN();
		store_le32(datagram + 4, load_le32(datagram + 4) + shard);
		come(datagram, len);
		store_le32(datagram + 4, load_le32(datagram + 4) - shard);
		EXPECT_SILENT(drop_shard);
	}
	static const uint64_t counters[] = {(uint64_t)1 << 48, (uint64_t)1 << 63, UINT64_MAX};
	for (size_t i = 0; i < 3; i++) {
		uint64_t own = load_le64(datagram + 8);
		BEGIN();
		store_le64(datagram + 8, counters[i]);
		come(datagram, len);
		store_le64(datagram + 8, own);
		EXPECT_SILENT(drop_counter);
	}
	{
		BEGIN();
		come(datagram, len);
		native_pair_exchange(&pair);
		cr_assert_eq(
			status_of(1).in_datagrams - peer_before.in_datagrams, 1, "as it was made");
	}
	native_pair_fini(&pair);
}

Test(native_verdicts, tag)
{
	uint8_t datagram[ROOM], copy[ROOM];
	static const uint8_t ping[] = {1, 8, 1, 2, 3, 4, 5, 6, 7, 8};
	uint8_t plaintext[ROOM];

	open_up(NULL);
	size_t len = sealed(plaintext, control(plaintext, ping, sizeof(ping)), datagram);
	for (size_t at = 8; at < len; at++) {
		BEGIN();
		memcpy(copy, datagram, len);
		copy[at] ^= (uint8_t)(at < 16 ? 1 << (at - 8 < 3 ? at - 8 : 0) : 1 << at % 8);
		if (at >= 14 && at < 16)
			continue; /* the counter's high bytes: another verdict */
		come(copy, len);
		native_pair_exchange(&pair);
		cr_assert_eq(stats_of(1).drop_tag + stats_of(1).drop_replay - before.drop_tag -
				     before.drop_replay,
			1, "byte %zu", at);
		cr_assert_eq(sent_by_1(), sent_before);
		if (at >= 16) {
			cr_assert_eq(stats_of(1).drop_tag - before.drop_tag, 1);
			cr_assert_eq(status_of(1).drop_tag - peer_before.drop_tag, 1);
		}
	}
	/* None of this moved the window: the true one is fresh, and answered. */
	come(datagram, len);
	native_pair_exchange(&pair);
	cr_assert_gt(sent_by_1(), sent_before);
	native_pair_fini(&pair);
}

Test(native_verdicts, replay)
{
	uint8_t datagram[ROOM], copy[ROOM];

	open_up(NULL);
	size_t len = sealed(NULL, 0, datagram);
	memcpy(copy, datagram, len);
	come(copy, len);
	for (int i = 0; i < 3; i++) {
		BEGIN();
		memcpy(copy, datagram, len);
		copy[len - 1] ^= (uint8_t)
			i; /* forged or not: no tag is looked at for a number that was here */
		come(copy, len);
		EXPECT_SILENT(drop_replay);
		cr_assert_eq(status_of(1).drop_replay - peer_before.drop_replay, 1);
	}
	native_pair_fini(&pair);
}

/* Datagrams of one call of kcpvpn_native_input(). */
static void come_together(uint8_t (*datagrams)[ROOM], const size_t *lens, size_t count)
{
	static uint8_t rooms[KCPVPN_BATCH_MAX][ROOM];
	struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX];

	for (size_t i = 0; i < count; i++) {
		memcpy(rooms[i], datagrams[i], lens[i]);
		batch[i] = (struct kcpvpn_datagram){
			.remote = pair.ends[0].address,
			.local = pair.ends[1].address,
			.data = rooms[i],
			.len = lens[i],
		};
	}
	kcpvpn_native_input(pair.ends[1].native, &pair.ends[1].port, batch, count, pair.now_us);
	kcpvpn_native_flush(pair.ends[1].native, pair.now_us);
	native_pair_exchange(&pair);
}

Test(native_verdicts, copies_in_one_batch)
{
	static uint8_t datagrams[KCPVPN_BATCH_MAX][ROOM];
	size_t lens[KCPVPN_BATCH_MAX];
	static const uint8_t ping[] = {1, 8, 1, 2, 3, 4, 5, 6, 7, 8};
	uint8_t plaintext[ROOM];

	open_up(NULL);
	lens[0] = sealed(plaintext, control(plaintext, ping, sizeof(ping)), datagrams[0]);
	for (size_t i = 1; i < KCPVPN_BATCH_MAX; i++) {
		memcpy(datagrams[i], datagrams[0], lens[0]);
		lens[i] = lens[0];
	}
	BEGIN();
	come_together(datagrams, lens, KCPVPN_BATCH_MAX);
	cr_assert_eq(stats_of(1).drop_replay - before.drop_replay, KCPVPN_BATCH_MAX - 1);
	cr_assert_eq(status_of(1).in_datagrams - peer_before.in_datagrams, 1 + 1,
		"it, and the acknowledgement of the PONG");
	native_pair_fini(&pair);
}

Test(native_verdicts, a_session_that_ends_in_the_middle_of_a_batch)
{
	static uint8_t datagrams[3][ROOM];
	static const uint8_t close[] = {7, 1, 0};
	size_t lens[3];
	uint8_t plaintext[ROOM];

	open_up(NULL);
	lens[0] = sealed(plaintext, control(plaintext, close, sizeof(close)), datagrams[0]);
	lens[1] = sealed(NULL, 0, datagrams[1]);
	lens[2] = sealed(NULL, 0, datagrams[2]);
	BEGIN();
	come_together(datagrams, lens, 3);
	cr_assert_null(session_of(1));
	cr_assert_eq(stats_of(1).drop_index - before.drop_index, 2);
	native_pair_fini(&pair);
}

Test(native_verdicts, age)
{
	uint8_t datagram[ROOM];

	open_up(NULL);
	size_t len = sealed(NULL, 0, datagram);
	struct kcpvpn_datagram d = {
		.remote = pair.ends[0].address,
		.local = pair.ends[1].address,
		.data = datagram,
		.len = len,
	};
	BEGIN();
	/* It comes before the deadline that would have erased the session was served. */
	int64_t end_us = session_of(1)->made_at.us + 180 * S;
	kcpvpn_native_input(pair.ends[1].native, &pair.ends[1].port, &d, 1, end_us);
	cr_assert_eq(stats_of(1).drop_expired - before.drop_expired, 1);
	cr_assert_eq(status_of(1).drop_expired - peer_before.drop_expired, 1);
	/* A microsecond earlier it is welcome. */
	kcpvpn_native_input(pair.ends[1].native, &pair.ends[1].port, &d, 1, end_us - 1);
	cr_assert_eq(stats_of(1).drop_expired - before.drop_expired, 1);
	cr_assert_eq(status_of(1).in_datagrams - peer_before.in_datagrams, 1);
	native_pair_fini(&pair);
}

Test(native_verdicts, frame)
{
	uint8_t plaintext[ROOM] = {0};

	open_up(NULL);
	for (unsigned kind = 5; kind < 256; kind += kind < 8 ? 1 : 31) {
		BEGIN();
		plaintext[0] = (uint8_t)kind;
		come_sealed(plaintext, 4 + segment(plaintext + 4, KCP_CMD_WINS, NULL, 0) + 40);
		EXPECT_SILENT(drop_frame);
		cr_assert_eq(status_of(1).drop_malformed - peer_before.drop_malformed, 1);
	}
	/* Repairs of no source, of more than we said, and shorter than any. */
	for (int i = 0; i < 3; i++) {
		static const uint8_t windows[] = {0, NATIVE_FEC_WINDOW + 1, 1};
		BEGIN();
		plaintext[0] = 3;
		memset(plaintext + 1, 0, 60);
		plaintext[8] = windows[i];
		come_sealed(plaintext, i < 2 ? 10 + 60 : 10 + 6 + KCP_OVERHEAD_BYTES - 1);
		EXPECT_SILENT(drop_frame);
		cr_assert_eq(status_of(1).drop_malformed - peer_before.drop_malformed, 1);
	}
	/* A segment that passes the end; bytes left over. */
	for (int i = 0; i < 2; i++) {
		BEGIN();
		plaintext[0] = 0;
		size_t len = segment(plaintext + 4, KCP_CMD_PROBE, plaintext, 10);
		come_sealed(plaintext, i == 0 ? 4 + len - 1 : 4 + len + 1);
		EXPECT_SILENT(drop_frame);
	}
	native_pair_fini(&pair);
}

Test(native_verdicts, control)
{
	static const struct {
		const char *what;
		uint8_t body[40];
		size_t len;
	} rows[] = {
		{"cut", {1, 8, 0}, 3},
		{"cut head", {1}, 1},
		{"short PING", {1, 7, 0, 0, 0, 0, 0, 0, 0}, 9},
		{"long CLOSE", {7, 2, 0, 0}, 4},
		{"unknown", {8, 0}, 2},
		{"unknown below 128", {127, 1, 9}, 3},
		{"seventeen", {[33] = 0}, 34},
		{"a good one first", {1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 99, 0}, 12},
		{"CLOSE first", {7, 1, 0, 99, 0}, 5},
	};
	uint8_t plaintext[ROOM];

	open_up(NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		BEGIN();
		come_sealed(plaintext, control(plaintext, rows[i].body, rows[i].len));
		EXPECT_SILENT(drop_control);
		cr_assert_eq(status_of(1).drop_malformed - peer_before.drop_malformed, 1);
		cr_assert_not_null(session_of(1), "%s", rows[i].what);
	}
	/* TLVs are counted over the whole datagram. */
	BEGIN();
	static const uint8_t nine[18];
	memset(plaintext, 0, 4);
	size_t len = 4 + segment(plaintext + 4, KCP_CMD_CONTROL, nine, sizeof(nine));
	len += segment(plaintext + len, KCP_CMD_CONTROL, nine, sizeof(nine));
	come_sealed(plaintext, len);
	EXPECT_SILENT(drop_control);
	native_pair_fini(&pair);
}

Test(native_verdicts, memory)
{
	struct native_end_options options = native_pair_options();

	/* A reader that has stopped, and far less memory than it was granted. */
	options.memory_max_bytes = 1 << 20;
	open_up(&options);
	BEGIN();
	pair.ends[1].unread = true;
	for (int i = 0; i < 3000; i++)
		native_load_run(&load, MS, 4000, 0, 100);
	cr_assert_leq(status_of(1).memory_bytes, (uint64_t)2 << 20);
	printf("drop_memory %llu\n",
		(unsigned long long)(stats_of(1).drop_memory - before.drop_memory));
	pair.ends[1].unread = false;
	native_pair_fini(&pair);
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

static size_t last_len_of_1;

static bool catch_length(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	(void)to;
	(void)bytes;
	if (from->number == 1 && last_len_of_1 == 0)
		last_len_of_1 = len;
	return true;
}

Test(native_verdicts, an_answer_is_not_longer_than_its_question)
{
	static const enum kcpvpn_padding paddings[] = {
		KCPVPN_PADDING_NONE, KCPVPN_PADDING_16, KCPVPN_PADDING_FULL};
	struct native_end_options options = native_pair_options();
	uint8_t plaintext[ROOM], body[160], datagram[ROOM];

	for (size_t p = 0; p < 3; p++) {
		options.peer.padding = paddings[p];
		open_up(&options);
		pair.filter = catch_length;
		for (size_t tlvs = 1; tlvs <= 16; tlvs++) {
			for (size_t i = 0; i < tlvs; i++) {
				body[i * 10] = i % 2 ? 1 : 3;
				body[i * 10 + 1] = 8;
				memset(body + i * 10 + 2, (int)i, 8);
			}
			size_t len =
				sealed(plaintext, control(plaintext, body, tlvs * 10), datagram);
			last_len_of_1 = 0;
			come(datagram, len);
			native_pair_exchange(&pair);
			cr_assert_gt(last_len_of_1, 0);
			cr_assert_leq(last_len_of_1, len);
			cr_assert_geq(last_len_of_1, 60 + tlvs * 10);
		}
		native_pair_fini(&pair);
	}
}

static struct kcpvpn_endpoint last_to;

static bool catch_address(
	struct native_end *from, const struct kcpvpn_endpoint *to, uint8_t *bytes, size_t len)
{
	(void)bytes;
	(void)len;
	if (from->number == 1 && last_to.family == 0)
		last_to = *to;
	return true;
}

Test(native_verdicts, a_challenge_is_answered_where_it_came_from_and_nothing_else_is)
{
	static const struct kcpvpn_endpoint elsewhere = {
		.address = {198, 51, 100, 7}, .port = 666, .family = 4};
	uint8_t plaintext[ROOM], datagram[ROOM];

	open_up(NULL);
	pair.filter = catch_address;
	for (uint8_t type = 1; type <= 3; type += 2) {
		const uint8_t body[10] = {type, 8, 1, 2, 3};
		size_t len = sealed(plaintext, control(plaintext, body, sizeof(body)), datagram);
		memset(&last_to, 0, sizeof(last_to));
		native_pair_inject(&pair.ends[1], &elsewhere, datagram, len);
		native_pair_exchange(&pair);
		cr_assert(kcpvpn_endpoint_equal(
			&last_to, type == 3 ? &elsewhere : &pair.ends[0].address));
		native_pair_run(&pair, 4 * S);
	}
	native_pair_fini(&pair);
}

Test(native_verdicts, a_probe_counts_only_in_its_own_size)
{
	uint8_t plaintext[ROOM], body[6] = {5, 4}, datagram[ROOM];

	open_up(NULL);
	for (int right = 0; right < 2; right++) {
		size_t size = 1300;
		store_le16(body + 2, (uint16_t)(right ? size : size + 1));
		store_le16(body + 4, 77);
		size_t len = control(plaintext, body, sizeof(body));
		size_t fill = size - SEAL_OVERHEAD_BYTES - len - KCP_OVERHEAD_BYTES;
		static const uint8_t zeros[ROOM];
		len += segment(plaintext + len, KCP_CMD_PROBE, zeros, fill);
		len = sealed(plaintext, len, datagram);
		cr_assert_eq(len, size);
		last_len_of_1 = 0;
		pair.filter = catch_length;
		come(datagram, len);
		native_pair_exchange(&pair);
		native_pair_run(&pair, 100 * MS);
		/* An acknowledgement in any case; the answer has 66 bytes. */
		cr_assert_gt(last_len_of_1, 0);
		cr_assert_eq(last_len_of_1 == 66, right == 1);
	}
	native_pair_fini(&pair);
}
