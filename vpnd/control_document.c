/*
 * Peers are asked for a few at a time, and only their text is kept. What stands before them in the document comes last: the
 * network's state is that of all its peers. So the document is not of one instant, but every peer's part is, and it is no
 * older than the answer took.
 *
 * Sharing: a text has holders, the document itself and each client to which it is being sent. When it is outdated, another
 * text begins, and the old one lives as long as somebody reads it. `total` is what all of them take; who bounds it is the
 * server.
 */
#include "vpnd/control_document.h"

#include "control/control_msg.h"
#include "control/control_status.h"
#include "vpnd/control_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	PEERS_PER_STEP = 8, /* between two looks at the clock */
	FIRST_BYTES = 4096,
};

static const char END[] = "}\n"; /* of the answer */

/* ---- the text --------------------------------------------------------------------------------------------------- */

static struct control_text *text_new(size_t *total)
{
	struct control_text *text = calloc(1, sizeof(*text));

	if (!text)
		return NULL;
	text->holders = 1;
	text->total = total;
	return text;
}

struct control_text *control_text_hold(struct control_text *text)
{
	text->holders++;
	return text;
}

void control_text_release(struct control_text *text)
{
	if (!text || --text->holders > 0)
		return;
	*text->total -= text->capacity;
	free(text->bytes);
	free(text);
}

/* @return 0; -ENOMEM; -EMSGSIZE: no client would take so long an answer */
static int append(struct control_text *text, const char *bytes)
{
	size_t len = strlen(bytes);

	if (text->capacity - text->len < len) {
		size_t capacity = text->capacity ? text->capacity : FIRST_BYTES;
		while (capacity - text->len < len)
			capacity *= 2;
		if (text->len + len > CONTROL_RESPONSE_MAX_BYTES)
			return -EMSGSIZE;
		char *grown = realloc(text->bytes, capacity);
		if (!grown)
			return -ENOMEM;
		*text->total += capacity - text->capacity;
		text->bytes = grown;
		text->capacity = capacity;
	}
	memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
	return 0;
}

/* Gives back what is not used. */
static void trim(struct control_text *text)
{
	char *bytes = realloc(text->bytes, text->len);

	if (!bytes)
		return;
	*text->total -= text->capacity - text->len;
	text->bytes = bytes;
	text->capacity = text->len;
}

/* ---- the document ----------------------------------------------------------------------------------------------- */

static void forget(struct control_document *d)
{
	control_text_release(d->text);
	free(d->head);
	d->text = NULL;
	d->head = NULL;
	d->making = false;
}

void control_document_fini(struct control_document *d)
{
	forget(d);
}

static bool good(const struct control_document *d, struct mono now)
{
	if (d->making && d->peers == 0)
		return true; /* all of it is still to come */
	if (d->stale || !(d->making || (d->head && d->large)))
		return false;
	return mono_diff_us(now, d->began_at) <= CONTROL_DOCUMENT_FRESH_US;
}

uint64_t control_document_wanted(const struct control_document *d, struct mono now)
{
	return d->number + !good(d, now);
}

bool control_document_ready(const struct control_document *d, uint64_t number)
{
	return d->head && d->number >= number;
}

void control_document_outdate(struct control_document *d)
{
	d->stale = true;
}

int control_document_begin(struct control_document *d)
{
	forget(d);
	d->number++;
	d->text = text_new(&d->total);
	if (!d->text)
		return -ENOMEM;
	d->making = true;
	d->large = d->stale = false;
	d->peers = 0;
	return 0;
}

struct mono control_document_rest(struct control_document *d, struct mono now)
{
	if (d->text && !d->making && good(d, now))
		return mono_add_us(d->began_at, CONTROL_DOCUMENT_FRESH_US + 1);
	forget(d);
	return MONO_NEVER;
}

/* @return how many peers were added, 0 = there are no more; a negative enum err */
static int add_peers(struct control_document *d, const struct control_ops *ops)
{
	struct control_status some;
	int count;

	control_status_init(&some);
	count = ops->status_peers(ops->ctx, d->peers == 0, PEERS_PER_STEP, &some);
	for (size_t i = 0; count > 0 && i < some.peer_count; i++) {
		char *peer = control_peer_text(&some.peers[i]);
		int rc = !peer ? -ENOMEM : d->peers == 0 ? 0 : append(d->text, ",");
		if (!rc)
			rc = append(d->text, peer);
		free(peer);
		if (rc)
			count = rc;
		d->peers++;
	}
	control_status_fini(&some);
	return count;
}

static int finish(
	struct control_document *d, const struct control_ops *ops, struct control_error *err)
{
	struct control_status status;
	char *before = NULL, *after = NULL;
	int rc;

	control_status_init(&status);
	rc = ops->status(ops->ctx, &status, err);
	if (!rc)
		rc = control_status_frame(&status, &before, &after);
	if (!rc)
		rc = append(d->text, after);
	if (!rc)
		rc = append(d->text, END);
	if (!rc) {
		trim(d->text);
		d->head = before;
		d->making = false;
		before = NULL;
	}
	free(before);
	free(after);
	control_status_fini(&status);
	return rc;
}

int control_document_step(struct control_document *d, const struct control_ops *ops,
	struct cpu_share *share, struct mono now, struct control_error *err)
{
	int count = 1, rc = 0;

	while (count > 0) {
		if (!cpu_share_left(share, now)) {
			d->large = d->peers > 0;
			return 0;
		}
		if (d->peers == 0) {
			d->began_at = now;
			d->stale = false;
		}
		cpu_share_begin(share);
		count = add_peers(d, ops);
		if (count == 0)
			rc = finish(d, ops, err);
		cpu_share_end(share);
	}
	if (count < 0)
		rc = count;
	if (!rc)
		return 1;
	if (rc == -EMSGSIZE)
		control_error_set(err, CONTROL_ERROR_OTHER, CONTROL_CODE_FAILED,
			"the status of all peers is longer than %d bytes",
			CONTROL_RESPONSE_MAX_BYTES);
	forget(d);
	return rc;
}
