/*
 * The one door to the file system: every file that makes a configuration, and every list of files,
 * comes through it.
 *
 * The library itself opens nothing. Who loads a configuration says how files are reached: by the
 * default reader, from memory, or from a record of what another process read. A load asks the same
 * questions in the same order whenever it gets the same answers, so that a reader which writes down all
 * answers and one which gives them again make the same configuration.
 *
 * Paths are absolute or relative to the working directory, and come as they would be opened, but for
 * key files that are named "credential:NAME": those come in that form, and the reader knows the folder.
 */
#ifndef CONFIG_READER_H
#define CONFIG_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CONFIG_KEY_BYTES = 32,
	CONFIG_KEY_TEXT_BYTES = 45,	 /* base64 with the terminator */
	CONFIG_READER_PATH_BYTES = 4096, /* longest path, with the terminator */
};

/** What a path in "credential:NAME" begins with: the file NAME in $CREDENTIALS_DIRECTORY. */
#define CONFIG_CREDENTIAL_PREFIX "credential:"

struct config;

/** Flags of config_reader.read_file. */
enum config_read_flag {
	CONFIG_READ_SECRET = 1 << 0,  /* leave no copy of the bytes behind */
	CONFIG_READ_REGULAR = 1 << 1, /* nothing but a regular file will do: -EINVAL for others */
};

/** How somebody else than root and the user of this process may change a file. */
enum config_exposure {
	CONFIG_EXPOSED_NOT,    /* not at all, or nobody looked */
	CONFIG_EXPOSED_OWNER,  /* it is somebody else's */
	CONFIG_EXPOSED_MODE,   /* its group or others may write it */
	CONFIG_EXPOSED_FOLDER, /* a folder on the way to it is, so it can be replaced */
};

/** What the kernel says about a file that was read, taken from the open file. */
struct config_file_stat {
	bool regular;  /* false: its modes say nothing about who can read it */
	unsigned mode; /* permission bits 07777; 0 where unknown */
	enum config_exposure exposure;
};

/**
 * What is laid over the files: peers that came or went while running. Files win: a peer of `text` that they have, too, is
 * left out.
 */
struct config_overlay {
	const char *text; /* YAML, as config_peers_write() makes it; NULL = none */
	size_t len;
	const char *const *without; /* names of peers of the files that are left out */
	size_t without_count;
};

/** How files are reached. Results are malloc'ed and taken by the caller, who wipes secrets. */
struct config_reader {
	void *ctx;
	/**
	 * Reads a whole file.
	 *
	 * @max_bytes  -EFBIG if it is longer
	 * @flags      set of enum config_read_flag
	 * @ret_data   not terminated; all three results are untouched on failure
	 * @return     0 or a negative errno
	 */
	int (*read_file)(void *ctx, const char *path, size_t max_bytes, unsigned flags,
		char **ret_data, size_t *ret_len, struct config_file_stat *ret_stat);
	/**
	 * Expands a pattern of glob(7), sorted.
	 *
	 * @ret_paths  malloc'ed paths, to be given to read_file; no match is 0 paths and success
	 * @return     0 or a negative errno
	 */
	int (*list_files)(void *ctx, const char *pattern, char ***ret_paths, size_t *ret_count);
	/**
	 * X25519 of a private key and the base point: the library has no cryptography of its own.
	 * NULL: config->public_key is left out, and whether a peer carries the network's own key is
	 * not judged.
	 *
	 * @return  0 or a negative errno
	 */
	int (*public_half)(void *ctx, const uint8_t private_key[CONFIG_KEY_BYTES],
		uint8_t ret_public_key[CONFIG_KEY_BYTES]);
	/** Judges a program that the configuration names, as config_path_exposure(). NULL: it is not judged. */
	enum config_exposure (*exposure)(void *ctx, const char *path);
	/** true: key files are not read (for who only shows a configuration). */
	bool skip_secrets;
	const struct config_overlay *overlay; /* lent; NULL = none */
	/**
	 * What is in force, for a reload: keys that take a restart (CONFIG_EFFECT_RESTART) keep the value
	 * that they have there, with a warning, and all is checked with that. Lent; NULL = the files alone.
	 */
	const struct config *in_force;
};

/**
 * Judges who may change a file: its owner and mode, and those of all folders on the way to it, links followed. A folder that
 * everybody may write and that is sticky (/tmp) is no way to replace it.
 *
 * @return  CONFIG_EXPOSED_NOT also if it is not there
 */
enum config_exposure config_path_exposure(const char *path);

/** "it belongs to another user than root", ... Static. */
const char *config_exposure_str(enum config_exposure exposure);

/**
 * open, read, glob; credentials in $CREDENTIALS_DIRECTORY. Refuses what is not a regular file (-EINVAL):
 * it never waits for a device or for a pipe's writer; and a link that somebody else may have laid (-ELOOP): it would read
 * for him what he may not. Without `public_half`. Static: copy it to change it.
 */
const struct config_reader *config_reader_default(void);

/** The same without key files: for a reader who need not be allowed to read keys. Static. */
const struct config_reader *config_reader_no_secrets(void);

#endif
