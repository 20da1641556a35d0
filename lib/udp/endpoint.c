/* Conversions between socket addresses and endpoints. IPv4-mapped IPv6 is turned into IPv4 at this
 * edge. */
#include "kcpvpn/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static const uint8_t MAPPED_PREFIX[12] = {[10] = 0xff, [11] = 0xff};

int kcpvpn_endpoint_from_sockaddr(
	const struct sockaddr *sa, size_t len, struct kcpvpn_endpoint *ret_endpoint)
{
	struct kcpvpn_endpoint endpoint = {0};

	if (len < sizeof(sa->sa_family))
		return -EAFNOSUPPORT;
	if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof(in));
		endpoint.family = 4;
		endpoint.port = ntohs(in.sin_port);
		memcpy(endpoint.address, &in.sin_addr, 4);
	} else if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof(in6));
		endpoint.port = ntohs(in6.sin6_port);
		if (memcmp(&in6.sin6_addr, MAPPED_PREFIX, sizeof(MAPPED_PREFIX)) == 0) {
			endpoint.family = 4;
			memcpy(endpoint.address, in6.sin6_addr.s6_addr + 12, 4);
		} else {
			endpoint.family = 6;
			endpoint.scope_id = in6.sin6_scope_id;
			memcpy(endpoint.address, &in6.sin6_addr, 16);
		}
	} else {
		return -EAFNOSUPPORT;
	}
	*ret_endpoint = endpoint;
	return 0;
}

size_t kcpvpn_endpoint_to_sockaddr(
	const struct kcpvpn_endpoint *endpoint, bool mapped, struct sockaddr_storage *ret_sa)
{
	memset(ret_sa, 0, sizeof(*ret_sa));
	if (endpoint->family == 4 && !mapped) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};
		memcpy(&in.sin_addr, endpoint->address, 4);
		memcpy(ret_sa, &in, sizeof(in));
		return sizeof(in);
	}
	if (endpoint->family != 4 && endpoint->family != 6)
		return 0;
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(endpoint->port),
		.sin6_scope_id = endpoint->scope_id,
	};
	if (endpoint->family == 4) {
		memcpy(in6.sin6_addr.s6_addr, MAPPED_PREFIX, sizeof(MAPPED_PREFIX));
		memcpy(in6.sin6_addr.s6_addr + 12, endpoint->address, 4);
	} else {
		memcpy(&in6.sin6_addr, endpoint->address, 16);
	}
	memcpy(ret_sa, &in6, sizeof(in6));
	return sizeof(in6);
}

char *kcpvpn_endpoint_format(
	const struct kcpvpn_endpoint *endpoint, char text[KCPVPN_ENDPOINT_TEXT_BYTES])
{
	char address[INET6_ADDRSTRLEN] = "";
	char scope[16] = "";

	if (endpoint->family == 4) {
		(void)inet_ntop(AF_INET, endpoint->address, address, sizeof(address));
		(void)snprintf(text, KCPVPN_ENDPOINT_TEXT_BYTES, "%s:%u", address, endpoint->port);
	} else if (endpoint->family == 6) {
		(void)inet_ntop(AF_INET6, endpoint->address, address, sizeof(address));
		if (endpoint->scope_id)
			(void)snprintf(scope, sizeof(scope), "%%%u", endpoint->scope_id);
		(void)snprintf(text, KCPVPN_ENDPOINT_TEXT_BYTES, "[%s%s]:%u", address, scope,
			endpoint->port);
	} else {
		(void)snprintf(text, KCPVPN_ENDPOINT_TEXT_BYTES, "none");
	}
	return text;
}
