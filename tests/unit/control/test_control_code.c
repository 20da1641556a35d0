/* The table of codes against the sources: each code that a program tells is explained, and none is explained that nobody tells. */
#include "control/control_code.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	CODES_MAX = 400,
};

static char found[CODES_MAX][24];
static size_t found_count;

static void note(const char *code, size_t len)
{
	for (size_t i = 0; i < found_count; i++) {
		if (strlen(found[i]) == len && !strncmp(found[i], code, len))
			return;
	}
	cr_assert(found_count < CODES_MAX && len < sizeof(found[0]));
	memcpy(found[found_count++], code, len);
}

/* "E-NET-4" with its quotation marks, or at the beginning of what is logged or said ("vpnd: E-NET-4 ..."). */
static void scan_text(const char *text)
{
	for (const char *at = text; (at = strstr(at, "E-")) != NULL; at++) {
		size_t letters = strspn(at + 2, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
		size_t digits = at[2 + letters] == '-' ? strspn(at + 3 + letters, "0123456789") : 0;
		char next = at[3 + letters + digits];
		bool begins = at > text &&
			      (at[-1] == '"' || (at - text > 6 && !strncmp(at - 6, "vpnd: ", 6)) ||
				      (at - text > 8 && !strncmp(at - 8, "kcpctl: ", 8)));
		if (begins && letters && digits && (next == '"' || next == ' '))
			note(at, 3 + letters + digits);
	}
}

static void scan(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	cr_assert(dir, "no %s", path);
	while ((entry = readdir(dir)) != NULL) {
		char name[512];
		struct stat st;
		if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "control_code.c"))
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		cr_assert_eq(stat(name, &st), 0);
		if (S_ISDIR(st.st_mode)) {
			scan(name);
		} else if (strlen(name) > 2 && strchr("ch", name[strlen(name) - 1])) {
			char *text = calloc(1, (size_t)st.st_size + 1);
			FILE *file = fopen(name, "r");
			cr_assert_eq(fread(text, 1, (size_t)st.st_size, file), (size_t)st.st_size);
			fclose(file);
			scan_text(text);
			free(text);
		}
	}
	closedir(dir);
}

Test(control_code, every_code_of_the_sources_is_explained_and_no_other)
{
	size_t count;
	const struct control_code_row *rows = control_codes(&count);

	scan(TESTS_DIR "/../vpnd");
	scan(TESTS_DIR "/../cli");
	scan(TESTS_DIR "/../lib/control");
	cr_assert_gt(found_count, 60, "the sources were found");
	for (size_t i = 0; i < found_count; i++) {
		size_t r = 0;
		if (!strncmp(found[i], "E-CFG-", 6))
			continue; /* config_report_codes() */
		while (r < count && strcmp(rows[r].code, found[i]) != 0)
			r++;
		cr_assert(r < count, "%s is not explained", found[i]);
	}
	for (size_t r = 0; r < count; r++) {
		size_t i = 0;
		while (i < found_count && strcmp(rows[r].code, found[i]) != 0)
			i++;
		cr_assert(i < found_count, "%s is explained, and nobody tells it", rows[r].code);
		cr_assert_gt(strlen(rows[r].help), 10);
		for (size_t other = 0; other < r; other++)
			cr_assert_str_neq(rows[other].code, rows[r].code);
	}
}
