#include "vpnd/prefix_set.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ip_prefix parse(const char *text)
{
	struct ip_prefix prefix;

	cr_assert_eq(ip_prefix_parse(text, &prefix), 0);
	return prefix;
}

static bool has(const struct prefix_set *set, const char *text)
{
	struct ip_prefix prefix = parse(text);
	return prefix_set_has(set, &prefix);
}

Test(prefix_set, tells_what_was_added)
{
	static const char *const TEXTS[] = {
		"10.0.0.0/8", "10.0.0.0/16", "fd00::/8", "0.0.0.0/0", "192.0.2.77/24"};
	struct prefix_set set = {0};

	prefix_set_sort(&set);
	cr_assert_not(has(&set, "10.0.0.0/8"));
	for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
		struct ip_prefix prefix = parse(TEXTS[i]);
		prefix_set_add(&set, &prefix);
		prefix_set_add(&set, &prefix);
	}
	prefix_set_sort(&set);
	cr_assert(has(&set, "10.0.0.0/8"));
	cr_assert(has(&set, "10.1.2.3/8"), "bits behind the length");
	cr_assert(has(&set, "192.0.2.0/24"));
	cr_assert(has(&set, "0.0.0.0/0"));
	cr_assert_not(has(&set, "::/0"));
	cr_assert_not(has(&set, "10.0.0.0/9"));
	cr_assert_not(has(&set, "10.1.0.0/16"));
	prefix_set_fini(&set);
	cr_assert_eq(set.count, 0);
}

/* Against the naive way. */
Test(prefix_set, many)
{
	static bool in[4096];
	struct prefix_set set = {0};
	char text[32];

	srand(2);
	for (int i = 0; i < 1500; i++) {
		int n = rand() % 4096;
		in[n] = true;
		(void)snprintf(text, sizeof(text), "10.%d.%d.0/24", n / 256, n % 256);
		struct ip_prefix prefix = parse(text);
		prefix_set_add(&set, &prefix);
	}
	prefix_set_sort(&set);
	for (int n = 0; n < 4096; n++) {
		(void)snprintf(text, sizeof(text), "10.%d.%d.0/24", n / 256, n % 256);
		cr_assert_eq(has(&set, text), in[n], "%s", text);
	}
	prefix_set_fini(&set);
}
