/*
 * Throws messages at both ends of a native handshake, and datagrams at a session. The first byte chooses: a message as
 * it is (with mac1 made right, where it has one, so that what lies behind is reached), or a good message with bytes
 * changed at places of the input's choosing. Watched besides the sanitizers: only a message without a change is good,
 * an attempt never changes, a refused INIT leaves nothing behind, a refused datagram keeps its bytes.
 *
 * Keys are those of the public vectors, so that known answers make seeds.
 */
#include "core/endian.h"
#include "core/rand.h"
#include "crypto/handshake.h"
#include "crypto/handshake_mac.h"
#include "crypto/seal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	INDEX = 0x01020304,
	RESP_AT_MAC1 = 104,
	DATAGRAM_MAX = 4096,
};

enum mode {
	MODE_RAW, /* whatever it claims to be */
	MODE_INIT,
	MODE_RESP,
	MODE_COOKIE,
	MODE_REJECT,
	MODE_DATA,
	MODE_DATA_RAW,
	MODES,
};

struct world {
	bool made;
	struct handshake_self a, b;
	struct handshake_peer a_at_b, b_at_a;
	struct handshake_attempt attempt;
	uint8_t params[HANDSHAKE_PARAMS_BYTES];
	uint8_t init[HANDSHAKE_INIT_BYTES], resp[HANDSHAKE_RESP_BYTES];
	uint8_t cookie[HANDSHAKE_COOKIE_BYTES], reject[HANDSHAKE_REJECT_BYTES];
};

static struct world world;

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void fill_fixed(void *ctx, void *buf, size_t len)
{
	if (len == HANDSHAKE_KEY_BYTES)
		memcpy(buf, ctx, len);
	else
		memset(buf, 0xa5, len);
}

static void read_good_init(struct handshake_responder *responder)
{
	uint8_t peer_public[HANDSHAKE_KEY_BYTES], params[HANDSHAKE_PARAMS_BYTES];

	check(handshake_init_mac1_ok(&world.b, world.init));
	check(handshake_init_open_static(&world.b, world.init, responder, peer_public) ==
		HANDSHAKE_OK);
	check(handshake_init_open_params(responder, &world.a_at_b, params) == HANDSHAKE_OK);
}

static void make_world(void)
{
	static const uint8_t a[HANDSHAKE_KEY_BYTES] = {0xe6, 0x1e, 0xf9, 0x91, 0x9c, 0xde, 0x45,
		0xdd, 0x5f, 0x82, 0x16, 0x64, 0x04, 0xbd, 0x08, 0xe3, 0x8b, 0xce, 0xb5, 0xdf, 0xdf,
		0xde, 0xd0, 0xa3, 0x4c, 0x8d, 0xf7, 0xed, 0x54, 0x22, 0x14, 0xd1};
	static const uint8_t b[HANDSHAKE_KEY_BYTES] = {0x4a, 0x3a, 0xcb, 0xfd, 0xb1, 0x63, 0xde,
		0xc6, 0x51, 0xdf, 0xa3, 0x19, 0x4d, 0xec, 0xe6, 0x76, 0xd4, 0x37, 0x02, 0x9c, 0x62,
		0xa4, 0x08, 0xb4, 0xc5, 0xea, 0x91, 0x14, 0x24, 0x6e, 0x48, 0x93};
	static uint8_t e_a[HANDSHAKE_KEY_BYTES] = {0x89, 0x3e, 0x28, 0xb9, 0xdc, 0x6c, 0xa8, 0xd6,
		0x11, 0xab, 0x66, 0x47, 0x54, 0xb8, 0xce, 0xb7, 0xba, 0xc5, 0x11, 0x73, 0x49, 0xa4,
		0x43, 0x9a, 0x6b, 0x05, 0x69, 0xda, 0x97, 0x7c, 0x46, 0x4a};
	static uint8_t e_b[HANDSHAKE_KEY_BYTES] = {0xbb, 0xdb, 0x4c, 0xdb, 0xd3, 0x09, 0xf1, 0xa1,
		0xf2, 0xe1, 0x45, 0x69, 0x67, 0xfe, 0x28, 0x8c, 0xad, 0xd6, 0xf7, 0x12, 0xd6, 0x5d,
		0xc7, 0xb7, 0x79, 0x3d, 0x5e, 0x63, 0xda, 0x6b, 0x37, 0x5b};
	static const char psk[] = "This is my Austrian perspective!";
	struct handshake_responder responder;
	struct handshake_keys keys;
	struct handshake_reject reject = {7, HANDSHAKE_REJECT_STALE};
	uint8_t cookie[HANDSHAKE_MAC_BYTES] = {1};
	struct rand_source from_a = {fill_fixed, e_a}, from_b = {fill_fixed, e_b};

	check(handshake_self_init(&world.a, a, NULL) == 0);
	check(handshake_self_init(&world.b, b, NULL) == 0);
	check(handshake_peer_init(
		      &world.a_at_b, &world.b, world.a.public_key, (const uint8_t *)psk) == 0);
	check(handshake_peer_init(
		      &world.b_at_a, &world.a, world.b.public_key, (const uint8_t *)psk) == 0);
	for (size_t i = 0; i < sizeof(world.params); i++)
		world.params[i] = (uint8_t)i;
	handshake_init_write(
		&world.attempt, &world.a, &world.b_at_a, INDEX, world.params, &from_a, world.init);
	read_good_init(&responder);
	handshake_reject_write(&responder, &reject, &from_b, world.reject);
	handshake_cookie_write(&world.b, world.init, cookie, &from_b, world.cookie);
	check(handshake_resp_write(&responder, &world.a_at_b, world.params, &from_b, world.resp,
		      &keys) == HANDSHAKE_OK);
	world.made = true;
}

static bool is_zero(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum |= at[i];
	return sum == 0;
}

/* ---- each message at the end that reads it ----------------------------------------------------------------------- */

static enum handshake_verdict read_init(uint8_t *init)
{
	struct handshake_responder responder;
	uint8_t peer_public[HANDSHAKE_KEY_BYTES], params[HANDSHAKE_PARAMS_BYTES];
	struct handshake_keys keys;
	uint8_t resp[HANDSHAKE_RESP_BYTES], e[HANDSHAKE_KEY_BYTES] = {9};
	struct rand_source rnd = {fill_fixed, e};

	handshake_mac(init + HANDSHAKE_INIT_AT_MAC1, world.b.mac1_key, HANDSHAKE_KEY_BYTES, init,
		HANDSHAKE_INIT_AT_MAC1);
	if (!handshake_init_mac1_ok(&world.b, init))
		return HANDSHAKE_BAD_MAC1;
	enum handshake_verdict verdict =
		handshake_init_open_static(&world.b, init, &responder, peer_public);
	if (verdict == HANDSHAKE_OK)
		verdict = handshake_init_open_params(&responder, &world.a_at_b, params);
	if (verdict == HANDSHAKE_OK) {
		check(memcmp(peer_public, world.a.public_key, sizeof(peer_public)) == 0);
		check(memcmp(params, world.params, sizeof(params)) == 0);
		verdict =
			handshake_resp_write(&responder, &world.a_at_b, params, &rnd, resp, &keys);
		check(verdict == HANDSHAKE_OK);
	}
	check(is_zero(&responder, sizeof(responder)));
	return verdict;
}

static enum handshake_verdict read_answer(enum handshake_message message, uint8_t *bytes)
{
	struct handshake_attempt before = world.attempt;
	struct handshake_keys keys;
	struct handshake_reject reject;
	uint8_t params[HANDSHAKE_PARAMS_BYTES], cookie[HANDSHAKE_MAC_BYTES];
	enum handshake_verdict verdict = HANDSHAKE_BAD_WORD;

	if (message == HANDSHAKE_RESP) {
		handshake_mac(bytes + RESP_AT_MAC1, world.a.mac1_key, HANDSHAKE_KEY_BYTES, bytes,
			RESP_AT_MAC1);
		verdict = handshake_resp_open(
			&world.attempt, &world.a, &world.b_at_a, bytes, params, &keys);
	} else if (message == HANDSHAKE_COOKIE) {
		verdict = handshake_cookie_open(&world.attempt, &world.b_at_a, bytes, cookie);
	} else if (message == HANDSHAKE_REJECT) {
		verdict = handshake_reject_open(&world.attempt, bytes, &reject);
	}
	check(memcmp(&before, &world.attempt, sizeof(before)) == 0);
	check(verdict < HANDSHAKE_VERDICTS);
	return verdict;
}

static void read_raw(const uint8_t *data, size_t len)
{
	uint8_t bytes[HANDSHAKE_BYTES_MAX];
	enum handshake_message message = handshake_message_of(data, len);

	if (message == HANDSHAKE_NONE)
		return;
	check(len <= sizeof(bytes));
	memcpy(bytes, data, len);
	if (message == HANDSHAKE_INIT)
		read_init(bytes);
	else
		read_answer(message, bytes);
}

/* ---- good messages, changed -------------------------------------------------------------------------------------- */

/* XORs pairs of (place, value) into a message. */
static void change(uint8_t *bytes, size_t size, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i + 2 <= len; i += 2)
		bytes[data[i] % size] ^= data[i + 1];
}

static void read_changed(enum mode mode, const uint8_t *data, size_t len)
{
	static const struct {
		const uint8_t *good;
		size_t size;
		size_t fixed; /* mac1 is made right behind this, so only changes before it count */
		enum handshake_message message;
	} table[MODES] = {
		[MODE_INIT] = {world.init, sizeof(world.init), HANDSHAKE_INIT_AT_MAC1,
			HANDSHAKE_INIT},
		[MODE_RESP] = {world.resp, sizeof(world.resp), RESP_AT_MAC1, HANDSHAKE_RESP},
		[MODE_COOKIE] = {world.cookie, sizeof(world.cookie), sizeof(world.cookie),
			HANDSHAKE_COOKIE},
		[MODE_REJECT] = {world.reject, sizeof(world.reject), sizeof(world.reject),
			HANDSHAKE_REJECT},
	};
	uint8_t bytes[HANDSHAKE_BYTES_MAX];

	memcpy(bytes, table[mode].good, table[mode].size);
	change(bytes, table[mode].size, data, len);
	bool same = memcmp(bytes, table[mode].good, table[mode].fixed) == 0;
	enum handshake_verdict verdict = table[mode].message == HANDSHAKE_INIT
						 ? read_init(bytes)
						 : read_answer(table[mode].message, bytes);
	check((verdict == HANDSHAKE_OK) == same);
}

/* ---- datagrams --------------------------------------------------------------------------------------------------- */

/* Returns whether the datagram was good; what was not is as it was. */
static bool open_datagram(uint8_t *datagram, size_t len, const uint8_t key[SEAL_KEY_BYTES])
{
	uint8_t before[DATAGRAM_MAX];
	struct seal_header header;
	struct open_item item = {.datagram = datagram, .len = len, .key = key};

	memcpy(before, datagram, len);
	enum seal_verdict verdict = seal_header_read(datagram, len, &header);
	if (verdict == SEAL_OK)
		check(header.counter < SEAL_COUNTER_END && len >= SEAL_DATAGRAM_MIN);
	open_batch(&item, 1);
	if (item.verdict == SEAL_OK) {
		check(item.payload == datagram + SEAL_HEADER_BYTES);
		check(item.payload_len == len - SEAL_OVERHEAD_BYTES);
	} else {
		check(item.payload == NULL && memcmp(before, datagram, len) == 0);
	}
	return item.verdict == SEAL_OK;
}

/* Two bytes of length, the rest is payload and, at its end, up to four changes. */
static void seal_and_open(const uint8_t *data, size_t len)
{
	static const uint8_t key[SEAL_KEY_BYTES] = {1};
	size_t payload_len = len >= 2 ? load_le16(data) % (DATAGRAM_MAX - SEAL_OVERHEAD_BYTES) : 0;
	size_t size = payload_len + SEAL_OVERHEAD_BYTES;
	uint8_t *datagram = calloc(1, size), *good = malloc(size);
	struct seal_key seal;

	check(datagram && good);
	memcpy(datagram + SEAL_HEADER_BYTES, data, len < payload_len ? len : payload_len);
	seal_key_init(&seal, key);
	struct seal_item item = {
		.payload = datagram + SEAL_HEADER_BYTES,
		.len = payload_len,
		.counter = len,
		.key = &seal,
		.receiver_index = INDEX,
	};
	seal_batch(&item, 1);
	check(item.verdict == SEAL_OK);
	memcpy(good, datagram, size);
	for (size_t i = 2; i + 3 <= len && i < 14; i += 3)
		datagram[load_le16(data + i) % size] ^= data[i + 2];
	bool same = memcmp(good, datagram, size) == 0;
	check(open_datagram(datagram, size, key) == same);
	free(datagram);
	free(good);
}

/* With the key of the known answers. */
static void open_raw(const uint8_t *data, size_t len)
{
	uint8_t key[SEAL_KEY_BYTES];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	if (len > DATAGRAM_MAX)
		return;
	uint8_t *datagram = malloc(len ? len : 1);

	check(datagram);
	memcpy(datagram, data, len);
	open_datagram(datagram, len, key);
	free(datagram);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!world.made)
		make_world();
	if (len == 0)
		return 0;
	enum mode mode = (enum mode)(data[0] % MODES);
	data++;
	len--;
	switch (mode) {
	case MODE_RAW:
		read_raw(data, len);
		break;
	case MODE_DATA:
		seal_and_open(data, len);
		break;
	case MODE_DATA_RAW:
		open_raw(data, len);
		break;
	case MODE_INIT:
	case MODE_RESP:
	case MODE_COOKIE:
	case MODE_REJECT:
		read_changed(mode, data, len);
		break;
	case MODES:
		break;
	}
	return 0;
}
