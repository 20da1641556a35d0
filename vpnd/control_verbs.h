/* What the control server's two files share: control_server.c (clients) and control_verbs.c (requests). Internal. */
#ifndef VPND_CONTROL_VERBS_H
#define VPND_CONTROL_VERBS_H

#include "core/list.h"
#include "vpnd/control_client.h"
#include "vpnd/control_document.h"
#include "vpnd/control_server.h"
#include "vpnd/control_socket.h"
#include "vpnd/control_watch.h"
#include "vpnd/cpu_share.h"
#include "vpnd/loop.h"

struct control_server {
	struct loop *loop;
	struct control_ops ops;
	struct control_socket socket;
	struct loop_watch listener;
	int spare_fd; /* given up to refuse a client when descriptors run out */
	const struct log *log;
	struct log_ring *ring;
	char *network;
	char *version;
	char *read_group;
	char *admin_group;
	gid_t read_gid;
	gid_t admin_gid;
	uid_t trusted_uid;
	struct list clients;
	struct list dead;
	struct control_client *
		reloader; /* waits for the reload under way; NULL = it has gone, or there is none */
	struct ucred reloader_peer;
	struct cpu_share share; /* what clients may cost the packets */
	struct control_document document;
	struct loop_timer work;	     /* goes on when there is something of the share again */
	struct control_watch watch;  /* what watchers were told */
	struct loop_timer watch_due; /* to look again; armed while somebody watches */
	struct loop_timer ping_due;  /* some probe counts as lost; armed while one waits */
	bool watch_look;	     /* `watch_due` came */
	bool pinging;		     /* some client waits for an answer to a probe */
	bool reload_waits;	     /* some client waits for its turn to reload */
	bool attention;		     /* a client did something since the last look after a round */
	uint64_t log_seen;	     /* the ring's next_seq at that look */
	bool changed;		     /* states may have changed since the waits were looked at */
	struct control_server_stats stats;
};

static inline struct control_client *control_server_client(struct list *node)
{
	return list_entry(node, struct control_client, node);
}

/** Closes a client at once; its memory lives until control_server.c reaps it. Twice is harmless. */
void control_server_drop(struct control_server *server, struct control_client *client);

/** Wakes the server up when there is something of the share again. */
void control_server_work_later(struct control_server *server);

/** Decodes, judges and answers one request. The client may be dropped by it. */
void control_verbs_handle(
	struct control_server *server, struct control_client *client, const char *line, size_t len);

/** Answers with an error; nothing is said to a notification (`id` is empty). */
void control_verbs_say_error(struct control_server *server, struct control_client *client,
	const char *id, const struct control_error *err);

/** Begins the reload of whoever waits for one, if none is under way any more. */
void control_verbs_retry_reload(struct control_server *server);

/** Goes on with the document that clients wait for, as far as the share allows, and answers them. */
void control_verbs_make_documents(struct control_server *server);

/** Looks at all waits and answers those whose state holds. */
void control_verbs_judge_waits(struct control_server *server);

/** Answers those whose probe came back, or is lost. */
void control_verbs_judge_pings(struct control_server *server);

/** Tells watchers what changed. */
void control_verbs_tell_watchers(struct control_server *server);

/** Queues an answer for a client, or a notification. @line  taken; NULL = could not be made */
void control_verbs_say(struct control_server *server, struct control_client *client, char *line);

/** Makes sure that a failed op is explained. */
void control_verbs_complete_error(struct control_error *err, int rc);

/* control_ping.c */
void control_ping_begin(struct control_server *server, struct control_client *client,
	struct control_request *request);

/** Sends a following client what it has not seen yet. */
void control_verbs_follow(struct control_server *server, struct control_client *client);

#endif
