/* CRC-32 of IEEE 802.3 (reflected polynomial 0xEDB88320, initial value and final xor 0xFFFFFFFF;
 * zlib's crc32). */
#ifndef CRYPTO_CRC32_H
#define CRYPTO_CRC32_H

#include <stddef.h>
#include <stdint.h>

/** @return the checksum of `len` bytes; 0xCBF43926 for the nine bytes "123456789", 0 for none.
 * Never fails. */
uint32_t crc32_of(const void *bytes, size_t len);

#endif
