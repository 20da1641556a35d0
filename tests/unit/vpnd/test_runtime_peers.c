/* Peers over the files: what the configuration is with them, and that texts cannot become more than texts. */
#include "vpnd/runtime_peers.h"

#include "control/control_msg.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FILES[] =
	"version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n"
	"peers: {a: {allowed_ips: [10.1.0.0/16]}, b: {allowed_ips: [10.2.0.0/16]}}\n";

static struct control_request request_of(const char *name, const char *endpoint, const char *ips)
{
	struct control_request r = {.method = CONTROL_PEER_ADD};

	cr_assert_eq(control_strings_add(&r.peers, name), 0);
	if (endpoint)
		cr_assert_eq(control_strings_add(&r.endpoints, endpoint), 0);
	if (ips)
		cr_assert_eq(control_strings_add(&r.allowed_ips, ips), 0);
	return r;
}

static void add(
	struct runtime_peers *peers, const char *name, const char *endpoint, const char *ips)
{
	struct control_request r = request_of(name, endpoint, ips);

	cr_assert_eq(runtime_peers_add(peers, &r), 0);
	control_request_fini(&r);
}

static int read_none(void *ctx, const char *path, size_t max, unsigned flags, char **data,
	size_t *len, struct config_file_stat *st)
{
	return -ENOENT;
}

static int list_none(void *ctx, const char *pattern, char ***paths, size_t *count)
{
	*paths = NULL;
	*count = 0;
	return 0;
}

/* @return NULL if it is refused; the first error in `report` */
static struct config *config_with(const struct runtime_peers *peers, struct config_report *report)
{
	struct config_overlay overlay;
	struct config_reader reader = {
		.read_file = read_none, .list_files = list_none, .overlay = &overlay};
	struct config *config = NULL;
	char *text = NULL;

	cr_assert_eq(runtime_peers_overlay(peers, &text, &overlay), 0);
	(void)config_parse_text("t.yaml", FILES, strlen(FILES), &reader, &config, report);
	free(text);
	return config;
}

static struct config *good(const struct runtime_peers *peers)
{
	static struct config_report report;
	struct config *config = config_with(peers, &report);

	cr_assert(config, "%s", report.errors[0].text);
	return config;
}

Test(runtime_peers, come_behind_those_of_the_files_and_go)
{
	struct runtime_peers peers = {0};
	struct config *config;

	add(&peers, "c", "c.example.net:1", "10.3.0.0/16");
	config = good(&peers);
	cr_assert_eq(config->peer_count, 3);
	cr_assert_str_eq(config->peers[2].name, "c");
	cr_assert(config->peers[2].runtime);
	cr_assert_not(config->peers[0].runtime);
	cr_assert_eq(config->peers[2].endpoints.count, 1);
	config_free(config);
	cr_assert_eq(runtime_peers_remove(&peers, "a"), 0);
	cr_assert_eq(runtime_peers_remove(&peers, "c"), 0);
	config = good(&peers);
	cr_assert_eq(config->peer_count, 1);
	cr_assert_str_eq(config->peers[0].name, "b");
	config_free(config);
	runtime_peers_restore(&peers);
	config = good(&peers);
	cr_assert_eq(config->peer_count, 2, "a is back, c is not");
	config_free(config);
	runtime_peers_fini(&peers);
}

Test(runtime_peers, files_win_and_take_over)
{
	struct runtime_peers peers = {0};
	struct config *config;

	add(&peers, "a", NULL, "10.9.0.0/16");
	add(&peers, "c", NULL, "10.3.0.0/16");
	config = good(&peers);
	cr_assert_eq(config->peer_count, 3);
	cr_assert_not(config->peers[0].runtime);
	runtime_peers_leave_to_files(&peers, config);
	cr_assert_eq(peers.count, 1);
	cr_assert_str_eq(peers.added[0].name, "c");
	config_free(config);
	runtime_peers_fini(&peers);
}

Test(runtime_peers, one_of_the_files_can_be_replaced)
{
	struct runtime_peers peers = {0};
	static struct config_report report;

	add(&peers, "c", NULL, "10.1.2.0/24");
	cr_assert_eq(config_with(&peers, &report), NULL, "overlaps with a");
	cr_assert_eq(report.errors[0].number, CONFIG_E_OVERLAP);
	cr_assert(strstr(report.errors[0].file, "run time") ||
		  strstr(report.errors[0].text, "run time"));
	cr_assert_eq(runtime_peers_remove(&peers, "a"), 0);
	config_free(good(&peers));
	runtime_peers_fini(&peers);
}

Test(runtime_peers, texts_stay_texts)
{
	static const char *const hostile[] = {"x:1]\n    enabled: false #",
		"x:1\"], enabled: false", "x:1, y:2", "*a", "!!x", "&a x:1",
		"x:1\n  evil:\n    allowed_ips: [0.0.0.0/0]", "{x: 1}", "\x01:1", "x:1\\", "'",
		"\"", "%", "@x:1", "- x:1", NULL};
	static struct config_report report;

	for (const char *const *text = hostile; *text; text++) {
		struct runtime_peers peers = {0};
		add(&peers, "c", *text, NULL);
		struct config *config = config_with(&peers, &report);
		if (config) { /* whatever a host may be called */
			cr_assert_eq(config->peer_count, 3, "%s", *text);
			cr_assert(config->peers[2].enabled);
			cr_assert_eq(config->peers[2].endpoints.count, 1);
			cr_assert_eq(config->peers[2].allowed_ips.count, 0);
		} else {
			cr_assert_eq(report.errors[0].number, CONFIG_E_ENDPOINT, "%s: %s", *text,
				report.errors[0].text);
		}
		config_free(config);
		runtime_peers_fini(&peers);
	}
}

Test(runtime_peers, same_is_judged_by_meaning)
{
	struct runtime_peers peers = {0};
	struct control_request r = request_of("c", "[2001:db8::1]:5", "10.3.9.9/16");

	cr_assert_eq(runtime_peers_add(&peers, &r), 0);
	struct config *config = good(&peers);
	const struct config_peer *c = config_peer_find(config, "c");
	cr_assert(runtime_peers_same(c, &r), "host bits do not matter");
	control_request_fini(&r);
	static const char *const others[][2] = {{"[2001:db8::1]:6", "10.3.0.0/16"},
		{"[2001:db8::2]:5", "10.3.0.0/16"}, {NULL, "10.3.0.0/16"},
		{"[2001:db8::1]:5", NULL}, {"[2001:db8::1]:5", "10.3.0.0/17"},
		{"nonsense", "10.3.0.0/16"}, {"[2001:db8::1]:5", "nonsense"}};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		r = request_of("c", others[i][0], others[i][1]);
		cr_assert_not(runtime_peers_same(c, &r), "%zu", i);
		control_request_fini(&r);
	}
	r = request_of("c", "[2001:db8::1]:5", "10.3.0.0/16");
	strcpy(r.public_key, "K");
	cr_assert_not(runtime_peers_same(c, &r), "another key");
	control_request_fini(&r);
	config_free(config);
	runtime_peers_fini(&peers);
}

Test(runtime_peers, a_copy_is_whole_and_apart)
{
	struct runtime_peers peers = {0}, copy;

	add(&peers, "c", "x:1", "10.3.0.0/16");
	cr_assert_eq(runtime_peers_remove(&peers, "a"), 0);
	cr_assert_eq(runtime_peers_copy(&peers, &copy), 0);
	runtime_peers_fini(&peers);
	cr_assert_eq(copy.count, 1);
	cr_assert_str_eq(copy.added[0].endpoints.items[0], "x:1");
	cr_assert_str_eq(copy.without.items[0], "a");
	runtime_peers_fini(&copy);
}
