/*
 * JSON Schema (draft-07), made of the tables that the programs themselves work by: of the YAML by the parser's own rows, of the
 * status by a table beside it that a test holds against real documents.
 *
 * YAML has values that JSON Schema sees as numbers or as texts depending on how they are written (25, 25s, auto), so most
 * scalars take both; what the range of a text is, only the parser knows (kcpctl config check).
 *
 * Standards: JSON Schema draft-07 (Core, Validation), which editors and python3-jsonschema understand.
 */
#include "cli/output.h"

#include "config/config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char DRAFT[] = "http://json-schema.org/draft-07/schema#";

/* Takes `value`; all of it is freed if anything fails in the end, by the root. */
static void put(json_t *object, const char *key, json_t *value, bool *failed)
{
	if (json_object_set_new(object, key, value))
		*failed = true;
}

static int print(const struct cli *cli, json_t *document, bool failed)
{
	int status = failed ? cli_fail(cli, EXIT_OTHER, "E-CLI-8", NULL, "out of memory")
			    : output_json(cli, document);

	json_decref(document);
	return status;
}

/* ---- the configuration --------------------------------------------------------------------------------------- */

static json_t *words_of(const struct config_row *row)
{
	json_t *array = json_array();
	char word[64];

	for (int i = 0; config_words_at(row->words, i, word, sizeof(word)); i++)
		(void)json_array_append_new(array, json_string(word));
	return array;
}

/* A number as it is, with its range; or a text: a word, a number with a unit, a number in hex. */
static void put_number(json_t *schema, const struct config_row *row, bool *failed)
{
	bool seconds = row->unit == CONFIG_UNIT_S;
	json_t *number = json_pack("{s:s}", "type", "integer");
	json_t *any = json_array();

	if (row->min || row->max) {
		put(number, "minimum", json_integer(row->min), failed);
		put(number, "maximum", json_integer(row->max), failed);
	}
	(void)json_array_append_new(any, number);
	if (row->words)
		(void)json_array_append_new(any, json_pack("{s:o}", "enum", words_of(row)));
	if (row->type == CONFIG_TYPE_DURATION)
		(void)json_array_append_new(
			any, json_pack("{s:s,s:s}", "type", "string", "pattern",
				     seconds ? "^[0-9]+(ms|s|m|h)?$" : "^[0-9]+(ms|s|m)?$"));
	if (row->type == CONFIG_TYPE_RATE)
		(void)json_array_append_new(any,
			json_pack("{s:s,s:s}", "type", "string", "pattern", "^[0-9]+[kMGT]?$"));
	if (row->flags & CONFIG_ROW_HEX)
		(void)json_array_append_new(any,
			json_pack("{s:s,s:s}", "type", "string", "pattern", "^0x[0-9a-fA-F]+$"));
	if (json_array_size(any) == 1) {
		*failed |= json_object_update(schema, number) != 0;
		json_decref(any);
	} else {
		put(schema, "anyOf", any, failed);
	}
}

static json_t *row_schema(const struct config_row *row)
{
	json_t *schema = json_object();
	bool failed = !schema;
	char description[512];

	(void)snprintf(description, sizeof(description), "%s%s%s%s", row->help,
		*config_unit_str(row->unit) ? " (" : "", config_unit_str(row->unit),
		*config_unit_str(row->unit) ? ")" : "");
	put(schema, "description", json_string(description), &failed);
	if (row->def && row->type != CONFIG_TYPE_STRINGS)
		put(schema, "default", json_string(row->def), &failed);
	switch (row->type) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_LONG:
	case CONFIG_TYPE_DURATION:
	case CONFIG_TYPE_RATE:
		put_number(schema, row, &failed);
		break;
	case CONFIG_TYPE_BOOL:
		put(schema, "type", json_string("boolean"), &failed);
		break;
	case CONFIG_TYPE_ENUM:
	case CONFIG_TYPE_WORD: {
		/* a word such as 16 or off is something else to many readers of YAML */
		json_t *words = words_of(row);
		char word[64];
		for (int i = 0; config_words_at(row->words, i, word, sizeof(word)); i++) {
			char *end;
			long number = strtol(word, &end, 10);
			if (!*end)
				(void)json_array_append_new(words, json_integer(number));
			if (!strcmp(word, "off"))
				(void)json_array_append_new(words, json_false());
		}
		put(schema, "enum", words, &failed);
		break;
	}
	case CONFIG_TYPE_STRING:
	case CONFIG_TYPE_NAME:
	case CONFIG_TYPE_DEVICE:
	case CONFIG_TYPE_PATH:
	case CONFIG_TYPE_KEY:
		put(schema, "type", json_string("string"), &failed);
		if (row->max)
			put(schema, "maxLength", json_integer(row->max), &failed);
		break;
	case CONFIG_TYPE_STRINGS:
	case CONFIG_TYPE_CIDRS:
	case CONFIG_TYPE_PREFIXES:
	case CONFIG_TYPE_LISTEN:
	case CONFIG_TYPE_ENDPOINTS:
		put(schema, "type", json_string("array"), &failed);
		put(schema, "items", json_pack("{s:s}", "type", "string"), &failed);
		break;
	}
	if (!failed)
		return schema;
	json_decref(schema);
	return NULL;
}

/* An object that takes its own keys and notes (x-...), and nothing else. */
static json_t *map_schema(void)
{
	return json_pack("{s:s,s:{},s:{s:{}},s:b}", "type", "object", "properties",
		"patternProperties", "^x-", "additionalProperties", 0);
}

/* Puts a row's schema where its key belongs, making the section if it is not there. */
static void put_row(json_t *map, const struct config_row *row, const char *key, bool *failed)
{
	const char *dot = strchr(key, '.');
	json_t *properties = json_object_get(map, "properties");
	char section[64];

	if (!dot) {
		put(properties, key, row_schema(row), failed);
		return;
	}
	(void)snprintf(section, sizeof(section), "%.*s", (int)(dot - key), key);
	if (!json_object_get(properties, section))
		put(properties, section, map_schema(), failed);
	put(json_object_get(json_object_get(properties, section), "properties"), dot + 1,
		row_schema(row), failed);
}

int output_schema_config(const struct cli *cli)
{
	size_t count;
	const struct config_row *rows = config_schema_rows(&count);
	static const char PEER[] = "peers.NAME.";
	json_t *root = map_schema();
	json_t *peer = map_schema();
	bool failed = !root || !peer;

	put(root, "$schema", json_string(DRAFT), &failed);
	put(root, "title", json_string("vpnd configuration, version 1"), &failed);
	put(root, "required", json_pack("[s]", "version"), &failed);
	for (size_t i = 0; !failed && i < count; i++) {
		if (rows[i].flags & CONFIG_ROW_PEER)
			put_row(peer, &rows[i], rows[i].key + strlen(PEER), &failed);
		else
			put_row(root, &rows[i], rows[i].key, &failed);
		if (rows[i].flags & CONFIG_ROW_INHERIT)
			put_row(peer, &rows[i], rows[i].key, &failed);
	}
	/* a peer of which nothing is said is written `name:` or `name: {}` */
	json_t *peers = json_pack("{s:s,s:{s:{},s:{s:[o,{s:s}]}},s:b,s:s}", "type", "object",
		"patternProperties", "^x-", "^(?!x-)[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$", "anyOf",
		peer, "type", "null", "additionalProperties", 0, "description", "by name");
	put(json_object_get(root, "properties"), "peers", peers, &failed);
	return print(cli, root, failed);
}

/* ---- the status ---------------------------------------------------------------------------------------------- */

enum shape {
	TEXT,	  /* a string */
	TEXT_OR,  /* a string or null */
	COUNT,	  /* an integer from 0, or null */
	REAL,	  /* a number from 0, or null */
	SHARE,	  /* 0..1 or null */
	TRUTH,	  /* true or false */
	TEXTS,	  /* list of strings */
	STATE,	  /* of a peer */
	NETSTATE, /* of the network */
	SOURCE,	  /* mtu_source */
	CODE,	  /* fec code */
	DROPS,	  /* counters by name */
};

struct field {
	const char *path; /* "interface.mtu"; below a peer without "peers" */
	enum shape shape;
};

static const struct field status_fields[] = {
	{"schema", TEXT},
	{"network", TEXT_OR},
	{"version", TEXT_OR},
	{"wire", TEXT_OR},
	{"public_key", TEXT_OR},
	{"state", NETSTATE},
	{"uptime_s", REAL},
	{"listen", TEXTS},
	{"interface.name", TEXT_OR},
	{"interface.ifindex", COUNT},
	{"interface.mtu", COUNT},
	{"interface.mtu_source", SOURCE},
	{"interface.addresses", TEXTS},
	{"interface.queues", COUNT},
	{"interface.offload", TRUTH},
	{"config.file", TEXT_OR},
	{"config.generation", COUNT},
	{"warnings", TEXTS},
};

static const struct field peer_fields[] = {
	{"name", TEXT},
	{"public_key", TEXT_OR},
	{"state", STATE},
	{"enabled", TRUTH},
	{"endpoint", TEXT_OR},
	{"endpoints", TEXTS},
	{"endpoint_moved_age_s", REAL},
	{"last_rx_age_s", REAL},
	{"handshake_age_s", REAL},
	{"rtt_ms", REAL},
	{"rtt_var_ms", REAL},
	{"path_mtu", COUNT},
	{"loss_raw_in", SHARE},
	{"loss_raw_out", SHARE},
	{"loss_residual_in", SHARE},
	{"queue_ms", REAL},
	{"aqm_drops", COUNT},
	{"aqm_marks", COUNT},
	{"retransmits", COUNT},
	{"rate_bps", COUNT},
	{"fec.out.code", CODE},
	{"fec.out.window", COUNT},
	{"fec.out.rate", REAL},
	{"fec.in.code", CODE},
	{"fec.in.window", COUNT},
	{"fec.in.rate", REAL},
	{"fec.recovered", COUNT},
	{"fec.wasted", COUNT},
	{"rx_bytes", COUNT},
	{"tx_bytes", COUNT},
	{"rx_packets", COUNT},
	{"tx_packets", COUNT},
	{"drops", DROPS},
	{"allowed_ips", TEXTS},
	{"warnings", TEXTS},
};

static json_t *shape_schema(enum shape shape)
{
	switch (shape) {
	case TEXT:
		return json_pack("{s:s}", "type", "string");
	case TEXT_OR:
		return json_pack("{s:[s,s]}", "type", "string", "null");
	case COUNT:
		return json_pack("{s:[s,s],s:i}", "type", "integer", "null", "minimum", 0);
	case REAL:
		return json_pack("{s:[s,s],s:i}", "type", "number", "null", "minimum", 0);
	case SHARE:
		return json_pack(
			"{s:[s,s],s:i,s:i}", "type", "number", "null", "minimum", 0, "maximum", 1);
	case TRUTH:
		return json_pack("{s:s}", "type", "boolean");
	case TEXTS:
		return json_pack("{s:s,s:{s:s}}", "type", "array", "items", "type", "string");
	case STATE:
		return json_pack(
			"{s:[s,s,s,s,s]}", "enum", "down", "connecting", "up", "degraded", "idle");
	case NETSTATE:
		return json_pack("{s:[s,s,s]}", "enum", "down", "up", "degraded");
	case SOURCE:
		return json_pack("{s:[s,s,s,n]}", "enum", "configured", "derived", "probed");
	case CODE:
		return json_pack("{s:[s,s,s,n]}", "enum", "off", "rs", "rlc");
	case DROPS:
		return json_pack("{s:s,s:{s:s,s:i}}", "type", "object", "additionalProperties",
			"type", "integer", "minimum", 0);
	}
	return NULL;
}

/* Every key is always there, and later versions may add some. */
static json_t *object_schema(void)
{
	return json_pack("{s:s,s:{},s:[]}", "type", "object", "properties", "required");
}

static void put_field(json_t *object, const char *path, json_t *schema, bool *failed)
{
	const char *dot = strchr(path, '.');
	json_t *properties = json_object_get(object, "properties");
	char key[64];

	(void)snprintf(key, sizeof(key), "%.*s", dot ? (int)(dot - path) : 63, path);
	if (!json_object_get(properties, key)) {
		*failed |= json_array_append_new(
				   json_object_get(object, "required"), json_string(key)) != 0;
		put(properties, key, dot ? object_schema() : schema, failed);
	}
	if (dot)
		put_field(json_object_get(properties, key), dot + 1, schema, failed);
}

int output_schema_status(const struct cli *cli)
{
	json_t *root = object_schema();
	json_t *peer = object_schema();
	bool failed = !root || !peer;

	put(root, "$schema", json_string(DRAFT), &failed);
	put(root, "title", json_string(CONTROL_STATUS_SCHEMA), &failed);
	for (size_t i = 0; i < sizeof(status_fields) / sizeof(status_fields[0]); i++)
		put_field(
			root, status_fields[i].path, shape_schema(status_fields[i].shape), &failed);
	for (size_t i = 0; i < sizeof(peer_fields) / sizeof(peer_fields[0]); i++)
		put_field(peer, peer_fields[i].path, shape_schema(peer_fields[i].shape), &failed);
	put_field(root, "peers", json_pack("{s:s,s:o}", "type", "array", "items", peer), &failed);
	put(json_object_get(root, "properties"), "schema",
		json_pack("{s:s}", "const", CONTROL_STATUS_SCHEMA), &failed);
	return print(cli, root, failed);
}
