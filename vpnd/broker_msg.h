/*
 * What worker and helper say to each other: one datagram of fixed size a request, one an answer, on a Unix
 * SOCK_SEQPACKET pair that nobody else has. Both ends are the same program, so numbers are in host order.
 */
#ifndef VPND_BROKER_MSG_H
#define VPND_BROKER_MSG_H

#include "core/ip_prefix.h"
#include "kcpvpn/endpoint.h"
#include "vpnd/fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum broker_verb {
	BROKER_LINK = 1,       /* value: 0 down, 1 up */
	BROKER_MTU,	       /* value: bytes */
	BROKER_ADDRESS_ADD,    /* prefix */
	BROKER_ADDRESS_REMOVE, /* prefix */
	BROKER_ROUTE_ADD,      /* prefix, table, metric, protocol */
	BROKER_ROUTE_REMOVE,   /* the same */
	BROKER_READ_CONFIG,    /* answered with a descriptor: the record of what was read */
	BROKER_KEEP_CONFIG,    /* the one read last is in force */
	BROKER_UDP_SOCKET,     /* endpoint; value: mark; joins; answered with a descriptor */
	BROKER_TUNNEL,	       /* value: enum broker_tunnel; answered with how many rules changed */
	BROKER_DNS,	       /* value: 0 = resolvers as they were, 1 = the tunnel's */
	BROKER_HOOK, /* value: enum config_hook; of a peer: its name, and as it comes where it is */
	BROKER_TUN,  /* name of a peer: a device for it; answered with a descriptor */
	BROKER_DESTINATION, /* prefix: inner addresses of a peer that an order brought */
	BROKER_END,	    /* remove what is on the host; the last request */
	BROKER_VERBS,
};

enum broker_tunnel {
	BROKER_TUNNEL_OFF,     /* no rules of a full tunnel */
	BROKER_TUNNEL_ON,      /* those that it takes */
	BROKER_TUNNEL_REFRESH, /* only what depends on the host's other devices and routes */
};

enum {
	BROKER_NAME_BYTES = 64, /* of a peer, with its final zero */
};

/**
 * Fields that a verb does not use are zero. What concerns a device concerns that of the peer `name`, or the network's own
 * if there is no name.
 */
struct broker_request {
	enum broker_verb verb;
	uint32_t sequence; /* comes back with the answer */
	uint32_t value;
	uint32_t table;
	uint32_t metric;
	uint8_t protocol;
	bool joins; /* the socket shares its port with another of ours */
	struct ip_prefix prefix;
	struct kcpvpn_endpoint endpoint;
	char name[BROKER_NAME_BYTES];
};

struct broker_answer {
	uint32_t sequence;
	uint32_t value;	    /* as the verb says; else 0 */
	struct fault fault; /* fault.err is 0 or a negative errno */
};

enum {
	BROKER_REQUEST_BYTES = 52 + BROKER_NAME_BYTES,
	BROKER_ANSWER_BYTES = 12 + FAULT_CODE_BYTES + 2 * FAULT_TEXT_BYTES,
};

void broker_request_write(const struct broker_request *request, uint8_t out[BROKER_REQUEST_BYTES]);

/**
 * Reads a request and checks its form: size, verb, ranges, and that nothing is set that the verb does not use.
 *
 * @len     as received
 * @return  0 or -EBADMSG; `ret_request` is untouched on failure
 */
int broker_request_read(const uint8_t *data, size_t len, struct broker_request *ret_request);

void broker_answer_write(const struct broker_answer *answer, uint8_t out[BROKER_ANSWER_BYTES]);

/** @return 0 or -EBADMSG */
int broker_answer_read(const uint8_t *data, size_t len, struct broker_answer *ret_answer);

#endif
