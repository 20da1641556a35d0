#include "tests/lab/packet_damage.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* RFC 1071, bytes of any number. */
static uint16_t sum_of(const uint8_t *bytes, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void make_udp4(uint8_t *packet, size_t len, unsigned seed)
{
	memset(packet, 0, len);
	packet[0] = 0x45;
	packet[9] = 17;
	for (size_t i = 28; i < len; i++)
		packet[i] = (uint8_t)(rand_r(&seed) >> 8);
}

Test(packet_damage, changes_the_payload_but_not_its_sum)
{
	uint8_t good[1400], bad[1400];

	for (unsigned turn = 0; turn < 2000; turn++) {
		size_t len = 40 + turn % 1361;
		make_udp4(good, len, turn);
		memcpy(bad, good, len);
		cr_assert(packet_damage(bad, len, turn * 0x9e3779b97f4a7c15u));
		cr_assert_arr_eq(bad, good, 28);
		cr_assert_neq(memcmp(bad, good, len), 0);
		cr_assert_eq(sum_of(bad + 28, len - 28), sum_of(good + 28, len - 28));
	}
}

Test(packet_damage, leaves_what_it_cannot_damage)
{
	uint8_t packet[64], before[64];

	make_udp4(packet, sizeof(packet), 1);
	memcpy(before, packet, sizeof(packet));
	for (size_t len = 0; len < 32; len++) /* less than two words of payload */
		cr_assert_not(packet_damage(packet, len, 12345), "%zu", len);
	memset(packet + 28, 0x33, sizeof(packet) - 28);
	memcpy(before, packet, sizeof(packet));
	cr_expect_not(packet_damage(packet, sizeof(packet), 99));
	cr_expect_arr_eq(packet, before, sizeof(packet));
}

Test(packet_damage, keeps_to_the_packet_whatever_it_holds)
{
	for (unsigned seed = 0; seed < 20000; seed++) {
		unsigned state = seed;
		size_t len = (size_t)rand_r(&state) % 100;
		uint8_t *packet = malloc(len + 1); /* exact, for the sanitizers */
		for (size_t i = 0; i < len; i++)
			packet[i] = (uint8_t)(rand_r(&state) >> 8);
		if (len && seed % 2)
			packet[0] = (uint8_t)(0x40 | (packet[0] & 15));
		packet_damage(packet, len, seed);
		free(packet);
	}
}
