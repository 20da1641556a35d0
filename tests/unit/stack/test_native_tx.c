/* The row of datagrams on their way out: what leaves together, in which order, by which port. */
#include "core/endian.h"
#include "stack/native.h"
#include "stack/native_tx.h"

#include <criterion/criterion.h>
#include <string.h>

enum {
	CALLS_MAX = 64,
};

struct sink {
	struct kcpvpn_udp_port port;
	char name;
};

static struct {
	char name[CALLS_MAX];
	size_t count[CALLS_MAX];
	size_t calls;
	uint8_t bytes[256][64]; /* beginnings, in the order in which they left */
	size_t lens[256];
	const uint8_t *at[256];
	size_t datagrams;
} out;

static void take(void *ctx, const struct kcpvpn_datagram *batch, size_t count)
{
	struct sink *sink = ctx;

	cr_assert(count > 0 && count <= KCPVPN_BATCH_MAX);
	out.name[out.calls] = sink->name;
	out.count[out.calls++] = count;
	for (size_t i = 0; i < count; i++) {
		size_t n = batch[i].len < 64 ? batch[i].len : 64;
		memcpy(out.bytes[out.datagrams], batch[i].data, n);
		out.at[out.datagrams] = batch[i].data;
		out.lens[out.datagrams++] = batch[i].len;
		cr_assert_eq(batch[i].remote.port, 1000 + sink->name);
	}
}

static struct sink a = {{take, &a}, 'a'}, b = {{take, &b}, 'b'};

static struct native_address to(struct sink *sink)
{
	return (struct native_address){
		.remote = {.port = (uint16_t)(1000 + sink->name), .family = 4},
		.port = &sink->port};
}

static struct seal_key key;
static uint64_t counter;

static void add(struct native_tx *tx, struct sink *sink, size_t len)
{
	struct native_address address = to(sink);

	memset(native_tx_payload(tx), 0x5a, len);
	native_tx_add(tx, len, &key, 0x70, counter++, &address);
}

static void begin(struct native_tx *tx)
{
	static const uint8_t bytes[SEAL_KEY_BYTES] = {1};

	memset(&out, 0, sizeof(out));
	seal_key_init(&key, bytes);
	counter = 0;
	cr_assert_eq(native_tx_init(tx, 1472), 0);
}

Test(native_tx, runs_by_port_in_order)
{
	struct native_tx tx;

	begin(&tx);
	add(&tx, &a, 100);
	add(&tx, &a, 0);
	add(&tx, &b, 1440);
	add(&tx, &a, 7);
	cr_assert_eq(out.calls, 0);
	native_tx_send(&tx);
	cr_assert_eq(out.calls, 3);
	cr_assert_eq(memcmp(out.name, "aba", 3), 0);
	cr_assert_eq(out.count[0], 2);
	for (uint64_t i = 0; i < 4; i++)
		cr_assert_eq(load_le64(out.bytes[i] + 8), i);
	cr_assert_eq(out.lens[0], 132);
	cr_assert_eq(out.lens[1], 32);
	cr_assert_eq(out.lens[2], 1472);
	cr_assert_eq(tx.sent_datagrams, 4);
	cr_assert_eq(tx.sent_bytes, 132 + 32 + 1472 + 39);
	native_tx_send(&tx);
	cr_assert_eq(out.calls, 3, "nothing is left");
	native_tx_fini(&tx);
}

Test(native_tx, a_full_row_leaves_by_itself)
{
	struct native_tx tx;

	begin(&tx);
	for (int i = 0; i < NATIVE_TX_DATAGRAMS; i++)
		add(&tx, &a, 10);
	cr_assert_eq(out.calls, 0);
	add(&tx, &a, 10);
	cr_assert_eq(out.datagrams, NATIVE_TX_DATAGRAMS);
	native_tx_send(&tx);
	cr_assert_eq(out.datagrams, NATIVE_TX_DATAGRAMS + 1);
	native_tx_fini(&tx);
}

/* Runs of one length, with a shorter one at the end, are one piece of memory, and begin where the cipher likes it. */
Test(native_tx, runs_stand_back_to_back)
{
	static const size_t LENS[] = {1440, 1440, 1440, 300, 1440, 1440, 1000, 1000, 1440, 0, 0, 7};
	static const bool JOINED[] = {
		false, true, true, true, false, true, true, false, true, false, true, true};
	struct native_tx tx;

	begin(&tx);
	for (int round = 0; round < 2; round++) {
		out.datagrams = 0;
		for (size_t i = 0; i < sizeof(LENS) / sizeof(LENS[0]); i++)
			add(&tx, &a, LENS[i]);
		native_tx_send(&tx);
		for (size_t i = 0; i < sizeof(LENS) / sizeof(LENS[0]); i++) {
			cr_assert_eq(out.lens[i], LENS[i] + 32);
			if (JOINED[i])
				cr_assert_eq(out.at[i], out.at[i - 1] + out.lens[i - 1], "%zu", i);
			else
				cr_assert_eq(((uintptr_t)out.at[i] + 16) % 64, 0, "%zu", i);
		}
	}
	native_tx_fini(&tx);
}

/* The longest that there are, each a run of its own: all have room. */
Test(native_tx, a_full_row_has_room)
{
	struct native_tx tx;

	begin(&tx);
	for (size_t i = 0; i < NATIVE_TX_DATAGRAMS; i++)
		add(&tx, &a, 1440 - i / 2 % 2);
	native_tx_send(&tx);
	cr_assert_eq(out.datagrams, NATIVE_TX_DATAGRAMS);
	native_tx_fini(&tx);
}

Test(native_tx, handshakes_stand_in_the_row_as_they_are)
{
	struct native_tx tx;
	struct native_address address;
	static const uint8_t init[184] = {8, 1, 2, 3};

	begin(&tx);
	address = to(&a);
	add(&tx, &a, 10);
	native_tx_add_plain(&tx, init, sizeof(init), &address);
	add(&tx, &a, 10);
	native_tx_send(&tx);
	cr_assert_eq(out.calls, 1);
	cr_assert_eq(out.lens[1], sizeof(init));
	cr_assert_eq(memcmp(out.bytes[1], init, 64), 0);
	cr_assert_eq(out.bytes[0][0], 0x0c);
	cr_assert_eq(out.bytes[2][0], 0x0c);
	native_tx_fini(&tx);
}

Test(native_tx, what_waits_for_a_key_leaves_before_the_key_goes)
{
	struct native_tx tx;
	struct seal_key other = {.counter_min = 0};

	begin(&tx);
	add(&tx, &a, 10);
	native_tx_key_goes(&tx, &other);
	cr_assert_eq(out.datagrams, 0);
	native_tx_key_goes(&tx, &key);
	cr_assert_eq(out.datagrams, 1);
	native_tx_fini(&tx);
}

/* Builds for AddressSanitizer end the program at this. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ENDS_THE_PROGRAM
#endif
#endif
#if !defined(ENDS_THE_PROGRAM) && !defined(__SANITIZE_ADDRESS__)
Test(native_tx, a_number_that_is_not_new_is_not_sent)
{
	struct native_tx tx;

	begin(&tx);
	add(&tx, &a, 10);
	counter = 0;
	add(&tx, &a, 10);
	add(&tx, &a, 10);
	native_tx_send(&tx);
	cr_assert_eq(out.datagrams, 2);
	cr_assert_eq(load_le64(out.bytes[1] + 8), 1);
	cr_assert_eq(tx.nonce_refused, 1);
	cr_assert_eq(tx.sent_datagrams, 2);
	native_tx_fini(&tx);
}
#endif
