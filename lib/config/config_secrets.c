/*
 * A mapping of its own, because locking works by pages, and a page shared with other allocations would be
 * unlocked with them. It is sized once: nothing moves, so no copy of a key is left behind. That the pages
 * cannot be locked is no failure: a host with encrypted swap or none may say so.
 */
#include "config/config_secrets.h"

#include "config/config_reader.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct config_secrets {
	size_t mapped_bytes;
	size_t count, capacity;
	bool locked;
	uint8_t keys[][CONFIG_KEY_BYTES];
};

int secrets_new(size_t count, struct config_secrets **ret_secrets)
{
	size_t bytes = sizeof(struct config_secrets) + count * CONFIG_KEY_BYTES;
	struct config_secrets *secrets =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (secrets == MAP_FAILED)
		return -ENOMEM;
	(void)madvise(secrets, bytes, MADV_DONTDUMP);
	bool locked = mlock(secrets, bytes) == 0;
	secrets->mapped_bytes = bytes;
	secrets->capacity = count;
	secrets->locked = locked;
	*ret_secrets = secrets;
	return 0;
}

uint8_t *secrets_add(struct config_secrets *secrets)
{
	assert(secrets->count < secrets->capacity);
	return secrets->keys[secrets->count++];
}

bool secrets_locked(const struct config_secrets *secrets)
{
	return secrets->locked;
}

void secrets_free(struct config_secrets *secrets)
{
	if (!secrets)
		return;
	size_t bytes = secrets->mapped_bytes;
	explicit_bzero(secrets, bytes);
	(void)munmap(secrets, bytes);
}
