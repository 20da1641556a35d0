/*
 * One row per configuration key: it feeds the parser, `config show`, reload and the manuals.
 */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
	CONFIG_TYPE_INT,      /* int */
	CONFIG_TYPE_LONG,     /* int64_t */
	CONFIG_TYPE_BOOL,     /* bool: true or false, nothing else */
	CONFIG_TYPE_ENUM,     /* int: the index of the word */
	CONFIG_TYPE_WORD,     /* char *: one of the words */
	CONFIG_TYPE_DURATION, /* int, milliseconds */
	CONFIG_TYPE_RATE,     /* int64_t, bit/s */
	CONFIG_TYPE_STRING,   /* char * */
	CONFIG_TYPE_NAME,     /* char *: [A-Za-z0-9._-], does not begin with '.' or '-' */
	CONFIG_TYPE_DEVICE,   /* char *: the name of a network interface */
	CONFIG_TYPE_PATH,    /* char *: made absolute against the folder of the file it stands in */
	CONFIG_TYPE_KEY,     /* char *: 32 bytes in base64, not secret */
	CONFIG_TYPE_STRINGS, /* struct config_strings */
	CONFIG_TYPE_CIDRS,   /* struct config_cidrs, host bits kept */
	CONFIG_TYPE_PREFIXES,  /* struct config_cidrs, host bits cleared, each once */
	CONFIG_TYPE_LISTEN,    /* struct config_listen */
	CONFIG_TYPE_ENDPOINTS, /* struct config_endpoints */
};

/** Unit of a bare number, and of `min` and `max`. */
enum config_unit {
	CONFIG_UNIT_NONE,
	CONFIG_UNIT_MS,
	CONFIG_UNIT_S,
	CONFIG_UNIT_BPS,
	CONFIG_UNIT_BYTES,
	CONFIG_UNIT_PERCENT,
	CONFIG_UNIT_PACKETS,
	CONFIG_UNIT_SHARDS,
};

enum config_row_flag {
	CONFIG_ROW_REQUIRED = 1 << 1, /* with CONFIG_ROW_NATIVE on that wire, else on both */
	CONFIG_ROW_SECRET = 1 << 2,   /* never printed */
	CONFIG_ROW_NATIVE = 1 << 3,   /* refused with `wire: kcp-go` */
	CONFIG_ROW_KCP_GO = 1 << 4,   /* refused with `wire: native` */
	CONFIG_ROW_INHERIT = 1 << 5,  /* also peers.NAME.<key>, which overrides it for one peer */
	CONFIG_ROW_PEER = 1 << 6,     /* a key of peers.NAME only */
	CONFIG_ROW_HEX = 1 << 7,      /* 0x... is accepted, too */
	CONFIG_ROW_KEY_FILE = 1 << 8, /* a file with a key: "credential:NAME" is accepted, too */
};

/** How a running daemon takes over a changed value; flags, several can be true at once. */
enum config_effect {
	CONFIG_EFFECT_LIVE = 1 << 0,	  /* read anew, nothing is disturbed */
	CONFIG_EFFECT_LINK = 1 << 1,	  /* the device's MTU is set anew */
	CONFIG_EFFECT_ADDRESSES = 1 << 2, /* addresses of the device are added or removed */
	CONFIG_EFFECT_ROUTES = 1 << 3,	  /* routes are withdrawn and installed anew */
	CONFIG_EFFECT_LISTEN = 1 << 4,	  /* listening sockets are opened anew */
	CONFIG_EFFECT_SESSIONS = 1 << 5,  /* every conversation starts anew */
	CONFIG_EFFECT_CONTROL = 1 << 6,	  /* who may change things by the control socket */
	CONFIG_EFFECT_LOG = 1 << 7,	  /* level or format of the log */
	CONFIG_EFFECT_RESTART = 1 << 8,	  /* needs a restart of the daemon */
};

struct config_row {
	const char *key; /* "interface.mtu", "peers.NAME.endpoints" */
	enum config_type type;
	enum config_unit unit;
	unsigned flags;
	int64_t min, max; /* in `unit`; for texts the length in bytes; unused if both are 0 */
	const char
		*words;	 /* "auto off": enum words, or words that stand for a number; NULL = none */
	const char *def; /* as it would be written; NULL = none; lists as "a b" */
	unsigned effects;     /* enum config_effect */
	uint16_t offset;      /* in struct config (in struct config_peer for CONFIG_ROW_PEER) */
	uint16_t peer_offset; /* CONFIG_ROW_INHERIT: in struct config_peer */
	const char *help;     /* one line for manuals and `config schema` */
};

/** @return all rows, by section, static. */
const struct config_row *config_schema_rows(size_t *ret_count);

/**
 * @path      "transport.queue"; inside a peer "peers.NAME.transport.queue" (literally NAME)
 * @return    the row, or NULL if there is no such key
 */
const struct config_row *config_schema_find(const char *path);

/** True if keys begin with `path` and a dot ("interface", "peers.NAME.session"). */
bool config_schema_is_section(const char *path);

/**
 * The key nearest to a mistyped one among those that may stand at `section` ("" = top level).
 *
 * @return   the last part of the key, or a whole path if the key belongs elsewhere; NULL if nothing
 *           is near. Static, or written into `buffer`.
 */
const char *config_schema_nearest(
	const char *section, const char *key, char *buffer, size_t buffer_len);

/** The nearest of the words in "a b c". @return written into `buffer`, or NULL. */
const char *config_words_nearest(
	const char *words, const char *word, char *buffer, size_t buffer_len);

/** The index of `word` in "a b c", or -1. */
int config_words_index(const char *words, const char *word);

/** Writes word number `index` of "a b c". @return `buffer`, or NULL if there are fewer. */
const char *config_words_at(const char *words, int index, char *buffer, size_t buffer_len);

/** "int", "bool", "CIDRs": for manuals. */
const char *config_type_str(enum config_type type);

/** "ms", "bytes", "" for none. */
const char *config_unit_str(enum config_unit unit);

#endif
