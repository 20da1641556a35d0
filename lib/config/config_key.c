/*
 * Base64 of 32 bytes, and which of them are no public keys.
 *
 * A base64 digit becomes its value by arithmetic on ranges: each range contributes its offset under a
 * mask that is all ones where the character lies inside. So neither the branches taken nor the memory
 * touched depend on a secret. The last digit carries 4 bits; its two spare bits must be zero.
 *
 * X25519 takes any 32 bytes as a point. Of the few of small order the shared secret is zero whatever the
 * private key; and bytes that are not the smallest form of their number (the top bit set, or 2^255 - 19
 * and above) are never what `pub` prints: two texts would then be one key, while handshakes hash the
 * bytes.
 *
 * Standards: RFC 4648, section 4; RFC 7748, sections 5 and 7.
 */
#include "config/config_key.h"

#include <errno.h>
#include <string.h>

enum {
	DIGITS = 43, /* and one '=' */
	TEXT_LEN = CONFIG_KEY_TEXT_BYTES - 1,
};

/* All ones if low <= c <= high, else zero; operands are small. */
static int range_mask(int c, int low, int high)
{
	return (((low - 1) - c) & (c - (high + 1))) >> 8;
}

/* @return 0..63, negative if it is no digit */
static int digit_value(char digit)
{
	int c = (unsigned char)digit;

	return -1 + (range_mask(c, 'A', 'Z') & (c - 'A' + 1)) +
	       (range_mask(c, 'a', 'z') & (c - 'a' + 27)) +
	       (range_mask(c, '0', '9') & (c - '0' + 53)) + (range_mask(c, '+', '+') & 63) +
	       (range_mask(c, '/', '/') & 64);
}

static char value_digit(int value)
{
	return (char)((range_mask(value, 0, 25) & ('A' + value)) +
		      (range_mask(value, 26, 51) & ('a' + value - 26)) +
		      (range_mask(value, 52, 61) & ('0' + value - 52)) +
		      (range_mask(value, 62, 62) & '+') + (range_mask(value, 63, 63) & '/'));
}

int config_key_parse(const char *text, size_t len, uint8_t ret_key[CONFIG_KEY_BYTES])
{
	uint8_t key[CONFIG_KEY_BYTES];
	uint32_t bits = 0;
	int bad = 0;
	size_t at = 0;

	if (len != TEXT_LEN)
		return -EINVAL;
	for (size_t i = 0; i < DIGITS; i++) {
		int value = digit_value(text[i]);
		bad |= value;
		bits = bits << 6 | ((uint32_t)value & 63);
		if (i % 4 != 0) {
			unsigned spare = 6 - 2 * (unsigned)(i % 4);
			key[at++] = (uint8_t)(bits >> spare);
		}
	}
	bad |= -(int)(bits & 3);
	bad |= -(text[DIGITS] != '=');
	if (bad >= 0)
		memcpy(ret_key, key, sizeof(key));
	explicit_bzero(key, sizeof(key));
	return bad < 0 ? -EINVAL : 0;
}

int config_key_parse_file(const char *data, size_t len, uint8_t ret_key[CONFIG_KEY_BYTES])
{
	while (len > 0 && (data[len - 1] == '\n' || data[len - 1] == '\r' || data[len - 1] == ' ' ||
				  data[len - 1] == '\t'))
		len--;
	return config_key_parse(data, len, ret_key);
}

char *config_key_format(const uint8_t key[CONFIG_KEY_BYTES], char text[CONFIG_KEY_TEXT_BYTES])
{
	for (size_t i = 0; i < DIGITS; i++) {
		size_t bit = 6 * i;
		uint32_t pair = (uint32_t)key[bit / 8] << 8;
		if (bit / 8 + 1 < CONFIG_KEY_BYTES)
			pair |= key[bit / 8 + 1];
		text[i] = value_digit((int)(pair >> (10 - bit % 8) & 63));
	}
	text[DIGITS] = '=';
	text[TEXT_LEN] = '\0';
	return text;
}

bool config_key_is_zero(const uint8_t key[CONFIG_KEY_BYTES])
{
	unsigned sum = 0;

	for (size_t i = 0; i < CONFIG_KEY_BYTES; i++)
		sum |= key[i];
	return sum == 0;
}

/* Points whose order divides 8, but for 0 and for forms that are not the smallest. */
static const uint8_t LOW_ORDER[][CONFIG_KEY_BYTES] = {
	{1},
	{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
		0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f,
		0x49, 0xb8, 0x00},
	{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
		0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0,
		0x9f, 0x11, 0x57},
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0x7f},
};

/* True if the number is less than 2^255 - 19. */
static bool is_smallest_form(const uint8_t key[CONFIG_KEY_BYTES])
{
	if (key[CONFIG_KEY_BYTES - 1] != 0x7f)
		return key[CONFIG_KEY_BYTES - 1] < 0x7f;
	for (size_t i = CONFIG_KEY_BYTES - 2; i > 0; i--) {
		if (key[i] != 0xff)
			return true;
	}
	return key[0] < 0xed;
}

const char *config_key_unusable(const uint8_t public_key[CONFIG_KEY_BYTES])
{
	if (config_key_is_zero(public_key))
		return "is all zeros";
	for (size_t i = 0; i < sizeof(LOW_ORDER) / sizeof(LOW_ORDER[0]); i++) {
		if (memcmp(public_key, LOW_ORDER[i], CONFIG_KEY_BYTES) == 0)
			return "is a point of low order, which shares no secret with anybody";
	}
	return is_smallest_form(public_key) ? NULL : "is no number below 2^255 - 19";
}
