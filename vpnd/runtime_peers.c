/*
 * A change is made to a copy, which takes the place of the list once the configuration with it is in force; so a change that
 * is refused leaves nothing behind.
 */
#include "vpnd/runtime_peers.h"

#include "control/control_msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void clear(struct runtime_peer *peer)
{
	free(peer->name);
	free(peer->public_key);
	control_strings_fini(&peer->endpoints);
	control_strings_fini(&peer->allowed_ips);
	*peer = (struct runtime_peer){0};
}

void runtime_peers_fini(struct runtime_peers *peers)
{
	for (size_t i = 0; i < peers->count; i++)
		clear(&peers->added[i]);
	free(peers->added);
	control_strings_fini(&peers->without);
	*peers = (struct runtime_peers){0};
}

static int copy_strings(const struct control_strings *from, struct control_strings *to)
{
	for (size_t i = 0; i < from->count; i++) {
		if (control_strings_add(to, from->items[i]))
			return -ENOMEM;
	}
	return 0;
}

static int append(struct runtime_peers *peers, const char *name, const char *public_key,
	const struct control_strings *endpoints, const struct control_strings *allowed_ips)
{
	struct runtime_peer *grown =
		reallocarray(peers->added, peers->count + 1, sizeof(*peers->added));

	if (!grown)
		return -ENOMEM;
	peers->added = grown;
	struct runtime_peer *peer = &grown[peers->count];
	*peer = (struct runtime_peer){.name = strdup(name), .public_key = strdup(public_key)};
	if (!peer->name || !peer->public_key || copy_strings(endpoints, &peer->endpoints) ||
		copy_strings(allowed_ips, &peer->allowed_ips)) {
		clear(peer);
		return -ENOMEM;
	}
	peers->count++;
	return 0;
}

int runtime_peers_copy(const struct runtime_peers *from, struct runtime_peers *ret)
{
	*ret = (struct runtime_peers){0};
	int error = copy_strings(&from->without, &ret->without);
	for (size_t i = 0; i < from->count && !error; i++)
		error = append(ret, from->added[i].name, from->added[i].public_key,
			&from->added[i].endpoints, &from->added[i].allowed_ips);
	if (error)
		runtime_peers_fini(ret);
	return error;
}

static void drop_added(struct runtime_peers *peers, const char *name)
{
	for (size_t i = 0; i < peers->count; i++) {
		if (strcmp(peers->added[i].name, name) != 0)
			continue;
		clear(&peers->added[i]);
		peers->count--;
		memmove(&peers->added[i], &peers->added[i + 1],
			(peers->count - i) * sizeof(*peers->added));
		return;
	}
}

static void drop_without(struct control_strings *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++) {
		if (strcmp(names->items[i], name) != 0)
			continue;
		free(names->items[i]);
		names->count--;
		memmove(&names->items[i], &names->items[i + 1],
			(names->count - i) * sizeof(*names->items));
		return;
	}
}

int runtime_peers_add(struct runtime_peers *peers, const struct control_request *request)
{
	const char *name = request->peers.items[0];

	drop_added(peers, name);
	drop_without(&peers->without, name);
	if (peers->count >= RUNTIME_PEERS_MAX)
		return -ENOBUFS;
	return append(peers, name, request->public_key, &request->endpoints, &request->allowed_ips);
}

int runtime_peers_remove(struct runtime_peers *peers, const char *name)
{
	drop_added(peers, name);
	drop_without(&peers->without, name);
	return control_strings_add(&peers->without, name);
}

void runtime_peers_restore(struct runtime_peers *peers)
{
	control_strings_fini(&peers->without);
}

void runtime_peers_leave_to_files(struct runtime_peers *peers, const struct config *config)
{
	for (size_t i = 0; i < config->peer_count; i++) {
		if (!config->peers[i].runtime)
			drop_added(peers, config->peers[i].name);
	}
}

int runtime_peers_overlay(
	const struct runtime_peers *peers, char **ret_text, struct config_overlay *ret_overlay)
{
	struct config_draft *drafts = calloc(peers->count ? peers->count : 1, sizeof(*drafts));
	int error;

	if (!drafts)
		return -ENOMEM;
	for (size_t i = 0; i < peers->count; i++) {
		const struct runtime_peer *peer = &peers->added[i];
		drafts[i] = (struct config_draft){
			.name = peer->name,
			.public_key = peer->public_key,
			.endpoints = (const char *const *)peer->endpoints.items,
			.endpoint_count = peer->endpoints.count,
			.allowed_ips = (const char *const *)peer->allowed_ips.items,
			.allowed_ip_count = peer->allowed_ips.count,
		};
	}
	error = config_peers_write(drafts, peers->count, ret_text);
	free(drafts);
	if (error)
		return error;
	*ret_overlay = (struct config_overlay){
		.text = *ret_text,
		.len = strlen(*ret_text),
		.without = (const char *const *)peers->without.items,
		.without_count = peers->without.count,
	};
	return 0;
}

static bool same_endpoint(const struct config_endpoint *is, const char *wanted)
{
	struct config_endpoint other;

	if (config_endpoint_parse(wanted, &other))
		return false;
	bool same = other.port == is->port && strcmp(other.host, is->host) == 0;
	free(other.host);
	return same;
}

static bool has_prefix(const struct config_cidrs *list, const struct ip_prefix *prefix)
{
	for (size_t i = 0; i < list->count; i++) {
		if (ip_prefix_equal(&list->items[i], prefix))
			return true;
	}
	return false;
}

bool runtime_peers_same(const struct config_peer *peer, const struct control_request *request)
{
	const char *key = peer->public_key_text ? peer->public_key_text : "";

	if (strcmp(key, request->public_key) != 0 ||
		peer->endpoints.count != request->endpoints.count ||
		peer->allowed_ips.count != request->allowed_ips.count)
		return false;
	for (size_t i = 0; i < peer->endpoints.count; i++) {
		if (!same_endpoint(&peer->endpoints.items[i], request->endpoints.items[i]))
			return false;
	}
	for (size_t i = 0; i < request->allowed_ips.count; i++) {
		struct ip_prefix prefix;
		if (ip_prefix_parse(request->allowed_ips.items[i], &prefix))
			return false;
		ip_prefix_mask(&prefix);
		if (!has_prefix(&peer->allowed_ips, &prefix))
			return false;
	}
	return true;
}
