/* kcp-go's congestion window, used only where it is switched on (nc = 0). */
#ifndef KCP_CWND_H
#define KCP_CWND_H

#include <stdint.h>

struct kcp_cwnd {
	uint32_t segments; /* the window; 0 until the first flush */
	uint32_t ssthresh; /* segments; below it the window grows by one an acknowledged datagram */
	uint32_t incr;	   /* bytes, the finer count behind `segments` */
};

void kcp_cwnd_init(struct kcp_cwnd *cwnd);

/** A datagram moved the acknowledged edge. @rmt_wnd  the peer's window in segments, a bound */
void kcp_cwnd_acked(struct kcp_cwnd *cwnd, uint32_t rmt_wnd, uint32_t mss_bytes);

/**
 * A flush resent for later acks.
 *
 * @span    segments between the acknowledged edge and the newest sent
 * @resent  the fast-resend threshold, 0xffffffff if that is off
 */
void kcp_cwnd_fast(struct kcp_cwnd *cwnd, uint32_t span, uint32_t resent, uint32_t mss_bytes);

/** A flush resent by timeout. @window  segments the flush could have had in flight */
void kcp_cwnd_timeout(struct kcp_cwnd *cwnd, uint32_t window, uint32_t mss_bytes);

/** A flush ended. */
void kcp_cwnd_flushed(struct kcp_cwnd *cwnd, uint32_t mss_bytes);

#endif
