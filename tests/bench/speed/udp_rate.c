/*
 * How many UDP packets of a size a tunnel delivers: sends from one network namespace to another as fast as the socket
 * takes them, and counts what comes.
 *
 *     udp_rate single|bunches NETNS NETNS ADDRESS PORT BYTES SECONDS
 *
 * `single` hands the kernel packets of BYTES of payload, 64 with a call, and takes them as they come: what programs do
 * that know nothing of offloads. `bunches` hands over as many as one send with UDP_SEGMENT holds (64, or 64 KB), and
 * lets the receiving socket have them joined by UDP_GRO: what fast QUIC stacks do.
 *
 * A TUN device takes whatever is sent and drops what its queue does not hold, and a sender that does not stop takes the
 * processor from the tunnel it measures. So the sender, who sees what arrived because both ends are threads of one
 * process, keeps a window: it grows by an eighth each time it was delivered with a loss of LOST_PERCENT or less, and
 * shrinks to 7/10 otherwise. That finds the rate which a tunnel delivers without drowning it, within the first WARM_MS,
 * which do not count. The threads' own CPU time is given, too, because it takes from the tunnel's where all share the
 * cores. A packet begins with the number of the run, so that what an earlier run left in a queue does not count, and
 * its own number.
 *
 * Prints one line of JSON: sent, delivered (packets, of all the run), pps (delivered a second, after the warm-up),
 * lost_pct (of all the run), window (packets, at the end), foreign (packets of other runs or sizes), sender_cpu_s,
 * receiver_cpu_s.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	WARM_MS = 1000,
	GRACE_MS = 300,	     /* for what is on its way when the last was sent */
	BATCH = 64,	     /* messages with a call */
	BUNCH_BATCH = 4,     /* bunches with a call */
	BUNCH_PACKETS = 64,  /* UDP_MAX_SEGMENTS of kernels before 6.9 */
	BUNCH_BYTES = 65000, /* UDP's length field holds 65535 with headers */
	BYTES_MIN = 16,	     /* the label */
	BYTES_MAX = 1472,
	SECONDS_MAX = 3600,
	WINDOW_MIN = 16, /* packets; at least a bunch */
	WINDOW_FIRST = 128,
	WINDOW_MAX = 1 << 16,
	LOST_PERCENT = 1,
	STALL_NS = 20000000, /* nothing came for so long: what is on its way is lost */
	PAUSE_NS = 20000,    /* between looks at what arrived */
	SEND_BUFFER_BYTES = 4 << 20,
	RECEIVE_BUFFER_BYTES = 8 << 20,
	MESSAGE_BYTES = 1 << 16,
	NS_A_MS = 1000000,
};

/* What a packet begins with. */
struct label {
	uint64_t run, number;
};

struct flow {
	bool bunches;
	size_t bytes;
	uint64_t run;
	int64_t count_from_ns, send_until_ns;
	int out, in;
	uint64_t sent, counted, foreign, window;
	_Atomic uint64_t delivered, seen; /* packets; the highest number that came, and one */
	double sender_cpu_s, receiver_cpu_s;
};

/* The sender's: how many packets may be on their way. */
struct window {
	uint64_t packets, smallest;
	uint64_t forgiven; /* numbers below it are lost or arrived */
	uint64_t round_end, round_seen,
		round_delivered; /* a round: until what was sent by its start came */
	uint64_t moved_seen;
	int64_t moved_ns; /* when `seen` last grew */
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static double thread_cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "udp_rate: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int socket_in(const char *netns)
{
	char path[256];

	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(path);
	close(fd);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	return fd;
}

static void set_option(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		die(name);
}

/* Neither end waits forever: it looks at the clock in between. */
static void set_time_out(int fd, int option)
{
	struct timeval wait = {.tv_usec = 50000};

	if (setsockopt(fd, SOL_SOCKET, option, &wait, sizeof(wait)) < 0)
		die("SO_RCVTIMEO, SO_SNDTIMEO");
}

static void begin_round(struct window *w, uint64_t next, uint64_t seen, uint64_t delivered)
{
	w->round_end = next;
	w->round_seen = seen;
	w->round_delivered = delivered;
}

/* How many packets may be sent now. */
static uint64_t look(struct window *w, struct flow *flow, int64_t now)
{
	uint64_t delivered = atomic_load(&flow->delivered), seen = atomic_load(&flow->seen);

	if (seen != w->moved_seen) {
		w->moved_seen = seen;
		w->moved_ns = now;
	}
	if (seen < w->forgiven)
		seen = w->forgiven;
	if (seen >= w->round_end) {
		int64_t passed = (int64_t)(seen - w->round_seen);
		int64_t lost = passed - (int64_t)(delivered - w->round_delivered);
		if (lost * 100 > passed * LOST_PERCENT)
			w->packets = w->packets * 7 / 10;
		else
			w->packets += w->packets / 8;
		begin_round(w, flow->sent, seen, delivered);
	} else if (now - w->moved_ns > STALL_NS) {
		w->forgiven = seen = flow->sent;
		w->moved_ns = now;
		w->packets /= 2;
		begin_round(w, flow->sent, seen, delivered);
	}
	if (w->packets < w->smallest)
		w->packets = w->smallest;
	if (w->packets > WINDOW_MAX)
		w->packets = WINDOW_MAX;
	uint64_t on_the_way = flow->sent - seen;
	return on_the_way < w->packets ? w->packets - on_the_way : 0;
}

static void *send_packets(void *argument)
{
	struct flow *flow = argument;
	static uint8_t payload[BATCH * MESSAGE_BYTES];
	size_t packets = flow->bunches ? BUNCH_BYTES / flow->bytes : 1;
	size_t most = flow->bunches ? BUNCH_BATCH : BATCH;
	struct mmsghdr messages[BATCH] = {0};
	struct iovec vectors[BATCH];
	struct timespec pause = {.tv_nsec = PAUSE_NS};

	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	if (packets > BUNCH_PACKETS)
		packets = BUNCH_PACKETS;
	for (size_t i = 0; i < most; i++) {
		vectors[i] = (struct iovec){.iov_base = payload + i * packets * flow->bytes,
			.iov_len = packets * flow->bytes};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
	}
	struct window window = {.packets = WINDOW_FIRST, .moved_ns = now_ns()};
	window.smallest = packets > WINDOW_MIN ? packets : WINDOW_MIN;
	for (int64_t now; (now = now_ns()) < flow->send_until_ns;) {
		uint64_t room = look(&window, flow, now) / packets;
		if (room == 0) {
			nanosleep(&pause, NULL);
			continue;
		}
		size_t batch = room < most ? (size_t)room : most;
		for (size_t i = 0; i < batch * packets; i++) {
			struct label label = {.run = flow->run, .number = flow->sent + i};
			memcpy(payload + i * flow->bytes, &label, sizeof(label));
		}
		int sent = sendmmsg(flow->out, messages, (unsigned)batch, 0);
		if (sent > 0)
			flow->sent += (uint64_t)sent * packets;
		else if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR &&
			 errno != ECONNREFUSED)
			die("sendmmsg");
	}
	flow->window = window.packets;
	flow->sender_cpu_s = thread_cpu_s();
	return NULL;
}

/* How long each packet of a message is: a message of joined ones says so. */
static size_t segment_bytes(struct msghdr *message, size_t message_bytes)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		int bytes;
		if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO)
			continue;
		memcpy(&bytes, CMSG_DATA(c), sizeof(bytes));
		return bytes > 0 ? (size_t)bytes : message_bytes;
	}
	return message_bytes;
}

static void count(struct flow *flow, struct msghdr *message, size_t bytes, bool counts)
{
	struct label label;
	const uint8_t *payload = message->msg_iov->iov_base;

	if (bytes < flow->bytes || segment_bytes(message, bytes) != flow->bytes ||
		bytes % flow->bytes != 0) {
		flow->foreign++;
		return;
	}
	memcpy(&label, payload + bytes - flow->bytes, sizeof(label)); /* the last one's */
	if (label.run != flow->run) {
		flow->foreign++;
		return;
	}
	if (label.number >= atomic_load_explicit(&flow->seen, memory_order_relaxed))
		atomic_store(&flow->seen, label.number + 1);
	atomic_fetch_add(&flow->delivered, bytes / flow->bytes);
	if (counts)
		flow->counted += bytes / flow->bytes;
}

static void receive_packets(struct flow *flow)
{
	static uint8_t buffers[BATCH][MESSAGE_BYTES];
	static uint8_t controls[BATCH][CMSG_SPACE(sizeof(int))];
	static struct iovec vectors[BATCH];
	static struct mmsghdr messages[BATCH];
	int64_t until_ns = flow->send_until_ns + (int64_t)GRACE_MS * NS_A_MS;

	for (;;) {
		for (size_t i = 0; i < BATCH; i++) {
			vectors[i] = (struct iovec){
				.iov_base = buffers[i], .iov_len = sizeof(buffers[i])};
			messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i],
				.msg_iovlen = 1,
				.msg_control = controls[i],
				.msg_controllen = sizeof(controls[i])};
		}
		int got = recvmmsg(flow->in, messages, BATCH, MSG_WAITFORONE, NULL);
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			die("recvmmsg");
		int64_t now = now_ns();
		if (now >= until_ns)
			break;
		bool counts = now >= flow->count_from_ns && now < flow->send_until_ns;
		for (int i = 0; i < got; i++)
			count(flow, &messages[i].msg_hdr, messages[i].msg_len, counts);
	}
	flow->receiver_cpu_s = thread_cpu_s();
}

static long number(const char *text, long min, long max)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < min || value > max) {
		fprintf(stderr, "udp_rate: %s is not a number from %ld to %ld\n", text, min, max);
		exit(2);
	}
	return value;
}

static void open_sockets(struct flow *flow, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};

	if (inet_pton(AF_INET, argv[4], &at.sin_addr) != 1) {
		fprintf(stderr, "udp_rate: %s is no IPv4 address\n", argv[4]);
		exit(2);
	}
	at.sin_port = htons((uint16_t)number(argv[5], 1, 65535));
	flow->in = socket_in(argv[3]);
	set_option(flow->in, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES, "SO_RCVBUFFORCE");
	if (flow->bunches)
		set_option(flow->in, SOL_UDP, UDP_GRO, 1, "UDP_GRO");
	set_time_out(flow->in, SO_RCVTIMEO);
	if (bind(flow->in, (const struct sockaddr *)&at, sizeof(at)) < 0)
		die("bind");
	flow->out = socket_in(argv[2]);
	if (flow->bunches) {
		set_option(flow->out, SOL_UDP, UDP_SEGMENT, (int)flow->bytes, "UDP_SEGMENT");
		set_option(
			flow->out, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES, "SO_SNDBUFFORCE");
	}
	set_time_out(flow->out, SO_SNDTIMEO);
	if (connect(flow->out, (const struct sockaddr *)&at, sizeof(at)) < 0)
		die("connect");
}

int main(int argc, char **argv)
{
	struct flow flow = {0};
	pthread_t sender;

	if (argc != 8 || (strcmp(argv[1], "single") != 0 && strcmp(argv[1], "bunches") != 0)) {
		fprintf(stderr,
			"usage: udp_rate single|bunches NETNS NETNS ADDRESS PORT BYTES SECONDS\n");
		return 2;
	}
	flow.bunches = strcmp(argv[1], "bunches") == 0;
	flow.bytes = (size_t)number(argv[6], BYTES_MIN, BYTES_MAX);
	long seconds = number(argv[7], 1, SECONDS_MAX);
	if (getrandom(&flow.run, sizeof(flow.run), 0) != sizeof(flow.run))
		die("getrandom");
	open_sockets(&flow, argv);

	flow.count_from_ns = now_ns() + (int64_t)WARM_MS * NS_A_MS;
	flow.send_until_ns = flow.count_from_ns + (int64_t)seconds * 1000 * NS_A_MS;
	if (pthread_create(&sender, NULL, send_packets, &flow) != 0)
		die("pthread_create");
	receive_packets(&flow);
	pthread_join(sender, NULL);
	uint64_t delivered = atomic_load(&flow.delivered);
	printf("{\"sent\": %llu, \"delivered\": %llu, \"pps\": %.0f, \"lost_pct\": %.2f, "
	       "\"window\": %llu, "
	       "\"foreign\": %llu, \"sender_cpu_s\": %.3f, \"receiver_cpu_s\": %.3f}\n",
		(unsigned long long)flow.sent, (unsigned long long)delivered,
		(double)flow.counted / (double)seconds,
		flow.sent > 0 ? 100.0 - (double)delivered * 100.0 / (double)flow.sent : 0.0,
		(unsigned long long)flow.window, (unsigned long long)flow.foreign,
		flow.sender_cpu_s, flow.receiver_cpu_s);
	return 0;
}
