/*
 * How much of a long test a run takes.
 *
 * A sanitizer finds a wrong access on the first pass of a path through the code, so a model that runs for minutes to bound
 * a figure runs there for as long as it takes to have been everywhere: the figures are those of the release build. The long
 * run, LONG=1 of `make test-long`, takes all of it in both.
 */
#ifndef TESTS_THOROUGH_H
#define TESTS_THOROUGH_H

#include <stdbool.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define THOROUGH_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define THOROUGH_SANITIZED 1
#endif
#endif
#ifndef THOROUGH_SANITIZED
#define THOROUGH_SANITIZED 0
#endif

static inline bool long_run(void)
{
	return getenv("LONG") != NULL;
}

/** @return  whether all rows, seeds and seconds are wanted, which is so but in a short run under sanitizers */
static inline bool thorough(void)
{
	return !THOROUGH_SANITIZED || long_run();
}

#endif
