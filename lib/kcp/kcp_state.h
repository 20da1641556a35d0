/* What a conversation consists of. For the files of this layer only. */
#ifndef KCP_STATE_H
#define KCP_STATE_H

#include "kcp/kcp.h"
#include "kcp/kcp_cwnd.h"
#include "kcp/kcp_recv.h"
#include "kcp/kcp_rtt.h"
#include "kcp/kcp_send.h"
#include "kcp/kcp_window.h"

enum {
	KCP_PROBE_ASK = 1,
	KCP_PROBE_TELL = 2,
	KCP_INTERVAL_MIN_MS = 10,
	KCP_INTERVAL_MAX_MS = 5000,
	KCP_DEAD_SENDINGS = 20, /* after which kcp-go sets a state it never looks at */
	KCP_ACKS_MAX = 2048,	/* acknowledgements that may wait */
	KCP_TELLS = 4, /* more WINS after the one that says that the window is open again */
	KCP_TELL_FIRST_MS = 200, /* until the first of them; doubled for each */
	KCP_ACKS_TOLD = 24,	 /* are told twice, a quarter of a datagram at kcptun's MTU */
	KCP_ACKS_FORCE =
		1024, /* of them, after which they are sent at once whatever the profile says */
};

/** An acknowledgement that waits. */
struct kcp_ack {
	uint32_t sn;
	uint32_t ts;
};

/** The transmission that left last among those known to have arrived; measured_window only. */
struct kcp_newest {
	uint32_t sn; /* highest number acknowledged */
	uint32_t ts_ms;
	bool known;
	bool moved; /* since it was last looked at */
};

struct kcp {
	struct kcp_config config;
	struct kcp_output output;
	uint32_t mss_bytes;
	struct kcp_sender sender;
	struct kcp_receiver receiver;
	struct kcp_rtt rtt;
	struct kcp_cwnd cwnd;
	struct kcp_window window;

	struct kcp_ack *acks;
	struct mono acks_at; /* when the first of them came */
	uint32_t acks_count;
	uint32_t acks_capacity;
	struct kcp_ack told
		[KCP_ACKS_TOLD]; /* sent last; go once more while a hole keeps una from telling */
	uint32_t told_count;

	uint32_t rmt_wnd;	/* what the peer said last */
	unsigned probe;		/* KCP_PROBE_..., for the next flush */
	uint32_t probe_wait_ms; /* 0 = not armed */
	struct mono probe_at;	/* next WASK while rmt_wnd is 0 and probe_wait_ms is not */
	uint32_t
		tells_left; /* WINS to repeat while the peer does not use the window that opened again */
	uint32_t tell_wait_ms;	 /* 0 = the first of them is not out */
	struct mono tell_at;	 /* the next of them */
	struct mono flushed_at;	 /* last full flush */
	struct mono resend_at;	 /* no segment in flight times out before; may be early */
	struct mono progress_at; /* something was acknowledged, or the first was sent */
	uint32_t stale_count;	 /* segments in a row that asked for what was acknowledged before */
	struct mono
		asked_at; /* the peer was suspected and asked; has meaning at KCP_FORGOT_SEGMENTS */
	struct mono asked_last_at; /* the last time */
	struct kcp_newest newest;  /* of what arrived there */
	bool paced;		   /* the last flush left data for the pace alone */
	bool flush_wanted;	   /* by what came in: a full one */
	bool stalled;		   /* dead_link_us passed without progress; progress ends it */
	bool forgotten;		   /* the peer has restarted; nothing ends it */
	bool closed;
	uint32_t state; /* as kcp-go's, for transcripts */
	struct kcp_stats stats;
};

/** Bytes of a segment as the measured window counts them. */
static inline uint32_t kcp_cost_bytes(const struct kcp_tx *tx)
{
	return (uint32_t)tx->len + KCP_OVERHEAD_BYTES;
}

#endif
