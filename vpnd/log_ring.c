/*
 * A ring of the last lines. A line's number never changes, so a reader that follows remembers one number and sees by
 * log_ring_first() whether it missed something. Slot = number modulo the ring's size.
 */
#include "vpnd/log_ring.h"

#include <stdlib.h>
#include <string.h>

void log_ring_push(struct log_ring *ring, int64_t time_ms, enum log_level level, const char *text)
{
	struct log_ring_line *line = &ring->lines[ring->next_seq++ % LOG_RING_LINES];

	free(line->text);
	*line = (struct log_ring_line){time_ms, level, strdup(text)};
}

uint64_t log_ring_first(const struct log_ring *ring)
{
	return ring->next_seq > LOG_RING_LINES ? ring->next_seq - LOG_RING_LINES : 0;
}

const struct log_ring_line *log_ring_at(const struct log_ring *ring, uint64_t seq)
{
	const struct log_ring_line *line = &ring->lines[seq % LOG_RING_LINES];

	if (seq < log_ring_first(ring) || seq >= ring->next_seq)
		return NULL;
	return line->text ? line : NULL;
}

void log_ring_fini(struct log_ring *ring)
{
	for (size_t i = 0; i < LOG_RING_LINES; i++)
		free(ring->lines[i].text);
	*ring = (struct log_ring){0};
}
