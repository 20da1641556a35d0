/* The slots that encoders, decoders and tuners of a node take from one shared pool. */
#ifndef FEC_SLOT_H
#define FEC_SLOT_H

#include <stddef.h>

enum {
	FEC_SLOT_OVERHEAD_BYTES =
		192, /* what a slot holds beside a packet: room around it, a group's state */
	FEC_SLOT_PACKET_BYTES_MIN = 960, /* a slot also has to hold the samples of the tuner */
};

/**
 * The slot size of a pool for packets of at most `packet_bytes`, counted from the FEC header on (at most
 * FEC_PACKET_BYTES_MAX). A larger one is fine; two sessions with different packet sizes may share the larger.
 */
#define FEC_SLOT_BYTES(packet_bytes)                                                           \
	(FEC_SLOT_OVERHEAD_BYTES + ((size_t)(packet_bytes) > (size_t)FEC_SLOT_PACKET_BYTES_MIN \
						   ? (size_t)(packet_bytes)                    \
						   : (size_t)FEC_SLOT_PACKET_BYTES_MIN))

enum {
	FEC_PACKET_BYTES_MAX = 65535, /* lengths are kept in 16 bits */
};

#endif
