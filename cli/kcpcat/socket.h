/* kcpcat's UDP socket: the program's side of struct kcpvpn_udp_port. */
#ifndef KCPCAT_SOCKET_H
#define KCPCAT_SOCKET_H

#include "kcpvpn/udp_port.h"

#include <stdbool.h>

struct udp_socket {
	struct kcpvpn_udp_port port;   /* handed to the library; ctx = this */
	struct kcpvpn_endpoint remote; /* dialled; family 0 = listening */
	bool mapped;		       /* an IPv6 socket: IPv4 goes as mapped addresses */
	int fd;
	uint64_t send_errors;
	uint8_t *buffer; /* for arriving datagrams */
};

/**
 * Resolves and opens. Says on stderr what went wrong.
 *
 * @host    NULL = any address
 * @return  0 or -1
 */
int udp_socket_open(struct udp_socket *s, const char *host, const char *port, bool listen);

void udp_socket_close(struct udp_socket *s);

/** @return how many datagrams arrived (up to KCPVPN_BATCH_MAX); 0 if none waits. Borrowed until the next call. */
size_t udp_socket_receive(struct udp_socket *s, struct kcpvpn_datagram batch[KCPVPN_BATCH_MAX]);

#endif
