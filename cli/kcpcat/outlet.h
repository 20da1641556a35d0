/* Where received messages go: to stdout, back to their sender (-e), or nowhere (--sink). */
#ifndef KCPCAT_OUTLET_H
#define KCPCAT_OUTLET_H

#include "options.h"

struct outlet;

/** @options  must outlive the outlet   @return NULL out of memory */
struct outlet *outlet_new(const struct options *options, int64_t now_us);

/** Forgets all conversations; they are freed with their node, before or after. NULL is fine. */
void outlet_free(struct outlet *outlet);

/** Makes a conversation known; needed before anything else is done with it. @return 0 or -ENOMEM */
int outlet_add(struct outlet *outlet, struct kcpvpn_conv *conv);

/**
 * Takes what the conversation has received, as much as there is a place for. To be called for KCPVPN_EVENT_READABLE and
 * KCPVPN_EVENT_WRITABLE. What stdout does not take now stays in the conversation until outlet_serve().
 *
 * @return  0; or why its messages can never be echoed: -EMSGSIZE and what else kcpvpn_conv_send() says. The caller ends
 *          the conversation then
 */
int outlet_take(struct outlet *outlet, struct kcpvpn_conv *conv, int64_t now_us);

/** Closes the conversation, now or, where `read_first`, as soon as stdout has taken all that it received. */
void outlet_close(struct outlet *outlet, struct kcpvpn_conv *conv, bool read_first, int64_t now_us);

/** @return true while something received waits for stdout: call outlet_serve() when that is writable */
bool outlet_waits(const struct outlet *outlet);
void outlet_serve(struct outlet *outlet, int64_t now_us);

/** @return true once stdout cannot be written to any more; a message on stderr has said why, but for a reader that left */
bool outlet_broken(const struct outlet *outlet);

/** @return when a message was last taken; at first the time of outlet_new() */
int64_t outlet_moved_at_us(const struct outlet *outlet);
uint64_t outlet_sunk_bytes(const struct outlet *outlet);

#endif
