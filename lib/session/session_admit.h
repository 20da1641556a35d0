/*
 * What to do with a datagram by its address and conversation number, on a wire that opens
 * conversations without a handshake. The rules are kcp-go's, a little stricter (a conversation belongs
 * to one remote address; a new number there replaces the old conversation if it begins at its
 * beginning), so that either end may be kcp-go.
 */
#ifndef SESSION_SESSION_ADMIT_H
#define SESSION_SESSION_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

enum session_admit_verdict {
	SESSION_ADMIT_DELIVER, /* to the conversation of this address */
	SESSION_ADMIT_OPEN,    /* a new conversation */
	SESSION_ADMIT_REMNANT, /* a conversation that began before we did: answer, so that the other side notices */
	SESSION_ADMIT_REPLACE,	  /* close the old one, open a new one */
	SESSION_ADMIT_STRANGER,	  /* drop: unknown address, and none is accepted */
	SESSION_ADMIT_NO_CONV,	  /* drop: unknown address and the datagram names no conversation */
	SESSION_ADMIT_OTHER_CONV, /* drop: another conversation, not from its beginning */
};

struct session_admit_facts {
	bool known;	   /* the address has a conversation */
	uint32_t own_conv; /* its number */
	bool accepts;	   /* strangers may open conversations; a replacement needs it, too */
	bool has_conv;	   /* the datagram names a conversation (parity does not) */
	uint32_t conv;
	bool remnant;	 /* its first segment acknowledges what no conversation here has sent */
	bool from_start; /* its first segment has sn 0; out of band: never */
};

enum session_admit_verdict session_admit(const struct session_admit_facts *facts);

#endif
