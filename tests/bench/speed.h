/* kcp-go's EchoSpeed and SinkSpeed over real sockets, each end a thread with a node of its own. */
#ifndef BENCH_SPEED_H
#define BENCH_SPEED_H

#include <stddef.h>
#include <stdint.h>

/**
 * Sends `bytes` and waits until they came back, `count` times. salsa20; FEC 10/3 from the client, none from the server.
 * Exits with a message if something goes wrong.
 *
 * @return  seconds from before the ends were opened until the last byte came
 */
double speed_echo(size_t bytes, uint64_t count);

/**
 * Writes `bytes`, `count` times; no cipher, no FEC. kcp-go's clock stops when the last write was taken, ours when its
 * last byte was read at the other end.
 */
double speed_sink(size_t bytes, uint64_t count);

#endif
