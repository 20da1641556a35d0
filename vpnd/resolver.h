/*
 * Names to addresses without stopping the loop: getaddrinfo() in one helper thread, which starts with the first name
 * that needs it. All functions are called on the loop's thread, and so are the answers.
 */
#ifndef VPND_RESOLVER_H
#define VPND_RESOLVER_H

#include "kcpvpn/endpoint.h"

#include <stddef.h>

struct addrinfo;
struct loop;
struct resolver;
struct resolver_job;

enum {
	RESOLVER_ENDPOINTS_MAX = 16, /* of one name; more are ignored */
	RESOLVER_NAME_BYTES = 272,   /* 253 bytes of host name, ":65535", brackets, final zero */
	RESOLVER_JOBS_MAX = 4096,    /* questions that wait at once */
};

struct resolver_answer {
	int err; /* 0; -ENOENT: no such name or no address; -EAGAIN: may work later; another negative errno */
	const char *text; /* why, "" if err is 0 */
	size_t count;	  /* 0 if err is not */
	struct kcpvpn_endpoint
		endpoints[RESOLVER_ENDPOINTS_MAX]; /* in the host's order of preference */
};

/** Embedded by whoever asks. Zeroed = nothing asked. */
struct resolver_query {
	/** Gets the answer, borrowed for the call. The query is free for another question and may be freed. */
	void (*on_answer)(struct resolver_query *query, const struct resolver_answer *answer);
	struct resolver_job *job; /* the resolver's; NULL = no question is open */
};

/** Same contract as getaddrinfo(); its results are freed by freeaddrinfo(). Called on the helper thread. */
typedef int (*resolver_lookup_fn)(const char *host, const char *service,
	const struct addrinfo *hints, struct addrinfo **ret_list);

/**
 * @lookup  NULL = getaddrinfo()
 * @return  0 or a negative errno
 */
int resolver_new(struct loop *loop, resolver_lookup_fn lookup, struct resolver **ret_resolver);

/**
 * Forgets all questions, whose answers never come, and frees the resolver without waiting for a lookup that hangs: its
 * thread ends by itself and touches nothing of the caller's.
 */
void resolver_free(struct resolver *resolver);

/**
 * Asks for "host:port", "192.0.2.1:port" or "[2001:db8::1]:port". A question still open in this query is cancelled.
 *
 * Numeric addresses are answered before the call returns.
 *
 * @return  0: the answer comes or came; -EINVAL: not of this form; -ENOBUFS, -ENOMEM, -EAGAIN (no thread): no answer
 *          will come
 */
int resolver_ask(struct resolver *resolver, struct resolver_query *query, const char *host_port);

/** Makes sure that no answer comes. Harmless if none is open. */
void resolver_cancel(struct resolver *resolver, struct resolver_query *query);

/**
 * Reads "192.0.2.1:29900", "[2001:db8::1]:29900" or "[fe80::1%eth0]:29900" without any lookup.
 *
 * @return  0; -EINVAL if it is no numeric address with a port 0..65535
 */
int resolver_parse_numeric(const char *text, struct kcpvpn_endpoint *ret_endpoint);

#endif
