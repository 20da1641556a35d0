/* Damages an IP packet as a broken device in the middle would: so that the checksums of IP and UDP still hold. */
#ifndef LAB_PACKET_DAMAGE_H
#define LAB_PACKET_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Changes two bits of the payload of a UDP packet (or of any other IP packet behind its first header) such that the
 * one's complement sum stays: bits of the same place in two 16-bit words, one from 0 to 1, the other from 1 to 0.
 * A single flipped bit would be found by the kernel and be one more loss.
 *
 * @entropy  chooses the bits
 * @return   false if the packet has no two such bits (payload shorter than four bytes, or all words alike):
 *           nothing was changed
 */
bool packet_damage(uint8_t *packet, size_t len, uint64_t entropy);

#endif
