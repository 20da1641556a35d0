/* Files as the kernel shows them, in a folder of the test. */
#include "vpnd/cpu_quota.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct group {
	const char *path, *max; /* NULL = no file */
};

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "w");
	cr_assert_not_null(file, "%s", path);
	cr_assert_geq(fputs(text, file), 0);
	fclose(file);
}

static unsigned cores_of(const char *proc, const struct group *groups, size_t count)
{
	char folder[] = "/tmp/cpu-quota-XXXXXX", path[512], command[64];

	cr_assert_not_null(mkdtemp(folder));
	write_file(folder, "proc", proc);
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(path, sizeof(path), "%s%s", folder, groups[i].path);
		(void)mkdir(path, 0700);
		if (groups[i].max)
			write_file(path, "cpu.max", groups[i].max);
	}
	(void)snprintf(path, sizeof(path), "%s/proc", folder);
	unsigned cores = cpu_quota_cores(path, folder);
	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_assert_eq(system(command), 0);
	return cores;
}

Test(cpu_quota, the_least_of_all_groups_above_counts)
{
	static const struct {
		const char *proc, *root, *slice, *unit;
		unsigned want;
	} rows[] = {
		{"0::/s/u\n", NULL, "max 100000\n", "max 100000\n", 0},
		{"0::/s/u\n", NULL, "max 100000\n", "100000 100000\n", 1},
		{"0::/s/u\n", NULL, "400000 100000\n", "max 100000\n", 4},
		{"0::/s/u\n", NULL, "150000 100000\n", "900000 100000\n", 2},
		{"0::/s/u\n", "50000 100000\n", NULL, NULL, 1},
		{"0::/\n", "200000 100000\n", NULL, "100000 100000\n", 2},
		{"0::/s\n", "max 100000\n", "300000 50000\n", "100000 100000\n", 6},
		{"4:memory:/s\n1:cpu:/s/u\n0::/s/u\n", NULL, NULL, "300000 100000\n", 3},
		{"4:memory:/s\n", "100000 100000\n", "100000 100000\n", NULL, 0},
		{"", "100000 100000\n", NULL, NULL, 0},
		{"0::/elsewhere/u\n", NULL, "100000 100000\n", NULL, 0},
		{"0::/s/u\n", NULL, "", "nonsense", 0},
		{"0::/s/u\n", NULL, "100000\n", "-1 100000\n", 0},
		{"0::/s/u\n", NULL, "0 0\n", "100000 0\n", 0},
		{"0::/s/u\n", NULL, NULL, "18446744073709551615 1\n", 0},
		{"0::/s/u", NULL, NULL, "1 100000", 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct group groups[] = {
			{"", rows[i].root}, {"/s", rows[i].slice}, {"/s/u", rows[i].unit}};
		cr_assert_eq(cores_of(rows[i].proc, groups, 3), rows[i].want, "row %zu", i);
	}
	cr_assert_eq(cpu_quota_cores("/nonexistent", "/nonexistent"), 0);
	(void)cpu_quota_cores(CPU_QUOTA_PROC, CPU_QUOTA_MOUNT); /* whatever this host says */
}
