/*
 * The n-th allocation fails, for all n: an error comes back and nothing is lost or leaked. Under AddressSanitizer, which
 * brings its own allocator, the same runs are made with no failure in them.
 */
#include "allocation_count.h"
#include "pair.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_ALLOCATOR 0
#endif
#endif
#if !defined(OWN_ALLOCATOR) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#define OWN_ALLOCATOR 0
#endif
#ifndef OWN_ALLOCATOR
#define OWN_ALLOCATOR 1
#endif

static bool counting;
static unsigned long calls;   /* allocations since counting began */
static unsigned long fail_at; /* this one fails, and all after it; 0 = none */
static long live;	      /* blocks allocated and not freed while counting */

#define VISIBLE __attribute__((visibility("default")))

#if OWN_ALLOCATOR
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

static bool refuse(void)
{
	if (!counting)
		return false;
	calls++;
	if (fail_at != 0 && calls >= fail_at) {
		errno = ENOMEM;
		return true;
	}
	return false;
}

static void *count_block(void *block)
{
	if (counting && block)
		live++;
	return block;
}

VISIBLE void *malloc(size_t bytes)
{
	return refuse() ? NULL : count_block(__libc_malloc(bytes));
}

VISIBLE void *calloc(size_t count, size_t bytes)
{
	return refuse() ? NULL : count_block(__libc_calloc(count, bytes));
}

VISIBLE void *realloc(void *old, size_t bytes)
{
	if (refuse())
		return NULL;
	void *block = __libc_realloc(old, bytes);
	return old ? block : count_block(block);
}

VISIBLE void *aligned_alloc(size_t alignment, size_t bytes)
{
	return refuse() ? NULL : count_block(__libc_memalign(alignment, bytes));
}

VISIBLE int posix_memalign(void **ret, size_t alignment, size_t bytes)
{
	void *block = refuse() ? NULL : count_block(__libc_memalign(alignment, bytes));

	if (!block)
		return ENOMEM;
	*ret = block;
	return 0;
}

VISIBLE void free(void *block)
{
	if (counting && block)
		live--;
	__libc_free(block);
}
#else
/* Both sanitizers call it, if it is there. */
VISIBLE void __sanitizer_malloc_hook(const volatile void *at, size_t bytes);
void __sanitizer_malloc_hook(const volatile void *at, size_t bytes)
{
	(void)at, (void)bytes;
	calls += counting;
}
#endif

void allocation_count_begin(void)
{
	calls = 0;
	fail_at = 0;
	counting = true;
}

unsigned long allocation_count_end(void)
{
	counting = false;
	return calls;
}

static void start_counting(unsigned long fail)
{
	calls = 0;
	live = 0;
	fail_at = fail;
	counting = true;
}

/* Not xor: its table comes from libgcrypt's PBKDF2, which ends the process when it finds no memory. */
static const struct {
	const char *crypt;
	uint32_t shards;
} rows[] = {
	{"salsa20", 10}, {"aes", 0}, {"aes-128-gcm", 10}, {"twofish", 3}, {"tea", 0}, {"null", 5}};

Test(allocation, making_a_node_and_dialling)
{
	struct kcpvpn_endpoint far = pair_endpoint(9);
	struct kcpvpn_udp_port port = {0};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcpvpn_config config = pair_config();
		struct kcpvpn_node *node = NULL;
		struct kcpvpn_conv *conv = NULL;
		uint64_t random = 1;
		config.crypt = rows[i].crypt;
		config.data_shards = rows[i].shards;
		/* libraries keep what they allocate at their first use */
		cr_assert_eq(kcpvpn_node_new(&config, pair_random_fill, &random, 0, &node), 0);
		cr_assert_eq(kcpvpn_node_dial(node, &port, &far, 1, 0, &conv), 0);
		kcpvpn_node_free(node);

		unsigned long n = 0;
		bool done = false;
		while (!done) {
			node = NULL;
			conv = NULL;
			start_counting(OWN_ALLOCATOR ? ++n : 0);
			int made = kcpvpn_node_new(&config, pair_random_fill, &random, 0, &node);
			int dialled =
				made == 0 ? kcpvpn_node_dial(node, &port, &far, 1, 0, &conv) : 0;
			bool failed = fail_at != 0 && calls >= fail_at;
			fail_at = 0;
			/* what failed for want of memory can be done again */
			int again = made == 0 && dialled != 0
					    ? kcpvpn_node_dial(node, &port, &far, 1, 0, &conv)
					    : 0;
			kcpvpn_node_free(node);
			counting = false;
			cr_assert(failed ? (made == -ENOMEM || made == -EIO || dialled == -ENOMEM)
					 : (made == 0 && dialled == 0),
				"%s, allocation %lu: %d, %d", config.crypt, n, made, dialled);
			cr_assert(made == 0 || node == NULL);
			cr_assert_eq(again, 0);
			cr_assert_eq(live, 0, "%s, allocation %lu: %ld blocks left", config.crypt,
				n, live);
			done = !failed;
			cr_assert(n < 1000);
		}
		cr_assert(!OWN_ALLOCATOR || n > 3, "%s: only %lu allocations", config.crypt, n);
	}
}

static struct pair pair;

/*
 * A conversation that runs into the end of memory while it talks. What was accepted arrives once there is memory again.
 */
Test(allocation, talking)
{
	for (unsigned long n = 1; n < 60; n++) {
		struct kcpvpn_config config = pair_config();
		bool taken[40] = {false};
		pair_open(&pair, &config, NULL);
		pair_dial(&pair, 5);
		for (int i = 0; i < 40; i++) {
			static uint8_t data[3000];
			data[0] = (uint8_t)i;
			start_counting(OWN_ALLOCATOR ? n : 0);
			int error = kcpvpn_conv_send(pair.a.conv, data, sizeof(data), pair.now_us);
			kcpvpn_node_flush(pair.a.node, pair.now_us);
			if (pair.b.out_count > 0) {
				struct pair_datagram *d = &pair.b.out[0];
				struct kcpvpn_datagram in = {
					.remote = pair.b.address, .data = d->bytes, .len = d->len};
				kcpvpn_node_input(
					pair.a.node, &pair.a.port, false, &in, 1, pair.now_us);
				kcpvpn_node_flush(pair.a.node, pair.now_us);
				pair.b.out_count = 0;
			}
			if (pair.a.out_count > 0) {
				struct kcpvpn_datagram in[8];
				size_t some = pair.a.out_count < 8 ? pair.a.out_count : 8;
				for (size_t k = 0; k < some; k++)
					in[k] = (struct kcpvpn_datagram){.remote = pair.a.address,
						.data = pair.a.out[k].bytes,
						.len = pair.a.out[k].len};
				kcpvpn_node_input(
					pair.b.node, &pair.b.port, true, in, some, pair.now_us);
				kcpvpn_node_flush(pair.b.node, pair.now_us);
				pair.a.out_count = 0;
			}
			counting = false;
			cr_assert(error == 0 || error == -ENOBUFS || error == -EAGAIN, "%d", error);
			taken[i] = error == 0;
			if (i % 4 == 3)
				pair_run(&pair, 20000);
		}
		pair_run(&pair, 20000000);
		for (int i = 0; i < 40; i++) {
			static uint8_t buf[4000];
			size_t len;
			if (!taken[i])
				continue;
			cr_assert_eq(
				kcpvpn_conv_recv(pair.b.conv, buf, sizeof(buf), pair.now_us, &len),
				0, "allocation %lu, message %d", n, i);
			cr_assert(len == 3000 && buf[0] == i);
		}
		pair_close(&pair);
	}
}
