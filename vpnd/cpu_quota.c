/*
 * A group's `cpu.max` holds "QUOTA PERIOD" in microseconds, or "max PERIOD"; each group is bounded by those above it, too. In a
 * container the way up ends early, but the group it ends at has the container's own bound, and can be read.
 *
 * What cannot be read bounds nothing: this only chooses how many threads are worth it.
 *
 * Source: Linux, Documentation/admin-guide/cgroup-v2.rst; cgroups(7), proc_pid_cgroup(5).
 */
#include "vpnd/cpu_quota.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The line "0::PATH". @return false if there is none */
static bool own_group(const char *proc, char path[PATH_MAX])
{
	FILE *file = fopen(proc, "re");
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(path, PATH_MAX, file)) {
		found = strncmp(path, "0::/", 4) == 0;
		path[strcspn(path, "\n")] = '\0';
	}
	fclose(file);
	if (found)
		memmove(path, path + 3, strlen(path + 3) + 1);
	return found;
}

/* @return 0 if this group has no bound */
static unsigned bound_of(const char *mount, const char *group)
{
	unsigned long long quota, period;
	char name[PATH_MAX + 64];
	unsigned cores = 0;

	int len = snprintf(name, sizeof(name), "%s%s/cpu.max", mount, group);
	FILE *file = len > 0 && (size_t)len < sizeof(name) ? fopen(name, "re") : NULL;
	if (!file)
		return 0;
	if (fscanf(file, "%llu %llu", &quota, &period) == 2 && quota > 0 && period > 0 &&
		quota / period < UINT_MAX - 1)
		cores = (unsigned)(quota / period + (quota % period > 0));
	fclose(file);
	return cores;
}

unsigned cpu_quota_cores(const char *proc, const char *mount)
{
	char group[PATH_MAX];
	unsigned least = 0;

	if (!own_group(proc, group))
		return 0;
	for (;;) {
		char *last = strrchr(group, '/');
		unsigned cores = bound_of(mount, strcmp(group, "/") == 0 ? "" : group);
		if (cores > 0 && (least == 0 || cores < least))
			least = cores;
		if (!last || strcmp(group, "/") == 0)
			return least;
		last[last == group ? 1 : 0] = '\0';
	}
}
