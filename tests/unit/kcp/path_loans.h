/* Messages that are lent to a path: each in memory of its own, which is overwritten and freed when it comes back. */
#ifndef TESTS_KCP_PATH_LOANS_H
#define TESTS_KCP_PATH_LOANS_H

#include "kcp/kcp_path.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct path_loans {
	uint64_t given;
	uint64_t over;
};

struct path_loan {
	struct path_loans *owner;
	size_t len;
	uint8_t bytes[];
};

/* For struct kcp_path_io. */
static inline void path_loans_over(void *ctx, void *loan)
{
	struct path_loan *l = loan;

	(void)ctx;
	memset(l->bytes, 0xdd, l->len);
	l->owner->over++;
	free(l);
}

/* As kcp_path_send(). */
static inline int path_loans_send(struct path_loans *loans, struct kcp_path *path,
	enum kcp_path_class class, uint32_t flow, const void *data, size_t len, struct mono now)
{
	struct path_loan *loan = malloc(sizeof(*loan) + len);
	int err;

	if (!loan)
		return -ENOMEM;
	*loan = (struct path_loan){.owner = loans, .len = len};
	memcpy(loan->bytes, data, len);
	loans->given++;
	err = kcp_path_lend(path, class, flow, loan->bytes, len, loan, now);
	if (err < 0) {
		loans->given--;
		free(loan);
	}
	return err;
}

#endif
