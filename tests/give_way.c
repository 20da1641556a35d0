/*
 * A test program that was started in the scheduler's idle class stays behind all others with the tests that it runs.
 *
 * Criterion gives each test a session of its own, and where the kernel groups processes by session (sched_autogroup_enabled)
 * a class counts within a group only: alone in its group, an idle process takes as much as anybody. So the group becomes as
 * nice as groups can be.
 */
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

__attribute__((constructor)) static void give_way(void)
{
	int fd;

	/* The group of somebody else's session is not ours to change. */
	if (sched_getscheduler(0) != SCHED_IDLE || getsid(0) != getpid())
		return;
	fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* no such groups */
	/* Where that is refused it shares with the others. */
	ssize_t written = write(fd, "19", 2);
	(void)written;
	close(fd);
}
