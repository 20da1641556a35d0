/*
 * Cross checks: what no single key can be blamed for.
 *
 * allowed_ips of different peers must not overlap, or a packet's next hop would depend on chance. Sorted by
 * (family, address, prefix length), prefixes that contain each other are neighbours in the sense of
 * a stack: all that contain the next one are still open when it comes. So one pass finds every
 * overlap among any number of peers.
 */
#include "config/config_address.h"
#include "config/config_loader.h"
#include "config/config_value.h"
#include "core/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OTHERS_READ = 04,
	OTHERS_WRITE = 02,
};

const struct tree_node *loader_node(const struct loader *l, const char *key)
{
	return l->places[config_row_index(config_schema_find(key))];
}

struct finding_place loader_place(const struct loader *l, const char *key)
{
	const struct tree_node *node = loader_node(l, key);

	return node ? node->place : loader_file(0);
}

bool loader_whole(const struct loader *l)
{
	for (size_t i = 0; i < l->tree_count; i++) {
		if (!l->trees[i].whole)
			return false;
	}
	return true;
}

/* A value that was given and not taken: what depends on it is not judged. */
static bool is_bad(const struct loader *l, const char *key)
{
	return loader_node(l, key) && !config_is_given(&l->config->given, config_schema_find(key));
}

/* ---- required ------------------------------------------------------------------------------------------------- */

static void check_required(struct loader *l)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);

	if (!loader_whole(l))
		return;
	for (size_t i = 0; i < count; i++) {
		bool required = (rows[i].flags & CONFIG_ROW_REQUIRED) &&
				!(rows[i].flags & CONFIG_ROW_NATIVE);
		if (required && !l->places[i])
			findings_error(&l->findings, CONFIG_E_MISSING, loader_file(0), NULL,
				"%s is missing; write `%s: %lld`", rows[i].key, rows[i].key,
				(long long)rows[i].min);
	}
}

/* The network's name: as given, else the file's base name. */
static int check_name(struct loader *l)
{
	struct config *config = l->config;

	if (config->name || loader_node(l, "identity.name"))
		return 0;
	const char *slash = strrchr(config->file, '/');
	char *name = strdup(slash ? slash + 1 : config->file);
	if (!name)
		return -ENOMEM;
	size_t len = strlen(name);
	if (len > 5 && strcmp(name + len - 5, ".yaml") == 0)
		name[len - 5] = '\0';
	else if (len > 4 && strcmp(name + len - 4, ".yml") == 0)
		name[len - 4] = '\0';
	if (!config_name_ok(name))
		findings_error(&l->findings, CONFIG_E_NAME, loader_file(0), NULL,
			"the file's base name \"%.60s\" cannot name the network; set identity.name",
			name);
	config->name = name;
	return 0;
}

/* ---- a reload ------------------------------------------------------------------------------------------------- */

static int hold(struct loader *l, const struct config_row *row, const void *old, void *new)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	value_write(row, old, out);
	(void)fputs(" -> ", out);
	value_write(row, new, out);
	if (fclose(out) != 0) {
		free(text);
		return -ENOMEM;
	}
	findings_warning(&l->findings, CONFIG_W_HELD, loader_place(l, row->key),
		"%s takes effect at the next restart: %.120s", row->key, text);
	free(text);
	return value_assign(row, old, new);
}

/*
 * What a running daemon cannot take over stays as it is, here and not where it is used: by one name the policy rules of a full
 * tunnel are known again, by one protocol number the routes, and what is checked is what will hold.
 */
static int hold_fixed(struct loader *l)
{
	const struct config *in_force = l->reader ? l->reader->in_force : NULL;
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);

	for (size_t i = 0; in_force && i < count; i++) {
		const void *old = config_row_field(&rows[i], (struct config *)(uintptr_t)in_force);
		void *new = config_row_field(&rows[i], l->config);
		if (!new || !(rows[i].effects & CONFIG_EFFECT_RESTART) ||
			value_equal(&rows[i], old, new))
			continue;
		int error = hold(l, &rows[i], old, new);
		if (error)
			return error;
	}
	return 0;
}

/* ---- modes of the files --------------------------------------------------------------------------------------- */

/* Whoever writes what may name programs can run them as root: these files are root's alone. */
static void check_exposure(struct loader *l, unsigned source)
{
	enum config_exposure exposure = l->findings.sources[source].exposure;
	const char *path = l->findings.sources[source].path;
	const char *use = exposure == CONFIG_EXPOSED_OWNER  ? "chown root"
			  : exposure == CONFIG_EXPOSED_MODE ? "chmod go-w"
							    : "namei -l";

	if (exposure != CONFIG_EXPOSED_NOT)
		findings_error(&l->findings, CONFIG_E_MODE, loader_file(source), NULL,
			"hooks run as root, so nobody else may change a file of this "
			"configuration, but %s; use: %s %.200s",
			config_exposure_str(exposure), use, path);
}

static void check_modes(struct loader *l)
{
	bool hooks = false;

	for (enum config_hook hook = 0; hook < CONFIG_HOOKS; hook++)
		hooks = hooks || l->config->hooks[hook].count > 0;
	for (unsigned i = 0; hooks && i < l->findings.source_count; i++)
		check_exposure(l, i);
	for (unsigned i = 0; i < l->findings.source_count; i++) {
		const struct source *source = &l->findings.sources[i];
		if (source->inline_key && (source->mode & OTHERS_READ))
			findings_warning(&l->findings, CONFIG_W_KEY_READABLE, loader_file(i),
				"it holds a key and every user can read it; use: chmod 0640 "
				"%.200s, "
				"or kcp_go.key_file",
				source->path);
		if (source->mode & OTHERS_WRITE)
			findings_warning(&l->findings, CONFIG_W_FILE_WRITABLE, loader_file(i),
				"every user can write it; use: chmod o-w %.200s", source->path);
	}
}

/* ---- the wire ------------------------------------------------------------------------------------------------- */

static bool has_ipv6(const struct config_cidrs *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i].family == 6)
			return true;
	}
	return false;
}

static void check_mtu(struct loader *l)
{
	struct config *config = l->config;
	bool ipv6 = has_ipv6(&config->interface.addresses);
	int least = ipv6 ? CONFIG_MTU_MIN_IPV6 : CONFIG_MTU_MIN;
	int mss = config_kcp_go_mss(&config->kcp_go);
	char note[CONFIG_REPORT_NOTE_BYTES];

	config->interface.mtu_bytes =
		config->interface.mtu == CONFIG_AUTO ? mss : config->interface.mtu;
	if (is_bad(l, "kcp_go.mtu") || is_bad(l, "kcp_go.crypt") || is_bad(l, "kcp_go.datashard") ||
		is_bad(l, "kcp_go.parityshard") || is_bad(l, "interface.mtu"))
		return;
	if (mss < least) {
		(void)snprintf(note, sizeof(note), "at least %d", least + config->kcp_go.mtu - mss);
		findings_error(&l->findings, CONFIG_E_MTU, loader_place(l, "kcp_go.mtu"), note,
			"kcp_go.mtu: %d leaves %d bytes for a packet; %d are needed%s",
			config->kcp_go.mtu, mss, least,
			ipv6 ? " with an IPv6 address in interface.addresses" : "");
		return;
	}
	if (config->interface.mtu_bytes > mss) {
		(void)snprintf(note, sizeof(note), "at most %d, or auto", mss);
		findings_error(&l->findings, CONFIG_E_MTU, loader_place(l, "interface.mtu"), note,
			"interface.mtu: %d is more than the %d bytes that one segment carries "
			"(kcp_go.mtu %d, less headers)",
			config->interface.mtu_bytes, mss, config->kcp_go.mtu);
	} else if (config->interface.mtu_bytes < least) {
		(void)snprintf(note, sizeof(note), "at least %d, or auto", least);
		findings_error(&l->findings, CONFIG_E_MTU, loader_place(l, "interface.mtu"), note,
			"interface.mtu: %d is less than IPv6 needs, and interface.addresses has an "
			"IPv6 address",
			config->interface.mtu_bytes);
	}
}

static void check_native(struct loader *l)
{
	struct config *config = l->config;
	int mtu = config->interface.mtu;

	config->interface.mtu_bytes = mtu == CONFIG_AUTO ? CONFIG_MTU_NATIVE : mtu;
	if (!is_bad(l, "interface.mtu") && config->interface.mtu_bytes < CONFIG_MTU_MIN_IPV6)
		findings_error(&l->findings, CONFIG_E_MTU, loader_place(l, "interface.mtu"),
			"at least 1280, or auto",
			"interface.mtu: %d is less than the %d that the native wire carries "
			"everywhere",
			mtu, CONFIG_MTU_MIN_IPV6);
}

static void check_kcp_go(struct loader *l)
{
	const struct config_kcp_go *kcp_go = &l->config->kcp_go;
	int shards = kcp_go->datashard + kcp_go->parityshard;

	if (shards > 255) {
		const char *key = loader_node(l, "kcp_go.parityshard") ? "kcp_go.parityshard"
								       : "kcp_go.datashard";
		findings_error(&l->findings, CONFIG_E_FEC, loader_place(l, key), NULL,
			"kcp_go: datashard %d and parityshard %d are %d together; at most 255",
			kcp_go->datashard, kcp_go->parityshard, shards);
	}
	if (l->config->interface.queues > 1)
		findings_error(&l->findings, CONFIG_E_WIRE, loader_place(l, "interface.queues"),
			"auto or 1", "interface.queues: the kcp-go wire has one queue, not %d",
			l->config->interface.queues);
	check_mtu(l);
	if (!is_bad(l, "wire"))
		findings_warning(&l->findings, CONFIG_W_UNAUTHENTICATED, loader_place(l, "wire"),
			"the kcp-go wire is not authenticated: who knows the key, or replays "
			"recorded "
			"packets, can send into this network");
	if (strcmp(kcp_go->crypt, "none") == 0 || strcmp(kcp_go->crypt, "null") == 0 ||
		strcmp(kcp_go->crypt, "xor") == 0)
		findings_warning(&l->findings, CONFIG_W_WEAK_CIPHER,
			loader_place(l, "kcp_go.crypt"),
			"kcp_go.crypt: %s hides %s; who sees the packets can read them",
			kcp_go->crypt, kcp_go->crypt[0] == 'x' ? "next to nothing" : "nothing");
}

/* ---- peers ---------------------------------------------------------------------------------------------------- */

/* What a peer does not set, the network sets for it. */
static void inherit(struct config *config)
{
	size_t count = 0;
	const struct config_row *rows = config_schema_rows(&count);
	const struct config_row *persistent = config_schema_find("session.persistent");

	for (size_t p = 0; p < config->peer_count; p++) {
		struct config_peer *peer = &config->peers[p];
		for (size_t i = 0; i < count; i++) {
			void *to = rows[i].flags & CONFIG_ROW_INHERIT
					   ? config_row_peer_field(&rows[i], peer)
					   : NULL;
			if (to && !config_is_given(&peer->given, &rows[i]))
				value_copy(&rows[i], config_row_field(&rows[i], config), to);
		}
		if (!config_is_given(&peer->given, persistent) &&
			!config_is_given(&config->given, persistent))
			peer->session.persistent = peer->endpoints.count > 0;
	}
}

/* Out of band packets have the header of FEC. What a peer does not set is the network's mistake, and told once. */
static void check_class(struct loader *l)
{
	const struct config *config = l->config;
	bool fec = config->kcp_go.datashard > 0 && config->kcp_go.parityshard > 0;
	static const char TEXT[] = "on the kcp-go wire it sends urgent packets out of band, which "
				   "takes kcp_go.datashard and parityshard";

	if (fec || l->wire != CONFIG_WIRE_KCP_GO)
		return;
	if (config->transport.class == CONFIG_CLASS_DATAGRAM)
		findings_error(&l->findings, CONFIG_E_FEC, loader_place(l, "transport.class"), NULL,
			"transport.class: datagram: %s", TEXT);
	for (size_t p = 0; p < config->peer_count; p++) {
		const struct config_peer *peer = &config->peers[p];
		if (peer->transport.class == CONFIG_CLASS_DATAGRAM &&
			config_is_given(&peer->given, config_schema_find("transport.class")))
			findings_error(&l->findings, CONFIG_E_FEC, l->peers[p].name->place, NULL,
				"peers.%s.transport.class: datagram: %s", peer->name, TEXT);
	}
}

/* The native wire has no window to fix, but a rate. As above: the network's mistake is told once. */
static void check_congestion(struct loader *l)
{
	const struct config *config = l->config;
	const struct config_row *congestion = config_schema_find("transport.congestion");
	const struct config_row *rate_max = config_schema_find("transport.rate_max");
	static const char TEXT[] =
		"on the native wire it sends at transport.rate_max, which is not given";
	bool told = false;

	if (l->wire == CONFIG_WIRE_KCP_GO || is_bad(l, rate_max->key))
		return;
	for (size_t p = 0; p < config->peer_count; p++) {
		const struct config_peer *peer = &config->peers[p];
		bool own = config_is_given(&peer->given, congestion) ||
			   config_is_given(&peer->given, rate_max);
		if (peer->transport.congestion != CONFIG_CONGESTION_FIXED ||
			peer->transport.rate_max_bps > 0)
			continue;
		if (own)
			findings_error(&l->findings, CONFIG_E_RANGE, l->peers[p].name->place, NULL,
				"peers.%s.transport.congestion: fixed: %s", peer->name, TEXT);
		else if (!told)
			findings_error(&l->findings, CONFIG_E_RANGE,
				loader_place(l, congestion->key), NULL,
				"transport.congestion: fixed: %s", TEXT);
		told |= !own;
	}
}

static int compare_names(const void *a, const void *b, void *ctx)
{
	const struct config *config = ctx;
	const size_t *x = a;
	const size_t *y = b;
	int order = strcmp(config->peers[*x].name, config->peers[*y].name);

	return order ? order : (*x > *y) - (*x < *y);
}

/* The same name in two files. Within one file the walk has seen it. */
static int check_names(struct loader *l)
{
	struct config *config = l->config;
	size_t *order = calloc(config->peer_count ? config->peer_count : 1, sizeof(*order));

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < config->peer_count; i++)
		order[i] = i;
	qsort_r(order, config->peer_count, sizeof(*order), compare_names, config);
	for (size_t i = 1; i < config->peer_count; i++) {
		const struct tree_node *first = l->peers[order[i - 1]].name;
		const struct tree_node *again = l->peers[order[i]].name;
		if (strcmp(first->text, again->text) == 0)
			findings_error(&l->findings, CONFIG_E_DUPLICATE, again->place, NULL,
				"peers.%s is given twice; the first is at %s:%u", again->text,
				l->findings.sources[first->place.source].path, first->place.line);
	}
	free(order);
	return 0;
}

/* One item of somebody's allowed_ips. */
struct claim {
	struct ip_prefix cidr;
	size_t peer;
	size_t index; /* in the peer's list */
	const struct tree_node *node;
};

static int compare_claims(const void *a, const void *b)
{
	const struct claim *x = a;
	const struct claim *y = b;

	if (x->cidr.family != y->cidr.family)
		return x->cidr.family < y->cidr.family ? -1 : 1;
	int order = memcmp(x->cidr.address, y->cidr.address, sizeof(x->cidr.address));
	if (order)
		return order;
	if (x->cidr.length != y->cidr.length)
		return x->cidr.length < y->cidr.length ? -1 : 1;
	if (x->peer != y->peer)
		return x->peer < y->peer ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

static void report_overlap(struct loader *l, const struct claim *a, const struct claim *b)
{
	char mine[IP_PREFIX_TEXT_BYTES];
	char other[IP_PREFIX_TEXT_BYTES];
	char where[CONFIG_REPORT_FILE_BYTES + 16];
	bool a_first = a->node->place.source != b->node->place.source
			       ? a->node->place.source < b->node->place.source
			       : a->node->place.line < b->node->place.line ||
					 (a->node->place.line == b->node->place.line &&
						 a->node->place.column < b->node->place.column);
	const struct claim *first = a_first ? a : b;
	const struct claim *later = a_first ? b : a;

	if (first->node->place.source == later->node->place.source)
		(void)snprintf(where, sizeof(where), "line %u", first->node->place.line);
	else
		(void)snprintf(where, sizeof(where), "%.200s:%u",
			l->findings.sources[first->node->place.source].path,
			first->node->place.line);
	findings_error(&l->findings, CONFIG_E_OVERLAP, later->node->place, NULL,
		"peers.%s.allowed_ips: %s overlaps %s of peers.%s at %s",
		l->config->peers[later->peer].name, ip_prefix_format(&later->cidr, mine),
		ip_prefix_format(&first->cidr, other), l->config->peers[first->peer].name, where);
}

/* Collects all items that were taken, in the order of the trees. */
static size_t collect_claims(const struct loader *l, struct claim *claims)
{
	const struct config *config = l->config;
	size_t count = 0;

	for (size_t p = 0; p < config->peer_count; p++) {
		const struct config_cidrs *list = &config->peers[p].allowed_ips;
		const struct tree_node *node =
			l->peers[p].allowed_ips ? l->peers[p].allowed_ips->first : NULL;
		for (size_t i = 0; i < list->count && node; i++, node = node->next)
			claims[count++] = (struct claim){list->items[i], p, i, node};
	}
	return count;
}

/* Takes out the items that the sweep marked as repeated. */
static void drop_repeated(struct config_cidrs *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i].family)
			list->items[kept++] = list->items[i];
	}
	list->count = kept;
}

static int check_overlaps(struct loader *l)
{
	struct config *config = l->config;
	const struct claim *open[129 + 1]; /* one per prefix length, and the one that came */
	size_t depth = 0;
	size_t total = 0;
	/* "All the rest" of the full tunnel is one peer's beside what others have. */
	bool elsewhere = config->full_tunnel.mode != CONFIG_FULL_TUNNEL_OFF;

	for (size_t p = 0; p < config->peer_count; p++)
		total += config->peers[p].allowed_ips.count;
	struct claim *claims = calloc(total ? total : 1, sizeof(*claims));
	if (!claims)
		return -ENOMEM;
	size_t count = collect_claims(l, claims);
	qsort(claims, count, sizeof(*claims), compare_claims);
	for (size_t i = 0; i < count; i++) {
		while (depth && !ip_prefix_contains(&open[depth - 1]->cidr, &claims[i].cidr))
			depth--;
		const struct claim *top = depth ? open[depth - 1] : NULL;
		bool equal = top && ip_prefix_equal(&top->cidr, &claims[i].cidr);
		if (top && top->peer != claims[i].peer &&
			!(elsewhere && top->cidr.length == 0 && !equal))
			report_overlap(l, top, &claims[i]);
		else if (equal)
			config->peers[claims[i].peer].allowed_ips.items[claims[i].index].family = 0;
		if (!equal)
			open[depth++] = &claims[i];
	}
	free(claims);
	for (size_t p = 0; p < config->peer_count; p++)
		drop_repeated(&config->peers[p].allowed_ips);
	return 0;
}

static void check_reach(struct loader *l)
{
	const struct config *config = l->config;
	size_t without = 0;

	for (size_t p = 0; p < config->peer_count; p++)
		without += config->peers[p].endpoints.count == 0;
	for (size_t p = 0; p < config->peer_count; p++) {
		const struct config_peer *peer = &config->peers[p];
		if (peer->endpoints.count)
			continue;
		if (config->listen.count == 0)
			findings_warning(&l->findings, CONFIG_W_UNREACHABLE,
				l->peers[p].name->place,
				"peers.%s has no endpoints and listen is empty: it must call, but "
				"there is no fixed port to call",
				peer->name);
		else if (l->wire == CONFIG_WIRE_KCP_GO && without > 1 &&
			 peer->allowed_ips.count == 0)
			findings_warning(&l->findings, CONFIG_W_UNREACHABLE,
				l->peers[p].name->place,
				"peers.%s has neither endpoints nor allowed_ips: nothing tells it "
				"from "
				"the other callers",
				peer->name);
	}
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static void check_addresses(struct loader *l)
{
	const struct config_cidrs *list = &l->config->interface.addresses;
	char text[IP_PREFIX_TEXT_BYTES];

	/* short: the walk bounds it */
	for (size_t i = 1; i < list->count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (ip_prefix_equal(&list->items[i], &list->items[j]))
				findings_error(&l->findings, CONFIG_E_DUPLICATE,
					loader_place(l, "interface.addresses"), NULL,
					"interface.addresses: %s is given twice",
					ip_prefix_format(&list->items[i], text));
		}
	}
}

int config_check(struct loader *l)
{
	int error = check_name(l);

	if (!error)
		error = hold_fixed(l);
	if (!error)
		error = check_names(l);
	check_required(l);
	if (!error)
		error = config_check_keys(l);
	if (!error)
		error = check_overlaps(l);
	if (error)
		return error;
	check_addresses(l);
	if (l->wire == CONFIG_WIRE_KCP_GO)
		check_kcp_go(l);
	else
		check_native(l);
	check_modes(l);
	inherit(l->config);
	check_class(l);
	check_congestion(l);
	if (l->findings.report->error_total > 0) /* it may be what was refused that is missing */
		return 0;
	check_reach(l);
	config_check_host(l);
	return config_check_routes(l);
}
