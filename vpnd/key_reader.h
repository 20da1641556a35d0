/* How the daemon reads its configuration: as the library does by itself, and with public keys made from private ones. */
#ifndef VPND_KEY_READER_H
#define VPND_KEY_READER_H

struct config_reader;

/** config_reader_default() with `public_half`, so that a peer with the network's own key is told. Static. */
const struct config_reader *key_reader(void);

#endif
