/*
 * Inner packets from a stranger: parsing, marking, clamping, and the error about it. The first two bytes give an MTU.
 * What comes out must be a packet again, of the same length where it was changed in place.
 */
#include "core/checksum.h"
#include "core/endian.h"
#include "core/icmp_error.h"
#include "core/ip_header.h"
#include "core/tcp_mss.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int holds)
{
	if (!holds)
		abort();
}

static void check_error(enum icmp_error error, uint16_t mtu_bytes, const uint8_t *packet,
	const struct ip_header *header)
{
	static const uint8_t own[16] = {10, 0, 0, 1, [15] = 1};
	uint8_t out[ICMP_ERROR_BYTES_MAX];
	uint8_t again[ICMP_ERROR_BYTES_MAX];
	struct ip_header answer;
	size_t len = icmp_error_build(error, mtu_bytes, packet, header, own, out);

	if (len == 0)
		return;
	require(len <= sizeof(out));
	require(ip_header_parse(out, len, &answer) == IP_OK);
	require(answer.version == header->version);
	require(memcmp(answer.dst, header->src, 16) == 0);
	/* Nobody answers the answer. */
	require(icmp_error_build(error, mtu_bytes, out, &answer, own, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ip_header before;
	struct ip_header after;

	if (len < 2 || len > 65537)
		return 0;
	uint16_t mtu_bytes = load_be16(data);
	size_t packet_bytes = len - 2;
	uint8_t *packet = malloc(packet_bytes ? packet_bytes : 1);
	if (!packet)
		return 0;
	memcpy(packet, data + 2, packet_bytes);
	if (ip_header_parse(packet, packet_bytes, &before) == IP_OK) {
		require(before.length_bytes == packet_bytes);
		require(before.transport_bytes <= packet_bytes);
		(void)tcp_mss_clamp(packet, &before, mtu_bytes);
		require(!tcp_mss_clamp(packet, &before, mtu_bytes));
		(void)ip_header_mark_ce(packet, &before);
		require(ip_header_parse(packet, packet_bytes, &after) == IP_OK);
		require(after.ecn == (before.ecn ? 3 : 0));
		before.ecn = after.ecn;
		require(memcmp(&before, &after, sizeof(before)) == 0);
		for (int error = ICMP_ERROR_TOO_BIG; error <= ICMP_ERROR_PROHIBITED; error++)
			check_error((enum icmp_error)error, mtu_bytes, packet, &before);
	}
	free(packet);
	return 0;
}
