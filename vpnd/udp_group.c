/*
 * A program of classic BPF looks at each datagram when it arrives and answers with the number of a socket. It reads bytes:
 * words would come in network order, and the wire's are the other way round. What is too short to be read ends the
 * program with 0, so socket 0 gets it and its owner drops it.
 *
 * Who may join. The kernel lets in sockets of the same user only, and only behind a first one that was bound alone. Sockets
 * of a running daemon belong to root, whoever handles packets.
 *
 * Source: socket(7) (SO_REUSEPORT, SO_ATTACH_REUSEPORT_CBPF); Linux, net/core/sock_reuseport.c: the program sees the
 * payload of UDP.
 */
#include "vpnd/udp_group.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	TYPE_AT = 0, /* type of datagram */
	TYPE_DATA = 0x0c,
	SHARD_AT = 4, /* lowest byte of the receive index */
	SHARD_MASK = 15,
};

int udp_group_share(int fd)
{
	int on = 1;

	return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ? -errno : 0;
}

int udp_group_steer(int fd, unsigned shards)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TYPE_AT),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TYPE_DATA, 0, 5),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SHARD_AT),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SHARD_MASK),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, shards, 1, 0),
		BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, shards),
	};
	const struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0
		       ? -errno
		       : 0;
}

int udp_group_probe(unsigned shards)
{
	struct sockaddr_in local = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_ANY),
	};
	socklen_t len = sizeof(local);
	int first = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int second = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error = 0;

	if (first < 0 || second < 0 || bind(first, (const struct sockaddr *)&local, len) < 0 ||
		getsockname(first, (struct sockaddr *)&local, &len) < 0)
		error = -errno;
	if (error == 0)
		error = udp_group_share(first);
	if (error == 0)
		error = udp_group_share(second);
	if (error == 0 && bind(second, (const struct sockaddr *)&local, len) < 0)
		error = -errno;
	if (error == 0)
		error = udp_group_steer(first, shards);
	if (first >= 0)
		close(first);
	if (second >= 0)
		close(second);
	return error;
}

int udp_group_shard(const uint8_t *bytes, size_t len, unsigned shards)
{
	if (len <= SHARD_AT)
		return UDP_GROUP_NOBODY;
	if (bytes[TYPE_AT] != TYPE_DATA)
		return UDP_GROUP_REST;
	unsigned shard = bytes[SHARD_AT] & SHARD_MASK;
	return shard < shards ? (int)shard : 0;
}
