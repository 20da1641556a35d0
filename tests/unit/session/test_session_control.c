#include "session/session_control.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_MAX = 2048 };

/* Checks a copy of exactly the body's size, so that a sanitizer sees a read past its end. */
static enum session_control_verdict check(const uint8_t *body, size_t len, unsigned *tlvs)
{
	uint8_t *exact = malloc(len + (len == 0));
	memcpy(exact, body, len);
	enum session_control_verdict verdict = session_control_check(exact, len, tlvs);
	free(exact);
	return verdict;
}

#define BYTES(...) .body = {__VA_ARGS__}, .len = sizeof((uint8_t[]){__VA_ARGS__})

static const struct {
	const char *what;
	enum session_control_verdict verdict;
	size_t len;
	uint8_t body[32];
} ROWS[] = {
	{"nothing", SESSION_CONTROL_OK, 0, {0}},
	{"ping", SESSION_CONTROL_OK, BYTES(1, 8, 1, 2, 3, 4, 5, 6, 7, 8)},
	{"ping, cut", SESSION_CONTROL_CUT, BYTES(1, 8, 1, 2, 3, 4, 5, 6, 7)},
	{"ping, short", SESSION_CONTROL_BAD_LENGTH, BYTES(1, 7, 1, 2, 3, 4, 5, 6, 7)},
	{"ping, long", SESSION_CONTROL_BAD_LENGTH, BYTES(1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9)},
	{"pong, short", SESSION_CONTROL_BAD_LENGTH, BYTES(2, 0)},
	{"challenge, short", SESSION_CONTROL_BAD_LENGTH, BYTES(3, 4, 1, 2, 3, 4)},
	{"response, short", SESSION_CONTROL_BAD_LENGTH, BYTES(4, 4, 1, 2, 3, 4)},
	{"probe", SESSION_CONTROL_OK, BYTES(5, 4, 1, 2, 3, 4)},
	{"probe, short", SESSION_CONTROL_BAD_LENGTH, BYTES(5, 2, 1, 2)},
	{"mtu ack, long", SESSION_CONTROL_BAD_LENGTH, BYTES(6, 5, 1, 2, 3, 4, 5)},
	{"close", SESSION_CONTROL_OK, BYTES(7, 1, 200)},
	{"close, short", SESSION_CONTROL_BAD_LENGTH, BYTES(7, 0)},
	{"padding", SESSION_CONTROL_OK, BYTES(0, 3, 9, 9, 9)},
	{"padding, empty", SESSION_CONTROL_OK, BYTES(0, 0)},
	{"padding, cut", SESSION_CONTROL_CUT, BYTES(0, 3, 9, 9)},
	{"a byte over", SESSION_CONTROL_CUT, BYTES(7, 1, 0, 0)},
	{"first that must be known", SESSION_CONTROL_UNKNOWN, BYTES(8, 0)},
	{"last that must be known", SESSION_CONTROL_UNKNOWN, BYTES(127, 1, 1)},
	{"unknown behind good ones", SESSION_CONTROL_UNKNOWN, BYTES(7, 1, 0, 64, 0)},
	{"first that is skipped", SESSION_CONTROL_OK, BYTES(128, 2, 1, 1)},
	{"last that is skipped", SESSION_CONTROL_OK, BYTES(255, 0)},
	{"skipped, cut", SESSION_CONTROL_CUT, BYTES(255, 1)},
};

Test(session_control, verdicts)
{
	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		unsigned tlvs = 0;
		cr_assert_eq(check(ROWS[i].body, ROWS[i].len, &tlvs), ROWS[i].verdict, "%s",
			ROWS[i].what);
	}
	for (int i = 0; i < SESSION_CONTROL_VERDICTS; i++)
		cr_assert_str_neq(
			session_control_verdict_str((enum session_control_verdict)i), "unknown");
}

Test(session_control, sixteen_in_a_datagram_whatever_they_are)
{
	uint8_t body[34] = {0};
	unsigned tlvs = 0;

	for (size_t i = 0; i < sizeof(body); i += 4)
		body[i] = 200; /* skipped and padding take turns */
	cr_assert_eq(check(body, 32, &tlvs), SESSION_CONTROL_OK);
	cr_assert_eq(tlvs, 16);
	cr_assert_eq(check(body, 0, &tlvs), SESSION_CONTROL_OK);
	cr_assert_eq(check(body, 2, &tlvs), SESSION_CONTROL_TOO_MANY, "a second segment");
	tlvs = 0;
	cr_assert_eq(check(body, 34, &tlvs), SESSION_CONTROL_TOO_MANY);
}

Test(session_control, what_is_built_is_read)
{
	static const uint8_t token[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	uint8_t bytes[SESSION_CONTROL_BYTES_MAX];
	struct session_control_builder b = session_control_build(bytes, sizeof(bytes));
	struct session_control_tlv tlv;
	unsigned tlvs = 0;

	for (int type = SESSION_CONTROL_PING; type <= SESSION_CONTROL_PATH_RESPONSE; type++)
		cr_assert(session_control_put_token(&b, (enum session_control_type)type, token));
	cr_assert(session_control_put_mtu(&b, SESSION_CONTROL_MTU_PROBE, 0x1234, 0x5678));
	cr_assert(session_control_put_mtu(&b, SESSION_CONTROL_MTU_ACK, 1472, 65535));
	cr_assert(session_control_put_close(&b, SESSION_CONTROL_CLOSE_REMOVED));
	cr_assert_eq(b.tlvs, 7);
	static const uint8_t probe[] = {5, 4, 0x34, 0x12, 0x78, 0x56, 6};
	cr_assert_arr_eq(bytes + 40, probe, sizeof(probe));
	cr_assert_eq(check(bytes, b.len, &tlvs), SESSION_CONTROL_OK);

	struct wire walk = wire_of(bytes, b.len);
	for (int type = SESSION_CONTROL_PING; type <= SESSION_CONTROL_PATH_RESPONSE; type++) {
		cr_assert(session_control_next(&walk, &tlv));
		cr_assert_eq((int)tlv.type, type);
		cr_assert_arr_eq(tlv.token, token, 8);
	}
	cr_assert(session_control_next(&walk, &tlv));
	cr_assert(tlv.type == SESSION_CONTROL_MTU_PROBE && tlv.mtu_bytes == 0x1234 &&
		  tlv.mtu_id == 0x5678);
	cr_assert(session_control_next(&walk, &tlv));
	cr_assert(tlv.type == SESSION_CONTROL_MTU_ACK && tlv.mtu_bytes == 1472 &&
		  tlv.mtu_id == 65535);
	cr_assert(session_control_next(&walk, &tlv));
	cr_assert(tlv.type == SESSION_CONTROL_CLOSE && tlv.close_reason == 2);
	cr_assert_eq(tlv.mtu_bytes, 0, "left over from the one before");
	cr_assert_not(session_control_next(&walk, &tlv));
}

Test(session_control, a_builder_stops_at_its_bounds)
{
	static const uint8_t token[8];
	uint8_t bytes[512];
	struct session_control_builder b = session_control_build(bytes, 19);

	memset(bytes, 0xee, sizeof(bytes));
	cr_assert(session_control_put_token(&b, SESSION_CONTROL_PONG, token));
	cr_assert_not(session_control_put_token(&b, SESSION_CONTROL_PONG, token));
	cr_assert(session_control_put_mtu(&b, SESSION_CONTROL_MTU_ACK, 1, 2));
	cr_assert(session_control_put_close(&b, SESSION_CONTROL_CLOSE_SHUTDOWN));
	cr_assert_eq(b.len, 19);
	cr_assert_eq(bytes[19], 0xee);
	cr_assert_not(session_control_put_close(&b, SESSION_CONTROL_CLOSE_SHUTDOWN));
	cr_assert_not(session_control_put_mtu(&b, SESSION_CONTROL_MTU_ACK, 1, 2));

	b = session_control_build(bytes, sizeof(bytes));
	for (int i = 0; i < 16; i++)
		cr_assert(session_control_put_token(&b, SESSION_CONTROL_PING, token));
	cr_assert_not(session_control_put_close(&b, SESSION_CONTROL_CLOSE_SHUTDOWN));
	cr_assert_eq(b.len, SESSION_CONTROL_BYTES_MAX);
}

/* The rules once more, by index and without a cursor. */
static enum session_control_verdict naive(const uint8_t *body, size_t len, unsigned *ret_known)
{
	static const int lengths[8] = {-1, 8, 8, 8, 8, 4, 4, 1};
	size_t i = 0;
	unsigned count = 0;

	*ret_known = 0;
	while (i < len) {
		if (i + 2 > len || i + 2 + body[i + 1] > len)
			return SESSION_CONTROL_CUT;
		if (++count > 16)
			return SESSION_CONTROL_TOO_MANY;
		if (body[i] > 0 && body[i] < 8) {
			if (body[i + 1] != lengths[body[i]])
				return SESSION_CONTROL_BAD_LENGTH;
			++*ret_known;
		} else if (body[i] >= 8 && body[i] < 128) {
			return SESSION_CONTROL_UNKNOWN;
		}
		i += 2u + body[i + 1];
	}
	return SESSION_CONTROL_OK;
}

/* Random bodies out of mostly good TLVs, judged by both. */
Test(session_control, agrees_with_a_naive_reader)
{
	static const uint8_t lengths[8] = {3, 8, 8, 8, 8, 4, 4, 1};
	unsigned seed = 7;
	unsigned seen[SESSION_CONTROL_VERDICTS] = {0};

	for (int round = 0; round < 100000; round++) {
		uint8_t body[BODY_MAX];
		size_t len = 0;
		unsigned known;
		unsigned walked = 0;
		unsigned tlvs = 0;
		struct session_control_tlv tlv;
		int count = rand_r(&seed) % 18;

		for (int i = 0; i < count; i++) {
			int dice = rand_r(&seed) % 60;
			uint8_t type = dice < 40 ? (uint8_t)(dice % 8) : (uint8_t)(128 + dice);
			uint8_t bytes = type < 8 ? lengths[type] : (uint8_t)(rand_r(&seed) % 20);
			if (dice == 59 && i % 4 == 0)
				type = (uint8_t)rand_r(&seed);
			if (dice == 58 && i % 4 == 0)
				bytes = (uint8_t)rand_r(&seed);
			body[len++] = type;
			body[len++] = bytes;
			for (int k = 0; k < bytes && len < BODY_MAX - 2; k++)
				body[len++] = (uint8_t)rand_r(&seed);
			if (len > BODY_MAX - 300)
				break;
		}
		if (len && rand_r(&seed) % 20 == 0)
			len--;
		enum session_control_verdict want = naive(body, len, &known);
		cr_assert_eq(check(body, len, &tlvs), want, "round %d", round);
		seen[want]++;
		struct wire walk = wire_of(body, len);
		while (session_control_next(&walk, &tlv))
			walked++;
		if (want == SESSION_CONTROL_OK)
			cr_assert_eq(walked, known, "round %d", round);
	}
	for (int i = 0; i < SESSION_CONTROL_VERDICTS; i++)
		cr_assert_gt(seen[i], 100, "verdict %d is hardly tested", i);
}
