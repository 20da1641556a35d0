/*
 * Everything is aligned to its own size, counted from the begin of the message; the body begins at a multiple of 8, so it
 * can be written by itself. Written in little endian; what the other side chose is read.
 *
 * Standards: D-Bus Specification 0.41, "Marshaling", "Message Protocol".
 */
#include "vpnd/dbus_message.h"

#include <errno.h>
#include <string.h>

enum {
	TYPE_CALL = 1,
	TYPE_RETURN = 2,
	TYPE_ERROR = 3,
	FLAG_NO_AUTO_START = 2,
	FIELD_PATH = 1,
	FIELD_INTERFACE = 2,
	FIELD_MEMBER = 3,
	FIELD_ERROR_NAME = 4,
	FIELD_REPLY_SERIAL = 5,
	FIELD_DESTINATION = 6,
	FIELD_SIGNATURE = 8,
};

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static void put(struct dbus_writer *w, const void *data, size_t len)
{
	if (w->full || len > sizeof(w->bytes) - w->len) {
		w->full = true;
		return;
	}
	memcpy(w->bytes + w->len, data, len);
	w->len += len;
}

void dbus_align(struct dbus_writer *w, size_t bytes)
{
	static const uint8_t zero[8];

	put(w, zero, (bytes - w->len % bytes) % bytes);
}

void dbus_put_byte(struct dbus_writer *w, uint8_t value)
{
	put(w, &value, 1);
}

void dbus_put_u16(struct dbus_writer *w, uint16_t value)
{
	const uint8_t bytes[] = {(uint8_t)value, (uint8_t)(value >> 8)};

	dbus_align(w, sizeof(bytes));
	put(w, bytes, sizeof(bytes));
}

static void store32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

void dbus_put_u32(struct dbus_writer *w, uint32_t value)
{
	uint8_t bytes[4];

	store32(bytes, value);
	dbus_align(w, sizeof(bytes));
	put(w, bytes, sizeof(bytes));
}

void dbus_put_string(struct dbus_writer *w, const char *text)
{
	size_t len = strlen(text);

	dbus_put_u32(w, (uint32_t)len);
	put(w, text, len + 1);
}

size_t dbus_begin_array(struct dbus_writer *w, size_t bytes)
{
	dbus_put_u32(w, 0);
	size_t at = w->len;
	dbus_align(w, bytes);
	return at;
}

/* The length counts from the first element, not from the padding in front of it. */
void dbus_end_array(struct dbus_writer *w, size_t begun, size_t bytes)
{
	size_t first = begun + (bytes - begun % bytes) % bytes;

	if (!w->full)
		store32(w->bytes + begun - 4, (uint32_t)(w->len - first));
}

static void put_field(struct dbus_writer *w, uint8_t code, char type, const char *text)
{
	const char signature[] = {1, type, 0};

	dbus_align(w, 8);
	dbus_put_byte(w, code);
	put(w, signature, sizeof(signature));
	if (type == 'g') {
		dbus_put_byte(w, (uint8_t)strlen(text));
		put(w, text, strlen(text) + 1);
	} else {
		dbus_put_string(w, text);
	}
}

bool dbus_call_write(
	struct dbus_writer *w, const struct dbus_call *call, const struct dbus_writer *body)
{
	const uint8_t begin[] = {'l', TYPE_CALL, FLAG_NO_AUTO_START, 1};

	w->len = 0;
	w->full = false;
	put(w, begin, sizeof(begin));
	dbus_put_u32(w, body ? (uint32_t)body->len : 0);
	dbus_put_u32(w, call->serial);
	size_t fields = dbus_begin_array(w, 8);
	put_field(w, FIELD_PATH, 'o', call->path);
	put_field(w, FIELD_DESTINATION, 's', call->destination);
	put_field(w, FIELD_INTERFACE, 's', call->interface);
	put_field(w, FIELD_MEMBER, 's', call->member);
	if (call->signature)
		put_field(w, FIELD_SIGNATURE, 'g', call->signature);
	dbus_end_array(w, fields, 8);
	dbus_align(w, 8);
	if (body)
		put(w, body->bytes, body->len);
	return !w->full && !(body && body->full);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static uint32_t load32(const uint8_t *at, bool big)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
		value |= (uint32_t)at[i] << 8 * (big ? 3 - i : i);
	return value;
}

static size_t up8(size_t value)
{
	return (value + 7) & ~(size_t)7;
}

size_t dbus_message_bytes(const uint8_t header[DBUS_HEADER_BYTES])
{
	bool big = header[0] == 'B';
	uint32_t body = load32(header + 4, big), fields = load32(header + 12, big);

	if ((header[0] != 'l' && !big) || header[3] != 1 || body > DBUS_BYTES_MAX ||
		fields > DBUS_BYTES_MAX)
		return 0;
	size_t len = DBUS_HEADER_BYTES + up8(fields) + body;
	return len <= DBUS_BYTES_MAX ? len : 0;
}

struct reader {
	const uint8_t *bytes;
	size_t len, at;
	bool big, bad;
};

static const uint8_t *take(struct reader *r, size_t align, size_t len)
{
	static const uint8_t zero[4];
	size_t at = (r->at + align - 1) / align * align;

	if (r->bad || at > r->len || len > r->len - at) {
		r->bad = true;
		return zero;
	}
	r->at = at + len;
	return r->bytes + at;
}

/* A text of type s or o. @return its length */
static size_t take_text(struct reader *r, const uint8_t **ret_text)
{
	uint32_t len = load32(take(r, 4, 4), r->big);

	if (len > DBUS_BYTES_MAX) /* and len + 1 is no small number where size_t has 32 bits */
		r->bad = true;
	*ret_text = take(r, 1, (size_t)len + 1);
	return r->bad ? 0 : len;
}

static void read_field(struct reader *r, struct dbus_answer *answer)
{
	uint8_t code = *take(r, 8, 1), signature_len = *take(r, 1, 1);
	char type = (char)*take(r, 1, 1);
	const uint8_t *text;

	if (signature_len != 1 || *take(r, 1, 1) != 0) {
		r->bad = true; /* no field that we know of has more */
		return;
	}
	switch (type) {
	case 'u': {
		uint32_t number = load32(take(r, 4, 4), r->big);
		if (code == FIELD_REPLY_SERIAL)
			answer->reply_to = number;
		return;
	}
	case 's':
	case 'o': {
		size_t len = take_text(r, &text);
		if (code != FIELD_ERROR_NAME || r->bad)
			return;
		len = len < DBUS_ERROR_BYTES ? len : DBUS_ERROR_BYTES - 1;
		memcpy(answer->error_name, text, len);
		answer->error_name[len] = '\0';
		return;
	}
	case 'g':
		(void)take(r, 1, (size_t)*take(r, 1, 1) + 1);
		return;
	default:
		r->bad = true;
	}
}

int dbus_answer_read(const uint8_t *bytes, size_t len, struct dbus_answer *ret_answer)
{
	struct dbus_answer answer = {0};

	if (len < DBUS_HEADER_BYTES || dbus_message_bytes(bytes) != len)
		return -EBADMSG;
	struct reader r = {.bytes = bytes, .big = bytes[0] == 'B', .at = DBUS_HEADER_BYTES};
	r.len = DBUS_HEADER_BYTES + load32(bytes + 12, r.big);
	while (!r.bad && r.at < r.len)
		read_field(&r, &answer);
	if (r.bad)
		return -EBADMSG;
	answer.error = bytes[1] == TYPE_ERROR;
	if (bytes[1] != TYPE_RETURN && bytes[1] != TYPE_ERROR)
		answer.reply_to = 0;
	for (char *at = answer.error_name; *at; at++) {
		if (*at <= ' ' || *at > '~')
			*at = '?';
	}
	*ret_answer = answer;
	return 0;
}
