/*
 * The part of Criterion's interface that the library's unit tests use, for machines that Criterion does not run on: under an
 * emulator of user programs its workers cannot be started. criterion.c runs them.
 */
#ifndef TESTS_INTEROP_CRITERION_H
#define TESTS_INTEROP_CRITERION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shim_options {
	int first; /* so that a test without options has an initializer */
	void (*init)(void);
	void (*fini)(void);
	int signal;
	double timeout;
	const char *description;
};

struct shim_test {
	const char *suite, *name;
	void (*run)(void);
	struct shim_options options;
	struct shim_test *next;
};

struct shim_suite {
	const char *name;
	struct shim_options options;
	struct shim_suite *next;
};

extern struct shim_test *shim_tests;
extern struct shim_suite *shim_suites;
extern bool shim_failed;

#define Test(suite_, name_, ...)                                                                   \
	static void suite_##_##name_##_run(void);                                                  \
	__attribute__((constructor)) static void suite_##_##name_##_add(void)                      \
	{                                                                                          \
		static struct shim_test test = {                                                   \
			#suite_, #name_, suite_##_##name_##_run, {.first = 0, __VA_ARGS__}, NULL}; \
		test.next = shim_tests;                                                            \
		shim_tests = &test;                                                                \
	}                                                                                          \
	static void suite_##_##name_##_run(void)

#define TestSuite(suite_, ...)                                                               \
	__attribute__((constructor)) static void suite_##_suite_add(void)                    \
	{                                                                                    \
		static struct shim_suite suite = {#suite_, {.first = 0, __VA_ARGS__}, NULL}; \
		suite.next = shim_suites;                                                    \
		shim_suites = &suite;                                                        \
	}                                                                                    \
	_Static_assert(1, "wants a semicolon")

/* What is behind the condition in the macros of Criterion: a format and its arguments, or nothing. */
#define shim_say(file, line, ...)                       \
	do {                                            \
		fprintf(stderr, "%s:%d: ", file, line); \
		fprintf(stderr, "" __VA_ARGS__);        \
		fputc('\n', stderr);                    \
	} while (0)
#define shim_check(ends, condition, ...)                           \
	do {                                                       \
		if (!(condition)) {                                \
			fprintf(stderr, "not %s: ", #condition);   \
			shim_say(__FILE__, __LINE__, __VA_ARGS__); \
			shim_failed = true;                        \
			if (ends)                                  \
				exit(1);                           \
		}                                                  \
	} while (0)

#define cr_assert(condition, ...) shim_check(true, condition, __VA_ARGS__)
#define cr_expect(condition, ...) shim_check(false, condition, __VA_ARGS__)
#define cr_assert_not(condition, ...) cr_assert(!(condition), __VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b), __VA_ARGS__)
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b), __VA_ARGS__)
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b), __VA_ARGS__)
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b), __VA_ARGS__)
#define cr_assert_null(a, ...) cr_assert((a) == NULL, __VA_ARGS__)
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL, __VA_ARGS__)
#define cr_assert_fail(...) cr_assert(false, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp(a, b) == 0, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) cr_assert(strcmp(a, b) != 0, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...) cr_assert(memcmp(a, b, size) == 0, __VA_ARGS__)
#define cr_assert_arr_neq(a, b, size, ...) cr_assert(memcmp(a, b, size) != 0, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) cr_expect((a) == (b), __VA_ARGS__)
#define cr_expect_neq(a, b, ...) cr_expect((a) != (b), __VA_ARGS__)
#define cr_expect_null(a, ...) cr_expect((a) == NULL, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) cr_expect(strcmp(a, b) == 0, __VA_ARGS__)
#define cr_log_info(...) shim_say(__FILE__, __LINE__, __VA_ARGS__)

#endif
