/*
 * Counters. They only grow (unless said otherwise), start at 0 and are kept per node; the names on
 * the right are those of kcp-go's SNMP counters where one exists.
 */
#ifndef KCPVPN_STATS_H
#define KCPVPN_STATS_H

#include <stdint.h>

struct kcpvpn_stats {
	uint64_t bytes_sent;	    /* BytesSent: given by the application */
	uint64_t bytes_received;    /* BytesReceived: taken by the application */
	uint64_t active_opens;	    /* ActiveOpens: conversations dialled */
	uint64_t passive_opens;	    /* PassiveOpens: conversations accepted */
	uint64_t conversations;	    /* CurrEstab: open now */
	uint64_t conversations_max; /* MaxConn: most that were open at once */
	uint64_t in_datagrams;	    /* InPkts: datagrams that passed the checksum or tag */
	uint64_t out_datagrams;	    /* OutPkts */
	uint64_t in_bytes;	    /* InBytes: UDP payload of in_datagrams */
	uint64_t out_bytes;	    /* OutBytes */
	uint64_t in_segments;	    /* InSegs */
	uint64_t out_segments;	    /* OutSegs: first transmissions and repeats of data segments */
	uint64_t retransmits;	    /* RetransSegs = the three that follow */
	uint64_t retransmits_fast;  /* FastRetransSegs */
	uint64_t retransmits_early; /* EarlyRetransSegs */
	uint64_t retransmits_timeout; /* LostSegs */
	uint64_t duplicates;	      /* RepeatSegs: data segments that were here before */
	uint64_t fec_recovered;	      /* FECRecovered: datagrams rebuilt from parity */
	uint64_t fec_errors;	      /* FECErrs: rebuilt shards with an impossible size */
	uint64_t fec_parity_in;	      /* FECParityShards: parity datagrams received */
	uint64_t fec_parity_out;      /* parity datagrams sent */
	uint64_t oob_in;	      /* OOBPackets: out-of-band messages received */

	/* Verdicts: one for each way a datagram can be bad. Such datagrams change nothing else. */
	uint64_t
		remnants; /* conversations that the other side began before this node: answered, not told */
	uint64_t drop_short;	/* InErrs: too short for the crypt header or for a segment */
	uint64_t drop_checksum; /* InCsumErrors: CRC or tag wrong: another key, another cipher,
				   damage, or a stranger */
	uint64_t drop_source;  /* InErrs: from an address that has no conversation here, and none is
				  accepted */
	uint64_t drop_no_conv; /* parity from an unknown address: names no conversation */
	uint64_t drop_conv;    /* another conversation of a known address, and not its beginning */
	uint64_t drop_backlog; /* a new conversation beyond the bound */
	uint64_t drop_segment; /* KCPInErrors: malformed KCP segments */
	uint64_t drop_fec;     /* malformed FEC header or sequence number */
	uint64_t drop_window;  /* data segments outside the receive window */
	uint64_t drop_memory;  /* data segments refused for want of memory; the peer repeats them */
	uint64_t drop_oob;     /* out-of-band messages beyond the bound of those not yet taken */
};

/** One conversation, now. Times in microseconds; counters as above but for this conversation alone.
 */
struct kcpvpn_conv_stats {
	uint64_t bytes_sent;
	uint64_t bytes_received;
	uint64_t in_datagrams;
	uint64_t out_datagrams;
	uint64_t in_bytes;
	uint64_t out_bytes;
	uint64_t retransmits;
	uint64_t out_segments;
	uint64_t in_segments;
	uint64_t duplicates;
	uint64_t fec_recovered;
	uint64_t fec_parity_in;
	uint64_t fec_parity_out;
	uint64_t
		told_windows; /* answers to kcpvpn_conv_probe(), and others that say the same (WINS) */
	uint64_t drop_segment; /* malformed KCP segments or FEC headers from this peer */
	uint64_t
		fec_numbers_in; /* datagrams that the peer numbered for FEC: those that came and those missing between */
	uint64_t fec_numbered_in; /* those that came */
	int64_t srtt_us;	  /* smoothed round trip, -1 while unknown */
	int64_t rtt_var_us;	  /* its variation, -1 while unknown */
	uint64_t rate_bps;	  /* measured delivery rate in bits a second, 0 while unknown */
	uint32_t
		resent_ppm; /* of what was sent of late, had to be sent again; 0 = nothing, or unknown */
	uint32_t window_segments; /* how many segments may be in flight now */
	uint32_t in_flight_segments;
	uint32_t queued_segments; /* waiting behind the window */
	uint32_t fec_in_data;	  /* shards of the code that the peer uses, 0 = none seen */
	uint32_t fec_in_parity;
	int64_t last_rx_us;    /* when the last good datagram came, -1 = never */
	uint64_t memory_bytes; /* held by this conversation: fixed state, tables and slots */
};

#endif
