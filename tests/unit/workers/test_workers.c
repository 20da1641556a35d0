/* What passes between the threads when the wire, or the configuration, changes. */
#include "workers_rig.h"

#include "stack/native_shards.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	NOBODYS_UID = 54321, /* a user who has no other process */
};

/* What a worker handed on for a peer of one wire is nothing to the next one, whose peers may have the same numbers. */
Test(workers, packets_do_not_outlive_their_wire)
{
	static const char secret[] = "for one site alone";
	struct workers_rig rig;

	rig_open(&rig, 2);
	rig_attach(&rig);
	uint64_t before = rig_peer(&rig, 1);
	struct worker *items = rig.workers->items;
	cr_assert(packet_ring_put(&items[0].packets[0], before, secret, sizeof(secret)));
	bell_ring(&rig.workers->bell);
	cr_assert_geq(loop_turn(rig.loop, false), 0);
	cr_assert_eq(rig.handed, 1, "the way works");
	cr_assert_eq(rig.handed_to[0], before);
	cr_assert(packet_ring_put(&items[0].packets[0], before, secret, sizeof(secret)));
	cr_assert(packet_ring_put(&items[1].packets[1], before, secret, sizeof(secret)));
	rig_detach(&rig);
	rig_attach(&rig);
	uint64_t after = rig_peer(&rig, 2);
	cr_assert_neq(after, before, "and numbers of peers differ");
	bell_ring(&rig.workers->bell);
	cr_assert_geq(loop_turn(rig.loop, false), 0);
	cr_assert_eq(rig.handed, 1);
	cr_assert_eq(packet_ring_next(&items[1].packets[1]), 0);
	rig_close(&rig);
}

/* Nor are datagrams that came to the wrong socket. */
Test(workers, datagrams_do_not_outlive_their_wire)
{
	uint8_t bytes[100] = {0x0c, 1};
	struct kcpvpn_datagram datagram = {.data = bytes, .len = sizeof(bytes)};
	const struct kcpvpn_datagram *batch = &datagram;
	struct workers_rig rig;
	uint32_t to;

	rig_open(&rig, 2);
	rig_attach(&rig);
	struct worker *items = rig.workers->items;
	for (unsigned round = 1; round <= 2; round++) {
		batch = &datagram;
		cr_assert_eq(handover_sort(&items[1].handover, 1, &batch, 1, &to), 0);
		cr_assert_eq(to, 1);
		if (round == 2) {
			rig_detach(&rig);
			rig_attach(&rig);
		}
		workers_wake(rig.workers, to);
		cr_assert_geq(loop_turn(rig.loop, false), 0);
		cr_assert_eq(rig.datagrams, 1);
	}
	rig_close(&rig);
}

/* The ring is full while workers stand still: what does not fit any more is told behind what is in it. */
Test(workers, messages_are_heard_in_the_order_they_were_told)
{
	enum { MOST = 1400 };
	struct workers_rig rig;

	rig_open(&rig, 2);
	rig_attach(&rig);
	uint64_t peer = rig_peer(&rig, 1);
	struct worker *worker = &rig.workers->items[1];
	workers_stop(rig.workers);
	for (uint32_t i = 0; i <= SHARD_RING_MESSAGES; i++) {
		const struct native_shard_message inner = {
			.verb = NATIVE_SHARD_MTU, .shard = 2, .peer = peer, .size = MOST - i};
		const struct kcpvpn_shard_message message = rig_message(&inner);
		workers_tell(rig.workers, 2, &message);
	}
	worker_hear(worker, loop_clock());
	workers_go(rig.workers);
	uint32_t last = kcpvpn_peer_inner_mtu(kcpvpn_native_peer(worker->native, peer));
	const struct native_shard_message inner = {
		.verb = NATIVE_SHARD_MTU,
		.shard = 2,
		.peer = peer,
		.size = MOST - SHARD_RING_MESSAGES,
	};
	const struct kcpvpn_shard_message message = rig_message(&inner);
	kcpvpn_native_hear(worker->native, &message, loop_clock().us);
	cr_assert_eq(kcpvpn_peer_inner_mtu(kcpvpn_native_peer(worker->native, peer)), last);
	rig_close(&rig);
}

static void stop_loop(void *ctx)
{
	struct workers_rig *rig = ctx;

	rig->failures++;
	loop_stop(rig->loop);
}

/* A worker that cannot go on is not missed in silence; the others can still be stopped, and all be freed. */
Test(workers, a_loop_that_fails_is_told)
{
	struct workers_rig rig;

	rig_open(&rig, 2);
	rig_attach(&rig);
	workers_on_failure(rig.workers, stop_loop, &rig);
	/* A loop begins with the descriptor that it waits on: here comes one that nobody can wait on. */
	int waits_on, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	memcpy(&waits_on, rig.workers->items[0].loop, sizeof(waits_on));
	int kept = dup(waits_on);
	cr_assert_eq(dup2(null, waits_on), waits_on);
	cr_assert_eq(workers_start(rig.workers, &rig.fault), 0);
	cr_assert_eq(loop_run(rig.loop), 0);
	cr_assert_gt(rig.failures, 0);
	(void)rig_peer(&rig, 1);
	cr_assert_eq(dup2(kept, waits_on), waits_on);
	close(kept);
	close(null);
	rig_close(&rig);
}

/* Keys that pass between the threads are kept out of swap, or somebody can know. */
Test(workers, what_cannot_be_locked_is_known)
{
	const struct rlimit none = {0, 0};
	struct workers_rig rig;

	rig_open(&rig, 1);
	bool locked = workers_locked(rig.workers);
	rig_close(&rig);
	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || setuid(NOBODYS_UID) < 0)
		cr_skip_test("only root can become somebody with a limit");
	rig_open(&rig, 1);
#if !defined(__SANITIZE_ADDRESS__) /* its mlock() does nothing, and says that it worked */
	cr_assert_not(workers_locked(rig.workers));
#endif
	rig_close(&rig);
	cr_assert(locked, "or is the limit of this host too low?");
}

static unsigned threads(void)
{
	DIR *folder = opendir("/proc/self/task");
	const struct dirent *entry;
	unsigned count = 0;

	cr_assert_not_null(folder);
	while ((entry = readdir(folder)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(folder);
	return count;
}

/* A host that has no thread left for the last worker: the others must not run while everything is undone. */
Test(workers, a_thread_that_does_not_start_ends_the_others)
{
	struct workers_rig rig;
	struct rlimit limit;

	rig_open(&rig, 3);
	rig_attach(&rig);
	(void)rig_peer(&rig, 1);
	unsigned before = threads();
	limit.rlim_cur = limit.rlim_max = before + 2;
	if (setrlimit(RLIMIT_NPROC, &limit) < 0 || setuid(NOBODYS_UID) < 0)
		cr_skip_test("only root can become somebody with a limit");
	int error = workers_start(rig.workers, &rig.fault);
	cr_assert_eq(error, -EAGAIN, "%d %s", error, rig.fault.text);
	/* A thread that was joined is gone from there a moment later. */
	for (int i = 0; i < 5000 && threads() > before; i++)
		usleep(1000);
	cr_assert_eq(threads(), before);
	(void)rig_peer(&rig, 2);
	rig_close(&rig);
}

/* And where there are enough, stopping and going many times at once with work is nothing. */
Test(workers, threads_stand_still_when_they_are_told_to)
{
	struct workers_rig rig;

	rig_open(&rig, 3);
	rig_attach(&rig);
	cr_assert_eq(workers_start(rig.workers, &rig.fault), 0);
	for (uint8_t i = 0; i < 50; i++) {
		workers_stop(rig.workers);
		workers_stop(rig.workers);
		cr_assert_eq(rig.workers->parked, 3);
		workers_go(rig.workers);
		(void)rig_peer(&rig, i);
		cr_assert_eq(rig.workers->parked, 3);
		workers_go(rig.workers);
	}
	rig_detach(&rig);
	rig_attach(&rig);
	rig_close(&rig);
}
