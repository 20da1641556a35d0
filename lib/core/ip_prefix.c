/* Bits are numbered from the most significant of the first byte, as prefix lengths count them. */
#include "core/ip_prefix.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

bool ip_prefix_bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned bytes = bits / 8;
	unsigned rest = bits % 8;

	if (memcmp(a, b, bytes) != 0)
		return false;
	return rest == 0 || (uint8_t)(a[bytes] ^ b[bytes]) >> (8 - rest) == 0;
}

bool ip_prefix_contains(const struct ip_prefix *outer, const struct ip_prefix *inner)
{
	return outer->family == inner->family && outer->length <= inner->length &&
	       ip_prefix_bits_equal(outer->address, inner->address, outer->length);
}

void ip_prefix_mask(struct ip_prefix *prefix)
{
	unsigned byte = prefix->length / 8;

	if (byte >= sizeof(prefix->address))
		return;
	if (prefix->length % 8)
		prefix->address[byte++] &= (uint8_t)(0xff00 >> (prefix->length % 8));
	memset(prefix->address + byte, 0, sizeof(prefix->address) - byte);
}

char *ip_prefix_format(const struct ip_prefix *prefix, char text[IP_PREFIX_TEXT_BYTES])
{
	char address[INET6_ADDRSTRLEN] = "none";
	int family = prefix->family == 4 ? AF_INET : AF_INET6;

	if (ip_prefix_valid(prefix))
		(void)inet_ntop(family, prefix->address, address, sizeof(address));
	(void)snprintf(text, IP_PREFIX_TEXT_BYTES, "%s/%u", address, prefix->length);
	return text;
}

/* 0..`most` in decimal without a sign or leading zeroes. @return -1 if it is not that */
static int parse_length(const char *text, unsigned most)
{
	unsigned value = 0;

	if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > most)
			return -1;
	}
	return (int)value;
}

int ip_prefix_parse(const char *text, struct ip_prefix *ret_prefix)
{
	struct ip_prefix prefix = {0};
	char address[INET6_ADDRSTRLEN + 1];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);

	if (len >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = '\0';
	if (inet_pton(AF_INET, address, prefix.address) == 1)
		prefix.family = 4;
	else if (inet_pton(AF_INET6, address, prefix.address) == 1)
		prefix.family = 6;
	else
		return -EINVAL;
	int length = (int)ip_prefix_bits_max(prefix.family);
	if (slash)
		length = parse_length(slash + 1, (unsigned)length);
	if (length < 0)
		return -EINVAL;
	prefix.length = (uint8_t)length;
	*ret_prefix = prefix;
	return 0;
}
