/* What the tests of configurations share: files in memory, and short ways to load and to look. */
#ifndef CONFIG_FIXTURE_H
#define CONFIG_FIXTURE_H

#include "config/config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURE_HEAD                 \
	"version: 1\nwire: kcp-go\n" \
	"kcp_go: {key: secret, allow_unauthenticated: true}\n"

struct memory_file {
	const char *path;
	const char *text; /* NULL: reading fails with `error` */
	unsigned mode;
	int error;
	bool pipe;
	enum config_exposure exposure;
};

struct memory_files {
	const struct memory_file *files;
	size_t count;
};

static inline int memory_read(void *ctx, const char *path, size_t max, unsigned flags,
	char **ret_data, size_t *ret_len, struct config_file_stat *ret_stat)
{
	const struct memory_files *m = ctx;

	(void)flags;
	for (size_t i = 0; i < m->count; i++) {
		const struct memory_file *f = &m->files[i];
		if (strcmp(f->path, path) != 0)
			continue;
		if (!f->text)
			return f->error;
		if (strlen(f->text) > max)
			return -EFBIG;
		*ret_data = strdup(f->text);
		*ret_len = strlen(f->text);
		*ret_stat = (struct config_file_stat){
			.regular = !f->pipe, .mode = f->mode, .exposure = f->exposure};
		return 0;
	}
	return -ENOENT;
}

static inline int memory_glob(void *ctx, const char *pattern, char ***ret_paths, size_t *ret_count)
{
	const struct memory_files *m = ctx;
	char **paths = calloc(m->count + 1, sizeof(*paths));
	size_t count = 0;

	for (size_t i = 0; i < m->count; i++) {
		if (fnmatch(pattern, m->files[i].path, FNM_PATHNAME) == 0)
			paths[count++] = strdup(m->files[i].path);
	}
	*ret_paths = paths;
	*ret_count = count;
	return 0;
}

/* Loads files[0] with all of them in reach. @return as config_load() */
static inline int load_files(const struct memory_file *files, size_t count, struct config **ret,
	struct config_report *report)
{
	struct memory_files memory = {.files = files, .count = count};
	struct config_reader reader = {
		.ctx = &memory, .read_file = memory_read, .list_files = memory_glob};

	return config_load(files[0].path, &reader, ret, report);
}

/* Parses a text that must be good. The caller frees. */
static inline struct config *parse_good(const char *text)
{
	static struct config_report report;
	struct config *config = NULL;
	int error = config_parse_text("office.yaml", text, strlen(text), NULL, &config, &report);

	cr_assert_eq(error, 0, "%s\n%s", text, report.errors[0].text);
	cr_assert_eq(report.error_total, 0u);
	return config;
}

/* Parses a text that must be refused. @return the number of the first error */
static inline unsigned parse_bad(const char *text, struct config_report *report)
{
	struct config *config = NULL;
	int error = config_parse_text("office.yaml", text, strlen(text), NULL, &config, report);

	cr_assert_eq(error, -4096, "accepted: %s", text); /* -ERR_CONFIG */
	cr_assert_eq(config, NULL);
	cr_assert(report->error_total > 0);
	return report->errors[0].number;
}

/* A whole file, terminated. The caller frees. */
static inline char *slurp(const char *path, size_t *ret_len)
{
	FILE *in = fopen(path, "rb");
	size_t capacity = 1 << 20;
	char *text = malloc(capacity);

	cr_assert(in && text, "%s", path);
	*ret_len = fread(text, 1, capacity - 1, in);
	text[*ret_len] = '\0';
	fclose(in);
	return text;
}

#endif
