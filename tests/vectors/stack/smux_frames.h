/* Just enough of smux and of snappy's framing to see what a stream of kcptun holds. */
#ifndef TESTS_VECTORS_SMUX_FRAMES_H
#define TESTS_VECTORS_SMUX_FRAMES_H

#include <stddef.h>
#include <stdint.h>

enum smux_cmd {
	SMUX_SYN,
	SMUX_FIN,
	SMUX_PSH,
	SMUX_NOP,
	SMUX_UPD,
	SMUX_CMDS,
};

struct smux_tally {
	unsigned frames[SMUX_CMDS];
	uint32_t stream; /* of the first SYN or PSH */
	uint8_t data[16384];
	size_t data_len; /* bytes of all PSH frames of that stream */
};

/** Takes whole frames. Asserts that nothing is left and that each is well formed. @version  1 or 2 */
void smux_read(struct smux_tally *tally, int version, const uint8_t *bytes, size_t len);

/** Undoes snappy's framing format. Asserts that it is well formed. @return bytes put out, at most `max` */
size_t snappy_unframe(const uint8_t *in, size_t len, uint8_t *out, size_t max);

#endif
