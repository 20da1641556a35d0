/*
 * The host's own firewall, as `nft -j list ruleset` tells it (iptables of today are tables of nft, too). A datagram of the
 * tunnel is led through the base chains of its hooks as the kernel would do it: rules in order, jumps followed.
 *
 * Only the common matches are understood (protocol, ports, interface, state). A rule with another one may match or not: it is
 * never the reason for a problem, but if such a rule would accept before something drops, the finding is a warning only.
 */
#include "cli/doctor.h"

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	OUTPUT_MAX = 32 << 20,
	NFT_MS = 4000,
	DEPTH_MAX = 16, /* of jumps */
};

enum outcome {
	CONTINUES, /* no verdict */
	ACCEPTS,
	DROPS,
	MAY_DROP, /* depends on matches that are not understood */
};

/* The datagram that is led through. */
struct datagram {
	const char *hook;      /* "input", "output" */
	const char *also;      /* the one before or behind it */
	unsigned sport, dport; /* 0 = any */
	bool v6;
};

struct walk {
	const json_t *ruleset; /* array */
	const struct datagram *datagram;
	bool unsure; /* a rule that may have matched would have accepted */
};

/* @return what nft printed, freed by the caller; NULL if it cannot be had */
static char *read_all(int fd)
{
	size_t len = 0, room = 65536;
	char *text = malloc(room);
	int64_t until_ms = cli_now_ms() + NFT_MS;

	while (text) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		int64_t left = until_ms - cli_now_ms();
		if (left <= 0 || poll(&ready, 1, (int)left) <= 0)
			break;
		ssize_t got = read(fd, text + len, room - len - 1);
		if (got <= 0) {
			text[len] = '\0';
			return text;
		}
		len += (size_t)got;
		if (room - len < 4096) {
			room *= 2;
			char *grown = room > OUTPUT_MAX ? NULL : realloc(text, room);
			if (!grown)
				break;
			text = grown;
		}
	}
	free(text);
	return NULL;
}

static char *run_nft(void)
{
	static const char *const places[] = {"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"};
	char *argv[] = {
		(char[]){"nft"}, (char[]){"-j"}, (char[]){"list"}, (char[]){"ruleset"}, NULL};
	char *envp[] = {NULL};
	posix_spawn_file_actions_t actions;
	int pipes[2], status = -1;
	char *text = NULL;
	pid_t pid;

	if (pipe2(pipes, 0) < 0)
		return NULL;
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_addclose(&actions, pipes[0]);
	(void)posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
	(void)posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", 01, 0);
	bool started = false;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !started; i++)
		started = posix_spawn(&pid, places[i], &actions, NULL, argv, envp) == 0;
	close(pipes[1]);
	if (started) {
		text = read_all(pipes[0]);
		if (!text)
			(void)kill(pid, SIGKILL);
		(void)waitpid(pid, &status, 0);
	}
	close(pipes[0]);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (started && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return text;
	free(text);
	return NULL;
}

/* ---- matches ------------------------------------------------------------------------------------------------- */

/* 1 = yes, 0 = no, -1 = cannot be told */
static int holds_number(const json_t *set, unsigned number)
{
	if (json_is_integer(set))
		return json_integer_value(set) == (json_int_t)number;
	const json_t *range = json_object_get(set, "range");
	if (json_array_size(range) == 2)
		return (json_int_t)number >= json_integer_value(json_array_get(range, 0)) &&
		       (json_int_t)number <= json_integer_value(json_array_get(range, 1));
	const json_t *members = json_object_get(set, "set");
	if (json_is_array(members)) {
		for (size_t i = 0; i < json_array_size(members); i++) {
			int one = holds_number(json_array_get(members, i), number);
			if (one)
				return one;
		}
		return 0;
	}
	return -1; /* a named set, a prefix */
}

static int holds_text(const json_t *set, const char *text)
{
	if (json_is_string(set))
		return json_string_value(set)[0] == '@' ? -1
							: !strcmp(json_string_value(set), text);
	const json_t *members = json_object_get(set, "set");
	if (json_is_array(set))
		members = set;
	if (!json_is_array(members))
		return -1;
	for (size_t i = 0; i < json_array_size(members); i++) {
		int one = holds_text(json_array_get(members, i), text);
		if (one)
			return one;
	}
	return 0;
}

static int match_payload(const json_t *left, const json_t *right, const struct datagram *g)
{
	const char *protocol = json_string_value(json_object_get(left, "protocol"));
	const char *field = json_string_value(json_object_get(left, "field"));

	if (!protocol || !field)
		return -1;
	if (!strcmp(protocol, "tcp") || !strcmp(protocol, "sctp") || !strcmp(protocol, "icmp") ||
		!strcmp(protocol, "icmpv6"))
		return 0;
	if (!strcmp(protocol, "udp") || !strcmp(protocol, "th")) {
		unsigned port = !strcmp(field, "dport")	  ? g->dport
				: !strcmp(field, "sport") ? g->sport
							  : 0;
		return port ? holds_number(right, port) : -1;
	}
	if (!strcmp(protocol, g->v6 ? "ip" : "ip6"))
		return 0;
	if (!strcmp(protocol, "ip") && !strcmp(field, "protocol"))
		return holds_text(right, "udp");
	if (!strcmp(protocol, "ip6") && !strcmp(field, "nexthdr"))
		return holds_text(right, "udp");
	return -1;
}

static int match_meta(const json_t *left, const json_t *right, const struct datagram *g)
{
	const char *key = json_string_value(json_object_get(left, "key"));

	if (!key)
		return -1;
	if (!strcmp(key, "l4proto")) {
		int text = holds_text(right, "udp");
		return text >= 0 ? text : holds_number(right, 17);
	}
	if (!strcmp(key, "nfproto"))
		return holds_text(right, g->v6 ? "ipv6" : "ipv4");
	if (!strcmp(key, "iif") || !strcmp(key, "iifname") || !strcmp(key, "oif") ||
		!strcmp(key, "oifname"))
		return holds_text(right, "lo") == 1 && json_is_string(right) ? 0 : -1;
	return -1;
}

static int match(const json_t *m, const struct datagram *g)
{
	const json_t *left = json_object_get(m, "left"), *right = json_object_get(m, "right");
	const char *op = json_string_value(json_object_get(m, "op"));
	const json_t *payload = json_object_get(left, "payload");
	const json_t *meta = json_object_get(left, "meta");
	const json_t *ct = json_object_get(left, "ct");
	int result = -1;

	if (payload)
		result = match_payload(payload, right, g);
	else if (meta)
		result = match_meta(meta, right, g);
	else if (ct && json_string_value(json_object_get(ct, "key")) &&
		 !strcmp(json_string_value(json_object_get(ct, "key")), "state"))
		result = holds_text(right, "new"); /* the first one of a flow */
	if (result < 0 || !op)
		return -1;
	if (!strcmp(op, "!="))
		return !result;
	return !strcmp(op, "==") || !strcmp(op, "in") ? result : -1;
}

/* ---- chains -------------------------------------------------------------------------------------------------- */

static enum outcome walk_chain(struct walk *w, const json_t *chain, int depth);

static const json_t *find_chain(const struct walk *w, const json_t *like, const char *name)
{
	for (size_t i = 0; i < json_array_size(w->ruleset); i++) {
		const json_t *c = json_object_get(json_array_get(w->ruleset, i), "chain");
		if (c && json_equal(json_object_get(c, "table"), json_object_get(like, "table")) &&
			json_equal(json_object_get(c, "family"), json_object_get(like, "family")) &&
			json_string_value(json_object_get(c, "name")) &&
			!strcmp(json_string_value(json_object_get(c, "name")), name))
			return c;
	}
	return NULL;
}

static enum outcome verdict_of(
	struct walk *w, const json_t *statement, const json_t *rule, int depth, bool *ret_leaves)
{
	const json_t *jump = json_object_get(statement, "jump");
	const json_t *go = json_object_get(statement, "goto");
	const char *target = json_string_value(json_object_get(jump ? jump : go, "target"));

	*ret_leaves = json_object_get(statement, "return") != NULL || go != NULL;
	if (json_object_get(statement, "accept"))
		return ACCEPTS;
	if (json_object_get(statement, "drop") || json_object_get(statement, "reject"))
		return DROPS;
	if (target && depth < DEPTH_MAX) {
		const json_t *chain = find_chain(w, rule, target);
		return chain ? walk_chain(w, chain, depth + 1) : CONTINUES;
	}
	return CONTINUES;
}

static enum outcome walk_rule(struct walk *w, const json_t *rule, int depth, bool *ret_leaves)
{
	const json_t *statements = json_object_get(rule, "expr");
	bool sure = true;

	*ret_leaves = false;
	for (size_t i = 0; i < json_array_size(statements); i++) {
		const json_t *statement = json_array_get(statements, i);
		const json_t *m = json_object_get(statement, "match");
		bool leaves = false;
		if (m) {
			int holds = match(m, w->datagram);
			if (holds == 0)
				return CONTINUES;
			sure &= holds > 0;
			continue;
		}
		if (json_object_get(statement, "limit") || json_object_get(statement, "vmap") ||
			json_object_get(statement, "xt"))
			sure = false;
		enum outcome outcome = verdict_of(w, statement, rule, depth, &leaves);
		if (outcome == CONTINUES && !leaves)
			continue;
		if (sure) {
			*ret_leaves = leaves;
			return outcome;
		}
		if (outcome == ACCEPTS || leaves)
			w->unsure = true;
		return CONTINUES;
	}
	if (!sure && json_array_size(statements)) {
		for (size_t i = 0; i < json_array_size(statements); i++)
			w->unsure |= json_object_get(json_array_get(statements, i), "vmap") != NULL;
	}
	return CONTINUES;
}

static enum outcome walk_chain(struct walk *w, const json_t *chain, int depth)
{
	const char *name = json_string_value(json_object_get(chain, "name"));

	for (size_t i = 0; name && i < json_array_size(w->ruleset); i++) {
		const json_t *rule = json_object_get(json_array_get(w->ruleset, i), "rule");
		const char *in = json_string_value(json_object_get(rule, "chain"));
		bool leaves = false;
		if (!in || strcmp(in, name) != 0 ||
			!json_equal(
				json_object_get(rule, "table"), json_object_get(chain, "table")) ||
			!json_equal(
				json_object_get(rule, "family"), json_object_get(chain, "family")))
			continue;
		enum outcome outcome = walk_rule(w, rule, depth, &leaves);
		if (outcome == DROPS && w->unsure)
			return MAY_DROP;
		if (outcome != CONTINUES)
			return outcome;
		if (leaves)
			return CONTINUES;
	}
	return CONTINUES;
}

/* What drops the datagram, as "inet filter input"; "" if nothing does. */
static enum outcome judge(const json_t *ruleset, const struct datagram *g, char where[128])
{
	enum outcome worst = CONTINUES;

	where[0] = '\0';
	for (size_t i = 0; i < json_array_size(ruleset); i++) {
		const json_t *chain = json_object_get(json_array_get(ruleset, i), "chain");
		const char *hook = json_string_value(json_object_get(chain, "hook"));
		const char *family = json_string_value(json_object_get(chain, "family"));
		const char *policy = json_string_value(json_object_get(chain, "policy"));
		struct walk w = {.ruleset = ruleset, .datagram = g};

		if (!hook || (strcmp(hook, g->hook) != 0 && strcmp(hook, g->also) != 0) ||
			!family ||
			(strcmp(family, "inet") != 0 && strcmp(family, g->v6 ? "ip6" : "ip") != 0))
			continue;
		enum outcome outcome = walk_chain(&w, chain, 0);
		if (outcome == CONTINUES && policy && !strcmp(policy, "drop"))
			outcome = w.unsure ? MAY_DROP : DROPS;
		if ((outcome == DROPS && worst != DROPS) ||
			(outcome == MAY_DROP && worst == CONTINUES)) {
			const char *table = json_string_value(json_object_get(chain, "table"));
			const char *name = json_string_value(json_object_get(chain, "name"));
			worst = outcome;
			(void)snprintf(where, 128, "%s %s %s", family, table ? table : "?",
				name ? name : "?");
		}
	}
	return worst;
}

static void check_datagram(
	struct doctor *d, const json_t *ruleset, const struct datagram *g, const char *what)
{
	char where[128];
	enum outcome outcome = judge(ruleset, g, where);

	if (outcome == DROPS)
		doctor_add(d, DOCTOR_PROBLEM, "E-DOC-5", "firewall",
			"chain %s drops UDP over IPv%c %s port %u", where, g->v6 ? '6' : '4', what,
			g->dport);
	else if (outcome == MAY_DROP)
		doctor_add(d, DOCTOR_WARNING, "E-DOC-5", "firewall",
			"chain %s may drop UDP over IPv%c %s port %u; some of its rules are not "
			"understood",
			where, g->v6 ? '6' : '4', what, g->dport);
}

static bool is_any6(const struct kcpvpn_endpoint *e)
{
	static const uint8_t zero[16];

	return e->family == 6 && memcmp(e->address, zero, sizeof(zero)) == 0;
}

static void check_listen(struct doctor *d, const json_t *ruleset)
{
	for (size_t i = 0; i < d->config->listen.count; i++) {
		const struct kcpvpn_endpoint *e = &d->config->listen.items[i];
		struct datagram g = {.hook = "input",
			.also = "prerouting",
			.dport = e->port,
			.v6 = e->family == 6};
		check_datagram(d, ruleset, &g, "to our");
		g.v6 = false;
		if (is_any6(e)) /* takes IPv4 as well */
			check_datagram(d, ruleset, &g, "to our");
	}
}

static void check_endpoints(struct doctor *d, const json_t *ruleset)
{
	unsigned told[16];
	size_t count = 0;

	for (size_t p = 0; p < d->config->peer_count; p++) {
		const struct config_endpoints *list = &d->config->peers[p].endpoints;
		for (size_t i = 0; i < list->count; i++) {
			struct datagram g = {.hook = "output",
				.also = "postrouting",
				.dport = list->items[i].port,
				.v6 = strchr(list->items[i].host, ':') != NULL};
			bool known = false;
			for (size_t k = 0; k < count; k++)
				known |= told[k] == (g.dport | (unsigned)g.v6 << 16);
			if (known || count == sizeof(told) / sizeof(told[0]))
				continue;
			told[count++] = g.dport | (unsigned)g.v6 << 16;
			check_datagram(d, ruleset, &g, "to the peers'");
		}
	}
}

void doctor_check_firewall(struct doctor *d)
{
	char *text = d->config && d->root ? run_nft() : NULL;
	json_t *root = text ? json_loads(text, 0, NULL) : NULL;
	const json_t *ruleset = json_object_get(root, "nftables");

	free(text);
	if (!d->config)
		return;
	if (!json_is_array(ruleset)) {
		doctor_add(d, DOCTOR_UNKNOWN, "E-DOC-18", "firewall", "%s",
			d->root ? "nft is not installed, or does not answer"
				: "the firewall's rules only root can list");
	} else {
		check_listen(d, ruleset);
		check_endpoints(d, ruleset);
		if (!doctor_found(d, "firewall"))
			doctor_add(d, DOCTOR_OK, NULL, "firewall",
				"the host's own firewall lets the tunnel's datagrams pass");
	}
	json_decref(root);
}
