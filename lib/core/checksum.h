/* The Internet checksum, whole and by its change. Sums are kept as the 16-bit values of network byte order. */
#ifndef CORE_CHECKSUM_H
#define CORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/**
 * Adds bytes to a running sum, as if they began at an even offset.
 *
 * @sum     0, or what an earlier call gave; pieces before the last have an even length
 * @return  the running sum, to be given to the next call or to checksum_finish()
 */
uint32_t checksum_add(uint32_t sum, const void *bytes, size_t len);

/** Folds a running sum. @return the checksum in host order, to be stored big-endian */
uint16_t checksum_finish(uint32_t sum);

/** Adds the pseudo header of TCP, UDP and ICMPv6. @address_bytes 4 or 16 */
uint32_t checksum_add_pseudo(uint32_t sum, const uint8_t *src, const uint8_t *dst,
	size_t address_bytes, uint8_t protocol, uint32_t payload_bytes);

/**
 * The checksum after one aligned 16-bit word changed.
 *
 * For two bytes at an odd offset swap the bytes of both words: the sum does not mind where a carry goes.
 *
 * Source: RFC 1624, equation 3.
 */
uint16_t checksum_adjust(uint16_t checksum, uint16_t old_word, uint16_t new_word);

#endif
