/*
 * Keys as people handle them: WireGuard's form, 32 bytes in base64, one line in a file.
 *
 * Texts of secret keys are read and written without branches or table look-ups that depend on them.
 */
#ifndef CONFIG_KEY_H
#define CONFIG_KEY_H

#include "config/config_reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CONFIG_KEY_FILE_MAX_BYTES = 256,  /* longer files hold no key */
	CONFIG_KEY_MODE_FORBIDDEN = 0137, /* a key file's mode is at most 0640 */
};

/**
 * Reads 44 characters of base64 that are exactly 32 bytes: one form per key, so that equal texts are
 * equal keys.
 *
 * @ret_key  untouched on failure
 * @return   0 or -EINVAL
 */
int config_key_parse(const char *text, size_t len, uint8_t ret_key[CONFIG_KEY_BYTES]);

/** The same for what a file holds: white space may follow the key. */
int config_key_parse_file(const char *data, size_t len, uint8_t ret_key[CONFIG_KEY_BYTES]);

/** Writes 44 characters and the terminator. @return `text` */
char *config_key_format(const uint8_t key[CONFIG_KEY_BYTES], char text[CONFIG_KEY_TEXT_BYTES]);

/**
 * Why nobody can have this public key: "is all zeros", "is a point of low order", ... NULL if it is fine.
 *
 * Source: RFC 7748, sections 5 and 7.
 */
const char *config_key_unusable(const uint8_t public_key[CONFIG_KEY_BYTES]);

/** True for 32 zero bytes, which are no secret. Takes the same time for every key. */
bool config_key_is_zero(const uint8_t key[CONFIG_KEY_BYTES]);

#endif
