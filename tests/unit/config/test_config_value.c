/* Types: units, numbers, words, addresses, endpoints. Through the public doors only. */
#include "config_fixture.h"

#include "config/config_address.h"
#include "config/config_value.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int set(const char *key, const char *text, union value_scratch *value, unsigned *ret_code)
{
	struct value_problem problem = {0};
	const struct config_row *row = config_schema_find(key);

	cr_assert(row, "%s", key);
	int error = value_set(row, text, "", value, &problem);
	*ret_code = problem.code;
	return error;
}

Test(value, units)
{
	static const struct {
		const char *key, *text;
		long long want; /* -100: refused */
	} ROWS[] = {
		{"transport.queue", "300", 300},
		{"transport.queue", "300ms", 300},
		{"transport.queue", "1s", 1000},
		{"transport.queue", "0.02s", 20},
		{"transport.queue", "1.5s", 1500},
		{"transport.queue", "5000", 5000},
		{"transport.queue", "5001", -100},
		{"transport.queue", "19ms", -100},
		{"transport.queue", "0.0205s", -100},
		{"transport.queue", "20.5ms", -100},
		{"transport.queue", "300 ms", -100},
		{"transport.queue", "+300", -100},
		{"transport.queue", "-300", -100},
		{"transport.queue", "3e2", -100},
		{"transport.queue", "300us", -100},
		{"transport.queue", "300MS", -100},
		{"transport.queue", ".5s", -100},
		{"transport.queue", "1.s", -100},
		{"transport.queue", "s", -100},
		{"transport.queue", "", -100},
		{"transport.queue", "0300", -100},
		{"transport.queue", "0x12c", -100},
		{"transport.queue", "12:30", -100},
		{"transport.queue", "auto", -100},
		{"session.dead_after", "15", 15000},
		{"session.dead_after", "15s", 15000},
		{"session.dead_after", "3500ms", 3500},
		{"session.dead_after", "2m", 120000},
		{"session.dead_after", "2min", 120000},
		{"session.dead_after", "0.1h", 360000},
		{"session.dead_after", "1h", -100},
		{"session.dead_after", "600.001s", -100},
		{"session.keepalive", "auto", CONFIG_AUTO},
		{"session.keepalive", "off", CONFIG_OFF},
		{"session.keepalive", "Off", -100},
		{"session.keepalive", "main", -100},
		{"transport.rate_max", "0", 0},
		{"transport.rate_max", "50M", 50000000},
		{"transport.rate_max", "2.5G", 2500000000ll},
		{"transport.rate_max", "64kbit", 64000},
		{"transport.rate_max", "64Kbit/s", 64000},
		{"transport.rate_max", "50MB", -100},
		{"transport.rate_max", "50m", -100},
		{"transport.rate_max", "0.0001k", -100},
		{"transport.rate_max", "99999999999999999999G", -100},
		{"fec.max_overhead", "30", 30},
		{"fec.max_overhead", "30%", 30},
		{"fec.max_overhead", "201%", -100},
		{"interface.mtu", "auto", CONFIG_AUTO},
		{"interface.mtu", "1400", 1400},
		{"interface.mtu", "1400.0", 1400},
		{"interface.mtu", "1400s", -100},
		{"routes.table", "main", CONFIG_MAIN},
		{"routes.table", "254", 254},
		{"routes.table", "4294967296", -100},
		{"kcp_go.conv", "0", 0},
		{"kcp_go.conv", "0xFFFFFFFF", 4294967295ll},
		{"kcp_go.conv", "0x", -100},
		{"kcp_go.conv", "0xg", -100},
		{"kcp_go.conv", "0xfffffffffffffffffffff", -100},
		{"transport.dscp", "inherit", CONFIG_INHERIT},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		union value_scratch value = {.large = -77};
		unsigned code = 0;
		const struct config_row *row = config_schema_find(ROWS[i].key);
		bool wide = row->type == CONFIG_TYPE_LONG || row->type == CONFIG_TYPE_RATE;
		int error = set(ROWS[i].key, ROWS[i].text, &value, &code);
		if (ROWS[i].want == -100) {
			cr_assert_eq(error, -EINVAL, "row %zu: %s", i, ROWS[i].text);
			cr_assert_eq(value.large, -77, "row %zu: touched", i);
			cr_assert(code == CONFIG_E_VALUE || code == CONFIG_E_RANGE);
		} else {
			cr_assert_eq(error, 0, "row %zu: %s", i, ROWS[i].text);
			long long got = wide ? (long long)value.large : value.number;
			cr_assert_eq(got, ROWS[i].want, "row %zu: %lld", i, got);
		}
	}
}

Test(value, cidrs)
{
	static const struct {
		const char *text, *want, *masked; /* NULL = refused */
	} ROWS[] = {
		{"10.40.0.1/24", "10.40.0.1/24", "10.40.0.0/24"},
		{"10.40.0.1", "10.40.0.1/32", "10.40.0.1/32"},
		{"255.255.255.255/1", "255.255.255.255/1", "128.0.0.0/1"},
		{"10.255.255.255/13", "10.255.255.255/13", "10.248.0.0/13"},
		{"1.2.3.4/0", "1.2.3.4/0", "0.0.0.0/0"},
		{"fd40::1/64", "fd40::1/64", "fd40::/64"},
		{"fd40::ffff/113", "fd40::ffff/113", "fd40::8000/113"},
		{"::/0", "::/0", "::/0"},
		{"10.40.0.1/33", NULL, NULL},
		{"fd40::1/129", NULL, NULL},
		{"10.40.0.1/", NULL, NULL},
		{"10.40.0.1/08", NULL, NULL},
		{"10.40.0.1/+8", NULL, NULL},
		{"10.40.0.1/8 ", NULL, NULL},
		{"10.40.0.1/99999999999", NULL, NULL},
		{"/24", NULL, NULL},
		{"10.40.1/24", NULL, NULL},
		{"010.40.0.1/24", NULL, NULL},
		{"host/24", NULL, NULL},
		{"", NULL, NULL},
		{"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd/64", NULL, NULL},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		struct ip_prefix cidr;
		char text[IP_PREFIX_TEXT_BYTES];
		int error = ip_prefix_parse(ROWS[i].text, &cidr);
		cr_assert_eq(error, ROWS[i].want ? 0 : -EINVAL, "%s", ROWS[i].text);
		if (error)
			continue;
		cr_assert_str_eq(ip_prefix_format(&cidr, text), ROWS[i].want);
		ip_prefix_mask(&cidr);
		cr_assert_str_eq(ip_prefix_format(&cidr, text), ROWS[i].masked);
	}
}

Test(value, containment)
{
	static const struct {
		const char *outer, *inner;
		bool want;
	} ROWS[] = {
		{"0.0.0.0/0", "10.0.0.0/8", true},
		{"10.0.0.0/8", "0.0.0.0/0", false},
		{"10.0.0.0/8", "10.255.255.255/32", true},
		{"10.0.0.0/8", "11.0.0.0/32", false},
		{"10.0.0.0/9", "10.127.0.0/16", true},
		{"10.0.0.0/9", "10.128.0.0/16", false},
		{"10.0.0.0/8", "10.0.0.0/8", true},
		{"::/0", "10.0.0.0/8", false},
		{"fd00::/8", "fd42::/48", true},
		{"fd42::/127", "fd42::2/128", false},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		struct ip_prefix outer;
		struct ip_prefix inner;
		cr_assert_eq(ip_prefix_parse(ROWS[i].outer, &outer), 0);
		cr_assert_eq(ip_prefix_parse(ROWS[i].inner, &inner), 0);
		cr_assert_eq(ip_prefix_contains(&outer, &inner), ROWS[i].want, "row %zu", i);
	}
}

Test(value, endpoints)
{
	static const struct {
		const char *text, *host; /* NULL = refused */
		int port;
	} ROWS[] = {
		{"vpn.example.net:29900", "vpn.example.net", 29900},
		{"a:1", "a", 1},
		{"192.0.2.1:65535", "192.0.2.1", 65535},
		{"[2001:db8::1]:29900", "2001:db8::1", 29900},
		{"[fe80::1%eth0]:1", "fe80::1%eth0", 1},
		{"[fe80::1%]:1", NULL, 0},
		{"[fe80::1%a/b]:1", NULL, 0},
		{"[192.0.2.1]:1", NULL, 0},
		{"[]:1", NULL, 0},
		{"[:1", NULL, 0},
		{"]:1", NULL, 0},
		{":1", NULL, 0},
		{":", NULL, 0},
		{"", NULL, 0},
		{"a:", NULL, 0},
		{"a:0", NULL, 0},
		{"a:01", NULL, 0},
		{"a:65536", NULL, 0},
		{"a:4294967297", NULL, 0},
		{"a:-1", NULL, 0},
		{"a:1 ", NULL, 0},
		{"a b:1", NULL, 0},
		{"a/b:1", NULL, 0},
		{"-a:1", NULL, 0},
		{"1.2.3:1", NULL, 0},
		{"256.0.0.1:1", NULL, 0},
		{"2001:db8::1:1", NULL, 0},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		struct config_endpoint endpoint = {0};
		int error = config_endpoint_parse(ROWS[i].text, &endpoint);
		cr_assert_eq(error, ROWS[i].host ? 0 : -EINVAL, "%s", ROWS[i].text);
		if (error)
			continue;
		cr_assert_str_eq(endpoint.host, ROWS[i].host);
		cr_assert_eq(endpoint.port, ROWS[i].port);
		free(endpoint.host);
	}
}

Test(value, names)
{
	static const char *const GOOD[] = {"a", "branch-2", "A.b_c", "_x", "0123", "no"};
	static const char *const BAD[] = {
		"", ".", "..", ".a", "-a", "a b", "a/b", "a\n", "\xc3\xa4"};
	char name[65];

	for (size_t i = 0; i < COUNT(GOOD); i++)
		cr_assert(config_name_ok(GOOD[i]), "%s", GOOD[i]);
	for (size_t i = 0; i < COUNT(BAD); i++)
		cr_assert(!config_name_ok(BAD[i]), "%s", BAD[i]);
	memset(name, 'a', 64);
	name[64] = '\0';
	cr_assert(!config_name_ok(name));
	name[63] = '\0';
	cr_assert(config_name_ok(name));
}

Test(value, keys_in_base64)
{
	static const char *const GOOD[] = {"CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="};
	static const char *const BAD[] = {"", "AAAA",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
		"AAAAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAA="};

	for (size_t i = 0; i < COUNT(GOOD) + COUNT(BAD); i++) {
		bool good = i < COUNT(GOOD);
		union value_scratch value = {0};
		unsigned code = 0;
		const char *text = good ? GOOD[i] : BAD[i - COUNT(GOOD)];
		cr_assert_eq(set("peers.NAME.public_key", text, &value, &code), good ? 0 : -EINVAL,
			"%s", text);
		free(value.text);
	}
}

Test(value, paths_are_relative_to_the_file)
{
	static const struct {
		const char *folder, *path, *want;
	} ROWS[] = {
		{"", "k", "k"},
		{"/etc/vpnd/", "k", "/etc/vpnd/k"},
		{"/etc/vpnd", "a/../k", "/etc/vpnd/a/../k"},
		{"/etc/vpnd/", "/k", "/k"},
		{"/etc/vpnd/", "credential:k", "credential:k"},
		{"/etc/vpnd/", "credential", "/etc/vpnd/credential"},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		union value_scratch value = {0};
		struct value_problem problem;
		const struct config_row *row = config_schema_find("kcp_go.key_file");
		cr_assert_eq(value_set(row, ROWS[i].path, ROWS[i].folder, &value, &problem), 0);
		cr_assert_str_eq(value.text, ROWS[i].want);
		value_clear(row, &value);
		cr_assert_eq(value.text, NULL);
	}
}
