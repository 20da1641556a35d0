/*
 * What comes from servers that are asked for names or told of resolvers: DNS answers, messages of D-Bus.
 *
 *      first byte even   a DNS answer to a fixed question
 *      first byte odd    a message of D-Bus
 */
#include "vpnd/dbus_message.h"
#include "vpnd/dns_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void try_dns(const uint8_t *data, size_t len)
{
	uint8_t question[DNS_QUESTION_BYTES_MAX];
	struct kcpvpn_endpoint list[4];
	size_t count = 0;
	size_t question_len = dns_question_write(0x1234, "vpn.ex", DNS_A, question);

	int error = dns_answer_read(question, question_len, data, len, list, 4, &count);
	if (count > 4 || (error && count > 0))
		abort();
	for (size_t i = 0; i < count; i++) {
		if (list[i].family != 4 || list[i].port != 0)
			abort();
	}
}

static void try_dbus(const uint8_t *data, size_t len)
{
	struct dbus_answer answer = {0};

	if (len >= DBUS_HEADER_BYTES && dbus_message_bytes(data) > DBUS_BYTES_MAX)
		abort();
	if (dbus_answer_read(data, len, &answer) == 0 &&
		strnlen(answer.error_name, DBUS_ERROR_BYTES) == DBUS_ERROR_BYTES)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	/* a copy of its exact size, so that a byte too far is seen */
	uint8_t *exact = malloc(len > 1 ? len - 1 : 1);
	memcpy(exact, data + 1, len - 1);
	if (data[0] % 2)
		try_dbus(exact, len - 1);
	else
		try_dns(exact, len - 1);
	free(exact);
	return 0;
}
