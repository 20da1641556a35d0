/*
 * The worker's side of the helper: a process that keeps CAP_NET_ADMIN and does for the worker what the worker may not.
 *
 *      worker  (user vpnd, no capability)                     helper  (CAP_NET_ADMIN, broker_server.h)
 *        broker.h   -- one request, fixed size (broker_msg.h) -->  checks it against the configuration it read itself
 *                   <-- one answer, perhaps a descriptor --------  does it
 *
 * Requests block until answered, at most BROKER_ANSWER_MS each, and packets wait meanwhile; so they belong to start, stop,
 * reload and orders, never to the data path. One that is not answered in time fails with -ETIMEDOUT, and from then on so
 * do all others, at once, until the helper has answered after all. Only the reading of the configuration goes on beside
 * everything else and has BROKER_READ_MS. If the helper dies the worker goes on with what it has, and requests fail with
 * -EPIPE.
 */
#ifndef VPND_BROKER_H
#define VPND_BROKER_H

#include "config/config.h"
#include "kcpvpn/endpoint.h"
#include "vpnd/host_net.h"

#include <stdbool.h>
#include <stdint.h>

struct broker;
struct control_socket;
struct fault;
struct log;
struct loop;
struct tun;

enum {
	BROKER_ANSWER_MS =
		3000, /* netlink answers in microseconds; a session dies after 15 s of silence */
	BROKER_READ_MS =
		10000, /* for reading the configuration, beside all else; and for the helper's start */
	BROKER_STOP_MS = 2000, /* all requests together, once the daemon stops */
	BROKER_HOOK_MS =
		35000, /* for a hook that is waited for, behind those that are on their way */
};

struct broker_setup {
	int ifindex;			      /* the only interface that may be changed */
	const char *device;		      /* its name; NULL = no program is run for it */
	const char *file;		      /* of the configuration, as it was opened */
	struct config *config;		      /* in force; the helper's copy is the helper's own */
	const struct control_socket *control; /* to be removed at the end; NULL = none */
	int netns;	/* where the device is, lent; 0 = here: that is never its descriptor */
	unsigned extra; /* enum privileges_extra that the helper keeps */
	int answer_ms;	/* in place of BROKER_ANSWER_MS and BROKER_READ_MS; 0 = these */
	const struct log *log;
};

/**
 * Starts the helper and waits until it has given up what it does not need.
 *
 * Call it with all that needs no thread open, before privileges_drop(). What `setup` points to is copied by the fork.
 *
 * @ret_broker  freed by broker_free()
 * @return      0 or a negative errno with `*fault` filled
 */
int broker_new(struct loop *loop, const struct broker_setup *setup, struct broker **ret_broker,
	struct fault *fault);

/**
 * The daemon stops: all requests from now on together have BROKER_STOP_MS, then they fail at once. What they would have
 * taken off the host goes with the device. NULL is fine.
 */
void broker_begin_stop(struct broker *broker);

/** Lets the helper remove what it put on the host, and waits for its end, but not for a stuck one. NULL is fine. */
void broker_free(struct broker *broker);

/** False after the helper died. */
bool broker_alive(const struct broker *broker);

/** Link, addresses and routes through the helper. Valid as long as the broker. */
struct host_net broker_host_net(struct broker *broker);

/** @return true while the helper lives but does not answer in time */
bool broker_stuck(const struct broker *broker);

/**
 * Sets who is told that a stuck helper answers again. It may be called in the middle of a request, and must not make
 * one itself.
 */
void broker_set_on_back(struct broker *broker, void (*on_back)(void *ctx), void *ctx);

/**
 * The outcome of broker_read_config(), from the loop.
 *
 * @fd     the record for broker_load_record(), owned by the callee; -1 = `fault` says why not
 * @fault  `err` is 0 if `fd` is not -1
 */
typedef void (*broker_read_fn)(void *ctx, int fd, const struct fault *fault);

/**
 * Lets the helper read the files of the configuration it was started with. Does not wait; one at a time.
 *
 * @done   called once, later, if this returns 0; not after broker_free()
 * @return 0, or a negative errno with `*fault` filled: it cannot even be asked
 */
int broker_read_config(struct broker *broker, broker_read_fn done, void *ctx, struct fault *fault);

/**
 * Makes the configuration of the bytes that the helper read.
 *
 * @fd          stays the caller's; what it holds is wiped
 * @file        its name, for messages
 * @base        gives `public_half`, `overlay` and `in_force`, and nothing else; NULL = none
 * @ret_config, @report  as config_load()
 * @return      as config_load(); or a negative errno with `*fault` filled (else its `err` is 0)
 */
int broker_load_record(int fd, const char *file, const struct config_reader *base,
	struct config **ret_config, struct config_report *report, struct fault *fault);

/** Says that the configuration read last is in force now: from here on the older one allows nothing. */
void broker_keep_config(struct broker *broker);

/** A peer given at run time has these inner addresses: routes to them may be asked for. @return 0 or a negative errno */
int broker_add_destination(
	struct broker *broker, const struct ip_prefix *prefix, struct fault *fault);

/**
 * Puts the policy rules of a full tunnel up, or takes them away, as the configuration in force says.
 *
 * @ret_changed  how many of them were not as they should be; may be NULL
 */
int broker_full_tunnel(struct broker *broker, bool on, uint32_t *ret_changed, struct fault *fault);

/** The host's other devices or routes changed, and with them perhaps what the full tunnel lets through. */
int broker_full_tunnel_refresh(struct broker *broker, struct fault *fault);

/** Makes the tunnel's resolvers those of the host, or gives back those that were. */
int broker_dns(struct broker *broker, bool on, struct fault *fault);

/**
 * Has the program of a hook run, if there is one. Only CONFIG_HOOK_PRE_UP is waited for; while the link is down nothing
 * waits with it.
 *
 * @peer      whom it is about; NULL = nobody
 * @endpoint  where that peer is; NULL = not known
 */
int broker_hook(struct broker *broker, enum config_hook hook, const char *peer,
	const struct kcpvpn_endpoint *endpoint, struct fault *fault);

/**
 * Makes the device of a peer. From here on the host_net of this broker takes its number, too.
 *
 * @like     the network's own, open
 * @ret_tun  owned by the caller: tun_close()
 */
int broker_tun(struct broker *broker, const char *peer, const struct tun *like, struct tun *ret_tun,
	struct fault *fault);

/** The device with this number was closed. */
void broker_tun_gone(struct broker *broker, int ifindex);

/**
 * Opens a UDP socket with buffers that the worker may not ask for, non-blocking and close-on-exec.
 *
 * @local    port 1..1023: bound to it, if the configuration listens there; else not bound, and only the family counts
 * @joins    as in struct udp_socket_options (udp_socket.h)
 * @fwmark   as config_fwmark() says
 * @ret_fd   owned by the caller
 * @return   0 or a negative errno with `*fault` filled
 */
int broker_udp_socket(struct broker *broker, const struct kcpvpn_endpoint *local, bool joins,
	uint32_t fwmark, int *ret_fd, struct fault *fault);

#endif
