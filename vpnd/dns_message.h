/* Questions for the addresses of a name, and what servers say to them (RFC 1035, RFC 3596). Pure: bytes in, bytes out. */
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
	DNS_ANSWER_BYTES_MAX = 4096, /* more is cut: who asks without EDNS gets at most 512 */
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
 * Reads an answer to a question.
 *
 * @question     as it was sent, `question_len` bytes
 * @ret_list     room for `room` addresses, with port 0
 * @ret_count    how many there are, 0 if the name has none of this type
 * @return       0; -ENOENT: there is no such name; -EAGAIN: the server cannot tell; -EBADMSG: it is no answer to this
 *               question, or damaged, and what was asked is still open
 */
int dns_answer_read(const uint8_t *question, size_t question_len, const uint8_t *answer,
	size_t answer_len, struct kcpvpn_endpoint *ret_list, size_t room, size_t *ret_count);

#endif
