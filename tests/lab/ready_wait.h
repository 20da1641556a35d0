/* Waits for a program to say READY in the way a service manager does, so that scripts need not guess with sleeps. */
#ifndef LAB_READY_WAIT_H
#define LAB_READY_WAIT_H

#include <stdint.h>

/**
 * Binds a Unix datagram socket at `path`, open to all users, and reads until a datagram holds the line `READY=1`.
 * The socket's file is removed again.
 *
 * @path        to be given to the program as NOTIFY_SOCKET
 * @timeout_ms  -1 = for ever
 * @return      0, -ETIMEDOUT, or another negative errno
 */
int ready_wait(const char *path, int64_t timeout_ms);

#endif
