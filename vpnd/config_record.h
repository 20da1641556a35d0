/*
 * What a load of the configuration read, written down by who may read the files and replayed by who may not
 * (config/config_reader.h). Records hold keys: they are wiped when freed.
 */
#ifndef VPND_CONFIG_RECORD_H
#define VPND_CONFIG_RECORD_H

#include "config/config_reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CONFIG_RECORD_BYTES_MAX = 256 << 20, /* of all files together */
	CONFIG_RECORD_PIECES_MAX = 1 << 17,  /* reads and lists of one load */
};

struct config_record {
	uint8_t *bytes; /* pieces, one behind the other; see config_record.c */
	size_t len;
	size_t room;
	size_t pieces;
	size_t next;   /* where the replay stands */
	bool failed;   /* no memory, or too much: what was recorded is of no use */
	bool borrowed; /* bytes are somebody else's memory, which is wiped all the same */
	const struct config_reader *base; /* lent */
};

/** @base  how files are read while recording; NULL for a replay */
void config_record_init(struct config_record *record, const struct config_reader *base);

/** Takes a record over that somebody else made. @bytes  lent until config_record_fini(), which wipes them */
void config_record_borrow(struct config_record *record, uint8_t *bytes, size_t len);

/** Wipes and frees. */
void config_record_fini(struct config_record *record);

/** A reader that reads by `base` and writes down what comes; `record` must stay in its place. */
struct config_reader config_record_writer(struct config_record *record);

/**
 * A reader that answers from the record; what is not in it is -EACCES. `record` must stay in its place.
 *
 * The record may come from anybody: it is checked while it is read. Set `public_half` in the result where it is wanted.
 */
struct config_reader config_record_replayer(struct config_record *record);

#endif
