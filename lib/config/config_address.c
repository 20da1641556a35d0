/*
 * Addresses as people write them: CIDRs, host:port, [v6]:port.
 *
 * inet_pton() decides what an address is, so the odd forms of inet_aton() (`10.1`, `012.0.0.1`) are not
 * taken. Ports and prefix lengths are decimal without a sign or leading zeros.
 */
#include "config/config_address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* @return 0, or -EINVAL if `text` is not a decimal number of 0..max */
static int parse_decimal(const char *text, unsigned max, unsigned *ret_number)
{
	unsigned number = 0;

	if (!isdigit((unsigned char)text[0]) || (text[0] == '0' && text[1] != '\0'))
		return -EINVAL;
	for (const char *at = text; *at; at++) {
		if (!isdigit((unsigned char)*at))
			return -EINVAL;
		number = 10 * number + (unsigned)(*at - '0');
		if (number > max)
			return -EINVAL;
	}
	*ret_number = number;
	return 0;
}

static int parse_address(const char *text, uint8_t *ret_family, uint8_t ret_address[16])
{
	uint8_t address[16] = {0};

	if (inet_pton(AF_INET, text, address) == 1)
		*ret_family = 4;
	else if (inet_pton(AF_INET6, text, address) == 1)
		*ret_family = 6;
	else
		return -EINVAL;
	memcpy(ret_address, address, sizeof(address));
	return 0;
}

bool address_is_mapped(const struct ip_prefix *cidr)
{
	static const uint8_t PREFIX[12] = {[10] = 0xff, [11] = 0xff};

	return cidr->family == 6 && cidr->length >= 96 &&
	       memcmp(cidr->address, PREFIX, sizeof(PREFIX)) == 0;
}

const char *address_unusable(const struct ip_prefix *cidr)
{
	static const uint8_t ZERO[16];

	if (cidr->family == 4) {
		if (memcmp(cidr->address, ZERO, 4) == 0)
			return "the unspecified address";
		if (cidr->address[0] == 127)
			return "a loopback address";
		if (cidr->address[0] >= 224)
			return "a multicast or reserved address";
		return NULL;
	}
	if (memcmp(cidr->address, ZERO, 16) == 0)
		return "the unspecified address";
	if (memcmp(cidr->address, ZERO, 15) == 0 && cidr->address[15] == 1)
		return "the loopback address";
	if (cidr->address[0] == 0xff)
		return "a multicast address";
	if (address_is_mapped(cidr))
		return "an IPv4 address in IPv6 form; write it as IPv4";
	return NULL;
}

/* Cuts "[v6]:port" or "host:port" in two. @return the bytes of the host, 0 = neither form */
static size_t split_port(const char *text, const char **ret_host, unsigned *ret_port, bool *ret_v6)
{
	const char *colon = strrchr(text, ':');

	if (!colon || parse_decimal(colon + 1, 65535, ret_port) || *ret_port == 0)
		return 0;
	if (text[0] == '[') {
		if (colon < text + 2 || colon[-1] != ']')
			return 0;
		*ret_host = text + 1;
		*ret_v6 = true;
		return (size_t)(colon - 1 - (text + 1));
	}
	*ret_host = text;
	*ret_v6 = false;
	/* an IPv6 address without brackets is not a host and a port */
	return memchr(text, ':', (size_t)(colon - text)) ? 0 : (size_t)(colon - text);
}

/* Letters, digits, '.', '-', '_': names that resolvers take; all-numeric ones must be addresses. */
static bool host_ok(const char *host)
{
	uint8_t address[16];
	size_t len = strlen(host);
	bool numeric = true;

	if (len == 0 || len > 253 || host[0] == '.' || host[0] == '-')
		return false;
	for (const char *at = host; *at; at++) {
		unsigned char c = (unsigned char)*at;
		if (!(c < 0x80 && isalnum(c)) && !strchr("._-", c))
			return false;
		if (c == '.' && at[1] == '.')
			return false;
		if (!isdigit(c) && c != '.')
			numeric = false;
	}
	return !numeric || inet_pton(AF_INET, host, address) == 1;
}

static bool scope_ok(const char *scope)
{
	size_t len = strlen(scope);

	if (len == 0 || len > CONFIG_DEVICE_MAX)
		return false;
	for (const char *at = scope; *at; at++) {
		if (!isgraph((unsigned char)*at) || strchr("/%[]:", *at))
			return false;
	}
	return true;
}

int config_endpoint_parse(const char *text, struct config_endpoint *ret_endpoint)
{
	const char *at = NULL;
	unsigned port = 0;
	bool v6 = false;
	size_t len = split_port(text, &at, &port, &v6);

	if (len == 0 || len > 253)
		return -EINVAL;
	char *host = strndup(at, len);
	if (!host)
		return -ENOMEM;
	bool ok = false;
	if (v6) {
		uint8_t address[16];
		char *scope = strchr(host, '%');
		if (scope)
			*scope = '\0';
		ok = inet_pton(AF_INET6, host, address) == 1 && (!scope || scope_ok(scope + 1));
		if (scope)
			*scope = '%';
	} else {
		ok = host_ok(host);
	}
	if (!ok) {
		free(host);
		return -EINVAL;
	}
	ret_endpoint->host = host;
	ret_endpoint->port = (uint16_t)port;
	return 0;
}

int address_parse_listen(const char *text, struct kcpvpn_endpoint *ret_endpoint)
{
	char host[INET6_ADDRSTRLEN + 16];
	const char *at = NULL;
	unsigned port = 0;
	unsigned scope_id = 0;
	bool v6 = false;
	size_t len = split_port(text, &at, &port, &v6);
	struct kcpvpn_endpoint endpoint = {0};

	if (len == 0 || len >= sizeof(host))
		return -EINVAL;
	memcpy(host, at, len);
	host[len] = '\0';
	char *scope = strchr(host, '%');
	if (scope) {
		*scope = '\0';
		/* a number, because names of interfaces are not for this layer to resolve */
		if (parse_decimal(scope + 1, INT32_MAX, &scope_id))
			return -EINVAL;
	}
	if (parse_address(host, &endpoint.family, endpoint.address))
		return -EINVAL;
	if (v6 != (endpoint.family == 6) || (scope && !v6))
		return -EINVAL;
	endpoint.scope_id = scope_id;
	endpoint.port = (uint16_t)port;
	*ret_endpoint = endpoint;
	return 0;
}

char *address_format_listen(
	const struct kcpvpn_endpoint *endpoint, char text[KCPVPN_ENDPOINT_TEXT_BYTES])
{
	char address[INET6_ADDRSTRLEN] = "?";
	char scope[16] = "";

	if (endpoint->family == 4) {
		(void)inet_ntop(AF_INET, endpoint->address, address, sizeof(address));
		(void)snprintf(text, KCPVPN_ENDPOINT_TEXT_BYTES, "%s:%u", address, endpoint->port);
		return text;
	}
	(void)inet_ntop(AF_INET6, endpoint->address, address, sizeof(address));
	if (endpoint->scope_id)
		(void)snprintf(scope, sizeof(scope), "%%%u", endpoint->scope_id);
	(void)snprintf(
		text, KCPVPN_ENDPOINT_TEXT_BYTES, "[%s%s]:%u", address, scope, endpoint->port);
	return text;
}
