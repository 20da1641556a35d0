/* kcpctl: sets the scene for one run. */
#include "cli/cli.h"

#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static void on_alarm(int signal_number)
{
	static const char text[] = "kcpctl: E-CONN-7 timed out\n";
	ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)signal_number;
	(void)written;
	_exit(EXIT_TIMEOUT);
}

/* For what poll() does not bound: a file that is a pipe, a terminal that does not take the output. */
static void watchdog(int64_t timeout_ms)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval timer = {.it_value = {.tv_sec = (time_t)(timeout_ms / 1000),
					  .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000}};

	(void)sigaction(SIGALRM, &action, NULL);
	(void)setitimer(ITIMER_REAL, &timer, NULL);
}

int main(int argc, char **argv)
{
	static struct cli cli = {
		.run_dir = "/run/vpnd",
		.etc_dir = "/etc/vpnd",
		.systemd_dir = "/run/systemd/system",
		.watchdog = watchdog,
	};

	cli.out = stdout;
	cli.err = stderr;
	cli.in_fd = isatty(STDIN_FILENO) == 1 ? STDIN_FILENO : -1;
	cli.terminal = isatty(STDOUT_FILENO) == 1;
	return cli_run(&cli, argc, argv);
}
