/*
 * The way of inner packets between the TUN device and the peers, the same for every wire:
 *
 *      TUN -> whose is the destination? -> MSS clamp, size -> cut into messages -> the peer's queue -> wire
 *      wire -> one whole IP packet, or a super-packet? -> is the source the peer's? -> MSS clamp -> put together -> TUN
 */
#ifndef VPND_PACKET_PATH_H
#define VPND_PACKET_PATH_H

#include "core/ip_header.h"
#include "core/ip_prefix.h"
#include "core/list.h"
#include "core/mono.h"
#include "core/pool.h"
#include "core/super_merge.h"
#include "core/super_packet.h"
#include "vpnd/allowed_ips.h"
#include "vpnd/wake_pace.h"
#include "vpnd/wire.h"

#include <stdbool.h>
#include <stdint.h>

struct iovec;
struct peer;
struct stage_clock;
struct tun;

enum {
	PACKET_PATH_TUN_BATCH = 128, /* packets read from the TUN device in one go, */
	PACKET_PATH_TUN_BATCH_BYTES = 256
				      << 10, /* and about so many bytes: what a core has at hand, */
	PACKET_PATH_TUN_BATCH_MOST = 4 << 20, /* or twice as many each time while more waits */
	PACKET_PATH_TUNE_US = 100000,	      /* how often a queue is told of the measured path */
	PACKET_PATH_ICMP_BURST = 50,	      /* ICMP errors to inner senders */
	PACKET_PATH_ICMP_PER_S = 100,
	PACKET_PATH_SLOT_BYTES = 2048,	/* room for a packet, if the MTU is not larger */
	PACKET_PATH_QUEUED_MAX = 16384, /* packets that wait for all peers together */
	PACKET_PATH_FRONT_BYTES =
		16, /* in front of one that is read, for the header of the device */
	PACKET_PATH_WHOLE_BYTES = 65600, /* room for any packet, or message of one */
	PACKET_PATH_MESSAGE_BYTES = PACKET_PATH_WHOLE_BYTES, /* the same */
	PACKET_PATH_MESSAGES_MAX = 1024, /* of these that wait, beside the packets */
	PACKET_PATH_LENT_MAX =
		PACKET_PATH_MESSAGES_MAX * 3 / 4, /* in use, those that fly are copied */
	PACKET_PATH_LENT_BYTES =
		8192, /* a shorter message is copied: it would hold the room of a long one */
	PACKET_PATH_MESSAGE_US = 500,	 /* a message takes no more of the path's time */
	PACKET_PATH_PEER_MTU_MIN = 1280, /* what a shorter path cuts in pieces */
	PACKET_PATH_AWAY_MAX = 64,	 /* packets that wait for a peer that is not there */
	PACKET_PATH_ROOM_BATCH = 64,	 /* packets dropped at once where all slots are taken */
};

struct packet_path_counters {
	uint64_t no_peer;		 /* from the host: no peer has this destination */
	uint64_t malformed[IP_VERDICTS]; /* from the host: not an IP packet */
	uint64_t
		multicast; /* from the host: multicast and link-local, which the tunnel does not carry */
	uint64_t no_memory; /* from the host: there was no slot, and nothing to drop for one */
	uint64_t super[SUPER_VERDICTS]; /* from the host: not as its header says */
	uint64_t icmp_sent;
	uint64_t icmp_limited; /* ICMP errors not sent for there were too many */
};

struct packet_path {
	struct tun *tun;
	struct wire *wire;
	struct stage_clock *stages; /* NULL = nobody measures */
	struct allowed_ips owners;  /* inner address -> struct peer */
	struct pool packets;	    /* that wait in queues */
	struct pool long_packets;   /* messages of many segments that wait there */
	struct ingress_packet
		*spare;		  /* of those: what the host sends is read into it; NULL = none */
	struct super_merge merge; /* what goes to the host, if its device takes super-packets */
	bool merging;		  /* `merge` is there */
	bool unfiltered;	  /* peers with a device of their own may send from any address */
	struct peer *merge_peer;  /* whose packets lie in it; NULL = nothing does */
	struct list pump;	  /* peers with packets waiting whose wire was ready */
	struct list waiting;	  /* all peers with packets waiting, and some without */
	struct packet_path_counters counters;
	struct wake_pace pace; /* of the thread, by what peers bring */
	uint16_t mtu_bytes;    /* largest inner packet of the device */
	uint32_t icmp_tokens;
	struct mono icmp_refilled_at;
	uint8_t scratch[PACKET_PATH_FRONT_BYTES +
			PACKET_PATH_WHOLE_BYTES]; /* a packet from the host, without a spare; a message of several pieces, put together */
	uint8_t segment
		[PACKET_PATH_WHOLE_BYTES]; /* cut from one that the host doesn't take whole */
};

/**
 * Without memory for it packets are not put together, and all else goes on.
 *
 * @tun        may be closed as long as nothing is read or written
 * @mtu_bytes  of the device
 */
void packet_path_init(
	struct packet_path *path, struct tun *tun, uint16_t mtu_bytes, struct mono now);

/** Takes over another MTU, as far as the slots have room for it. */
void packet_path_set_mtu(struct packet_path *path, uint16_t mtu_bytes);

/** All peers must be gone. */
void packet_path_fini(struct packet_path *path);

/**
 * Reads what the host sends and queues it.
 *
 * @return  0; -ENODEV: the device is gone
 */
int packet_path_read_tun(struct packet_path *path, struct mono now);

/** The same for the device of one peer, to whom all goes that comes out of it. */
int packet_path_read_peer_tun(struct packet_path *path, struct peer *peer, struct mono now);

/** Hands what waits to the wire, in turns, as far as the wire takes it. */
void packet_path_pump(struct packet_path *path, struct mono now);

/** The wire can take packets of this peer again. */
void packet_path_writable(struct packet_path *path, struct peer *peer);

/**
 * To be called once in a while for every peer: drops what has waited too long, whoever does not take it, and gives back the
 * memory of a queue that is empty.
 */
void packet_path_rest(struct packet_path *path, struct peer *peer, struct mono now);

/** To be called once in a while: gives back the memory that reading takes, and what of the pools was not used since the last time. */
void packet_path_trim(struct packet_path *path);

/**
 * Queues a message for a peer that another thread took from the host, in the form that wire_ops.send takes; cut anew, as the
 * path asks here. Whoever does not own its destination, or no longer does, does not get it.
 */
void packet_path_put(struct packet_path *path, struct peer *peer, const void *message, size_t len,
	struct mono now);

/** A message of `peer` came: checks it and gives it to the host. */
void packet_path_received(struct packet_path *path, struct peer *peer, const struct iovec *pieces,
	int count, size_t len);

/** Gives the host what waits to be put together with more: at the end of each batch, and before a peer is freed. */
void packet_path_flush(struct packet_path *path);

/** @return the peer whose inner address is the source of this packet, NULL if none's, or no packet */
struct peer *packet_path_owner(
	struct packet_path *path, const struct iovec *pieces, int count, size_t len);

#endif
