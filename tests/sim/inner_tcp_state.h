/* What the files of the TCP model do for each other. */
#ifndef TESTS_SIM_INNER_TCP_STATE_H
#define TESTS_SIM_INNER_TCP_STATE_H

#include "inner_tcp.h"

enum {
	INNER_TCP_FIN = 1,
	INNER_TCP_SYN = 2,
	INNER_TCP_ACK = 16,
	INNER_TCP_ECE = 64,
	INNER_TCP_CWR = 128,
};

struct inner_tcp_segment {
	uint64_t first;
	uint32_t len;
	struct mono at; /* sent last */
	bool sacked;
	bool lost;
	bool resent; /* since it was found lost, or as a probe */
	bool ever_resent;
};

/** A packet that came, read. */
struct inner_tcp_packet {
	unsigned flags;
	bool ce;
	bool ect;
	uint32_t seq, ack;
	uint64_t window_bytes; /* as it stands in the field: not yet scaled */
	uint32_t len;	       /* of data */
	const uint8_t *data;
	bool has_times;
	uint32_t ms, echoed_ms;
	uint32_t mss; /* 0 = none told */
	unsigned sack_count;
	uint32_t sack_first[4], sack_end[4];
};

/** What an acknowledgement changed. */
struct inner_tcp_news {
	struct mono now;
	uint64_t una_before;
	uint32_t delivered; /* segments that left the network */
	bool advanced;
	bool dsack;
	bool newly_lost;
	int64_t rtt_us; /* of the oldest segment acknowledged that was sent once; -1 = none */
	int64_t last_rtt_us;
	int64_t sack_rtt_us;
};

static inline struct inner_tcp_segment *inner_tcp_segment_at(
	const struct inner_tcp *tcp, uint32_t i)
{
	return &tcp->segments[i & tcp->ring_mask];
}

static inline uint32_t inner_tcp_out(const struct inner_tcp *tcp)
{
	return tcp->seg_next - tcp->seg_first;
}

/* inner_tcp.c */
void inner_tcp_output(struct inner_tcp *tcp, struct mono now);
void inner_tcp_resend(struct inner_tcp *tcp, uint32_t i, struct mono now);
bool inner_tcp_send_new(struct inner_tcp *tcp, struct mono now);

/* inner_tcp_wire.c */
void inner_tcp_emit(struct inner_tcp *tcp, unsigned flags, uint64_t first, uint32_t len, bool again,
	struct mono now);
bool inner_tcp_read(const uint8_t *packet, size_t len, struct inner_tcp_packet *ret);

/* inner_tcp_recv.c */
void inner_tcp_take_data(
	struct inner_tcp *tcp, const struct inner_tcp_packet *packet, struct mono now);

/* inner_tcp_ack.c */
void inner_tcp_take_ack(
	struct inner_tcp *tcp, const struct inner_tcp_packet *packet, struct mono now);

/* inner_tcp_loss.c */
void inner_tcp_rack_delivered(struct inner_tcp *tcp, const struct inner_tcp_segment *segment,
	struct inner_tcp_news *news);
void inner_tcp_rack_detect(struct inner_tcp *tcp, struct inner_tcp_news *news);
void inner_tcp_judge(
	struct inner_tcp *tcp, struct inner_tcp_news *news, uint32_t echoed_ms, bool ece);
void inner_tcp_arm(struct inner_tcp *tcp, struct mono now);
void inner_tcp_timers(struct inner_tcp *tcp, struct mono now);
int64_t inner_tcp_rto_us(const struct inner_tcp *tcp);

/* inner_tcp_control.c */
void inner_tcp_control_init(struct inner_tcp *tcp);
uint32_t inner_tcp_control_threshold(struct inner_tcp *tcp);
void inner_tcp_control_grow(struct inner_tcp *tcp, uint32_t acked, struct mono now);
void inner_tcp_control_rtt(struct inner_tcp *tcp, int64_t rtt_us, struct mono now);
void inner_tcp_control_timeout(struct inner_tcp *tcp);

#endif
