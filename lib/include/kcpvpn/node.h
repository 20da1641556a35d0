/*
 * A node: KCP conversations over UDP, on the wire of kcp-go (layers SESSION / KCP / FEC / CRYPTO /
 * UDP).
 *
 * The library does no I/O, reads no clock and starts no thread. The program brings a socket (struct
 * kcpvpn_udp_port), the time (`now_us`, microseconds of a monotonic clock of its choice) and
 * randomness, and turns this wheel:
 *
 *     1. datagrams came          ->  kcpvpn_node_input()
 *     2. the deadline came       ->  kcpvpn_node_on_deadline()
 *     3. while ((conv = kcpvpn_node_next_event(node, &events)))  read, write, accept, close
 *     4. kcpvpn_node_flush()     ->  everything that is to go out leaves, in batches
 *     5. sleep until a datagram comes or kcpvpn_node_next_deadline() is reached
 *
 * A node is used by one thread at a time. Functions that can fail return 0 or a negative errno
 * value.
 *
 * SECURITY: this wire proves nobody's identity, does not detect replayed or reflected packets, and
 * has no forward secrecy; see the README. Whoever knows the key can read and forge everything.
 */
#ifndef KCPVPN_NODE_H
#define KCPVPN_NODE_H

#include "kcpvpn/export.h"
#include "kcpvpn/stats.h"
#include "kcpvpn/udp_port.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;
struct kcpvpn_node;
struct kcpvpn_conv;

#define KCPVPN_NEVER INT64_MAX /* a deadline that is not armed */

enum {
	KCPVPN_KEY_BYTES = 32,
	KCPVPN_MTU_MIN_BYTES = 128,
	KCPVPN_MTU_MAX_BYTES =
		1500, /* kcp-go's receive buffer: what is longer would be cut there */
	KCPVPN_WND_MAX = 32768,
	KCPVPN_OOB_WAITING_MAX =
		16, /* out-of-band messages kept for a conversation until they are taken */
};

/** Which release's timing the engine follows; the bytes are the same and both talk to each other.
 */
enum kcpvpn_profile {
	KCPVPN_PROFILE_5_6_72,
	KCPVPN_PROFILE_5_6_1,
};

struct kcpvpn_config {
	const char *crypt; /* cipher by kcptun's name, see kcpvpn_crypt_name() */
	const uint8_t
		*key; /* lent for kcpvpn_node_new(); a cipher takes the leading bytes it needs */
	size_t key_len;
	uint32_t data_shards; /* FEC group: data and parity datagrams; a 0 = no FEC. Sum at most 255
			       */
	uint32_t parity_shards;
	uint32_t mtu_bytes;   /* UDP payload, KCPVPN_MTU_MIN_BYTES..KCPVPN_MTU_MAX_BYTES */
	bool nodelay;	      /* smaller least RTO, slower growth of it */
	uint32_t interval_ms; /* 10..5000: acknowledgements and window tickets wait no longer */
	uint32_t fast_resend; /* resend after so many later acknowledgements, 0 = off */
	bool no_congestion_window; /* true (all of kcptun's modes): windows alone bound what is in
				      flight */
	uint32_t snd_wnd;	   /* segments, 1..KCPVPN_WND_MAX */
	uint32_t rcv_wnd;
	bool stream;	   /* true: a byte stream; false: messages keep their boundaries */
	bool ack_no_delay; /* acknowledge every datagram at once */
	bool measured_window; /* bound what is in flight by 1.25 x the measured bandwidth-delay product, pace it, and find
				 losses by time */
	enum kcpvpn_profile profile;
	uint32_t send_queue_segments; /* most segments that wait behind the window, 0 = 2 x snd_wnd
				       */
	uint32_t
		convs_max; /* most conversations at once; one more while one that was replaced is not yet closed */
	uint64_t
		memory_max_bytes; /* for segments and shards of all conversations, as they lie in memory */
	int64_t keepalive_us;  /* ask for a sign of life (WASK) after so long without one, 0 = never
				*/
	int64_t dead_after_us; /* something waits for an answer and no datagram came for so long:
				  closed, 0 = never */
	int64_t idle_after_us; /* nothing came and nothing was sent for so long: closed, 0 = never
				*/
};

/** What a conversation has to say. A bit set. */
enum kcpvpn_event {
	KCPVPN_EVENT_ACCEPTED = 1, /* new, opened by the other side */
	KCPVPN_EVENT_READABLE = 2, /* kcpvpn_conv_recv() has something */
	KCPVPN_EVENT_WRITABLE =
		4, /* room for at least one message again after kcpvpn_conv_send() gave -EAGAIN */
	KCPVPN_EVENT_OOB = 8, /* kcpvpn_conv_recv_oob() has something */
	KCPVPN_EVENT_CLOSED =
		16, /* dead, idle for too long, or replaced; call kcpvpn_conv_close() to free it */
	KCPVPN_EVENT_ALIVE = 32, /* the first good datagram came: somebody is there */
};

/** Why a conversation ended by itself. */
enum kcpvpn_close_reason {
	KCPVPN_OPEN,
	KCPVPN_CLOSED_DEAD,	/* dead_after_us */
	KCPVPN_CLOSED_IDLE,	/* idle_after_us */
	KCPVPN_CLOSED_REPLACED, /* its address began another conversation */
};

/** Fills `len` bytes with unpredictable bytes. Must not fail. */
typedef void (*kcpvpn_random_fn)(void *ctx, void *buf, size_t len);

/** The `index`-th cipher name ("aes", ..., "salsa20"), NULL behind the last. Static. */
KCPVPN_API const char *kcpvpn_crypt_name(size_t index);

/**
 * Derives a key from a password as kcptun does (PBKDF2-HMAC-SHA1, 4096 rounds, salt "kcp-go").
 *
 * @return 0; -EIO if the crypto library refuses
 */
KCPVPN_API int kcpvpn_key_derive(
	const char *password, size_t password_len, uint8_t ret_key[KCPVPN_KEY_BYTES]);

/** Sets kcptun's defaults: salsa20, no key yet, 10/3, mtu 1350, mode fast, windows 1024, stream
 * mode. */
KCPVPN_API void kcpvpn_config_init(struct kcpvpn_config *config);

/** Sets the four timing values of kcptun's mode "normal", "fast", "fast2" or "fast3". @return 0 or
 * -EINVAL */
KCPVPN_API int kcpvpn_config_mode(struct kcpvpn_config *config, const char *mode);

/** @return the most bytes of one segment with this configuration (mtu less headers), 0 if it is
 * invalid */
KCPVPN_API size_t kcpvpn_config_mss(const struct kcpvpn_config *config);

/**
 * Makes a node without conversations. The first one initialises the crypto libraries.
 *
 * @config      copied; the key is erased from the node when it is freed
 * @random      used for nonces and conversation numbers, kept with `random_ctx`
 * @ret_node    owned by the caller, freed by kcpvpn_node_free()
 * @return      0; -EINVAL for a value out of range; -ENOKEY for a key too short for the cipher (salsa20 takes any but an
 * empty one and pads it with zeros, as kcp-go does); -ENOTSUP for a cipher that this machine's library does not have;
 * -ENOMEM; -EIO if the crypto library fails its self-test
 */
KCPVPN_API int kcpvpn_node_new(const struct kcpvpn_config *config, kcpvpn_random_fn random,
	void *random_ctx, int64_t now_us, struct kcpvpn_node **ret_node);

/** Frees the node and all its conversations without sending anything. NULL is fine. */
KCPVPN_API void kcpvpn_node_free(struct kcpvpn_node *node);

/**
 * Opens a conversation. Nothing is sent until there is data, or kcpvpn_conv_probe() asks for a sign
 * of life.
 *
 * @port      where its datagrams leave and arrive; must outlive the conversation and the kcpvpn_node_flush() after it
 * @remote    only datagrams from there belong to it
 * @conv      conversation number, 0 = random
 * @return    0; -EADDRINUSE if the port has a conversation with `remote`; -ENOBUFS at convs_max;
 * -ENOMEM
 */
KCPVPN_API int kcpvpn_node_dial(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port,
	const struct kcpvpn_endpoint *remote, uint32_t conv, int64_t now_us,
	struct kcpvpn_conv **ret_conv);

/**
 * Takes datagrams that arrived.
 *
 * @port     where they arrived; compared by address
 * @accept   whether strangers may open conversations here
 * @batch    1..KCPVPN_BATCH_MAX datagrams; the bytes are decrypted in place and lent for the call
 */
KCPVPN_API void kcpvpn_node_input(struct kcpvpn_node *node, const struct kcpvpn_udp_port *port,
	bool accept, const struct kcpvpn_datagram *batch, size_t count, int64_t now_us);

/**
 * A port is about to go: what is ready leaves by it, then every conversation on it is freed without an event, also
 * those the program was never told of. Pointers to them are gone.
 */
KCPVPN_API void kcpvpn_node_close_port(
	struct kcpvpn_node *node, const struct kcpvpn_udp_port *port, int64_t now_us);

/** Does what is due. Harmless when called early. */
KCPVPN_API void kcpvpn_node_on_deadline(struct kcpvpn_node *node, int64_t now_us);

/** @return when to call kcpvpn_node_on_deadline(); KCPVPN_NEVER if nothing will be due */
KCPVPN_API int64_t kcpvpn_node_next_deadline(const struct kcpvpn_node *node);

/** @return a conversation that has events, which are taken; NULL if there is none */
KCPVPN_API struct kcpvpn_conv *kcpvpn_node_next_event(
	struct kcpvpn_node *node, unsigned *ret_events);

/** Sends everything that the calls before made ready. Call it after each round. */
KCPVPN_API void kcpvpn_node_flush(struct kcpvpn_node *node, int64_t now_us);

struct stage_clock;

/** From now on the node enters its stages there (core/stage_clock.h). @stages  lent; NULL = no more */
KCPVPN_API void kcpvpn_node_profile(struct kcpvpn_node *node, struct stage_clock *stages);

/** Copies the counters; costs a walk over the conversations. */
KCPVPN_API void kcpvpn_node_stats(const struct kcpvpn_node *node, struct kcpvpn_stats *ret_stats);

/**
 * Queues a message, or in stream mode bytes.
 *
 * @len     1 or more; a message has at most 255 x mss bytes, and neither it nor a piece of a stream more than the whole
 * queue (send_queue_segments x mss)
 * @return  0: all of it was taken; -EAGAIN: the queue is full, nothing was taken,
 * KCPVPN_EVENT_WRITABLE will tell; -EMSGSIZE: it never will be; -EINVAL for 0 bytes; -ENOBUFS out of memory, as for -EAGAIN; -EPIPE
 * after KCPVPN_EVENT_CLOSED
 */
KCPVPN_API int kcpvpn_conv_send(
	struct kcpvpn_conv *conv, const void *data, size_t len, int64_t now_us);

/**
 * Queues an IP packet of one segment, which its maker writes where it will stay until it is acknowledged.
 *
 * @head    its first bytes, 2 at least: of their DSCP the datagram is
 * @make    writes `len` bytes; called at most once, before this returns
 * @return  as kcpvpn_conv_send(); -EMSGSIZE also if it is longer than a segment, -EINVAL in stream mode or where urgent
 *          packets go out of band: kcpvpn_conv_send() can do it then
 */
KCPVPN_API int kcpvpn_conv_send_made(struct kcpvpn_conv *conv, const uint8_t *head, size_t len,
	void (*make)(void *ctx, uint8_t *at), void *ctx);

/**
 * From now on kcpvpn_conv_window_room() tells of room only if a message of so many segments finds place in the queue. What
 * cannot ever be is taken for all there is. At first 1.
 */
KCPVPN_API void kcpvpn_conv_set_burst(struct kcpvpn_conv *conv, uint32_t segments);

/** @return how many bytes kcpvpn_conv_send() would take now */
KCPVPN_API size_t kcpvpn_conv_send_space(const struct kcpvpn_conv *conv);

/**
 * How many full segments would leave at the next flush if they were sent now, instead of waiting behind the window. For
 * programs with a queue of their own that want packets to wait there. After a 0, KCPVPN_EVENT_WRITABLE tells when there
 * is room again.
 */
KCPVPN_API uint32_t kcpvpn_conv_window_room(struct kcpvpn_conv *conv);

/** Replaces keepalive_us, dead_after_us and idle_after_us of the node's configuration for this conversation. */
KCPVPN_API void kcpvpn_conv_set_times(struct kcpvpn_conv *conv, int64_t keepalive_us,
	int64_t dead_after_us, int64_t idle_after_us);

/** Replaces measured_window of the node's configuration for this conversation. */
KCPVPN_API void kcpvpn_conv_set_measured_window(struct kcpvpn_conv *conv, bool measured);

enum {
	KCPVPN_DSCP_AS_MARKED = -1, /* that of the IP packet that a message is */
};

/**
 * Sets the DSCP of outer packets: 0 .. 63 (0 at first), or in message mode KCPVPN_DSCP_AS_MARKED.
 *
 * Packets of different DSCP then share no datagram. Values out of range mean 0.
 */
KCPVPN_API void kcpvpn_conv_set_dscp(struct kcpvpn_conv *conv, int dscp);

/** No more than so many bits a second leave, parity and headers down to IP counted; 0 = no such bound, as at first. */
KCPVPN_API void kcpvpn_conv_set_rate_max(struct kcpvpn_conv *conv, uint64_t bps);

/**
 * In message mode and with FEC: messages that are IP packets in need of being in time go as kcpvpn_conv_send_oob() does it.
 * The other side takes them out of KCPVPN_EVENT_OOB. Off at first.
 *
 * @return  0 or -ENOMEM
 */
KCPVPN_API int kcpvpn_conv_set_urgent_oob(struct kcpvpn_conv *conv, bool on);

/**
 * Takes the next message, or in stream mode the next bytes that arrived together.
 *
 * @return  0; -EAGAIN if nothing is whole yet; -EMSGSIZE if `capacity` is too small (nothing is
 * taken)
 */
KCPVPN_API int kcpvpn_conv_recv(
	struct kcpvpn_conv *conv, void *buf, size_t capacity, int64_t now_us, size_t *ret_len);

/**
 * Shows the next message in place.
 *
 * @iov     filled with the pieces, borrowed until kcpvpn_conv_recv_drop() or the next input
 * @return  how many pieces; 0 if nothing is whole yet; -EMSGSIZE if there are more than `iov_max`
 */
KCPVPN_API int kcpvpn_conv_recv_peek(
	const struct kcpvpn_conv *conv, struct iovec *iov, int iov_max, size_t *ret_len);

/** Drops the message that kcpvpn_conv_recv_peek() showed. */
KCPVPN_API void kcpvpn_conv_recv_drop(struct kcpvpn_conv *conv, int64_t now_us);

/**
 * Sends an out-of-band message: at once, unordered, unacknowledged, not coded. Needs FEC on this
 * node; kcp-go understands it since 5.6.60.
 *
 * @len     1 .. mss + 20
 * @return  0; -EOPNOTSUPP without FEC; -EMSGSIZE; -EPIPE
 */
KCPVPN_API int kcpvpn_conv_send_oob(struct kcpvpn_conv *conv, const void *data, size_t len);

/** As kcpvpn_conv_recv(), for out-of-band messages. */
KCPVPN_API int kcpvpn_conv_recv_oob(
	struct kcpvpn_conv *conv, void *buf, size_t capacity, size_t *ret_len);

/** Asks the other side for a sign of life (WASK, which every KCP answers with WINS). */
KCPVPN_API void kcpvpn_conv_probe(struct kcpvpn_conv *conv, int64_t now_us);

/** Sends what a last flush gives and frees the conversation: the pointer is gone. The peer is not
 * told. */
KCPVPN_API void kcpvpn_conv_close(struct kcpvpn_conv *conv, int64_t now_us);

/** @return true once all that was sent is acknowledged and nothing waits */
KCPVPN_API bool kcpvpn_conv_drained(const struct kcpvpn_conv *conv);

/** @return when the last good datagram came, -1 = none yet */
KCPVPN_API int64_t kcpvpn_conv_last_rx(const struct kcpvpn_conv *conv);

KCPVPN_API enum kcpvpn_close_reason kcpvpn_conv_close_reason(const struct kcpvpn_conv *conv);
KCPVPN_API uint32_t kcpvpn_conv_number(const struct kcpvpn_conv *conv);
KCPVPN_API const struct kcpvpn_endpoint *kcpvpn_conv_remote(const struct kcpvpn_conv *conv);
KCPVPN_API const struct kcpvpn_udp_port *kcpvpn_conv_port(const struct kcpvpn_conv *conv);
KCPVPN_API void kcpvpn_conv_stats(
	const struct kcpvpn_conv *conv, struct kcpvpn_conv_stats *ret_stats);

/** A pointer of the program's own, NULL at first. The library never looks at it. */
KCPVPN_API void kcpvpn_conv_set_user(struct kcpvpn_conv *conv, void *user);
KCPVPN_API void *kcpvpn_conv_user(const struct kcpvpn_conv *conv);

#endif
