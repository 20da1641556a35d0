/*
 * Values by type. YAML's own typing is not used: a text becomes a number, a duration or a name because the
 * key's row says so. Here are texts and lists; config_scalar.c has what becomes a number.
 */
#include "config/config_value.h"

#include "config/config_address.h"
#include "config/config_key.h"
#include "config/config_scalar.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
	SHOWN_MAX = VALUE_SHOWN_MAX,
	CREDENTIAL_MAX = 255, /* bytes of a file name */
};

int value_refuse(struct value_problem *problem, enum config_code code, const char *note,
	const char *format, ...)
{
	va_list args;

	problem->code = code;
	va_start(args, format);
	(void)vsnprintf(problem->text, sizeof(problem->text), format, args);
	va_end(args);
	(void)snprintf(problem->note, sizeof(problem->note), "%s", note);
	return -EINVAL;
}

bool value_is_list(enum config_type type)
{
	switch (type) {
	case CONFIG_TYPE_STRINGS:
	case CONFIG_TYPE_CIDRS:
	case CONFIG_TYPE_PREFIXES:
	case CONFIG_TYPE_LISTEN:
	case CONFIG_TYPE_ENDPOINTS:
		return true;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_LONG:
	case CONFIG_TYPE_BOOL:
	case CONFIG_TYPE_ENUM:
	case CONFIG_TYPE_WORD:
	case CONFIG_TYPE_DURATION:
	case CONFIG_TYPE_RATE:
	case CONFIG_TYPE_STRING:
	case CONFIG_TYPE_NAME:
	case CONFIG_TYPE_DEVICE:
	case CONFIG_TYPE_PATH:
	case CONFIG_TYPE_KEY:
		return false;
	}
	return false;
}

/* ---- texts ---------------------------------------------------------------------------------------------------- */

bool config_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (len < 1 || len > CONFIG_NAME_MAX || name[0] == '.' || name[0] == '-')
		return false;
	for (const char *at = name; *at; at++) {
		unsigned char c = (unsigned char)*at;
		if (c >= 0x80 || (!isalnum(c) && !strchr("._-", c)))
			return false;
	}
	return true;
}

static bool device_ok(const char *name)
{
	size_t len = strlen(name);

	if (len < 1 || len > CONFIG_DEVICE_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (const char *at = name; *at; at++) {
		/* '%' would make the kernel number the device, ':' is an alias to old tools */
		if (!isgraph((unsigned char)*at) || strchr("/:%\"\\", *at))
			return false;
	}
	return true;
}

static bool is_credential(const struct config_row *row, const char *path)
{
	return (row->flags & CONFIG_ROW_KEY_FILE) &&
	       strncmp(path, CONFIG_CREDENTIAL_PREFIX, strlen(CONFIG_CREDENTIAL_PREFIX)) == 0;
}

/* One file name, so that nothing outside the folder of credentials is meant. */
static bool credential_ok(const char *name)
{
	return *name && strlen(name) <= CREDENTIAL_MAX && !strchr(name, '/') &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static char *join_path(const struct config_row *row, const char *folder, const char *path)
{
	char *joined = NULL;

	if (path[0] == '/' || folder[0] == '\0' || is_credential(row, path))
		return strdup(path);
	bool slash = folder[strlen(folder) - 1] == '/';
	return asprintf(&joined, "%s%s%s", folder, slash ? "" : "/", path) < 0 ? NULL : joined;
}

/* Public keys: what nobody can have as theirs is refused here. Texts are not repeated: it may be the wrong key. */
static int check_public_key(const char *text, struct value_problem *problem)
{
	uint8_t key[CONFIG_KEY_BYTES];

	if (config_key_parse(text, strlen(text), key))
		return value_refuse(problem, CONFIG_E_VALUE, "",
			"not a key: 32 bytes in base64 are 44 characters that end in =; `kcpctl "
			"key pub FILE` prints it on the other side");
	const char *why = config_key_unusable(key);
	if (why)
		return value_refuse(problem, CONFIG_E_SECRET, "",
			"this key %s: it is nobody's public key; `kcpctl key pub FILE` prints it "
			"on the other side",
			why);
	return 0;
}

static int check_text(const struct config_row *row, const char *text, struct value_problem *problem)
{
	size_t len = strlen(text);

	if (row->flags & CONFIG_ROW_SECRET) {
		if (len == 0)
			return value_refuse(problem, CONFIG_E_SECRET, "", "the key is empty");
		if (len > (size_t)row->max)
			return value_refuse(problem, CONFIG_E_SECRET, "",
				"the key is longer than %d bytes", CONFIG_SECRET_MAX);
		if (strcmp(text, VALUE_HIDDEN) == 0)
			return value_refuse(problem, CONFIG_E_SECRET, "",
				"this is what `config show` writes in place of the key; put the "
				"key here");
		return 0;
	}
	if (row->type == CONFIG_TYPE_NAME) {
		if (!config_name_ok(text) || len > (size_t)row->max)
			return value_refuse(problem, CONFIG_E_NAME, "",
				"\"%.*s\" is not a name: 1 to %d of A-Z a-z 0-9 . _ -, the first "
				"no "
				". or -",
				SHOWN_MAX, text, (int)row->max);
		return 0;
	}
	if (row->type == CONFIG_TYPE_DEVICE) {
		if (!device_ok(text))
			return value_refuse(problem, CONFIG_E_NAME, "",
				"\"%.*s\" is not an interface name: 1 to %d characters, no / : %% "
				"or space",
				SHOWN_MAX, text, CONFIG_DEVICE_MAX);
		return 0;
	}
	if (row->type == CONFIG_TYPE_KEY)
		return check_public_key(text, problem);
	if (is_credential(row, text) && !credential_ok(text + strlen(CONFIG_CREDENTIAL_PREFIX)))
		return value_refuse(problem, CONFIG_E_VALUE, "",
			"\"%.*s\" is no credential: credential:NAME means the file NAME in "
			"$CREDENTIALS_DIRECTORY",
			SHOWN_MAX, text);
	if (row->max && ((int64_t)len < row->min || (int64_t)len > row->max))
		return value_refuse(
			problem, CONFIG_E_VALUE, "", "%s", len == 0 ? "is empty" : "is too long");
	for (const char *at = text; *at; at++) {
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return value_refuse(problem, CONFIG_E_VALUE, "",
				"a control character cannot be part of it");
	}
	return 0;
}

static int set_text(const struct config_row *row, const char *text, const char *folder, void *field,
	struct value_problem *problem)
{
	int error = check_text(row, text, problem);

	if (error)
		return error;
	char *copy = row->type == CONFIG_TYPE_PATH ? join_path(row, folder, text) : strdup(text);
	if (!copy)
		return -ENOMEM;
	value_clear(row, field);
	*(char **)field = copy;
	return 0;
}

/* ---- lists ---------------------------------------------------------------------------------------------------- */

/* Makes room for one more; capacities are powers of two, so the count alone tells when to grow. */
static void *grow(void *items, size_t count, size_t item_bytes)
{
	if (count & (count - 1))
		return items;
	return reallocarray(items, count ? 2 * count : 1, item_bytes);
}

static int add_string(const struct config_row *row, const char *text, struct config_strings *list,
	struct value_problem *problem)
{
	int error = check_text(row, text, problem);

	if (error)
		return error;
	char *copy = strdup(text);
	char **grown = copy ? grow(list->items, list->count, sizeof(*grown)) : NULL;
	if (!grown) {
		free(copy);
		return -ENOMEM;
	}
	list->items = grown;
	list->items[list->count++] = copy;
	return 0;
}

static int add_cidr(const struct config_row *row, const char *text, struct config_cidrs *list,
	struct value_problem *problem)
{
	struct ip_prefix cidr;
	char shown[IP_PREFIX_TEXT_BYTES];

	if (ip_prefix_parse(text, &cidr))
		return value_refuse(problem, CONFIG_E_ADDRESS, "",
			"\"%.*s\" is not an address with a prefix, such as 10.40.0.1/24 or "
			"fd40::1/64",
			SHOWN_MAX, text);
	if (row->type == CONFIG_TYPE_PREFIXES) {
		if (address_is_mapped(&cidr))
			return value_refuse(problem, CONFIG_E_ADDRESS, "",
				"%.*s is IPv4 in IPv6 form; write it as IPv4", SHOWN_MAX, text);
		ip_prefix_mask(&cidr);
	} else {
		const char *why = address_unusable(&cidr);
		if (why)
			return value_refuse(problem, CONFIG_E_ADDRESS, "",
				"%s cannot be an interface's address: it is %s",
				ip_prefix_format(&cidr, shown), why);
	}
	struct ip_prefix *grown = grow(list->items, list->count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	list->items = grown;
	list->items[list->count++] = cidr;
	return 0;
}

static int add_listen(const char *text, struct config_listen *list, struct value_problem *problem)
{
	struct kcpvpn_endpoint endpoint;

	if (address_parse_listen(text, &endpoint)) {
		if (text[0] == ':' && text[1] != ':')
			return value_refuse(problem, CONFIG_E_ENDPOINT, "",
				"\"%.*s\" lacks the address; for all of them write \"[::]%.*s\"",
				SHOWN_MAX, text, SHOWN_MAX, text);
		return value_refuse(problem, CONFIG_E_ENDPOINT, "",
			"\"%.*s\" is not a numeric address and a port, such as \"[::]:29900\" or "
			"192.0.2.1:29900",
			SHOWN_MAX, text);
	}
	for (size_t i = 0; i < list->count; i++) {
		const struct kcpvpn_endpoint *e = &list->items[i];
		if (e->family == endpoint.family && e->port == endpoint.port &&
			e->scope_id == endpoint.scope_id &&
			memcmp(e->address, endpoint.address, sizeof(e->address)) == 0)
			return value_refuse(problem, CONFIG_E_DUPLICATE, "", "%.*s is given twice",
				SHOWN_MAX, text);
	}
	struct kcpvpn_endpoint *grown = grow(list->items, list->count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	list->items = grown;
	list->items[list->count++] = endpoint;
	return 0;
}

static int add_endpoint(
	const char *text, struct config_endpoints *list, struct value_problem *problem)
{
	struct config_endpoint endpoint = {0};
	int error = config_endpoint_parse(text, &endpoint);

	if (error == -EINVAL)
		return value_refuse(problem, CONFIG_E_ENDPOINT, "",
			"\"%.*s\" is not a host and a port, such as vpn.example.net:29900, "
			"192.0.2.1:29900 or \"[2001:db8::1]:29900\"",
			SHOWN_MAX, text);
	if (error)
		return error;
	struct config_endpoint *grown = grow(list->items, list->count, sizeof(*grown));
	if (!grown) {
		free(endpoint.host);
		return -ENOMEM;
	}
	list->items = grown;
	list->items[list->count++] = endpoint;
	return 0;
}

/* ---- by type -------------------------------------------------------------------------------------------------- */

int value_set(const struct config_row *row, const char *text, const char *folder, void *field,
	struct value_problem *problem)
{
	int64_t number = 0;
	int index = 0;
	bool truth = false;
	int error = 0;

	switch (row->type) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_DURATION:
		error = scalar_parse_number(row, text, &number, problem);
		if (!error)
			*(int *)field = (int)number;
		return error;
	case CONFIG_TYPE_LONG:
	case CONFIG_TYPE_RATE:
		error = scalar_parse_number(row, text, &number, problem);
		if (!error)
			*(int64_t *)field = number;
		return error;
	case CONFIG_TYPE_BOOL:
		error = scalar_parse_bool(text, &truth, problem);
		if (!error)
			*(bool *)field = truth;
		return error;
	case CONFIG_TYPE_ENUM:
		error = scalar_parse_word(row, text, &index, problem);
		if (!error)
			*(int *)field = index;
		return error;
	case CONFIG_TYPE_WORD:
		error = scalar_parse_word(row, text, &index, problem);
		return error ? error : set_text(row, text, folder, field, problem);
	case CONFIG_TYPE_STRING:
	case CONFIG_TYPE_NAME:
	case CONFIG_TYPE_DEVICE:
	case CONFIG_TYPE_PATH:
	case CONFIG_TYPE_KEY:
		return set_text(row, text, folder, field, problem);
	case CONFIG_TYPE_STRINGS:
		return add_string(row, text, field, problem);
	case CONFIG_TYPE_CIDRS:
	case CONFIG_TYPE_PREFIXES:
		return add_cidr(row, text, field, problem);
	case CONFIG_TYPE_LISTEN:
		return add_listen(text, field, problem);
	case CONFIG_TYPE_ENDPOINTS:
		return add_endpoint(text, field, problem);
	}
	return -EINVAL;
}

int value_set_default(const struct config_row *row, void *field)
{
	const char *text = row->def;
	struct value_problem problem;
	char word[128];

	if (!text)
		return 0;
	if (!value_is_list(row->type))
		return value_set(row, text, "", field, &problem);
	for (int i = 0; config_words_at(text, i, word, sizeof(word)); i++) {
		int error = value_set(row, word, "", field, &problem);
		if (error)
			return error;
	}
	return 0;
}

void value_clear(const struct config_row *row, void *field)
{
	if (row->type == CONFIG_TYPE_STRINGS) {
		struct config_strings *list = field;
		for (size_t i = 0; i < list->count; i++)
			free(list->items[i]);
		free(list->items);
		*list = (struct config_strings){0};
	} else if (row->type == CONFIG_TYPE_ENDPOINTS) {
		struct config_endpoints *list = field;
		for (size_t i = 0; i < list->count; i++)
			free(list->items[i].host);
		free(list->items);
		*list = (struct config_endpoints){0};
	} else if (row->type == CONFIG_TYPE_CIDRS || row->type == CONFIG_TYPE_PREFIXES) {
		struct config_cidrs *list = field;
		free(list->items);
		*list = (struct config_cidrs){0};
	} else if (row->type == CONFIG_TYPE_LISTEN) {
		struct config_listen *list = field;
		free(list->items);
		*list = (struct config_listen){0};
	} else if (row->type == CONFIG_TYPE_STRING || row->type == CONFIG_TYPE_WORD ||
		   row->type == CONFIG_TYPE_NAME || row->type == CONFIG_TYPE_DEVICE ||
		   row->type == CONFIG_TYPE_PATH || row->type == CONFIG_TYPE_KEY) {
		char **text = field;
		if (*text && (row->flags & CONFIG_ROW_SECRET))
			explicit_bzero(*text, strlen(*text));
		free(*text);
		*text = NULL;
	}
}

static int assign_strings(
	const struct config_row *row, const struct config_strings *from, struct config_strings *to)
{
	struct config_strings copy = {0};

	for (size_t i = 0; i < from->count; i++) {
		char *text = strdup(from->items[i]);
		char **grown = text ? grow(copy.items, copy.count, sizeof(*grown)) : NULL;
		if (!grown) {
			free(text);
			value_clear(row, &copy);
			return -ENOMEM;
		}
		copy.items = grown;
		copy.items[copy.count++] = text;
	}
	value_clear(row, to);
	*to = copy;
	return 0;
}

int value_assign(const struct config_row *row, const void *from, void *to)
{
	switch (row->type) {
	case CONFIG_TYPE_STRINGS:
		return assign_strings(row, from, to);
	case CONFIG_TYPE_WORD:
	case CONFIG_TYPE_STRING:
	case CONFIG_TYPE_NAME:
	case CONFIG_TYPE_DEVICE:
	case CONFIG_TYPE_PATH:
	case CONFIG_TYPE_KEY: {
		const char *text = *(char *const *)from;
		char *copy = text ? strdup(text) : NULL;
		if (text && !copy)
			return -ENOMEM;
		value_clear(row, to);
		*(char **)to = copy;
		return 0;
	}
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_LONG:
	case CONFIG_TYPE_BOOL:
	case CONFIG_TYPE_ENUM:
	case CONFIG_TYPE_DURATION:
	case CONFIG_TYPE_RATE:
		value_copy(row, from, to);
		return 0;
	case CONFIG_TYPE_CIDRS:
	case CONFIG_TYPE_PREFIXES:
	case CONFIG_TYPE_LISTEN:
	case CONFIG_TYPE_ENDPOINTS:
		break;
	}
	return -EINVAL;
}

void value_copy(const struct config_row *row, const void *from, void *to)
{
	if (row->type == CONFIG_TYPE_BOOL)
		*(bool *)to = *(const bool *)from;
	else if (row->type == CONFIG_TYPE_LONG || row->type == CONFIG_TYPE_RATE)
		*(int64_t *)to = *(const int64_t *)from;
	else if (row->type == CONFIG_TYPE_INT || row->type == CONFIG_TYPE_DURATION ||
		 row->type == CONFIG_TYPE_ENUM)
		*(int *)to = *(const int *)from;
}
