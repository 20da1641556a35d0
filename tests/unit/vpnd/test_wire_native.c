/* What vpnd makes of the native wire's library: sockets, targets, keepalive, events. The library is a fake. */
#include "config/config.h"
#include "config/config_key.h"
#include "control/control_status.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/rand.h"
#include "native_fake.h"
#include "vpnd/fault.h"
#include "vpnd/loop.h"
#include "vpnd/netlink.h"
#include "vpnd/peer.h"
#include "vpnd/resolver.h"
#include "vpnd/state_file.h"
#include "vpnd/tun.h"
#include "vpnd/wire_native.h"
#include "vpnd/wire_native_peer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	PEERS_MAX = 8,
};

/* The host's own, but for a failure on demand. */
static int strdups_left = -1; /* -1 = any number */

char *strdup(const char *text);

char *strdup(const char *text)
{
	size_t len = strlen(text) + 1;
	char *copy = strdups_left == 0 ? NULL : malloc(len);

	strdups_left -= strdups_left > 0;
	return copy ? memcpy(copy, text, len) : NULL;
}

struct bench {
	struct loop *loop;
	struct netlink *netlink;
	struct tun uplink, other; /* interfaces that lead outside */
	struct state_file *state;
	struct log log;
	int warnings;
	struct config *config;
	struct config *before;
	struct pool pool;
	struct wire *wire;
	struct wire_events events;
	struct peer *peers[PEERS_MAX];
	size_t peer_count;
	unsigned received, writable, states;
	char message[64];
	uint32_t path_mtu, most;
};

static void sink(void *ctx, enum log_level level, const char *text)
{
	struct bench *b = ctx;

	(void)text;
	b->warnings += level <= LOG_LEVEL_WARN;
}

static void on_received(
	void *ctx, struct peer *peer, const struct iovec *pieces, int count, size_t len)
{
	struct bench *b = ctx;

	(void)peer;
	cr_assert_eq(count, 1);
	cr_assert_eq(pieces[0].iov_len, len);
	(void)snprintf(
		b->message, sizeof(b->message), "%.*s", (int)len, (const char *)pieces[0].iov_base);
	b->received++;
}

static void on_writable(void *ctx, struct peer *peer)
{
	struct bench *b = ctx;

	(void)peer;
	b->writable++;
}

static void on_state(void *ctx, struct peer *peer)
{
	struct bench *b = ctx;

	(void)peer;
	b->states++;
}

static void on_mtu(void *ctx, struct peer *peer, uint32_t path, uint32_t most)
{
	struct bench *b = ctx;

	(void)peer;
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

/* Base64 of a public key whose first byte is `number`. */
static const char *public_key(uint8_t number)
{
	static char texts[4][CONFIG_KEY_TEXT_BYTES];
	static unsigned turn;
	uint8_t key[32];

	memset(key, 0x42, sizeof(key));
	key[0] = number;
	return config_key_format(key, texts[turn++ % 4]);
}

static struct config *parse(const char *global, const char *const *peers)
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

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;

	cr_assert_eq(ip_prefix_parse(text, &prefix), 0, "%s", text);
	return prefix;
}

static struct kcpvpn_endpoint endpoint_of(const char *text)
{
	struct kcpvpn_endpoint endpoint;

	cr_assert_eq(resolver_parse_numeric(text, &endpoint), 0, "%s", text);
	return endpoint;
}

static void link_up(struct bench *b, struct tun *tun, const char *name, const char *address)
{
	struct tun_options options = {.name = name};
	struct ip_prefix prefix = prefix_of(address);
	struct fault fault = {0};

	cr_assert_eq(tun_open(tun, &options, &fault), 0, "%s", fault.text);
	cr_assert_eq(netlink_link_set_mtu(b->netlink, tun->ifindex, 1500, &fault), 0);
	cr_assert_eq(netlink_address_add(b->netlink, tun->ifindex, &prefix, &fault), 0);
	cr_assert_eq(netlink_link_set_up(b->netlink, tun->ifindex, true, &fault), 0);
}

static void route(struct bench *b, const struct tun *tun, const char *destination, bool add)
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

static int make(struct bench *b, const char *global, const char *const *peers)
{
	struct fault fault = {0};

	b->config = parse(global, peers);
	return wire_native_new(b->loop, b->config, 1400, b->netlink, b->state, &b->log, &b->events,
		&b->wire, &fault);
}

/* A host with the private address 192.168.1.2 towards everywhere, no peers yet. */
static void setup(struct bench *b)
{
	struct fault fault = {0};

	memset(b, 0, sizeof(*b));
	cr_assert_eq(unshare(CLONE_NEWNET), 0, "needs root: network namespaces");
	b->log = (struct log){sink, b, LOG_LEVEL_DEBUG};
	b->events = (struct wire_events){b, on_received, NULL, on_writable, on_state, on_mtu};
	cr_assert_eq(loop_new(&b->loop), 0);
	cr_assert_eq(netlink_new(&b->netlink, &fault), 0);
	cr_assert_eq(netlink_link_set_up(b->netlink, 1, true, &fault), 0); /* lo */
	link_up(b, &b->uplink, "up0", "192.168.1.2/24");
	route(b, &b->uplink, "0.0.0.0/0", true);
	b->other.fd = -1;
	pool_init(&b->pool, ingress_slot_bytes(2048), 100);
	cr_assert_eq(state_file_open(b->loop, -1, "t", &b->log, &b->state), 0);
}

static void start(struct bench *b, const char *global, const char *const *peers)
{
	struct rand_source rnd = {fill_random, NULL};

	cr_assert_eq(make(b, global, peers), 0);
	for (size_t i = 0; i < b->config->peer_count; i++) {
		b->peers[i] = peer_new(&b->config->peers[i], &b->pool, &rnd);
		cr_assert_eq(b->wire->ops->peer_start(b->wire, b->peers[i]), 0);
	}
	b->peer_count = b->config->peer_count;
}

static void teardown(struct bench *b)
{
	for (size_t i = 0; i < b->peer_count; i++) {
		b->wire->ops->peer_stop(b->wire, b->peers[i], WIRE_STOP_SHUTDOWN);
		peer_free(b->peers[i]);
	}
	if (b->wire)
		b->wire->ops->free(b->wire);
	cr_assert_eq(fake, NULL);
	state_file_free(b->state);
	pool_fini(&b->pool);
	config_free(b->config);
	config_free(b->before);
	tun_close(&b->uplink);
	tun_close(&b->other);
	netlink_free(b->netlink);
	loop_free(b->loop);
}

/* A round of the daemon's loop. */
static void run_round(struct bench *b)
{
	cr_assert(loop_turn(b->loop, false) >= 0);
	(void)b->wire->ops->turn(b->wire, loop_now(b->loop));
	b->wire->ops->flush(b->wire, loop_now(b->loop));
}

static void reload(struct bench *b, const char *global, const char *const *peers)
{
	struct fault fault = {0};

	config_free(b->before);
	b->before = b->config;
	b->config = parse(global, peers);
	cr_assert_eq(b->wire->ops->set_config(b->wire, b->config, &fault), 0, "%s", fault.text);
	for (size_t i = 0; i < b->peer_count; i++)
		peer_set_config(b->peers[i], config_peer_find(b->config, b->peers[i]->name));
	for (size_t i = 0; i < b->peer_count; i++)
		b->wire->ops->peer_changed(b->wire, b->peers[i]);
	b->wire->ops->peers_changed(b->wire);
	config_free(b->before); /* nobody may still look at it */
	b->before = NULL;
}

/* "a b c": where a peer is called. */
static const char *targets(const struct kcpvpn_peer *peer)
{
	static char text[1024];
	char one[KCPVPN_ENDPOINT_TEXT_BYTES];

	text[0] = '\0';
	for (size_t i = 0; i < peer->target_count; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
			i > 0 ? " " : "", kcpvpn_endpoint_format(&peer->targets[i].remote, one));
	return text;
}

Test(wire_native, peers_are_called_where_they_were_then_in_order)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"[2001:db8::1]:2\", \"198.51.100.3:3\"]",
		", endpoints: [\"198.51.100.1:1\"], preshared_key_file: /k/q, session: {roaming: "
		"false}",
		", endpoints: []", NULL};
	struct bench b;
	struct kcpvpn_endpoint known = endpoint_of("203.0.113.9:9");

	setup(&b);
	struct config *config = parse("", peers);
	for (size_t i = 0; i < 3; i++)
		state_file_set(b.state, config->peers[i].public_key, &known);
	config_free(config);
	start(&b, "", peers);
	/* without a route IPv6 is tried all the same: the host may get one */
	cr_assert_str_eq(targets(fake_peer(1)),
		"203.0.113.9:9 198.51.100.1:1 [2001:db8::1]:2 198.51.100.3:3");
	cr_assert_str_eq(targets(fake_peer(2)), "198.51.100.1:1", "pinned");
	cr_assert_str_eq(targets(fake_peer(3)), "203.0.113.9:9");
	cr_assert(fake_peer(1)->up && fake_peer(2)->up && fake_peer(3)->up);
	cr_assert(fake_peer(3)->wanted > 0, "it cannot know that we were away");
	cr_assert_eq(fake_peer(2)->wanted, 0);
	cr_assert(fake_peer(2)->has_preshared && fake_peer(2)->preshared_key[5] == 'q');
	cr_assert(!fake_peer(1)->has_preshared);
	cr_assert(!fake_peer(2)->config.roaming && fake_peer(1)->config.roaming);
	cr_assert(fake_peer(1)->config.persistent && !fake_peer(3)->config.persistent);
	cr_assert_eq(fake_peer(1)->config.tun_mtu, 1400);
	cr_assert_eq(fake_peer(1)->config.dead_after_us, 15000000);
	cr_assert_eq(fake_peer(1)->config.deadline_us, 0);
	cr_assert_eq(fake->private_key[31], 'a');
	cr_assert_eq(fake->config.datagram_max_bytes, 1472);

	known = endpoint_of("198.51.100.3:3"); /* one of the endpoints: first, and once */
	state_file_set(b.state, b.config->peers[0].public_key, &known);
	b.wire->ops->peer_changed(b.wire, b.peers[0]);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.3:3 198.51.100.1:1 [2001:db8::1]:2");
	teardown(&b);
}

Test(wire_native, all_of_many_endpoints_have_their_turn)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"198.51.100.2:1\", \"198.51.100.3:1\", "
		"\"198.51.100.4:1\", \"198.51.100.5:1\", \"198.51.100.6:1\", \"198.51.100.7:1\", "
		"\"198.51.100.8:1\", \"198.51.100.9:1\", \"198.51.100.10:1\"]",
		NULL};
	struct bench b;

	setup(&b);
	start(&b, "", peers);
	cr_assert_eq(fake_peer(1)->target_count, 8);
	cr_assert(strncmp(targets(fake_peer(1)), "198.51.100.1:1 ", 15) == 0);
	for (int i = 0; i < 2; i++) {
		fake_peer(1)->events = KCPVPN_PEER_EVENT_NAMES;
		run_round(&b);
	}
	cr_assert_str_eq(targets(fake_peer(1)),
		"198.51.100.3:1 198.51.100.4:1 198.51.100.5:1 198.51.100.6:1 198.51.100.7:1 "
		"198.51.100.8:1 198.51.100.9:1 198.51.100.10:1");
	teardown(&b);
}

Test(wire_native, an_address_behind_the_tunnel_is_no_target)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"203.0.113.5:1\"]", NULL};
	struct bench b;

	setup(&b);
	link_up(&b, &b.other, "own0", "10.0.0.1/24");
	cr_assert_eq(make(&b, "", peers), 0);
	b.wire->own_ifindex = b.other.ifindex;
	struct rand_source rnd = {fill_random, NULL};
	b.peers[b.peer_count++] = peer_new(&b.config->peers[0], &b.pool, &rnd);
	cr_assert_eq(b.wire->ops->peer_start(b.wire, b.peers[0]), 0);
	cr_assert_eq(fake_peer(1)->target_count, 2);
	route(&b, &b.other, "203.0.113.0/24", true);
	b.wire->ops->peer_changed(b.wire, b.peers[0]);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.1:1");
	teardown(&b);
}

Test(wire_native, names_are_asked_for)
{
	static const char *const peers[] = {
		", endpoints: [\"localhost:7\", \"198.51.100.1:1\"]", NULL};
	struct bench b;

	setup(&b);
	start(&b, "", peers);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.1:1", "meanwhile");
	while (fake_peer(1)->target_count < 2)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(fake_peer(1)->targets[0].remote.port, 7);
	/* and a peer that goes while a question is open hears no answer */
	fake_peer(1)->events = KCPVPN_PEER_EVENT_NAMES;
	run_round(&b);
	teardown(&b);
}

Test(wire_native, a_nat_is_kept_open_where_there_is_one)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]",
		", endpoints: [\"192.168.7.1:1\"]",
		", endpoints: [\"198.51.100.1:1\"], session: {keepalive: off}",
		", endpoints: [\"192.168.7.1:1\"], session: {keepalive: 7s}", "", NULL};
	struct bench b;

	setup(&b);
	start(&b, "", peers);
	cr_assert_eq(fake_peer(1)->config.keepalive_us, WIRE_NATIVE_KEEPALIVE_US);
	cr_assert_eq(fake_peer(2)->config.keepalive_us, 0, "the same house");
	cr_assert_eq(fake_peer(3)->config.keepalive_us, 0);
	cr_assert_eq(fake_peer(4)->config.keepalive_us, 7000000);
	cr_assert_eq(fake_peer(5)->config.keepalive_us, 0);

	/* The peer without endpoints calls us from outside: we are behind a forwarded port. */
	fake_peer(5)->endpoint = endpoint_of("203.0.113.7:7");
	fake_peer(5)->events = KCPVPN_PEER_EVENT_ENDPOINT;
	run_round(&b);
	cr_assert_eq(fake_peer(5)->config.keepalive_us, WIRE_NATIVE_KEEPALIVE_US);

	/* Another way outside, with an address of our own. */
	link_up(&b, &b.other, "up1", "203.0.113.77/32");
	route(&b, &b.other, "198.51.100.0/24", true);
	b.wire->ops->network_changed(b.wire, false);
	run_round(&b);
	cr_assert_eq(fake_peer(1)->config.keepalive_us, 0);
	cr_assert_eq(fake_peer(5)->config.keepalive_us, WIRE_NATIVE_KEEPALIVE_US);
	teardown(&b);
}

Test(wire_native, private_addresses)
{
	static const struct {
		const char *text;
		bool private;
	} rows[] = {
		{"10.0.0.1:1", true},
		{"11.0.0.1:1", false},
		{"9.255.255.255:1", false},
		{"172.15.0.1:1", false},
		{"172.16.0.1:1", true},
		{"172.31.255.255:1", true},
		{"172.32.0.1:1", false},
		{"192.168.0.1:1", true},
		{"192.167.0.1:1", false},
		{"192.169.0.1:1", false},
		{"100.63.0.1:1", false},
		{"100.64.0.1:1", true},
		{"100.127.255.255:1", true},
		{"100.128.0.1:1", false},
		{"169.254.1.1:1", true},
		{"127.0.0.1:1", true},
		{"192.0.0.2:1", true},
		{"192.0.2.2:1", false},
		{"8.8.8.8:1", false},
		{"[fc00::1]:1", true},
		{"[fd12::1]:1", true},
		{"[fe80::1%1]:1", true},
		{"[fec0::1]:1", false},
		{"[::1]:1", true},
		{"[::2]:1", false},
		{"[2001:db8::1]:1", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcpvpn_endpoint endpoint = endpoint_of(rows[i].text);
		cr_assert_eq(
			native_address_private(&endpoint), rows[i].private, "%s", rows[i].text);
	}
	cr_assert(!native_address_private(&(struct kcpvpn_endpoint){0}));
}

Test(wire_native, a_change_that_changes_nothing_is_not_told)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct bench b;

	setup(&b);
	start(&b, "", peers);
	run_round(&b);
	for (int i = 0; i < 10; i++) {
		b.wire->ops->network_changed(b.wire, false);
		run_round(&b);
	}
	cr_assert_eq(fake->network_changes, 0);
	struct native_wire *wire = (struct native_wire *)b.wire;
	loop_timer_disarm(b.loop, &wire->sweep);
	wire->swept_at = MONO_NEVER;		  /* long ago */
	route(&b, &b.uplink, "0.0.0.0/0", false); /* away */
	b.wire->ops->network_changed(b.wire, false);
	for (int i = 0; i < 3; i++)
		run_round(&b);
	cr_assert_eq(fake->network_changes, 1, "told at once");

	/* And back, and away again, in no time: once more, when the time has come. */
	for (int i = 0; i < 5; i++) {
		route(&b, &b.uplink, "0.0.0.0/0", i % 2 == 0);
		b.wire->ops->network_changed(b.wire, false);
		run_round(&b);
		run_round(&b);
	}
	struct mono began = loop_now(b.loop);
	cr_assert_eq(fake->network_changes, 1);
	while (fake->network_changes < 2)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert(mono_diff_us(loop_now(b.loop), began) <= 1000000);
	for (int i = 0; i < 3; i++)
		run_round(&b);
	cr_assert_eq(fake->network_changes, 2);

	b.wire->ops->network_changed(b.wire, true); /* it slept: whatever the routes say */
	while (fake->network_changes < 3)
		cr_assert(loop_turn(b.loop, true) >= 0);
	teardown(&b);
}

Test(wire_native, changes_all_the_time_keep_no_peer_from_its_turn)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\"]", ", endpoints: [\"198.51.100.2:1\"]", NULL};
	struct bench b;

	setup(&b);
	start(&b, "", peers);
	struct native_wire *wire = (struct native_wire *)b.wire;
	struct native_peer *last = b.peers[1]->wire;
	b.wire->ops->network_changed(b.wire, false);
	run_round(&b);
	struct mono began = wire->swept_at;
	cr_assert_eq(wire->sweep_next, &wire->peers);

	/* In the middle of the list, when more peers are there than are looked at in one go. */
	wire->sweep_next = &last->in_wire;
	loop_timer_arm(b.loop, &wire->sweep, loop_now(b.loop));
	b.wire->ops->network_changed(b.wire, false);
	cr_assert_eq(wire->sweep_next, &last->in_wire, "it goes on");
	run_round(&b);
	cr_assert_eq(wire->sweep_next, &wire->peers);
	cr_assert_eq(wire->swept_at.us, began.us);
	/* then comes another, in its time, and one only */
	b.wire->ops->network_changed(b.wire, false);
	b.wire->ops->network_changed(b.wire, false);
	while (wire->swept_at.us == began.us)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert(mono_diff_us(wire->swept_at, began) >= WIRE_NATIVE_CHANGE_US);
	cr_assert(mono_is_never(wire->sweep.timer.at));
	teardown(&b);
}

/* Whether the status of all, or of the first peer, warns of something that begins like this. */
static bool warned(struct bench *b, bool peer, const char *text)
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

Test(wire_native, a_way_that_leads_into_the_tunnel_later_is_none)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"203.0.113.5:1\"]", NULL};
	struct bench b;

	setup(&b);
	link_up(&b, &b.other, "own0", "10.0.0.1/24");
	start(&b, "", peers);
	b.wire->own_ifindex = b.other.ifindex;
	int before = b.warnings;
	struct native_wire *wire = (struct native_wire *)b.wire;
	route(&b, &b.other, "203.0.113.0/24", true); /* the way to the first is the same */
	for (int i = 0; i < 2; i++) {
		loop_timer_disarm(b.loop, &wire->sweep);
		wire->swept_at = MONO_NEVER;
		b.wire->ops->network_changed(b.wire, false);
		run_round(&b);
	}
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.1:1");
	cr_assert_eq(b.warnings, before);
	cr_assert(!warned(&b, true, "all its addresses are reached by the tunnel"));
	route(&b, &b.other, "198.51.100.0/24", true);
	for (int i = 0; i < 3; i++) {
		loop_timer_disarm(b.loop, &wire->sweep);
		wire->swept_at = MONO_NEVER;
		b.wire->ops->network_changed(b.wire, false);
		run_round(&b);
	}
	cr_assert_eq(fake_peer(1)->target_count, 0);
	cr_assert_eq(b.warnings, before + 1, "said once");
	cr_assert(warned(&b, true, "all its addresses are reached by the tunnel"));
	teardown(&b);
}

Test(wire_native, the_link_s_mtu_is_told)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", "", NULL};
	struct bench b;
	struct fault fault = {0};

	setup(&b);
	start(&b, "", peers);
	cr_assert_eq(fake_peer(1)->link_mtu, 1500);
	cr_assert_eq(fake_peer(2)->link_mtu, 0, "nowhere yet");
	cr_assert_eq(netlink_link_set_mtu(b.netlink, b.uplink.ifindex, 1300, &fault), 0);
	b.wire->ops->network_changed(b.wire, false);
	run_round(&b);
	cr_assert_eq(fake_peer(1)->link_mtu, 1300);
	cr_assert_eq(fake->network_changes, 0, "the way is the same");
	fake_peer(2)->endpoint = endpoint_of("203.0.113.7:7");
	fake_peer(2)->events = KCPVPN_PEER_EVENT_ENDPOINT;
	run_round(&b);
	cr_assert_eq(fake_peer(2)->link_mtu, 1300);
	teardown(&b);
}

Test(wire_native, what_the_host_does_not_send_in_one_piece_is_told_later)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	static uint8_t bytes[9000];
	struct bench b;

	setup(&b);
	start(&b, "", peers);
	run_round(&b);
	const struct kcpvpn_udp_port *port = fake_peer(1)->targets[0].port;
	static const size_t lengths[] = {8000, 1473, 2000, 1472};
	struct kcpvpn_datagram datagrams[4];
	for (size_t i = 0; i < 4; i++)
		datagrams[i] = (struct kcpvpn_datagram){.remote = fake_peer(1)->targets[0].remote,
			.data = bytes,
			.len = lengths[i]};
	port->send(port->ctx, datagrams, 4);
	cr_assert_eq(fake->too_bigs, 0, "not from within sending");
	b.wire->ops->flush(b.wire, loop_now(b.loop));
	cr_assert_eq(fake->too_bigs, 0);
	/* The next round comes by itself, and at once. */
	const struct native_wire *wire = (const struct native_wire *)b.wire;
	cr_assert_eq(wire->timer.timer.at.us, loop_now(b.loop).us);
	cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert(b.wire->ops->turn(b.wire, loop_now(b.loop)));
	cr_assert_eq(fake->too_bigs, 1);
	cr_assert_eq(fake->too_big_len, 1473, "the smallest that failed");
	cr_assert(kcpvpn_endpoint_equal(&fake->too_big_remote, &datagrams[0].remote));
	cr_assert(!b.wire->ops->turn(b.wire, loop_now(b.loop)));
	cr_assert_eq(fake->too_bigs, 1);
	teardown(&b);
}

Test(wire_native, events_reach_the_packet_path)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct bench b;
	struct kcpvpn_endpoint known;

	setup(&b);
	start(&b, "", peers);
	struct kcpvpn_peer *peer = fake_peer(1);
	cr_assert_eq(b.wire->ops->peer_state(b.wire, b.peers[0]), WIRE_PEER_CONNECTING);
	b.states = 0;
	peer->state = KCPVPN_PEER_UP;
	peer->endpoint = endpoint_of("203.0.113.7:7");
	peer->inner_mtu = 1160;
	peer->tun_mtu = 1300;
	peer->message = "hello";
	peer->events =
		KCPVPN_PEER_EVENT_STATE | KCPVPN_PEER_EVENT_READABLE | KCPVPN_PEER_EVENT_ENDPOINT;
	run_round(&b);
	cr_assert_eq(b.wire->ops->peer_state(b.wire, b.peers[0]), WIRE_PEER_UP);
	cr_assert_eq(b.states, 1);
	cr_assert_eq(b.writable, 1);
	cr_assert_eq(b.received, 1);
	cr_assert_str_eq(b.message, "hello");
	cr_assert_eq(b.path_mtu, 0, "it was not probed yet");
	cr_assert_eq(b.most, 1300);
	cr_assert(state_file_find(b.state, b.config->peers[0].public_key, &known));
	cr_assert(kcpvpn_endpoint_equal(&known, &peer->endpoint));

	peer->inner_mtu = 1400;
	peer->events = KCPVPN_PEER_EVENT_MTU;
	run_round(&b);
	cr_assert_eq(b.path_mtu, 1400);
	cr_assert_eq(b.states, 1);

	peer->inner_mtu = 1160; /* some losses in a row, or a shorter path: that shows */
	peer->events = KCPVPN_PEER_EVENT_MTU;
	run_round(&b);
	cr_assert_eq(b.path_mtu, 1400);
	peer->inner_mtu = 1400;
	peer->events = KCPVPN_PEER_EVENT_MTU;
	run_round(&b);
	peer->inner_mtu = 1300;
	peer->events = KCPVPN_PEER_EVENT_MTU;
	run_round(&b);
	struct mono began = loop_now(b.loop);
	peer->inner_mtu = 1290;
	peer->events = KCPVPN_PEER_EVENT_MTU;
	run_round(&b);
	while (b.path_mtu == 1400)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(b.path_mtu, 1290, "what holds by then");
	cr_assert(mono_diff_us(loop_now(b.loop), began) >= WIRE_NATIVE_MTU_US);
	cr_assert(mono_diff_us(loop_now(b.loop), began) < 2 * WIRE_NATIVE_MTU_US);

	peer->ready = true;
	unsigned wanted = peer->wanted;
	cr_assert(b.wire->ops->ready(b.wire, b.peers[0]));
	cr_assert_eq(b.wire->ops->send(b.wire, b.peers[0], "x", 1), 0);
	peer->ready = false;
	cr_assert(!b.wire->ops->ready(b.wire, b.peers[0]));
	cr_assert_eq(peer->wanted, wanted, "it is there");
	peer->state = KCPVPN_PEER_IDLE;
	peer->events = KCPVPN_PEER_EVENT_STATE;
	run_round(&b);
	cr_assert_eq(b.path_mtu, 0, "its path is not known any more");
	cr_assert(!b.wire->ops->ready(b.wire, b.peers[0]));
	cr_assert_eq(peer->wanted, wanted + 1);
	teardown(&b);
}

Test(wire_native, a_peer_that_stops_is_told_why)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct bench b;

	setup(&b);
	start(&b, "", peers);
	struct kcpvpn_peer *peer = fake_peer(1);
	b.wire->ops->peer_stop(b.wire, b.peers[0], WIRE_STOP_REMOVED);
	cr_assert(peer->down && peer->reason == KCPVPN_CLOSE_REMOVED);
	cr_assert(peer->flushed_after_down > 0, "before it is forgotten it must have left");
	cr_assert(!peer->used);
	cr_assert_eq(b.peers[0]->wire, NULL);
	cr_assert_eq(b.wire->ops->peer_state(b.wire, b.peers[0]), WIRE_PEER_DOWN);
	cr_assert(!b.wire->ops->ready(b.wire, b.peers[0]));
	cr_assert_eq(b.wire->ops->send(b.wire, b.peers[0], "x", 1), -ENOTCONN);
	b.wire->ops->peer_stop(b.wire, b.peers[0], WIRE_STOP_REMOVED);
	cr_assert_eq(b.wire->ops->peer_start(b.wire, b.peers[0]), 0);
	cr_assert(fake_peer(1)->up);
	teardown(&b);
}

Test(wire_native, troubles_are_said_once_each)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	static const char first[] = "wrong key", second[] = "no answer";
	struct bench b;

	setup(&b);
	start(&b, "", peers);
	int before = b.warnings;
	/* The timer of the loop brings it; nothing else happens. */
	fake_peer(1)->trouble = first;
	while (b.warnings == before)
		cr_assert(loop_turn(b.loop, true) >= 0);
	struct native_wire *wire = (struct native_wire *)b.wire;
	for (int i = 0; i < 6; i++) {
		fake_peer(1)->trouble = i < 3 ? first : second;
		wire->trouble.on_due(&wire->trouble, loop_now(b.loop));
	}
	cr_assert_eq(b.warnings, before + 2);
	/* A peer that is there has none, and nobody looks. */
	fake_peer(1)->state = KCPVPN_PEER_UP;
	fake_peer(1)->events = KCPVPN_PEER_EVENT_STATE;
	run_round(&b);
	loop_timer_disarm(b.loop, &wire->trouble);
	wire->trouble.on_due(&wire->trouble, loop_now(b.loop));
	cr_assert(mono_is_never(wire->trouble.timer.at));
	cr_assert_eq(b.warnings, before + 2);
	teardown(&b);
}

/* A datagram from outside to `port`; the address it was sent to may be of any family. */
static void knock(const char *to, uint16_t port, const void *data, size_t len)
{
	struct kcpvpn_endpoint endpoint = endpoint_of(to);
	struct sockaddr_storage sa;

	endpoint.port = port;
	size_t sa_len = kcpvpn_endpoint_to_sockaddr(&endpoint, false, &sa);
	int fd = socket(sa.ss_family, SOCK_DGRAM, 0);
	cr_assert_eq(
		sendto(fd, data, len, 0, (struct sockaddr *)&sa, (socklen_t)sa_len), (ssize_t)len);
	close(fd);
}

static uint16_t listening_port(struct bench *b, size_t index)
{
	struct control_status status;

	control_status_init(&status);
	b->wire->ops->status(b->wire, &status);
	cr_assert(index < status.listen.count);
	uint16_t port = (uint16_t)atoi(strrchr(status.listen.items[index], ':') + 1);
	control_status_fini(&status);
	return port;
}

static size_t listener_count(struct bench *b)
{
	struct control_status status;

	control_status_init(&status);
	b->wire->ops->status(b->wire, &status);
	size_t count = status.listen.count;
	control_status_fini(&status);
	return count;
}

Test(wire_native, without_listen_there_is_one_socket_for_all)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"[2001:db8::1]:2\"]", NULL};
	static uint8_t bytes[1472] = {0x77};
	struct bench b;

	setup(&b);
	start(&b, "", peers);
	cr_assert_eq(listener_count(&b), 1);
	cr_assert_eq(fake_peer(1)->targets[0].port, fake_peer(1)->targets[1].port);
	uint16_t port = listening_port(&b, 0);
	cr_assert_neq(port, 0);
	knock("192.168.1.2:1", port, bytes, sizeof(bytes));
	while (fake->datagrams < 1)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(fake->last.len, sizeof(bytes));
	cr_assert_eq(fake->last_byte, 0x77);
	cr_assert_eq(fake->last.remote.family, 4, "mapped addresses are IPv4");
	cr_assert_eq(fake->last.local.family, 4);
	cr_assert_eq(fake->last_port, fake_peer(1)->targets[0].port);
	teardown(&b);
}

Test(wire_native, the_socket_follows_the_address)
{
	static const char *const peers[] = {
		", endpoints: [\"198.51.100.1:1\", \"203.0.113.1:1\", \"[2001:db8::1]:2\"]", NULL};
	struct bench b;

	setup(&b);
	link_up(&b, &b.other, "up1", "192.0.2.2/24");
	route(&b, &b.other, "203.0.113.0/24", true);
	start(&b, "listen: [\"192.168.1.2:5000\", \"192.0.2.2:5001\"]\n", peers);
	const struct kcpvpn_target *t = fake_peer(1)->targets;
	cr_assert_eq(fake_peer(1)->target_count, 3);
	cr_assert_neq(t[0].port, t[1].port, "each from the address that its route begins with");
	cr_assert(t[2].port != t[0].port && t[2].port != t[1].port);
	cr_assert_eq(listener_count(&b), 3, "one more for the family that nothing listens on");
	knock("192.0.2.2:1", 5001, "y", 1);
	while (fake->datagrams < 1)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(fake->last_port, t[1].port);
	teardown(&b);
}

Test(wire_native, a_reload_changes_only_what_differs)
{
	static const char *const before[] = {
		", endpoints: [\"198.51.100.1:1\"]", ", endpoints: [\"198.51.100.2:1\"]", NULL};
	static const char *const after[] = {
		", endpoints: [\"198.51.100.9:1\", \"198.51.100.1:1\"], session: {dead_after: 30s, "
		"roaming: false}, transport: {deadline: 2s}",
		", endpoints: [\"198.51.100.2:1\"]", NULL};
	struct bench b;
	struct kcpvpn_endpoint known = endpoint_of("203.0.113.9:9");

	setup(&b);
	start(&b, "listen: [\"0.0.0.0:5000\"]\n", before);
	const struct kcpvpn_udp_port *kept = fake_peer(1)->targets[0].port;
	state_file_set(b.state, (const uint8_t[32]){0x55}, &known); /* of a peer that is gone */
	reload(&b, "listen: [\"0.0.0.0:5000\", \"192.168.1.2:5001\"]\n", after);
	cr_assert_eq(fake->closed_count, 0);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.9:1 198.51.100.1:1");
	cr_assert_str_eq(targets(fake_peer(2)), "198.51.100.2:1");
	cr_assert_eq(fake_peer(1)->config.dead_after_us, 30000000);
	cr_assert_eq(fake_peer(1)->config.deadline_us, 2000000);
	cr_assert(!fake_peer(1)->config.roaming);
	cr_assert(!fake_peer(1)->down && !fake_peer(2)->down);
	cr_assert(!state_file_find(b.state, (const uint8_t[32]){0x55}, &known));
	cr_assert_eq(listener_count(&b), 2);

	reload(&b, "listen: [\"192.168.1.2:5001\"]\n", after);
	cr_assert_eq(fake->closed_count, 1);
	cr_assert_eq(fake->closed[0], kept);
	cr_assert_neq(fake_peer(1)->targets[0].port, kept, "no target by a socket that is gone");
	cr_assert_neq(fake_peer(2)->targets[0].port, kept);
	cr_assert_eq(listener_count(&b), 1);
	teardown(&b);
}

Test(wire_native, a_port_that_is_taken_changes_nothing)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct bench b;
	struct fault fault = {0};
	struct udp_socket_options options;
	struct udp_socket taken = {.fd = -1};
	struct udp_batch *batch = udp_batch_new(100, 0, 0);

	setup(&b);
	start(&b, "listen: [\"192.168.1.2:5000\"]\n", peers);
	udp_socket_options_init(&options);
	options.local = endpoint_of("192.168.1.2:6000");
	cr_assert_eq(udp_socket_open(&taken, &options, batch, &fault), 0, "%s", fault.text);
	struct config *other =
		parse("listen: [\"192.168.1.2:5001\", \"192.168.1.2:6000\"]\n", peers);
	cr_assert_eq(b.wire->ops->set_config(b.wire, other, &fault), -EADDRINUSE);
	cr_assert_str_eq(fault.code, "E-UDP-1");
	config_free(other);
	cr_assert_eq(listener_count(&b), 1);
	cr_assert_eq(listening_port(&b, 0), 5000);
	knock("192.168.1.2:1", 5000, "y", 1);
	while (fake->datagrams < 1)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(fake->last_port, fake_peer(1)->targets[0].port);
	udp_socket_close(&taken);
	udp_batch_free(batch);
	teardown(&b);
}

static void take_port(struct udp_socket *taken, struct udp_batch *batch, const char *address)
{
	struct udp_socket_options options;
	struct fault fault = {0};

	udp_socket_options_init(&options);
	options.local = endpoint_of(address);
	cr_assert_eq(udp_socket_open(taken, &options, batch, &fault), 0, "%s", fault.text);
}

static void refused_reload(struct bench *b, const char *global, const char *const *peers)
{
	struct fault fault = {0};
	struct config *other = parse(global, peers);

	cr_assert_eq(b->wire->ops->set_config(b->wire, other, &fault), -EADDRINUSE);
	config_free(other);
}

Test(wire_native, a_refused_reload_closes_nothing_before_it_must)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct udp_socket taken = {.fd = -1};
	struct udp_batch *batch = udp_batch_new(100, 0, 0);
	struct bench b;

	setup(&b);
	start(&b, "listen: [\"192.168.1.2:5000\"]\n", peers);
	take_port(&taken, batch, "192.168.1.2:6000");
	refused_reload(&b, "listen: [\"0.0.0.0:5000\", \"192.168.1.2:6000\"]\n", peers);
	cr_assert_eq(fake->closed_count, 0, "its own port was not in the way of the other");
	cr_assert_eq(listening_port(&b, 0), 5000);
	/* Without the other one it can be had: the old one makes way. */
	reload(&b, "listen: [\"0.0.0.0:5000\"]\n", peers);
	cr_assert_eq(fake->closed_count, 1);
	knock("192.168.1.2:1", 5000, "y", 1);
	while (fake->datagrams < 1)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(fake->last_port, fake_peer(1)->targets[0].port);
	udp_socket_close(&taken);
	udp_batch_free(batch);
	teardown(&b);
}

Test(wire_native, after_a_refused_reload_peers_are_called_by_ports_that_are_open)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct udp_socket taken = {.fd = -1};
	struct udp_batch *batch = udp_batch_new(100, 0, 0);
	struct bench b;

	setup(&b);
	start(&b, "listen: [\"192.168.1.2:5000\"]\n", peers);
	take_port(&taken, batch, "127.0.0.1:5000");
	refused_reload(&b, "listen: [\"0.0.0.0:5000\"]\n", peers);
	cr_assert_eq(fake->closed_count, 1, "it had to make way");
	cr_assert_eq(listener_count(&b), 1);
	knock("192.168.1.2:1", 5000, "y", 1);
	while (fake->datagrams < 1)
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(fake_peer(1)->target_count, 1);
	cr_assert_eq(fake->last_port, fake_peer(1)->targets[0].port);
	cr_assert(!warned(&b, false, "not listening on"));
	udp_socket_close(&taken);
	udp_batch_free(batch);
	teardown(&b);
}

Test(wire_native, a_listener_that_cannot_come_back_is_tried_again)
{
	static const char *const peers[] = {"", NULL};
	struct udp_socket taken = {.fd = -1};
	struct udp_batch *batch = udp_batch_new(100, 0, 0);
	struct bench b;
	struct fault fault = {0};
	struct ip_prefix address = prefix_of("192.0.2.77/32");

	setup(&b);
	cr_assert_eq(netlink_address_add(b.netlink, b.uplink.ifindex, &address, &fault), 0);
	start(&b, "listen: [\"192.0.2.77:5000\"]\n", peers);
	take_port(&taken, batch, "127.0.0.1:5000");
	cr_assert_eq(netlink_address_remove(b.netlink, b.uplink.ifindex, &address, &fault), 0);
	int before = b.warnings;
	refused_reload(&b, "listen: [\"0.0.0.0:5000\"]\n", peers);
	cr_assert_eq(listener_count(&b), 0);
	cr_assert_eq(b.warnings, before + 1);
	cr_assert(warned(&b, false, "not listening on 192.0.2.77:5000"));
	/* Nothing is open, and the host is asked all the same. */
	fake_peer(1)->endpoint = endpoint_of("203.0.113.7:7");
	fake_peer(1)->events = KCPVPN_PEER_EVENT_ENDPOINT;
	run_round(&b);
	cr_assert_eq(fake_peer(1)->link_mtu, 1500);
	for (int i = 0; i < 3; i++) {
		b.wire->ops->network_changed(b.wire, false);
		run_round(&b);
	}
	cr_assert_eq(b.warnings, before + 1, "said once");
	/* A second refusal finds the gap and leaves it. */
	refused_reload(&b, "listen: [\"0.0.0.0:5000\"]\n", peers);
	cr_assert_eq(listener_count(&b), 1, "the spare one for the peer that is known by now");

	struct mono began = loop_now(b.loop);
	cr_assert_eq(netlink_address_add(b.netlink, b.uplink.ifindex, &address, &fault), 0);
	b.wire->ops->network_changed(b.wire, false);
	while (warned(&b, false, "not listening on"))
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert(mono_diff_us(loop_now(b.loop), began) < NATIVE_REOPEN_US / 2);
	cr_assert_eq(listening_port(&b, 0), 5000);
	const struct native_wire *wire = (const struct native_wire *)b.wire;
	cr_assert(mono_is_never(wire->reopen.timer.at));
	udp_socket_close(&taken);
	udp_batch_free(batch);
	teardown(&b);
}

Test(wire_native, without_memory_for_a_name_none_is_asked_for)
{
	static const char *const before[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	static const char *const after[] = {
		", endpoints: [\"198.51.100.2:1\", \"localhost:2\", \"localhost:3\"]", NULL};
	struct bench b;

	setup(&b);
	start(&b, "", before);
	struct config *config = parse("", after);
	config_free(b.before);
	b.before = b.config;
	b.config = config;
	struct fault fault = {0};
	cr_assert_eq(b.wire->ops->set_config(b.wire, config, &fault), 0);
	peer_set_config(b.peers[0], &config->peers[0]);
	strdups_left = 1;
	b.wire->ops->peer_changed(b.wire, b.peers[0]);
	strdups_left = -1;
	const struct native_peer *p = b.peers[0]->wire;
	cr_assert_eq(p->name_count, 0);
	cr_assert_eq(p->names, NULL);
	fake_peer(1)->events = KCPVPN_PEER_EVENT_NAMES;
	run_round(&b);
	b.wire->ops->peers_changed(b.wire); /* with memory again */
	cr_assert_eq(p->name_count, 3);
	cr_assert_str_eq(targets(fake_peer(1)), "198.51.100.2:1");
	teardown(&b);
}

Test(wire_native, status_says_what_the_library_knows)
{
	static const char *const peers[] = {", endpoints: [\"198.51.100.1:1\"]", NULL};
	struct bench b;
	struct control_status status;

	setup(&b);
	start(&b, "", peers);
	fake_peer(1)->trouble = "its answer does not open";
	control_status_init(&status);
	struct control_peer *to = control_status_add_peer(&status, "p1");
	b.wire->ops->peer_status(b.wire, b.peers[0], to);
	cr_assert_str_eq(to->public_key, public_key(1));
	cr_assert_str_eq(to->endpoint, "198.51.100.1:1", "where it is called");
	cr_assert_eq(to->path_mtu, CONTROL_UNKNOWN);
	cr_assert(to->loss_raw_out == 0.25);
	cr_assert(to->loss_raw_in < 0);
	cr_assert(to->rtt_ms < 0, "not while it is not there");
	cr_assert(to->rtt_var_ms < 0);
	cr_assert(to->handshake_age_s < 0);
	cr_assert_eq(to->rate_bps, 1000000);
	cr_assert_eq(to->drop_count, 1);
	cr_assert_str_eq(to->drops[0].verdict, "data_replay");
	cr_assert_eq(to->warnings.count, 1);
	cr_assert_str_eq(to->warnings.items[0], "its answer does not open");
	fake_peer(1)->trouble = NULL;
	fake_peer(1)->state = KCPVPN_PEER_UP;
	fake_peer(1)->events = KCPVPN_PEER_EVENT_STATE;
	run_round(&b);
	to = control_status_add_peer(&status, "again");
	b.wire->ops->peer_status(b.wire, b.peers[0], to);
	cr_assert_eq(to->path_mtu, 1472);
	cr_assert(to->rtt_ms == 20.0);
	b.wire->ops->status(b.wire, &status);
	bool said = false;
	for (size_t i = 0; i < status.warnings.count; i++)
		said |= strncmp(status.warnings.items[i], "2 handshakes came from keys", 27) == 0;
	cr_assert(said);
	control_status_fini(&status);
	teardown(&b);
}
