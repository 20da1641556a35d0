/*
 * Whole command lines against a daemon that is a thread with a script: each verb, each exit status, each way in which the
 * other end may be broken.
 */
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/options.h"

#include "control/control_event.h"
#include "control/control_msg.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum mood {
	GOOD,
	SILENT,	 /* takes requests, says nothing */
	CLOSES,	 /* after hello */
	BABBLES, /* answers with garbage */
	OTHER_PROTOCOL,
	NO_RIGHTS,
	WAITS_FOREVER, /* answers all but wait */
	WRONG_STATUS,  /* a status of another schema */
};

struct fake {
	enum mood mood;
	int listener;
	pthread_t thread;
	enum control_state network, peer;
	bool peer_enabled;
	int ups, downs;
	bool last_dry_run, last_for_down, last_wait, last_follow;
	int64_t last_lines;
	size_t last_names;
	int peer_orders, pongs;
	size_t last_ips, last_endpoints;
	char last_key[64];
	int64_t last_size;
};

struct run {
	int status;
	char *out;
	char *err;
};

static char dir[64];
static struct fake fakes[2];
static size_t fake_count;

static char *answer_of(struct fake *fake, const struct control_request *request)
{
	struct control_error error = {0};
	struct control_reload reload = {.generation = 2};
	struct control_log_line line = {1700000000000, "info", "hello \033[2J"};
	struct control_ping ping = {.size = CONTROL_UNKNOWN, .path_mtu = 1400};
	struct control_status status;
	struct control_peer *peer;
	char *text;

	fake->last_names = request->peers.count;
	if (request->method == CONTROL_HELLO) {
		text = control_answer_hello(request->id, "0.9.9", "office", NULL);
		if (fake->mood == OTHER_PROTOCOL)
			*strchr(strstr(text, "protocol\":"), '1') = '7';
		return text;
	}
	if (fake->mood == NO_RIGHTS) {
		control_error_set(&error, CONTROL_ERROR_PERMISSION, CONTROL_CODE_PERMISSION,
			"permission denied");
		return control_answer_error(request->id, &error, NULL);
	}
	if (request->peers.count && request->method != CONTROL_PEER_ADD &&
		strcmp(request->peers.items[0], "branch") != 0) {
		control_error_no_peer(&error, request->peers.items[0]);
		return control_answer_error(request->id, &error, NULL);
	}
	switch (request->method) {
	case CONTROL_METHOD_UP:
		fake->last_wait = request->wait;
		return control_answer_changed(request->id, fake->ups++ == 0, NULL);
	case CONTROL_METHOD_DOWN:
		return control_answer_changed(request->id, fake->downs++ == 0, NULL);
	case CONTROL_WAIT:
		fake->last_for_down = request->for_down;
		return control_answer_empty(request->id, NULL);
	case CONTROL_RELOAD:
		fake->last_dry_run = request->dry_run;
		if (!request->dry_run) {
			control_error_set(
				&error, CONTROL_ERROR_CONFIG, "E-CFG-12", "40 is out of range");
			control_error_at(&error, "office.yaml", 17, 15);
			text = control_answer_error(request->id, &error, NULL);
			control_error_fini(&error);
			return text;
		}
		control_strings_add(&reload.added, "lap");
		reload.dry_run = true;
		text = control_answer_reload(request->id, &reload, NULL);
		control_reload_fini(&reload);
		return text;
	case CONTROL_PEER_ADD:
	case CONTROL_PEER_DEL:
		fake->last_ips = request->allowed_ips.count;
		fake->last_endpoints = request->endpoints.count;
		snprintf(fake->last_key, sizeof(fake->last_key), "%s", request->public_key);
		control_strings_add(&reload.warnings, "E-PEER-4 no route\033");
		text = control_answer_peer_changed(
			request->id, fake->peer_orders++ == 0, &reload.warnings, NULL);
		control_reload_fini(&reload);
		return text;
	case CONTROL_PING:
		fake->last_size = request->size;
		ping.rtt_ms = fake->pongs-- > 0 ? 12.5 : CONTROL_UNKNOWN;
		return control_answer_ping(request->id, &ping, NULL);
	case CONTROL_WATCH:
		return control_answer_empty(request->id, NULL);
	case CONTROL_LOG:
		fake->last_lines = request->lines;
		fake->last_follow = request->follow;
		return control_answer_log(request->id, &line, 1, NULL);
	default:
		control_status_init(&status);
		strcpy(status.network, "office");
		status.state = fake->network;
		peer = control_status_add_peer(&status, "branch");
		peer->state = fake->peer;
		peer->enabled = fake->peer_enabled;
		text = control_answer_status(request->id, &status, NULL);
		control_status_fini(&status);
		if (fake->mood == WRONG_STATUS)
			*strchr(strstr(text, "status/"), '1') = '8';
		return text;
	}
}

static void serve_line(struct fake *fake, int fd, const char *line, size_t len)
{
	struct control_request request;
	struct control_error error = {0};
	char *text;

	if (fake->mood == SILENT)
		return;
	if (fake->mood == BABBLES) {
		(void)send(fd, "\033[31m{]\n", 8, MSG_NOSIGNAL);
		return;
	}
	if (control_request_decode(line, len, &request, &error)) {
		control_error_fini(&error);
		return;
	}
	if (fake->mood == CLOSES && request.method != CONTROL_HELLO) {
		shutdown(fd, SHUT_RDWR);
	} else if (fake->mood != WAITS_FOREVER || request.method != CONTROL_WAIT) {
		text = answer_of(fake, &request);
		for (size_t i = 0; text[i];
			i++) /* byte by byte: the client must put lines together */
			(void)send(fd, text + i, 1, MSG_NOSIGNAL);
		free(text);
	}
	if (request.method == CONTROL_LOG && request.follow) {
		struct control_log_line later = {1700000001000, "warn", "later"};
		text = control_answer_log(NULL, &later, 1, NULL);
		(void)send(fd, text, strlen(text), MSG_NOSIGNAL);
		free(text);
		shutdown(fd, SHUT_RDWR);
	}
	if (request.method == CONTROL_WATCH) {
		struct control_event event = {CONTROL_EVENT_PEER, 1700000001000, "branch\033",
			CONTROL_UP, CONTROL_DOWN, CONTROL_UNKNOWN};
		text = control_event_encode(&event, 1, NULL);
		(void)send(fd, text, strlen(text), MSG_NOSIGNAL);
		free(text);
		shutdown(fd, SHUT_RDWR);
	}
	control_request_fini(&request);
}

static void *serve(void *arg)
{
	struct fake *fake = arg;
	int fd;

	while ((fd = accept(fake->listener, NULL, NULL)) >= 0) {
		static __thread char buffer[CONTROL_REQUEST_MAX_BYTES];
		size_t have = 0;
		ssize_t got;
		while ((got = recv(fd, buffer + have, sizeof(buffer) - have, 0)) > 0) {
			char *end;
			have += (size_t)got;
			while ((end = memchr(buffer, '\n', have)) != NULL) {
				size_t len = (size_t)(end - buffer);
				serve_line(fake, fd, buffer, len);
				memmove(buffer, end + 1, have - len - 1);
				have -= len + 1;
			}
		}
		close(fd);
	}
	return NULL;
}

static struct fake *start_fake(const char *network, enum mood mood)
{
	struct fake *fake = &fakes[fake_count++];
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*fake = (struct fake){
		.mood = mood, .network = CONTROL_UP, .peer = CONTROL_UP, .peer_enabled = true};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/%s", dir, network);
	cr_assert_eq(mkdir(address.sun_path, 0755), 0);
	strcat(address.sun_path, "/control.sock");
	fake->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fake->listener, 8), 0);
	cr_assert_eq(pthread_create(&fake->thread, NULL, serve, fake), 0);
	return fake;
}

static void setup(void)
{
	char path[100];

	fake_count = 0;
	strcpy(dir, "/tmp/kcpctl-XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/run", dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/etc", dir);
	mkdir(path, 0755);
	unsetenv("KCPCTL_NETWORK");
	unsetenv("NO_COLOR");
}

static void teardown(void)
{
	char command[100];

	for (size_t i = 0; i < fake_count; i++) {
		shutdown(fakes[i].listener, SHUT_RDWR);
		pthread_join(fakes[i].thread, NULL);
		close(fakes[i].listener);
	}
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

/* Runs a command line given as words separated by blanks. */
static struct run run(const char *line)
{
	static struct run last;
	static struct cli cli;
	static char run_dir[100], etc_dir[100], systemd_dir[100];
	char words[512];
	char *argv[64] = {"kcpctl"};
	int argc = 1;
	size_t out_len, err_len;

	free(last.out);
	free(last.err);
	snprintf(words, sizeof(words), "%s", line);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	snprintf(run_dir, sizeof(run_dir), "%s/run", dir);
	snprintf(etc_dir, sizeof(etc_dir), "%s/etc", dir);
	snprintf(systemd_dir, sizeof(systemd_dir), "%s/systemd", dir);
	cli = (struct cli){.out = open_memstream(&last.out, &out_len),
		.err = open_memstream(&last.err, &err_len),
		.run_dir = run_dir,
		.etc_dir = etc_dir,
		.systemd_dir = systemd_dir,
		.in_fd = -1};
	last.status = cli_run(&cli, argc, argv);
	fclose(cli.out);
	fclose(cli.err);
	return last;
}

static void expect(const char *line, int status, const char *out, const char *err)
{
	struct run r = run(line);

	cr_assert_eq(r.status, status, "%s: exit %d, want %d\n%s%s", line, r.status, status, r.out,
		r.err);
	cr_assert(strstr(r.out, out), "%s: no \"%s\" in stdout:\n%s", line, out, r.out);
	cr_assert(strstr(r.err, err), "%s: no \"%s\" in stderr:\n%s", line, err, r.err);
	if (status != 0 && status != 7)
		cr_assert_eq(strncmp(r.err, "kcpctl: E-", 10), 0, "%s: %s", line, r.err);
	for (const char *c = r.out; *c; c++)
		cr_assert_neq(*c, '\033', "nothing steers the terminal");
	cr_assert_eq(strchr(r.err, '\033'), NULL);
}

static void write_config(const char *network, const char *text)
{
	char path[160];
	FILE *file;

	snprintf(path, sizeof(path), "%s/etc/%s.yaml", dir, network);
	file = fopen(path, "w");
	fputs(text, file);
	fclose(file);
	chmod(path, 0600);
}

TestSuite(command, .init = setup, .fini = teardown, .timeout = 60);

Test(command, exit_0_the_verbs)
{
	struct fake *fake = start_fake("office", GOOD);

	expect("up", 0, "office: up\n", "");
	expect("up", 0, "office: up already, nothing to do\n", "");
	expect("up branch --wait", 0, "nothing to do", "");
	cr_assert(fake->last_wait);
	cr_assert_eq(fake->last_names, 1);
	expect("-q up", 0, "", "");
	cr_assert_str_eq(run("-q up").out, "");
	expect("down -o json", 0, "{\n  \"changed\": true\n}\n", "");
	expect("status", 0, "office  up", "");
	expect("status branch", 0, "branch  up\n  endpoint", "");
	expect("peer show branch", 0, "branch  up\n", "");
	expect("peer list", 0, "PEER    STATE   ENABLED", "");
	expect("wait", 0, "", "");
	expect("wait branch --for down", 0, "", "");
	cr_assert(fake->last_for_down);
	expect("reload --dry-run", 0, "office: a reload would change\n  added    lap\n", "");
	cr_assert(fake->last_dry_run);
	expect("log", 0, "info   hello ?[2J\n", "");
	cr_assert_eq(fake->last_lines, 1000);
	expect("log --lines 5 -o json", 0, "{\"time_ms\":1700000000000,\"level\":\"info\"", "");
	cr_assert_eq(fake->last_lines, 5);
	expect("version", 0, "vpnd 0.9.9 (office)\n", "");
	expect("version -o json", 0, "\"daemon\": \"0.9.9\"", "");
	expect("-v status", 0, "", "version 0.9.9");
}

Test(command, status_json_is_the_document)
{
	json_t *doc;

	start_fake("office", GOOD);
	doc = json_loads(run("status --json").out, 0, NULL);
	cr_assert(doc);
	cr_assert_str_eq(json_string_value(json_object_get(doc, "schema")), "kcpctl.status/1");
	cr_assert_str_eq(json_string_value(json_object_get(doc, "network")), "office");
	json_decref(doc);
}

Test(command, log_follow_prints_what_comes)
{
	start_fake("office", GOOD);
	expect("log -f", 1, "later\n", "E-CONN-6"); /* the daemon ends: so does the log */
}

Test(command, peers_at_run_time)
{
	struct fake *fake = start_fake("office", GOOD);

	expect("peer add lap --public-key K= --endpoint a:1,b:2 --allowed-ips 10.1.0.0/16, "
	       "--allowed-ips fd00::/8",
		0, "office: peer lap added\n", "kcpctl: E-PEER-4 no route?\n");
	cr_assert_str_eq(fake->last_key, "K=");
	cr_assert_eq(fake->last_endpoints, 2);
	cr_assert_eq(fake->last_ips, 2);
	expect("peer add lap", 0, "office: peer lap added already, nothing to do\n", "");
	expect("-q peer add lap", 0, "", "no route");
	expect("peer add lap -o json", 0, "\"changed\": false", "");
	expect("peer del branch", 0, "office: peer branch removed already, nothing to do\n", "");
	expect("peer add lap --save", 1, "",
		"E-PEER-2 where the daemon's configuration stands is not known");
	expect("peer del branch --save", 1, "", "E-PEER-2");
}

Test(command, ping_tells_and_sums_up)
{
	struct fake *fake = start_fake("office", GOOD);

	fake->pongs = 1;
	expect("ping branch -c 2", 0,
		"branch: seq=1 time=12.5 ms\nbranch: seq=2 no answer within 2 s\n", "");
	fake->pongs = 1;
	expect("ping branch -c 1 -s 1200", 0, "1 sent, 1 answered, 0 % lost, path mtu 1400\n", "");
	cr_assert_eq(fake->last_size, 1200);
	fake->pongs = 1;
	expect("ping branch -c 1 -o json", 0,
		"{\"peer\":\"branch\",\"seq\":1,\"rtt_ms\":12.5,\"size\":null,\"path_mtu\":1400}\n",
		"");
	fake->pongs = 0;
	expect("ping branch -c 1", 8, "100 % lost", "E-PING-2");
	expect("ping ghost", 6, "", "no peer");
}

Test(command, watch_metrics_top)
{
	start_fake("office", GOOD);
	expect("watch", 1, "peer branch?: up (was down)\n", "E-CONN-6"); /* the daemon ends */
	expect("watch --json", 1, "\"event\":\"peer\"", "E-CONN-6");
	expect("metrics", 0, "vpnd_peer_state{network=\"office\",peer=\"branch\",state=\"up\"} 1\n",
		"");
	expect("top -c 1", 0, "branch               up", "");
	expect("top -o json", 2, "", "has no JSON");
}

Test(command, schemas_and_completion_need_no_daemon)
{
	json_t *doc = json_loads(run("config schema").out, 0, NULL);

	cr_assert(json_object_get(json_object_get(doc, "properties"), "interface"));
	json_decref(doc);
	doc = json_loads(run("config schema --status").out, 0, NULL);
	cr_assert(json_object_get(json_object_get(doc, "properties"), "peers"));
	json_decref(doc);
	expect("completion bash", 0, "complete -F _kcpctl kcpctl\n", "");
	expect("completion zsh", 0, "#compdef kcpctl\n", "");
	expect("completion fish", 0, "complete -c kcpctl -f -n __fish_use_subcommand -a status",
		"");
}

Test(command, doctor_without_anything)
{
	struct run r = run("doctor");

	cr_assert(strstr(r.out, "E-DOC-16  no daemon answers"), "%s", r.out);
	cr_assert(r.status == 0 || r.status == 1, "by the machine that the test runs on");
	json_t *doc = json_loads(run("doctor --json").out, 0, NULL);
	cr_assert(json_is_array(json_object_get(doc, "findings")));
	json_decref(doc);
}

Test(command, exit_2_usage)
{
	expect("", 2, "", "E-CLI-6");
	expect("statsu", 2, "", "unknown verb \"statsu\"; did you mean \"status\"?");
	expect("dwon", 2, "", "did you mean \"down\"?");
	expect("xyzzy", 2, "", "unknown verb \"xyzzy\"\n  kcpctl help lists them");
	expect("peer", 2, "", "\"peer\" needs one of: list, show, add, del");
	expect("peer lsit", 2, "", "did you mean \"peer list\"?");
	expect("peer show", 2, "", "usage: kcpctl peer show PEER");
	expect("status a b", 2, "", "\"b\": one word too many");
	expect("status --jsno", 2, "", "did you mean \"--json\"?");
	expect("down --wait", 2, "", "\"down\" takes no option --wait");
	expect("-o yaml status", 2, "", "is not human or json");
	expect("status -o", 2, "", "-o needs a value");
	expect("--timeout 0 status", 2, "", "is not a duration");
	expect("--timeout 5h status", 2, "", "is not a duration");
	expect("wait --for ever", 2, "", "is not up or down");
	expect("log --lines 1001", 2, "", "from 0 to 1000");
	expect("--color=blue status", 2, "", "is not auto, always or never");
	expect("--json=x status", 2, "", "unknown option");
	expect("-n ../etc status", 2, "", "is not the name of a network");
	expect("help nonsense", 2, "", "unknown verb");
	expect("peer add a/b", 2, "", "is no name for a peer");
	expect("peer add x --preshared-key-file f", 2, "", "needs --save");
	expect("ping", 2, "", "usage: kcpctl ping PEER");
	expect("ping branch -c x", 2, "", "is not a number from 0 to");
	expect("ping branch -s 65536", 2, "", "is not a number from 0 to 65535");
	expect("ping branch -s -1", 2, "", "is not a number");
	expect("completion tcsh", 2, "", "is not bash, zsh or fish");
	expect("up -c 3", 2, "", "\"up\" takes no option --count");
}

Test(command, exit_2_several_daemons)
{
	start_fake("office", GOOD);
	start_fake("home", GOOD);
	expect("status", 2, "", "several daemons are running: ");
	expect("status", 2, "", "office");
	expect("-n home status", 0, "office  up", "");
	setenv("KCPCTL_NETWORK", "home", 1);
	expect("status", 0, "office  up", "");
	unsetenv("KCPCTL_NETWORK");
}

Test(command, exit_3_not_running)
{
	char want[400];

	expect("status", 3, "", "E-CONN-2 no vpnd is running");
	write_config("office", "version: 1\n");
	snprintf(want, sizeof(want),
		"kcpctl: E-CONN-1 cannot reach vpnd for network \"office\": no process is "
		"listening on "
		"%s/run/office/control.sock\n  start it:  sudo vpnd office\n",
		dir);
	expect("-n office status", 3, "", want);
	snprintf(want, sizeof(want), "%s/systemd", dir);
	mkdir(want, 0755);
	expect("-n office status", 3, "",
		"  start it:  sudo systemctl start vpnd@office        logs:  journalctl -u "
		"vpnd@office -n 20\n");
	snprintf(want, sizeof(want), "--control %s/none.sock status --check", dir);
	expect(want, 3, "", "E-CONN-1");
	expect("version", 0, "kcpctl ", "");
}

Test(command, exit_3_dead_socket)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/office", dir);
	mkdir(address.sun_path, 0755);
	strcat(address.sun_path, "/control.sock");
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	expect("status", 3, "", "E-CONN-2");
	expect("-n office status", 3, "", "E-CONN-1");
}

Test(command, exit_4_permission)
{
	start_fake("office", NO_RIGHTS);
	expect("down", 4, "", "E-CTL-1 permission denied");
}

Test(command, exit_5_configuration)
{
	start_fake("office", GOOD);
	expect("reload", 5, "", "kcpctl: E-CFG-12 office.yaml:17:15: 40 is out of range");
	write_config("bad", "version: 1\nwire: kcp-go\nadresses: []\n");
	expect("-n bad config check", 5, "", "unknown key \"adresses\"");
	expect("-n bad config check -o json", 5, "\"ok\": false", "unknown key");
	expect("-n bad config show", 5, "", "unknown key");
}

Test(command, config_check_and_show)
{
	write_config("office", "version: 1\nwire: kcp-go\nkcp_go: {key: a-long-secret-word, "
			       "allow_unauthenticated: true}\n"
			       "peers:\n  branch:\n    endpoints: [192.0.2.1:29900]\n");
	expect("config check", 0, "office.yaml: ok\n", "");
	expect("-n office config check", 0, "ok", "");
	expect("config check -o json", 0, "\"ok\": true", "");
	expect("config show", 0, "192.0.2.1:29900", "");
	expect("config show --effective", 0, "dead_after", "");
	cr_assert_eq(strstr(run("config show --effective").out, "a-long-secret-word"), NULL);
	write_config("home", "version: 1\n");
	expect("config check", 2, "", "several networks");
	expect("config check /nonexistent/file.yaml", 5, "", "E-CFG-1 ");
}

Test(command, exit_6_not_found)
{
	char longest[128];

	start_fake("office", GOOD);
	expect("status ghost", 6, "", "E-CTL-2 no peer \"ghost\"");
	expect("up ghost", 6, "", "no peer");
	expect("wait ghost", 6, "", "no peer");
	expect("-n nowhere status", 6, "", "no network \"nowhere\"");
	expect("-n nowhere config check", 6, "", "no network \"nowhere\"");
	strcpy(longest, "status ");
	memset(longest + 7, 'x', 64);
	longest[71] = '\0';
	expect(longest, 6, "", "no peer");
}

Test(command, exit_7_check)
{
	static const struct {
		enum control_state network, peer;
		bool enabled;
		int want, want_peer;
	} rows[] = {
		{CONTROL_UP, CONTROL_UP, true, 0, 0},
		{CONTROL_UP, CONTROL_IDLE, true, 0, 0},
		{CONTROL_UP, CONTROL_DOWN, false, 0, 0},
		{CONTROL_UP, CONTROL_DOWN, true, 7, 7},
		{CONTROL_DEGRADED, CONTROL_CONNECTING, true, 7, 7},
		{CONTROL_DEGRADED, CONTROL_DEGRADED, true, 7, 7},
		{CONTROL_DEGRADED, CONTROL_UP, true, 7, 0}, /* another peer's trouble */
		{CONTROL_DOWN, CONTROL_DOWN, true, 7, 7},
		{CONTROL_DOWN, CONTROL_IDLE, true, 7, 7},
	};
	struct fake *fake = start_fake("office", GOOD);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake->network = rows[i].network;
		fake->peer = rows[i].peer;
		fake->peer_enabled = rows[i].enabled;
		struct run r = run("status --check");
		cr_assert_eq(r.status, rows[i].want, "row %zu: %d", i, r.status);
		cr_assert_str_eq(r.out, "", "only the exit status");
		cr_assert_str_eq(r.err, "");
		cr_assert_eq(run("status branch --check").status, rows[i].want_peer, "row %zu", i);
	}
}

Test(command, exit_8_timeout)
{
	struct fake *fake = start_fake("office", SILENT);
	int64_t before = cli_now_ms();

	expect("--timeout 200ms status", 8, "", "E-CONN-7 timed out");
	cr_assert_lt(cli_now_ms() - before, 5000);
	cr_assert_geq(cli_now_ms() - before, 200);
	expect("version -n office --timeout 100ms", 8, "", "timed out");
	fake->mood = WAITS_FOREVER;
	expect("wait --timeout 200ms", 8, "", "timed out");
}

Test(command, exit_9_version)
{
	start_fake("office", OTHER_PROTOCOL);
	expect("status", 9, "", "E-CONN-8 the daemon (version 0.9.9) speaks control protocol 7");
	expect("version", 9, "vpnd 0.9.9", "");
}

Test(command, exit_1_broken_daemons)
{
	struct fake *fake = start_fake("office", BABBLES);

	expect("status", 1, "", "E-CONN-9");
	fake->mood = CLOSES;
	expect("status", 1, "", "E-CONN-6");
	fake->mood = WRONG_STATUS;
	expect("status", 1, "", "E-CONN-9");
}

Test(command, help_needs_nothing)
{
	expect("help", 0, "status [PEER]", "");
	expect("--help", 0, "Exit: 0 ok", "");
	expect("status -h", 0, "kcpctl status [PEER] [--json] [--check]", "");
	expect("help peer", 0, "kcpctl peer add NAME [--public-key KEY] [--endpoint HOST:PORT]",
		"");
	expect("help E-CONN-1", 0, "E-CONN-1\n", "");
	expect("help e-cfg-12", 0, "E-CFG-12\n", "");
	expect("help E-XYZ-1", 2, "", "no error has the code");
}

Test(command, unwritable_output_is_an_error)
{
	struct cli cli = {.run_dir = "/nonexistent",
		.etc_dir = "/nonexistent",
		.systemd_dir = "/nonexistent"};
	char *argv[] = {"kcpctl", "help", NULL};

	cli.out = fopen("/dev/full", "w");
	cli.err = fopen("/dev/null", "w");
	cr_assert_eq(cli_run(&cli, 2, argv), 1);
	fclose(cli.out);
	fclose(cli.err);
}

Test(command, colour_by_option_terminal_and_no_color)
{
	struct cli cli = {.err = stderr};
	char *always[] = {"kcpctl", "--color", "always", "status"};
	char *plain[] = {"kcpctl", "status"};

	cr_assert_eq(options_parse(&cli, 2, plain), 0);
	cr_assert_not(cli.options.color);
	cli.terminal = true;
	setenv("TERM", "xterm", 1);
	cr_assert_eq(options_parse(&cli, 2, plain), 0);
	cr_assert(cli.options.color);
	setenv("NO_COLOR", "1", 1);
	cr_assert_eq(options_parse(&cli, 2, plain), 0);
	cr_assert_not(cli.options.color);
	cr_assert_eq(options_parse(&cli, 4, always), 0);
	cr_assert(cli.options.color);
	unsetenv("NO_COLOR");
}

Test(command, durations)
{
	int64_t ms = 0;

	cr_assert(options_duration_ms("500ms", &ms) && ms == 500);
	cr_assert(options_duration_ms("5s", &ms) && ms == 5000);
	cr_assert(options_duration_ms("5", &ms) && ms == 5000);
	cr_assert(options_duration_ms("2m", &ms) && ms == 120000);
	for (const char *bad[] = {"", "-1", "0", "5 s", "1.5s", "s", "99999999999999999999",
		     "2000m", "x", NULL},
			**text = bad;
		*text; text++)
		cr_assert_not(options_duration_ms(*text, &ms), "%s", *text);
}
