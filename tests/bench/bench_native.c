/*
 * usage: bench_native handshakes COUNT     handshakes answered, COUNT peers one after the other
 *        bench_native idle PEERS           that many peers with nothing to say
 * Prints lines of NAME VALUE.
 *
 * The state machine alone, in virtual time: no sockets, no kernel. CPU time is this thread's, around the calls of the called
 * side only; what asking for it costs is taken off.
 *
 * handshakes: each peer is new. What is counted reaches from its INIT to its first authentic datagram, with all that the
 * called side sends in between: X25519, keys, session, path, answers. In turn with them run the four X25519 that no
 * responder can do without (three shared secrets, one public key), to compare with on the same machine at the same time.
 *
 * idle: both sides keep alive every KEEPALIVE_US, 30 ms apart. The callers are another process. Peers connect within
 * CONNECT_US; then one stretch of time without a handshake is measured, and one in which each peer makes its next one, as all
 * that are called for ever do every two and a half minutes. Memory is measured for site 0 alone, all that a peer brings about: resident
 * bytes of the process since before the node was made, and bytes of the heap in use.
 */
#include "core/mono.h"
#include "crypto/noise.h"
#include "tests/bench/native_callers.h"
#include "tests/bench/native_site.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	PEERS_MAX = 100000,
	METER_TRIES = 10000,
	RAW_EVERY = 5,	   /* handshakes for one set of bare X25519 */
	MAILBOX_MAX = 256, /* datagrams of one side of a handshake */
	DELAY_US = 30000,  /* one way */
	KEEPALIVE_US = 25000000,
	CONNECT_US = 25000000,
	QUIET_FROM_US = 60000000, /* path MTU found, memory of the beginning given back */
	QUIET_US = 2 * KEEPALIVE_US,
	REKEY_FROM_US = 145000000,
	REKEY_US = 150000000,
};

#define START_US ((int64_t)1000000000)

/* ---- CPU time ------------------------------------------------------------------------------------------------------ */

static struct meter {
	double seconds; /* measured, with the cost of measuring */
	uint64_t stretches;
	double since;
	double cost; /* of measuring a stretch */
} meter;

static double thread_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void meter_begin(void)
{
	meter.since = thread_seconds();
}

static void meter_end(void)
{
	meter.seconds += thread_seconds() - meter.since;
	meter.stretches++;
}

static void meter_reset(void)
{
	meter.seconds = 0;
	meter.stretches = 0;
}

static double meter_read(void)
{
	return meter.seconds - (double)meter.stretches * meter.cost;
}

static void meter_calibrate(void)
{
	for (int i = 0; i < METER_TRIES; i++) {
		meter_begin();
		meter_end();
	}
	meter.cost = meter.seconds / METER_TRIES;
	meter_reset();
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

static int64_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long whole, resident;

	if (!file || fscanf(file, "%ld %ld", &whole, &resident) != 2)
		site_fail("/proc/self/statm");
	fclose(file);
	return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

static int64_t heap_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return (int64_t)(info.uordblks + info.hblkhd);
}

/* ---- handshakes ---------------------------------------------------------------------------------------------------- */

struct mailbox {
	size_t count;
	struct native_parcel parcels[MAILBOX_MAX];
};

static struct mailbox to_called, to_caller;

static void post(struct mailbox *box, uint32_t caller, const uint8_t *bytes, size_t len)
{
	if (box->count == MAILBOX_MAX)
		site_fail("one handshake, and no end of datagrams");
	struct native_parcel *parcel = &box->parcels[box->count++];
	parcel->caller = caller;
	parcel->len = (uint32_t)len;
	memcpy(parcel->bytes, bytes, len);
}

static void post_by_number(const struct site *from, uint32_t to, const uint8_t *bytes, size_t len)
{
	if (from->number == 0)
		post(&to_caller, to, bytes, len);
	else
		post(&to_called, from->number, bytes, len);
}

/* All that is in the box arrives. @return how much it was */
static size_t empty_into(struct mailbox *box, struct site *site)
{
	size_t count = box->count;

	box->count = 0;
	for (size_t i = 0; i < count; i++)
		site_input(site, site->number == 0 ? box->parcels[i].caller : 0,
			box->parcels[i].bytes, box->parcels[i].len, START_US);
	(void)site_turn(site, START_US);
	return count;
}

static void called_turn(struct site *called)
{
	if (to_called.count != 1)
		site_fail("a caller does not send one datagram at a time");
	meter_begin();
	(void)empty_into(&to_called, called);
	meter_end();
}

static double raw_seconds(void)
{
	static uint8_t secret[NOISE_KEY_BYTES] = {1, 2, 3};
	uint8_t public_key[NOISE_KEY_BYTES];
	double since = thread_seconds();

	noise_public(public_key, secret);
	for (int i = 0; i < 3; i++)
		if (!noise_dh(secret, secret, public_key))
			site_fail("noise_dh");
	return thread_seconds() - since - meter.cost;
}

/* Time stands still, so that what others have to do later is not counted with a handshake. */
static void bench_handshakes(uint32_t count)
{
	struct kcpvpn_peer **peers = calloc(count, sizeof(struct kcpvpn_peer *));
	struct site called = {.out = post_by_number};
	struct site caller = {.out = post_by_number};
	uint32_t raws = 0;
	double raw = 0;

	if (!peers)
		site_fail("out of memory");
	site_open(&called, 0, count, START_US);
	for (uint32_t i = 0; i < count; i++)
		peers[i] = site_know(&called, i + 1, 0, false, START_US);
	(void)site_turn(&called, START_US);
	for (uint32_t i = 0; i < count; i++) {
		site_open(&caller, i + 1, 1, START_US);
		(void)site_know(&caller, 0, 0, true, START_US);
		(void)site_turn(&caller, START_US);
		called_turn(&called);
		(void)empty_into(&to_caller, &caller);
		called_turn(&called);
		if (kcpvpn_peer_state(peers[i]) != KCPVPN_PEER_UP)
			site_fail("a handshake did not succeed");
		to_caller.count = 0;
		to_called.count = 0;
		site_close(&caller);
		to_called.count = 0;
		if (i % RAW_EVERY == 0) {
			raw += raw_seconds();
			raws++;
		}
	}
	double each = meter_read() / count;
	raw /= raws;
	printf("handshakes_per_s %.0f\n", 1 / each);
	printf("handshake_us %.1f\n", each * 1e6);
	printf("x25519_us %.1f\n", raw * 1e6);
	printf("x25519_share_percent %.1f\n", 100 * raw / each);
	site_close(&called);
	free(peers);
}

/* ---- idle ---------------------------------------------------------------------------------------------------------- */

/* What is on its way in one direction, in the order of arrival. */
struct way {
	uint64_t first, end; /* modulo NATIVE_PARCELS_MAX */
	struct native_parcel *parcels;
	int64_t *at_us;
};

static struct link {
	int64_t now_us;
	struct way to_called, to_callers;
} wire;

static void way_init(struct way *way)
{
	way->parcels = malloc(NATIVE_PARCELS_MAX * sizeof(*way->parcels));
	way->at_us = malloc(NATIVE_PARCELS_MAX * sizeof(*way->at_us));
	if (!way->parcels || !way->at_us)
		site_fail("out of memory");
	/* Resident from the beginning. */
	memset(way->parcels, 1, NATIVE_PARCELS_MAX * sizeof(*way->parcels));
	memset(way->at_us, 1, NATIVE_PARCELS_MAX * sizeof(*way->at_us));
}

static void way_fini(struct way *way)
{
	free(way->parcels);
	free(way->at_us);
}

static void way_put(struct way *way, uint32_t caller, const uint8_t *bytes, size_t len)
{
	if (way->end - way->first == NATIVE_PARCELS_MAX)
		site_fail("more datagrams on their way than there is room for");
	size_t i = way->end++ % NATIVE_PARCELS_MAX;
	way->at_us[i] = wire.now_us + DELAY_US;
	way->parcels[i].caller = caller;
	way->parcels[i].len = (uint32_t)len;
	memcpy(way->parcels[i].bytes, bytes, len);
}

static int64_t way_next_us(const struct way *way)
{
	return way->first == way->end ? INT64_MAX : way->at_us[way->first % NATIVE_PARCELS_MAX];
}

/* @return what arrives now, valid until the next way_put(); NULL = no more */
static const struct native_parcel *way_take(struct way *way)
{
	if (way_next_us(way) > wire.now_us)
		return NULL;
	return &way->parcels[way->first++ % NATIVE_PARCELS_MAX];
}

static void put_by_number(const struct site *from, uint32_t to, const uint8_t *bytes, size_t len)
{
	(void)from;
	way_put(&wire.to_callers, to, bytes, len);
}

struct idle {
	struct site called;
	struct native_callers *callers;
	struct native_parcel *arrived, *sent; /* of a step of the callers */
	int64_t called_us, callers_us;	      /* when they are due */
};

static void called_due(struct idle *idle)
{
	const struct native_parcel *parcel;

	meter_begin();
	while ((parcel = way_take(&wire.to_called)) != NULL)
		site_input(&idle->called, parcel->caller, parcel->bytes, parcel->len, wire.now_us);
	idle->called_us = site_turn(&idle->called, wire.now_us);
	meter_end();
}

static void callers_due(struct idle *idle)
{
	const struct native_parcel *parcel;
	size_t count = 0;

	while ((parcel = way_take(&wire.to_callers)) != NULL)
		idle->arrived[count++] = *parcel;
	size_t sent = native_callers_step(
		idle->callers, idle->arrived, count, wire.now_us, &idle->callers_us);
	for (size_t i = 0; i < sent; i++)
		way_put(&wire.to_called, idle->sent[i].caller, idle->sent[i].bytes,
			idle->sent[i].len);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void run_until(struct idle *idle, int64_t until_us)
{
	for (;;) {
		int64_t called_us = least(idle->called_us, way_next_us(&wire.to_called));
		int64_t callers_us = least(idle->callers_us, way_next_us(&wire.to_callers));
		int64_t at_us = least(called_us, callers_us);
		if (at_us > until_us)
			break;
		if (at_us > wire.now_us)
			wire.now_us = at_us;
		if (called_us <= wire.now_us)
			called_due(idle);
		if (callers_us <= wire.now_us)
			callers_due(idle);
	}
	wire.now_us = until_us;
}

/* Lets `us` pass and prints what they cost. */
static void measure(struct idle *idle, const char *name, int64_t us)
{
	struct kcpvpn_native_stats before, after;
	double seconds = (double)us / 1e6;

	kcpvpn_native_stats(idle->called.native, &before);
	meter_reset();
	run_until(idle, wire.now_us + us);
	kcpvpn_native_stats(idle->called.native, &after);
	printf("%s_cpu_percent %.3f\n", name, 100 * meter_read() / seconds);
	printf("%s_wakes_per_s %.0f\n", name, (double)meter.stretches / seconds);
	printf("%s_in_per_s %.0f\n", name,
		(double)(after.in_datagrams - before.in_datagrams) / seconds);
	printf("%s_out_per_s %.0f\n", name,
		(double)(after.out_datagrams - before.out_datagrams) / seconds);
	printf("%s_handshakes %" PRIu64 "\n", name, after.handshakes_done - before.handshakes_done);
	if (after.nonce_refused > 0)
		site_fail("a number was used twice");
}

static void check_all_up(struct kcpvpn_peer **peers, uint32_t count)
{
	struct kcpvpn_peer_status status;
	uint64_t told = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (kcpvpn_peer_state(peers[i]) != KCPVPN_PEER_UP)
			site_fail("a peer is not up");
		kcpvpn_peer_status(peers[i], &status);
		if (status.path_mtu_bytes != SITE_DATAGRAM_BYTES)
			site_fail("a path's MTU was not found");
		told += status.memory_bytes;
	}
	printf("told_bytes %" PRIu64 "\n", told / count);
}

static void print_memory(const char *name, int64_t resident, int64_t heap, uint32_t count)
{
	printf("%s_resident_bytes %" PRId64 "\n", name, (resident_bytes() - resident) / count);
	printf("%s_heap_bytes %" PRId64 "\n", name, (heap_bytes() - heap) / count);
}

static void bench_idle(uint32_t count)
{
	struct kcpvpn_peer **peers = malloc(count * sizeof(struct kcpvpn_peer *));
	struct idle idle = {.called = {.out = put_by_number}};

	way_init(&wire.to_called);
	way_init(&wire.to_callers);
	idle.arrived = malloc(NATIVE_PARCELS_MAX * sizeof(*idle.arrived));
	idle.sent = malloc(NATIVE_PARCELS_MAX * sizeof(*idle.sent));
	if (!peers || !idle.arrived || !idle.sent)
		site_fail("out of memory");
	memset(peers, 1, count * sizeof(struct kcpvpn_peer *));
	memset(idle.arrived, 1, NATIVE_PARCELS_MAX * sizeof(*idle.arrived));
	memset(idle.sent, 1, NATIVE_PARCELS_MAX * sizeof(*idle.sent));
	wire.now_us = START_US;
	idle.callers =
		native_callers_start(count, CONNECT_US / count, KEEPALIVE_US, START_US, idle.sent);

	int64_t resident = resident_bytes();
	int64_t heap = heap_bytes();
	site_open(&idle.called, 0, count, START_US);
	for (uint32_t i = 0; i < count; i++)
		peers[i] = site_know(&idle.called, i + 1, KEEPALIVE_US, false, START_US);
	print_memory("configured", resident, heap, count);
	run_until(&idle, START_US + QUIET_FROM_US);
	measure(&idle, "quiet", QUIET_US);
	check_all_up(peers, count);
	print_memory("idle", resident, heap, count);
	run_until(&idle, START_US + REKEY_FROM_US);
	measure(&idle, "rekey", REKEY_US);
	check_all_up(peers, count);
	print_memory("rekeyed", resident, heap, count);

	native_callers_stop(idle.callers);
	site_close(&idle.called);
	way_fini(&wire.to_called);
	way_fini(&wire.to_callers);
	free(idle.arrived);
	free(idle.sent);
	free(peers);
}

int main(int argc, char **argv)
{
	int count = argc == 3 ? atoi(argv[2]) : 0;

	if (count >= 1 && count <= PEERS_MAX) {
		meter_calibrate();
		if (strcmp(argv[1], "handshakes") == 0) {
			bench_handshakes((uint32_t)count);
			return 0;
		}
		if (strcmp(argv[1], "idle") == 0) {
			bench_idle((uint32_t)count);
			return 0;
		}
	}
	fprintf(stderr, "usage: bench_native handshakes COUNT | idle PEERS\n");
	return 2;
}
