/* Keys as bytes: makes them, puts them into new files, derives public halves. The one part of kcpctl that calls libsodium. */
#ifndef CLI_KEY_H
#define CLI_KEY_H

#include "config/config_key.h"

enum key_kind {
	KEY_PRIVATE, /* X25519, clamped */
	KEY_SHARED,  /* 32 random bytes: a preshared key or a network key */
};

/**
 * Makes a key and writes it into a new file of mode 0600, complete and on disk or not at all. Whatever stands at `path`
 * already stays.
 *
 * @ret_public  the public half in base64; untouched for KEY_SHARED and on failure
 * @return      0; -EEXIST; -EIO if libsodium fails; another negative errno of making the file
 */
int key_make(enum key_kind kind, const char *path, char ret_public[CONFIG_KEY_TEXT_BYTES]);

/**
 * The public half of the private key in a file.
 *
 * @path      "-" = standard input
 * @ret_mode  permission bits of the file, 0 for standard input
 * @return    0; -EBADMSG if it holds no key; -EIO if libsodium fails; a negative errno of reading
 */
int key_read_public(const char *path, char ret_public[CONFIG_KEY_TEXT_BYTES], unsigned *ret_mode);

/** For config_reader.public_half. @ctx  unused */
int key_public_half(void *ctx, const uint8_t private_key[CONFIG_KEY_BYTES],
	uint8_t ret_public_key[CONFIG_KEY_BYTES]);

#endif
