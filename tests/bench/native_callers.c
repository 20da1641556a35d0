/*
 * A step is a question and an answer over a pair of sockets:
 *
 *     -> now, count, that many parcels          <- next deadline, count, that many parcels
 *
 * A parcel travels without the unused end of its buffer. The callers' deadlines stand in a wheel; a caller comes to be when its
 * time to begin has come, which is the first deadline it has.
 */
#include "tests/bench/native_callers.h"

#include "core/wheel.h"
#include "tests/bench/native_site.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

_Static_assert(sizeof(((struct native_parcel *)0)->bytes) == (size_t)SITE_DATAGRAM_BYTES,
	"a parcel holds any datagram");

struct step_head {
	int64_t time_us;
	uint64_t count;
};

struct native_callers {
	pid_t pid;
	int fd;
	struct native_parcel *parcels;
};

struct caller {
	struct site site;
	struct wheel_timer timer;
};

/* In the process of the callers; site->out has no room for a context. */
static struct crowd {
	struct caller *callers; /* [0] is not used */
	uint32_t count;
	int64_t keepalive_us;
	struct wheel wheel;
	struct native_parcel *parcels;
	size_t sent;
} crowd;

/* ---- the pair of sockets ------------------------------------------------------------------------------------------- */

static void put(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno != EINTR)
			site_fail("the other process is gone");
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

/* @return false at the end */
static bool get(int fd, void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		ssize_t n = read(fd, at, len);
		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static void put_step(int fd, int64_t time_us, const struct native_parcel *parcels, size_t count)
{
	const struct step_head head = {time_us, count};

	put(fd, &head, sizeof(head));
	for (size_t i = 0; i < count; i++)
		put(fd, &parcels[i], offsetof(struct native_parcel, bytes) + parcels[i].len);
}

static bool get_step(int fd, int64_t *ret_time_us, struct native_parcel *parcels, size_t *ret_count)
{
	struct step_head head;

	if (!get(fd, &head, sizeof(head)))
		return false;
	if (head.count > NATIVE_PARCELS_MAX)
		site_fail("more datagrams in a step than there is room for");
	for (size_t i = 0; i < head.count; i++)
		if (!get(fd, &parcels[i], offsetof(struct native_parcel, bytes)) ||
			!get(fd, parcels[i].bytes, parcels[i].len))
			return false;
	*ret_time_us = head.time_us;
	*ret_count = head.count;
	return true;
}

/* ---- callers ------------------------------------------------------------------------------------------------------ */

static void keep(const struct site *from, uint32_t to, const uint8_t *bytes, size_t len)
{
	if (to != 0 || len > SITE_DATAGRAM_BYTES || crowd.sent == NATIVE_PARCELS_MAX)
		site_fail("a caller sends what cannot be carried");
	struct native_parcel *parcel = &crowd.parcels[crowd.sent++];
	parcel->caller = from->number;
	parcel->len = (uint32_t)len;
	memcpy(parcel->bytes, bytes, len);
}

static void turn(struct caller *caller, int64_t now_us)
{
	if (!caller->site.native) {
		caller->site.out = keep;
		site_open(&caller->site, (uint32_t)(caller - crowd.callers), 1, now_us);
		(void)site_know(&caller->site, 0, crowd.keepalive_us, true, now_us);
	}
	wheel_arm(&crowd.wheel, &caller->timer, mono_at_us(site_turn(&caller->site, now_us)));
}

static void step(const struct native_parcel *arrived, size_t count, int64_t now_us)
{
	struct wheel_timer *timer;

	crowd.sent = 0;
	for (size_t i = 0; i < count; i++) {
		struct caller *caller = &crowd.callers[arrived[i].caller];
		site_input(&caller->site, 0, arrived[i].bytes, arrived[i].len, now_us);
		turn(caller, now_us);
	}
	while ((timer = wheel_pop_due(&crowd.wheel, mono_at_us(now_us))) != NULL)
		turn(list_entry(timer, struct caller, timer), now_us);
}

_Noreturn static void run_crowd(int fd, int64_t gap_us, int64_t now_us)
{
	struct native_parcel *arrived = calloc(NATIVE_PARCELS_MAX, sizeof(*arrived));
	size_t count;

	crowd.callers = calloc((size_t)crowd.count + 1, sizeof(*crowd.callers));
	if (!arrived || !crowd.callers)
		site_fail("out of memory");
	wheel_init(&crowd.wheel, mono_at_us(now_us));
	for (uint32_t i = 1; i <= crowd.count; i++) {
		struct caller *caller = &crowd.callers[i];
		wheel_timer_init(&caller->timer);
		wheel_arm(&crowd.wheel, &caller->timer, mono_at_us(now_us + (i - 1) * gap_us));
	}
	while (get_step(fd, &now_us, arrived, &count)) {
		step(arrived, count, now_us);
		put_step(fd, wheel_next(&crowd.wheel).us, crowd.parcels, crowd.sent);
	}
	_exit(0);
}

/* ---- the other process --------------------------------------------------------------------------------------------- */

struct native_callers *native_callers_start(uint32_t count, int64_t gap_us, int64_t keepalive_us,
	int64_t now_us, struct native_parcel *parcels)
{
	struct native_callers *callers = malloc(sizeof(*callers));
	int fds[2];

	if (!callers || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		site_fail("socketpair");
	pid_t parent = getpid();
	callers->pid = fork();
	if (callers->pid < 0)
		site_fail("fork");
	if (callers->pid == 0) {
		/* Not to outlive a benchmark that is killed. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(fds[0]);
		crowd = (struct crowd){
			.count = count, .keepalive_us = keepalive_us, .parcels = parcels};
		run_crowd(fds[1], gap_us, now_us);
	}
	close(fds[1]);
	callers->fd = fds[0];
	callers->parcels = parcels;
	return callers;
}

size_t native_callers_step(struct native_callers *callers, const struct native_parcel *arrived,
	size_t count, int64_t now_us, int64_t *ret_next_us)
{
	size_t sent;

	put_step(callers->fd, now_us, arrived, count);
	if (!get_step(callers->fd, ret_next_us, callers->parcels, &sent))
		site_fail("the process of the callers ended");
	return sent;
}

void native_callers_stop(struct native_callers *callers)
{
	close(callers->fd);
	if (waitpid(callers->pid, NULL, 0) < 0)
		site_fail("waitpid");
	free(callers);
}
