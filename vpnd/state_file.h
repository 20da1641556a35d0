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
	STATE_FILE_PAUSE_US =
		500000, /* between two writes; a change after a pause is written at once */
	STATE_FILE_MODE =
		0640, /* who starts the next worker is perhaps in its group, and reads it then */
};

/**
 * Reads NETWORK.peers in the folder, if it is there. Starts no thread. What fails is told as one warning, and the rest
 * runs without a file: then nothing is remembered over a restart, but all functions work.
 *
 * @folder_fd   taken; -1 = there is none (said already)
 * @loop, @log  lent
 * @ret_file    freed by state_file_free(), before the loop
 * @return      0 or -ENOMEM
 */
int state_file_open(struct loop *loop, int folder_fd, const char *network, const struct log *log,
	struct state_file **ret_file);

/** Writes what is not written yet, waiting for the disk, and frees. NULL is fine. */
void state_file_free(struct state_file *file);

/** @return false if nothing is known of this key */
bool state_file_find(const struct state_file *file, const uint8_t key[STATE_FILE_KEY_BYTES],
	struct kcpvpn_endpoint *ret_endpoint);

/** Remembers an address; beyond STATE_FILE_PEERS_MAX and without memory it does not. */
void state_file_set(struct state_file *file, const uint8_t key[STATE_FILE_KEY_BYTES],
	const struct kcpvpn_endpoint *endpoint);

/** Forgets all but these keys. @key_at gives key number 0..count-1 */
void state_file_keep(struct state_file *file,
	const uint8_t *(*key_at)(const void *ctx, size_t index), const void *ctx, size_t count);

/** True while nothing is kept over a restart: there is no folder, or the last write failed. */
bool state_file_failed(const struct state_file *file);

#endif
