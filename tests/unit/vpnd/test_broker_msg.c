#include "vpnd/broker_msg.h"

#include "config/config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix prefix;

	cr_assert_eq(ip_prefix_parse(text, &prefix), 0);
	return prefix;
}

static struct broker_request sample(enum broker_verb verb)
{
	struct broker_request request = {.verb = verb, .sequence = 0x01020304};

	switch (verb) {
	case BROKER_LINK:
		request.value = 1;
		break;
	case BROKER_MTU:
		request.value = 1400;
		break;
	case BROKER_ROUTE_ADD:
	case BROKER_ROUTE_REMOVE:
		request.table = 254;
		request.metric = 50;
		request.protocol = 201;
		request.prefix = prefix("fd00:1::/48");
		break;
	case BROKER_ADDRESS_ADD:
	case BROKER_ADDRESS_REMOVE:
	case BROKER_DESTINATION:
		request.prefix = prefix("10.1.2.3/24");
		break;
	case BROKER_UDP_SOCKET:
		request.value = 0x4b430001;
		request.joins = true;
		request.endpoint.family = 6;
		request.endpoint.port = 443;
		request.endpoint.scope_id = 3;
		request.endpoint.address[0] = 0xfe;
		break;
	case BROKER_HOOK:
		request.value = CONFIG_HOOK_PEER_UP;
		strcpy(request.name, "branch-2");
		request.endpoint.family = 4;
		request.endpoint.port = 29900;
		request.endpoint.address[0] = 192;
		break;
	case BROKER_TUN:
		memset(request.name, 'n', BROKER_NAME_BYTES - 1);
		break;
	case BROKER_TUNNEL:
	case BROKER_DNS:
		request.value = 1;
		break;
	default:
		break;
	}
	if (verb == BROKER_LINK || verb == BROKER_ADDRESS_ADD)
		strcpy(request.name, "b");
	return request;
}

Test(broker_msg, requests_come_back_as_they_were)
{
	for (int verb = 1; verb < BROKER_VERBS; verb++) {
		struct broker_request want = sample((enum broker_verb)verb), got = {0};
		uint8_t bytes[BROKER_REQUEST_BYTES];

		broker_request_write(&want, bytes);
		cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &got), 0, "verb %d", verb);
		cr_assert_eq(got.verb, want.verb);
		cr_assert_eq(got.joins, want.joins);
		cr_assert_eq(got.sequence, want.sequence);
		cr_assert_eq(got.value, want.value);
		cr_assert_str_eq(got.name, want.name);
		cr_assert_eq(got.table, want.table);
		cr_assert_eq(got.metric, want.metric);
		cr_assert_eq(got.protocol, want.protocol);
		cr_assert(ip_prefix_equal(&got.prefix, &want.prefix), "verb %d", verb);
		cr_assert(kcpvpn_endpoint_equal(&got.endpoint, &want.endpoint), "verb %d", verb);
	}
}

Test(broker_msg, only_the_right_size_is_a_request)
{
	uint8_t bytes[BROKER_REQUEST_BYTES + 1] = {0};
	struct broker_request request = sample(BROKER_READ_CONFIG);

	broker_request_write(&request, bytes);
	for (size_t len = 0; len <= sizeof(bytes); len++)
		cr_assert_eq(broker_request_read(bytes, len, &request),
			len == BROKER_REQUEST_BYTES ? 0 : -EBADMSG, "%zu bytes", len);
}

/* Every byte that is not read must be zero: there is one way to write a request. */
Test(broker_msg, what_is_read_is_all_there_is)
{
	srand(1);
	for (int run = 0; run < 200000; run++) {
		struct broker_request got,
			want = sample((enum broker_verb)(1 + rand() % (BROKER_VERBS - 1)));
		uint8_t bytes[BROKER_REQUEST_BYTES], again[BROKER_REQUEST_BYTES];

		broker_request_write(&want, bytes);
		for (int flips = 1 + rand() % 2; flips > 0; flips--)
			bytes[(size_t)rand() % sizeof(bytes)] ^= (uint8_t)(1 << rand() % 8);
		if (broker_request_read(bytes, sizeof(bytes), &got) < 0)
			continue;
		broker_request_write(&got, again);
		cr_assert_arr_eq(again, bytes, sizeof(bytes));
	}
}

Test(broker_msg, values_out_of_range_are_no_request)
{
	static const struct {
		enum broker_verb verb;
		int field; /* 0 value, 1 table, 2 protocol, 3 family, 4 length, 5 endpoint family */
		uint32_t value;
	} rows[] = {
		{BROKER_LINK, 0, 2},
		{BROKER_TUNNEL, 0, 3},
		{BROKER_DNS, 0, 2},
		{BROKER_HOOK, 0, CONFIG_HOOKS},
		{BROKER_MTU, 0, 67},
		{BROKER_MTU, 0, 65536},
		{BROKER_MTU, 0, 0},
		{BROKER_ROUTE_ADD, 1, 0},
		{BROKER_ROUTE_REMOVE, 2, 0},
		{BROKER_ADDRESS_ADD, 3, 0},
		{BROKER_ADDRESS_ADD, 3, 5},
		{BROKER_ADDRESS_ADD, 4, 33},
		{BROKER_ROUTE_ADD, 4, 129},
		{BROKER_UDP_SOCKET, 5, 0},
		{BROKER_UDP_SOCKET, 5, 10},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct broker_request request = sample(rows[i].verb);
		uint8_t bytes[BROKER_REQUEST_BYTES];

		if (rows[i].field == 0)
			request.value = rows[i].value;
		if (rows[i].field == 1)
			request.table = rows[i].value;
		if (rows[i].field == 2)
			request.protocol = (uint8_t)rows[i].value;
		if (rows[i].field == 3)
			request.prefix.family = (uint8_t)rows[i].value;
		if (rows[i].field == 4)
			request.prefix.length = (uint8_t)rows[i].value;
		if (rows[i].field == 5)
			request.endpoint.family = (uint8_t)rows[i].value;
		broker_request_write(&request, bytes);
		cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &request), -EBADMSG,
			"row %zu", i);
	}
}

Test(broker_msg, unknown_verbs_and_long_ipv4_addresses_are_no_request)
{
	uint8_t bytes[BROKER_REQUEST_BYTES] = {0};
	struct broker_request request;

	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &request), -EBADMSG);
	bytes[0] = BROKER_VERBS;
	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &request), -EBADMSG);
	memset(bytes, 0xff, sizeof(bytes));
	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &request), -EBADMSG);
	request = sample(BROKER_ADDRESS_ADD);
	request.prefix.address[4] = 1;
	broker_request_write(&request, bytes);
	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &request), -EBADMSG);
}

Test(broker_msg, answers_come_back_and_end)
{
	struct broker_answer want = {.sequence = 9, .value = 77}, got;
	uint8_t bytes[BROKER_ANSWER_BYTES];

	(void)fault_set(&want.fault, -ENODEV, "E-NET-2", "hint", "text %d", 1);
	broker_answer_write(&want, bytes);
	cr_assert_eq(broker_answer_read(bytes, sizeof(bytes), &got), 0);
	cr_assert_eq(got.sequence, 9);
	cr_assert_eq(got.value, 77);
	cr_assert_eq(got.fault.err, -ENODEV);
	cr_assert_str_eq(got.fault.code, "E-NET-2");
	cr_assert_str_eq(got.fault.text, "text 1");
	cr_assert_str_eq(got.fault.hint, "hint");
	cr_assert_eq(broker_answer_read(bytes, sizeof(bytes) - 1, &got), -EBADMSG);
	bytes[sizeof(bytes) - 1] = 'x'; /* a text without its end */
	cr_assert_eq(broker_answer_read(bytes, sizeof(bytes), &got), -EBADMSG);
	bytes[sizeof(bytes) - 1] = 0;
	want.fault.err = 5;
	broker_answer_write(&want, bytes);
	cr_assert_eq(broker_answer_read(bytes, sizeof(bytes), &got), -EBADMSG);
}

/* A name ends within its field, and nothing hides behind its end. */
Test(broker_msg, names_end)
{
	struct broker_request request = sample(BROKER_TUN), got;
	uint8_t bytes[BROKER_REQUEST_BYTES];

	broker_request_write(&request, bytes);
	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &got), 0);
	bytes[sizeof(bytes) - 1] = 'n';
	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &got), -EBADMSG, "no end");
	bytes[sizeof(bytes) - 1] = 0;
	bytes[sizeof(bytes) - 10] = 0;
	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &got), -EBADMSG, "more behind it");
	request = sample(BROKER_TUNNEL);
	broker_request_write(&request, bytes);
	bytes[BROKER_REQUEST_BYTES - BROKER_NAME_BYTES] = 'x';
	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &got), -EBADMSG, "it takes none");
	/* a peer that is nowhere known: all zero, or not at all */
	request = sample(BROKER_HOOK);
	request.endpoint = (struct kcpvpn_endpoint){0};
	broker_request_write(&request, bytes);
	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &got), 0);
	bytes[24] = 1;
	cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &got), -EBADMSG, "a port of nobody");
}

/* Who and where goes with hooks of peers only, and there is one way to mean each. */
Test(broker_msg, hooks_have_a_form_each)
{
	static const struct {
		enum config_hook hook;
		const char *name;
		uint8_t family, first, scope;
		int want;
	} rows[] = {
		{CONFIG_HOOK_UP, "", 0, 0, 0, 0},
		{CONFIG_HOOK_PEER_DOWN, "a", 0, 0, 0, 0},
		{CONFIG_HOOK_PEER_UP, "a", 0, 0, 0, 0},
		{CONFIG_HOOK_PEER_UP, "a", 4, 192, 0, 0},
		{CONFIG_HOOK_PEER_UP, "a", 6, 0x20, 0, 0},
		{CONFIG_HOOK_PEER_UP, "a", 6, 0xfe, 3, 0},
		{CONFIG_HOOK_PEER_UP, "a", 4, 192, 3, -EBADMSG},
		{CONFIG_HOOK_PEER_UP, "a", 6, 0x20, 3, -EBADMSG},
		{CONFIG_HOOK_PEER_UP, "", 4, 192, 0, -EBADMSG},
		{CONFIG_HOOK_PEER_UP, "a/b", 4, 192, 0, -EBADMSG},
		{CONFIG_HOOK_PEER_DOWN, "a", 4, 192, 0, -EBADMSG},
		{CONFIG_HOOK_PEER_DOWN, "", 0, 0, 0, -EBADMSG},
		{CONFIG_HOOK_UP, "a", 0, 0, 0, -EBADMSG},
		{CONFIG_HOOK_DOWN, "", 4, 192, 0, -EBADMSG},
		{CONFIG_HOOK_PRE_UP, "", 6, 0x20, 0, -EBADMSG},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct broker_request request = {
			.verb = BROKER_HOOK,
			.value = (uint32_t)rows[i].hook,
			.endpoint = {.family = rows[i].family, .scope_id = rows[i].scope},
		};
		uint8_t bytes[BROKER_REQUEST_BYTES];
		strcpy(request.name, rows[i].name);
		request.endpoint.address[0] = rows[i].first;
		request.endpoint.address[1] = rows[i].first == 0xfe ? 0x80 : 0;
		broker_request_write(&request, bytes);
		cr_assert_eq(broker_request_read(bytes, sizeof(bytes), &request), rows[i].want,
			"row %zu", i);
	}
}
