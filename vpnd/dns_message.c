/*
 * An answer repeats the question byte for byte (servers may change no case of letters), so comparing 12 + n bytes tells
 * whether it belongs to it; all but the number stands in the packet in the clear, so who sees the question can forge an
 * answer. That costs no more than a call to the wrong address: who answers there has to prove who he is.
 *
 * Records are taken from the answer section as they come: aliases (CNAME) stand in front of the addresses they lead to, and
 * a server that resolves for us has followed them. Names are skipped, never followed, so compressed ones cannot loop.
 *
 * An answer that was cut short (TC) would be asked for again over TCP by the book. A few of many addresses are as good here,
 * and with EDNS next to none is cut.
 *
 * Standards: RFC 1035 sections 4.1, 3.1; RFC 3596; RFC 6891 section 6.1 (OPT).
 */
#include "vpnd/dns_message.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum {
	HEADER_BYTES = 12,
	LABEL_MAX = 63,
	NAME_MAX_BYTES = 255, /* with lengths and the root */
	CLASS_IN = 1,
	FLAG_ANSWER = 0x8000,
	OPCODE = 0x7800,
	FLAG_RECURSION_DESIRED = 0x0100,
	FLAG_CUT = 0x0200,
	TYPE_OPT = 41,
	RCODE = 0x000f,
	RCODE_NAME_ERROR = 3,
};

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

/* @return bytes of the name, 0 if it is none */
static size_t write_name(const char *host, uint8_t *out)
{
	size_t len = 0;

	while (*host) {
		size_t label = strcspn(host, ".");
		if (label == 0 || label > LABEL_MAX || len + 1 + label + 1 > NAME_MAX_BYTES)
			return 0;
		out[len++] = (uint8_t)label;
		memcpy(out + len, host, label);
		len += label;
		host += label + (host[label] == '.');
	}
	if (len > 0)
		out[len++] = 0;
	return len;
}

size_t dns_question_write(uint16_t id, const char *host, enum dns_type type,
	uint8_t ret_bytes[DNS_QUESTION_BYTES_MAX])
{
	size_t name = write_name(host, ret_bytes + HEADER_BYTES);
	uint8_t *end = ret_bytes + HEADER_BYTES + name;

	if (name == 0)
		return 0;
	memset(ret_bytes, 0, HEADER_BYTES);
	put16(ret_bytes, id);
	put16(ret_bytes + 2, FLAG_RECURSION_DESIRED);
	put16(ret_bytes + 4, 1);
	put16(end, (unsigned)type);
	put16(end + 2, CLASS_IN);
	return HEADER_BYTES + name + 4;
}

size_t dns_question_give_room(uint8_t *bytes, size_t len)
{
	memset(bytes + len, 0, DNS_ROOM_BYTES);
	put16(bytes + len + 1, TYPE_OPT);
	put16(bytes + len + 3, DNS_ANSWER_BYTES_WANTED);
	put16(bytes + 10, 1);
	return len + DNS_ROOM_BYTES;
}

/* @return where the name ends, 0 if it does not */
static size_t skip_name(const uint8_t *bytes, size_t len, size_t at)
{
	while (at < len) {
		uint8_t label = bytes[at];
		if (label == 0)
			return at + 1;
		if (label >= 0xc0)
			return at + 2 <= len ? at + 2 : 0;
		if (label > LABEL_MAX)
			return 0;
		at += 1U + label;
	}
	return 0;
}

static void take(
	const uint8_t *data, size_t len, struct kcpvpn_endpoint *list, size_t room, size_t *count)
{
	if (*count == room)
		return;
	list[*count] = (struct kcpvpn_endpoint){.family = len == 4 ? 4 : 6};
	memcpy(list[*count].address, data, len);
	(*count)++;
}

int dns_answer_read(const uint8_t *question, size_t question_len, const uint8_t *answer,
	size_t answer_len, struct kcpvpn_endpoint *ret_list, size_t room, size_t *ret_count)
{
	size_t count = 0, at = question_len;

	if (question_len < HEADER_BYTES + 4 || answer_len < question_len ||
		memcmp(answer, question, 2) != 0 || get16(answer + 4) != 1 ||
		memcmp(answer + HEADER_BYTES, question + HEADER_BYTES,
			question_len - HEADER_BYTES) != 0)
		return -EBADMSG;
	unsigned flags = get16(answer + 2);
	if (!(flags & FLAG_ANSWER) || flags & OPCODE)
		return -EBADMSG;
	if ((flags & RCODE) == RCODE_NAME_ERROR)
		return -ENOENT;
	if (flags & RCODE)
		return -EAGAIN;
	unsigned type = get16(question + question_len - 4);
	size_t bytes = type == DNS_A ? 4 : 16;
	bool cut = flags & FLAG_CUT;
	for (unsigned left = get16(answer + 6); left > 0; left--) {
		at = skip_name(answer, answer_len, at);
		size_t data_len = 0;
		bool whole = at != 0 && answer_len - at >= 10;
		const uint8_t *record = answer + at;
		if (whole) {
			data_len = get16(record + 8);
			at += 10;
			whole = answer_len - at >= data_len;
		}
		if (!whole && cut)
			break;
		if (!whole)
			return -EBADMSG;
		if (get16(record) == type && get16(record + 2) == CLASS_IN && data_len == bytes)
			take(answer + at, bytes, ret_list, room, &count);
		at += data_len;
	}
	if (cut && count == 0)
		return -EAGAIN;
	*ret_count = count;
	return 0;
}
