/*
 * The daemon's control socket: a Unix stream socket on which kcpctl asks (control/control_msg.h). It lives in the
 * daemon's loop and never waits for anybody. What the verbs do, the daemon says by an ops table.
 *
 * How the daemon uses it:
 *
 *   control_server_new()            after the configuration is read; listens at once
 *   control_server_state_changed()  whenever a peer's or the link's state changes; only marks, may be called anywhere
 *   control_server_after_round()    once after each round of the loop: answers `wait`s, feeds `log -f`
 *   control_server_free()           at the end: closes clients, removes the socket and its folder
 */
#ifndef VPND_CONTROL_SERVER_H
#define VPND_CONTROL_SERVER_H

#include "control/control_msg.h"
#include "core/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct control_server;
struct control_socket;
struct log_ring;
struct loop;

enum {
	CONTROL_CLIENTS_MAX = 64,
	CONTROL_OUT_BYTES = 64 << 20, /* that all clients together have not read yet */
};

/** The states of all peers. */
struct control_states {
	enum control_state network;
	struct control_peer_state {
		const char *name; /* lent, as long as no peer is removed */
		enum control_state state;
		bool awaited; /* enabled, and has endpoints */
	} * peers;	      /* freed by the server */
	size_t count;
	int64_t generation; /* of the configuration */
};

/**
 * What the verbs do. Each returns 0, or a negative enum err and then `err` filled (control_error_set()); if it is
 * left empty, the client hears err_str(). They are called from the loop and must not block. They may call
 * control_server_state_changed(), but neither control_server_free() nor the loop itself.
 */
struct control_ops {
	void *ctx;

	/**
	 * Brings up the link and the sessions of `peers` (empty = all enabled ones). An unknown name fails with
	 * control_error_no_peer() before anything is done. Nothing to do is a success with `*ret_changed` false.
	 */
	int (*up)(void *ctx, const struct control_strings *peers, bool *ret_changed,
		struct control_error *err);

	/** The opposite: peers empty = the link. */
	int (*down)(void *ctx, const struct control_strings *peers, bool *ret_changed,
		struct control_error *err);

	/**
	 * Fills the document but for its peers; the network's state is that of all of them.
	 *
	 * @status  came from control_status_init(); the server frees it, also on failure
	 */
	int (*status)(void *ctx, struct control_status *status, struct control_error *err);

	/** Adds one peer to the document; control_error_no_peer() if there is none of that name. */
	int (*status_peer)(void *ctx, const char *name, struct control_status *status,
		struct control_error *err);

	/**
	 * Adds the next peers to the document, which is made little by little: others may come and go meanwhile.
	 *
	 * @again   true: from the first one
	 * @most    at least 1
	 * @return  how many were added, 0 = there are no more, -ENOMEM
	 */
	int (*status_peers)(void *ctx, bool again, size_t most, struct control_status *status);

	/** What `wait` looks at: cheap even with very many peers. @ret_states: the server frees its list */
	int (*states)(void *ctx, struct control_states *ret_states);

	/**
	 * Reads the configuration again: all or nothing.
	 *
	 * @reload  zeroed; the server frees it
	 * @err     class CONTROL_ERROR_CONFIG for a bad file, with place and detail (the whole report)
	 * @return  also -EINPROGRESS: the outcome comes by control_server_reloaded(), later; or -EBUSY: another one is
	 *          under way, to be asked again after a round
	 */
	int (*reload)(
		void *ctx, bool dry_run, struct control_reload *reload, struct control_error *err);

	/**
	 * Adds or removes a peer while running: CONTROL_PEER_ADD or CONTROL_PEER_DEL, whose outcome is told as that of a
	 * reload.
	 *
	 * @return as `reload`; 0 also if there is nothing to do
	 */
	int (*change_peer)(void *ctx, const struct control_request *request,
		struct control_reload *reload, struct control_error *err);

	/** Sends a probe to a peer. @ret_ping  for pong() */
	int (*ping)(void *ctx, const char *peer, int64_t size, uint64_t *ret_ping,
		struct control_error *err);

	/** @return true if it was answered, or if `final` asks for what is known without an answer */
	bool (*pong)(void *ctx, const char *peer, uint64_t ping, bool final,
		struct control_ping *ret_ping);
};

struct control_server_config {
	const char *path; /* of the socket, at most 107 bytes */
	const int *
		passed_fd; /* listens already, in place of `path`: control_socket_adopt(); NULL = none */
	const char *network;	 /* name of the network */
	const char *version;	 /* of the daemon */
	const char *read_group;	 /* control.group */
	const char *admin_group; /* control.admin_group */
	uid_t trusted_uid; /* beside root, may write; (uid_t)-1 = nobody (what a daemon wants) */
	const struct log *log;	 /* may be NULL */
	struct log_ring *ring;	 /* for `log`; may be NULL; must outlive the server */
	int64_t (*cpu_us)(void); /* what this thread has worked, for tests; NULL = ask the kernel */
};

struct control_server_stats {
	uint64_t accepted; /* clients ever */
	uint64_t requests; /* answered, in any way */
	uint64_t
		bad_requests; /* not JSON, not a request, unknown method, bad parameters, too long */
	uint64_t denied;      /* refused by peer credentials */
	uint64_t evicted;     /* idle clients that had to go for a new one */
	uint64_t refused;     /* clients that found no place */
	uint64_t stalled;     /* clients that did not read */
	uint64_t shed;	      /* clients that had to go because all together read too little */
	size_t clients;	      /* now */
};

/**
 * Listens on the socket. Makes the last two folders of the path where they are missing; a socket on which nobody
 * answers is replaced. Strings of `config` are copied; `loop`, `ops` (copied, its ctx not), log and ring are borrowed.
 *
 * @err         says what, where and why on failure: E-CTL-12, or E-CTL-13 if a daemon answers there
 * @ret_server  owned by the caller
 * @return      0; -EADDRINUSE: a daemon answers there ("already running"); another negative errno
 */
int control_server_new(struct loop *loop, const struct control_server_config *config,
	const struct control_ops *ops, struct control_server **ret_server,
	struct control_error *err);

/** Closes all clients, removes the socket if it is still this one, and the folders that it made. NULL is fine. */
void control_server_free(struct control_server *server);

/** The socket in the file system; valid as long as the server. */
const struct control_socket *control_server_socket(const struct control_server *server);

/**
 * The outcome of the reload for which the op returned -EINPROGRESS.
 *
 * @rc      0 or a negative enum err
 * @reload  what was done; the caller's
 * @err     filled if `rc` is negative; the caller's
 */
void control_server_reloaded(struct control_server *server, int rc,
	const struct control_reload *reload, const struct control_error *err);

/** Says that states may have changed: waits are looked at in the next control_server_after_round(). Cheap. */
void control_server_state_changed(struct control_server *server);

/** Answers the waits whose state holds and sends new log lines to clients that follow. */
void control_server_after_round(struct control_server *server);

/**
 * After a reload: looks the groups up again, and judges the clients by them. Who may open the socket stays as it was made:
 * giving it to another group takes a right that was given up by then.
 *
 * @return 0 or -ENOMEM
 */
int control_server_set_admin_group(struct control_server *server, const char *admin_group);

const struct control_server_stats *control_server_stats(const struct control_server *server);

#endif
