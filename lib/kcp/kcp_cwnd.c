/*
 * Slow start to ssthresh, then about one segment a round trip, counted in bytes; halved by fast resends, back to one by a
 * timeout. Two oddities are kept because the transcripts have them: the window is 0 until a flush has ended, so the first
 * flush sends no data, and with fast resend off the sum in kcp_cwnd_fast() wraps.
 */
#include "kcp/kcp_cwnd.h"

enum {
	SSTHRESH_MIN = 2, /* segments; also where it starts */
};

void kcp_cwnd_init(struct kcp_cwnd *cwnd)
{
	*cwnd = (struct kcp_cwnd){.ssthresh = SSTHRESH_MIN};
}

static uint32_t halved(uint32_t segments)
{
	return segments / 2 < SSTHRESH_MIN ? SSTHRESH_MIN : segments / 2;
}

void kcp_cwnd_acked(struct kcp_cwnd *cwnd, uint32_t rmt_wnd, uint32_t mss_bytes)
{
	if (cwnd->segments >= rmt_wnd)
		return;
	if (cwnd->segments < cwnd->ssthresh) {
		cwnd->segments++;
		cwnd->incr += mss_bytes;
	} else {
		if (cwnd->incr < mss_bytes)
			cwnd->incr = mss_bytes;
		cwnd->incr += mss_bytes * mss_bytes / cwnd->incr + mss_bytes / 16;
		if ((cwnd->segments + 1) * mss_bytes <= cwnd->incr)
			cwnd->segments = (cwnd->incr + mss_bytes - 1) / mss_bytes;
	}
	if (cwnd->segments > rmt_wnd) {
		cwnd->segments = rmt_wnd;
		cwnd->incr = rmt_wnd * mss_bytes;
	}
}

void kcp_cwnd_fast(struct kcp_cwnd *cwnd, uint32_t span, uint32_t resent, uint32_t mss_bytes)
{
	cwnd->ssthresh = halved(span);
	cwnd->segments = cwnd->ssthresh + resent;
	cwnd->incr = cwnd->segments * mss_bytes;
}

void kcp_cwnd_timeout(struct kcp_cwnd *cwnd, uint32_t window, uint32_t mss_bytes)
{
	cwnd->ssthresh = halved(window);
	cwnd->segments = 1;
	cwnd->incr = mss_bytes;
}

void kcp_cwnd_flushed(struct kcp_cwnd *cwnd, uint32_t mss_bytes)
{
	if (cwnd->segments < 1) {
		cwnd->segments = 1;
		cwnd->incr = mss_bytes;
	}
}
