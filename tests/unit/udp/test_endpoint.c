#include "kcpvpn/endpoint.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static struct kcpvpn_endpoint from_v6(const char *text, uint16_t port, uint32_t scope)
{
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope};
	struct kcpvpn_endpoint endpoint;

	cr_assert_eq(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
	cr_assert_eq(
		kcpvpn_endpoint_from_sockaddr((struct sockaddr *)&in6, sizeof(in6), &endpoint), 0);
	return endpoint;
}

Test(endpoint, a_mapped_address_is_ipv4)
{
	struct kcpvpn_endpoint mapped = from_v6("::ffff:192.0.2.7", 29900, 0);
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(29900)};
	struct kcpvpn_endpoint plain;
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	inet_pton(AF_INET, "192.0.2.7", &in.sin_addr);
	cr_assert_eq(kcpvpn_endpoint_from_sockaddr((struct sockaddr *)&in, sizeof(in), &plain), 0);
	cr_expect(kcpvpn_endpoint_equal(&mapped, &plain));
	cr_expect_str_eq(kcpvpn_endpoint_format(&mapped, text), "192.0.2.7:29900");
}

Test(endpoint, round_trip_and_text)
{
	static const struct {
		const char *address;
		uint32_t scope;
		const char *text;
	} rows[] = {
		{"2001:db8::1", 0, "[2001:db8::1]:1"},
		{"fe80::1", 3, "[fe80::1%3]:1"},
		{"::", 0, "[::]:1"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kcpvpn_endpoint endpoint = from_v6(rows[i].address, 1, rows[i].scope), again;
		struct sockaddr_storage sa;
		char text[KCPVPN_ENDPOINT_TEXT_BYTES];
		size_t len = kcpvpn_endpoint_to_sockaddr(&endpoint, true, &sa);
		cr_assert_eq(kcpvpn_endpoint_from_sockaddr((struct sockaddr *)&sa, len, &again), 0);
		cr_expect(kcpvpn_endpoint_equal(&endpoint, &again), "row %zu", i);
		cr_expect_str_eq(kcpvpn_endpoint_format(&endpoint, text), rows[i].text);
	}
}

Test(endpoint, refuses_what_is_no_address)
{
	struct sockaddr_un {
		sa_family_t family;
	} un = {AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_storage sa;
	struct kcpvpn_endpoint endpoint, none = {0};
	char text[KCPVPN_ENDPOINT_TEXT_BYTES];

	cr_expect_eq(kcpvpn_endpoint_from_sockaddr((struct sockaddr *)&un, sizeof(un), &endpoint),
		-EAFNOSUPPORT);
	cr_expect_eq(
		kcpvpn_endpoint_from_sockaddr((struct sockaddr *)&in, 4, &endpoint), -EAFNOSUPPORT);
	cr_expect_eq(
		kcpvpn_endpoint_from_sockaddr((struct sockaddr *)&in, 0, &endpoint), -EAFNOSUPPORT);
	cr_expect_eq(kcpvpn_endpoint_to_sockaddr(&none, false, &sa), 0);
	cr_expect_str_eq(kcpvpn_endpoint_format(&none, text), "none");
}
