/* Round-trip time and retransmission timeout, in kcp-go's integers. */
#ifndef KCP_RTT_H
#define KCP_RTT_H

#include <stdbool.h>
#include <stdint.h>

enum {
	KCP_RTO_START_MS = 200,
	KCP_RTO_MIN_MS = 100,
	KCP_RTO_MIN_NODELAY_MS = 30,
	KCP_RTO_MAX_MS = 60000,
	KCP_RTT_MAX_MS = 60000, /* longer samples are a stranger's ts and are ignored */
};

struct kcp_rtt {
	uint32_t srtt_ms; /* 0 = no sample yet */
	uint32_t var_ms;
	uint32_t rto_ms;
	uint32_t rto_min_ms;
	uint32_t interval_ms; /* the peer may hold an ack for so long */
};

void kcp_rtt_init(struct kcp_rtt *rtt, bool nodelay, uint32_t interval_ms);

/** @sample_ms  now - ts of an acknowledgement; negative or beyond KCP_RTT_MAX_MS: ignored */
void kcp_rtt_update(struct kcp_rtt *rtt, int32_t sample_ms);

#endif
