/* Which losses are the dice's and which are a queue's. */
#ifndef KCP_LT_LOSS_H
#define KCP_LT_LOSS_H

#include "kcp/kcp_lt_sample.h"

enum {
	KCP_LT_LOSS_LOW = 150,	    /* datagrams sent slowly make a sample of the floor, */
	KCP_LT_LOSS_LOW_MOST = 600, /* which is closed at so many even if there is no end of them */
	KCP_LT_LOSS_RISE = 30,	    /* so many show that the floor has risen */
	KCP_LT_LOSS_SAMPLES = 4,    /* the two lowest of so many are believed */
	KCP_LT_LOSS_FLOOR_MAX_PPM = 500000,
	KCP_LT_LOSS_ROUND = 20, /* datagrams, for a judgement */
	KCP_LT_LOSS_EXCESS_MAX_PPM =
		20000, /* above the floor is bearable, or as much as the floor, */
	KCP_LT_LOSS_EXCESS_MIN_PPM = 1000, /* but so much always */
	KCP_LT_LOSS_TALLY_FADE = 8,	   /* a cycle takes so much of the older ones: 1/8 */
	KCP_LT_LOSS_TALLY = 100,	   /* datagrams of each kind, for a comparison */
};

/** Datagrams whose fate is known. */
struct kcp_lt_tally {
	uint32_t judged;
	uint32_t lost;
};

struct kcp_lt_loss {
	struct kcp_lt_tally fresh[KCP_LT_KINDS]; /* since the last update */
	/* the floor */
	struct kcp_lt_tally low;
	uint32_t samples_ppm[KCP_LT_LOSS_SAMPLES];
	uint32_t samples;   /* ever, stops counting at KCP_LT_LOSS_SAMPLES */
	uint32_t sample_at; /* where the next one goes */
	uint32_t floor_ppm;
	/* since the last judgement */
	struct kcp_lt_tally round; /* without probes */
	struct kcp_lt_tally round_probe;
	struct kcp_lt_tally start; /* of this or the last STARTUP */
	/* probing against slow, fading */
	struct kcp_lt_tally probe;
	struct kcp_lt_tally slow;
	bool shallow;
};

/** The fate of a datagram. @late  it had been declared lost before, and arrived */
void kcp_lt_loss_acked(struct kcp_lt_loss *loss, enum kcp_lt_kind kind, bool late);
void kcp_lt_loss_lost(struct kcp_lt_loss *loss, enum kcp_lt_kind kind);

/** Takes over what came since the last call. @queued  the path has a queue now */
void kcp_lt_loss_update(struct kcp_lt_loss *loss, bool queued);

/** Whether most of what came since the last kcp_lt_loss_update() is lost: nothing got through for a while. */
bool kcp_lt_loss_was_cut(const struct kcp_lt_loss *loss);

/** Drops what came since the last kcp_lt_loss_update(). */
void kcp_lt_loss_skip(struct kcp_lt_loss *loss);

enum kcp_lt_verdict {
	KCP_LT_FINE,
	KCP_LT_SOME, /* more is lost than the floor explains, by too little to answer */
	KCP_LT_ODD,  /* more is lost than the floor explains, and no queue is seen */
	KCP_LT_CONGESTED,
};

/**
 * A round ended: judges it, if there is enough of it.
 *
 * @queued  all of the round saw a queue
 * @ret_ppm share lost, unless FINE
 */
enum kcp_lt_verdict kcp_lt_loss_judge(struct kcp_lt_loss *loss, bool queued, uint32_t *ret_ppm);

/** A cycle of probing ended. */
void kcp_lt_loss_cycle(struct kcp_lt_loss *loss);

#endif
