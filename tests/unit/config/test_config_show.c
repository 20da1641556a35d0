/* Showing and comparing: what is shown reads back the same, keys stay hidden, reload sees every change. */
#include "config_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char RICH[] =
	"version: 1\n"
	"wire: kcp-go\n"
	"identity: {name: net}\n"
	"interface: {name: \"no\", addresses: [10.40.0.1/24, \"fd40::1/64\"], mtu: 1280, queues: "
	"1}\n"
	"listen: [\"[::]:29900\", \"192.0.2.1:1\", \"[fe80::1%3]:2\"]\n"
	"kcp_go: {key: 'pass', crypt: 3des, datashard: 0, mode: normal, conv: 7, "
	"allow_unauthenticated: true}\n"
	"transport: {queue: 1234ms}\n"
	"session: {dead_after: 3500ms, keepalive: off}\n"
	"routes: {table: main, metric: 4294967295, protocol: 1}\n"
	"control: {group: \"true\", admin_group: \"0123\"}\n"
	"log: {level: debug, format: json}\n"
	"peers:\n"
	"  \"no\": {endpoints: [a.example.net:1, \"[2001:db8::1]:2\"], allowed_ips: "
	"[10.1.0.0/16]}\n"
	"  \"0123\": {enabled: false, transport: {queue: 20ms}, session: {persistent: true}}\n"
	"  empty: {}\n";

static char *show(const struct config *config, bool effective)
{
	char *text = NULL;

	cr_assert_eq(config_show(config, effective, &text), 0);
	return text;
}

/* Puts a key where the hidden one was. */
static char *reveal(const char *text)
{
	static const char HIDDEN[] = "\"(hidden)\"";
	const char *at = strstr(text, HIDDEN);
	char *out = NULL;

	cr_assert(at, "%s", text);
	cr_assert(asprintf(&out, "%.*spass%s", (int)(at - text), text, at + strlen(HIDDEN)) > 0);
	return out;
}

Test(show, reads_back_the_same)
{
	for (int effective = 0; effective < 2; effective++) {
		struct config *c = parse_good(RICH);
		char *first = show(c, effective);
		cr_assert_eq(strstr(first, "pass"), NULL);
		char *text = reveal(first);
		struct config *again = parse_good(text);
		char *second = show(again, effective);
		struct config_diff diff;
		cr_assert_str_eq(first, second);
		cr_assert_eq(config_diff(c, again, &diff), 0);
		cr_assert_eq(diff.peer_count, 0u);
		/* the list of includes is the one thing that is merged away */
		cr_assert_eq(diff.global_count, 1u);
		cr_assert_str_eq(diff.globals[0].row->key, "include");
		config_diff_fini(&diff);
		config_free(c);
		config_free(again);
		free(first);
		free(second);
		free(text);
	}
}

Test(show, what_was_written)
{
	struct config *c =
		parse_good(FIXTURE_HEAD "listen: [\"[::]:1\"]\n"
					"peers:\n  b: {session: {dead_after: 20}}\n  a: {}\n");
	char *text = show(c, false);

	cr_assert_str_eq(text, "version: 1\n"
			       "include: []\n"
			       "listen: [\"[::]:1\"]\n"
			       "wire: kcp-go\n"
			       "kcp_go:\n"
			       "  key: \"(hidden)\"\n"
			       "  allow_unauthenticated: true\n"
			       "peers:\n"
			       "  b:\n"
			       "    session:\n"
			       "      dead_after: 20s\n"
			       "  a: {}\n");
	free(text);
	text = show(c, true);
	cr_assert(strstr(text, "identity:\n  name: office\n"));
	cr_assert(strstr(text, "  datashard: 10\n"));
	cr_assert(strstr(text,
		"  b:\n    endpoints: []\n    allowed_ips: []\n    enabled: true\n"
		"    transport:\n      class: auto\n      queue: 300ms\n      congestion: auto\n"
		"      rate_max: 0\n      dscp: 0\n    session:\n"
		"      keepalive: auto\n      dead_after: 20s\n      persistent: false\n"));
	/* what is not used on this wire is not shown as if it were */
	cr_assert_eq(strstr(text, "fec"), NULL);
	free(text);
	config_free(c);
}

Test(show, a_hidden_key_is_no_key)
{
	static struct config_report report;
	struct config *c = parse_good(RICH);
	char *text = show(c, true);

	cr_assert_eq(parse_bad(text, &report), (unsigned)CONFIG_E_SECRET);
	free(text);
	config_free(c);
}

Test(show, key_of_a_key_file_is_not_shown)
{
	static struct config_report report;
	static const struct memory_file FILES[] = {
		{.path = "/c/office.yaml",
			.text = "version: 1\nwire: kcp-go\nkcp_go: {key_file: \"my key\", "
				"allow_unauthenticated: true}\n"},
		{.path = "/c/my key", .text = "hunter2\n", .mode = 0600},
	};
	struct config *c = NULL;

	cr_assert_eq(load_files(FILES, COUNT(FILES), &c, &report), 0);
	for (int effective = 0; effective < 2; effective++) {
		char *text = show(c, effective);
		cr_assert(strstr(text, "  key_file: \"/c/my key\"\n"));
		cr_assert_eq(strstr(text, "hunter2"), NULL);
		cr_assert_eq(strstr(text, "hidden"), NULL);
		free(text);
	}
	config_free(c);
}

/* ---- reload --------------------------------------------------------------------------------------------------- */

static struct config_diff compare(const char *before, const char *after)
{
	struct config_diff diff;
	/* kept until the process ends: the diff lends their peers */
	static struct config *kept[2];

	config_free(kept[0]);
	config_free(kept[1]);
	kept[0] = parse_good(before);
	kept[1] = parse_good(after);
	cr_assert_eq(config_diff(kept[0], kept[1], &diff), 0);
	return diff;
}

Test(diff, nothing)
{
	struct config_diff diff = compare(RICH, RICH);

	cr_assert_eq(diff.peer_count, 0u);
	cr_assert_eq(diff.global_count, 0u);
	cr_assert_eq(diff.effects, 0u);
	config_diff_fini(&diff);
}

Test(diff, globals_and_what_they_need)
{
	static const struct {
		const char *add, *text;
		unsigned effects;
	} ROWS[] = {
		{"interface: {name: kcp1}\n", "interface.name: kcp0 -> kcp1",
			CONFIG_EFFECT_RESTART},
		{"interface: {addresses: [10.0.0.1/8]}\n",
			"interface.addresses: [] -> [10.0.0.1/8]", CONFIG_EFFECT_ADDRESSES},
		{"interface: {mtu: 1200}\n", "interface.mtu: auto -> 1200", CONFIG_EFFECT_LINK},
		{"listen: [\"[::]:1\"]\n", "listen: [] -> [\"[::]:1\"]", CONFIG_EFFECT_LISTEN},
		{"identity: {name: other}\n", "identity.name: office -> other",
			CONFIG_EFFECT_RESTART},
		{"transport: {queue: 200}\n", "transport.queue: 300ms -> 200ms",
			CONFIG_EFFECT_LIVE},
		{"session: {keepalive: off}\n", "session.keepalive: auto -> off",
			CONFIG_EFFECT_LIVE},
		{"routes: {metric: 9}\n", "routes.metric: 50 -> 9", CONFIG_EFFECT_ROUTES},
		{"control: {group: x}\n", "control.group: vpnd -> x", CONFIG_EFFECT_RESTART},
		{"control: {admin_group: x}\n", "control.admin_group: vpnd-admin -> x",
			CONFIG_EFFECT_CONTROL},
		{"log: {level: warn}\n", "log.level: info -> warn", CONFIG_EFFECT_LOG},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		char after[256];
		snprintf(after, sizeof(after), "%s%s", FIXTURE_HEAD, ROWS[i].add);
		struct config_diff diff = compare(FIXTURE_HEAD, after);
		cr_assert_eq(diff.global_count, 1u, "row %zu", i);
		cr_assert_str_eq(diff.globals[0].text, ROWS[i].text);
		cr_assert_eq(diff.effects, ROWS[i].effects, "row %zu: %x", i, diff.effects);
		config_diff_fini(&diff);
	}
}

Test(diff, keys_are_compared_and_not_told)
{
	struct config_diff diff = compare(FIXTURE_HEAD,
		"version: 1\nwire: kcp-go\nkcp_go: {key: hunter2, allow_unauthenticated: true}\n");

	cr_assert_eq(diff.global_count, 1u);
	cr_assert_str_eq(diff.globals[0].text, "kcp_go.key: changed");
	cr_assert_eq(diff.effects, (unsigned)CONFIG_EFFECT_SESSIONS);
	config_diff_fini(&diff);
}

Test(diff, a_derived_mtu_changes_the_link)
{
	struct config_diff diff =
		compare(FIXTURE_HEAD, "version: 1\nwire: kcp-go\nkcp_go: {key: secret, "
				      "allow_unauthenticated: true, mtu: 1400}\n");

	cr_assert_eq(diff.effects, (unsigned)(CONFIG_EFFECT_SESSIONS | CONFIG_EFFECT_LINK));
	config_diff_fini(&diff);
}

Test(diff, peers)
{
	struct config_diff diff =
		compare(FIXTURE_HEAD "peers:\n"
				     "  same: {endpoints: [a:1], allowed_ips: [10.9.0.0/16]}\n"
				     "  gone: {}\n"
				     "  moved: {endpoints: [a:1]}\n"
				     "  all: {endpoints: [a:1], allowed_ips: [10.1.0.0/16]}\n"
				     "  also-gone: {}\n",
			FIXTURE_HEAD
			"peers:\n"
			"  new: {allowed_ips: [10.2.0.0/16]}\n"
			"  all: {endpoints: [a:2], allowed_ips: [10.1.0.0/17], enabled: false,\n"
			"        session: {dead_after: 20}, transport: {queue: 50}}\n"
			"  moved: {endpoints: [b:1]}\n"
			"  same: {allowed_ips: [10.9.1.2/16], endpoints: [a:1]}\n");

	cr_assert_eq(diff.added, 1u);
	cr_assert_eq(diff.removed, 2u);
	cr_assert_eq(diff.changed, 2u);
	cr_assert_eq(diff.peer_count, 5u);
	cr_assert_str_eq(diff.peers[0].text, "new: added");
	cr_assert_eq(diff.peers[0].before, NULL);
	cr_assert_str_eq(diff.peers[0].after->name, "new");
	cr_assert_str_eq(diff.peers[1].text,
		"all: transport.queue 300ms -> 50ms, session.dead_after 15s -> 20s, endpoints "
		"[\"a:1\"] -> [\"a:2\"], allowed_ips [10.1.0.0/16] -> [10.1.0.0/17], enabled true "
		"-> "
		"false");
	cr_assert_eq(diff.peers[1].effects,
		(unsigned)(CONFIG_PEER_ENDPOINTS | CONFIG_PEER_ALLOWED_IPS | CONFIG_PEER_ENABLED |
			   CONFIG_PEER_SESSION | CONFIG_PEER_TRANSPORT));
	cr_assert_eq(diff.peers[2].effects, (unsigned)CONFIG_PEER_ENDPOINTS);
	cr_assert_str_eq(diff.peers[3].text, "gone: removed");
	cr_assert_str_eq(diff.peers[4].text, "also-gone: removed");
	cr_assert_eq(diff.peers[4].after, NULL);
	cr_assert_eq(diff.effects, 0u);
	config_diff_fini(&diff);
}

/* A value that peers inherit changes them, but for those that have their own. */
Test(diff, inherited_values)
{
	struct config_diff diff = compare(
		FIXTURE_HEAD "peers: {a: {}, b: {session: {dead_after: 30}}}\n", FIXTURE_HEAD
		"session: {dead_after: 30}\npeers: {a: {}, b: {session: {dead_after: 30}}}\n");

	cr_assert_eq(diff.peer_count, 1u);
	cr_assert_str_eq(diff.peers[0].text, "a: session.dead_after 15s -> 30s");
	cr_assert_eq(diff.peers[0].effects, (unsigned)CONFIG_PEER_SESSION);
	cr_assert_eq(diff.global_count, 1u);
	config_diff_fini(&diff);
}

static char *show_json(const struct config *config, bool effective)
{
	char *text = NULL;

	cr_assert_eq(config_show_json(config, effective, &text), 0);
	return text;
}

Test(config_show, as_json)
{
	struct config *config = parse_good(RICH);
	char *text = show_json(config, false);
	static const char *const parts[] = {"\"version\": 1,", "\"wire\": \"kcp-go\"",
		"\"name\": \"no\"", "\"addresses\": [\"10.40.0.1/24\", \"fd40::1/64\"]",
		"\"mtu\": 1280", "\"crypt\": \"3des\"", "\"conv\": 7", "\"queue\": \"1234ms\"",
		"\"keepalive\": \"off\"", "\"table\": \"main\"", "\"metric\": 4294967295",
		"\"key\": \"(hidden)\"", "\"admin_group\": \"0123\"", "\"persistent\": true",
		"\"empty\": {}", "\"endpoints\": [\"a.example.net:1\", \"[2001:db8::1]:2\"]"};

	for (size_t i = 0; i < COUNT(parts); i++)
		cr_assert(strstr(text, parts[i]), "no %s in\n%s", parts[i], text);
	cr_assert_eq(strstr(text, "pass"), NULL, "the key stays hidden");
	cr_assert_eq(strstr(text, "level\": \"info"), NULL);
	free(text);
	text = show_json(config, true);
	cr_assert(strstr(text, "\"max_overhead\"") == NULL, "not on this wire");
	cr_assert(strstr(text, "\"sndwnd\": 1024"));
	cr_assert_eq(strstr(text, "pass"), NULL);
	free(text);
	config_free(config);
}

Test(config_show, json_escapes)
{
	struct config *config =
		parse_good("version: 1\nwire: kcp-go\n"
			   "kcp_go: {key_file: \"/x/a\\\"b\\\\c\", allow_unauthenticated: true}\n");
	char *text = show_json(config, false);

	cr_assert(strstr(text, "\"key_file\": \"/x/a\\\"b\\\\c\""), "%s", text);
	free(text);
	config_free(config);
}

/* ---- a reload --------------------------------------------------------------------------------------------------- */

/* What takes a restart stays, with a warning, and what is checked is what will hold. */
Test(reload, what_takes_a_restart_stays)
{
	static const char OLD[] = FIXTURE_HEAD
		"interface: {name: kcp0, offload: false}\nhooks: {up: [/bin/true, x]}\n"
		"identity: {name: office}\nroutes: {protocol: 99}\nlog: {level: warn}\n";
	static const char NEW[] =
		FIXTURE_HEAD "interface: {name: kcp5, offload: true}\nhooks: {down: [/bin/false]}\n"
			     "identity: {name: other}\nlog: {level: debug}\n";
	struct config *before = parse_good(OLD), *after = NULL;
	struct config_report *report = calloc(1, sizeof(*report));
	struct config_reader reader = *config_reader_no_secrets();
	struct config_diff diff;

	reader.in_force = before;
	struct memory_files none = {0};
	reader.ctx = &none;
	reader.read_file = memory_read;
	reader.list_files = memory_glob;
	cr_assert_eq(config_parse_text("net.yaml", NEW, strlen(NEW), &reader, &after, report), 0,
		"%s", report->errors[0].text);
	cr_assert_str_eq(after->interface.name, "kcp0");
	cr_assert_str_eq(after->name, "office");
	cr_assert_not(after->interface.offload);
	cr_assert_eq(after->routes.protocol, 99);
	cr_assert_eq(after->hooks[CONFIG_HOOK_UP].count, 2u);
	cr_assert_str_eq(after->hooks[CONFIG_HOOK_UP].items[1], "x");
	cr_assert_eq(after->hooks[CONFIG_HOOK_DOWN].count, 0u);
	size_t held = 0;
	for (size_t i = 0; i < report->warning_count; i++)
		held += strstr(report->warnings[i].text, "takes effect at the next restart") !=
			NULL;
	cr_assert_eq(held, 6u);
	cr_assert_eq(config_diff(before, after, &diff), 0);
	cr_assert_eq(diff.global_count, 1u);
	cr_assert_eq(diff.effects, (unsigned)CONFIG_EFFECT_LOG);
	config_diff_fini(&diff);
	config_free(after);

	/* A device in another namespace goes on being there: a full tunnel is refused until the restart. */
	config_free(before);
	before = parse_good(FIXTURE_HEAD "interface: {netns: inner}\n");
	reader.in_force = before;
	static const char FULL[] =
		FIXTURE_HEAD "full_tunnel: {mode: route}\n"
			     "peers: {a: {endpoints: [192.0.2.1:1], allowed_ips: [0.0.0.0/0]}}\n";
	after = NULL;
	cr_assert_neq(
		config_parse_text("net.yaml", FULL, strlen(FULL), &reader, &after, report), 0);
	cr_assert(strstr(report->errors[0].text, "interface.netns"), "%s", report->errors[0].text);
	config_free(before);
	free(report);
}
