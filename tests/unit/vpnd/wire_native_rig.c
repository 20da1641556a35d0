#include "wire_native_rig.h"

#include "config/config_key.h"
#include "control/control_status.h"
#include "core/rand.h"
#include "vpnd/resolver.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* The host's own, but for a failure on demand. */
int strdups_left = -1; /* -1 = any number */

char *strdup(const char *text);

char *strdup(const char *text)
{
	size_t len = strlen(text) + 1;
	char *copy = strdups_left == 0 ? NULL : malloc(len);

	strdups_left -= strdups_left > 0;
	return copy ? memcpy(copy, text, len) : NULL;
}

static void sink(void *ctx, enum log_level level, const char *text)
{
	struct wire_rig *b = ctx;

	(void)text;
	b->warnings += level <= LOG_LEVEL_WARN;
}

static void on_received(
	void *ctx, struct peer *peer, const struct iovec *pieces, int count, size_t len)
{
	struct wire_rig *b = ctx;

	(void)peer;
	cr_assert_eq(count, 1);
	cr_assert_eq(pieces[0].iov_len, len);
	(void)snprintf(
		b->message, sizeof(b->message), "%.*s", (int)len, (const char *)pieces[0].iov_base);
	b->received++;
}

static void on_writable(void *ctx, struct peer *peer)
{
	struct wire_rig *b = ctx;

	(void)peer;
	b->writable++;
}

static void on_state(void *ctx, struct peer *peer)
{
	struct wire_rig *b = ctx;

	(void)peer;
	b->states++;
}

static void on_mtu(void *ctx, struct peer *peer, uint32_t path, uint32_t most, uint32_t super)
{
	struct wire_rig *b = ctx;

	(void)peer;
	(void)super;
	b->path_mtu = path;
	b->most = most;
}

/* Every key file holds 32 times the first character of its name's last part. */
static int read_key(void *ctx, const char *path, size_t max, unsigned flags, char **ret_data,
	size_t *ret_len, struct config_file_stat *ret_stat)
{
	char text[CONFIG_KEY_TEXT_BYTES];
	uint8_t key[32];

	(void)ctx, (void)max, (void)flags;
	memset(key, strrchr(path, '/')[1], sizeof(key));
	*ret_data = strdup(config_key_format(key, text));
	*ret_len = strlen(*ret_data);
	*ret_stat = (struct config_file_stat){.regular = true, .mode = 0600};
	return 0;
}

static int list_none(void *ctx, const char *pattern, char ***ret_paths, size_t *ret_count)
{
	(void)ctx, (void)pattern;
	*ret_paths = NULL;
	*ret_count = 0;
	return 0;
}

const char *public_key(uint8_t number)
{
	static char texts[4][CONFIG_KEY_TEXT_BYTES];
	static unsigned turn;
	uint8_t key[32];

	memset(key, 0x42, sizeof(key));
	key[0] = number;
	return config_key_format(key, texts[turn++ % 4]);
}

struct config *wire_rig_parse(const char *global, const char *const *peers)
{
	static const struct config_reader reader = {.read_file = read_key, .list_files = list_none};
	static struct config_report report;
	struct config *config = NULL;
	char text[4096];
	int len = snprintf(text, sizeof(text),
		"version: 1\nidentity: {private_key_file: /k/a}\n"
		"interface: {addresses: [10.0.0.1/24]}\n%speers:\n",
		global);

	for (uint8_t i = 0; peers[i]; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len,
			"  p%u: {public_key: \"%s\", allowed_ips: [10.0.0.%u]%s}\n", i + 1,
			public_key((uint8_t)(i + 1)), i + 2, peers[i]);
	int error = config_parse_text("/t/t.yaml", text, (size_t)len, &reader, &config, &report);
	cr_assert_eq(error, 0, "%s\n%s", report.errors[0].text, text);
	return config;
}

struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;

	cr_assert_eq(ip_prefix_parse(text, &prefix), 0, "%s", text);
	return prefix;
}

struct kcpvpn_endpoint endpoint_of(const char *text)
{
	struct kcpvpn_endpoint endpoint;

	cr_assert_eq(resolver_parse_numeric(text, &endpoint), 0, "%s", text);
	return endpoint;
}

void wire_rig_link_up(struct wire_rig *b, struct tun *tun, const char *name, const char *address)
{
	struct tun_options options = {.name = name};
	struct ip_prefix prefix = prefix_of(address);
	struct fault fault = {0};

	cr_assert_eq(tun_open(tun, &options, &fault), 0, "%s", fault.text);
	cr_assert_eq(netlink_link_set_mtu(b->netlink, tun->ifindex, 1500, &fault), 0);
	cr_assert_eq(netlink_address_add(b->netlink, tun->ifindex, &prefix, &fault), 0);
	cr_assert_eq(netlink_link_set_up(b->netlink, tun->ifindex, true, &fault), 0);
}

void wire_rig_route(struct wire_rig *b, const struct tun *tun, const char *destination, bool add)
{
	struct netlink_route r = {.destination = prefix_of(destination),
		.ifindex = tun->ifindex,
		.table = NETLINK_TABLE_MAIN,
		.metric = 10,
		.protocol = 4};
	struct fault fault = {0};

	cr_assert_eq(add ? netlink_route_add(b->netlink, &r, &fault)
			 : netlink_route_remove(b->netlink, &r, &fault),
		0, "%s", fault.text);
}

static void fill_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 7, len);
}

int wire_rig_make(struct wire_rig *b, const char *global, const char *const *peers)
{
	struct fault fault = {0};

	b->config = wire_rig_parse(global, peers);
	return wire_native_new(b->loop, b->config, 1400, NULL, b->netlink, b->state, &b->log,
		&b->events, &b->wire, &fault);
}

void wire_rig_open(struct wire_rig *b)
{
	struct fault fault = {0};

	memset(b, 0, sizeof(*b));
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	b->log = (struct log){sink, b, LOG_LEVEL_DEBUG};
	b->events = (struct wire_events){
		.ctx = b,
		.received = on_received,
		.writable = on_writable,
		.state_changed = on_state,
		.mtu_changed = on_mtu,
	};
	cr_assert_eq(loop_new(&b->loop), 0);
	cr_assert_eq(netlink_new(&b->netlink, &fault), 0);
	cr_assert_eq(netlink_link_set_up(b->netlink, 1, true, &fault), 0); /* lo */
	wire_rig_link_up(b, &b->uplink, "up0", "192.168.1.2/24");
	wire_rig_route(b, &b->uplink, "0.0.0.0/0", true);
	b->other.fd = -1;
	cr_assert_eq(state_file_open(b->loop, -1, "t", &b->log, &b->state), 0);
}

void wire_rig_start_peer(struct wire_rig *b, size_t i)
{
	struct rand_source rnd = {fill_random, NULL};

	b->peers[i] = peer_new(&b->config->peers[i], &rnd);
	cr_assert_eq(b->wire->ops->peer_start(b->wire, b->peers[i]), 0);
	b->peer_count++;
}

void wire_rig_start(struct wire_rig *b, const char *global, const char *const *peers)
{
	cr_assert_eq(wire_rig_make(b, global, peers), 0);
	for (size_t i = 0; i < b->config->peer_count; i++)
		wire_rig_start_peer(b, i);
}

void wire_rig_close(struct wire_rig *b)
{
	for (size_t i = 0; i < b->peer_count; i++) {
		b->wire->ops->peer_stop(b->wire, b->peers[i], WIRE_STOP_SHUTDOWN);
		peer_free(b->peers[i]);
	}
	if (b->wire)
		b->wire->ops->free(b->wire);
	cr_assert_eq(fake, NULL);
	state_file_free(b->state);
	config_free(b->config);
	config_free(b->before);
	tun_close(&b->uplink);
	tun_close(&b->other);
	netlink_free(b->netlink);
	loop_free(b->loop);
}

void wire_rig_round(struct wire_rig *b)
{
	cr_assert(loop_turn(b->loop, false) >= 0);
	(void)b->wire->ops->turn(b->wire, loop_now(b->loop));
	b->wire->ops->flush(b->wire, loop_now(b->loop));
}

void wire_rig_reload(struct wire_rig *b, const char *global, const char *const *peers)
{
	struct fault fault = {0};

	config_free(b->before);
	b->before = b->config;
	b->config = wire_rig_parse(global, peers);
	cr_assert_eq(b->wire->ops->set_config(b->wire, b->config, &fault), 0, "%s", fault.text);
	for (size_t i = 0; i < b->peer_count; i++)
		peer_set_config(b->peers[i], config_peer_find(b->config, b->peers[i]->name));
	for (size_t i = 0; i < b->peer_count; i++)
		b->wire->ops->peer_changed(b->wire, b->peers[i]);
	b->wire->ops->peers_changed(b->wire);
	config_free(b->before); /* nobody may still look at it */
	b->before = NULL;
}

const char *targets(const struct kcpvpn_peer *peer)
{
	static char text[1024];
	char one[KCPVPN_ENDPOINT_TEXT_BYTES];

	text[0] = '\0';
	for (size_t i = 0; i < peer->target_count; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
			i > 0 ? " " : "", kcpvpn_endpoint_format(&peer->targets[i].remote, one));
	return text;
}

bool warned(struct wire_rig *b, bool peer, const char *text)
{
	struct control_status status;
	bool any = false;

	control_status_init(&status);
	struct control_peer *to = control_status_add_peer(&status, "p");
	b->wire->ops->peer_status(b->wire, b->peers[0], to);
	b->wire->ops->status(b->wire, &status);
	const struct control_strings *list = peer ? &to->warnings : &status.warnings;
	for (size_t i = 0; i < list->count; i++)
		any |= strncmp(list->items[i], text, strlen(text)) == 0;
	control_status_fini(&status);
	return any;
}
