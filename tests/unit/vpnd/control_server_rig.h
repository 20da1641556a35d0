/*
 * What the tests of the control server stand on: a server on its real socket in a temporary folder, a real loop that is turned
 * by hand, and a daemon behind it that is a row of variables. A test speaks to it by short words: dial, tell, hear.
 */
#ifndef TESTS_VPND_CONTROL_SERVER_RIG_H
#define TESTS_VPND_CONTROL_SERVER_RIG_H

#include "control/control_msg.h"
#include "vpnd/control_server.h"
#include "vpnd/control_verbs.h"
#include "vpnd/log_ring.h"
#include "vpnd/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct control_rig {
	char dir[64];
	char path[100];
	struct loop *loop;
	struct control_server *server;
	struct log_ring ring;

	enum control_state peer_state;
	enum control_state link_state;
	int up_calls, down_calls, reload_calls;
	int documents;	 /* of all peers, begun */
	int peers_asked; /* one by one */
	int heads;	 /* of documents, asked for */
	int looks;	 /* at the states */
	size_t at;	 /* peers in the document so far */
	int64_t cpu_us, peer_cost_us;
	int reload_rc;	  /* in place of an outcome */
	int peer_changes; /* peer.add and peer.del, asked for */
	char changed_peer[64], changed_key[64];
	size_t changed_ips;
	int ping_rc;	 /* in place of sending one */
	int64_t pong_ms; /* -1 = no answer yet */
	int pings;
	int64_t ping_size;
	int64_t generation;
	bool bad_config;
	size_t many_peers;
	bool nobody_to_call;
};

/** The only one. */
extern struct control_rig rig;

/** Before and after each test: for TestSuite(). The latter also looks that nothing is left in the file system. */
void control_rig_open(void);
void control_rig_close(void);

/** The daemon behind it. Its link has one peer, "branch", and `many_peers` more. */
struct control_ops control_rig_ops(void);
int64_t control_rig_cpu_us(void);

/** Opens another on the same path. @trusted  whose orders are taken like root's */
int control_rig_open_server(uid_t trusted, struct control_server **ret, struct control_error *err);

/** Turns the loop until nothing is ready any more, not even by what the hook after the round did. */
void turn(void);

/** Connects. */
int dial(void);

/** Sends, and lets it be worked on. */
void tell(int fd, const char *text);

/** Sends only. */
void post(int fd, const char *text);

/** Everything that has come, until the next call; "" = nothing yet, "EOF" = closed and nothing left. */
const char *hear(int fd);

/** All of one line, until the next call; turns the loop until it is there. */
char *hear_line(int fd);

/** The test fails if `part` is not in `text`. */
void has(const char *text, const char *part);

/** How often `part` is in `text`. */
size_t count_of(const char *text, const char *part);

/** Asks for everything. */
extern const char STATUS[];

#endif
