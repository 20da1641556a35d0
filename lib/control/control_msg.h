/*
 * The control socket's messages: JSON-RPC 2.0, one object a line, over a Unix stream socket. vpnd decodes requests
 * and encodes answers, kcpctl does the opposite.
 *
 *   method     parameters                                     result
 *   hello      protocol, version                              protocol, daemon, network
 *   up         peers [names], wait                            changed
 *   down       peers [names]                                  changed
 *   status     peer                                           the status document
 *   wait       peer, for "up"|"down"                          {} once the state holds
 *   reload     dry_run                                        added, changed, removed, settings, warnings, generation
 *   peer.list  -                                              the status document
 *   peer.add   peer, public_key, endpoints, allowed_ips       changed, warnings
 *   peer.del   peer                                           changed, warnings
 *   ping       peer, size, timeout_ms                         rtt_ms (null = lost), size, path_mtu
 *   watch      -                                              {}; then notifications "watch": events [control_event.h]
 *   log        lines, follow                                  lines [{time_ms, level, text}]; then notifications "log"
 *   version    -                                              as hello
 *
 * All parameters may be left out. An unknown parameter is an error: a program that asks for more than this daemon
 * knows must learn it. A request without an id is a notification and gets no answer; if it would only have asked for
 * something, nothing is done at all.
 */
#ifndef CONTROL_CONTROL_MSG_H
#define CONTROL_CONTROL_MSG_H

#include "control/control_error.h"
#include "control/control_status.h"
#include "control/control_strings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

enum {
	CONTROL_PROTOCOL = 1, /* changes when an old kcpctl would misread a new daemon */
	CONTROL_REQUEST_MAX_BYTES = 256 * 1024, /* with its line break */
	CONTROL_RESPONSE_MAX_BYTES = 64 << 20,	/* what kcpctl is ready to read as one line */
	CONTROL_ID_BYTES = 72,
	CONTROL_PEERS_MAX = 4096, /* names in one request */
	CONTROL_LOG_LINES_MAX = 1000,
	CONTROL_PREFIXES_MAX = 1024, /* allowed_ips, and endpoints, of a peer given at run time */
	CONTROL_PING_MS_MAX = 60000,
	CONTROL_PING_MS = 1000,
};

enum control_method {
	CONTROL_HELLO,
	CONTROL_METHOD_UP,
	CONTROL_METHOD_DOWN,
	CONTROL_STATUS,
	CONTROL_WAIT,
	CONTROL_RELOAD,
	CONTROL_PEER_LIST,
	CONTROL_PEER_ADD,
	CONTROL_PEER_DEL,
	CONTROL_PING,
	CONTROL_WATCH,
	CONTROL_LOG,
	CONTROL_VERSION,
};

struct control_request {
	char id[CONTROL_ID_BYTES]; /* the id as JSON text; "" = notification */
	enum control_method method;
	/* up, down: which; empty = all. status, wait: one or none. peer.add, peer.del, ping: one */
	struct control_strings peers;
	bool wait;	  /* up: answer when the peers are up */
	bool for_down;	  /* wait: for down, not for up */
	bool dry_run;	  /* reload: only say what would change */
	bool follow;	  /* log: send what comes later, too */
	int64_t lines;	  /* log: at most this many of the last lines, 0..CONTROL_LOG_LINES_MAX */
	int64_t protocol; /* hello: the client's; CONTROL_UNKNOWN = not said */
	char public_key[CONTROL_NAME_BYTES]; /* peer.add: base64; "" = none (kcp-go wire) */
	struct control_strings endpoints;    /* peer.add: "host:port" */
	struct control_strings allowed_ips;  /* peer.add */
	int64_t size; /* ping: of the probe's datagram in bytes of UDP payload; 0 = as small as can be */
	int64_t timeout_ms; /* ping: when it counts as lost, 1..CONTROL_PING_MS_MAX */
};

/** What a reload did, or would do. All zero is "nothing". */
struct control_reload {
	struct control_strings added;	/* names of peers */
	struct control_strings changed; /* names of peers */
	struct control_strings removed; /* names of peers */
	struct control_strings
		settings; /* keys outside of `peers`, for a person: "log.level: info -> debug" */
	struct control_strings warnings;
	int64_t generation; /* of the configuration that is in force afterwards */
	bool dry_run;
};

/** What came of one probe. */
struct control_ping {
	double rtt_ms; /* CONTROL_UNKNOWN = nothing came back in time */
	int64_t size; /* of its datagram, bytes of UDP payload; CONTROL_UNKNOWN on the kcp-go wire */
	int64_t path_mtu; /* bytes of UDP payload, as known now */
};

/** One line of the daemon's log. */
struct control_log_line {
	int64_t time_ms; /* wall clock, since 1970 */
	const char *level;
	const char *text;
};

void control_request_fini(struct control_request *request);
void control_reload_fini(struct control_reload *reload);

/** True for what only writers may ask: up, down, peer.add, peer.del, reload (also as a dry run: it reads files as root). */
bool control_request_writes(const struct control_request *request);

/** "hello", "up", ... */
const char *control_method_str(enum control_method method);

/**
 * Decodes one line. Any bytes are allowed.
 *
 * @line         without the line break; `len` bytes, need not end in a NUL
 * @ret_request  owned by the caller on success (control_request_fini()); on failure only `id` is set, to what an
 *               answer must carry ("null" if the id could not be read)
 * @err          says what is wrong on failure
 * @return       0 or -ERR_PROTOCOL, -ENOMEM
 */
int control_request_decode(const char *line, size_t len, struct control_request *ret_request,
	struct control_error *err);

/**
 * The encoders make one line with its line break and a NUL behind it, allocated; the caller frees it.
 *
 * @id       the request's id as JSON text, from control_request.id
 * @ret_len  without the NUL; may be NULL
 * @return   NULL = out of memory
 */
char *control_request_encode(const struct control_request *request, size_t *ret_len);
char *control_answer_hello(
	const char *id, const char *version, const char *network, size_t *ret_len);
char *control_answer_changed(const char *id, bool changed, size_t *ret_len);
/** Of peer.add and peer.del. */
char *control_answer_peer_changed(
	const char *id, bool changed, const struct control_strings *warnings, size_t *ret_len);
char *control_answer_ping(const char *id, const struct control_ping *ping, size_t *ret_len);
char *control_answer_empty(const char *id, size_t *ret_len);
char *control_answer_status(const char *id, const struct control_status *status, size_t *ret_len);
char *control_answer_reload(const char *id, const struct control_reload *reload, size_t *ret_len);
char *control_answer_error(const char *id, const struct control_error *err, size_t *ret_len);

/**
 * The beginning of an answer whose result is sent in pieces: after the rest of it, "}" and a line break end the line.
 *
 * @result_begin  how the result's text begins
 */
char *control_answer_begin(const char *id, const char *result_begin, size_t *ret_len);

/** @id  NULL makes the notification "log" for a client that follows */
char *control_answer_log(
	const char *id, const struct control_log_line *lines, size_t count, size_t *ret_len);

/** What kcpctl got back. */
struct control_answer {
	char id[CONTROL_ID_BYTES];  /* "" = a notification */
	bool failed;		    /* `error` says why */
	struct control_error error; /* owned */
	struct json_t *result; /* owned reference; parameters of a notification; NULL if failed */
};

/**
 * Decodes one line from the daemon. As careful as with requests: a path given by `--control` may lead anywhere.
 *
 * @ret_answer  owned by the caller on success: control_answer_fini()
 * @return      0 or -ERR_PROTOCOL, -ENOMEM
 */
int control_answer_decode(const char *line, size_t len, struct control_answer *ret_answer);
void control_answer_fini(struct control_answer *answer);

/** Reads the result of `hello`. Strings are cut to the buffers. @return 0 or -ERR_PROTOCOL */
int control_hello_from_json(const struct json_t *doc, int64_t *ret_protocol,
	char ret_daemon[CONTROL_NAME_BYTES], char ret_network[CONTROL_NAME_BYTES]);

/** Reads the result of `up` and `down`: false also if it makes no sense. */
bool control_changed_from_json(const struct json_t *doc);

/** Reads the warnings beside it. @ret_warnings is owned by the caller on success. @return 0, -ERR_PROTOCOL, -ENOMEM */
int control_warnings_from_json(const struct json_t *doc, struct control_strings *ret_warnings);

/** Reads the result of `ping`. @return 0 or -ERR_PROTOCOL */
int control_ping_from_json(const struct json_t *doc, struct control_ping *ret_ping);

/** Reads the result of `reload`. @ret_reload is owned by the caller on success. @return 0, -ERR_PROTOCOL, -ENOMEM */
int control_reload_from_json(const struct json_t *doc, struct control_reload *ret_reload);

/**
 * Walks the lines of a `log` result or notification.
 *
 * @ret_line  borrows its strings from `doc`
 * @return    0; -ENOENT behind the last line; -ERR_PROTOCOL
 */
int control_log_from_json(
	const struct json_t *doc, size_t index, struct control_log_line *ret_line);

#endif
