/* The rules of a full tunnel, in a network namespace of each test, and the messages that names are asked with. */
#include "vpnd/full_tunnel.h"

#include "vpnd/dns_message.h"
#include "vpnd/fault.h"
#include "vpnd/netlink.h"
#include "vpnd/outside_lookup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config *parse(const char *more)
{
	char text[1024];
	struct config *config = NULL;
	struct config_report *report = calloc(1, sizeof(*report));

	(void)snprintf(text, sizeof(text),
		"version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n"
		"interface: {name: dev0, addresses: [10.0.0.1/24]}\n"
		"peers: {a: {endpoints: [\"192.0.2.1:1\"], allowed_ips: [0.0.0.0/0]}}\n%s",
		more);
	cr_assert_eq(config_parse_text("net.yaml", text, strlen(text), NULL, &config, report), 0,
		"%s", report->errors[0].text);
	free(report);
	return config;
}

struct found {
	struct netlink_rule rules[64];
	size_t count;
};

static void see(void *ctx, const struct netlink_rule *rule)
{
	struct found *found = ctx;
	cr_assert(found->count < 64);
	found->rules[found->count++] = *rule;
}

static struct found on_host(struct netlink *netlink)
{
	struct found found = {.count = 0};
	struct fault fault = {0};
	cr_assert_eq(netlink_rule_list(netlink, 201, see, &found, &fault), 0, "%s", fault.text);
	return found;
}

static bool has(const struct found *found, const struct netlink_rule *rule)
{
	for (size_t i = 0; i < found->count; i++) {
		if (netlink_rule_equal(&found->rules[i], rule))
			return true;
	}
	return false;
}

/* Where the network's rules begin: by the rule that ends its block. 0 = it has none */
static uint32_t first_of(struct netlink *netlink, const struct config *config)
{
	struct found found = on_host(netlink);

	for (size_t i = 0; i < found.count; i++) {
		if (found.rules[i].action == NETLINK_RULE_NOP &&
			found.rules[i].fwmark == config_tunnel_number(config))
			return found.rules[i].priority - FULL_TUNNEL_AT_END;
	}
	return 0;
}

/* Exactly what is planned stands there, as the kernel tells it. Without a device there is no default route. */
static void expect_plan(struct netlink *netlink, const struct config *config)
{
	static const bool NO_ROUTE[2] = {true, true};
	static struct full_tunnel_plan plan;
	struct found found = on_host(netlink);

	full_tunnel_plan(config, first_of(netlink, config), NO_ROUTE, &plan);
	cr_assert_eq(found.count, plan.count);
	for (size_t i = 0; i < plan.count; i++)
		cr_assert(has(&found, &plan.rules[i]), "rule %zu", i);
}

static struct netlink *begin(void)
{
	struct netlink *netlink = NULL;
	struct fault fault = {0};

	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	cr_assert_eq(netlink_new(&netlink, &fault), 0, "%s", fault.text);
	return netlink;
}

static void apply(
	struct netlink *netlink, const struct config *config, bool on, size_t *ret_changed)
{
	struct full_tunnel tunnel = {.netlink = netlink};
	struct fault fault = {0};

	cr_assert_eq(
		full_tunnel_apply(&tunnel, config, on, ret_changed, &fault), 0, "%s", fault.text);
}

Test(full_tunnel, rules_follow_the_configuration)
{
	static const char *const TEXTS[] = {
		"full_tunnel: {mode: route}\n",
		"full_tunnel: {mode: kill_switch}\ndns: {servers: [10.0.0.2]}\n",
		"full_tunnel: {mode: route, exempt: [lan, 192.0.2.0/24, \"2001:db8::/32\"]}\n",
		"full_tunnel: {mode: route, exempt: []}\nfwmark: 7\n",
		"routes: {table: off}\n",
	};
	struct netlink *netlink = begin();
	size_t changed;

	for (size_t from = 0; from < 5; from++) {
		for (size_t to = 0; to < 5; to++) {
			struct config *before = parse(TEXTS[from]), *after = parse(TEXTS[to]);
			apply(netlink, before, true, NULL);
			expect_plan(netlink, before);
			apply(netlink, after, true, &changed);
			cr_assert(from == to ? changed == 0 : changed > 0, "%zu %zu", from, to);
			expect_plan(netlink, after);
			apply(netlink, after, false, NULL);
			cr_assert_eq(on_host(netlink).count, 0);
			config_free(before);
			config_free(after);
		}
	}
	netlink_free(netlink);
}

/* What others have put there is none of our business, be it in our block or with our number. */
Test(full_tunnel, others_rules_stay)
{
	struct netlink *netlink = begin();
	struct config *config = parse("full_tunnel: {mode: route}\n");
	struct netlink_rule theirs = {.family = 4, .protocol = 201, .priority = 100, .table = 254};
	struct fault fault = {0};
	bool added;

	cr_assert_eq(netlink_rule_add(netlink, &theirs, &added, &fault), 0, "%s", fault.text);
	cr_assert(added);
	cr_assert_eq(netlink_rule_add(netlink, &theirs, &added, &fault), 0, "twice is fine");
	cr_assert_not(added);
	apply(netlink, config, true, NULL);
	struct netlink_rule among_ours = theirs;
	among_ours.protocol = 4;
	among_ours.priority = first_of(netlink, config) + FULL_TUNNEL_AT_LAN;
	cr_assert_eq(netlink_rule_add(netlink, &among_ours, NULL, &fault), 0, "%s", fault.text);
	apply(netlink, config, false, NULL);
	struct found found = on_host(netlink);
	cr_assert_eq(found.count, 1);
	cr_assert(netlink_rule_equal(&found.rules[0], &theirs));
	cr_assert_eq(netlink_rule_remove(netlink, &among_ours, &fault), 0);
	cr_assert_eq(netlink_rule_remove(netlink, &theirs, &fault), 0);
	cr_assert_eq(netlink_rule_remove(netlink, &theirs, &fault), 0, "twice is fine");
	cr_assert_eq(on_host(netlink).count, 0);
	config_free(config);
	netlink_free(netlink);
}

Test(full_tunnel, one_that_was_taken_away_is_put_back)
{
	struct netlink *netlink = begin();
	struct config *config =
		parse("full_tunnel: {mode: kill_switch}\ndns: {servers: [10.0.0.2]}\n");
	struct fault fault = {0};
	size_t changed, count;

	apply(netlink, config, true, NULL);
	uint32_t first = first_of(netlink, config);
	count = on_host(netlink).count;
	for (size_t i = 0; i < count; i++) {
		struct netlink_rule rule = on_host(netlink).rules[i];
		cr_assert_eq(netlink_rule_remove(netlink, &rule, &fault), 0, "%s", fault.text);
		cr_assert_eq(on_host(netlink).count, count - 1);
		apply(netlink, config, true, &changed);
		cr_assert_eq(changed, 1);
		cr_assert_eq(first_of(netlink, config), first, "the same block, whatever is gone");
		expect_plan(netlink, config);
	}
	config_free(config);
	netlink_free(netlink);
}

static struct config *named(const char *name, const char *more)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "identity: {name: %s}\n%s", name, more);
	return parse(text);
}

/* Two networks that choose the same priorities leave each other's alone, with and without a full tunnel. */
Test(full_tunnel, two_networks_share_no_block)
{
	static const char KILL[] = "full_tunnel: {mode: kill_switch, exempt: []}\n";
	struct netlink *netlink = begin();
	struct config *a = named("office", KILL), *b = NULL;
	char name[16];
	size_t changed = 1;

	for (int i = 0; !b; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		b = named(name, KILL);
		if (config_tunnel_number(b) % FULL_TUNNEL_BLOCKS ==
			config_tunnel_number(a) % FULL_TUNNEL_BLOCKS)
			break;
		config_free(b);
		b = NULL;
	}
	apply(netlink, a, true, NULL);
	size_t of_a = on_host(netlink).count;
	struct config *off = named(name, "routes: {table: off}\n");
	apply(netlink, off, false, &changed);
	cr_assert_eq(changed, 0, "a start without a full tunnel finds nothing of its own");
	expect_plan(netlink, a);
	apply(netlink, b, true, NULL);
	cr_assert_eq(on_host(netlink).count, 2 * of_a);
	cr_assert_neq(first_of(netlink, a), first_of(netlink, b));
	apply(netlink, a, true, &changed);
	cr_assert_eq(changed, 0);
	apply(netlink, a, false, NULL);
	expect_plan(netlink, b);
	apply(netlink, b, false, NULL);
	cr_assert_eq(on_host(netlink).count, 0);
	config_free(a);
	config_free(b);
	config_free(off);
	netlink_free(netlink);
}

/* An end in the block that is another's, come at the same time: the later one looks for another block. */
Test(full_tunnel, a_block_that_somebody_ends_is_taken)
{
	struct netlink *netlink = begin();
	struct config *config = parse("full_tunnel: {mode: route}\n");
	uint32_t number = config_tunnel_number(config);
	uint32_t first = FULL_TUNNEL_FIRST + number % FULL_TUNNEL_BLOCKS * FULL_TUNNEL_BLOCK;
	struct netlink_rule end = {
		.family = 4,
		.protocol = 201,
		.priority = first + FULL_TUNNEL_AT_END,
		.fwmark = number ^ 1,
		.action = NETLINK_RULE_NOP,
	};
	struct fault fault = {0};

	cr_assert_eq(netlink_rule_add(netlink, &end, NULL, &fault), 0, "%s", fault.text);
	apply(netlink, config, true, NULL);
	cr_assert_neq(first_of(netlink, config), 0);
	cr_assert_neq(first_of(netlink, config), first);
	apply(netlink, config, false, NULL);
	cr_assert_eq(on_host(netlink).count, 1);
	config_free(config);
	netlink_free(netlink);
}

static size_t all_rules(struct netlink *netlink)
{
	struct found found = {.count = 0};
	struct fault fault = {0};
	cr_assert_eq(netlink_rule_list(netlink, 0, see, &found, &fault), 0, "%s", fault.text);
	return found.count;
}

/* routes.protocol was another number when they were put there: they are the same rules, and go by order. */
Test(full_tunnel, rules_of_an_older_number_are_own)
{
	static const char KILL[] = "full_tunnel: {mode: kill_switch, exempt: []}\n";
	struct netlink *netlink = begin();
	size_t before = all_rules(netlink), changed;
	struct config *old = parse(KILL);
	struct config *new = parse("full_tunnel: {mode: kill_switch, exempt: []}\n"
				   "routes: {protocol: 202}\n");
	struct config *off = parse("routes: {protocol: 203, table: off}\n");

	apply(netlink, old, true, NULL);
	size_t count = all_rules(netlink);
	apply(netlink, new, true, &changed);
	cr_assert_eq(changed, 0);
	cr_assert_eq(all_rules(netlink), count);
	apply(netlink, off, false, NULL);
	cr_assert_eq(all_rules(netlink), before);
	config_free(old);
	config_free(new);
	config_free(off);
	netlink_free(netlink);
}

Test(full_tunnel, aggregates)
{
	static const struct {
		const char *in, *out;
	} ROWS[] = {
		{"10.0.0.0/24", "10.0.0.0/24"},
		{"10.0.1.0/24 10.0.0.0/24", "10.0.0.0/23"},
		{"10.0.1.0/24 10.0.2.0/24", "10.0.1.0/24 10.0.2.0/24"},
		{"10.0.0.0/8 10.1.2.3/32 10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.0/26 10.0.0.64/26 10.0.0.128/25 10.0.1.0/24", "10.0.0.0/23"},
		{"fd00::/65 fd00::8000:0:0:0/65 10.0.0.0/24 fd00::/64", "10.0.0.0/24 fd00::/64"},
		{"0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1", "0.0.0.0/0 ::/0"},
		{"", ""},
	};

	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		struct ip_prefix list[8];
		size_t count = 0;
		char copy[128], text[IP_PREFIX_TEXT_BYTES], got[256] = "";
		(void)snprintf(copy, sizeof(copy), "%s", ROWS[i].in);
		for (char *at = strtok(copy, " "); at; at = strtok(NULL, " "))
			cr_assert_eq(ip_prefix_parse(at, &list[count++]), 0);
		count = full_tunnel_aggregate(list, count);
		for (size_t k = 0; k < count; k++) {
			(void)strcat(got, k ? " " : "");
			(void)strcat(got, ip_prefix_format(&list[k], text));
		}
		cr_assert_str_eq(got, ROWS[i].out, "row %zu: %s", i, got);
	}
}

Test(full_tunnel, numbers_belong_to_the_name)
{
	struct config *a = parse("identity: {name: office}\nfull_tunnel: {mode: route}\n");
	struct config *b = parse("identity: {name: home}\nfull_tunnel: {mode: route}\n");
	struct config *off = parse("identity: {name: office}\nroutes: {table: off}\n");

	cr_assert_eq(config_fwmark(a), config_tunnel_number(a));
	cr_assert_neq(config_tunnel_number(a), config_tunnel_number(b));
	cr_assert_eq(config_tunnel_number(a), config_tunnel_number(off));
	cr_assert_eq(config_fwmark(off), 0, "nothing is marked without need");
	config_free(a);
	config_free(b);
	config_free(off);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* An answer to the question with one alias and the given records. */
static size_t answer_to(const uint8_t *question, size_t len, uint16_t flags, unsigned records,
	const uint8_t *data, size_t data_len, uint8_t type, uint8_t *out)
{
	static const uint8_t ALIAS[] = {0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, 'x', 0xc0, 12};
	size_t at = len;

	memcpy(out, question, len);
	out[2] = (uint8_t)(flags >> 8);
	out[3] = (uint8_t)flags;
	out[7] = (uint8_t)(records + 1);
	memcpy(out + at, ALIAS, sizeof(ALIAS));
	at += sizeof(ALIAS);
	for (unsigned i = 0; i < records; i++) {
		const uint8_t head[] = {0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, (uint8_t)data_len};
		memcpy(out + at, head, sizeof(head));
		memcpy(out + at + sizeof(head), data, data_len);
		out[at + sizeof(head) + data_len - 1] = (uint8_t)(i + 1);
		at += sizeof(head) + data_len;
	}
	return at;
}

Test(dns_message, questions)
{
	static const uint8_t WANT[] = {0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'v', 'p', 'n',
		2, 'e', 'x', 0, 0, 28, 0, 1};
	static const char *const BAD[] = {"", ".", "a..b", ".a"};
	uint8_t bytes[DNS_QUESTION_BYTES_MAX];
	char longest[300];

	cr_assert_eq(dns_question_write(0x1234, "vpn.ex", DNS_AAAA, bytes), sizeof(WANT));
	cr_assert_eq(memcmp(bytes, WANT, sizeof(WANT)), 0);
	cr_assert_eq(dns_question_write(0x1234, "vpn.ex.", DNS_AAAA, bytes), sizeof(WANT));
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(dns_question_write(1, BAD[i], DNS_A, bytes), 0, "%s", BAD[i]);
	for (size_t len = 240; len < sizeof(longest) - 1; len++) {
		for (size_t i = 0; i < len; i++)
			longest[i] = i % 2 ? '.' : 'a';
		longest[len] = '\0';
		longest[len - 1] = 'a';
		size_t got = dns_question_write(1, longest, DNS_A, bytes);
		cr_assert(got <= sizeof(bytes));
		cr_assert(len <= 253 ? got > 0 : got == 0, "%zu", len);
	}
	memset(longest, 'a', 64);
	longest[64] = '\0';
	cr_assert_eq(dns_question_write(1, longest, DNS_A, bytes), 0, "a label of 64");
}

Test(dns_message, answers)
{
	const uint8_t address[4] = {192, 0, 2, 0};
	uint8_t question[DNS_QUESTION_BYTES_MAX], bytes[512];
	struct kcpvpn_endpoint list[4];
	size_t count = 9, len = dns_question_write(0x1234, "vpn.ex", DNS_A, question);

	size_t got = answer_to(question, len, 0x8180, 3, address, 4, DNS_A, bytes);
	cr_assert_eq(dns_answer_read(question, len, bytes, got, list, 4, &count), 0);
	cr_assert_eq(count, 3);
	cr_assert(list[2].family == 4 && list[2].address[3] == 3 && list[2].port == 0);
	cr_assert_eq(dns_answer_read(question, len, bytes, got, list, 2, &count), 0);
	cr_assert_eq(count, 2, "no more than there is room");
	/* cut anywhere: no answer, and never a byte behind the end */
	for (size_t cut = 0; cut < got; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);
		memcpy(exact, bytes, cut);
		cr_assert_eq(dns_answer_read(question, len, exact, cut, list, 4, &count), -EBADMSG,
			"%zu", cut);
		free(exact);
	}
	/* to another question */
	for (size_t i = 0; i < len; i++) {
		if (i == 2 || i == 3 || (i >= 6 && i < 12))
			continue;
		bytes[i] ^= 1;
		cr_assert_eq(dns_answer_read(question, len, bytes, got, list, 4, &count), -EBADMSG,
			"byte %zu", i);
		bytes[i] ^= 1;
	}
	got = answer_to(question, len, 0x8183, 0, address, 4, DNS_A, bytes);
	cr_assert_eq(dns_answer_read(question, len, bytes, got, list, 4, &count), -ENOENT);
	got = answer_to(question, len, 0x8182, 0, address, 4, DNS_A, bytes);
	cr_assert_eq(dns_answer_read(question, len, bytes, got, list, 4, &count), -EAGAIN);
	got = answer_to(question, len, 0x0100, 1, address, 4, DNS_A, bytes);
	cr_assert_eq(dns_answer_read(question, len, bytes, got, list, 4, &count), -EBADMSG,
		"a question");
	got = answer_to(question, len, 0x8180, 2, address, 4, DNS_AAAA, bytes);
	cr_assert_eq(dns_answer_read(question, len, bytes, got, list, 4, &count), 0);
	cr_assert_eq(count, 0, "of another type");
}

Test(outside_lookup, files)
{
	struct kcpvpn_endpoint list[4];
	char path[] = "/tmp/vpnd-lookup-XXXXXX";
	int fd = mkstemp(path);

	cr_assert(fd >= 0);
	dprintf(fd, "# nameserver 9.9.9.9\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n"
		    "nameserver ::1\nnameserver 2001:db8::53\nnameserver nonsense\nsearch a\n"
		    "192.0.2.7\tvpn.example.net VPN # not this\n10.0.0.1 not\n2001:db8::7 vpn\n");
	close(fd);
	cr_assert_eq(outside_servers_read(path, list, 4), 2);
	cr_assert(list[0].family == 4 && list[0].address[3] == 53 && list[0].port == 53);
	cr_assert(list[1].family == 6 && list[1].address[15] == 0x53);
	cr_assert_eq(outside_servers_read(path, list, 1), 1);
	cr_assert_eq(outside_servers_read("/nonexistent", list, 4), 0);
	cr_assert_eq(outside_hosts_read(path, "vpn", list, 4), 2);
	cr_assert_eq(outside_hosts_read(path, "vpn.example.net", list, 4), 1);
	cr_assert(list[0].family == 4 && list[0].address[3] == 7);
	cr_assert_eq(outside_hosts_read(path, "not", list, 4), 1, "behind a # it does not count");
	unlink(path);
}
