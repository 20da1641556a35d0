/*
 * One connection to the control socket: bytes in, lines out of them; answers in, bytes out. It knows nothing of verbs;
 * the server that owns it does.
 */
#ifndef VPND_CONTROL_CLIENT_H
#define VPND_CONTROL_CLIENT_H

#include "control/control_msg.h"
#include "core/list.h"
#include "vpnd/control_access.h"
#include "vpnd/control_document.h"
#include "vpnd/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CONTROL_CLIENT_READ_BYTES = 64 * 1024,	/* at once, so that packets get their turn */
	CONTROL_CLIENT_WRITE_BYTES = 64 * 1024, /* likewise */
	CONTROL_CLIENT_LINES_PER_ROUND = 8,	/* likewise */
	CONTROL_CLIENT_OUT_BYTES = 8 << 20,	/* of its own answers that were not read yet */
	CONTROL_CLIENT_STALL_MS = 30 * 1000,	/* who reads nothing for so long is gone */
};

struct control_client {
	struct list node; /* of the server, least recently active first */
	struct loop *loop;
	struct loop_watch watch;
	struct loop_timer stall; /* armed while output is pending */
	void *owner;
	enum control_access access;
	struct ucred peer;

	char *in; /* received, from in_start to in_end */
	size_t in_start, in_end, in_capacity;
	size_t in_scanned; /* no line break before it */
	char *out;	   /* answers not sent yet, from out_start to out_end */
	size_t out_start, out_end, out_capacity;
	struct control_text *text; /* shared with others; comes after `out`; NULL = nothing */
	size_t text_sent;

	bool input_closed; /* the other side says no more, but may still listen */
	bool closing;	   /* say what is to be said, then close */
	bool dead;	   /* closed; the owner frees it once it is on no stack */

	/* kept by the server */
	bool held;    /* what it asks costs too much now: no line is taken */
	bool waiting; /* a request is not answered yet; later ones wait behind it */
	struct control_request wait_for; /* owned if `waiting` */
	bool wait_changed;		 /* what `up --wait` will answer */
	uint64_t wait_number;		 /* the first document that answers `status` */
	uint64_t ping;			 /* the probe whose answer it waits for */
	struct mono ping_until;		 /* and until when */
	bool watching;			 /* wants events */
	bool watch_told;		 /* has been told the states as they were at first */
	bool following;			 /* wants new log lines */
	uint64_t follow_seq;		 /* the next of them */
};

/** What control_client_line() found. */
enum control_client_input {
	CONTROL_CLIENT_LINE,	 /* a line */
	CONTROL_CLIENT_NO_LINE,	 /* not yet a whole one */
	CONTROL_CLIENT_TOO_LONG, /* CONTROL_REQUEST_MAX_BYTES and no end */
};

/**
 * Takes over a connected socket. Nothing is watched yet: set `watch.on_event` and `stall.on_due`, then
 * control_client_update().
 *
 * @fd      non-blocking; owned by the client on success
 * @return  NULL = out of memory
 */
struct control_client *control_client_new(struct loop *loop, int fd, void *owner);

/** Closes and unlinks; the memory stays until control_client_free(). Twice is harmless. */
void control_client_kill(struct control_client *client);

/** @client  killed before; NULL is fine */
void control_client_free(struct control_client *client);

/** Reads once, at most CONTROL_CLIENT_READ_BYTES. @return 0, -ECONNRESET if it is lost, -ENOMEM */
int control_client_read(struct control_client *client);

/**
 * Takes the next line that is not blank.
 *
 * @ret_line  without the line break, borrowed until the next read
 */
enum control_client_input control_client_line(
	struct control_client *client, const char **ret_line, size_t *ret_len);

/** A whole line lies in the buffer and may be taken when its turn comes. */
bool control_client_has_line(const struct control_client *client);

/**
 * Queues one answer and sends what goes. @line is taken (freed), NULL means that it could not be made. Not while a
 * shared text is pending: no request is taken meanwhile.
 *
 * @return  0; -ENOMEM; -ENOBUFS if too much is unread; -ECONNRESET if the connection is lost
 */
int control_client_say(struct control_client *client, char *line, size_t len);

/**
 * The same for an answer whose end is shared with others.
 *
 * @head  how it begins; taken; NULL = could not be made
 * @text  the rest; held by the client until it is sent
 */
int control_client_say_shared(
	struct control_client *client, char *head, size_t len, struct control_text *text);

/** Sends what goes, at most CONTROL_CLIENT_WRITE_BYTES. @return 0 or -ECONNRESET */
int control_client_flush(struct control_client *client);

/** @return bytes that wait to be sent */
size_t control_client_pending(const struct control_client *client);

/** Asks the loop for the events that matter now. @return 0 or a negative errno */
int control_client_update(struct control_client *client);

/** True if nothing more can come of it: input over or unwanted, all said. */
bool control_client_finished(const struct control_client *client);

#endif
