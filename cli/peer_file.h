/* peers.d/NAME.yaml: the file that `peer add --save` writes and `peer del --save` removes. */
#ifndef CLI_PEER_FILE_H
#define CLI_PEER_FILE_H

#include "cli/cli.h"

struct config_draft;

enum {
	PEER_FILE_PATH_BYTES = 1024,
};

/** "FOLDER/peers.d/NAME.yaml", FOLDER being that of the network's file. @return false if it is too long */
bool peer_file_path(const char *config_file, const char *name, char path[PEER_FILE_PATH_BYTES]);

/**
 * Writes the peer into a new file, complete or not at all. One that says the same is left as it is.
 *
 * @ret_made  true: the file was not there before
 * @return    EXIT_OK or an exit status, and then the error has been told
 */
int peer_file_write(
	const struct cli *cli, const char *path, const struct config_draft *draft, bool *ret_made);

/**
 * Removes a file that peer_file_write() made and nobody added another peer to.
 *
 * @ret_removed  false: there is none
 * @return       as peer_file_write()
 */
int peer_file_remove(const struct cli *cli, const char *path, const char *name, bool *ret_removed);

#endif
