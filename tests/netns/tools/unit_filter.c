/*
 * usage: unit_filter UNIT NAMES COMMAND...
 *
 * Runs COMMAND under what a service manager makes of some lines of UNIT, where none runs that could: SystemCallFilter= (the
 * file NAMES has what it comes to, a system call a line; all else fails with EPERM), RestrictAddressFamilies=,
 * RestrictNamespaces=yes and MemoryDenyWriteExecute=yes. One of these that is not there, or says something else, is an error:
 * what the unit says must be what is tried.
 *
 * Needs PR_SET_NO_NEW_PRIVS, which it sets.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint32_t DENIED = SCMP_ACT_ERRNO(EPERM);

static void must(int rc, const char *what)
{
	if (rc >= 0 || rc == -EEXIST)
		return;
	(void)fprintf(stderr, "unit_filter: %s: %s\n", what, strerror(-rc));
	exit(3);
}

/* All system calls that libseccomp knows but those of the file. */
static void deny_unnamed(scmp_filter_ctx ctx, FILE *names)
{
	static bool allowed[1024];
	char line[128];
	int count = 0;

	while (fgets(line, sizeof(line), names)) {
		line[strcspn(line, "\n")] = '\0';
		int number = seccomp_syscall_resolve_name(line);
		if (number < 0 || number >= 1024)
			continue; /* of another architecture, or newer than libseccomp */
		allowed[number] = true;
		count++;
	}
	must(count > 100 ? 0 : -EINVAL, "too few system calls");
	for (int number = 0; number < 1024; number++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
		if (name && !allowed[number])
			must(seccomp_rule_add(ctx, DENIED, number, 0), name);
		free(name);
	}
}

static void deny_families(scmp_filter_ctx ctx, char *names)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {{"AF_UNIX", AF_UNIX}, {"AF_INET", AF_INET}, {"AF_INET6", AF_INET6},
		{"AF_NETLINK", AF_NETLINK}};
	bool allowed[AF_MAX] = {false};

	for (char *name = strtok(names, " "); name; name = strtok(NULL, " ")) {
		bool found = false;
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
			if (strcmp(known[i].name, name) != 0)
				continue;
			allowed[known[i].number] = found = true;
		}
		must(found ? 0 : -EINVAL, name);
	}
	for (unsigned family = 0; family < AF_MAX; family++) {
		if (!allowed[family])
			must(seccomp_rule_add(ctx, DENIED, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, family)),
				"socket");
	}
}

static void deny_namespaces(scmp_filter_ctx ctx)
{
	static const unsigned flags[] = {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
		CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET};

	must(seccomp_rule_add(ctx, DENIED, SCMP_SYS(setns), 0), "setns");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		must(seccomp_rule_add(ctx, DENIED, SCMP_SYS(unshare), 1,
			     SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i])),
			"unshare");
		must(seccomp_rule_add(ctx, DENIED, SCMP_SYS(clone), 1,
			     SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i])),
			"clone");
	}
}

static void deny_executable_memory(scmp_filter_ctx ctx)
{
	const unsigned both = PROT_WRITE | PROT_EXEC;

	must(seccomp_rule_add(
		     ctx, DENIED, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, both, both)),
		"mmap");
	must(seccomp_rule_add(ctx, DENIED, SCMP_SYS(mprotect), 1,
		     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC)),
		"mprotect");
}

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	FILE *unit = argc > 3 ? fopen(argv[1], "r") : NULL;
	FILE *names = argc > 3 ? fopen(argv[2], "r") : NULL;
	char line[1024];
	unsigned lines = 0;

	if (!ctx || !unit || !names) {
		(void)fputs("usage: unit_filter UNIT NAMES COMMAND...\n", stderr);
		return 2;
	}
	while (fgets(line, sizeof(line), unit)) {
		line[strcspn(line, "\n")] = '\0';
		char *value = strchr(line, '=');
		if (line[0] == '#' || !value)
			continue;
		*value++ = '\0';
		lines++;
		if (strcmp(line, "RestrictAddressFamilies") == 0)
			deny_families(ctx, value);
		else if (strcmp(line, "RestrictNamespaces") == 0 && strcmp(value, "yes") == 0)
			deny_namespaces(ctx);
		else if (strcmp(line, "MemoryDenyWriteExecute") == 0 && strcmp(value, "yes") == 0)
			deny_executable_memory(ctx);
		else
			lines--;
	}
	(void)fclose(unit);
	must(lines == 3 ? 0 : -EINVAL, "the unit says something else than was understood");
	deny_unnamed(ctx, names);
	(void)fclose(names);
	must(-prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	must(seccomp_load(ctx), "seccomp");
	seccomp_release(ctx);
	(void)execvp(argv[3], argv + 3);
	(void)fprintf(stderr, "unit_filter: %s: %s\n", argv[3], strerror(errno));
	return 127;
}
