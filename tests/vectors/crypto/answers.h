/* Reading of known answers: JSON files with byte strings in hex. Every failure ends the test that asked. */
#ifndef TESTS_VECTORS_CRYPTO_ANSWERS_H
#define TESTS_VECTORS_CRYPTO_ANSWERS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/** An owned byte string with a terminating zero behind it; `bytes` is from malloc. */
struct answer_bytes {
	uint8_t *bytes;
	size_t len;
};

/** @return the document of TESTS_DIR "/vectors/data/" `file`; json_decref() it */
json_t *answers_load(const char *file);

/** @return the bytes of the hex string `name` of `object`, with `spare` bytes of room behind; free() them */
struct answer_bytes answer_hex(const json_t *object, const char *name, size_t spare);

/** @return the string `name` of `object`, borrowed; NULL if it has none */
const char *answer_text(const json_t *object, const char *name);

#endif
