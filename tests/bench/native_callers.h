/*
 * Sites 1..n, each with one peer, site 0, which it calls and keeps alive: in a process of their own, so that memory and CPU time
 * of the caller of these functions are those of site 0. Both processes share one virtual clock and go in lock-step.
 */
#ifndef BENCH_NATIVE_CALLERS_H
#define BENCH_NATIVE_CALLERS_H

#include <stddef.h>
#include <stdint.h>

struct native_callers;

/** What is on its way between a caller and site 0. */
struct native_parcel {
	uint32_t caller;
	uint32_t len;
	uint8_t bytes[1472];
};

enum {
	NATIVE_PARCELS_MAX = 4096, /* of one step, each way */
};

/**
 * Starts the process.
 *
 * @count       callers; the first begins at once, the others
 * @gap_us      apart
 * @parcels     NATIVE_PARCELS_MAX, where what they send is put; lent until the end
 */
struct native_callers *native_callers_start(uint32_t count, int64_t gap_us, int64_t keepalive_us,
	int64_t now_us, struct native_parcel *parcels);

/**
 * Hands over what arrives now and lets them do what is due.
 *
 * @ret_next_us  when they want to be called again if nothing arrives before
 * @return       how many datagrams they send, in `parcels`
 */
size_t native_callers_step(struct native_callers *callers, const struct native_parcel *arrived,
	size_t count, int64_t now_us, int64_t *ret_next_us);

/** Ends the process. */
void native_callers_stop(struct native_callers *callers);

#endif
