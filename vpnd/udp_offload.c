/*
 * What the kernel says of runs is checked before it is believed: a length of 0 or below, or one that would make more
 * datagrams than any kernel puts together, means that something else is meant than we think.
 *
 * A kernel from before UDP_SEGMENT ignores the control message and would send a run as one huge datagram, in fragments;
 * so it is asked for the socket option of the same name first.
 *
 * Source: udp(7); Linux, Documentation/networking/segmentation-offloads.rst.
 */
#include "vpnd/udp_offload.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/ioctl.h>

bool udp_offload_can_send(int fd)
{
	int value;
	socklen_t len = sizeof(value);

	return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &len) == 0;
}

bool udp_offload_device_sums(int fd, int ifindex)
{
	struct ifreq request = {.ifr_ifindex = ifindex};
	struct ethtool_value value = {.cmd = ETHTOOL_GTXCSUM};

	if (ifindex <= 0 || fd < 0 || ioctl(fd, SIOCGIFNAME, &request) < 0)
		return false;
	request.ifr_data = (void *)&value;
	return ioctl(fd, SIOCETHTOOL, &request) == 0 && value.data != 0;
}

bool udp_offload_receive(int fd)
{
	int on = 1;

	return setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0;
}

size_t udp_offload_run(const struct kcpvpn_datagram *batch, size_t count)
{
	size_t total = batch[0].len;
	size_t n = 1;

	if (count > UDP_OFFLOAD_SEGMENTS_MAX)
		count = UDP_OFFLOAD_SEGMENTS_MAX;
	while (n < count && batch[n - 1].len == batch[0].len && batch[n].len > 0 &&
		batch[n].len <= batch[0].len && batch[n].tos == batch[0].tos &&
		total + batch[n].len <= UDP_OFFLOAD_BYTES_MAX &&
		kcpvpn_endpoint_equal(&batch[n].remote, &batch[0].remote) &&
		kcpvpn_endpoint_equal(&batch[n].local, &batch[0].local))
		total += batch[n++].len;
	return n;
}

size_t udp_offload_write(struct cmsghdr *control, size_t segment_bytes)
{
	uint16_t bytes = (uint16_t)segment_bytes;

	memset(control, 0, CMSG_SPACE(sizeof(bytes)));
	control->cmsg_level = IPPROTO_UDP;
	control->cmsg_type = UDP_SEGMENT;
	control->cmsg_len = CMSG_LEN(sizeof(bytes));
	memcpy(CMSG_DATA(control), &bytes, sizeof(bytes));
	return CMSG_SPACE(sizeof(bytes));
}

bool udp_offload_read(struct msghdr *message, size_t len, size_t *ret_segment_bytes)
{
	size_t segment = len;

	/* What is cut off may be the very length that is looked for. */
	if (message->msg_flags & MSG_CTRUNC)
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		int bytes;
		if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO)
			continue;
		if (c->cmsg_len < CMSG_LEN(sizeof(bytes)))
			return false;
		memcpy(&bytes, CMSG_DATA(c), sizeof(bytes));
		if (bytes < 1)
			return false;
		if ((size_t)bytes < segment)
			segment = (size_t)bytes;
	}
	if (segment > 0 && (len + segment - 1) / segment > UDP_OFFLOAD_ARRIVED_MAX)
		return false;
	*ret_segment_bytes = segment;
	return true;
}
