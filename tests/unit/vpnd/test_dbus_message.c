#include "vpnd/dbus_message.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "SetLinkDomains", ia(sb): by the specification, byte for byte. */
Test(dbus_message, a_call_is_marshalled_as_specified)
{
	static const uint8_t BODY[] = {7, 0, 0, 0, 13, 0, 0, 0, /* i, length of the array */
		2, 0, 0, 0, 'e', 'x', 0, 0, 1, 0, 0, 0,		/* element: s, padding, b */
		0};
	static struct dbus_writer body, message;
	const struct dbus_call call = {"d.e", "/p", "i.f", "M", "ia(sb)", 5};

	dbus_put_u32(&body, 7);
	size_t list = dbus_begin_array(&body, 8);
	dbus_align(&body, 8);
	dbus_put_string(&body, "ex");
	dbus_put_u32(&body, 1);
	dbus_put_byte(&body, 0);
	dbus_end_array(&body, list, 8);
	cr_assert_eq(body.len, sizeof(BODY));
	cr_assert_eq(memcmp(body.bytes, BODY, sizeof(BODY)), 0);
	cr_assert(dbus_call_write(&message, &call, &body));
	cr_assert_eq(message.len % 8, sizeof(BODY) % 8, "the body begins at a multiple of 8");
	cr_assert_eq(memcmp(message.bytes, "l\1\2\1", 4), 0, "a call that starts no service");
	cr_assert_eq(message.bytes[4], sizeof(BODY));
	cr_assert_eq(message.bytes[8], 5);
	cr_assert_eq(memcmp(message.bytes + 16, "\1\1o\0\2\0\0\0/p\0", 11), 0);
	cr_assert_eq(memcmp(message.bytes + message.len - sizeof(BODY), BODY, sizeof(BODY)), 0);
	cr_assert_eq(dbus_message_bytes(message.bytes), message.len);
}

Test(dbus_message, what_does_not_fit_is_not_written)
{
	static struct dbus_writer body, message;
	const struct dbus_call call = {"d", "/p", "i", "M", "ay", 1};

	while (!body.full)
		dbus_put_byte(&body, 1);
	cr_assert_eq(body.len, DBUS_BYTES_MAX);
	cr_assert_not(dbus_call_write(&message, &call, &body));
}

/* An answer: REPLY_SERIAL 9, ERROR_NAME "a.b". */
static const uint8_t ERROR[] = {'l', 3, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, /* header */
	5, 1, 'u', 0, 9, 0, 0, 0, 4, 1, 's', 0, 3, 0, 0, 0, 'a', '.', 'b', 0, 0, 0, 0, 0};

Test(dbus_message, answers)
{
	uint8_t bytes[sizeof(ERROR)];
	struct dbus_answer answer;

	cr_assert_eq(dbus_message_bytes(ERROR), sizeof(ERROR));
	cr_assert_eq(dbus_answer_read(ERROR, sizeof(ERROR), &answer), 0);
	cr_assert(answer.error && answer.reply_to == 9);
	cr_assert_str_eq(answer.error_name, "a.b");
	memcpy(bytes, ERROR, sizeof(bytes));
	bytes[1] = 2;
	cr_assert_eq(dbus_answer_read(bytes, sizeof(bytes), &answer), 0);
	cr_assert(!answer.error && answer.reply_to == 9);
	bytes[1] = 4;
	cr_assert_eq(dbus_answer_read(bytes, sizeof(bytes), &answer), 0);
	cr_assert_eq(answer.reply_to, 0, "a signal answers nothing");
	memcpy(bytes, ERROR, sizeof(bytes));
	bytes[33] = '\n';
	cr_assert_eq(dbus_answer_read(bytes, sizeof(bytes), &answer), 0);
	cr_assert_str_eq(answer.error_name, "a?b", "nothing for a log to stumble over");
}

Test(dbus_message, damaged_answers_are_none)
{
	struct dbus_answer answer;

	for (size_t len = 0; len < sizeof(ERROR); len++) {
		uint8_t *exact = malloc(len ? len : 1);
		memcpy(exact, ERROR, len);
		cr_assert_eq(dbus_answer_read(exact, len, &answer), -EBADMSG, "%zu", len);
		free(exact);
	}
	/* lengths that lead behind the end, wherever they stand */
	for (size_t i = 4; i < sizeof(ERROR); i++) {
		uint8_t *bytes = malloc(sizeof(ERROR));
		memcpy(bytes, ERROR, sizeof(ERROR));
		bytes[i] = 0xff;
		(void)dbus_answer_read(bytes, sizeof(ERROR), &answer);
		free(bytes);
	}
	uint8_t header[DBUS_HEADER_BYTES] = {'l', 2, 0, 1, 0xff, 0xff, 0xff, 0xff};
	cr_assert_eq(dbus_message_bytes(header), 0, "too long");
	header[0] = 'x';
	cr_assert_eq(dbus_message_bytes(header), 0);
}

/* Of 32 bits, and 1 more is none: nothing behind the message is read, whatever the size of size_t. */
Test(dbus_message, lengths_that_wrap_are_refused)
{
	const uint8_t head[] = {'l', 3, 1, 1, 0, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 4, 1, 's', 0,
		0xff, 0xff, 0xff, 0xff};
	struct dbus_answer answer = {0};
	uint8_t *exact = malloc(sizeof(head));

	memcpy(exact, head, sizeof(head));
	cr_assert_eq(dbus_message_bytes(exact), sizeof(head));
	cr_assert_eq(dbus_answer_read(exact, sizeof(head), &answer), -EBADMSG);
	free(exact);
}
