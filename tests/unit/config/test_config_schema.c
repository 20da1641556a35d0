/* The schema as a whole: complete rows, defaults that pass their own checks, nearest keys, codes. */
#include "config_fixture.h"

#include "config/config_loader.h"
#include "config/config_value.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

Test(schema, rows_are_whole)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);

	cr_assert(count > 60 && count <= LOADER_ROWS_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct config_row *row = &rows[i];
		cr_assert(row->help && row->help[0], "%s has no help", row->key);
		cr_assert_eq(config_schema_find(row->key), row, "%s is there twice", row->key);
		cr_assert(row->effects || (row->flags & CONFIG_ROW_PEER), "%s", row->key);
		cr_assert(config_type_str(row->type)[0]);
		if (row->type == CONFIG_TYPE_ENUM || row->type == CONFIG_TYPE_WORD)
			cr_assert(row->words);
		/* the default is a good value of its own key */
		union value_scratch value = {0};
		cr_assert_eq(value_set_default(row, &value), 0, "%s", row->key);
		value_clear(row, &value);
	}
}

/* Every key of the documentation is known, with its default. */
Test(schema, knows_every_documented_key)
{
	static const struct {
		const char *key, *def;
	} KEYS[] = {
		{"version", NULL},
		{"include", "peers.d/*.yaml"},
		{"identity.name", NULL},
		{"identity.network_key_file", NULL},
		{"identity.private_key_file", NULL},
		{"interface.name", "kcp0"},
		{"interface.addresses", NULL},
		{"interface.mtu", "auto"},
		{"interface.queues", "auto"},
		{"interface.offload", "true"},
		{"interface.netns", NULL},
		{"listen", NULL},
		{"fwmark", "auto"},
		{"wire", "native"},
		{"kcp_go.key", NULL},
		{"kcp_go.key_file", NULL},
		{"kcp_go.crypt", "salsa20"},
		{"kcp_go.datashard", "10"},
		{"kcp_go.parityshard", "3"},
		{"kcp_go.mode", "fast"},
		{"kcp_go.mtu", "1350"},
		{"kcp_go.sndwnd", "1024"},
		{"kcp_go.rcvwnd", "1024"},
		{"kcp_go.conv", "random"},
		{"kcp_go.allow_unauthenticated", "false"},
		{"transport.class", "auto"},
		{"transport.queue", "300ms"},
		{"transport.congestion", "auto"},
		{"transport.rate_max", "0"},
		{"transport.deadline", "auto"},
		{"transport.padding", "none"},
		{"transport.dscp", "0"},
		{"transport.ecn", "true"},
		{"fec.mode", "adaptive"},
		{"fec.data", "10"},
		{"fec.parity", "3"},
		{"fec.max_overhead", "30"},
		{"fec.group_timeout", "2ms"},
		{"session.keepalive", "auto"},
		{"session.dead_after", "15s"},
		{"session.roaming", "true"},
		{"session.persistent", "true"},
		{"routes.table", "auto"},
		{"routes.metric", "50"},
		{"routes.protocol", "201"},
		{"routes.selection", "allowed_ips"},
		{"routes.ingress_filter", "strict"},
		{"routes.on_clash", "refuse"},
		{"full_tunnel.mode", "off"},
		{"full_tunnel.exempt", "lan"},
		{"dns.servers", NULL},
		{"dns.search", NULL},
		{"hooks.pre_up", NULL},
		{"hooks.up", NULL},
		{"hooks.down", NULL},
		{"hooks.peer_up", NULL},
		{"hooks.peer_down", NULL},
		{"control.group", "vpnd"},
		{"control.admin_group", "vpnd-admin"},
		{"log.level", "info"},
		{"log.format", "text"},
		{"peers.NAME.public_key", NULL},
		{"peers.NAME.preshared_key_file", NULL},
		{"peers.NAME.endpoints", NULL},
		{"peers.NAME.allowed_ips", NULL},
		{"peers.NAME.enabled", "true"},
	};
	size_t count = 0;

	(void)config_schema_rows(&count);
	cr_assert_eq(count, COUNT(KEYS));
	for (size_t i = 0; i < COUNT(KEYS); i++) {
		const struct config_row *row = config_schema_find(KEYS[i].key);
		cr_assert(row, "%s", KEYS[i].key);
		cr_assert_eq(row->def == NULL, KEYS[i].def == NULL, "%s", KEYS[i].key);
		if (row->def)
			cr_assert_str_eq(row->def, KEYS[i].def, "%s", KEYS[i].key);
	}
	/* peers take the same keys */
	cr_assert_eq(config_schema_find("peers.NAME.fec.mode"), config_schema_find("fec.mode"));
	cr_assert_eq(config_schema_find("peers.NAME.transport.queue"),
		config_schema_find("transport.queue"));
	cr_assert_eq(config_schema_find("peers.NAME.session.roaming"),
		config_schema_find("session.roaming"));
	cr_assert_eq(config_schema_find("peers.NAME.routes.metric"), NULL);
	cr_assert_eq(config_schema_find("peers.branch.endpoints"), NULL);
	cr_assert(config_schema_is_section("peers"));
	cr_assert(config_schema_is_section("peers.NAME"));
	cr_assert(config_schema_is_section("peers.NAME.fec"));
	cr_assert(!config_schema_is_section("peers.NAME.routes"));
	cr_assert(!config_schema_is_section("interf"));
	cr_assert(!config_schema_is_section("listen"));
}

Test(schema, nearest_key)
{
	static const struct {
		const char *section, *key, *want;
	} ROWS[] = {
		{"interface", "adresses", "addresses"},
		{"interface", "adress", "addresses"},
		{"interface", "nmae", "name"},
		{"interface", "xyz", NULL},
		{"interface", "", NULL},
		{"", "intrface", "interface"},
		{"", "peer", "peers"},
		{"", "mtu", "interface.mtu"},
		{"", "endpoints", "peers.NAME.endpoints"},
		{"identity", "private_key", "private_key_file"},
		{"peers.NAME", "endpoint", "endpoints"},
		{"peers.NAME", "sesion", "session"},
		{"peers.NAME", "dead_after", "session.dead_after"},
		{"peers.NAME", "metric", NULL},
		{"peers.NAME.transport", "que", "queue"},
		{"kcp_go", "snd_wnd", "sndwnd"},
		{"kcp_go",
			"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			"aaa",
			NULL},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		char buffer[64];
		const char *got =
			config_schema_nearest(ROWS[i].section, ROWS[i].key, buffer, sizeof(buffer));
		cr_assert_eq(
			got == NULL, ROWS[i].want == NULL, "%s: %s", ROWS[i].key, got ? got : "");
		if (got)
			cr_assert_str_eq(got, ROWS[i].want, "%s", ROWS[i].key);
	}
}

Test(schema, words)
{
	char buffer[32];

	cr_assert_eq(config_words_index("a bc d", "bc"), 1);
	cr_assert_eq(config_words_index("a bc d", "b"), -1);
	cr_assert_eq(config_words_index("a bc d", ""), -1);
	cr_assert_eq(config_words_index("a bc d", "a bc"), -1);
	cr_assert_eq(config_words_index(NULL, "a"), -1);
	cr_assert_str_eq(config_words_at("a bc d", 2, buffer, sizeof(buffer)), "d");
	cr_assert_eq(config_words_at("a bc d", 3, buffer, sizeof(buffer)), NULL);
	cr_assert_eq(config_words_at("a bc d", -1, buffer, sizeof(buffer)), NULL);
	cr_assert_str_eq(
		config_words_nearest("salsa20 aes", "salsa02", buffer, sizeof(buffer)), "salsa20");
	cr_assert_eq(config_words_nearest("salsa20 aes", "rot13", buffer, sizeof(buffer)), NULL);
}

Test(schema, codes_have_help)
{
	size_t count = 0;
	const struct config_code_row *rows = config_report_codes(&count);
	struct config_finding finding = {0};
	char text[16];

	cr_assert_eq(count, (size_t)(CONFIG_E_END - 1 + CONFIG_W_END - 1));
	for (size_t i = 0; i < count; i++) {
		finding.warning = i >= CONFIG_E_END - 1;
		finding.number = (unsigned)(finding.warning ? i + 2 - CONFIG_E_END : i + 1);
		cr_assert_str_eq(rows[i].code, config_finding_code(&finding, text));
		cr_assert(strlen(rows[i].help) > 20);
	}
	/* these numbers are promised */
	cr_assert_eq(CONFIG_E_UNKNOWN_KEY, 3);
	cr_assert_eq(CONFIG_E_DUPLICATE, 4);
	cr_assert_eq(CONFIG_E_RANGE, 12);
}
