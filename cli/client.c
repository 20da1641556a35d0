/*
 * Which daemon: --control, else -n or $KCPCTL_NETWORK, else the only one that answers. Everything that waits, waits
 * in poll() against the deadline of the whole command, so a daemon that hangs costs a time-out and no more.
 *
 * The other end is not trusted: lines are bounded, answers are checked by control_answer_decode().
 */
#include "cli/client.h"

#include "core/err.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	READ_BYTES = 64 * 1024,
	NAMES_BYTES = 400, /* of the networks listed in an error */
};

bool client_network_name_ok(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < CONTROL_NAME_BYTES && !strchr(name, '/') && name[0] != '.';
}

void client_config_path(const struct cli *cli, const char *network, char path[CLI_PATH_BYTES])
{
	(void)snprintf(path, CLI_PATH_BYTES, "%s/%s.yaml", cli->etc_dir, network);
}

/* ---- errors -------------------------------------------------------------------------------------------------- */

static int fail_timeout(const struct cli *cli)
{
	return cli_fail(cli, EXIT_TIMEOUT, "E-CONN-7", "--timeout gives it longer",
		"timed out: the daemon has not answered in time, or the state was not reached");
}

static int fail_unreachable(const struct cli *cli, const char *network, const char *path)
{
	char hint[CLI_PATH_BYTES];

	if (!network) {
		return cli_fail(cli, EXIT_NOT_RUNNING, "E-CONN-1", NULL,
			"cannot reach vpnd: no process is listening on %s", path);
	}
	if (access(cli->systemd_dir, F_OK) == 0)
		(void)snprintf(hint, sizeof(hint),
			"start it:  sudo systemctl start vpnd@%s        logs:  journalctl -u "
			"vpnd@%s -n 20",
			network, network);
	else
		(void)snprintf(hint, sizeof(hint), "start it:  sudo vpnd %s", network);
	return cli_fail(cli, EXIT_NOT_RUNNING, "E-CONN-1", hint,
		"cannot reach vpnd for network \"%s\": no process is listening on %s", network,
		path);
}

static int fail_connect(const struct cli *cli, const char *network, const char *path, int rc)
{
	switch (rc) {
	case -ENOENT:
	case -ECONNREFUSED:
	case -ENOTDIR:
		return fail_unreachable(cli, network, path);
	case -EACCES:
	case -EPERM:
		return cli_fail(cli, EXIT_PERMISSION, "E-CONN-4",
			"use sudo, or join the daemon's group (control.group, by default vpnd)",
			"permission denied on %s", path);
	case -EAGAIN:
		return fail_timeout(cli);
	case -ENAMETOOLONG:
		return cli_fail(cli, EXIT_USAGE, "E-CLI-4", NULL,
			"--control: a socket's path has at most %zu bytes",
			sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	default:
		return cli_fail(cli, EXIT_OTHER, "E-CONN-1", NULL, "cannot reach vpnd on %s: %s",
			path, err_str(rc));
	}
}

static int fail_broken(const struct cli *cli)
{
	return cli_fail(cli, EXIT_OTHER, "E-CONN-9", NULL,
		"what answers on the socket does not speak vpnd's protocol");
}

/* ---- finding the daemon -------------------------------------------------------------------------------------- */

/* @return a connected, non-blocking socket or a negative errno. -EAGAIN: the backlog is full. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int rc;
	int fd;

	if (len >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* As connect_to(), but waits for a place in a full backlog until the deadline. */
static int connect_in_time(const struct cli *cli, const char *path)
{
	int fd;

	while ((fd = connect_to(path)) == -EAGAIN && cli_now_ms() < cli->deadline_ms)
		(void)poll(NULL, 0, 10); /* the kernel tells no event for this */
	return fd;
}

static void network_path(const struct cli *cli, const char *network, char path[CLI_PATH_BYTES])
{
	(void)snprintf(path, CLI_PATH_BYTES, "%s/%s/control.sock", cli->run_dir, network);
}

static int open_by_network(const struct cli *cli, const char *network, struct client *client)
{
	char file[CLI_PATH_BYTES];
	struct stat st;

	if (!client_network_name_ok(network))
		return cli_fail(cli, EXIT_USAGE, "E-CLI-4", NULL,
			"\"%s\" is not the name of a network", network);
	network_path(cli, network, client->path);
	client_config_path(cli, network, file);
	if (lstat(client->path, &st) < 0 && errno == ENOENT && lstat(file, &st) < 0 &&
		errno == ENOENT)
		return cli_fail(cli, EXIT_NOT_FOUND, "E-CONN-5", NULL,
			"no network \"%s\": there is neither %s nor %s", network, client->path,
			file);
	client->fd = connect_in_time(cli, client->path);
	return client->fd < 0 ? fail_connect(cli, network, client->path, client->fd) : EXIT_OK;
}

/* Tries all sockets below run_dir; the one that answers stays connected in `client`. */
static int open_the_only(const struct cli *cli, struct client *client)
{
	DIR *dir = opendir(cli->run_dir);
	char names[NAMES_BYTES] = "";
	char path[CLI_PATH_BYTES];
	const struct dirent *entry;
	int found = 0;
	int denied = 0;

	while (dir && (entry = readdir(dir)) != NULL) {
		int fd;
		if (!client_network_name_ok(entry->d_name))
			continue;
		network_path(cli, entry->d_name, path);
		fd = connect_to(path);
		denied += fd == -EACCES;
		if (fd < 0 && fd != -EAGAIN)
			continue;
		if (found++ == 0) {
			memcpy(client->path, path, sizeof(path));
			client->fd = fd >= 0 ? fd : connect_in_time(cli, path);
		} else if (fd >= 0) {
			close(fd);
		}
		size_t used = strlen(names);
		(void)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
			entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (found == 1)
		return client->fd < 0 ? fail_connect(cli, NULL, client->path, client->fd) : EXIT_OK;
	if (found > 1)
		return cli_fail(cli, EXIT_USAGE, "E-CONN-3", "choose one:  kcpctl -n NETWORK ...",
			"several daemons are running: %s", names);
	if (denied)
		return cli_fail(cli, EXIT_PERMISSION, "E-CONN-4",
			"use sudo, or join the daemon's group (control.group, by default vpnd)",
			"permission denied on the sockets in %s", cli->run_dir);
	return cli_fail(cli, EXIT_NOT_RUNNING, "E-CONN-2",
		access(cli->systemd_dir, F_OK) == 0
			? "start one:  sudo systemctl start vpnd@NETWORK"
			: "start one:  sudo vpnd NETWORK",
		"no vpnd is running: nothing answers in %s", cli->run_dir);
}

static int say_hello(struct client *client)
{
	struct control_request hello = {.method = CONTROL_HELLO, .protocol = CONTROL_PROTOCOL};
	struct control_answer answer;
	int status = client_call(client, &hello, &answer);

	if (status)
		return status;
	if (control_hello_from_json(
		    answer.result, &client->protocol, client->daemon, client->network))
		status = fail_broken(client->cli);
	else if (client->protocol != CONTROL_PROTOCOL)
		status = cli_fail(client->cli, EXIT_VERSION, "E-CONN-8",
			"install the same version of both, then restart the daemon",
			"the daemon (version %s) speaks control protocol %lld, this kcpctl "
			"(version %s) %d",
			client->daemon, (long long)client->protocol, KCPVPN_VERSION,
			CONTROL_PROTOCOL);
	control_answer_fini(&answer);
	return status;
}

int client_open(const struct cli *cli, struct client *ret_client)
{
	const struct cli_options *o = &cli->options;
	struct client *client = ret_client;
	int status;

	*client = (struct client){.cli = cli, .fd = -1, .next_id = 1, .protocol = CONTROL_UNKNOWN};
	if (o->control) {
		(void)snprintf(client->path, sizeof(client->path), "%s", o->control);
		client->fd = connect_in_time(cli, o->control);
		status = client->fd < 0 ? fail_connect(cli, NULL, o->control, client->fd) : EXIT_OK;
	} else if (o->network) {
		status = open_by_network(cli, o->network, client);
	} else {
		status = open_the_only(cli, client);
	}
	if (client->fd < 0)
		client->fd = -1;
	if (!status)
		status = say_hello(client);
	if (!status && (o->given & OPTION_VERBOSE)) {
		(void)fputs("kcpctl: connected to ", cli->err);
		cli_put_text(cli->err, client->path);
		(void)fputs(", version ", cli->err);
		cli_put_text(cli->err, client->daemon);
		(void)fputc('\n', cli->err);
	}
	if (status)
		client_close(client);
	return status;
}

void client_close(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	free(client->in);
	client->in = NULL;
}

/* ---- talking ------------------------------------------------------------------------------------------------- */

/* @return EXIT_OK when the socket is ready, EXIT_TIMEOUT (told) */
static int wait_ready(const struct client *client, short events)
{
	struct pollfd ready = {.fd = client->fd, .events = events};

	for (;;) {
		int64_t left = client->cli->deadline_ms - cli_now_ms();
		int wait = client->cli->deadline_ms == INT64_MAX
				   ? -1
				   : (left > INT_MAX ? INT_MAX : (int)left);
		if (client->cli->deadline_ms != INT64_MAX && left <= 0)
			return fail_timeout(client->cli);
		if (poll(&ready, 1, wait) > 0)
			return EXIT_OK;
	}
}

static int send_all(const struct client *client, const char *line, size_t len)
{
	while (len) {
		ssize_t sent = send(client->fd, line, len, MSG_NOSIGNAL);
		if (sent >= 0) {
			line += sent;
			len -= (size_t)sent;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return EXIT_OK; /* closed: what it had to say may still be read */
		int status = wait_ready(client, POLLOUT);
		if (status)
			return status;
	}
	return EXIT_OK;
}

static int read_more(struct client *client)
{
	if (client->in_capacity - client->in_len < READ_BYTES) {
		size_t capacity = client->in_capacity * 2 + READ_BYTES;
		char *in = capacity > CONTROL_RESPONSE_MAX_BYTES ? NULL
								 : realloc(client->in, capacity);
		if (!in)
			return fail_broken(client->cli);
		client->in = in;
		client->in_capacity = capacity;
	}
	for (;;) {
		ssize_t got = recv(client->fd, client->in + client->in_len,
			client->in_capacity - client->in_len, 0);
		if (got > 0) {
			client->in_len += (size_t)got;
			return EXIT_OK;
		}
		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0 || errno != EAGAIN)
			return cli_fail(client->cli, EXIT_OTHER, "E-CONN-6", NULL,
				"the daemon closed the connection without an answer");
		int status = wait_ready(client, POLLIN);
		if (status)
			return status;
	}
}

/* Takes one line out of what was received. */
static int next_line(struct client *client, struct control_answer *ret_answer)
{
	for (;;) {
		const char *from = client->in + client->in_scanned;
		const char *end = client->in_len > client->in_scanned
					  ? memchr(from, '\n', client->in_len - client->in_scanned)
					  : NULL;
		if (end) {
			size_t len = (size_t)(end - client->in);
			int rc = control_answer_decode(client->in, len, ret_answer);
			memmove(client->in, end + 1, client->in_len - len - 1);
			client->in_len -= len + 1;
			client->in_scanned = 0;
			return rc ? fail_broken(client->cli) : EXIT_OK;
		}
		client->in_scanned = client->in_len;
		int status = read_more(client);
		if (status)
			return status;
	}
}

int client_call(
	struct client *client, struct control_request *request, struct control_answer *ret_answer)
{
	size_t len = 0;
	char *line;
	int status;

	(void)snprintf(request->id, sizeof(request->id), "%lld", (long long)client->next_id++);
	line = control_request_encode(request, &len);
	if (!line)
		return cli_fail(client->cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory");
	if (len > CONTROL_REQUEST_MAX_BYTES)
		status = cli_fail(client->cli, EXIT_USAGE, "E-CLI-7", NULL, "too many names");
	else
		status = send_all(client, line, len);
	free(line);
	for (bool answered = false; !status && !answered;) {
		status = next_line(client, ret_answer);
		if (status)
			return status;
		/* "null" is what a daemon says to what it could not read: it is about us all the same */
		answered = !strcmp(ret_answer->id, request->id) ||
			   (ret_answer->failed && !strcmp(ret_answer->id, "null"));
		if (!answered)
			control_answer_fini(ret_answer);
	}
	if (!status && ret_answer->failed) {
		status = cli_fail_control(client->cli, &ret_answer->error);
		control_answer_fini(ret_answer);
	}
	return status;
}

int client_next(struct client *client, struct control_answer *ret_answer)
{
	for (;;) {
		int status = next_line(client, ret_answer);
		if (status || !ret_answer->id[0])
			return status;
		control_answer_fini(ret_answer);
	}
}
