/* Keys of one configuration in pages of their own: locked, kept out of core dumps, wiped at the end. */
#ifndef CONFIG_SECRETS_H
#define CONFIG_SECRETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_secrets;

/** Room for `count` keys, at least 1. @return 0 or -ENOMEM */
int secrets_new(size_t count, struct config_secrets **ret_secrets);

/** The next key's CONFIG_KEY_BYTES, zero until written. Valid until secrets_free(). Never more than `count`. */
uint8_t *secrets_add(struct config_secrets *secrets);

/** False if the kernel would not lock the pages (RLIMIT_MEMLOCK). */
bool secrets_locked(const struct config_secrets *secrets);

/** Wipes all keys. NULL is fine. */
void secrets_free(struct config_secrets *secrets);

#endif
