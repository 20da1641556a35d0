/* Addresses and endpoints in configuration files. The public half is in config.h. */
#ifndef CONFIG_ADDRESS_H
#define CONFIG_ADDRESS_H

#include "config/config.h"

/** An IPv4 address in IPv6 form, ::ffff:192.0.2.1. */
bool address_is_mapped(const struct ip_prefix *cidr);

/** Why an address cannot be given to an interface ("a multicast address"); NULL if it can. */
const char *address_unusable(const struct ip_prefix *cidr);

/** "address:port" or "[v6]:port", numeric. @return 0 or -EINVAL */
int address_parse_listen(const char *text, struct kcpvpn_endpoint *ret_endpoint);

/** "192.0.2.1:29900", "[::]:29900". @return `text` */
char *address_format_listen(
	const struct kcpvpn_endpoint *endpoint, char text[KCPVPN_ENDPOINT_TEXT_BYTES]);

#endif
