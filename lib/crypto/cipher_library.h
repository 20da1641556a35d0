/* One-time start of the libraries the ciphers come from. */
#ifndef CRYPTO_CIPHER_LIBRARY_H
#define CRYPTO_CIPHER_LIBRARY_H

/**
 * Starts libsodium and libgcrypt, and compares a known answer of each primitive with what this
 * machine computes.
 *
 * Only the first call works; later ones return its result. Any thread may call it. cipher_new() and
 * the derivations of pbkdf2.h call it themselves; a program calls it early to fail before it
 * touches the network. The program may start either library itself before this call.
 *
 * @return  0; -ENOSYS if a library is too old or does not start; -EIO if a known answer came out
 * wrong (broken CPU feature or library): nothing may be encrypted then.
 */
int cipher_library_init(void);

#endif
