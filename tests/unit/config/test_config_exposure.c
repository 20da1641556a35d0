/* Who may write what is run as root. With real files, by root where others than root are wanted. */
#include "config/config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n"

enum {
	SOMEBODY = 65534,
};

static struct config_report report;

struct place {
	char folder[64];
	char path[128];
};

/* A path in the folder, good until the next one. */
static const char *in(struct place *place, const char *name)
{
	(void)snprintf(place->path, sizeof(place->path), "%s/%s", place->folder, name);
	return place->path;
}

static void put(struct place *place, const char *name, const char *text, mode_t mode)
{
	FILE *file = fopen(in(place, name), "w");

	cr_assert(file);
	cr_assert(fputs(text, file) >= 0);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(chmod(place->path, mode), 0);
}

static void setup(struct place *place)
{
	(void)snprintf(place->folder, sizeof(place->folder), "/tmp/exposure-test-XXXXXX");
	cr_assert(mkdtemp(place->folder));
	cr_assert_eq(mkdir(in(place, "peers.d"), 0755), 0);
	put(place, "net.yaml", HEAD "interface: {name: dev0}\nhooks: {up: [/bin/true]}\n", 0644);
	put(place, "peers.d/a.yaml", "peers: {a: {allowed_ips: [10.0.0.1]}}\n", 0644);
}

static void teardown(struct place *place)
{
	char command[96];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", place->folder);
	cr_assert_eq(system(command), 0);
}

static int load(struct place *place)
{
	struct config *config = NULL;
	int error = config_load(in(place, "net.yaml"), NULL, &config, &report);

	config_free(config);
	return error;
}

static void expect_refused(struct place *place, const char *file, const char *why)
{
	cr_assert_lt(load(place), 0, "%s: %s", file, why);
	cr_assert_eq(report.error_count, 1, "%s", report.errors[0].text);
	cr_assert_eq(report.errors[0].number, CONFIG_E_MODE, "%s", report.errors[0].text);
	cr_assert(strstr(report.errors[0].file, file), "%s", report.errors[0].file);
	cr_assert(strstr(report.errors[0].text, why), "%s", report.errors[0].text);
}

Test(exposure, files_that_others_may_write_name_no_programs)
{
	struct place place;

	setup(&place);
	cr_assert_eq(load(&place), 0, "%s", report.errors[0].text);
	static const char *const FILES[] = {"net.yaml", "peers.d/a.yaml"};
	for (size_t i = 0; i < 2; i++) {
		cr_assert_eq(chmod(in(&place, FILES[i]), 0664), 0);
		expect_refused(&place, FILES[i], "may write it");
		cr_assert_eq(chmod(in(&place, FILES[i]), 0646), 0);
		expect_refused(&place, FILES[i], "may write it");
		cr_assert_eq(chmod(in(&place, FILES[i]), 0600), 0);
		cr_assert_eq(load(&place), 0, "%s", report.errors[0].text);
	}
	cr_assert_eq(chmod(in(&place, "peers.d"), 0777), 0);
	expect_refused(&place, "peers.d/a.yaml", "folder");
	cr_assert_eq(chmod(in(&place, "peers.d"), 01777), 0);
	cr_assert_eq(load(&place), 0, "sticky, as /tmp is");
	teardown(&place);
}

Test(exposure, without_hooks_it_is_the_administrators_matter)
{
	struct place place;

	setup(&place);
	put(&place, "net.yaml", HEAD "interface: {name: dev0}\n", 0664);
	cr_assert_eq(chmod(in(&place, "peers.d"), 0777), 0);
	cr_assert_eq(load(&place), 0, "%s", report.errors[0].text);
	/* but a file that anybody drops there cannot bring some */
	put(&place, "peers.d/x.yaml", "hooks: {pre_up: [/usr/bin/id]}\n", 0644);
	cr_assert_lt(load(&place), 0);
	cr_assert_eq(report.errors[0].number, CONFIG_E_MODE);
	teardown(&place);
}

Test(exposure, files_of_others_name_no_programs)
{
	struct place place;

	if (geteuid() != 0)
		cr_skip_test("takes root to give files away");
	setup(&place);
	cr_assert_eq(chown(in(&place, "peers.d/a.yaml"), SOMEBODY, 0), 0);
	expect_refused(&place, "peers.d/a.yaml", "another user");
	cr_assert_eq(chown(in(&place, "peers.d/a.yaml"), 0, 0), 0);
	cr_assert_eq(chown(in(&place, "peers.d"), SOMEBODY, 0), 0);
	expect_refused(&place, "peers.d/a.yaml", "folder");
	cr_assert_eq(chown(in(&place, "peers.d"), 0, 0), 0);
	cr_assert_eq(chown(in(&place, ""), SOMEBODY, 0), 0);
	cr_assert_lt(load(&place), 0);
	cr_assert_eq(report.error_count, 2, "both lie in it");
	teardown(&place);
}

Test(exposure, programs_are_judged_too)
{
	struct place place;
	char text[256];

	setup(&place);
	put(&place, "hook", "#!/bin/sh\n", 0755);
	(void)snprintf(text, sizeof(text), HEAD "interface: {name: dev0}\nhooks: {up: [%s/hook]}\n",
		place.folder);
	put(&place, "net.yaml", text, 0600);
	cr_assert_eq(load(&place), 0, "%s", report.errors[0].text);
	cr_assert_eq(chmod(in(&place, "hook"), 0775), 0);
	expect_refused(&place, "net.yaml", "hooks.up runs as root");
	cr_assert_eq(unlink(in(&place, "hook")), 0);
	cr_assert_eq(load(&place), 0, "one that is not there runs nothing");
	teardown(&place);
}

/* A link in a folder that others may write would have any file read for them, and quoted. */
Test(exposure, links_that_others_may_have_laid_are_not_followed)
{
	struct place place;
	char real[128], named[128];

	setup(&place);
	put(&place, "net.yaml", HEAD "interface: {name: dev0}\n", 0600);
	put(&place, "shadow", "root: very-secret\n", 0600);
	(void)snprintf(real, sizeof(real), "%s", in(&place, "shadow"));
	(void)snprintf(named, sizeof(named), "%s", in(&place, "peers.d/y.yaml"));
	cr_assert_eq(symlink(real, named), 0);
	cr_assert_lt(load(&place), 0, "an administrator's link is followed");
	cr_assert_eq(report.errors[0].number, CONFIG_E_UNKNOWN_KEY, "%s", report.errors[0].text);
	cr_assert_eq(chmod(in(&place, "peers.d"), 0777), 0);
	cr_assert_lt(load(&place), 0);
	cr_assert_eq(report.error_count, 1);
	cr_assert_eq(report.errors[0].number, CONFIG_E_READ);
	cr_assert(strstr(report.errors[0].text, "laid"), "%s", report.errors[0].text);
	char *text = NULL;
	cr_assert_eq(config_report_format(&report, "vpnd", &text), 0);
	cr_assert_not(strstr(text, "secret"), "%s", text);
	free(text);
	if (geteuid() == 0) {
		cr_assert_eq(chmod(in(&place, "peers.d"), 01777), 0);
		cr_assert_eq(lchown(named, SOMEBODY, 0), 0);
		cr_assert_lt(load(&place), 0, "somebody's own, in a folder for all");
		cr_assert_eq(report.errors[0].number, CONFIG_E_READ);
	}
	/* links on the way are followed: what counts is where it leads */
	cr_assert_eq(unlink(named), 0);
	cr_assert_eq(chmod(in(&place, "peers.d"), 0755), 0);
	(void)snprintf(real, sizeof(real), "%s", in(&place, "elsewhere"));
	cr_assert_eq(rename(in(&place, "peers.d"), real), 0);
	cr_assert_eq(symlink("elsewhere", in(&place, "peers.d")), 0);
	cr_assert_eq(load(&place), 0, "%s", report.errors[0].text);
	teardown(&place);
}
