/*
 * ISA-L has several CRC-32 with different conventions. crc32_gzip_refl is the reflected one and does both inversions
 * itself, so that the value before the first byte is 0; crc32_ieee is another, unreflected code.
 *
 * Standards: IEEE 802.3, 3.2.9; RFC 1952, section 8.
 */
#include "crypto/crc32.h"

#include <isa-l/crc.h>

uint32_t crc32_of(const void *bytes, size_t len)
{
	return crc32_gzip_refl(0, bytes, len);
}
