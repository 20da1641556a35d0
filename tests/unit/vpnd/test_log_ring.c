#include "vpnd/log_ring.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

Test(log_ring, keeps_the_last_lines)
{
	struct log_ring *ring = calloc(1, sizeof(*ring));

	cr_assert_eq(log_ring_first(ring), 0);
	cr_assert_eq(log_ring_at(ring, 0), NULL);
	for (int i = 0; i < LOG_RING_LINES + 10; i++) {
		char text[16];
		snprintf(text, sizeof(text), "%d", i);
		log_ring_push(ring, i, LOG_LEVEL_INFO, text);
	}
	cr_assert_eq(log_ring_first(ring), 10);
	cr_assert_eq(log_ring_at(ring, 9), NULL);
	cr_assert_str_eq(log_ring_at(ring, 10)->text, "10");
	cr_assert_str_eq(log_ring_at(ring, LOG_RING_LINES + 9)->text, "1009");
	cr_assert_eq(log_ring_at(ring, LOG_RING_LINES + 10), NULL);
	log_ring_fini(ring);
	free(ring);
}
