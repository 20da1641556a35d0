#include "core/ip_prefix.h"

#include <criterion/criterion.h>
#include <errno.h>

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;
	cr_assert_eq(ip_prefix_parse(text, &prefix), 0, "%s", text);
	return prefix;
}

Test(ip_prefix, reads_and_writes)
{
	static const char *const same[] = {
		"0.0.0.0/0", "10.1.2.3/24", "255.255.255.255/32", "::/0", "fd40::1/64", "::1/128"};
	char text[IP_PREFIX_TEXT_BYTES];

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct ip_prefix prefix = prefix_of(same[i]);
		cr_assert_str_eq(ip_prefix_format(&prefix, text), same[i]);
	}
	struct ip_prefix host = prefix_of("192.0.2.1");
	cr_assert_eq(host.length, 32);
	host = prefix_of("2001:db8::1");
	cr_assert_eq(host.length, 128);
	struct ip_prefix none = {0};
	cr_assert_str_eq(ip_prefix_format(&none, text), "none/0");
}

Test(ip_prefix, refuses_what_is_none)
{
	static const char *const bad[] = {"", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/024",
		"10.0.0.0/-1", "10.0.0.0/+1", "10.0.0.0/ 8", "10.0.0/8", "10.0.0.0.0/8", "::/129",
		"::/12a", "fe80::1%eth0/64", "::1/4294967296", "name/8",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc/64"};
	struct ip_prefix prefix = {.family = 9};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(ip_prefix_parse(bad[i], &prefix), -EINVAL, "%s", bad[i]);
		cr_assert_eq(prefix.family, 9);
	}
}

Test(ip_prefix, masks_and_contains)
{
	struct ip_prefix prefix = prefix_of("10.255.255.255/9");
	struct ip_prefix want = prefix_of("10.128.0.0/9");
	ip_prefix_mask(&prefix);
	cr_assert_arr_eq(prefix.address, want.address, 16);
	prefix = prefix_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/61");
	want = prefix_of("ffff:ffff:ffff:fff8::/61");
	ip_prefix_mask(&prefix);
	cr_assert_arr_eq(prefix.address, want.address, 16);
	prefix = prefix_of("ffff::/0");
	ip_prefix_mask(&prefix);
	want = prefix_of("::/0");
	cr_assert_arr_eq(prefix.address, want.address, 16);
	prefix = prefix_of("1:2:3:4:5:6:7:8/128");
	want = prefix;
	ip_prefix_mask(&prefix);
	cr_assert_arr_eq(prefix.address, want.address, 16);

	static const struct {
		const char *outer;
		const char *inner;
		bool want;
	} rows[] = {
		{"10.0.0.0/8", "10.9.0.0/16", true},
		{"10.0.0.0/8", "10.0.0.0/8", true},
		{"10.0.0.0/8", "11.0.0.0/16", false},
		{"10.9.0.0/16", "10.0.0.0/8", false},
		{"0.0.0.0/0", "10.0.0.0/8", true},
		{"0.0.0.0/0", "::/0", false},
		{"fd00::/7", "fcff::/16", true},
		{"fd00::/8", "fcff::/16", false},
		{"::1/128", "::1/128", true},
		{"::1/128", "::2/128", false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip_prefix outer = prefix_of(rows[i].outer);
		struct ip_prefix inner = prefix_of(rows[i].inner);
		cr_assert_eq(ip_prefix_contains(&outer, &inner), rows[i].want, "row %zu", i);
	}
}
