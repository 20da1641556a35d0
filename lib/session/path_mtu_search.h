/*
 * The search of path_mtu.h: what is probed next, and what an answer or its absence means. path_mtu.c tells it what happens; nobody
 * else calls it. Its own way to time, path_mtu_on_deadline(), is in its file, too.
 */
#ifndef SESSION_PATH_MTU_SEARCH_H
#define SESSION_PATH_MTU_SEARCH_H

#include "session/path_mtu.h"

/** Nothing is known about this path but that it carries the base. */
void path_mtu_search_forget(struct path_mtu *mtu);

/** The size to try first in the next step, before the table. @tries  probes that may be lost: 1, or PATH_MTU_PROBES */
void path_mtu_search_guess(struct path_mtu *mtu, uint16_t size, uint8_t tries);

/** Goes on with the guess, the table or the middle, or settles. */
void path_mtu_search_next_step(struct path_mtu *mtu, struct mono now);

/** All sizes up to the limit are in question again. */
void path_mtu_search_more(struct path_mtu *mtu, struct mono now);

/** A probe of this size has passed. */
void path_mtu_search_confirm(struct path_mtu *mtu, uint16_t size, struct mono now);

/** STALLED: something came back, so the step begins anew. */
void path_mtu_search_resume(struct path_mtu *mtu, struct mono now);

/** The size in use may not pass any more: begins to verify. A step that is interrupted keeps `probe` and begins anew afterwards. */
void path_mtu_search_doubt(struct path_mtu *mtu, struct mono now);

/** VERIFYING: the size in use passes. */
void path_mtu_search_end_doubt(struct path_mtu *mtu, struct mono now);

/** What is in use now. */
void path_mtu_search_set_size(struct path_mtu *mtu, uint16_t size);

/** Losses in a row are over. */
void path_mtu_search_clear_losses(struct path_mtu *mtu);

/** Whether nothing is known about this size: above what passes, below what fails. */
bool path_mtu_search_open_to(const struct path_mtu *mtu, uint16_t size);

#endif
