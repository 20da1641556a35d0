/*
 * A path while the heap gives nothing: it loses what it cannot keep book of, and goes on. Under a sanitizer, which brings its own
 * allocator, there is nothing to refuse with.
 */
#include "path_rig.h"

#include <criterion/criterion.h>
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

enum {
	MS = 1000,
	RTT_US = 40 * MS,
	PIECES = 10,
};

static struct rig rig;
static uint8_t data[2000];

#if OWN_ALLOCATOR
static size_t most_bytes = SIZE_MAX; /* a longer block is refused */

void *__libc_calloc(size_t count, size_t bytes);

/* Rings, which are all that is meant here, come from calloc(). */
__attribute__((visibility("default"))) void *calloc(size_t count, size_t bytes)
{
	return count * bytes > most_bytes ? NULL : __libc_calloc(count, bytes);
}
#endif

static void open_rig(void)
{
	struct kcp_path_config config = rig_config();

	rig_open(&rig, &config);
	/* A round-trip time, and nothing in flight. */
	cr_assert_eq(kcp_path_send(rig.path, KCP_PATH_BULK, 4000, data, 10, rig.now), 0);
	kcp_path_flush(rig.path, rig.now);
	rig_run(&rig, RTT_US);
	rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	rig_clear(&rig);
}

static void close_rig(void)
{
	rig_close(&rig);
}

TestSuite(path_heap, .init = open_rig, .fini = close_rig);

#if OWN_ALLOCATOR
Test(path_heap, what_flies_is_sent_again_when_its_records_are_forgotten)
{
	for (uint32_t i = 0; i < PIECES; i++) {
		cr_assert_eq(kcp_path_send(rig.path, KCP_PATH_BULK, 1, data, 100, rig.now), 0);
		kcp_path_flush(rig.path, rig.now);
		rig_run(&rig, MS);
	}
	cr_assert_eq(rig_count(&rig, KCP_CMD_PUSH), PIECES);
	rig_clear(&rig);
	most_bytes = 1024;
	int taken = 0;
	while (kcp_path_in_flight(rig.path) > 0 && taken++ < 1000)
		(void)kcp_path_take_pn(rig.path, KCP_PATH_EXTRA_ASKS, 100, rig.now);
	cr_assert_lt(taken, 1000, "no ring had to grow");
	most_bytes = SIZE_MAX;
	kcp_path_flush(rig.path, rig.now);
	rig_run(&rig, 20 * MS);
	cr_assert_eq(rig_count(&rig, KCP_CMD_PUSH), PIECES);
	rig_rack(&rig, 0, kcp_path_next_pn(rig.path));
	cr_assert_eq(kcp_path_slots(rig.path), 0);
	cr_assert_eq(kcp_path_stats(rig.path)->expired_messages, 0);
}

Test(path_heap, what_cannot_be_put_aside_waits_for_its_deadline_and_holds_up_nothing)
{
	static const enum kcp_path_class classes[] = {KCP_PATH_BULK, KCP_PATH_RT};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		uint64_t expired = kcp_path_stats(rig.path)->expired_messages;
		cr_assert_eq(kcp_path_set_mtu(rig.path, 1100, 1000, true), 0);
		cr_assert_eq(kcp_path_send(rig.path, classes[i], 1, data, 900, rig.now), 0);
		cr_assert_eq(kcp_path_set_mtu(rig.path, 700, 600, false), 0);
		most_bytes = 0;
		kcp_path_flush(rig.path, rig.now);
		most_bytes = SIZE_MAX;
		cr_assert_gt(mono_diff_us(kcp_path_next_deadline(rig.path), rig.now), 10 * MS,
			"class %zu: %lld us", i,
			(long long)mono_diff_us(kcp_path_next_deadline(rig.path), rig.now));
		cr_assert_eq(kcp_path_send(rig.path, classes[i], 2, data, 500, rig.now), 0);
		kcp_path_flush(rig.path, rig.now);
		cr_assert_eq(rig_count(&rig, i == 0 ? KCP_CMD_PUSH : KCP_CMD_DGRAM), 1);
		rig_run(&rig, RTT_US);
		rig_rack(&rig, kcp_path_next_pn(rig.path) - 1, kcp_path_next_pn(rig.path));
		cr_assert_eq(kcp_path_slots(rig.path), 1);
		rig_run(&rig, 1200 * MS);
		cr_assert_eq(kcp_path_slots(rig.path), 0);
		cr_assert_eq(kcp_path_stats(rig.path)->expired_messages, expired + 1);
	}
}
#endif
