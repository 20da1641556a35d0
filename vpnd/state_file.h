/*
 * Where peers were last proven to be, kept over a restart: a line for each with its public key and address, nothing
 * else, in one small text file a network. It is written whole beside the old one and put in its place, within a second
 * of a change, by a thread of its own, so that a slow disk holds up no packet.
 *
 * What the file says is a hint: whoever answers at an address still has to prove who he is. So a file that is cut,
 * damaged or missing costs nothing but time, and what does not read as it was written is skipped.
 */
#ifndef VPND_STATE_FILE_H
#define VPND_STATE_FILE_H

#include "kcpvpn/endpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;
struct loop;
struct state_file;

enum {
	STATE_FILE_KEY_BYTES = 32,
	STATE_FILE_PEERS_MAX = 65536,
	STATE_FILE_BYTES_MAX = 16 << 20, /* a longer file is not read */
	STATE_FILE_DELAY_US = 200000,	 /* changes of so long are written at once */
	STATE_FILE_MODE = 0600,
};

/**
 * The folder: `option` (--state), else the first of $STATE_DIRECTORY, else /var/lib/vpnd/NETWORK. The folder is
 * neither looked at nor made.
 *
 * @ret_path  malloc'ed
 * @return    0 or -ENOMEM
 */
int state_file_folder(const char *option, const char *network, char **ret_path);

/**
 * Reads FOLDER/NETWORK.peers, if it is there. A folder that is missing is made (mode 0700), not its parents but the
 * last. Whatever fails is told once as a warning and makes the rest run without a file: then nothing is remembered
 * over a restart, but all functions work.
 *
 * @loop, @log  lent
 * @ret_file    freed by state_file_free()
 * @return      0 or -ENOMEM
 */
int state_file_open(struct loop *loop, const char *folder, const char *network,
	const struct log *log, struct state_file **ret_file);

/** Writes what is not written yet, waiting for the disk, and frees. NULL is fine. */
void state_file_free(struct state_file *file);

/** @return false if nothing is known of this key */
bool state_file_find(const struct state_file *file, const uint8_t key[STATE_FILE_KEY_BYTES],
	struct kcpvpn_endpoint *ret_endpoint);

/** Remembers an address; beyond STATE_FILE_PEERS_MAX and without memory it does not. */
void state_file_set(struct state_file *file, const uint8_t key[STATE_FILE_KEY_BYTES],
	const struct kcpvpn_endpoint *endpoint);

/** Forgets all but these keys. @key_at gives key number 0..count-1, NULL = none. */
void state_file_keep(struct state_file *file,
	const uint8_t *(*key_at)(const void *ctx, size_t index), const void *ctx, size_t count);

/** Why nothing is remembered, for `status`; NULL if it is. Static or owned by the file. */
const char *state_file_trouble(const struct state_file *file);

#endif
