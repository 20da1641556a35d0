/* A real helper with a real device, in a network namespace of each test's own. The worker here stays root. */
#include "config/config.h"
#include "core/log.h"
#include "vpnd/broker.h"
#include "vpnd/broker_msg.h"
#include "vpnd/control_socket.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/netlink.h"
#include "vpnd/privileges.h"
#include "vpnd/tun.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD "version: 1\nwire: kcp-go\nkcp_go: {key: secret, allow_unauthenticated: true}\n"
#define FIRST                                                                              \
	HEAD "interface: {name: dev0, addresses: [10.0.0.1/24, \"fd00::1/64\"]}\nlisten: " \
	     "[\"[::]:443\"]\n"                                                            \
	     "peers: {a: {allowed_ips: [10.1.0.0/16, \"fd01::/48\"]}}\n"

static struct config_report report;

struct bench {
	char folder[64];
	char file[96];
	struct loop *loop;
	struct netlink *netlink;
	struct tun tun;
	struct config *config;
	struct control_socket control;
	struct broker *broker;
	struct host_net host;
	struct fault fault;
	struct log log;
	char said[4096];
};

static void note(void *ctx, enum log_level level, const char *text)
{
	struct bench *b = ctx;
	size_t used = strlen(b->said);

	(void)level;
	(void)snprintf(b->said + used, sizeof(b->said) - used, "%s\n", text);
}

static void put(const struct bench *b, const char *text)
{
	FILE *file = fopen(b->file, "w");
	cr_assert(file);
	cr_assert(fputs(text, file) >= 0);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(chmod(b->file, 0600), 0);
}

static void setup_with(struct bench *b, unsigned extra, int answer_ms)
{
	struct tun_options options = {.name = "dev0"};
	char path[100];

	memset(b, 0, sizeof(*b));
	b->log = (struct log){note, b, LOG_LEVEL_DEBUG};
	(void)snprintf(b->folder, sizeof(b->folder), "/tmp/broker-test-XXXXXX");
	cr_assert(mkdtemp(b->folder));
	(void)snprintf(b->file, sizeof(b->file), "%s/net.yaml", b->folder);
	put(b, FIRST);
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	cr_assert_eq(loop_new(&b->loop), 0);
	cr_assert_eq(netlink_new(&b->netlink, &b->fault), 0);
	cr_assert_eq(tun_open(&b->tun, &options, &b->fault), 0, "%s", b->fault.text);
	cr_assert_eq(
		config_load(b->file, NULL, &b->config, &report), 0, "%s", report.errors[0].text);
	(void)snprintf(path, sizeof(path), "%s/c/control.sock", b->folder);
	cr_assert_eq(control_socket_open(path, (gid_t)-1, &b->control, NULL), 0);
	const struct broker_setup setup = {
		.ifindex = b->tun.ifindex,
		.file = b->file,
		.config = b->config,
		.control = &b->control,
		.extra = extra,
		.answer_ms = answer_ms,
		.log = &b->log,
	};
	cr_assert_eq(broker_new(b->loop, &setup, &b->broker, &b->fault), 0, "%s", b->fault.text);
	b->host = broker_host_net(b->broker);
}

static void setup(struct bench *b, unsigned extra)
{
	setup_with(b, extra, 0);
}

static void teardown(struct bench *b)
{
	char command[128];

	broker_free(b->broker);
	tun_close(&b->tun);
	close(b->control.fd);
	config_free(b->config);
	netlink_free(b->netlink);
	loop_free(b->loop);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", b->folder);
	cr_assert_eq(system(command), 0);
}

static pid_t helper_of(pid_t pid)
{
	char path[64];
	int child = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	FILE *file = fopen(path, "r");
	cr_assert(file);
	cr_assert_eq(fscanf(file, "%d", &child), 1);
	(void)fclose(file);
	return child;
}

static unsigned long long status_hex(pid_t pid, const char *key)
{
	char path[64], line[256];
	unsigned long long value = ~0ULL;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "r");
	cr_assert(file);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
			value = strtoull(line + strlen(key) + 1, NULL, 16);
	}
	(void)fclose(file);
	return value;
}

/* Prints what `ip` says of the device; a shell is at hand wherever tests run. */
static bool ip_says(const char *arguments, const char *what)
{
	char command[200];

	(void)snprintf(command, sizeof(command), "ip %s | grep -q -- '%s'", arguments, what);
	return system(command) == 0;
}

struct outcome {
	bool there;
	int fd;
	struct fault fault;
};

static void on_read(void *ctx, int fd, const struct fault *fault)
{
	struct outcome *outcome = ctx;

	cr_assert_not(outcome->there);
	*outcome = (struct outcome){true, fd, *fault};
}

/* Reads the configuration as a reload does. @return as config_load(), or what came of the reading */
static int load(struct bench *b, const char *file, struct config **ret)
{
	struct outcome read = {0};
	int error = broker_read_config(b->broker, on_read, &read, &b->fault);

	while (!error && !read.there)
		cr_assert_geq(loop_turn(b->loop, true), 0);
	if (error)
		return error;
	b->fault = read.fault;
	if (read.fault.err)
		return read.fault.err;
	error = broker_load_record(read.fd, file, NULL, ret, &report, &b->fault);
	close(read.fd);
	return error;
}

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix prefix;

	cr_assert_eq(ip_prefix_parse(text, &prefix), 0);
	return prefix;
}

static int address(struct bench *b, const char *text, bool add)
{
	struct ip_prefix p = prefix(text);
	return b->host.ops->address(b->host.ctx, b->tun.ifindex, &p, add, &b->fault);
}

static int route(struct bench *b, const char *text, uint8_t protocol, enum host_route_verb verb)
{
	struct netlink_route r = {
		.destination = prefix(text),
		.ifindex = b->tun.ifindex,
		.table = NETLINK_TABLE_MAIN,
		.metric = NETLINK_METRIC,
		.protocol = protocol,
	};
	return b->host.ops->route(b->host.ctx, &r, verb, &b->fault);
}

Test(broker, does_on_the_own_device_what_the_configuration_asks_for)
{
	struct bench b;

	setup(&b, 0);
	cr_assert_eq(b.host.ops->set_mtu(b.host.ctx, b.tun.ifindex, 1298, &b.fault), 0);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), 0, "%s", b.fault.text);
	cr_assert_eq(address(&b, "fd00::1/64", true), 0);
	cr_assert_eq(b.host.ops->set_up(b.host.ctx, b.tun.ifindex, true, &b.fault), 0);
	cr_assert_eq(route(&b, "10.1.0.0/16", 201, HOST_ROUTE_ADD), 0, "%s", b.fault.text);
	cr_assert_eq(route(&b, "10.1.0.0/16", 201, HOST_ROUTE_ADD), 0, "again");
	cr_assert_eq(route(&b, "fd01::/48", 201, HOST_ROUTE_ADD), 0);
	cr_assert(ip_says("link show dev0", "mtu 1298"));
	cr_assert(ip_says("link show dev0", "[<,]UP"));
	cr_assert(ip_says("addr show dev0", "10.0.0.1/24"));
	cr_assert(ip_says("route", "10.1.0.0/16 dev dev0 proto 201"));
	cr_assert(ip_says("-6 route", "fd01::/48 dev dev0 proto 201"));
	cr_assert_eq(route(&b, "10.1.0.0/16", 201, HOST_ROUTE_REMOVE), 0);
	cr_assert_not(ip_says("route", "10.1.0.0/16"));
	cr_assert_eq(address(&b, "10.0.0.1/24", false), 0);
	cr_assert_eq(b.host.ops->set_up(b.host.ctx, b.tun.ifindex, false, &b.fault), 0);
	cr_assert_not(ip_says("link show dev0", "[<,]UP"));
	cr_assert_eq(route(&b, "10.1.0.0/16", 201, HOST_ROUTE_ADD), -ENETDOWN, "the kernel's word");
	cr_assert(strstr(b.fault.text, "add the route to 10.1.0.0/16"));
	teardown(&b);
}

Test(broker, refuses_the_rest)
{
	struct bench b;
	struct ip_prefix own;

	setup(&b, 0);
	cr_assert_eq(b.host.ops->set_up(b.host.ctx, b.tun.ifindex, true, &b.fault), 0);
	cr_assert_eq(route(&b, "0.0.0.0/0", 201, HOST_ROUTE_ADD), -EPERM);
	cr_assert_str_eq(b.fault.code, "E-PRIV-6");
	cr_assert_eq(route(&b, "10.1.0.0/16", 4, HOST_ROUTE_ADD), -EPERM);
	cr_assert_eq(route(&b, "10.1.0.0/16", 2, HOST_ROUTE_REMOVE), -EPERM);
	cr_assert_eq(address(&b, "10.0.0.2/24", true), -EPERM);
	own = prefix("10.0.0.1/24");
	cr_assert_eq(b.host.ops->address(b.host.ctx, 1, &own, true, &b.fault), -EPERM, "lo");
	cr_assert_not(ip_says("addr show", "10.0.0"));
	cr_assert_not(ip_says("route", "dev0 proto"));
	teardown(&b);
}

Test(broker, keeps_one_capability_and_no_descriptor_of_the_worker)
{
	struct bench b;
	char path[64], target[256];
	int count = 0;

	setup(&b, 0);
	pid_t helper = helper_of(getpid());
	cr_assert_eq(status_hex(helper, "CapEff"), 1ULL << 12, "CAP_NET_ADMIN");
	cr_assert_eq(status_hex(helper, "CapPrm"), 1ULL << 12);
	cr_assert_eq(status_hex(helper, "CapInh"), 0);
	cr_assert_eq(status_hex(helper, "CapAmb"), 0);
	cr_assert_eq(status_hex(helper, "CapBnd"), 0);
	cr_assert_eq(status_hex(helper, "NoNewPrivs"), 1);
	cr_assert_eq(status_hex(helper, "Seccomp"), 2);
	for (int fd = 3; fd < 256; fd++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)helper, fd);
		ssize_t len = readlink(path, target, sizeof(target) - 1);
		if (len < 0)
			continue;
		target[len] = '\0';
		cr_assert_eq(strncmp(target, "socket:", 7), 0, "%d is %s", fd, target);
		count++;
	}
	cr_assert_eq(count, 2, "its end of the pair, and netlink");
	teardown(&b);
}

Test(broker, keeps_what_the_configuration_takes)
{
	struct bench b;
	struct kcpvpn_endpoint local = {.family = 6, .port = 443};
	int fd = -1;

	setup(&b, PRIVILEGES_READ_FILES | PRIVILEGES_LOW_PORTS);
	cr_assert_eq(
		status_hex(helper_of(getpid()), "CapPrm"), 1ULL << 12 | 1ULL << 10 | 1ULL << 2);
	cr_assert_eq(broker_udp_socket(b.broker, &local, false, 0, &fd, &b.fault), 0, "%s",
		b.fault.text);
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct kcpvpn_endpoint own;
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	cr_assert_eq(kcpvpn_endpoint_from_sockaddr((struct sockaddr *)&sa, len, &own), 0);
	cr_assert_eq(own.port, 443);
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	local.port = 53;
	cr_assert_eq(broker_udp_socket(b.broker, &local, false, 0, &fd, &b.fault), -EPERM,
		"not configured");
	cr_assert_eq(fd, -1);
	local = (struct kcpvpn_endpoint){.family = 4};
	cr_assert_eq(broker_udp_socket(b.broker, &local, false, 0, &fd, &b.fault), 0);
	int buffer = 0;
	len = sizeof(buffer);
	cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, &len), 0);
	cr_assert_geq(buffer, 8 << 20, "forced, so twice what was asked");
	close(fd);
	teardown(&b);
}

Test(broker, reads_the_configuration_for_the_worker)
{
	struct bench b;
	struct config *after = NULL;

	setup(&b, 0);
	put(&b, HEAD "interface: {name: dev0, addresses: [10.0.0.9/24]}\n"
		     "peers: {n: {allowed_ips: [10.9.0.0/16]}}\n");
	cr_assert_eq(address(&b, "10.0.0.9/24", true), -EPERM, "not read yet");
	cr_assert_eq(load(&b, b.file, &after), 0, "%s", report.errors[0].text);
	cr_assert_str_eq(after->peers[0].name, "n");
	cr_assert_str_eq(after->kcp_go.key, "secret");
	config_free(after);
	cr_assert_eq(address(&b, "10.0.0.9/24", true), 0);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), 0, "still in force");
	broker_keep_config(b.broker);
	cr_assert_eq(address(&b, "fd00::1/64", true), -EPERM, "no longer");
	put(&b, "version: 1\nnonsense: 2\n");
	cr_assert_lt(load(&b, b.file, &after), 0);
	cr_assert_eq(b.fault.err, 0, "the file is bad, not the helper");
	cr_assert_gt(report.error_count, 0);
	cr_assert(strstr(report.errors[0].text, "nonsense"));
	cr_assert_eq(unlink(b.file), 0);
	cr_assert_lt(load(&b, b.file, &after), 0);
	cr_assert_eq(report.read_error, -ENOENT);
	cr_assert_eq(address(&b, "10.0.0.9/24", true), 0, "what is in force stays so");
	put(&b, FIRST);
	cr_assert_eq(load(&b, "other.yaml", &after), -4096, "it reads its own file only");
	teardown(&b);
}

Test(broker, the_end_removes_the_control_socket)
{
	struct bench b;
	char path[100];

	setup(&b, 0);
	pid_t helper = helper_of(getpid());
	(void)snprintf(path, sizeof(path), "%s/c", b.folder);
	cr_assert_eq(access(b.control.path, F_OK), 0);
	broker_free(b.broker);
	b.broker = NULL;
	cr_assert_eq(access(b.control.path, F_OK), -1);
	cr_assert_eq(access(path, F_OK), -1);
	cr_assert_eq(kill(helper, 0), -1, "and nothing is left of it");
	teardown(&b);
}

static void expect_gone(struct bench *b)
{
	struct config *config = NULL;

	cr_assert_not(broker_alive(b->broker));
	cr_assert_eq(address(b, "10.0.0.1/24", true), -EPIPE);
	cr_assert_str_eq(b->fault.code, "E-PRIV-5");
	cr_assert_eq(load(b, b->file, &config), -EPIPE);
	cr_assert_eq(b->fault.err, -EPIPE);
	cr_assert(strstr(b->said, "the helper process is gone"));
}

Test(broker, a_helper_that_dies_is_noticed_by_the_loop)
{
	struct bench b;

	setup(&b, 0);
	pid_t helper = helper_of(getpid());
	cr_assert(broker_alive(b.broker));
	cr_assert_eq(kill(helper, SIGKILL), 0);
	cr_assert_geq(loop_turn(b.loop, true), 1);
	cr_assert_eq(waitpid(helper, NULL, 0), -1, "no zombie");
	expect_gone(&b);
	teardown(&b);
}

Test(broker, a_helper_that_dies_is_noticed_by_a_request)
{
	struct bench b;

	setup(&b, 0);
	cr_assert_eq(kill(helper_of(getpid()), SIGKILL), 0);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), -EPIPE);
	expect_gone(&b);
	teardown(&b);
}

/* The worker's end of the pair: the only SEQPACKET socket here. */
static int worker_end(void)
{
	for (int fd = 3; fd < 64; fd++) {
		int type = 0;
		socklen_t len = sizeof(type);
		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET)
			return fd;
	}
	cr_assert(false, "there is no pair");
	return -1;
}

static bool said(const struct bench *b, const char *what, int times)
{
	const char *at = b->said;

	for (; (at = strstr(at, what)) != NULL; at++)
		times--;
	return times == 0;
}

static int lowest_unused(void)
{
	int fd = open("/dev/null", O_RDONLY);

	close(fd);
	return fd;
}

static void stop_process(pid_t pid)
{
	char path[64], line[256] = "";

	cr_assert_eq(kill(pid, SIGSTOP), 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	while (!strstr(line, ") T ")) { /* the signal is on its way */
		FILE *file = fopen(path, "r");
		cr_assert(file && fgets(line, sizeof(line), file));
		(void)fclose(file);
	}
}

/* One request is waited for; what comes after it is not even sent, until the answer is there after all. */
Test(broker, a_stuck_helper_is_waited_for_once)
{
	struct bench b;
	struct config *config = NULL;
	int fd = -1;
	const struct kcpvpn_endpoint local = {.family = 4};

	setup_with(&b, 0, 200);
	pid_t helper = helper_of(getpid());
	stop_process(helper);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), -ETIMEDOUT);
	cr_assert_str_eq(b.fault.code, "E-PRIV-5");
	struct mono then = loop_clock();
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(address(&b, "fd00::1/64", true), -ETIMEDOUT);
	cr_assert_lt(mono_diff_us(loop_clock(), then), 1000 * 200000 / 10, "at once");
	cr_assert_eq(broker_udp_socket(b.broker, &local, false, 0, &fd, &b.fault), -ETIMEDOUT);
	cr_assert_eq(load(&b, b.file, &config), -ETIMEDOUT);
	cr_assert(broker_alive(b.broker), "it may come back");
	cr_assert(said(&b, "is stuck", 1), "%s", b.said);

	cr_assert_eq(kill(helper, SIGCONT), 0);
	cr_assert_geq(loop_turn(b.loop, true), 1, "the late answer");
	cr_assert(said(&b, "answers again", 1), "%s", b.said);
	cr_assert(ip_says("addr show dev0", "10.0.0.1/24"), "it was done late");
	cr_assert_not(ip_says("addr show dev0", "fd00::1/64"), "it was never asked for");
	cr_assert_eq(address(&b, "fd00::1/64", true), 0, "%s", b.fault.text);
	teardown(&b);
}

/* The same without the loop, and once more. */
Test(broker, a_request_finds_that_the_helper_is_back)
{
	struct bench b;

	setup_with(&b, 0, 200);
	pid_t helper = helper_of(getpid());
	for (int i = 1; i <= 2; i++) {
		struct pollfd late = {.fd = worker_end(), .events = POLLIN};
		stop_process(helper);
		cr_assert_eq(address(&b, "10.0.0.1/24", true), -ETIMEDOUT);
		cr_assert_eq(kill(helper, SIGCONT), 0);
		cr_assert_eq(poll(&late, 1, -1), 1);
		cr_assert_eq(address(&b, "10.0.0.1/24", true), 0, "%s", b.fault.text);
		cr_assert(said(&b, "is stuck", i) && said(&b, "answers again", i), "%s", b.said);
	}
	stop_process(helper);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), -ETIMEDOUT);
	cr_assert_eq(kill(helper, SIGKILL), 0);
	cr_assert_geq(loop_turn(b.loop, true), 1);
	expect_gone(&b);
	teardown(&b);
}

static void on_back(void *ctx)
{
	(*(int *)ctx)++;
}

/* Nobody waits for a configuration that takes its time; what is asked meanwhile is waited for as usual. */
Test(broker, packets_flow_while_the_configuration_is_read)
{
	struct bench b;
	struct outcome read = {0};
	struct config *config = NULL;
	int back = 0;

	setup_with(&b, 0, 200);
	broker_set_on_back(b.broker, on_back, &back);
	pid_t helper = helper_of(getpid());
	int unused = lowest_unused();
	stop_process(helper);
	struct mono then = loop_clock();
	cr_assert_eq(broker_read_config(b.broker, on_read, &read, &b.fault), 0);
	cr_assert_lt(mono_diff_us(loop_clock(), then), 100000, "it does not wait");
	cr_assert_not(broker_stuck(b.broker));
	/* one order behind it: no longer than any other */
	cr_assert_eq(address(&b, "10.0.0.1/24", true), -ETIMEDOUT);
	cr_assert(broker_stuck(b.broker));
	cr_assert_not(read.there, "not in the middle of an order");
	/* its own time is over */
	while (!read.there)
		cr_assert_geq(loop_turn(b.loop, true), 0);
	cr_assert_eq(read.fault.err, -ETIMEDOUT);
	cr_assert_str_eq(read.fault.code, "E-PRIV-5");
	cr_assert(said(&b, "is stuck", 1), "%s", b.said);
	cr_assert_eq(broker_read_config(b.broker, on_read, &read, &b.fault), -ETIMEDOUT);
	cr_assert_eq(back, 0);
	cr_assert_eq(kill(helper, SIGCONT), 0);
	while (broker_stuck(b.broker))
		cr_assert_geq(loop_turn(b.loop, true), 0);
	cr_assert_eq(back, 1);
	cr_assert_eq(lowest_unused(), unused, "the descriptor of the late answer is closed");
	cr_assert_eq(load(&b, b.file, &config), 0);
	config_free(config);
	teardown(&b);
}

Test(broker, an_order_does_not_lose_the_configuration_before_it)
{
	struct bench b;
	struct outcome read = {0};
	struct config *config = NULL;

	setup(&b, 0);
	pid_t helper = helper_of(getpid());
	stop_process(helper);
	cr_assert_eq(broker_read_config(b.broker, on_read, &read, &b.fault), 0);
	cr_assert_eq(kill(helper, SIGCONT), 0);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), 0, "%s", b.fault.text);
	cr_assert_not(read.there);
	cr_assert_geq(loop_turn(b.loop, true), 0);
	cr_assert(read.there);
	cr_assert_eq(read.fault.err, 0);
	cr_assert_eq(broker_load_record(read.fd, b.file, NULL, &config, &report, &b.fault), 0, "%s",
		report.errors[0].text);
	close(read.fd);
	config_free(config);
	/* the helper dies on it */
	read.there = false;
	stop_process(helper);
	cr_assert_eq(broker_read_config(b.broker, on_read, &read, &b.fault), 0);
	cr_assert_eq(kill(helper, SIGKILL), 0);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), -EPIPE);
	cr_assert_not(read.there);
	cr_assert_geq(loop_turn(b.loop, true), 0);
	cr_assert_eq(read.fault.err, -EPIPE);
	expect_gone(&b);
	teardown(&b);
}

/* A daemon that stops in the middle of it waits for it no longer than for anything else, and hears no more of it. */
Test(broker, the_end_does_not_wait_for_the_configuration)
{
	struct bench b;
	struct outcome read = {0};

	setup(&b, 0);
	pid_t helper = helper_of(getpid());
	stop_process(helper);
	cr_assert_eq(broker_read_config(b.broker, on_read, &read, &b.fault), 0);
	struct mono then = loop_clock();
	broker_begin_stop(b.broker);
	broker_free(b.broker);
	b.broker = NULL;
	cr_assert_lt(mono_diff_us(loop_clock(), then), BROKER_ANSWER_MS * 1000);
	cr_assert_geq(loop_turn(b.loop, false), 0);
	cr_assert_not(read.there);
	cr_assert_eq(kill(helper, SIGCONT), 0);
	cr_assert_eq(waitpid(helper, NULL, 0), helper);
	teardown(&b);
}

Test(broker, the_end_forgets_what_was_read)
{
	struct bench b;
	struct outcome read = {0};

	setup(&b, 0);
	int unused = lowest_unused(), end = worker_end();
	cr_assert_eq(broker_read_config(b.broker, on_read, &read, &b.fault), 0);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), 0, "so that one is answered, too");
	cr_assert_neq(lowest_unused(), unused, "and not told yet");
	broker_free(b.broker);
	b.broker = NULL;
	cr_assert_geq(loop_turn(b.loop, false), 0);
	cr_assert_not(read.there);
	cr_assert_eq(lowest_unused(), end < unused ? end : unused, "its descriptor is closed");
	teardown(&b);
}

/* However much there is to ask for, and however long each may take. */
Test(broker, the_end_has_one_deadline)
{
	struct bench b;

	broker_begin_stop(NULL);
	setup_with(&b, 0, 3600000);
	pid_t helper = helper_of(getpid());
	cr_assert_eq(address(&b, "10.0.0.1/24", true), 0);
	stop_process(helper);
	broker_begin_stop(b.broker);
	struct mono then = loop_clock();
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(address(&b, "10.0.0.1/24", false), -ETIMEDOUT);
	broker_free(b.broker); /* waits for an hour, if it waits */
	b.broker = NULL;
	int64_t took_us = mono_diff_us(loop_clock(), then);
	cr_assert_geq(took_us, (int64_t)BROKER_STOP_MS * 1000);
	cr_assert_lt(took_us, (int64_t)600 * 1000000);
	/* it sees that nobody asks any more, and tidies up */
	cr_assert_eq(kill(helper, SIGCONT), 0);
	cr_assert_eq(waitpid(helper, NULL, 0), helper);
	cr_assert_eq(access(b.control.path, F_OK), -1);
	teardown(&b);
}

/* Signals that a terminal or a service manager sends to all processes are not for the helper. */
Test(broker, a_helper_outlives_signals_for_the_daemon)
{
	static const int SIGNALS[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
	struct bench b;

	setup(&b, 0);
	pid_t helper = helper_of(getpid());
	for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(SIGNALS[0]); i++)
		cr_assert_eq(kill(helper, SIGNALS[i]), 0);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), 0);
	teardown(&b);
}

/* @how  the worker's last act. @return the folder, which outlives it */
static void lose_worker(char folder[64], pid_t *ret_helper, void (*how)(void))
{
	int pipe_fd[2];
	struct {
		char folder[64];
		pid_t helper;
	} news = {0};

	cr_assert_eq(pipe(pipe_fd), 0);
	pid_t worker = fork();
	if (worker == 0) {
		struct bench b;
		setup(&b, 0);
		memcpy(news.folder, b.folder, sizeof(news.folder));
		news.helper = helper_of(getpid());
		ssize_t put_bytes = write(pipe_fd[1], &news, sizeof(news));
		(void)put_bytes;
		how();
		_exit(0);
	}
	close(pipe_fd[1]);
	cr_assert_eq(read(pipe_fd[0], &news, sizeof(news)), (ssize_t)sizeof(news));
	cr_assert_eq(waitpid(worker, NULL, 0), worker);
	/* the helper has the pipe's end no more, so only its own end tells when it is done */
	close(pipe_fd[0]);
	memcpy(folder, news.folder, sizeof(news.folder));
	*ret_helper = news.helper;
}

static void killed(void)
{
	(void)kill(getpid(), SIGKILL);
}

Test(broker, a_worker_that_vanishes_leaves_nothing)
{
	char folder[64], path[100], command[128];
	pid_t helper;

	lose_worker(folder, &helper, killed);
	(void)snprintf(path, sizeof(path), "%s/c", folder);
	for (int i = 0; i < 500 && (access(path, F_OK) == 0 || kill(helper, 0) == 0); i++)
		usleep(10000);
	cr_assert_eq(access(path, F_OK), -1, "socket and folder are gone");
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	cr_assert_eq(system(command), 0);
}

/* What a worker that was taken over may send. */
Test(broker, nonsense_is_answered_and_survived)
{
	struct bench b;
	uint8_t bytes[1024];

	setup(&b, 0);
	int fd = worker_end();
	srand(9);
	for (int i = 0; i < 400; i++) {
		size_t len = i % 2 ? BROKER_REQUEST_BYTES : 1 + (size_t)rand() % sizeof(bytes);
		for (size_t k = 0; k < len; k++)
			bytes[k] = (uint8_t)rand();
		cr_assert_eq(send(fd, bytes, len, 0), (ssize_t)len);
		ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
		cr_assert_eq(got, BROKER_ANSWER_BYTES);
	}
	cr_assert_eq(address(&b, "10.0.0.1/24", true), 0, "it still works");
	cr_assert(ip_says("addr show dev0", "10.0.0.1/24"));
	teardown(&b);
}

/* An answer that came too late is not taken for the answer to another question. */
Test(broker, late_answers_are_dropped)
{
	struct bench b;
	struct config *config = NULL;
	struct broker_request request = {.verb = BROKER_READ_CONFIG, .sequence = 4000000000U};
	uint8_t bytes[BROKER_REQUEST_BYTES];

	setup(&b, 0);
	int fd = worker_end(), unused = lowest_unused();
	broker_request_write(&request, bytes);
	cr_assert_eq(send(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	cr_assert_eq(address(&b, "10.0.0.2/24", true), -EPERM);
	cr_assert_eq(address(&b, "10.0.0.1/24", true), 0);
	cr_assert_eq(load(&b, b.file, &config), 0);
	config_free(config);
	cr_assert_eq(lowest_unused(), unused, "the descriptor of the late answer is closed");
	teardown(&b);
}
