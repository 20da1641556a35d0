/*
 * The status document of all peers as a text that clients share. Ten thousand peers are ten megabytes and a fifth of a
 * second of work, so it is made little by little between packets, once for all who wait for it.
 */
#ifndef VPND_CONTROL_DOCUMENT_H
#define VPND_CONTROL_DOCUMENT_H

#include "control/control_error.h"
#include "core/mono.h"
#include "vpnd/cpu_share.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control_ops;

enum {
	CONTROL_DOCUMENT_FRESH_US =
		250000, /* who asks later than that after its begin gets another one */
};

/** The part of an answer that is the same for all who get it: the peers and what follows, with the line's end. */
struct control_text {
	size_t holders;
	size_t *total; /* bytes of all such texts */
	char *bytes;
	size_t len, capacity;
};

/** @return `text`, held once more */
struct control_text *control_text_hold(struct control_text *text);

/** NULL is fine. The last one frees it. */
void control_text_release(struct control_text *text);

struct control_document {
	uint64_t number;	   /* of the latest one that was begun; 0 = none */
	bool making;		   /* it is not ready yet */
	bool large;		   /* it was not made at one go */
	bool stale;		   /* an order came after its begin */
	size_t peers;		   /* in it so far */
	struct mono began_at;	   /* its first peer */
	char *head;		   /* what stands before the peers; NULL = not ready */
	struct control_text *text; /* being made, or ready */
	size_t total;		   /* bytes of all texts that somebody holds */
};

void control_document_fini(struct control_document *document);

/**
 * @return  the number of the first document that is good enough for somebody who asks now: this one, if it is in the
 *          making, or large and ready, and nothing happened since that he may want to see; else the next one
 */
uint64_t control_document_wanted(const struct control_document *document, struct mono now);

/** True if the one of that number is ready. */
bool control_document_ready(const struct control_document *document, uint64_t number);

/** An order was carried out: who asks from now on gets a document that begins from now on. */
void control_document_outdate(struct control_document *document);

/** Begins the next one; its number counts even if it fails. @return 0 or -ENOMEM */
int control_document_begin(struct control_document *document);

/**
 * Nobody waits for one any more: lets go of it unless it may be wanted again soon.
 *
 * @return  when to ask that again, MONO_NEVER = there is nothing left
 */
struct mono control_document_rest(struct control_document *document, struct mono now);

/**
 * Goes on with the one in the making for as long as the share allows.
 *
 * @err     filled on failure, if there is anything to say
 * @return  1: ready; 0: the share is used up; a negative enum err: it cannot be made, and is not in the making any more
 */
int control_document_step(struct control_document *document, const struct control_ops *ops,
	struct cpu_share *share, struct mono now, struct control_error *err);

#endif
