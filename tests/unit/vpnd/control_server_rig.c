#include "control_server_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct control_rig rig;

const char STATUS[] = "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"status\"}\n";

static int fake_up(
	void *ctx, const struct control_strings *peers, bool *changed, struct control_error *err)
{
	struct control_rig *fx = ctx;

	for (size_t i = 0; i < peers->count; i++) {
		if (strcmp(peers->items[i], "branch") != 0) {
			control_error_no_peer(err, peers->items[i]);
			return -ENOENT;
		}
	}
	fx->up_calls++;
	*changed = fx->link_state == CONTROL_DOWN;
	fx->link_state = CONTROL_UP;
	return 0;
}

static int fake_down(
	void *ctx, const struct control_strings *peers, bool *changed, struct control_error *err)
{
	struct control_rig *fx = ctx;

	(void)peers;
	(void)err;
	fx->down_calls++;
	*changed = true;
	fx->link_state = CONTROL_DOWN;
	fx->peer_state = CONTROL_DOWN;
	return 0;
}

static int fake_status(void *ctx, struct control_status *status, struct control_error *err)
{
	struct control_rig *fx = ctx;

	(void)err;
	fx->heads++;
	strcpy(status->network, "office");
	status->state = fx->link_state;
	return 0;
}

static void add_branch(struct control_rig *fx, struct control_status *status)
{
	struct control_peer *p = control_status_add_peer(status, "branch");

	p->state = fx->peer_state;
	if (!fx->nobody_to_call)
		control_strings_add(&p->endpoints, "192.0.2.1:29900");
}

static int fake_status_peer(
	void *ctx, const char *name, struct control_status *status, struct control_error *err)
{
	struct control_rig *fx = ctx;

	fx->peers_asked++;
	fx->cpu_us += fx->peer_cost_us;
	if (strcmp(name, "branch") != 0) {
		control_error_no_peer(err, name);
		return -ENOENT;
	}
	add_branch(ctx, status);
	return 0;
}

static int fake_status_peers(void *ctx, bool again, size_t most, struct control_status *status)
{
	struct control_rig *fx = ctx;
	int count = 0;

	if (again) {
		fx->documents++;
		fx->at = 0;
	}
	for (; (size_t)count < most && fx->at < 1 + fx->many_peers; count++, fx->at++) {
		char name[32];
		snprintf(name, sizeof(name), "p%zu", fx->at - 1);
		if (fx->at == 0)
			add_branch(fx, status);
		else
			control_status_add_peer(status, name)->state = CONTROL_IDLE;
		fx->cpu_us += fx->peer_cost_us;
	}
	return count;
}

static int fake_states(void *ctx, struct control_states *ret_states)
{
	struct control_rig *fx = ctx;

	fx->looks++;
	ret_states->network = fx->link_state;
	ret_states->generation = fx->generation;
	ret_states->count = 1 + fx->many_peers;
	ret_states->peers = calloc(ret_states->count, sizeof(*ret_states->peers));
	for (size_t i = 0; i < ret_states->count; i++)
		ret_states->peers[i] = (struct control_peer_state){"p", CONTROL_IDLE, false};
	ret_states->peers[0] =
		(struct control_peer_state){"branch", fx->peer_state, !fx->nobody_to_call};
	return 0;
}

int64_t control_rig_cpu_us(void)
{
	return rig.cpu_us;
}

static int fake_reload(
	void *ctx, bool dry_run, struct control_reload *reload, struct control_error *err)
{
	struct control_rig *fx = ctx;

	fx->reload_calls++;
	if (fx->reload_rc)
		return fx->reload_rc;
	if (fx->bad_config) {
		control_error_set(
			err, CONTROL_ERROR_CONFIG, "E-CFG-12", "40 is out of range 0..32");
		control_error_at(err, "office.yaml", 17, 15);
		return -EINVAL;
	}
	control_strings_add(&reload->added, "lap");
	reload->generation = dry_run ? 1 : 2;
	return 0;
}

static int fake_change_peer(void *ctx, const struct control_request *request,
	struct control_reload *reload, struct control_error *err)
{
	struct control_rig *fx = ctx;

	(void)err;
	fx->peer_changes++;
	snprintf(fx->changed_peer, sizeof(fx->changed_peer), "%s", request->peers.items[0]);
	snprintf(fx->changed_key, sizeof(fx->changed_key), "%s", request->public_key);
	fx->changed_ips = request->allowed_ips.count;
	if (fx->reload_rc)
		return fx->reload_rc;
	control_strings_add(&reload->added, request->peers.items[0]);
	control_strings_add(&reload->warnings, "no route");
	return 0;
}

static int fake_ping(
	void *ctx, const char *peer, int64_t size, uint64_t *ret_ping, struct control_error *err)
{
	struct control_rig *fx = ctx;

	if (strcmp(peer, "branch") != 0) {
		control_error_no_peer(err, peer);
		return -ENOENT;
	}
	fx->ping_size = size;
	*ret_ping = (uint64_t)fx->pings++;
	return fx->ping_rc;
}

static bool fake_pong(
	void *ctx, const char *peer, uint64_t ping, bool final, struct control_ping *ret_ping)
{
	struct control_rig *fx = ctx;

	(void)peer;
	(void)ping;
	*ret_ping = (struct control_ping){
		fx->pong_ms < 0 ? CONTROL_UNKNOWN : (double)fx->pong_ms, CONTROL_UNKNOWN, 1400};
	return final || fx->pong_ms >= 0;
}

struct control_ops control_rig_ops(void)
{
	return (struct control_ops){
		.ctx = &rig,
		.up = fake_up,
		.down = fake_down,
		.status = fake_status,
		.status_peer = fake_status_peer,
		.status_peers = fake_status_peers,
		.states = fake_states,
		.reload = fake_reload,
		.change_peer = fake_change_peer,
		.ping = fake_ping,
		.pong = fake_pong,
	};
}

int control_rig_open_server(uid_t trusted, struct control_server **ret, struct control_error *err)
{
	struct control_server_config config = {
		.path = rig.path,
		.network = "office",
		.version = "0.1.0",
		.read_group = "no-such-group-r",
		.admin_group = "no-such-group-w",
		.trusted_uid = trusted,
		.ring = &rig.ring,
		.cpu_us = control_rig_cpu_us,
	};
	struct control_ops ops = control_rig_ops();

	return control_server_new(rig.loop, &config, &ops, ret, err);
}

void control_rig_open(void)
{
	struct control_error err = {0};

	memset(&rig, 0, sizeof(rig));
	strcpy(rig.dir, "/tmp/kcpvpn-ctl-XXXXXX");
	cr_assert(mkdtemp(rig.dir));
	snprintf(rig.path, sizeof(rig.path), "%s/run/office/control.sock", rig.dir);
	cr_assert_eq(loop_new(&rig.loop), 0);
	cr_assert_eq(control_rig_open_server(geteuid(), &rig.server, &err), 0, "%s", err.text);
	rig.link_state = CONTROL_UP;
	rig.peer_state = CONTROL_CONNECTING;
}

void control_rig_close(void)
{
	char folder[100];

	control_server_free(rig.server);
	loop_free(rig.loop);
	log_ring_fini(&rig.ring);
	snprintf(folder, sizeof(folder), "%s/run", rig.dir);
	cr_assert_neq(access(folder, F_OK), 0, "folders that were made here are gone");
	cr_assert_eq(rmdir(rig.dir), 0);
}

void turn(void)
{
	for (int quiet = 0; quiet < 2;) {
		int served = loop_turn(rig.loop, false);
		cr_assert_geq(served, 0);
		control_server_after_round(rig.server);
		quiet = served ? 0 : quiet + 1;
	}
}

int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, rig.path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	turn();
	return fd;
}

void post(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

void tell(int fd, const char *text)
{
	post(fd, text);
	turn();
}

const char *hear(int fd)
{
	static char text[1 << 16];
	ssize_t len = recv(fd, text, sizeof(text) - 1, 0);

	if (len == 0 || (len < 0 && errno == ECONNRESET))
		return "EOF";
	text[len > 0 ? len : 0] = '\0';
	return text;
}

void has(const char *text, const char *part)
{
	cr_assert(strstr(text, part) != NULL, "no %s in: %.300s", part, text);
}

char *hear_line(int fd)
{
	static char line[8 << 20];
	size_t len = 0;

	while (len == 0 || line[len - 1] != '\n') {
		ssize_t n = recv(fd, line + len, sizeof(line) - 1 - len, 0);
		cr_assert_neq(n, 0);
		if (n > 0) {
			len += (size_t)n;
			continue;
		}
		cr_assert_geq(loop_turn(rig.loop, true), 0);
		control_server_after_round(rig.server);
	}
	line[len] = '\0';
	return line;
}

size_t count_of(const char *text, const char *part)
{
	size_t count = 0;

	for (; (text = strstr(text, part)) != NULL; text++)
		count++;
	return count;
}
