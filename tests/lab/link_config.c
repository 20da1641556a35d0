/*
 * One table names every key, how its value is written and where it goes; the setter works on a copy, so that a bad
 * value leaves the link as it was. Numbers are read as millionths in integers: `2.5M`, `0.1%` and `1.5ms` are exact,
 * and no locale can change what a decimal point is.
 */
#include "tests/lab/link_config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
	MICRO = 1000000,
	BURST_PACKETS_MAX = 100000,
	BURST_PPM_MIN = 100,	/* 0.01 % */
	BURST_PPM_MAX = 900000, /* 90 % */
};

#define RATE_MAX_BPS 100000000000u	/* 100 Gb/s */
#define QUEUE_MAX_BYTES 1000000000u	/* 1 GB */
#define TIME_MAX_US ((int64_t)60000000) /* one minute */
#define BURST_MAX_US ((int64_t)10000000)

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};
static const struct unit rate_units[] = {
	{"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {NULL, 0}};
static const struct unit time_units[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {NULL, 0}};
static const struct unit percent_units[] = {{"%", LINK_PPM / 100}, {NULL, 0}};

const char *const link_config_keys[] = {"rate", "queue", "delay", "jitter", "loss", "burst",
	"reorder", "late", "duplicate", "corrupt", NULL};

/* Reads digits with an optional fraction of up to six digits, and one of the units. A bare 0 needs none. */
static bool parse(const char *text, const struct unit *units, uint64_t max, uint64_t *ret)
{
	uint64_t micro = 0, place = MICRO;
	bool digits = false, fraction = false;

	for (; (*text >= '0' && *text <= '9') || (*text == '.' && !fraction); text++) {
		if (*text == '.') {
			fraction = true;
			continue;
		}
		uint64_t digit = (uint64_t)(*text - '0');
		digits = true;
		if (!fraction) {
			if (micro > UINT64_MAX / 20 - MICRO)
				return false;
			micro = micro * 10 + digit * MICRO;
		} else {
			place /= 10;
			if (place == 0 && digit != 0)
				return false;
			micro += digit * place;
		}
	}
	if (!digits)
		return false;
	if (micro == 0 && *text == '\0') {
		*ret = 0;
		return true;
	}
	for (; units->name; units++) {
		if (strcmp(units->name, text) != 0)
			continue;
		unsigned __int128 value = (unsigned __int128)micro * units->factor / MICRO;
		if (value > max || (value == 0 && micro > 0))
			return false;
		*ret = (uint64_t)value;
		return true;
	}
	return false;
}

static bool parse_time(const char *text, int64_t max_us, int64_t *ret_us)
{
	uint64_t us;

	if (!parse(text, time_units, (uint64_t)max_us, &us))
		return false;
	*ret_us = (int64_t)us;
	return true;
}

static bool parse_share(const char *text, uint32_t *ret_ppm)
{
	uint64_t ppm;

	if (!parse(text, percent_units, LINK_PPM, &ppm))
		return false;
	*ret_ppm = (uint32_t)ppm;
	return true;
}

static bool set_rate(struct link_config *c, const char *value)
{
	return parse(value, rate_units, RATE_MAX_BPS, &c->rate_bps);
}

static bool set_queue(struct link_config *c, const char *value)
{
	c->queue_bytes = 0;
	c->queue_us = 0;
	return parse(value, rate_units, QUEUE_MAX_BYTES, &c->queue_bytes) ||
	       parse_time(value, TIME_MAX_US, &c->queue_us);
}

static bool set_delay(struct link_config *c, const char *value)
{
	return parse_time(value, TIME_MAX_US, &c->delay_us);
}

static bool set_jitter(struct link_config *c, const char *value)
{
	return parse_time(value, TIME_MAX_US, &c->jitter_us);
}

static bool set_loss(struct link_config *c, const char *value)
{
	return parse_share(value, &c->loss_ppm);
}

static bool set_burst(struct link_config *c, const char *value)
{
	const char *slash = strchr(value, '/');
	char share[32];
	uint64_t packets;

	c->burst_ppm = 0;
	c->burst_packets = 0;
	c->burst_us = 0;
	if (!slash)
		return strcmp(value, "0") == 0;
	size_t len = (size_t)(slash - value);
	if (len >= sizeof(share))
		return false;
	memcpy(share, value, len);
	share[len] = '\0';
	if (!parse_share(share, &c->burst_ppm) || c->burst_ppm < BURST_PPM_MIN ||
		c->burst_ppm > BURST_PPM_MAX)
		return false;
	if (parse(slash + 1, no_units, BURST_PACKETS_MAX, &packets) && packets > 0) {
		c->burst_packets = (uint32_t)packets;
		/* Short bursts cannot lose nearly everything: one good packet stands between two. */
		return c->burst_ppm <= packets * (LINK_PPM - c->burst_ppm);
	}
	return parse_time(slash + 1, BURST_MAX_US, &c->burst_us) && c->burst_us > 0;
}

static bool set_reorder(struct link_config *c, const char *value)
{
	return parse_share(value, &c->reorder_ppm);
}

static bool set_late(struct link_config *c, const char *value)
{
	return parse_time(value, TIME_MAX_US, &c->reorder_us);
}

static bool set_duplicate(struct link_config *c, const char *value)
{
	return parse_share(value, &c->duplicate_ppm);
}

static bool set_corrupt(struct link_config *c, const char *value)
{
	return parse_share(value, &c->corrupt_ppm);
}

static const struct key {
	bool (*set)(struct link_config *c, const char *value);
	const char *form;
} keys[] = {/* in the order of link_config_keys */
	{set_rate, "bits a second such as 2.5M, at most 100G"},
	{set_queue, "bytes such as 750000 or 750k, or a time such as 60ms"},
	{set_delay, "a time such as 30ms, at most 60s"}, {set_jitter, "a time such as 5ms"},
	{set_loss, "a share such as 5%"},
	{set_burst, "0, or a share of 0.01% to 90% and a mean length: 3%/4 or 5%/10ms"},
	{set_reorder, "a share such as 2%"}, {set_late, "a time such as 10ms"},
	{set_duplicate, "a share such as 1%"}, {set_corrupt, "a share such as 1%"}};

_Static_assert(sizeof(keys) / sizeof(keys[0]) ==
		       sizeof(link_config_keys) / sizeof(link_config_keys[0]) - 1,
	"each key has a setter");

int link_config_set(struct link_config *config, const char *key, const char *value,
	char why[LINK_CONFIG_WHY_BYTES])
{
	for (size_t i = 0; link_config_keys[i]; i++) {
		if (strcmp(link_config_keys[i], key) != 0)
			continue;
		struct link_config changed = *config;
		if (!keys[i].set(&changed, value)) {
			snprintf(why, LINK_CONFIG_WHY_BYTES, "%s: \"%.40s\" is not %s", key, value,
				keys[i].form);
			return -EINVAL;
		}
		*config = changed;
		return 0;
	}
	snprintf(why, LINK_CONFIG_WHY_BYTES, "unknown key \"%.40s\"", key);
	return -EINVAL;
}

int link_config_set_pair(
	struct link_config *config, const char *pair, char why[LINK_CONFIG_WHY_BYTES])
{
	const char *equals = strchr(pair, '=');
	char key[32];

	if (!equals || (size_t)(equals - pair) >= sizeof(key)) {
		snprintf(why, LINK_CONFIG_WHY_BYTES, "\"%.40s\" is not KEY=VALUE", pair);
		return -EINVAL;
	}
	memcpy(key, pair, (size_t)(equals - pair));
	key[equals - pair] = '\0';
	return link_config_set(config, key, equals + 1, why);
}

uint64_t link_config_queue_bytes(const struct link_config *config)
{
	if (config->queue_bytes > 0)
		return config->queue_bytes;
	int64_t us = config->queue_us > 0 ? config->queue_us : LINK_QUEUE_DEFAULT_US;
	return config->rate_bps / 8 * (uint64_t)us / MICRO;
}

int link_config_parse_time(const char *text, int64_t *ret_us)
{
	return parse_time(text, TIME_MAX_US * 60, ret_us) ? 0 : -EINVAL;
}

char *link_config_json(const struct link_config *c, char text[LINK_CONFIG_TEXT_BYTES])
{
	snprintf(text, LINK_CONFIG_TEXT_BYTES,
		"{\"rate_bps\":%" PRIu64 ",\"queue_bytes\":%" PRIu64 ",\"delay_us\":%" PRId64
		",\"jitter_us\":%" PRId64 ",\"loss_ppm\":%" PRIu32 ",\"burst_ppm\":%" PRIu32
		",\"burst_packets\":%" PRIu32 ",\"burst_us\":%" PRId64 ",\"reorder_ppm\":%" PRIu32
		",\"late_us\":%" PRId64 ",\"duplicate_ppm\":%" PRIu32 ",\"corrupt_ppm\":%" PRIu32
		"}",
		c->rate_bps, link_config_queue_bytes(c), c->delay_us, c->jitter_us, c->loss_ppm,
		c->burst_ppm, c->burst_packets, c->burst_us, c->reorder_ppm,
		c->reorder_us ? c->reorder_us : LINK_LATE_DEFAULT_US, c->duplicate_ppm,
		c->corrupt_ppm);
	return text;
}
