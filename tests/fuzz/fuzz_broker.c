/*
 * What the helper reads from a worker that may have been taken over, and what the worker reads from the helper.
 *
 *      first byte even   a request, which is then judged; an answer
 *      first byte odd    a record of configuration files, replayed into a load
 */
#include "config/config.h"
#include "vpnd/broker_msg.h"
#include "vpnd/broker_rules.h"
#include "vpnd/config_record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char TEXT[] =
	"version: 1\nwire: kcp-go\nkcp_go: {key: k, allow_unauthenticated: true}\n"
	"interface: {name: kcp0, addresses: [10.9.0.1/24, \"fd09::1/64\"]}\nlisten: "
	"[\"[::]:443\"]\n"
	"peers: {a: {allowed_ips: [10.9.1.0/24, \"fd91::/48\"]}, b: {allowed_ips: "
	"[10.9.2.0/24]}}\n";

static struct config_report report;

static void try_request(const uint8_t *data, size_t len)
{
	static struct broker_rules rules;
	static bool begun;
	struct broker_request request;
	uint8_t again[BROKER_REQUEST_BYTES];
	struct fault fault = {0};

	if (!begun) {
		struct config *config;
		if (config_parse_text("f.yaml", TEXT, strlen(TEXT), NULL, &config, &report) < 0)
			abort();
		broker_rules_init(&rules, config);
		begun = true;
	}
	if (broker_request_read(data, len, &request) < 0)
		return;
	broker_request_write(&request, again);
	if (len != sizeof(again) || memcmp(again, data, len) != 0)
		abort(); /* there is one way to write a request */
	if (broker_rules_judge(&rules, &request, &fault) == 0 && fault.err)
		abort();
}

static void try_answer(const uint8_t *data, size_t len)
{
	struct broker_answer answer = {0};

	if (broker_answer_read(data, len, &answer) == 0 &&
		(answer.fault.err > 0 || strlen(answer.fault.text) >= sizeof(answer.fault.text)))
		abort();
}

static void try_record(const uint8_t *data, size_t len)
{
	struct config_record record;
	struct config *config = NULL;
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		return;
	memcpy(copy, data, len);
	config_record_init(&record, NULL);
	config_record_borrow(&record, copy, len);
	struct config_reader reader = config_record_replayer(&record);
	if (config_load("/f/n.yaml", &reader, &config, &report) == 0)
		config_free(config);
	config_record_fini(&record);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	if (data[0] & 1) {
		try_record(data + 1, len - 1);
	} else {
		try_request(data + 1, len - 1);
		try_answer(data + 1, len - 1);
	}
	return 0;
}
