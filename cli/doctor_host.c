/* The machine: its TUN device, what may be done on it, its ports, its filter of reverse paths, its clock. */
#include "cli/doctor.h"

#include "kcpvpn/endpoint.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	DAY_S = 86400,
};

/* Before the first release of these programs, and long after: a clock that was never set, or is nonsense. */
static const time_t CLOCK_LEAST = 1735689600; /* 2025-01-01 */
static const time_t CLOCK_MOST = 4102444800;  /* 2100-01-01 */

void doctor_check_tun(struct doctor *d)
{
	static const char DEVICE[] = "/dev/net/tun";
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		doctor_add(d, DOCTOR_OK, NULL, "tun", "%s can be opened", DEVICE);
	} else if ((errno == EACCES || errno == EPERM) && !d->root) {
		doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "tun", "%s: %s", DEVICE, strerror(errno));
	} else {
		doctor_add(d, DOCTOR_PROBLEM, "E-DOC-1", "tun", "%s cannot be opened: %s", DEVICE,
			strerror(errno));
	}
}

/* One line of /proc/self/status as a set of capabilities. */
static bool capabilities(const char *key, unsigned long long *ret)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':') {
			*ret = strtoull(line + strlen(key) + 1, NULL, 16);
			found = true;
		}
	}
	if (file)
		(void)fclose(file);
	return found;
}

void doctor_check_capability(struct doctor *d)
{
	const unsigned long long wanted = 1ULL << CAP_NET_ADMIN;
	unsigned long long bound, effective;

	if (d->status) {
		doctor_add(
			d, DOCTOR_OK, NULL, "capability", "the daemon runs, and has its interface");
		return;
	}
	if (!capabilities("CapBnd", &bound) || !capabilities("CapEff", &effective))
		doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "capability",
			"/proc/self/status does not tell what may be done here");
	else if (!(bound & wanted))
		doctor_add(d, DOCTOR_PROBLEM, "E-DOC-2", "capability",
			"CAP_NET_ADMIN cannot be had here, not even by root");
	else if (!(effective & wanted) && d->root)
		doctor_add(d, DOCTOR_PROBLEM, "E-DOC-2", "capability",
			"root has no CAP_NET_ADMIN here");
	else if (!(effective & wanted))
		doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "capability",
			"whether the daemon may have CAP_NET_ADMIN only root can see");
	else
		doctor_add(d, DOCTOR_OK, NULL, "capability", "CAP_NET_ADMIN is there");
}

/* ---- ports --------------------------------------------------------------------------------------------------- */

/* The inode of a UDP socket on that port, from /proc/net/udp and udp6; 0 = none is seen. */
static unsigned long inode_of(unsigned port)
{
	static const char *const tables[] = {"/proc/net/udp", "/proc/net/udp6"};
	unsigned long inode = 0;

	for (size_t i = 0; i < 2 && !inode; i++) {
		FILE *file = fopen(tables[i], "r");
		char line[512];
		while (file && fgets(line, sizeof(line), file)) {
			unsigned at;
			unsigned long node;
			if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*s %*s %*s %*s %*s %*s %*s %lu",
				    &at, &node) == 2 &&
				at == port)
				inode = node;
		}
		if (file)
			(void)fclose(file);
	}
	return inode;
}

static bool holds(const char *pid, const char *wanted)
{
	char path[300], target[64];
	bool found = false;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	DIR *dir = opendir(path);
	const struct dirent *entry;
	while (dir && !found && (entry = readdir(dir)) != NULL) {
		(void)snprintf(path, sizeof(path), "/proc/%.20s/fd/%.20s", pid, entry->d_name);
		ssize_t len = readlink(path, target, sizeof(target) - 1);
		target[len > 0 ? len : 0] = '\0';
		found = strcmp(target, wanted) == 0;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* "nc (process 123)", or that nobody is seen who has it. */
static const char *owner_of(unsigned port, char text[96])
{
	unsigned long inode = inode_of(port);
	DIR *dir = inode ? opendir("/proc") : NULL;
	const struct dirent *entry;
	char wanted[64];

	(void)strcpy(text, "a program that cannot be seen from here");
	(void)snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	while (dir && (entry = readdir(dir)) != NULL) {
		char path[64], name[32] = "?";
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
			!holds(entry->d_name, wanted))
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
		FILE *comm = fopen(path, "r");
		if (comm && fgets(name, sizeof(name), comm))
			name[strcspn(name, "\n")] = '\0';
		if (comm)
			(void)fclose(comm);
		(void)snprintf(text, 96, "%s (process %.20s)", name, entry->d_name);
		break;
	}
	if (dir)
		closedir(dir);
	return text;
}

/* @return 0, or the errno of binding to it */
static int try_bind(const struct kcpvpn_endpoint *e)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(e->port)};
	struct sockaddr_in6 v6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(e->port), .sin6_scope_id = e->scope_id};
	int fd = socket(e->family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return errno;
	memcpy(&v4.sin_addr, e->address, sizeof(v4.sin_addr));
	memcpy(&v6.sin6_addr, e->address, sizeof(v6.sin6_addr));
	rc = e->family == 6 ? bind(fd, (const struct sockaddr *)&v6, sizeof(v6))
			    : bind(fd, (const struct sockaddr *)&v4, sizeof(v4));
	rc = rc < 0 ? errno : 0;
	close(fd);
	return rc;
}

void doctor_check_ports(struct doctor *d)
{
	char owner[96];

	if (d->status || !d->config)
		return; /* the daemon has them */
	for (size_t i = 0; i < d->config->listen.count; i++) {
		const struct kcpvpn_endpoint *e = &d->config->listen.items[i];
		int rc = try_bind(e);
		if (rc == EADDRINUSE)
			doctor_add(d, DOCTOR_PROBLEM, "E-DOC-4", "port",
				"UDP port %u is in use by %s", e->port, owner_of(e->port, owner));
		else if (rc == EADDRNOTAVAIL)
			doctor_add(d, DOCTOR_PROBLEM, "E-DOC-3", "port",
				"`listen` names an address that this host does not have (port %u)",
				e->port);
		else if (rc == EACCES)
			doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "port",
				"whether port %u is free only root can see", e->port);
	}
	if (!doctor_found(d, "port"))
		doctor_add(d, DOCTOR_OK, NULL, "port", "the ports of `listen` are free");
}

/* ---- reverse paths ------------------------------------------------------------------------------------------- */

static int read_number(const char *path)
{
	FILE *file = fopen(path, "r");
	int number = -1;

	if (file && fscanf(file, "%d", &number) != 1)
		number = -1;
	if (file)
		(void)fclose(file);
	return number;
}

void doctor_check_rp_filter(struct doctor *d)
{
	const char *device = d->config ? d->config->interface.name : NULL;
	char path[128];

	if (!device)
		return;
	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/rp_filter",
		if_nametoindex(device) ? device : "default");
	int own = read_number(path);
	int all = read_number("/proc/sys/net/ipv4/conf/all/rp_filter");
	bool strict = (own > all ? own : all) == 1; /* the larger one holds: 2 is loose */
	int64_t table = d->config->routes.table;
	bool elsewhere = table == CONFIG_OFF || (table > 0 && table != 254);
	if (own < 0 && all < 0)
		doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "rp_filter",
			"whether rp_filter lets %s receive stands in /proc/sys/net, which is not "
			"there",
			device);
	else if (strict && elsewhere)
		doctor_add(d, DOCTOR_PROBLEM, "E-DOC-6", "rp_filter",
			"rp_filter is strict for %s, and routes to its peers are not in the main "
			"table (routes.table)",
			device);
	else
		doctor_add(d, DOCTOR_OK, NULL, "rp_filter", "rp_filter lets %s receive", device);
}

/* ---- the clock ----------------------------------------------------------------------------------------------- */

/* When the file was last written, or -1. */
static time_t written_at(const char *path)
{
	struct stat st;

	return path && path[0] == '/' && stat(path, &st) == 0 ? st.st_mtime : -1;
}

void doctor_check_clock(struct doctor *d)
{
	struct timespec now;
	struct tm utc;
	char text[64] = "?";

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (gmtime_r(&now.tv_sec, &utc))
		(void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &utc);
	const char *files[] = {d->file, d->config ? d->config->identity.private_key_file : NULL};
	if (now.tv_sec < CLOCK_LEAST || now.tv_sec > CLOCK_MOST)
		doctor_add(d, DOCTOR_PROBLEM, "E-DOC-11", "clock", "the clock says %s", text);
	for (size_t i = 0; i < 2 && !doctor_found(d, "clock"); i++) {
		time_t written = written_at(files[i]);
		if (written > now.tv_sec + DAY_S)
			doctor_add(d, DOCTOR_PROBLEM, "E-DOC-11", "clock",
				"the clock says %s, and %s was written %lld days later", text,
				files[i], (long long)(written - now.tv_sec) / DAY_S);
	}
	if (!doctor_found(d, "clock"))
		doctor_add(d, DOCTOR_OK, NULL, "clock", "the clock says %s", text);
}
