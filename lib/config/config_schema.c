/*
 * The schema: every key that exists, once.
 *
 * Lookups walk the table: it is short, and files are read once. Nearest keys are found by the
 * optimal string alignment distance (insert, delete, replace, swap neighbours).
 */
#include "config/config_schema.h"

#include "config/config.h"

#include <stdio.h>
#include <string.h>

#define AT(field) ((uint16_t)offsetof(struct config, field))
#define AT_PEER(field) ((uint16_t)offsetof(struct config_peer, field))
#define UINT32_MAX_ROW 4294967295

/* A key that is built; further members may follow. */
#define BUILT(key_, type_, field_, ...)                                                       \
	{                                                                                     \
		.key = (key_), .type = CONFIG_TYPE_##type_, .offset = AT(field_), __VA_ARGS__ \
	}
/* A built key that peers can override. */
#define SHARED(key_, type_, flags_, field_, ...)                                        \
	{                                                                               \
		.key = (key_), .type = CONFIG_TYPE_##type_, .offset = AT(field_),       \
		.peer_offset = AT_PEER(field_), .flags = CONFIG_ROW_INHERIT | (flags_), \
		__VA_ARGS__                                                             \
	}
/* A built key of a peer. */
#define PEER(key_, type_, flags_, field_, ...)                                                     \
	{                                                                                          \
		.key = "peers.NAME." key_, .type = CONFIG_TYPE_##type_, .offset = AT_PEER(field_), \
		.flags = CONFIG_ROW_PEER | (flags_), __VA_ARGS__                                   \
	}

#define CRYPTS                                                                                  \
	"salsa20 aes aes-128 aes-192 aes-128-gcm twofish blowfish cast5 3des sm4 tea xtea xor " \
	"none "                                                                                 \
	"null"

/* clang-format off */
static const struct config_row ROWS[] = {
	BUILT("version", INT, version, .min = 1, .max = 1, .flags = CONFIG_ROW_REQUIRED,
		.effects = CONFIG_EFFECT_LIVE, .help = "version of this file's format"),
	BUILT("include", STRINGS, include, .min = 1, .max = 4096, .def = "peers.d/*.yaml",
		.effects = CONFIG_EFFECT_LIVE,
		.help = "files to merge in, relative to this one; patterns that match nothing are fine"),

	BUILT("identity.name", NAME, name, .min = 1, .max = CONFIG_NAME_MAX,
		.effects = CONFIG_EFFECT_RESTART,
		.help = "the network's name; default: the file's base name"),
	BUILT("identity.network_key_file", PATH, identity.network_key_file, .min = 1, .max = 4095,
		.flags = CONFIG_ROW_NATIVE | CONFIG_ROW_KEY_FILE, .effects = CONFIG_EFFECT_LIVE,
		.help = "a secret all members share; strangers get no answer at all"),
	BUILT("identity.private_key_file", PATH, identity.private_key_file, .min = 1, .max = 4095,
		.flags = CONFIG_ROW_NATIVE | CONFIG_ROW_KEY_FILE | CONFIG_ROW_REQUIRED,
		.effects = CONFIG_EFFECT_LIVE,
		.help = "this host's key (kcpctl key gen), mode at most 0640; or credential:NAME"),

	BUILT("interface.name", DEVICE, interface.name, .min = 1, .max = CONFIG_DEVICE_MAX,
		.def = "kcp0", .effects = CONFIG_EFFECT_RESTART, .help = "the TUN device's name"),
	BUILT("interface.addresses", CIDRS, interface.addresses, .effects = CONFIG_EFFECT_ADDRESSES,
		.help = "inner addresses of this host with their prefix"),
	BUILT("interface.mtu", INT, interface.mtu, .unit = CONFIG_UNIT_BYTES, .min = CONFIG_MTU_MIN,
		.max = 9000, .words = "auto", .def = "auto", .effects = CONFIG_EFFECT_LINK,
		.help = "largest inner packet; auto: what the wire carries"),
	BUILT("interface.queues", INT, interface.queues, .min = 1, .max = 16, .words = "auto",
		.def = "auto", .effects = CONFIG_EFFECT_RESTART,
		.help = "queues of the device, one worker each; 1 on the kcp-go wire and where "
			"peers have devices"),
	BUILT("interface.offload", BOOL, interface.offload, .def = "true",
		.effects = CONFIG_EFFECT_RESTART,
		.help = "segmentation offload of the TUN device"),
	BUILT("interface.netns", STRING, interface.netns, .min = 1, .max = 255,
		.effects = CONFIG_EFFECT_RESTART,
		.help = "network namespace the device lives in, by name or path; sockets stay"),

	BUILT("listen", LISTEN, listen, .effects = CONFIG_EFFECT_LISTEN,
		.help = "addresses and ports to take packets on; none: any port"),
	BUILT("fwmark", LONG, fwmark, .flags = CONFIG_ROW_HEX, .min = 0, .max = UINT32_MAX_ROW,
		.words = "auto", .def = "auto", .effects = CONFIG_EFFECT_SESSIONS,
		.help = "mark of outer packets; auto: none but with full_tunnel"),
	BUILT("wire", ENUM, wire, .words = "native kcp-go", .def = "native",
		.effects = CONFIG_EFFECT_SESSIONS, .help = "what is spoken on UDP"),

	BUILT("kcp_go.key", STRING, kcp_go.key, .min = 1, .max = CONFIG_SECRET_MAX,
		.flags = CONFIG_ROW_KCP_GO | CONFIG_ROW_SECRET, .effects = CONFIG_EFFECT_SESSIONS,
		.help = "password; this or key_file is required"),
	BUILT("kcp_go.key_file", PATH, kcp_go.key_file, .min = 1, .max = 4095,
		.flags = CONFIG_ROW_KCP_GO | CONFIG_ROW_KEY_FILE, .effects = CONFIG_EFFECT_LIVE,
		.help = "file whose first line is the password"),
	BUILT("kcp_go.crypt", WORD, kcp_go.crypt, .flags = CONFIG_ROW_KCP_GO, .words = CRYPTS,
		.def = "salsa20", .effects = CONFIG_EFFECT_SESSIONS, .help = "cipher, by kcptun's name"),
	BUILT("kcp_go.datashard", INT, kcp_go.datashard, .unit = CONFIG_UNIT_SHARDS, .min = 0,
		.max = 255, .flags = CONFIG_ROW_KCP_GO, .def = "10", .effects = CONFIG_EFFECT_SESSIONS,
		.help = "data packets of an FEC group; 0: no FEC"),
	BUILT("kcp_go.parityshard", INT, kcp_go.parityshard, .unit = CONFIG_UNIT_SHARDS, .min = 0,
		.max = 255, .flags = CONFIG_ROW_KCP_GO, .def = "3", .effects = CONFIG_EFFECT_SESSIONS,
		.help = "parity packets of an FEC group; 0: no FEC"),
	BUILT("kcp_go.mode", ENUM, kcp_go.mode, .flags = CONFIG_ROW_KCP_GO,
		.words = "normal fast fast2 fast3", .def = "fast", .effects = CONFIG_EFFECT_SESSIONS,
		.help = "how eagerly lost packets are sent again"),
	BUILT("kcp_go.mtu", INT, kcp_go.mtu, .unit = CONFIG_UNIT_BYTES, .min = CONFIG_MTU_MIN,
		.max = 1500, .flags = CONFIG_ROW_KCP_GO, .def = "1350",
		.effects = CONFIG_EFFECT_SESSIONS, .help = "largest UDP payload"),
	BUILT("kcp_go.sndwnd", INT, kcp_go.sndwnd, .unit = CONFIG_UNIT_PACKETS, .min = 1,
		.max = 32768, .flags = CONFIG_ROW_KCP_GO, .def = "1024",
		.effects = CONFIG_EFFECT_SESSIONS, .help = "most packets in flight"),
	BUILT("kcp_go.rcvwnd", INT, kcp_go.rcvwnd, .unit = CONFIG_UNIT_PACKETS, .min = 1,
		.max = 32768, .flags = CONFIG_ROW_KCP_GO, .def = "1024",
		.effects = CONFIG_EFFECT_SESSIONS, .help = "most packets kept for the reader"),
	BUILT("kcp_go.conv", LONG, kcp_go.conv, .min = 0, .max = UINT32_MAX_ROW,
		.flags = CONFIG_ROW_KCP_GO | CONFIG_ROW_HEX, .words = "random", .def = "random",
		.effects = CONFIG_EFFECT_SESSIONS, .help = "number of the conversations that are dialled"),
	BUILT("kcp_go.allow_unauthenticated", BOOL, kcp_go.allow_unauthenticated,
		.flags = CONFIG_ROW_KCP_GO, .def = "false", .effects = CONFIG_EFFECT_LIVE,
		.help = "must be true: says that a wire without proof of identity is wanted"),

	SHARED("transport.class", ENUM, 0, transport.class, .words = "auto datagram reliable",
		.def = "auto", .effects = CONFIG_EFFECT_LIVE,
		.help = "auto: each packet by what it is; datagram: without order, sent again only if it "
			"comes in time (kcp-go: urgent ones out of band, needs FEC); reliable: in order"),
	SHARED("transport.queue", DURATION, 0, transport.queue_ms, .unit = CONFIG_UNIT_MS, .min = 20,
		.max = 5000, .def = "300ms", .effects = CONFIG_EFFECT_LIVE,
		.help = "hard bound of a packet's wait in the queue"),
	SHARED("transport.congestion", ENUM, 0, transport.congestion,
		.words = "auto fixed", .def = "auto", .effects = CONFIG_EFFECT_LIVE,
		.help = "auto: no more in flight than the path holds; fixed: transport.rate_max, whatever is "
			"lost, for a link of one's own (kcp-go: sndwnd, as kcptun)"),
	SHARED("transport.rate_max", RATE, 0, transport.rate_max_bps, .unit = CONFIG_UNIT_BPS, .min = 0,
		.max = 1000000000000, .def = "0", .effects = CONFIG_EFFECT_LIVE,
		.help = "most that is sent to a peer, headers and repairs counted; 0: no limit, else at least 10k"),
	SHARED("transport.deadline", DURATION, CONFIG_ROW_NATIVE, transport.deadline_ms, .unit = CONFIG_UNIT_MS,
		.min = 50, .max = 60000, .words = "auto", .def = "auto",
		.effects = CONFIG_EFFECT_LIVE,
		.help = "after it a bulk packet is given up; auto: by class"),
	SHARED("transport.padding", ENUM, CONFIG_ROW_NATIVE, transport.padding, .words = "none 16 full", .def = "none",
		.effects = CONFIG_EFFECT_LIVE,
		.help = "hides packet lengths"),
	SHARED("transport.dscp", INT, 0, transport.dscp, .min = 0, .max = 63, .words = "inherit",
		.def = "0", .effects = CONFIG_EFFECT_LIVE,
		.help = "DSCP of outer packets; inherit shows inner classes outside"),
	SHARED("transport.ecn", BOOL, CONFIG_ROW_NATIVE, transport.ecn, .def = "true",
		.effects = CONFIG_EFFECT_LIVE,
		.help = "outer packets may be marked by queues instead of being dropped, where the peer agrees"),

	SHARED("fec.mode", ENUM, CONFIG_ROW_NATIVE, fec.mode, .words = "off fixed adaptive",
		.def = "adaptive", .effects = CONFIG_EFFECT_LIVE,
		.help = "forward error correction, each direction on its own"),
	SHARED("fec.data", INT, CONFIG_ROW_NATIVE, fec.data, .unit = CONFIG_UNIT_SHARDS,
		.min = 1, .max = 64, .def = "10", .effects = CONFIG_EFFECT_LIVE,
		.help = "with mode fixed: data packets"),
	SHARED("fec.parity", INT, CONFIG_ROW_NATIVE, fec.parity, .unit = CONFIG_UNIT_SHARDS,
		.min = 0, .max = 32, .def = "3", .effects = CONFIG_EFFECT_LIVE,
		.help = "with mode fixed: repairs for them"),
	SHARED("fec.max_overhead", INT, CONFIG_ROW_NATIVE, fec.max_overhead_percent,
		.unit = CONFIG_UNIT_PERCENT, .min = 0, .max = 200, .def = "30",
		.effects = CONFIG_EFFECT_LIVE, .help = "most repairs, in percent of the data"),
	SHARED("fec.group_timeout", DURATION, CONFIG_ROW_NATIVE, fec.group_timeout_ms,
		.unit = CONFIG_UNIT_MS, .min = 1, .max = 1000, .def = "2ms",
		.effects = CONFIG_EFFECT_LIVE, .help = "a packet waits no longer for its repair"),

	SHARED("session.keepalive", DURATION, 0, session.keepalive_ms, .unit = CONFIG_UNIT_S, .min = 5,
		.max = 120, .words = "auto off", .def = "auto", .effects = CONFIG_EFFECT_LIVE,
		.help = "asks for a sign of life after so much silence; "
			"auto: native 25s behind NAT, else none; kcp-go a third of dead_after"),
	SHARED("session.dead_after", DURATION, 0, session.dead_after_ms, .unit = CONFIG_UNIT_S, .min = 3,
		.max = 600, .def = "15s", .effects = CONFIG_EFFECT_LIVE,
		.help = "silence after which the peer counts as gone"),
	SHARED("session.roaming", BOOL, CONFIG_ROW_NATIVE, session.roaming, .def = "true",
		.effects = CONFIG_EFFECT_LIVE,
		.help = "false: the peer's address is pinned"),
	SHARED("session.persistent", BOOL, 0, session.persistent, .def = "true",
		.effects = CONFIG_EFFECT_LIVE,
		.help = "false: gives up while nothing waits; default true for peers with endpoints"),

	BUILT("routes.table", LONG, routes.table, .min = 1, .max = UINT32_MAX_ROW,
		.words = "auto off main", .def = "auto", .effects = CONFIG_EFFECT_ROUTES,
		.help = "where routes for allowed_ips go; off: none are installed"),
	BUILT("routes.metric", LONG, routes.metric, .min = 0, .max = UINT32_MAX_ROW, .def = "50",
		.effects = CONFIG_EFFECT_ROUTES, .help = "metric of these routes"),
	BUILT("routes.protocol", INT, routes.protocol, .min = 1, .max = 255, .def = "201",
		.effects = CONFIG_EFFECT_RESTART, .help = "protocol number that marks them as ours"),
	BUILT("routes.selection", ENUM, routes.selection, .words = "allowed_ips interface",
		.def = "allowed_ips", .effects = CONFIG_EFFECT_RESTART,
		.help = "interface: each peer has a device of its own, NAME-PEER, for any destination"),
	BUILT("routes.ingress_filter", ENUM, routes.ingress_filter, .words = "strict off",
		.def = "strict", .effects = CONFIG_EFFECT_LIVE,
		.help = "strict: a packet's source must belong to the peer"),
	BUILT("routes.on_clash", ENUM, routes.on_clash, .words = "refuse prefer_tunnel prefer_local",
		.def = "refuse", .effects = CONFIG_EFFECT_ROUTES,
		.help = "what to do if somebody else has a route to the same destination"),

	BUILT("full_tunnel.mode", ENUM, full_tunnel.mode, .words = "off route kill_switch",
		.def = "off", .effects = CONFIG_EFFECT_SESSIONS | CONFIG_EFFECT_ROUTES,
		.help = "all traffic through the tunnel; kill_switch: none besides, even if there is no tunnel"),
	BUILT("full_tunnel.exempt", STRINGS, full_tunnel.exempt, .min = 1, .max = 255, .def = "lan",
		.effects = CONFIG_EFFECT_ROUTES,
		.help = "what stays outside: lan, prefixes"),
	BUILT("dns.servers", STRINGS, dns.servers, .min = 1, .max = 255,
		.effects = CONFIG_EFFECT_LIVE, .help = "resolvers inside the tunnel, by address"),
	BUILT("dns.search", STRINGS, dns.search, .min = 1, .max = 255, .effects = CONFIG_EFFECT_LIVE,
		.help = "domains they are asked for; none: for all names"),
#define HOOK(name_, field_, help_) \
	BUILT("hooks." name_, STRINGS, hooks[field_], .min = 0, .max = 4096, \
		.effects = CONFIG_EFFECT_RESTART, .help = help_)
	HOOK("pre_up", CONFIG_HOOK_PRE_UP, "program and arguments, before the link comes up; its failure stops that"),
	HOOK("up", CONFIG_HOOK_UP, "program and arguments, when the link is up"),
	HOOK("down", CONFIG_HOOK_DOWN, "program and arguments, when the link went down"),
	HOOK("peer_up", CONFIG_HOOK_PEER_UP, "program and arguments, when a peer came up"),
	HOOK("peer_down", CONFIG_HOOK_PEER_DOWN, "program and arguments, when a peer is gone"),

	BUILT("control.group", NAME, control.group, .min = 1, .max = 32, .def = "vpnd",
		.effects = CONFIG_EFFECT_RESTART, .help = "its members may look"),
	BUILT("control.admin_group", NAME, control.admin_group, .min = 1, .max = 32,
		.def = "vpnd-admin", .effects = CONFIG_EFFECT_CONTROL,
		.help = "its members may change things, if they are in control.group, too"),
	BUILT("log.level", ENUM, log.level, .words = "error warn info debug", .def = "info",
		.effects = CONFIG_EFFECT_LOG, .help = "how much is logged"),
	BUILT("log.format", ENUM, log.format, .words = "text json", .def = "text",
		.effects = CONFIG_EFFECT_LOG, .help = "one line of text or one JSON object each"),

	PEER("public_key", KEY, CONFIG_ROW_NATIVE | CONFIG_ROW_REQUIRED, public_key_text,
		.help = "the peer's public key, as kcpctl key pub prints it there"),
	PEER("preshared_key_file", PATH, CONFIG_ROW_NATIVE | CONFIG_ROW_KEY_FILE, preshared_key_file,
		.min = 1, .max = 4095,
		.help = "a secret shared with this peer (kcpctl key psk); or credential:NAME"),
	PEER("endpoints", ENDPOINTS, 0, endpoints,
		.help = "where it is called, in this order; none: it calls us"),
	PEER("allowed_ips", PREFIXES, 0, allowed_ips,
		.help = "inner addresses behind it: next hop and source filter"),
	PEER("enabled", BOOL, 0, enabled, .def = "true", .help = "false: down, until it is true and the file reloaded"),
};
/* clang-format on */

enum { ROW_COUNT = sizeof(ROWS) / sizeof(ROWS[0]) };

_Static_assert((int)ROW_COUNT <= 8 * (int)sizeof(struct config_given),
	"a bit of struct config_given per row");
_Static_assert(sizeof(struct config) <= UINT16_MAX, "offsets fit their type");

static const char PEER_PREFIX[] = "peers.NAME.";

const struct config_row *config_schema_rows(size_t *ret_count)
{
	*ret_count = ROW_COUNT;
	return ROWS;
}

/* The path of a row as seen from a peer, or from the top. NULL if it cannot stand there. */
static const char *row_path(
	const struct config_row *row, bool in_peer, char *buffer, size_t buffer_len)
{
	if (!in_peer)
		return row->key;
	if (!(row->flags & CONFIG_ROW_INHERIT))
		return NULL;
	(void)snprintf(buffer, buffer_len, "%s%s", PEER_PREFIX, row->key);
	return buffer;
}

const struct config_row *config_schema_find(const char *path)
{
	const size_t prefix = sizeof(PEER_PREFIX) - 1;
	const char *inherited = strncmp(path, PEER_PREFIX, prefix) == 0 ? path + prefix : NULL;

	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (strcmp(ROWS[i].key, path) == 0)
			return &ROWS[i];
		if (inherited && (ROWS[i].flags & CONFIG_ROW_INHERIT) &&
			strcmp(ROWS[i].key, inherited) == 0)
			return &ROWS[i];
	}
	return NULL;
}

bool config_schema_is_section(const char *path)
{
	char buffer[128];
	size_t len = strlen(path);

	for (size_t i = 0; i < 2 * ROW_COUNT; i++) {
		const char *key = row_path(&ROWS[i / 2], i % 2, buffer, sizeof(buffer));
		if (key && strncmp(key, path, len) == 0 && key[len] == '.')
			return true;
	}
	return false;
}

enum { NEAR_MAX = 40 }; /* longer words are never near to a key */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment distance of two words of at most NEAR_MAX bytes. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t rows[3][NEAR_MAX + 1];

	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *now = rows[i % 3];
		const size_t *above = rows[(i + 2) % 3];
		const size_t *two_above = rows[(i + 1) % 3];
		now[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t replace = above[j - 1] + (a[i - 1] != b[j - 1]);
			now[j] = least(replace, least(above[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = least(now[j], two_above[j - 2] + 1);
		}
	}
	return rows[a_len % 3][b_len];
}

/* Remembers the nearest candidate so far. */
struct nearest {
	const char *word;
	size_t word_len;
	const char *best;
	size_t best_len;
	size_t best_distance;
};

static struct nearest nearest_begin(const char *word)
{
	return (struct nearest){
		.word = word,
		.word_len = strlen(word),
		.best_distance = SIZE_MAX,
	};
}

/* @return true if the candidate is near enough and the best so far */
static bool nearest_try(struct nearest *n, const char *candidate, size_t len)
{
	size_t shorter = least(n->word_len, len);
	size_t longer = n->word_len + len - shorter;

	if (shorter == 0 || longer > NEAR_MAX)
		return false;
	size_t d = distance(n->word, n->word_len, candidate, len);
	/* a third of the letters may be wrong, or the rest of the word may be missing or too much */
	size_t most = longer < 6 ? 1 : longer / 3;
	bool begins_same = shorter >= 3 && strncmp(n->word, candidate, shorter) == 0;
	if (d >= n->best_distance || d >= shorter || (d > most && !begins_same))
		return false;
	n->best = candidate;
	n->best_len = len;
	n->best_distance = d;
	return true;
}

const char *config_schema_nearest(
	const char *section, const char *key, char *buffer, size_t buffer_len)
{
	char path[128];
	size_t section_len = strlen(section);
	bool in_peer = strncmp(section, "peers.NAME", sizeof("peers.NAME") - 1) == 0;
	struct nearest n = nearest_begin(key);

	/* a secret written where its file belongs */
	(void)snprintf(path, sizeof(path), "%s%s%.60s_file", section, section_len ? "." : "", key);
	if (config_schema_find(path)) {
		(void)snprintf(buffer, buffer_len, "%.60s_file", key);
		return buffer;
	}
	for (size_t i = 0; i < 2 * ROW_COUNT; i++) {
		const char *candidate = row_path(&ROWS[i / 2], i % 2, path, sizeof(path));
		if (!candidate)
			continue;
		if (section_len) {
			if (strncmp(candidate, section, section_len) != 0 ||
				candidate[section_len] != '.')
				continue;
			candidate += section_len + 1;
		}
		size_t len = strcspn(candidate, ".");
		if (nearest_try(&n, candidate, len))
			(void)snprintf(buffer, buffer_len, "%.*s", (int)len, candidate);
	}
	if (n.best)
		return buffer;
	/* the right key at the wrong place */
	for (size_t i = 0; i < ROW_COUNT; i++) {
		const char *dot = strrchr(ROWS[i].key, '.');
		if (!dot || strcmp(dot + 1, key) != 0)
			continue;
		if (in_peer && !(ROWS[i].flags & CONFIG_ROW_INHERIT))
			continue;
		(void)snprintf(buffer, buffer_len, "%s", ROWS[i].key);
		return buffer;
	}
	return NULL;
}

const char *config_words_nearest(
	const char *words, const char *word, char *buffer, size_t buffer_len)
{
	struct nearest n = nearest_begin(word);

	for (const char *at = words; *at;) {
		size_t len = strcspn(at, " ");
		(void)nearest_try(&n, at, len);
		at += len + (at[len] == ' ');
	}
	if (!n.best)
		return NULL;
	(void)snprintf(buffer, buffer_len, "%.*s", (int)n.best_len, n.best);
	return buffer;
}

int config_words_index(const char *words, const char *word)
{
	int index = 0;

	if (*word == '\0')
		return -1;
	for (const char *at = words; at && *at; index++) {
		size_t len = strcspn(at, " ");
		if (strlen(word) == len && strncmp(at, word, len) == 0)
			return index;
		at += len + (at[len] == ' ');
	}
	return -1;
}

const char *config_words_at(const char *words, int index, char *buffer, size_t buffer_len)
{
	for (const char *at = words; at && *at && index >= 0; index--) {
		size_t len = strcspn(at, " ");
		if (index == 0) {
			(void)snprintf(buffer, buffer_len, "%.*s", (int)len, at);
			return buffer;
		}
		at += len + (at[len] == ' ');
	}
	return NULL;
}

const char *config_type_str(enum config_type type)
{
	switch (type) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_LONG:
		return "int";
	case CONFIG_TYPE_BOOL:
		return "bool";
	case CONFIG_TYPE_ENUM:
	case CONFIG_TYPE_WORD:
		return "enum";
	case CONFIG_TYPE_DURATION:
		return "duration";
	case CONFIG_TYPE_RATE:
		return "rate";
	case CONFIG_TYPE_STRING:
	case CONFIG_TYPE_NAME:
	case CONFIG_TYPE_DEVICE:
		return "string";
	case CONFIG_TYPE_PATH:
		return "path";
	case CONFIG_TYPE_KEY:
		return "base64";
	case CONFIG_TYPE_STRINGS:
		return "list";
	case CONFIG_TYPE_CIDRS:
	case CONFIG_TYPE_PREFIXES:
		return "CIDRs";
	case CONFIG_TYPE_LISTEN:
		return "addr:port list";
	case CONFIG_TYPE_ENDPOINTS:
		return "host:port list";
	}
	return "";
}

const char *config_unit_str(enum config_unit unit)
{
	switch (unit) {
	case CONFIG_UNIT_NONE:
		return "";
	case CONFIG_UNIT_MS:
		return "ms";
	case CONFIG_UNIT_S:
		return "s";
	case CONFIG_UNIT_BPS:
		return "bit/s";
	case CONFIG_UNIT_BYTES:
		return "bytes";
	case CONFIG_UNIT_PERCENT:
		return "percent";
	case CONFIG_UNIT_PACKETS:
		return "packets";
	case CONFIG_UNIT_SHARDS:
		return "shards";
	}
	return "";
}
