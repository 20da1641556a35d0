/*
 * Lookups against a server of this test, in a network and with an /etc/resolv.conf of the test's own: takes root. What is
 * waited for has generous deadlines; nothing else is timed.
 */
#include "vpnd/dns_message.h"
#include "vpnd/outside_lookup.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	ASKED_MAX = 256,
};

enum habit {
	ANSWERS,
	REFUSES_ROOM, /* answers plain questions only */
	CUTS,	      /* what fits, and says that there is more */
	CUTS_ALL,     /* nothing fits without room */
};

/* What the server saw; shared with it. */
struct seen {
	unsigned count, with_room;
	uint16_t ports[ASKED_MAX];
};

struct bench {
	pid_t server;
	struct seen *seen;
	char file[64];
};

static void run(const char *command)
{
	cr_assert_eq(system(command), 0, "%s", command);
}

static void serve(int fd, enum habit habit, struct seen *seen)
{
	for (;;) {
		uint8_t bytes[1024];
		struct sockaddr_storage sa;
		socklen_t sa_len = sizeof(sa);
		ssize_t got = recvfrom(fd, bytes, 512, 0, (struct sockaddr *)&sa, &sa_len);
		if (got < 17)
			continue;
		bool room = bytes[11] == 1;
		size_t len = (size_t)got - (room ? DNS_ROOM_BYTES : 0);
		bool v4 = bytes[len - 3] == DNS_A;
		uint16_t port = sa.ss_family == AF_INET ? ((struct sockaddr_in *)&sa)->sin_port
							: ((struct sockaddr_in6 *)&sa)->sin6_port;
		if (seen->count < ASKED_MAX)
			seen->ports[seen->count] = ntohs(port);
		seen->count++;
		seen->with_room += room;
		bytes[2] = 0x81;
		bytes[3] = 0x80;
		bytes[7] = bytes[11] = 0;
		if (room && habit == REFUSES_ROOM) {
			bytes[3] = 0x81; /* FORMERR */
		} else if (!room && habit == CUTS_ALL) {
			bytes[2] |= 2;
		} else if (v4) {
			static const uint8_t RECORD[] = {
				0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 7};
			memcpy(bytes + len, RECORD, sizeof(RECORD));
			len += sizeof(RECORD);
			bytes[7] = 1;
			if (habit == CUTS) { /* a second record, of which the end is missing */
				memcpy(bytes + len, RECORD, 9);
				len += 9;
				bytes[7] = 2;
				bytes[2] |= 2;
			}
		}
		(void)sendto(fd, bytes, len, 0, (struct sockaddr *)&sa, sa_len);
	}
}

/* @server  as in resolv.conf; its address must be one of this host */
static void setup(struct bench *b, enum habit habit, const char *server, const struct sockaddr *sa,
	socklen_t sa_len)
{
	int one = 1;

	memset(b, 0, sizeof(*b));
	(void)snprintf(b->file, sizeof(b->file), "/tmp/outside-test-%d", (int)getpid());
	FILE *file = fopen(b->file, "w");
	cr_assert(file);
	(void)fprintf(file, "nameserver %s\n", server);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount(b->file, "/etc/resolv.conf", NULL, MS_BIND, NULL), 0);
	b->seen = mmap(
		NULL, sizeof(*b->seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(b->seen, MAP_FAILED);
	int fd = socket(sa->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	cr_assert_eq(bind(fd, sa, sa_len), 0, "%s", strerror(errno));
	b->server = fork();
	if (b->server == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* with a test that failed */
		serve(fd, habit, b->seen);
	}
	close(fd);
	const int sockets[2] = {socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
		socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
	outside_lookup_set(sockets, NULL, 0);
	outside_lookup_learn();
}

static void setup_v4(struct bench *b, enum habit habit)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(53)};

	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	run("ip link set lo up && ip addr add 192.0.2.53/32 dev lo");
	cr_assert_eq(inet_pton(AF_INET, "192.0.2.53", &sin.sin_addr), 1);
	setup(b, habit, "192.0.2.53", (const struct sockaddr *)&sin, sizeof(sin));
}

static void teardown(struct bench *b)
{
	(void)kill(b->server, SIGKILL);
	(void)waitpid(b->server, NULL, 0);
	(void)unlink(b->file);
}

/* @return 0 if the one address was found, else an EAI_ number */
static int look_up(void)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
	struct addrinfo *list = NULL;
	int error = outside_lookup("vpn.example.net", NULL, &hints, &list);

	if (error)
		return error;
	const struct sockaddr_in *sin = (const struct sockaddr_in *)(const void *)list->ai_addr;
	cr_assert_eq(sin->sin_family, AF_INET);
	cr_assert_eq(ntohl(sin->sin_addr.s_addr), 0xcb007107);
	cr_assert_eq(list->ai_next, NULL);
	freeaddrinfo(list);
	return 0;
}

static int compare(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* Who does not see the questions must guess the port, too, and each anew. */
Test(outside_lookup, each_question_has_a_port_of_its_own)
{
	struct bench b;

	setup_v4(&b, ANSWERS);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(look_up(), 0);
	cr_assert_geq(b.seen->count, 40);
	cr_assert_lt(b.seen->count, ASKED_MAX);
	qsort(b.seen->ports, b.seen->count, sizeof(b.seen->ports[0]), compare);
	unsigned different = 1;
	for (unsigned i = 1; i < b.seen->count; i++)
		different += b.seen->ports[i] != b.seen->ports[i - 1];
	cr_assert_geq(different, 15, "%u ports for 20 names", different);
	teardown(&b);
}

Test(outside_lookup, old_servers_are_asked_in_the_old_way)
{
	struct bench b;

	setup_v4(&b, REFUSES_ROOM);
	cr_assert_eq(look_up(), 0);
	cr_assert_geq(b.seen->with_room, 2);
	cr_assert_gt(b.seen->count, b.seen->with_room);
	teardown(&b);
}

Test(outside_lookup, what_was_cut_counts_with_what_it_has)
{
	struct bench b;

	setup_v4(&b, CUTS);
	cr_assert_eq(look_up(), 0);
	teardown(&b);
}

Test(outside_lookup, there_is_room_for_answers)
{
	struct bench b;

	setup_v4(&b, CUTS_ALL);
	cr_assert_eq(look_up(), 0, "with room it fits");
	teardown(&b);
}

Test(outside_lookup, a_server_that_is_not_there_is_no_wait)
{
	struct bench b;

	setup_v4(&b, ANSWERS);
	(void)kill(b.server, SIGKILL);
	(void)waitpid(b.server, NULL, 0);
	cr_assert_eq(look_up(), EAI_AGAIN);
	teardown(&b);
}

/* As usual where a router announces itself: fe80::1%eth0. */
Test(outside_lookup, servers_on_the_link_are_asked)
{
	struct bench b;

	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	run("ip link set lo up && ip -6 addr add fe80::53/64 dev lo nodad");
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6,
		.sin6_port = htons(53),
		.sin6_scope_id = if_nametoindex("lo")};
	cr_assert_eq(inet_pton(AF_INET6, "fe80::53", &sin6.sin6_addr), 1);
	setup(&b, ANSWERS, "fe80::53%lo", (const struct sockaddr *)&sin6, sizeof(sin6));
	cr_assert_eq(look_up(), 0);
	teardown(&b);
	struct kcpvpn_endpoint list[4];
	FILE *file = fopen(b.file, "w");
	cr_assert(file);
	(void)fprintf(file,
		"nameserver fe80::1%%%u\nnameserver fe80::2%%nonexistent\n"
		"nameserver fe80::3%%\nnameserver 192.0.2.1%%lo\n",
		sin6.sin6_scope_id);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(outside_servers_read(b.file, list, 4), 1);
	cr_assert_eq(list[0].scope_id, sin6.sin6_scope_id);
	cr_assert_eq(unlink(b.file), 0);
}

Test(dns_message, a_question_gives_room)
{
	static const uint8_t OPT[DNS_ROOM_BYTES] = {0, 0, 41, 0x04, 0xd0};
	uint8_t bytes[DNS_QUESTION_BYTES_MAX + DNS_ROOM_BYTES];

	size_t len = dns_question_write(1, "vpn.ex", DNS_A, bytes);
	cr_assert_eq(dns_question_give_room(bytes, len), len + sizeof(OPT));
	cr_assert_eq(bytes[11], 1);
	cr_assert_eq(memcmp(bytes + len, OPT, sizeof(OPT)), 0);
}

Test(dns_message, answers_that_were_cut)
{
	static const uint8_t RECORD[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 7};
	uint8_t question[DNS_QUESTION_BYTES_MAX + DNS_ROOM_BYTES], bytes[128];
	struct kcpvpn_endpoint list[4];
	size_t len = dns_question_write(7, "vpn.ex", DNS_A, question), count = 9;

	memcpy(bytes, question, len);
	bytes[2] = 0x83;
	bytes[3] = 0x80;
	cr_assert_eq(dns_answer_read(question, len, bytes, len, list, 4, &count), -EAGAIN,
		"nothing fitted");
	cr_assert_eq(count, 9);
	memcpy(bytes + len, RECORD, sizeof(RECORD));
	memcpy(bytes + len + sizeof(RECORD), RECORD, sizeof(RECORD));
	bytes[7] = 2;
	for (size_t cut = 0; cut <= sizeof(RECORD); cut++) {
		uint8_t *exact = malloc(len + sizeof(RECORD) + cut);
		memcpy(exact, bytes, len + sizeof(RECORD) + cut);
		cr_assert_eq(dns_answer_read(question, len, exact, len + sizeof(RECORD) + cut, list,
				     4, &count),
			0);
		cr_assert_eq(count, cut == sizeof(RECORD) ? 2 : 1, "%zu", cut);
		free(exact);
	}
}
