/* What control messages may say, and where runs end. */
#include "vpnd/udp_offload.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

union room {
	struct cmsghdr align;
	uint8_t bytes[256];
};

/* A message with one control message of `value_bytes` bytes of `value`. */
static struct msghdr message_with(
	union room *room, int level, int type, const void *value, size_t value_bytes)
{
	struct msghdr message = {.msg_control = room->bytes};

	memset(room, 0, sizeof(*room));
	room->align.cmsg_level = level;
	room->align.cmsg_type = type;
	room->align.cmsg_len = CMSG_LEN(value_bytes);
	memcpy(CMSG_DATA(&room->align), value, value_bytes);
	message.msg_controllen = CMSG_SPACE(value_bytes);
	return message;
}

enum { REFUSED = 99999 };

/* @return  the length of a segment, or REFUSED */
static size_t read_int(int value, size_t len)
{
	union room room;
	struct msghdr message = message_with(&room, IPPROTO_UDP, UDP_GRO, &value, sizeof(value));
	size_t segment = 0;

	return udp_offload_read(&message, len, &segment) ? segment : REFUSED;
}

Test(udp_offload, reads_what_a_kernel_says)
{
	cr_assert_eq(read_int(1400, 65000), 1400);
	cr_assert_eq(read_int(1400, 1401), 1400);
	cr_assert_eq(read_int(1400, 1400), 1400);
	cr_assert_eq(read_int(1400, 1399), 1399, "never more than there is");
	cr_assert_eq(read_int(1, UDP_OFFLOAD_ARRIVED_MAX), 1);
	cr_assert_eq(read_int(127, 65024), 127);
}

Test(udp_offload, refuses_what_no_kernel_says)
{
	static const int BAD[] = {0, -1, -1400, INT32_MIN};
	size_t segment = 99;
	union room room;

	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		cr_assert_eq(read_int(BAD[i], 65000), REFUSED, "%d", BAD[i]);
	cr_assert_eq(read_int(INT32_MAX, 65000), 65000);
	cr_assert_eq(read_int(1, UDP_OFFLOAD_ARRIVED_MAX + 1), REFUSED, "too many");
	cr_assert_eq(read_int(1, 65536), REFUSED);
	for (size_t bytes = 0; bytes < sizeof(int); bytes++) {
		int value = 1400;
		struct msghdr message = message_with(&room, IPPROTO_UDP, UDP_GRO, &value, bytes);
		cr_assert(!udp_offload_read(&message, 65000, &segment), "%zu bytes", bytes);
	}
	int value = 1400;
	struct msghdr message = message_with(&room, IPPROTO_UDP, UDP_GRO, &value, sizeof(value));
	message.msg_flags = MSG_CTRUNC;
	cr_assert(!udp_offload_read(&message, 65000, &segment));
	cr_assert_eq(segment, 99, "untouched by refusals");
}

Test(udp_offload, without_a_word_it_is_one_datagram)
{
	size_t segment = 99;
	int value = 7;
	union room room;
	struct msghdr message = {0};

	cr_assert(udp_offload_read(&message, 1400, &segment));
	cr_assert_eq(segment, 1400);
	cr_assert(udp_offload_read(&message, 0, &segment));
	cr_assert_eq(segment, 0);
	/* Other levels and types are not ours. */
	message = message_with(&room, IPPROTO_IP, UDP_GRO, &value, sizeof(value));
	cr_assert(udp_offload_read(&message, 1400, &segment));
	cr_assert_eq(segment, 1400);
	message = message_with(&room, IPPROTO_UDP, UDP_SEGMENT, &value, sizeof(value));
	cr_assert(udp_offload_read(&message, 1400, &segment));
	cr_assert_eq(segment, 1400);
	cr_assert_eq(read_int(7, 0), 0);
}

Test(udp_offload, writes_what_it_would_read)
{
	union room room;
	uint16_t value;

	memset(&room, 0xff, sizeof(room));
	cr_assert_eq(udp_offload_write(&room.align, 1400), CMSG_SPACE(sizeof(value)));
	cr_assert_eq(room.align.cmsg_level, IPPROTO_UDP);
	cr_assert_eq(room.align.cmsg_type, UDP_SEGMENT);
	cr_assert_eq(room.align.cmsg_len, CMSG_LEN(sizeof(value)));
	memcpy(&value, CMSG_DATA(&room.align), sizeof(value));
	cr_assert_eq(value, 1400);
}

/* Against a naive reading of the rule, over random batches. */
Test(udp_offload, runs_are_as_long_as_the_rule_allows)
{
	static const size_t LENS[] = {0, 1, 100, 100, 100, 1400, 1400, 1400, 40000};
	struct kcpvpn_datagram batch[100];
	unsigned seed = 1;

	for (int round = 0; round < 100000; round++) {
		size_t count = 1 + (seed = seed * 1103515245 + 12345) / 65536 % 100;
		size_t usual = LENS[(seed = seed * 1103515245 + 12345) / 65536 % 9];
		for (size_t i = 0; i < count; i++) {
			unsigned dice = (seed = seed * 1103515245 + 12345) / 65536;
			batch[i] = (struct kcpvpn_datagram){
				.len = dice % 40 ? usual : LENS[dice / 40 % 9],
				.remote = {.family = 4, .port = dice % 97 ? 1 : 2},
				.local = {.family = 4, .port = dice % 89 ? 1 : 2},
			};
		}
		size_t run = udp_offload_run(batch, count), total = 0, n = 0;
		bool open = true;
		while (open && n < count && n < UDP_OFFLOAD_SEGMENTS_MAX) {
			const struct kcpvpn_datagram *d = &batch[n];
			if (n > 0 && (d->len > batch[0].len || d->len == 0 ||
					     total + d->len > UDP_OFFLOAD_BYTES_MAX ||
					     d->remote.port != batch[0].remote.port ||
					     d->local.port != batch[0].local.port))
				break;
			open = d->len == batch[0].len;
			total += d->len;
			n++;
		}
		cr_assert_eq(run, n, "round %d: %zu, not %zu", round, run, n);
	}
}
