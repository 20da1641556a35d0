#include "config/config.h"
#include "vpnd/config_record.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config_report report;

struct place {
	char folder[64];
	char file[96];
};

static void put(const struct place *place, const char *name, const char *text)
{
	char path[160];
	(void)snprintf(path, sizeof(path), "%s/%s", place->folder, name);
	FILE *file = fopen(path, "w");
	cr_assert(file);
	cr_assert(fputs(text, file) >= 0);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(chmod(path, 0600), 0);
}

static void setup(struct place *place)
{
	char path[160];

	(void)snprintf(place->folder, sizeof(place->folder), "/tmp/record-test-XXXXXX");
	cr_assert(mkdtemp(place->folder));
	(void)snprintf(place->file, sizeof(place->file), "%s/net.yaml", place->folder);
	(void)snprintf(path, sizeof(path), "%s/peers.d", place->folder);
	cr_assert_eq(mkdir(path, 0700), 0);
	put(place, "net.yaml",
		"version: 1\nwire: kcp-go\nkcp_go: {key_file: secret, allow_unauthenticated: "
		"true}\n"
		"interface: {name: dev0}\npeers: {a: {allowed_ips: [10.0.0.1]}}\n");
	put(place, "secret", "abc def\n");
	put(place, "peers.d/b.yaml", "peers: {b: {allowed_ips: [10.0.0.2]}}\n");
	put(place, "peers.d/c.yaml", "peers: {c: {allowed_ips: [10.0.0.3]}}\n");
}

static void teardown(const struct place *place)
{
	static const char *const NAMES[] = {
		"net.yaml", "secret", "peers.d/b.yaml", "peers.d/c.yaml", "peers.d", ""};
	char path[160];

	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", place->folder, NAMES[i]);
		(void)remove(path);
	}
}

static int record_load(const struct place *place, struct config_record *record, char **ret_text)
{
	struct config *config = NULL;

	config_record_init(record, config_reader_default());
	struct config_reader writer = config_record_writer(record);
	int error = config_load(place->file, &writer, &config, &report);
	*ret_text = NULL;
	if (error == 0) {
		cr_assert_str_eq(config->kcp_go.key, "abc def");
		cr_assert_eq(config_show(config, true, ret_text), 0);
		config_free(config);
	}
	cr_assert_not(record->failed);
	return error;
}

/* @bytes  in memory of exactly that size, so that a step outside shows */
static int replay(const struct place *place, const uint8_t *bytes, size_t len, struct config **ret)
{
	struct config_record record;
	uint8_t *copy = malloc(len ? len : 1);

	cr_assert(copy);
	memcpy(copy, bytes, len);
	config_record_init(&record, NULL);
	config_record_borrow(&record, copy, len);
	struct config_reader reader = config_record_replayer(&record);
	int error = config_load(place->file, &reader, ret, &report);
	config_record_fini(&record);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(copy[i], 0, "wiped");
	free(copy);
	return error;
}

Test(config_record, a_replay_makes_the_same_configuration_without_a_file)
{
	struct place place;
	struct config_record record;
	struct config *config = NULL;
	char *first, *second;

	setup(&place);
	cr_assert_eq(record_load(&place, &record, &first), 0, "%s", report.errors[0].text);
	cr_assert_eq(record.pieces, 5, "three files, a list, a key file");
	teardown(&place); /* nothing is left to be read */
	cr_assert_eq(
		replay(&place, record.bytes, record.len, &config), 0, "%s", report.errors[0].text);
	cr_assert_eq(config->peer_count, 3);
	cr_assert_str_eq(config->kcp_go.key, "abc def");
	cr_assert_eq(config_show(config, true, &second), 0);
	cr_assert_str_eq(first, second);
	config_free(config);
	free(first);
	free(second);
	config_record_fini(&record);
}

Test(config_record, what_failed_fails_again_in_the_same_words)
{
	struct place place;
	struct config_record record;
	struct config *config = NULL;
	char *text, before[512];
	char path[160];

	setup(&place);
	(void)snprintf(path, sizeof(path), "%s/secret", place.folder);
	cr_assert_eq(unlink(path), 0);
	cr_assert_lt(record_load(&place, &record, &text), 0);
	(void)snprintf(before, sizeof(before), "%s", report.errors[0].text);
	put(&place, "secret", "here again\n");
	cr_assert_lt(replay(&place, record.bytes, record.len, &config), 0);
	cr_assert_str_eq(report.errors[0].text, before);
	config_record_fini(&record);
	teardown(&place);
}

Test(config_record, other_files_are_not_there)
{
	struct place place;
	struct config_record record;
	struct config_file_stat st;
	struct config *config = NULL;
	char *text, *data = NULL;
	size_t len = 0;

	setup(&place);
	cr_assert_eq(record_load(&place, &record, &text), 0);
	struct config_reader reader = config_record_replayer(&record);
	cr_assert_eq(
		reader.read_file(reader.ctx, "/etc/passwd", 1000, 0, &data, &len, &st), -EACCES);
	cr_assert_eq(reader.read_file(reader.ctx, place.file, 3, 0, &data, &len, &st), -EFBIG);
	cr_assert_eq(reader.read_file(reader.ctx, place.file, 4096, 0, &data, &len, &st), 0,
		"asked twice");
	cr_assert(st.regular);
	cr_assert_eq(st.mode, 0600);
	free(data);
	free(text);
	config_record_fini(&record);
	cr_assert_lt(replay(&place, (const uint8_t *)"", 0, &config), 0);
	cr_assert_eq(report.read_error, -EACCES);
	teardown(&place);
}

Test(config_record, a_damaged_record_is_read_within_its_bounds)
{
	struct place place;
	struct config_record record;
	struct config *config = NULL;
	char *text;

	setup(&place);
	cr_assert_eq(record_load(&place, &record, &text), 0);
	free(text);
	for (size_t len = 0; len < record.len; len++) {
		if (replay(&place, record.bytes, len, &config) == 0)
			config_free(config);
	}
	srand(5);
	for (int i = 0; i < 3000; i++) {
		size_t at = (size_t)rand() % record.len;
		uint8_t kept = record.bytes[at];
		record.bytes[at] = (uint8_t)rand();
		if (replay(&place, record.bytes, record.len, &config) == 0)
			config_free(config);
		record.bytes[at] = kept;
	}
	config_record_fini(&record);
	teardown(&place);
}

static int read_zeros(void *ctx, const char *path, size_t max_bytes, unsigned flags,
	char **ret_data, size_t *ret_len, struct config_file_stat *ret_stat)
{
	(void)ctx;
	(void)path;
	(void)flags;
	*ret_data = calloc(1, max_bytes);
	*ret_len = max_bytes;
	*ret_stat = (struct config_file_stat){.regular = true};
	return *ret_data ? 0 : -ENOMEM;
}

Test(config_record, too_much_is_said_and_not_kept)
{
	const struct config_reader zeros = {.read_file = read_zeros};
	struct config_record record;
	struct config_file_stat st;
	char *data;
	size_t len;

	config_record_init(&record, &zeros);
	struct config_reader writer = config_record_writer(&record);
	for (int i = 0; i < 5; i++) {
		cr_assert_not(record.failed && i < 3, "64 MiB a time");
		cr_assert_eq(writer.read_file(writer.ctx, "x", 64 << 20, 0, &data, &len, &st), 0);
		free(data);
	}
	cr_assert(record.failed);
	cr_assert_leq(record.len, (size_t)CONFIG_RECORD_BYTES_MAX);
	config_record_fini(&record);
}

/* The worker cannot look for itself who may write a file: it believes what the helper saw. */
Test(config_record, who_may_write_it_comes_along)
{
	struct place place;
	struct config_record record;
	struct config *config = NULL;
	char *text, path[160];

	setup(&place);
	put(&place, "peers.d/c.yaml", "hooks: {up: [/bin/true]}\n");
	(void)snprintf(path, sizeof(path), "%s/peers.d/b.yaml", place.folder);
	cr_assert_eq(chmod(path, 0660), 0);
	cr_assert_lt(record_load(&place, &record, &text), 0);
	cr_assert_eq(report.errors[0].number, CONFIG_E_MODE);
	(void)memset(&report, 0, sizeof(report));
	cr_assert_lt(replay(&place, record.bytes, record.len, &config), 0);
	cr_assert_eq(report.errors[0].number, CONFIG_E_MODE);
	config_record_fini(&record);
	teardown(&place);
}
