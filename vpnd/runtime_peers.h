/*
 * Peers that came or went by order while the daemon runs, laid over what the files say (config_overlay). They last until the
 * daemon ends; a reload brings back those that were taken away, and leaves to the files those that these name by then.
 */
#ifndef VPND_RUNTIME_PEERS_H
#define VPND_RUNTIME_PEERS_H

#include "config/config.h"
#include "control/control_strings.h"

#include <stdbool.h>
#include <stddef.h>

struct control_error;
struct control_request;

enum {
	RUNTIME_PEERS_MAX = 4096,
};

struct runtime_peer {
	char *name;
	char *public_key; /* "" = none */
	struct control_strings endpoints;
	struct control_strings allowed_ips;
};

/** All zero: the files alone. */
struct runtime_peers {
	struct runtime_peer *added;
	size_t count;
	struct control_strings without; /* of the files, taken away */
};

/** @ret  owned by the caller; empty on failure @return 0 or -ENOMEM */
int runtime_peers_copy(const struct runtime_peers *from, struct runtime_peers *ret);
void runtime_peers_fini(struct runtime_peers *peers);

/** Adds the peer that the request describes, in place of one of that name. @return 0, -ENOMEM, or -ENOBUFS if there are too many */
int runtime_peers_add(struct runtime_peers *peers, const struct control_request *request);

/** Takes a peer away, wherever it came from. @return 0 or -ENOMEM */
int runtime_peers_remove(struct runtime_peers *peers, const char *name);

/** For a reload: all peers of the files are there again. */
void runtime_peers_restore(struct runtime_peers *peers);

/** Forgets those that the files have, too. @config  made with this overlay */
void runtime_peers_leave_to_files(struct runtime_peers *peers, const struct config *config);

/**
 * What is to be laid over the files.
 *
 * @ret_text     freed by the caller once the overlay is not needed any more
 * @ret_overlay  lends from `peers` and from that text
 * @return       0 or -ENOMEM
 */
int runtime_peers_overlay(
	const struct runtime_peers *peers, char **ret_text, struct config_overlay *ret_overlay);

/** True if the peer is what the request describes, as far as that goes: key, endpoints, addresses. */
bool runtime_peers_same(const struct config_peer *peer, const struct control_request *request);

#endif
