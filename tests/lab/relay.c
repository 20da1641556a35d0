/*
 * One epoll, one timer. A packet is read into a slot of a pool and given to the model of its direction; when the model
 * says that it has left, it is written to the other device and its slot goes back. The clock is read for each packet
 * that comes in, so that a batch does not look like a burst.
 *
 * The timer is armed for an absolute instant and at least TIMER_SLACK_US away: at 500 Mb/s a packet leaves every
 * 22 us, and to wake up for each would cost more than to carry it. Delays are therefore up to 50 us long, never short.
 *
 * The kernel's own multicast (router and listener discovery) is left out: counters should show a test's packets only.
 */
#include "tests/lab/relay.h"

#include "core/pool.h"
#include "tests/lab/packet_damage.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH_PACKETS = 64,  /* read from one device before the other has its turn */
	SLOTS_MAX = 1 << 18, /* packets under way, both directions */
	TIMER_SLACK_US = 50,
	CLIENTS_MAX = 16,
};

struct packet {
	struct link_packet link;
	uint8_t bytes[];
};

struct client {
	int fd; /* -1 = free */
	size_t used;
	char line[LAB_LINE_BYTES];
};

struct relay {
	struct lab_links links;
	struct pool pool;
	int tun[LAB_DIRECTIONS];
	size_t packet_bytes; /* room for one packet */
	int epoll, timer, signals, control;
	struct mono armed_at;
	struct client clients[CLIENTS_MAX];
};

static struct mono clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return mono_at_us((int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000);
}

/* ---- packets ----------------------------------------------------------------------------------------------------- */

static bool is_link_chatter(const uint8_t *bytes, size_t len)
{
	if (len >= 20 && bytes[0] >> 4 == 4) /* 224.0.0.0/24 */
		return bytes[16] == 224 && bytes[17] == 0 && bytes[18] == 0;
	if (len >= 40 && bytes[0] >> 4 == 6) /* ff01::/16 and ff02::/16, whatever the flags */
		return bytes[24] == 0xff && (bytes[25] & 15) <= 2;
	return false;
}

static void deliver(struct relay *relay, enum lab_direction direction, struct mono now)
{
	struct link_departure leaves;
	int to = relay->tun[direction == LAB_A_TO_B ? LAB_B_TO_A : LAB_A_TO_B];

	while (link_model_pop(&relay->links.direction[direction], now, &leaves)) {
		struct packet *packet = list_entry(leaves.packet, struct packet, link);
		size_t len = packet->link.len;
		if (!leaves.lost) {
			if (leaves.corrupt)
				packet_damage(packet->bytes, len, leaves.entropy);
			if (write(to, packet->bytes, len) != (ssize_t)len)
				relay->links.counters.write_errors++;
		}
		if (leaves.last)
			pool_return(&relay->pool, packet);
	}
}

/* Reads a batch from a device. @return 0, or a negative errno if the device is gone */
static int take_in(struct relay *relay, enum lab_direction direction)
{
	struct link_model *link = &relay->links.direction[direction];

	for (int i = 0; i < BATCH_PACKETS; i++) {
		struct packet *packet = pool_take(&relay->pool);
		if (!packet) {
			uint8_t waste;
			if (read(relay->tun[direction], &waste, 1) > 0)
				relay->links.counters.no_slot++;
			return 0;
		}
		ssize_t len = read(relay->tun[direction], packet->bytes, relay->packet_bytes);
		if (len <= 0) {
			pool_return(&relay->pool, packet);
			return len == 0 || errno == EAGAIN || errno == EINTR ? 0 : -errno;
		}
		if (is_link_chatter(packet->bytes, (size_t)len)) {
			relay->links.counters.ignored++;
			pool_return(&relay->pool, packet);
			continue;
		}
		packet->link.len = (uint32_t)len;
		if (!link_model_push(link, &packet->link, clock_now()))
			pool_return(&relay->pool, packet);
	}
	return 0;
}

static void arm(struct relay *relay, struct mono now)
{
	struct mono next = mono_min(link_model_next(&relay->links.direction[LAB_A_TO_B]),
		link_model_next(&relay->links.direction[LAB_B_TO_A]));
	struct itimerspec at = {0};

	if (!mono_is_never(next)) {
		next = mono_max(next, mono_add_us(now, TIMER_SLACK_US));
		if (!mono_before(next, relay->armed_at) && mono_before(now, relay->armed_at))
			return; /* the earlier wake-up that is armed looks again */
		at.it_value.tv_sec = next.us / 1000000;
		at.it_value.tv_nsec = next.us % 1000000 * 1000;
	} else if (mono_is_never(relay->armed_at)) {
		return;
	}
	relay->armed_at = next;
	timerfd_settime(relay->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* ---- control ----------------------------------------------------------------------------------------------------- */

static void client_close(struct client *client)
{
	close(client->fd);
	client->fd = -1;
}

static void client_accept(struct relay *relay)
{
	int fd = accept4(relay->control, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &relay->clients[i];
		if (client->fd >= 0)
			continue;
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
		if (epoll_ctl(relay->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
			break;
		client->fd = fd;
		client->used = 0;
		return;
	}
	close(fd);
}

static void client_input(struct relay *relay, struct client *client)
{
	char reply[LAB_REPLY_BYTES + 1];
	ssize_t got =
		read(client->fd, client->line + client->used, sizeof(client->line) - client->used);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		client_close(client);
		return;
	}
	client->used += (size_t)got;
	char *end;
	while ((end = memchr(client->line, '\n', client->used)) != NULL) {
		size_t len = (size_t)(end - client->line) + 1;
		*end = '\0';
		lab_command_run(&relay->links, client->line, clock_now(), reply);
		client->used -= len;
		memmove(client->line, client->line + len, client->used);
		len = strlen(reply);
		reply[len++] = '\n';
		if (send(client->fd, reply, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len) {
			client_close(client);
			return;
		}
	}
	if (client->used == sizeof(client->line))
		client_close(client);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static int watch(struct relay *relay, int fd, void *what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

	return epoll_ctl(relay->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int relay_new(const struct relay_options *options, struct relay **ret_relay)
{
	struct relay *relay = calloc(1, sizeof(*relay));
	sigset_t signals;
	int err = 0;

	if (!relay)
		return -ENOMEM;
	struct mono now = clock_now();
	relay->packet_bytes = options->mtu;
	pool_init(&relay->pool, sizeof(struct packet) + relay->packet_bytes, SLOTS_MAX);
	for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
		relay->tun[d] = options->tun[d];
		link_model_init(&relay->links.direction[d], &options->config[d],
			options->seed * LAB_DIRECTIONS + d, now);
	}
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		relay->clients[i].fd = -1;
	relay->control = options->control;
	relay->armed_at = MONO_NEVER;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	relay->signals = signalfd(-1, &signals, SFD_CLOEXEC);
	relay->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	relay->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (relay->signals < 0 || relay->timer < 0 || relay->epoll < 0)
		err = -errno;
	/* Each watched descriptor is known by the address of the field that holds it. */
	for (size_t d = 0; d < LAB_DIRECTIONS && !err; d++)
		err = watch(relay, relay->tun[d], &relay->tun[d]);
	if (!err)
		err = watch(relay, relay->timer, &relay->timer);
	if (!err)
		err = watch(relay, relay->signals, &relay->signals);
	if (!err && relay->control >= 0)
		err = watch(relay, relay->control, &relay->control);
	if (err) {
		relay_free(relay);
		return err;
	}
	*ret_relay = relay;
	return 0;
}

void relay_free(struct relay *relay)
{
	struct link_departure leaves;

	if (!relay)
		return;
	for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
		struct link_model *link = &relay->links.direction[d];
		while (link_model_pop(link, MONO_NEVER, &leaves)) {
			if (leaves.last)
				pool_return(&relay->pool,
					list_entry(leaves.packet, struct packet, link));
		}
		link_model_fini(link);
	}
	pool_fini(&relay->pool);
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (relay->clients[i].fd >= 0)
			client_close(&relay->clients[i]);
	}
	const int fds[] = {relay->signals, relay->timer, relay->epoll};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	free(relay);
}

int relay_run(struct relay *relay)
{
	struct epoll_event events[16];
	uint64_t expirations;

	for (;;) {
		int count = epoll_wait(relay->epoll, events, 16, -1);
		if (count < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < count; i++) {
			void *what = events[i].data.ptr;
			int err = 0;
			if (what == &relay->tun[LAB_A_TO_B])
				err = take_in(relay, LAB_A_TO_B);
			else if (what == &relay->tun[LAB_B_TO_A])
				err = take_in(relay, LAB_B_TO_A);
			else if (what == &relay->signals)
				return 0;
			else if (what == &relay->control)
				client_accept(relay);
			else if (what != &relay->timer)
				client_input(relay, what);
			else if (read(relay->timer, &expirations, sizeof(expirations)) > 0)
				relay->armed_at = MONO_NEVER;
			if (err)
				return err;
		}
		struct mono now = clock_now();
		deliver(relay, LAB_A_TO_B, now);
		deliver(relay, LAB_B_TO_A, now);
		arm(relay, now);
	}
}
