/* Questions for the addresses of a name, and what servers say to them (RFC 1035, 3596, 6891). Pure: bytes in, bytes out. */
#ifndef VPND_DNS_MESSAGE_H
#define VPND_DNS_MESSAGE_H

#include "kcpvpn/endpoint.h"

#include <stddef.h>
#include <stdint.h>

enum dns_type {
	DNS_A = 1,
	DNS_AAAA = 28,
};

enum {
	DNS_QUESTION_BYTES_MAX = 12 + 255 + 4,
	DNS_ROOM_BYTES = 11,		/* for what dns_question_give_room() adds */
	DNS_ANSWER_BYTES_WANTED = 1232, /* passes everywhere in one piece; without asking: 512 */
	DNS_ANSWER_BYTES_MAX = 4096,	/* what is longer is cut */
};

/**
 * Writes a question.
 *
 * @host    "vpn.example.net", with or without a dot at its end
 * @return  its length; 0 if that is no host name
 */
size_t dns_question_write(uint16_t id, const char *host, enum dns_type type,
	uint8_t ret_bytes[DNS_QUESTION_BYTES_MAX]);

/**
 * Adds to a question that its answer may have DNS_ANSWER_BYTES_WANTED. Some old servers refuse to answer such a one.
 *
 * @bytes   of `len`, with DNS_ROOM_BYTES of room behind
 * @return  its length now
 */
size_t dns_question_give_room(uint8_t *bytes, size_t len);

/**
 * Reads an answer to a question.
 *
 * @question     as it was written, `question_len` bytes: without what was added
 * @ret_list     room for `room` addresses, with port 0
 * @ret_count    how many there are, 0 if the name has none of this type. An answer that was cut short counts with what it
 *               has, if anything
 * @return       0; -ENOENT: there is no such name; -EAGAIN: the server cannot tell, or not in so little room; -EBADMSG: it is no answer to this
 *               question, or damaged, and what was asked is still open
 */
int dns_answer_read(const uint8_t *question, size_t question_len, const uint8_t *answer,
	size_t answer_len, struct kcpvpn_endpoint *ret_list, size_t room, size_t *ret_count);

#endif
