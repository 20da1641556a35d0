/* Loading: values, defaults, inheritance, names, includes, key files, hostile texts. */
#include "config_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

static bool has(const struct config_report *report, bool warning, unsigned number)
{
	const struct config_finding *list = warning ? report->warnings : report->errors;
	size_t count = warning ? report->warning_count : report->error_count;

	for (size_t i = 0; i < count; i++) {
		if (list[i].number == number)
			return true;
	}
	return false;
}

Test(config, defaults_are_those_of_the_schema)
{
	struct config *c = parse_good(FIXTURE_HEAD);

	cr_assert_str_eq(c->name, "office");
	cr_assert_str_eq(c->interface.name, "kcp0");
	cr_assert_eq(c->interface.mtu, CONFIG_AUTO);
	cr_assert_eq(c->interface.mtu_bytes, 1298);
	cr_assert_eq(c->interface.queues, CONFIG_AUTO);
	cr_assert(c->interface.offload);
	cr_assert_eq(c->interface.addresses.count, 0u);
	cr_assert_eq(c->listen.count, 0u);
	cr_assert_eq(c->wire, CONFIG_WIRE_KCP_GO);
	cr_assert_str_eq(c->kcp_go.key, "secret");
	cr_assert_eq(c->kcp_go.key_file, NULL);
	cr_assert_str_eq(c->kcp_go.crypt, "salsa20");
	cr_assert_eq(c->kcp_go.mode, CONFIG_KCP_FAST);
	cr_assert_eq(c->kcp_go.datashard, 10);
	cr_assert_eq(c->kcp_go.parityshard, 3);
	cr_assert_eq(c->kcp_go.mtu, 1350);
	cr_assert_eq(c->kcp_go.sndwnd, 1024);
	cr_assert_eq(c->kcp_go.rcvwnd, 1024);
	cr_assert_eq(c->kcp_go.conv, CONFIG_RANDOM);
	cr_assert_eq(c->transport.queue_ms, 300);
	cr_assert_eq(c->session.dead_after_ms, 15000);
	cr_assert_eq(c->session.keepalive_ms, CONFIG_AUTO);
	cr_assert_eq(config_keepalive_ms(&c->session, CONFIG_WIRE_KCP_GO), 5000);
	cr_assert_eq(config_keepalive_ms(&c->session, CONFIG_WIRE_NATIVE), 0);
	cr_assert(c->session.persistent);
	cr_assert_eq(c->routes.table, CONFIG_AUTO);
	cr_assert_eq(c->routes.metric, 50);
	cr_assert_eq(c->routes.protocol, 201);
	cr_assert_str_eq(c->control.group, "vpnd");
	cr_assert_str_eq(c->control.admin_group, "vpnd-admin");
	cr_assert_eq(c->log.level, LOG_LEVEL_INFO);
	cr_assert_eq(c->log.format, CONFIG_LOG_TEXT);
	cr_assert_eq(c->peer_count, 0u);
	config_free(c);
}

Test(config, values_arrive)
{
	struct config *c = parse_good(
		"version: 1\n"
		"wire: kcp-go\n"
		"identity: {name: 0123}\n"
		"include: []\n"
		"interface: {name: no, addresses: [10.40.0.1/24, \"fd40::1\"], mtu: 1280, queues: "
		"1,\n"
		"            offload: false}\n"
		"listen: [\"[::]:29900\", 192.0.2.1:1, \"[fe80::1%3]:2\"]\n"
		"kcp_go: {key: 12:30, crypt: aes-128-gcm, datashard: 0, parityshard: 3, mode: "
		"fast3,\n"
		"         mtu: 1400, sndwnd: 32768, rcvwnd: 1, conv: 0xffffffff,\n"
		"         allow_unauthenticated: true}\n"
		"transport: {queue: 0.5s}\n"
		"session: {dead_after: 1m, keepalive: 20, persistent: false}\n"
		"routes: {table: 4294967295, metric: 0, protocol: 255}\n"
		"control: {group: adm, admin_group: wheel}\n"
		"log: {level: error, format: json}\n"
		"peers:\n"
		"  empty:\n"
		"  a: {endpoints: [vpn.example.net:29900, \"[fe80::1%eth0]:5\"], enabled: false}\n"
		"  b:\n"
		"    allowed_ips: [10.42.3.4/16, 10.42.0.0/16, \"fd42::/48\", 10.42.1.1]\n"
		"    transport: {queue: 20}\n"
		"    session: {dead_after: 3s, keepalive: off, persistent: true}\n");
	char text[IP_PREFIX_TEXT_BYTES];

	cr_assert_str_eq(c->name, "0123");
	cr_assert_str_eq(c->interface.name, "no");
	cr_assert_eq(c->interface.addresses.count, 2u);
	cr_assert_str_eq(ip_prefix_format(&c->interface.addresses.items[0], text), "10.40.0.1/24");
	cr_assert_str_eq(ip_prefix_format(&c->interface.addresses.items[1], text), "fd40::1/128");
	cr_assert_eq(c->interface.mtu_bytes, 1280);
	cr_assert_eq(c->interface.queues, 1);
	cr_assert_eq(c->listen.count, 3u);
	cr_assert_eq(c->listen.items[0].family, 6);
	cr_assert_eq(c->listen.items[0].port, 29900);
	cr_assert_eq(c->listen.items[1].family, 4);
	cr_assert_eq(c->listen.items[1].address[0], 192);
	cr_assert_eq(c->listen.items[2].scope_id, 3u);
	cr_assert_str_eq(c->kcp_go.key, "12:30");
	cr_assert_str_eq(c->kcp_go.crypt, "aes-128-gcm");
	cr_assert_eq(c->kcp_go.mode, CONFIG_KCP_FAST3);
	cr_assert_eq(c->kcp_go.conv, 0xffffffffll);
	cr_assert(c->kcp_go.allow_unauthenticated);
	cr_assert_eq(c->transport.queue_ms, 500);
	cr_assert_eq(c->session.dead_after_ms, 60000);
	cr_assert_eq(c->session.keepalive_ms, 20000);
	cr_assert_eq(c->routes.table, 4294967295ll);
	cr_assert_eq(c->routes.metric, 0);
	cr_assert_eq(c->log.level, LOG_LEVEL_ERROR);
	cr_assert_eq(c->log.format, CONFIG_LOG_JSON);

	cr_assert_eq(c->peer_count, 3u);
	cr_assert_str_eq(c->peers[0].name, "empty");
	cr_assert(c->peers[0].enabled);
	cr_assert_eq(c->peers[0].transport.queue_ms, 500);
	cr_assert(!c->peers[0].session.persistent);
	const struct config_peer *a = config_peer_find(c, "a");
	cr_assert_eq(a, &c->peers[1]);
	cr_assert_eq(config_peer_find(c, "c"), NULL);
	cr_assert(!a->enabled);
	cr_assert_eq(a->endpoints.count, 2u);
	cr_assert_str_eq(a->endpoints.items[0].host, "vpn.example.net");
	cr_assert_eq(a->endpoints.items[0].port, 29900);
	cr_assert_str_eq(a->endpoints.items[1].host, "fe80::1%eth0");
	cr_assert_eq(a->session.dead_after_ms, 60000);
	/* said for the network, so it holds for peers with endpoints, too */
	cr_assert(!a->session.persistent);
	const struct config_peer *b = &c->peers[2];
	cr_assert_eq(b->transport.queue_ms, 20);
	cr_assert_eq(b->session.dead_after_ms, 3000);
	cr_assert_eq(b->session.keepalive_ms, CONFIG_OFF);
	cr_assert_eq(config_keepalive_ms(&b->session, CONFIG_WIRE_KCP_GO), 0);
	cr_assert(b->session.persistent);
	/* masked, each once, in the order of the file; what lies inside another of the same peer stays */
	cr_assert_eq(b->allowed_ips.count, 3u);
	cr_assert_str_eq(ip_prefix_format(&b->allowed_ips.items[0], text), "10.42.0.0/16");
	cr_assert_str_eq(ip_prefix_format(&b->allowed_ips.items[1], text), "fd42::/48");
	cr_assert_str_eq(ip_prefix_format(&b->allowed_ips.items[2], text), "10.42.1.1/32");
	config_free(c);
}

Test(config, persistent_follows_endpoints_unless_said)
{
	struct config *c = parse_good(FIXTURE_HEAD "peers: {a: {endpoints: [a:1]}, b: {}}\n");

	cr_assert(c->peers[0].session.persistent);
	cr_assert(!c->peers[1].session.persistent);
	config_free(c);
	c = parse_good(FIXTURE_HEAD "session: {persistent: true}\npeers: {a: {}}\n");
	cr_assert(c->peers[0].session.persistent);
	config_free(c);
}

/* The table of headers and what is left for a packet, by cipher and FEC. */
Test(config, mss_by_cipher_and_fec)
{
	static const struct {
		const char *crypt;
		int datashard, parityshard, headers;
	} ROWS[] = {
		{"salsa20", 10, 3, 52},
		{"aes", 10, 3, 52},
		{"xor", 10, 3, 52},
		{"none", 10, 3, 52},
		{"salsa20", 0, 3, 44},
		{"salsa20", 10, 0, 44},
		{"aes-128-gcm", 10, 3, 60},
		{"aes-128-gcm", 0, 0, 52},
		{"null", 10, 3, 32},
		{"null", 0, 0, 24},
	};

	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		char text[256];
		snprintf(text, sizeof(text),
			"version: 1\nwire: kcp-go\nkcp_go: {key: a, allow_unauthenticated: true, "
			"crypt: %s, datashard: %d, "
			"parityshard: %d}\n",
			ROWS[i].crypt, ROWS[i].datashard, ROWS[i].parityshard);
		struct config *c = parse_good(text);
		cr_assert_eq(config_kcp_go_mss(&c->kcp_go), 1350 - ROWS[i].headers, "row %zu", i);
		cr_assert_eq(c->interface.mtu_bytes, 1350 - ROWS[i].headers);
		config_free(c);
	}
}

Test(config, name_comes_from_the_file)
{
	static const struct {
		const char *path, *name;
	} ROWS[] = {
		{"/etc/vpnd/office.yaml", "office"},
		{"office", "office"},
		{"a.b.yml", "a.b"},
		{"./x.yaml", "x"},
		{"/a b/.yaml", NULL},
		{"/etc/vpnd/a b.yaml", NULL},
		{"-x.yaml", NULL},
		{"", NULL},
	};
	static struct config_report report;

	for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
		struct config *c = NULL;
		int error = config_parse_text(
			ROWS[i].path, FIXTURE_HEAD, strlen(FIXTURE_HEAD), NULL, &c, &report);
		if (ROWS[i].name) {
			cr_assert_eq(error, 0, "%s", ROWS[i].path);
			cr_assert_str_eq(c->name, ROWS[i].name);
		} else {
			cr_assert_eq(report.errors[0].number, (unsigned)CONFIG_E_NAME);
		}
		config_free(c);
	}
}

Test(config, default_path)
{
	char *path = NULL;

	cr_assert_eq(config_default_path("office", &path), 0);
	cr_assert_str_eq(path, "/etc/vpnd/office.yaml");
	free(path);
	cr_assert_eq(config_default_path("../shadow", &path), -EINVAL);
	cr_assert_eq(config_default_path("", &path), -EINVAL);
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

Test(files, key_file_gives_its_first_line)
{
	static struct config_report report;
	struct memory_file files[] = {
		{.path = "/c/office.yaml",
			.text = "version: 1\nwire: kcp-go\nkcp_go: {allow_unauthenticated: true, "
				"key_file: keys/k}\n"},
		{.path = "/c/keys/k", .text = "it's a secrect\r\nsecond line\n", .mode = 0600},
	};
	struct config *c = NULL;

	cr_assert_eq(load_files(files, COUNT(files), &c, &report), 0, "%s", report.errors[0].text);
	cr_assert_str_eq(c->kcp_go.key, "it's a secrect");
	cr_assert_str_eq(c->kcp_go.key_file, "/c/keys/k");
	cr_assert_eq(report.warning_total, 1u);
	config_free(c);

	files[1].mode = 0644;
	files[1].text = "no line break";
	c = NULL;
	cr_assert_eq(load_files(files, COUNT(files), &c, &report), 0);
	cr_assert_str_eq(c->kcp_go.key, "no line break");
	cr_assert(has(&report, true, CONFIG_W_KEY_READABLE));
	config_free(c);

	static const char *const BAD[] = {"", "\nsecret\n", "\r\n"};
	for (size_t i = 0; i < COUNT(BAD); i++) {
		files[1].text = BAD[i];
		c = NULL;
		cr_assert(load_files(files, COUNT(files), &c, &report) < 0);
		cr_assert_eq(report.errors[0].number, (unsigned)CONFIG_E_SECRET);
		cr_assert_eq(c, NULL);
	}
	char *long_key = calloc(1, CONFIG_SECRET_MAX + 2);
	memset(long_key, 'a', CONFIG_SECRET_MAX + 1);
	files[1].text = long_key;
	cr_assert(load_files(files, COUNT(files), &c, &report) < 0);
	long_key[CONFIG_SECRET_MAX] = '\0';
	cr_assert_eq(load_files(files, COUNT(files), &c, &report), 0);
	config_free(c);
	free(long_key);

	files[1].text = NULL;
	files[1].error = -EACCES;
	c = NULL;
	cr_assert(load_files(files, COUNT(files), &c, &report) < 0);
	cr_assert_eq(report.errors[0].number, (unsigned)CONFIG_E_READ);
	cr_assert_eq(report.read_error, -EACCES);
	cr_assert(strstr(report.errors[0].text, "/c/keys/k"));
}

Test(files, key_files_can_be_left_alone)
{
	static struct config_report report;
	struct memory_file files[] = {
		{.path = "office.yaml",
			.text = "version: 1\nwire: kcp-go\nkcp_go: {allow_unauthenticated: true, "
				"key_file: k}\n"},
	};
	struct memory_files memory = {.files = files, .count = 1};
	struct config_reader reader = {.ctx = &memory,
		.read_file = memory_read,
		.list_files = memory_glob,
		.skip_secrets = true};
	struct config *c = NULL;

	cr_assert_eq(config_load("office.yaml", &reader, &c, &report), 0);
	cr_assert_eq(c->kcp_go.key, NULL);
	cr_assert_str_eq(c->kcp_go.key_file, "k");
	config_free(c);
}

Test(files, inline_key_that_others_can_read)
{
	static struct config_report report;
	struct memory_file files[] = {{.path = "office.yaml", .text = FIXTURE_HEAD, .mode = 0640}};
	struct config *c = NULL;

	cr_assert_eq(load_files(files, 1, &c, &report), 0);
	cr_assert(!has(&report, true, CONFIG_W_KEY_READABLE));
	config_free(c);
	files[0].mode = 0646;
	cr_assert_eq(load_files(files, 1, &c, &report), 0);
	cr_assert(has(&report, true, CONFIG_W_KEY_READABLE));
	cr_assert(has(&report, true, CONFIG_W_FILE_WRITABLE));
	config_free(c);
}

Test(files, includes_are_merged)
{
	static struct config_report report;
	static const struct memory_file FILES[] = {
		{.path = "/c/office.yaml", .text = "version: 1\nwire: kcp-go\npeers: {a: {}}\n"},
		{.path = "/c/peers.d/b.yaml", .text = "peers: {b: {allowed_ips: [10.0.0.1]}}\n"},
		{.path = "/c/peers.d/c.yaml",
			.text = "version: 1\nkcp_go: {allow_unauthenticated: true, key_file: "
				"k}\nx-a: 1\npeers:\n"},
		{.path = "/c/peers.d/empty.yaml", .text = "# nothing\n"},
		{.path = "/c/peers.d/k", .text = "from there\n", .mode = 0600},
		{.path = "/c/peers.d/d.txt", .text = "{{{"},
	};
	struct config *c = NULL;

	cr_assert_eq(load_files(FILES, COUNT(FILES), &c, &report), 0, "%s", report.errors[0].text);
	cr_assert_eq(c->peer_count, 2u);
	cr_assert_str_eq(c->peers[1].name, "b");
	/* relative to the file in which it stands */
	cr_assert_str_eq(c->kcp_go.key_file, "/c/peers.d/k");
	cr_assert_str_eq(c->kcp_go.key, "from there");
	config_free(c);
}

Test(files, mistakes_of_includes_name_their_file)
{
	static struct config_report report;
	static const struct memory_file FILES[] = {
		{.path = "/c/office.yaml",
			.text = FIXTURE_HEAD "include: [one.yaml, none.yaml, \"*.yaml\"]\n"
					     "peers: {a: {allowed_ips: [10.0.0.0/8]}}\n"},
		{.path = "/c/one.yaml",
			.text = "wire: kcp-go\ninclude: [x]\nversion: 2\n"
				"peers:\n  a: {}\n  b: {allowed_ips: [10.1.1.1]}\n"},
		{.path = "/c/two.yaml", .error = -EACCES},
	};
	struct config *c = NULL;
	char *text = NULL;

	cr_assert(load_files(FILES, COUNT(FILES), &c, &report) < 0);
	cr_assert_eq(config_report_format(&report, "vpnd", &text), 0);
	cr_assert(strstr(text, "E-CFG-1 /c/office.yaml:4:21: include: none.yaml cannot be read"),
		"%s", text);
	cr_assert(
		strstr(text, "E-CFG-1 /c/office.yaml:4:32: the included file /c/two.yaml cannot be "
			     "read: Permission denied"));
	cr_assert(strstr(text, "E-CFG-4 /c/one.yaml:1:1: wire is given twice; the first is at "
			       "/c/office.yaml:2"));
	cr_assert(strstr(text, "E-CFG-7 /c/one.yaml:2:1: include has no place"));
	cr_assert(strstr(text, "E-CFG-12 /c/one.yaml:3:10: version: 2"));
	cr_assert(strstr(text, "E-CFG-4 /c/one.yaml:5:3: peers.a is given twice; the first is at "
			       "/c/office.yaml:5"));
	cr_assert(
		strstr(text, "E-CFG-16 /c/one.yaml:6:21: peers.b.allowed_ips: 10.1.1.1/32 overlaps "
			     "10.0.0.0/8 of peers.a at /c/office.yaml:5"));
	cr_assert_eq(report.read_error, -ENOENT);
	free(text);
}

Test(files, an_unreadable_file)
{
	static struct config_report report;
	struct config *c = NULL;
	char *text = NULL;

	cr_assert(config_load("/nonexistent/office.yaml", NULL, &c, &report) < 0);
	cr_assert_eq(report.read_error, -ENOENT);
	cr_assert_eq(config_report_format(&report, "kcpctl", &text), 0);
	cr_assert_str_eq(text,
		"kcpctl: E-CFG-1 /nonexistent/office.yaml: cannot be read: No such file "
		"or directory\n");
	free(text);
	cr_assert(config_load("/", NULL, &c, &report) < 0);
	cr_assert_eq(report.read_error, -EISDIR);
	cr_assert(config_load("/dev/zero", NULL, &c, &report) < 0);
	cr_assert_eq(report.read_error, -EINVAL);
}

static void write_file(const char *folder, const char *name, const char *text, unsigned mode)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *out = fopen(path, "w");
	cr_assert(out);
	fputs(text, out);
	fclose(out);
	chmod(path, mode);
}

/* The real file system; the folder's name must not act as a pattern. */
Test(files, on_disk)
{
	static struct config_report report;
	char folder[] = "/tmp/config-[x]-XXXXXX";
	char path[600];
	struct config *c = NULL;

	cr_assert(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/peers.d", folder);
	write_file(folder, "office.yaml",
		"version: 1\nwire: kcp-go\nkcp_go: {allow_unauthenticated: true, key_file: k}\n",
		0644);
	write_file(folder, "k", "secret\n", 0644);
	snprintf(path, sizeof(path), "%s/office.yaml", folder);
	cr_assert_eq(config_load(path, NULL, &c, &report), 0, "%s", report.errors[0].text);
	cr_assert_eq(c->peer_count, 0u);
	cr_assert(has(&report, true, CONFIG_W_KEY_READABLE));
	config_free(c);

	snprintf(path, sizeof(path), "%s/peers.d", folder);
	cr_assert_eq(mkdir(path, 0700), 0);
	write_file(path, "b.yaml", "peers: {b: {}}\n", 0600);
	write_file(path, "a.yaml", "peers: {a: {}}\n", 0600);
	snprintf(path, sizeof(path), "%s/office.yaml", folder);
	c = NULL;
	cr_assert_eq(config_load(path, NULL, &c, &report), 0, "%s", report.errors[0].text);
	cr_assert_eq(c->peer_count, 2u);
	cr_assert_str_eq(c->peers[0].name, "a");
	config_free(c);
	c = NULL;
	cr_assert_eq(config_load(path, config_reader_no_secrets(), &c, &report), 0);
	cr_assert_eq(c->kcp_go.key, NULL);
	config_free(c);

	snprintf(path, sizeof(path), "rm -r '%s'", folder);
	cr_assert_eq(system(path), 0);
}

/* ---- hostile texts -------------------------------------------------------------------------------------------- */

/* True if the text is refused, among other things for this. */
static bool refused_for(unsigned number, const char *text, size_t len)
{
	static struct config_report report;
	struct config *c = NULL;

	cr_assert(config_parse_text("office.yaml", text, len, NULL, &c, &report) < 0);
	cr_assert_eq(c, NULL);
	return has(&report, false, number);
}

Test(hostile, deep_and_wide)
{
	size_t len = 1 << 20;
	char *text = malloc(len);

	for (size_t i = 0; i < len; i++)
		text[i] = '[';
	cr_assert(refused_for(CONFIG_E_LIMIT, text, len));
	for (size_t i = 0; i < len; i++)
		text[i] = "{a: "[i % 4];
	cr_assert(refused_for(CONFIG_E_LIMIT, text, len));
	for (size_t i = 0; i < len; i++)
		text[i] = "- "[i % 2];
	cr_assert(refused_for(CONFIG_E_LIMIT, text, len));
	memset(text, ' ', len);
	cr_assert(refused_for(CONFIG_E_MISSING, text, len));
	memset(text, 'a', len);
	cr_assert(refused_for(CONFIG_E_TYPE, text, len));
	/* a map with as many keys, all the same: each is a duplicate */
	for (size_t i = 0; i < len; i++)
		text[i] = "a: \n"[i % 4];
	cr_assert(refused_for(CONFIG_E_UNKNOWN_KEY, text, len));
	free(text);
}

Test(hostile, too_large)
{
	size_t len = (size_t)CONFIG_FILE_MAX_BYTES + 1;
	char *text = calloc(1, len);

	cr_assert(refused_for(CONFIG_E_LIMIT, text, len));
	free(text);
}

/* Aliases that would double with each line: refused, and not expanded. */
Test(hostile, billion_laughs)
{
	char text[4096] = "x-a0: &a0 [lol, lol]\n";
	static struct config_report report;

	for (int i = 1; i < 30; i++) {
		size_t len = strlen(text);
		snprintf(text + len, sizeof(text) - len, "x-a%d: &a%d [*a%d, *a%d]\n", i, i, i - 1,
			i - 1);
	}
	cr_assert_eq(parse_bad(text, &report), (unsigned)CONFIG_E_ALIAS);
	cr_assert(report.error_total >= 58);
	cr_assert_eq(report.error_count, (size_t)CONFIG_REPORT_ERRORS);
}

/* A good file cut at every byte, and with every byte changed: an answer, never a crash. */
Test(hostile, cut_and_changed)
{
	static struct config_report report;
	size_t len = 0;
	char *text = slurp("configs/gateway.yaml", &len);

	for (size_t cut = 0; cut < len; cut++) {
		struct config *c = NULL;
		char *shown = NULL;
		(void)config_parse_text("office.yaml", text, cut, NULL, &c, &report);
		cr_assert_eq(config_report_format(&report, "vpnd", &shown), 0);
		free(shown);
		config_free(c);
	}
	for (size_t at = 0; at < len; at++) {
		static const char WITH[] = {'\0', ':', '\n', '\t', '"', '*', (char)0xff, '{', ' '};
		struct config *c = NULL;
		char kept = text[at];
		text[at] = WITH[at % sizeof(WITH)];
		(void)config_parse_text("office.yaml", text, len, NULL, &c, &report);
		config_free(c);
		text[at] = kept;
	}
	free(text);
}

/* Wherever a mistake stands beside a key: the key is not in the message. */
Test(hostile, keys_stay_out_of_messages)
{
	static const char *const TEXTS[] = {
		"version: 1\nkcp_go: {key: hunter2, mode: x}\n",
		"version: 1\nkcp_go: {mode: x, key: 'hunter2'}\n",
		"version: 1\nkcp_go: {mode: x, key: [hunter2, \"hunter2\"]}\n",
		"version: 1\nkcp_go: {mode: x, key: {hunter2: hunter2}}\n",
		"version: 1\nkcp_go: {mode: x, key: *hunter2}\n",
		"version: 1\nkcp_go: {key: !hunter2 hunter2}\n",
		"version: 1\nkcp_go: {key: hunter2, key: hunter2, mode: x}\n",
		"version: 1\nkcp_go:\n  key: |\n    hunter2\n  mode: x\n bad\n",
		"version: 1\nkcp_go: {key: \"hunter2\\q\"}\n",
		"version: 1\nkcp_go: {key: \"hunter2\n  hunter2\" hunter2, }, }\n",
		"version: 1\nkcp_go: {key: \"a\\0hunter2\"}\n",
		"version: 1\nkcp_go: {\"key\": hunter2, mode: ]\n",
		"version: 1\nkcp_go:\n\tkey: hunter2\n",
		"version: 1\nkcp_go: {key : hunter2 ]\n",
		"version: 1\nidentity: {private_key: hunter2, name: '!'}\n",
		"version: 1\npassword: hunter2\nlisten: [password: hunter2]\n",
		"version: 1\npeers: {a: {preshared_key: hunter2, enabled: x}}\n",
		"version: 1\nkcp_go: {key: hunter2\x01}\n",
		"version: 1\nkcp_go: {mode: x, ? key : hunter2}\n",
	};
	static struct config_report report;

	for (size_t i = 0; i < COUNT(TEXTS); i++) {
		char *text = NULL;
		(void)parse_bad(TEXTS[i], &report);
		cr_assert_eq(config_report_format(&report, "vpnd", &text), 0);
		cr_assert_eq(strstr(text, "hunter2"), NULL, "%zu:\n%s", i, text);
		free(text);
	}
}

/* ---- overlaps against a naive search -------------------------------------------------------------------------- */

Test(overlap, agrees_with_comparing_all)
{
	static struct config_report report;
	unsigned seed = 7;

	for (int round = 0; round < 300; round++) {
		enum { PEERS = 6, EACH = 3 };
		struct ip_prefix all[PEERS * EACH];
		char text[2048];
		bool overlap = false;
		size_t len = (size_t)snprintf(text, sizeof(text), "%speers:\n", FIXTURE_HEAD);
		for (int p = 0; p < PEERS; p++) {
			len += (size_t)snprintf(
				text + len, sizeof(text) - len, "  p%d: {allowed_ips: [", p);
			for (int i = 0; i < EACH; i++) {
				char one[64];
				bool v6 = rand_r(&seed) % 3 == 0;
				int bits = v6 ? 16 + rand_r(&seed) % 49 : 4 + rand_r(&seed) % 29;
				if (v6)
					snprintf(one, sizeof(one), "fd%02x:%x::/%d",
						rand_r(&seed) % 16, rand_r(&seed) % 16, bits);
				else
					snprintf(one, sizeof(one), "%d.%d.0.0/%d",
						rand_r(&seed) % 128, rand_r(&seed) % 4 * 64, bits);
				len += (size_t)snprintf(
					text + len, sizeof(text) - len, "\"%s\",", one);
				cr_assert_eq(ip_prefix_parse(one, &all[p * EACH + i]), 0);
			}
			len += (size_t)snprintf(text + len, sizeof(text) - len, "]}\n");
		}
		for (int a = 0; a < PEERS * EACH; a++) {
			for (int b = 0; b < PEERS * EACH; b++) {
				if (a / EACH != b / EACH)
					overlap |= ip_prefix_contains(&all[a], &all[b]);
			}
		}
		struct config *c = NULL;
		int error = config_parse_text("o.yaml", text, len, NULL, &c, &report);
		cr_assert_eq(error != 0, overlap, "%s", text);
		cr_assert_eq(has(&report, false, CONFIG_E_OVERLAP), overlap);
		config_free(c);
	}
}

Test(overlap, of_thousands_of_peers)
{
	enum { PEERS = 20000 };
	size_t capacity = PEERS * 64;
	char *text = malloc(capacity);
	size_t len = (size_t)snprintf(text, capacity, "%speers:\n", FIXTURE_HEAD);
	static struct config_report report;
	struct config *c = NULL;

	for (unsigned i = 0; i < PEERS; i++)
		len += (size_t)snprintf(text + len, capacity - len,
			" p%u: {allowed_ips: [10.%u.%u.%u]}\n", i, i >> 14 & 0xff, i >> 6 & 0xff,
			(i & 63) * 4);
	cr_assert_eq(config_parse_text("o.yaml", text, len, NULL, &c, &report), 0);
	cr_assert_eq(c->peer_count, (size_t)PEERS);
	config_free(c);
	free(text);
}
