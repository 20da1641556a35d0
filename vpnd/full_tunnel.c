/*
 * How the rules of full_tunnel_plan.c come to stand on the host, and whose are whose.
 *
 * Networks of one host choose a block of priorities by the number that comes of their name. Two may choose the same, so a block
 * belongs to whose number is in it: as a table, or in the rule that ends it, which is there before any other and goes
 * last. Who finds its block taken looks on in steps of its own. Whoever sees another's end beside its own, because both
 * were at it at the same time, takes its own back.
 *
 * Protocol numbers tell only in a block of one's own what is one's own, and what an older configuration's number is: that of
 * any rule there which names the number of the network.
 *
 * Order: with a kill switch the packet filter before the rules, without one behind them; what is missing is added before
 * what is too much goes. What cannot be done is told, and the rest done all the same: a kill switch that could not be put
 * up whole is still to hold what it can.
 *
 * Sources: Linux, net/core/fib_rules.c.
 */
#include "vpnd/full_tunnel.h"

#include "core/siphash.h"
#include "vpnd/fault.h"
#include "vpnd/netlink.h"
#include "vpnd/netlink_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what is there ---------------------------------------------------------------------------------------------- */

/* The rules of all blocks, whosever they are. */
struct present {
	struct netlink_rule *rules;
	size_t count, room;
	bool failed;
};

static void note(void *ctx, const struct netlink_rule *rule)
{
	struct present *present = ctx;

	if (rule->priority < FULL_TUNNEL_FIRST ||
		rule->priority >= FULL_TUNNEL_FIRST + FULL_TUNNEL_BLOCKS * FULL_TUNNEL_BLOCK)
		return;
	if (present->count == present->room) {
		size_t room = present->room ? 2 * present->room : FULL_TUNNEL_RULES_MAX;
		struct netlink_rule *grown =
			reallocarray(present->rules, room, sizeof(*present->rules));
		if (!grown) {
			present->failed = true;
			return;
		}
		present->rules = grown;
		present->room = room;
	}
	present->rules[present->count++] = *rule;
}

static int look(struct full_tunnel *tunnel, struct present *present, struct fault *fault)
{
	present->count = 0;
	int error = netlink_rule_list(tunnel->netlink, 0, note, present, fault);

	if (!error && present->failed)
		error = fault_set(fault, -ENOMEM, "E-VPND-2", NULL, "out of memory");
	return error;
}

static bool names(const struct netlink_rule *rule, uint32_t number)
{
	return (rule->action == NETLINK_RULE_TABLE && rule->table == number) ||
	       (rule->action == NETLINK_RULE_NOP && rule->fwmark == number);
}

static uint32_t block_of(const struct netlink_rule *rule)
{
	return rule->priority - (rule->priority - FULL_TUNNEL_FIRST) % FULL_TUNNEL_BLOCK;
}

/* @return false if no block is this network's; else where it begins, and the number that its rules carry */
static bool find_own(
	const struct present *present, uint32_t number, uint32_t *ret_first, uint8_t *ret_protocol)
{
	for (size_t i = 0; i < present->count; i++) {
		if (!names(&present->rules[i], number))
			continue;
		*ret_first = block_of(&present->rules[i]);
		*ret_protocol = present->rules[i].protocol;
		return true;
	}
	return false;
}

static bool is_free(const struct present *present, uint32_t first)
{
	for (size_t i = 0; i < present->count; i++) {
		if (block_of(&present->rules[i]) == first)
			return false;
	}
	return true;
}

/* Whether somebody else ends this block, too. */
static bool is_disputed(const struct present *present, uint32_t first, uint32_t number)
{
	for (size_t i = 0; i < present->count; i++) {
		const struct netlink_rule *rule = &present->rules[i];
		if (rule->priority == first + FULL_TUNNEL_AT_END &&
			rule->action == NETLINK_RULE_NOP && rule->fwmark != number)
			return true;
	}
	return false;
}

/* Takes a block that is free. `present` is looked at anew. */
static int claim(struct full_tunnel *tunnel, const struct config *config, struct present *present,
	uint32_t *ret_first, struct fault *fault)
{
	uint32_t number = config_tunnel_number(config);
	uint32_t at = number % FULL_TUNNEL_BLOCKS;
	uint32_t step = 1 + number / FULL_TUNNEL_BLOCKS % (FULL_TUNNEL_BLOCKS - 1);
	struct netlink_rule end = {
		.family = 4,
		.protocol = (uint8_t)config->routes.protocol,
		.action = NETLINK_RULE_NOP,
		.fwmark = number,
	};

	for (int i = 0; i < FULL_TUNNEL_BLOCKS; i++, at = (at + step) % FULL_TUNNEL_BLOCKS) {
		uint32_t first = FULL_TUNNEL_FIRST + at * FULL_TUNNEL_BLOCK;
		if (!is_free(present, first))
			continue;
		end.priority = first + FULL_TUNNEL_AT_END;
		int error = netlink_rule_add(tunnel->netlink, &end, NULL, fault);
		if (!error)
			error = look(tunnel, present, fault);
		if (error)
			return error;
		*ret_first = first;
		if (!is_disputed(present, first, number))
			return 0;
		error = netlink_rule_remove(tunnel->netlink, &end, fault);
		if (error)
			return error;
	}
	return fault_set(fault, -EBUSY, "E-NET-10", "ip rule shows them",
		"there is no room for the policy rules of the full tunnel: others have all "
		"priorities from %d to %d",
		FULL_TUNNEL_FIRST, FULL_TUNNEL_FIRST + FULL_TUNNEL_BLOCKS * FULL_TUNNEL_BLOCK - 1);
}

/* ---- adding and removing ---------------------------------------------------------------------------------------- */

struct work {
	struct full_tunnel *tunnel;
	const struct config *config;
	struct present present;
	uint32_t first;	  /* of the own block; 0 = there is none */
	uint8_t protocol; /* of what is there */
	size_t changed;
	bool incomplete; /* a rule is missing, or left over */
	int error;	 /* the first */
	struct fault *fault;
};

static void keep_first(struct work *work, int error, const struct fault *why)
{
	if (error == 0 || work->error)
		return;
	work->error = error;
	if (work->fault)
		*work->fault = *why;
}

static bool is_own(const struct work *work, const struct netlink_rule *rule)
{
	return work->first && block_of(rule) == work->first &&
	       (rule->protocol == work->protocol ||
		       rule->protocol == (uint8_t)work->config->routes.protocol);
}

static bool among(const struct netlink_rule *rules, size_t count, const struct netlink_rule *rule)
{
	for (size_t i = 0; i < count; i++) {
		if (netlink_rule_equal(&rules[i], rule))
			return true;
	}
	return false;
}

static void add_rule(struct work *work, const struct netlink_rule *rule)
{
	struct fault why = {0};
	bool added = false;

	int error = netlink_rule_add(work->tunnel->netlink, rule, &added, &why);

	keep_first(work, error, &why);
	work->incomplete |= error != 0;
	work->changed += added;
}

static void remove_rule(struct work *work, const struct netlink_rule *rule)
{
	struct fault why = {0};

	keep_first(work, netlink_rule_remove(work->tunnel->netlink, rule, &why), &why);
	work->changed++;
}

static void add_missing(struct work *work, const struct full_tunnel_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		if (!among(work->present.rules, work->present.count, &plan->rules[i]))
			add_rule(work, &plan->rules[i]);
	}
}

/* Backwards, as they were added: what others lead to goes last. @return how many */
static size_t remove_extra(struct work *work, const struct full_tunnel_plan *plan)
{
	static const uint32_t ORDER[] = {FULL_TUNNEL_AT_ANSWERS, FULL_TUNNEL_AT_NOTHING,
		FULL_TUNNEL_AT_TUNNEL, FULL_TUNNEL_AT_LAN, FULL_TUNNEL_AT_INSIDE,
		FULL_TUNNEL_AT_NAMES, FULL_TUNNEL_AT_EXEMPT, FULL_TUNNEL_AT_MARKED,
		FULL_TUNNEL_AT_END};
	size_t removed = 0;

	for (size_t k = 0; k < sizeof(ORDER) / sizeof(ORDER[0]); k++) {
		bool answers = ORDER[k] == FULL_TUNNEL_AT_ANSWERS;
		for (size_t i = work->present.count; i > 0; i--) {
			const struct netlink_rule *rule = &work->present.rules[i - 1];
			if (!is_own(work, rule) || rule->priority != work->first + ORDER[k] ||
				among(plan->rules, plan->count, rule))
				continue;
			if (answers && plan->count > 0) /* as long as there is a tunnel */
				continue;
			if (answers)
				full_tunnel_unmark(work->tunnel, rule->from_device);
			remove_rule(work, rule);
			removed++;
		}
	}
	return removed;
}

/* ---- default routes of families that no peer has ---------------------------------------------------------------- */

static bool has_default(const struct config *config, uint8_t family)
{
	for (size_t p = 0; p < config->peer_count; p++) {
		const struct config_cidrs *list = &config->peers[p].allowed_ips;
		for (size_t i = 0; i < list->count; i++) {
			if (list->items[i].length == 0 && list->items[i].family == family)
				return true;
		}
	}
	return false;
}

struct search {
	struct netlink_route route;
	bool found;
};

static void compare_route(void *ctx, const struct netlink_route *route)
{
	struct search *search = ctx;

	search->found |= route->destination.length == 0 &&
			 route->destination.family == search->route.destination.family &&
			 route->ifindex == search->route.ifindex;
}

/* @return false if there is none and there can be none */
static bool give_default(struct work *work, uint8_t family, bool wanted)
{
	struct search search = {.route = {
					.destination = {.family = family},
					.ifindex = work->tunnel->ifindex,
					.table = config_tunnel_number(work->config),
					.metric = (uint32_t)work->config->routes.metric,
					.protocol = (uint8_t)work->config->routes.protocol,
				}};
	struct netlink *netlink = work->tunnel->netlink;

	if (!work->tunnel->ifindex)
		return false;
	if (wanted && has_default(work->config, family))
		return true; /* the device's own business */
	if (netlink_route_list(netlink, search.route.protocol, search.route.table, compare_route,
		    &search, NULL) < 0)
		search.found = false;
	if (wanted == search.found)
		return search.found;
	int error = wanted ? netlink_route_add(netlink, &search.route, NULL)
			   : netlink_route_remove(netlink, &search.route, NULL);
	work->changed += error == 0;
	return wanted && error == 0;
}

/* ---- the packet filter ------------------------------------------------------------------------------------------ */

static uint64_t sum_of(const struct netlink_guard *guard)
{
	static const struct siphash_key KEY = {0}; /* whoever aims at it would have to be root */
	uint64_t parts[6] = {guard->fwmark, (uint64_t)guard->ifindex,
		(uint64_t)guard->marks << 1 | guard->holds,
		siphash(KEY, guard->exempt, guard->exempt_count * sizeof(*guard->exempt)),
		siphash(KEY, guard->lan, guard->lan_count * sizeof(*guard->lan)),
		guard->exempt_count};
	uint64_t sum = siphash(KEY, parts, sizeof(parts));

	return sum ? sum : 1;
}

/* A kernel without the way to find sockets: strict devices cannot be helped then, and that is said. */
static int put_up(struct full_tunnel *tunnel, struct netlink_guard *guard, struct fault *fault)
{
	struct fault why = {0};
	uint64_t sum = sum_of(guard);

	if (tunnel->watched && sum == tunnel->filter)
		return 0;
	tunnel->filter = 0;
	int error = netlink_guard_set(tunnel->netlink, guard, &why);
	if (error && guard->marks) {
		guard->marks = false;
		tunnel->deaf = true;
		error = guard->holds ? netlink_guard_set(tunnel->netlink, guard, &why)
				     : netlink_guard_remove(tunnel->netlink, guard->table, NULL);
	} else {
		tunnel->deaf = false;
	}
	if (!error)
		tunnel->filter = sum;
	else if (fault)
		*fault = why;
	return error;
}

/* @marks  a device of the host is strict */
static int filter(
	struct full_tunnel *tunnel, const struct config *config, bool marks, struct fault *fault)
{
	struct ip_prefix exempt[CONFIG_EXEMPT_MAX];
	char table[NETLINK_GUARD_NAME_BYTES];
	struct netlink_guard guard = {
		.table = table,
		.fwmark = config_fwmark(config),
		.marks = marks,
		.holds = config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH,
		.ifindex = tunnel->ifindex,
		.exempt = exempt,
	};
	size_t most = NETLINK_GUARD_PREFIXES_MAX - CONFIG_EXEMPT_MAX;
	int error = 0;

	(void)snprintf(table, sizeof(table), "vpnd-%s", config->name);
	struct ip_prefix *lan = calloc(most, sizeof(*lan));
	if (!lan)
		return fault_set(fault, -ENOMEM, "E-VPND-2", NULL, "out of memory");
	memset(exempt, 0, sizeof(exempt)); /* all of it is summed up */
	for (size_t i = 0; i < config->full_tunnel.exempt.count; i++) {
		if (guard.exempt_count < CONFIG_EXEMPT_MAX &&
			config_exempt_prefix(config, i, &exempt[guard.exempt_count]))
			guard.exempt_count++;
	}
	tunnel->crowded = false;
	/* without the list of the LAN the rest holds all the more */
	if (guard.holds && config_exempts_lan(config))
		error = full_tunnel_lan(
			tunnel, lan, most, &guard.lan_count, &tunnel->crowded, fault);
	guard.lan = lan;
	int put = put_up(tunnel, &guard, error ? NULL : fault);
	free(lan);
	return error ? error : put;
}

static int no_filter(struct full_tunnel *tunnel, const struct config *config, struct fault *fault)
{
	char table[NETLINK_GUARD_NAME_BYTES];

	(void)snprintf(table, sizeof(table), "vpnd-%s", config->name);
	tunnel->filter = 0;
	tunnel->crowded = tunnel->deaf = false;
	return netlink_guard_remove(tunnel->netlink, table, fault);
}

/* ---- strict devices --------------------------------------------------------------------------------------------- */

static bool note_answers(void *ctx, const char *device)
{
	struct work *work = ctx;
	struct netlink_rule rule = {
		.family = 4,
		.protocol = (uint8_t)work->config->routes.protocol,
		.priority = work->first + FULL_TUNNEL_AT_ANSWERS,
		.action = NETLINK_RULE_NOP,
	};

	if (!work->first)
		return false;
	(void)snprintf(rule.from_device, sizeof(rule.from_device), "%s", device);
	return netlink_rule_add(work->tunnel->netlink, &rule, NULL, NULL) == 0;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

/* Looks at what is there, and takes a block if one is needed. @return false if nothing more can be done */
static bool begin(struct work *work, bool needs_block)
{
	uint32_t number = config_tunnel_number(work->config);
	struct fault why = {0};
	int error = look(work->tunnel, &work->present, &why);

	work->protocol = (uint8_t)work->config->routes.protocol;
	if (!error && !find_own(&work->present, number, &work->first, &work->protocol) &&
		needs_block)
		error = claim(work->tunnel, work->config, &work->present, &work->first, &why);
	keep_first(work, error, &why);
	return error == 0;
}

static void apply_rules(struct work *work, bool full)
{
	struct full_tunnel_plan *plan = malloc(sizeof(*plan));
	struct fault why = {0};

	if (!plan) {
		keep_first(work, fault_set(&why, -ENOMEM, "E-VPND-2", NULL, "out of memory"), &why);
		return;
	}
	plan->count = 0;
	const bool no_route[2] = {!give_default(work, 4, full), !give_default(work, 6, full)};
	if (full)
		full_tunnel_plan(work->config, work->first, no_route, plan);
	add_missing(work, plan);
	/* Not if something is missing: what is too much may be what still holds the traffic. */
	if (!work->incomplete && remove_extra(work, plan) > 0) {
		/* the kernel may have taken a narrower rule for the one that was meant */
		int error = look(work->tunnel, &work->present, &why);
		keep_first(work, error, &why);
		if (!error)
			add_missing(work, plan);
	}
	free(plan);
}

static void apply_filter(struct work *work, bool full, bool kill)
{
	bool strict = full && full_tunnel_strict(work->tunnel, note_answers, work);
	struct fault why = {0};
	int error = 0;

	if (strict || kill)
		error = filter(work->tunnel, work->config, strict, &why);
	/* where nobody uses nf_tables, asking would load it */
	else if (work->changed > 0 || work->tunnel->filter ||
		 access("/sys/module/nf_tables", F_OK) == 0)
		error = no_filter(work->tunnel, work->config, &why);
	if (error && !kill) { /* without a kill switch it only helps */
		work->tunnel->deaf |= strict;
		error = strict ? 0 : error;
	}
	keep_first(work, error, &why);
}

int full_tunnel_apply(struct full_tunnel *tunnel, const struct config *config, bool on,
	size_t *ret_changed, struct fault *fault)
{
	struct work work = {.tunnel = tunnel, .config = config, .fault = fault};
	bool full = on && config->full_tunnel.mode != CONFIG_FULL_TUNNEL_OFF;
	bool kill = full && config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH;
	bool known = begin(&work, full);

	if (kill)
		apply_filter(&work, true, true);
	if (known)
		apply_rules(&work, full);
	if (!kill && !work.error)
		apply_filter(&work, full, false);
	free(work.present.rules);
	if (ret_changed)
		*ret_changed = work.changed;
	return work.error;
}

int full_tunnel_refresh(
	struct full_tunnel *tunnel, const struct config *config, struct fault *fault)
{
	struct work work = {.tunnel = tunnel, .config = config, .fault = fault};

	if (config->full_tunnel.mode == CONFIG_FULL_TUNNEL_OFF)
		return 0;
	bool known = begin(&work, false);
	/* without a block there is nothing that could be refreshed: apply is due */
	if (known && work.first)
		apply_filter(
			&work, true, config->full_tunnel.mode == CONFIG_FULL_TUNNEL_KILL_SWITCH);
	free(work.present.rules);
	return work.error;
}
