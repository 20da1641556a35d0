/* A TUN device in a network namespace, with addresses: one end of the emulated link. */
#ifndef LAB_TUN_H
#define LAB_TUN_H

#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LAB_TUN_ADDRESSES_MAX = 8,
	LAB_TUN_NETNS_BYTES = 256,
	LAB_TUN_WHY_BYTES = 256,
};

struct lab_tun_address {
	int family; /* AF_INET or AF_INET6 */
	uint8_t prefix_len;
	uint8_t bytes[16]; /* network order; IPv4 in the first four */
};

struct lab_tun_spec {
	char netns[LAB_TUN_NETNS_BYTES]; /* path of the namespace; empty = the caller's own */
	char name[IFNAMSIZ];
	size_t address_count;
	struct lab_tun_address addresses[LAB_TUN_ADDRESSES_MAX];
};

/**
 * Reads `NETNS:IFNAME:ADDRESS/PREFIX[,ADDRESS/PREFIX...]`. NETNS is a name under /run/netns, a path (it contains a
 * slash), or `-` for the caller's own namespace.
 *
 * @why     LAB_TUN_WHY_BYTES; gets one line on failure
 * @return  0 or -EINVAL
 */
int lab_tun_parse(const char *text, struct lab_tun_spec *ret_spec, char *why);

/**
 * Makes the device, up and with its addresses, and returns to the caller's namespace. Needs CAP_NET_ADMIN and, for
 * another namespace, CAP_SYS_ADMIN.
 *
 * @mtu     576 .. 65535 bytes
 * @why     LAB_TUN_WHY_BYTES; gets one line on failure
 * @return  a non-blocking descriptor, which the caller closes (the device goes with it), or a negative errno
 */
int lab_tun_open(const struct lab_tun_spec *spec, unsigned mtu, char *why);

#endif
