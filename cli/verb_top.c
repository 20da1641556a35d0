/*
 * top: asks for the status once a second and draws it, until q is pressed. The terminal is given back as it was, whatever ends
 * this: a key, a signal, a daemon that goes. Errors are told afterwards, not into the screen.
 */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/top_model.h"
#include "cli/top_screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum {
	LOOK_MS = 1000,
	ANSWER_MS = 5000,
	COLUMNS_USUAL = 80,
	LINES_USUAL = 24,
};

static volatile sig_atomic_t ended, suspended;

static void on_end(int number)
{
	(void)number;
	ended = 1;
}

static void on_suspend(int number)
{
	(void)number;
	suspended = 1;
}

static void on_resize(int number)
{
	(void)number; /* poll() returns, and the next screen has the new size */
}

struct terminal {
	const struct cli *cli;
	struct termios before;
	bool keys;  /* the input is a terminal, and was set to give keys at once */
	bool drawn; /* the other screen is shown */
};

static void enter(struct terminal *t)
{
	struct termios raw;

	if (t->cli->in_fd >= 0 && tcgetattr(t->cli->in_fd, &t->before) == 0) {
		raw = t->before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VMIN] = 0;
		raw.c_cc[VTIME] = 0;
		t->keys = tcsetattr(t->cli->in_fd, TCSAFLUSH, &raw) == 0;
	}
	(void)fputs("\033[?1049h\033[?25l\033[2J", t->cli->out);
	t->drawn = true;
}

static void leave(struct terminal *t)
{
	if (!t->drawn)
		return;
	(void)fputs("\033[?25h\033[?1049l", t->cli->out);
	(void)fflush(t->cli->out);
	if (t->keys)
		(void)tcsetattr(t->cli->in_fd, TCSAFLUSH, &t->before);
	t->keys = t->drawn = false;
}

static void catch_signals(void)
{
	static const struct {
		int number;
		void (*handler)(int);
	} rows[] = {{SIGINT, on_end}, {SIGTERM, on_end}, {SIGHUP, on_end}, {SIGTSTP, on_suspend},
		{SIGWINCH, on_resize}};

	ended = suspended = 0;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sigaction action = {.sa_handler = rows[i].handler};
		(void)sigaction(rows[i].number, &action, NULL);
	}
}

static bool is_utf8(void)
{
	const char *names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *value = getenv(names[i]);
		if (value && *value)
			return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
	}
	return false;
}

static struct top_size size_of(const struct cli *cli)
{
	struct top_size size = {COLUMNS_USUAL, LINES_USUAL, is_utf8()};
	struct winsize window;

	if (ioctl(fileno(cli->out), TIOCGWINSZ, &window) == 0 && window.ws_col && window.ws_row) {
		size.columns = window.ws_col;
		size.lines = window.ws_row;
	}
	return size;
}

/* @return true if something is to be drawn anew */
static bool take_keys(struct top_model *model, int fd)
{
	char keys[32];
	bool any = false;
	ssize_t got = read(fd, keys, sizeof(keys));

	for (ssize_t i = 0; i < got; i++) {
		any = true;
		if (keys[i] == 's')
			model->sort = (model->sort + 1) % TOP_SORTS;
		else if (keys[i] == 'r')
			model->reverse = !model->reverse;
		else if (keys[i] == 'q' || keys[i] == 'Q')
			ended = 1;
		else
			any = false;
	}
	if (any)
		top_model_sort(model);
	return any;
}

/* Until the next look: keys, another size, a pause. */
static void idle(struct terminal *t, struct top_model *model, int64_t until_ms)
{
	const struct cli *cli = t->cli;
	int64_t left;

	while (!ended && (left = until_ms - cli_now_ms()) > 0) {
		struct pollfd key = {.fd = t->keys ? cli->in_fd : -1, .events = POLLIN};
		int ready = poll(&key, 1, (int)left);
		bool anew = ready > 0 && take_keys(model, cli->in_fd);
		if (ready > 0 && (key.revents & (POLLHUP | POLLERR | POLLNVAL)))
			ended = 1; /* the terminal is gone */
		if (suspended) {
			suspended = 0;
			leave(t);
			(void)raise(SIGSTOP);
			enter(t);
			anew = true;
		}
		if (t->drawn && (anew || (ready < 0 && errno == EINTR)))
			top_screen_draw(cli, model, size_of(cli));
	}
}

static int look(struct client *client, struct top_model *model)
{
	struct control_request request = {.method = CONTROL_STATUS};
	struct control_answer answer;
	struct control_status status;
	int exit_status = client_call(client, &request, &answer);

	if (exit_status)
		return exit_status;
	if (control_status_from_json(answer.result, &status)) {
		exit_status = cli_fail(client->cli, EXIT_OTHER, "E-CONN-9", NULL,
			"the daemon's status makes no sense");
	} else {
		if (top_model_update(model, &status, cli_now_ms()))
			exit_status =
				cli_fail(client->cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
		control_status_fini(&status);
	}
	control_answer_fini(&answer);
	return exit_status;
}

static int watch(struct cli *cli, struct client *client, struct terminal *t, int64_t whole_ms)
{
	struct top_model model = {0};
	int64_t count = cli->options.given & OPTION_COUNT ? cli->options.count : 0;
	int64_t next_ms = cli_now_ms();
	int status = EXIT_OK;

	for (int64_t n = 1; !status && !ended && cli_now_ms() < whole_ms; n++) {
		int64_t answer_ms = cli_now_ms() + ANSWER_MS;
		cli->deadline_ms = answer_ms < whole_ms ? answer_ms : whole_ms;
		status = look(client, &model);
		if (status)
			break;
		if (cli->terminal) {
			if (!t->drawn)
				enter(t);
			top_screen_draw(cli, &model, size_of(cli));
		} else {
			(void)fputs(n > 1 ? "\n" : "", cli->out);
			top_screen_plain(cli, &model);
		}
		if (ferror(cli->out) || n == count)
			break;
		next_ms += LOOK_MS;
		if (next_ms < cli_now_ms())
			next_ms = cli_now_ms();
		idle(t, &model, next_ms < whole_ms ? next_ms : whole_ms);
	}
	leave(t);
	top_model_fini(&model);
	return status;
}

int verb_top(struct cli *cli, const char *const *args, int count)
{
	struct cli quiet = *cli;
	struct terminal terminal = {.cli = &quiet};
	struct client client;
	char *told = NULL;
	size_t told_len = 0;
	int status;

	(void)args;
	(void)count;
	if (cli->options.json)
		return cli_fail(cli, EXIT_USAGE, "E-CLI-4", "kcpctl watch --json, or status --json",
			"top is for people: it has no JSON");
	quiet.err = open_memstream(&told, &told_len);
	if (!quiet.err)
		return cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	int64_t whole_ms = quiet.deadline_ms;
	quiet.deadline_ms =
		cli_now_ms() + ANSWER_MS < whole_ms ? cli_now_ms() + ANSWER_MS : whole_ms;
	status = client_open(&quiet, &client);
	if (!status) {
		catch_signals();
		status = watch(&quiet, &client, &terminal, whole_ms);
		client_close(&client);
	}
	(void)fclose(quiet.err);
	if (told)
		(void)fputs(told, cli->err);
	free(told);
	return status;
}
