/*
 * Messages, byte for byte: golden/NAME.yaml must give golden/NAME.err. And the examples that are
 * installed must load.
 */
#include "config_fixture.h"

#include <glob.h>

static glob_t find(const char *pattern)
{
	glob_t found = {0};

	cr_assert_eq(glob(pattern, 0, NULL, &found), 0, "%s", pattern);
	return found;
}

Test(golden, messages_are_byte_for_byte)
{
	static struct config_report report;
	glob_t found = find(TESTS_DIR "/unit/config/golden/*.yaml");

	cr_assert(found.gl_pathc >= 50, "%zu files", found.gl_pathc);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *path = found.gl_pathv[i];
		char expected_path[512];
		size_t len = 0;
		size_t expected_len = 0;
		char *text = slurp(path, &len);
		char *got = NULL;
		struct config *config = NULL;

		snprintf(expected_path, sizeof(expected_path), "%.*serr", (int)strlen(path) - 4,
			path);
		char *expected = slurp(expected_path, &expected_len);
		int error = config_parse_text(
			strrchr(path, '/') + 1, text, len, NULL, &config, &report);
		cr_assert_eq(error == 0, report.error_total == 0, "%s", path);
		cr_assert_eq(config != NULL, error == 0, "%s", path);
		cr_assert_eq(config_report_format(&report, "vpnd", &got), 0);
		cr_assert_str_eq(
			got, expected, "%s gives\n%s\ninstead of\n%s", path, got, expected);
		/* no file here holds its key in a message */
		cr_assert_eq(strstr(got, "never"), NULL, "%s", path);
		config_free(config);
		free(text);
		free(expected);
		free(got);
	}
	globfree(&found);
}

/* The form that the documentation promises, not as a file that could be regenerated with a mistake in it. */
Test(golden, the_documented_form)
{
	static struct config_report report;
	size_t len = 0;
	char *text = slurp(TESTS_DIR "/unit/config/golden/office.yaml", &len);
	char *got = NULL;
	struct config *config = NULL;

	cr_assert(config_parse_text("office.yaml", text, len, NULL, &config, &report) < 0);
	cr_assert_eq(config_report_format(&report, "vpnd", &got), 0);
	cr_assert(strstr(got,
		"vpnd: E-CFG-12 office.yaml:17:15: peers.branch-2.fec.parity: 40 is out of range "
		"0..32\n"
		"   17 |       parity: 40\n"
		"      |               ^~ at most 32\n"));
	cr_assert(
		strstr(got, "vpnd: E-CFG-3 office.yaml:9:3: unknown key \"adresses\" in interface; "
			    "did you mean \"addresses\"?\n"));
	cr_assert(strstr(got, "vpnd: E-CFG-4 office.yaml:21:3: peers.branch-2 is given twice; the "
			      "first is at line 14\n"));
	free(text);
	free(got);
}

#define EXAMPLE_KEY "YH8qIHr1r4BDHb6iZQuNTHXZ+HGtzXWqvCIx8yx4xkQ="

static int read_example(void *ctx, const char *path, size_t max, unsigned flags, char **ret_data,
	size_t *ret_len, struct config_file_stat *ret_stat)
{
	const char *dot = strrchr(path, '.');

	(void)ctx;
	(void)max;
	*ret_stat = (struct config_file_stat){.regular = true, .mode = 0600};
	if (dot && (strcmp(dot, ".key") == 0 || strcmp(dot, ".psk") == 0)) {
		*ret_data = strdup(flags & CONFIG_READ_REGULAR ? EXAMPLE_KEY "\n" : "password\n");
		*ret_len = strlen(*ret_data);
	} else {
		*ret_data = slurp(path, ret_len);
	}
	return 0;
}

Test(golden, examples_load)
{
	static struct config_report report;
	struct config_reader reader = *config_reader_default();
	glob_t found = find("configs/*.yaml");

	reader.read_file = read_example;
	cr_assert_eq(found.gl_pathc, 5u);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct config *config = NULL;
		int error = config_load(found.gl_pathv[i], &reader, &config, &report);
		cr_assert_eq(error, 0, "%s: %s", found.gl_pathv[i], report.errors[0].text);
		bool native = config->wire == CONFIG_WIRE_NATIVE;
		cr_assert_eq(native, strstr(found.gl_pathv[i], "kcp-go") == NULL);
		if (native)
			cr_assert(config->identity.private_key);
		else
			cr_assert_str_eq(config->kcp_go.key, "password");
		/* the one standing warning of the kcp-go wire and nothing else */
		cr_assert_eq(report.warning_total, native ? 0u : 1u, "%s: %s", found.gl_pathv[i],
			report.warnings[native ? 0 : 1].text);
		if (!native)
			cr_assert_eq(report.warnings[0].number, (unsigned)CONFIG_W_UNAUTHENTICATED);
		cr_assert_eq(config->interface.mtu_bytes, native ? 1400 : 1298);
		cr_assert(config->peer_count > 0);
		config_free(config);
	}
	globfree(&found);
}

/* Both ends of the two-site example fit each other. */
Test(golden, two_sites_match)
{
	static struct config_report report;
	struct config_reader reader = *config_reader_default();
	struct config *a = NULL;
	struct config *b = NULL;

	reader.read_file = read_example;
	cr_assert_eq(config_load("configs/site-a.yaml", &reader, &a, &report), 0);
	cr_assert_eq(config_load("configs/site-b.yaml", &reader, &b, &report), 0);
	cr_assert_eq(a->wire, CONFIG_WIRE_NATIVE);
	cr_assert_eq(b->wire, CONFIG_WIRE_NATIVE);
	cr_assert_str_neq(a->peers[0].public_key_text, b->peers[0].public_key_text);
	cr_assert_eq(a->listen.items[0].port, b->peers[0].endpoints.items[0].port);
	cr_assert_eq(b->listen.items[0].port, a->peers[0].endpoints.items[0].port);
	for (int side = 0; side < 2; side++) {
		const struct config *here = side ? b : a;
		const struct config *there = side ? a : b;
		for (size_t i = 0; i < there->interface.addresses.count; i++) {
			struct ip_prefix host = there->interface.addresses.items[i];
			bool reachable = false;
			host.length = host.family == 4 ? 32 : 128;
			for (size_t k = 0; k < here->peers[0].allowed_ips.count; k++)
				reachable |= ip_prefix_contains(
					&here->peers[0].allowed_ips.items[k], &host);
			cr_assert(reachable, "side %d", side);
		}
	}
	config_free(a);
	config_free(b);
}

/* So do the gateway and the laptop that sends everything through it. */
Test(golden, laptop_fits_the_gateway)
{
	static struct config_report report;
	struct config_reader reader = *config_reader_default();
	struct config *gateway = NULL, *laptop = NULL;

	reader.read_file = read_example;
	cr_assert_eq(config_load("configs/gateway.yaml", &reader, &gateway, &report), 0);
	cr_assert_eq(config_load("configs/laptop.yaml", &reader, &laptop, &report), 0);
	const struct config_peer *there = config_peer_find(gateway, "lap-mia");
	const struct config_peer *here = &laptop->peers[0];
	cr_assert(there);
	cr_assert(gateway->identity.network_key && laptop->identity.network_key);
	cr_assert_eq(laptop->full_tunnel.mode, CONFIG_FULL_TUNNEL_KILL_SWITCH);
	cr_assert_eq(here->allowed_ips.count, 2u);
	for (size_t i = 0; i < here->allowed_ips.count; i++)
		cr_assert_eq(here->allowed_ips.items[i].length, 0);
	for (size_t i = 0; i < laptop->interface.addresses.count; i++) {
		struct ip_prefix host = laptop->interface.addresses.items[i];
		bool taken = false;
		host.length = host.family == 4 ? 32 : 128;
		for (size_t k = 0; k < there->allowed_ips.count; k++)
			taken |= ip_prefix_contains(&there->allowed_ips.items[k], &host);
		cr_assert(taken);
	}
	for (size_t i = 0; i < here->endpoints.count; i++) {
		bool listens = false;
		for (size_t k = 0; k < gateway->listen.count; k++)
			listens |= gateway->listen.items[k].port == here->endpoints.items[i].port;
		cr_assert(listens, "port %u", (unsigned)here->endpoints.items[i].port);
	}
	config_free(gateway);
	config_free(laptop);
}
