/*
 * The form of requests and answers. The helper reads what a worker sends that may have been taken over, so a request is
 * taken only if there is exactly one way to mean it: right size, known verb, values in range, and zero wherever the verb
 * uses nothing.
 *
 *      0 verb   4 sequence   8 value   12 table   16 metric   20 scope_id   24 port (2)
 *      26 protocol   27 prefix family   28 prefix length   29 endpoint family   30 joins   31 zero (5)   36 address (16)
 *      52 name of a peer, filled up with zeroes (64)
 *
 * Prefix and endpoint share the address: no verb has both.
 */
#include "vpnd/broker_msg.h"

#include "config/config.h"

#include <errno.h>
#include <string.h>

struct raw_request {
	uint32_t verb;
	uint32_t sequence;
	uint32_t value;
	uint32_t table;
	uint32_t metric;
	uint32_t scope_id;
	uint16_t port;
	uint8_t protocol;
	uint8_t prefix_family;
	uint8_t prefix_length;
	uint8_t endpoint_family;
	uint8_t joins;
	uint8_t zero[5];
	uint8_t address[16];
	char name[BROKER_NAME_BYTES];
};
_Static_assert(sizeof(struct raw_request) == BROKER_REQUEST_BYTES, "no holes");

struct raw_answer {
	uint32_t sequence;
	int32_t err;
	uint32_t value;
	char code[FAULT_CODE_BYTES];
	char text[FAULT_TEXT_BYTES];
	char hint[FAULT_TEXT_BYTES];
};
_Static_assert(sizeof(struct raw_answer) == BROKER_ANSWER_BYTES, "no holes");

enum {
	MTU_MIN = 68, /* the kernel's limits for IPv4 and for TUN devices */
	MTU_MAX = 65535,
};

/* Which fields a verb uses; flags. */
enum {
	USES_VALUE = 1 << 0,
	USES_PREFIX = 1 << 1,
	USES_ROUTE = 1 << 2, /* table, metric, protocol */
	USES_ENDPOINT = 1 << 3,
	USES_NAME = 1 << 4, /* it may be empty */
	MAY_HAVE_ENDPOINT = 1 << 5,
	USES_JOINS = 1 << 6,
};

static const uint8_t USES[BROKER_VERBS] = {
	[BROKER_LINK] = USES_VALUE | USES_NAME,
	[BROKER_MTU] = USES_VALUE | USES_NAME,
	[BROKER_ADDRESS_ADD] = USES_PREFIX | USES_NAME,
	[BROKER_ADDRESS_REMOVE] = USES_PREFIX | USES_NAME,
	[BROKER_ROUTE_ADD] = USES_PREFIX | USES_ROUTE | USES_NAME,
	[BROKER_ROUTE_REMOVE] = USES_PREFIX | USES_ROUTE | USES_NAME,
	[BROKER_UDP_SOCKET] = USES_ENDPOINT | USES_VALUE | USES_JOINS,
	[BROKER_TUNNEL] = USES_VALUE,
	[BROKER_DNS] = USES_VALUE,
	[BROKER_HOOK] = USES_VALUE | USES_NAME | USES_ENDPOINT | MAY_HAVE_ENDPOINT,
	[BROKER_TUN] = USES_NAME,
	[BROKER_DESTINATION] = USES_PREFIX,
};

void broker_request_write(const struct broker_request *request, uint8_t out[BROKER_REQUEST_BYTES])
{
	unsigned uses = USES[request->verb];
	struct raw_request raw = {.verb = (uint32_t)request->verb, .sequence = request->sequence};

	if (uses & USES_VALUE)
		raw.value = request->value;
	if (uses & USES_ROUTE) {
		raw.table = request->table;
		raw.metric = request->metric;
		raw.protocol = request->protocol;
	}
	if (uses & USES_PREFIX) {
		raw.prefix_family = request->prefix.family;
		raw.prefix_length = request->prefix.length;
		memcpy(raw.address, request->prefix.address, sizeof(raw.address));
	}
	if (uses & USES_ENDPOINT) {
		raw.endpoint_family = request->endpoint.family;
		raw.port = request->endpoint.port;
		raw.scope_id = request->endpoint.scope_id;
		memcpy(raw.address, request->endpoint.address, sizeof(raw.address));
	}
	if (uses & USES_JOINS)
		raw.joins = request->joins;
	if (uses & USES_NAME)
		memcpy(raw.name, request->name, strnlen(request->name, sizeof(raw.name) - 1));
	memcpy(out, &raw, sizeof(raw));
}

static bool zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

static bool value_ok(const struct raw_request *raw)
{
	switch ((enum broker_verb)raw->verb) {
	case BROKER_LINK:
	case BROKER_DNS:
		return raw->value <= 1;
	case BROKER_TUNNEL:
		return raw->value <= BROKER_TUNNEL_REFRESH;
	case BROKER_HOOK:
		return raw->value < CONFIG_HOOKS;
	case BROKER_UDP_SOCKET:
		return true;
	default:
		break;
	}
	return raw->value >= MTU_MIN && raw->value <= MTU_MAX;
}

static bool address_ok(const struct raw_request *raw, uint8_t family)
{
	if (family == 6)
		return true;
	return family == 4 && zero(raw->address + 4, sizeof(raw->address) - 4);
}

static bool endpoint_ok(const struct raw_request *raw, unsigned uses)
{
	if (uses & MAY_HAVE_ENDPOINT && raw->endpoint_family == 0)
		return raw->port == 0 && raw->scope_id == 0 &&
		       zero(raw->address, sizeof(raw->address));
	return address_ok(raw, raw->endpoint_family);
}

/*
 * Hooks of peers have a name, those of the link have none; who goes is nowhere. Scripts get the endpoint as text, so it has
 * an interface only where it needs one.
 */
static bool hook_ok(const struct raw_request *raw)
{
	bool up = raw->value == CONFIG_HOOK_PEER_UP;
	bool named = up || raw->value == CONFIG_HOOK_PEER_DOWN;

	bool link_local = raw->endpoint_family == 6 && raw->address[0] == 0xfe &&
			  (raw->address[1] & 0xc0) == 0x80;

	return named == (raw->name[0] != '\0') && (!named || config_name_ok(raw->name)) &&
	       (up || raw->endpoint_family == 0) && (link_local || raw->scope_id == 0);
}

/* A name ends, and nothing hides behind its end. What names there are is the rules' business. */
static bool name_ok(const struct raw_request *raw)
{
	size_t len = strnlen(raw->name, sizeof(raw->name));

	return len < sizeof(raw->name) &&
	       zero((const uint8_t *)raw->name + len, sizeof(raw->name) - len);
}

static bool form_ok(const struct raw_request *raw)
{
	if (raw->verb == 0 || raw->verb >= BROKER_VERBS || !zero(raw->zero, sizeof(raw->zero)))
		return false;
	unsigned uses = USES[raw->verb];
	struct ip_prefix prefix = {.family = raw->prefix_family, .length = raw->prefix_length};
	if (uses & USES_VALUE ? !value_ok(raw) : raw->value != 0)
		return false;
	if (raw->joins > (uses & USES_JOINS ? 1 : 0))
		return false;
	if (uses & USES_ROUTE ? raw->table == 0 || raw->protocol == 0
			      : raw->table || raw->metric || raw->protocol)
		return false;
	if (uses & USES_PREFIX ? !ip_prefix_valid(&prefix) || !address_ok(raw, prefix.family)
			       : prefix.family || prefix.length)
		return false;
	if (uses & USES_NAME ? !name_ok(raw) : raw->name[0] != '\0' || !name_ok(raw))
		return false;
	if (uses & USES_ENDPOINT ? !endpoint_ok(raw, uses)
				 : raw->endpoint_family || raw->port || raw->scope_id)
		return false;
	if (raw->verb == BROKER_HOOK && !hook_ok(raw))
		return false;
	return uses & (USES_PREFIX | USES_ENDPOINT) || zero(raw->address, sizeof(raw->address));
}

int broker_request_read(const uint8_t *data, size_t len, struct broker_request *ret_request)
{
	struct raw_request raw;

	if (len != sizeof(raw))
		return -EBADMSG;
	memcpy(&raw, data, sizeof(raw));
	if (!form_ok(&raw))
		return -EBADMSG;
	unsigned uses = USES[raw.verb];
	*ret_request = (struct broker_request){
		.verb = (enum broker_verb)raw.verb,
		.sequence = raw.sequence,
		.value = raw.value,
		.table = raw.table,
		.metric = raw.metric,
		.protocol = raw.protocol,
		.joins = raw.joins != 0,
	};
	if (uses & USES_PREFIX) {
		ret_request->prefix.family = raw.prefix_family;
		ret_request->prefix.length = raw.prefix_length;
		memcpy(ret_request->prefix.address, raw.address, sizeof(raw.address));
	}
	memcpy(ret_request->name, raw.name, sizeof(raw.name));
	if (uses & USES_ENDPOINT) {
		ret_request->endpoint.family = raw.endpoint_family;
		ret_request->endpoint.port = raw.port;
		ret_request->endpoint.scope_id = raw.scope_id;
		memcpy(ret_request->endpoint.address, raw.address, sizeof(raw.address));
	}
	return 0;
}

void broker_answer_write(const struct broker_answer *answer, uint8_t out[BROKER_ANSWER_BYTES])
{
	struct raw_answer raw = {
		.sequence = answer->sequence,
		.err = answer->fault.err,
		.value = answer->value,
	};

	memcpy(raw.code, answer->fault.code, sizeof(raw.code));
	memcpy(raw.text, answer->fault.text, sizeof(raw.text));
	memcpy(raw.hint, answer->fault.hint, sizeof(raw.hint));
	memcpy(out, &raw, sizeof(raw));
}

int broker_answer_read(const uint8_t *data, size_t len, struct broker_answer *ret_answer)
{
	struct raw_answer raw;

	if (len != sizeof(raw))
		return -EBADMSG;
	memcpy(&raw, data, sizeof(raw));
	if (raw.err > 0 || raw.code[sizeof(raw.code) - 1] || raw.text[sizeof(raw.text) - 1] ||
		raw.hint[sizeof(raw.hint) - 1])
		return -EBADMSG;
	ret_answer->sequence = raw.sequence;
	ret_answer->value = raw.value;
	ret_answer->fault.err = raw.err;
	memcpy(ret_answer->fault.code, raw.code, sizeof(raw.code));
	memcpy(ret_answer->fault.text, raw.text, sizeof(raw.text));
	memcpy(ret_answer->fault.hint, raw.hint, sizeof(raw.hint));
	return 0;
}
