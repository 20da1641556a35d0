/*
 * The few of D-Bus's messages that systemd-resolved is told by: method calls with a body of numbers, bytes and texts, and
 * answers of which only success or the error's name matters. Pure: bytes in, bytes out.
 */
#ifndef VPND_DBUS_MESSAGE_H
#define VPND_DBUS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DBUS_BYTES_MAX = 16384, /* of a message; ours are far shorter, longer answers are refused */
	DBUS_HEADER_BYTES = 16, /* the part that tells the length of the rest */
	DBUS_ERROR_BYTES = 96,
};

/** A body, or a whole message, that grows. All zeroes = empty. */
struct dbus_writer {
	uint8_t bytes[DBUS_BYTES_MAX];
	size_t len;
	bool full; /* something did not fit; sticks */
};

void dbus_put_byte(struct dbus_writer *w, uint8_t value);
void dbus_put_u16(struct dbus_writer *w, uint16_t value);
void dbus_put_u32(struct dbus_writer *w, uint32_t value);
void dbus_put_string(struct dbus_writer *w, const char *text);
void dbus_align(struct dbus_writer *w, size_t bytes);

/** Begins an array whose elements are aligned to `bytes`. @return what dbus_end_array() wants */
size_t dbus_begin_array(struct dbus_writer *w, size_t bytes);
void dbus_end_array(struct dbus_writer *w, size_t begun, size_t bytes);

struct dbus_call {
	const char *destination;
	const char *path;
	const char *interface;
	const char *member;
	const char *signature; /* of the body; NULL = there is none */
	uint32_t serial;       /* not 0 */
};

/** Writes a call that starts no service. @body NULL = none. @return false if it is too long */
bool dbus_call_write(
	struct dbus_writer *w, const struct dbus_call *call, const struct dbus_writer *body);

/** @return the length of the whole message, 0 if it is none or longer than DBUS_BYTES_MAX */
size_t dbus_message_bytes(const uint8_t header[DBUS_HEADER_BYTES]);

struct dbus_answer {
	uint32_t reply_to; /* 0 = it answers nothing: a signal, a call */
	bool error;
	char error_name[DBUS_ERROR_BYTES];
};

/** Reads a whole message. @return 0 or -EBADMSG */
int dbus_answer_read(const uint8_t *bytes, size_t len, struct dbus_answer *ret_answer);

#endif
