/* What an emulated link does to packets, and how that is written: `rate=100M delay=30ms loss=5%`.
 */
#ifndef LAB_LINK_CONFIG_H
#define LAB_LINK_CONFIG_H

#include <stddef.h>
#include <stdint.h>

enum {
	LINK_QUEUE_DEFAULT_US = 100000,
	LINK_LATE_DEFAULT_US = 10000,
	LINK_PPM = 1000000,	      /* parts per million: 1 % is 10000 */
	LINK_CONFIG_WHY_BYTES = 160,  /* room for what is wrong with a value */
	LINK_CONFIG_TEXT_BYTES = 512, /* room for link_config_json() */
};

/**
 * All zero is a perfect link. The keys of link_config_set():
 *
 *     rate=100M     bits a second of IP packets; 0 = no bottleneck and so no queue
 *     queue=750000  drop-tail queue in bytes, or queue=60ms at the rate of the moment; 0 = 100ms
 *     delay=30ms    one way
 *     jitter=5ms    the delay varies evenly by plus or minus this; packets stay in order
 *     loss=5%       of packets, each on its own
 *     burst=3%/4    mean loss by bursts, and their mean length in packets, or burst=5%/10ms in time
 *     reorder=2%    of packets come late,
 *     late=10ms     by this; 0 = 10ms
 *     duplicate=1%  of packets come twice
 *     corrupt=1%    of packets are damaged where the Internet checksum does not see it
 *
 * Bursts are those of Gilbert and Elliott: in the bad state every packet is lost. The state changes
 * with each packet or with time, so that the mean loss and the mean length are as given.
 */
struct link_config {
	uint64_t rate_bps;
	uint64_t queue_bytes; /* this or queue_us; both 0 = LINK_QUEUE_DEFAULT_US */
	int64_t queue_us;
	int64_t delay_us;
	int64_t jitter_us;
	uint32_t loss_ppm;
	uint32_t burst_ppm;
	uint32_t burst_packets; /* mean length of a burst: this or burst_us is not 0 */
	int64_t burst_us;
	uint32_t reorder_ppm;
	int64_t reorder_us; /* 0 = LINK_LATE_DEFAULT_US */
	uint32_t duplicate_ppm;
	uint32_t corrupt_ppm;
};

/**
 * Sets one key. Rates: bits/s with k, M or G (1000s). Sizes: bytes with k or M. Times: us, ms or s.
 * Shares: percent with `%`, or 0. Decimal fractions are fine.
 *
 * @why     gets one line on failure
 * @return  0, or -EINVAL with `config` untouched: unknown key, not a value, out of range
 */
int link_config_set(struct link_config *config, const char *key, const char *value,
	char why[LINK_CONFIG_WHY_BYTES]);

/** Sets one `key=value`. As link_config_set(). */
int link_config_set_pair(
	struct link_config *config, const char *pair, char why[LINK_CONFIG_WHY_BYTES]);

/** @return bytes that may wait in front of the bottleneck */
uint64_t link_config_queue_bytes(const struct link_config *config);

/** Reads a time such as `30ms`. @return 0, or -EINVAL */
int link_config_parse_time(const char *text, int64_t *ret_us);

/** Writes the configuration as one JSON object; always terminated. @return `text` */
char *link_config_json(const struct link_config *config, char text[LINK_CONFIG_TEXT_BYTES]);

/** The keys, for usage texts and option tables; ends with NULL. */
extern const char *const link_config_keys[];

#endif
