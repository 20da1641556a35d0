/*
 * Names only: entering is two loads and a call of the clock, and stands in the header so that it costs a comparison where nobody
 * measures.
 */
#include "core/stage_clock.h"

const char *stage_str(enum stage stage)
{
	switch (stage) {
	case STAGE_REST:
		return "rest";
	case STAGE_TUN_READ:
		return "tun_read";
	case STAGE_QUEUE:
		return "queue";
	case STAGE_SEND:
		return "send";
	case STAGE_FEC_ENCODE:
		return "fec_encode";
	case STAGE_SEAL:
		return "seal";
	case STAGE_UDP_SEND:
		return "udp_send";
	case STAGE_UDP_RECEIVE:
		return "udp_receive";
	case STAGE_OPEN:
		return "open";
	case STAGE_RECEIVE:
		return "receive";
	case STAGE_FEC_DECODE:
		return "fec_decode";
	case STAGE_DELIVER:
		return "deliver";
	case STAGE_TUN_WRITE:
		return "tun_write";
	case STAGES:
		break;
	}
	return "unknown";
}
