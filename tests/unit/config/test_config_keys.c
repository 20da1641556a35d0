/* Keys of the native wire: texts, files and their modes, what clashes, what a reload sees, what nobody may see. */
#include "config/config_key.h"
#include "config/config_secrets.h"
#include "config_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define HEAD "version: 1\nidentity: {private_key_file: office.key}\n"
#define PUBLIC_A "VWpkLIRplRGdyW4tX4OuUQ0bWyKH3gWGqWkVVdxg21Y="
#define PUBLIC_B "gOtqvbm9lOINfW1pRGIlaXTDDkTE6qAp9OgBiRn4ZS8="
#define SECRET_A "SECRETaSECRETaSECRETaSECRETaSECRETaSECRETaA="
#define SECRET_B "SECRETbSECRETbSECRETbSECRETbSECRETbSECRETbA="
#define SECRET_C "SECRETcSECRETcSECRETcSECRETcSECRETcSECRETcA="

static const char PEER_A[] =
	HEAD "peers:\n  a: {endpoints: [192.0.2.1:1], public_key: " PUBLIC_A "}\n";

/* ---- texts ---------------------------------------------------------------------------------------------------- */

/* Base64 as the book says, by table: the twin of the one without tables. */
static void naive_format(const uint8_t key[CONFIG_KEY_BYTES], char text[CONFIG_KEY_TEXT_BYTES])
{
	static const char DIGITS[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t padded[33] = {0};

	memcpy(padded, key, CONFIG_KEY_BYTES);
	for (size_t i = 0; i < 11; i++) {
		unsigned bits = (unsigned)padded[3 * i] << 16 | (unsigned)padded[3 * i + 1] << 8 |
				padded[3 * i + 2];
		for (unsigned d = 0; d < 4; d++)
			text[4 * i + d] = DIGITS[bits >> (18 - 6 * d) & 63];
	}
	text[43] = '=';
	text[44] = '\0';
}

Test(key, text_and_bytes_are_one_to_one)
{
	uint64_t state = 1;

	for (int round = 0; round < 2000; round++) {
		uint8_t key[CONFIG_KEY_BYTES], again[CONFIG_KEY_BYTES];
		char text[CONFIG_KEY_TEXT_BYTES], want[CONFIG_KEY_TEXT_BYTES];
		for (size_t i = 0; i < sizeof(key); i++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			key[i] = round < 256 ? (uint8_t)round : (uint8_t)(state >> 56);
		}
		naive_format(key, want);
		cr_assert_str_eq(config_key_format(key, text), want);
		cr_assert_eq(config_key_parse(text, 44, again), 0, "%s", text);
		cr_assert_arr_eq(key, again, sizeof(key));
	}
}

/* Each place takes each of the 64 digits, the last but one 16 of them, and no other character. */
Test(key, every_character_at_every_place)
{
	static const char DIGITS[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t key[CONFIG_KEY_BYTES];
	char text[45];

	for (size_t place = 0; place < 44; place++) {
		for (int c = 0; c < 256; c++) {
			memset(text, 'A', 43);
			text[43] = '=';
			text[place] = (char)c;
			const char *digit = c ? strchr(DIGITS, c) : NULL;
			bool good = place == 43	  ? c == '='
				    : place == 42 ? digit && (digit - DIGITS) % 4 == 0
						  : digit != NULL;
			cr_assert_eq(
				config_key_parse(text, 44, key) == 0, good, "%zu: %d", place, c);
		}
	}
	cr_assert(config_key_parse(text, 43, key) < 0);
	cr_assert(config_key_parse(text, 0, key) < 0);
}

Test(key, a_file_may_end_in_white_space)
{
	static const struct {
		const char *data;
		bool good;
	} ROWS[] = {
		{SECRET_A, true},
		{SECRET_A "\n", true},
		{SECRET_A " \r\n\n\t", true},
		{" " SECRET_A, false},
		{SECRET_A "\nx", false},
		{SECRET_A "\n" SECRET_B, false},
		{"", false},
		{"\n", false},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		uint8_t key[CONFIG_KEY_BYTES];
		int error = config_key_parse_file(ROWS[i].data, strlen(ROWS[i].data), key);
		cr_assert_eq(error == 0, ROWS[i].good, "row %zu", i);
	}
	uint8_t key[CONFIG_KEY_BYTES];
	cr_assert(config_key_parse_file(SECRET_A "\0", 45, key) < 0);
}

Test(key, only_the_smallest_form_is_usable)
{
	static const struct {
		uint8_t first, middle, last;
		bool good;
	} ROWS[] = {
		{0x09, 0x00, 0x00, true},
		{0x02, 0x00, 0x00, true},
		{0xeb, 0xff, 0x7f, true},
		{0xec, 0xff, 0x7f, false}, /* p - 1: low order */
		{0xed, 0xff, 0x7f, false}, /* p */
		{0xee, 0xff, 0x7f, false},
		{0xff, 0xff, 0x7f, false},
		{0xff, 0xfe, 0x7f, true},
		{0xff, 0xff, 0x7e, true},
		{0x09, 0x00, 0x80, false},
		{0x00, 0x00, 0x00, false},
		{0x01, 0x00, 0x00, false},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		uint8_t key[CONFIG_KEY_BYTES];
		memset(key, ROWS[i].middle, sizeof(key));
		key[0] = ROWS[i].first;
		key[CONFIG_KEY_BYTES - 1] = ROWS[i].last;
		cr_assert_eq(config_key_unusable(key) == NULL, ROWS[i].good, "row %zu", i);
	}
}

Test(secrets, hold_what_was_asked_for)
{
	struct config_secrets *secrets = NULL;
	uint8_t *last = NULL;

	secrets_free(NULL);
	cr_assert_eq(secrets_new(1000, &secrets), 0);
	for (int i = 0; i < 1000; i++) {
		uint8_t *key = secrets_add(secrets);
		for (size_t k = 0; k < CONFIG_KEY_BYTES; k++)
			cr_assert_eq(key[k], 0);
		memset(key, i & 0xff, CONFIG_KEY_BYTES);
		cr_assert(!last || key == last + CONFIG_KEY_BYTES);
		last = key;
	}
	(void)secrets_locked(secrets);
	secrets_free(secrets);
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

static const char FULL[] =
	"version: 1\n"
	"identity: {private_key_file: office.key, network_key_file: /n/k}\n"
	"peers:\n"
	"  a: {endpoints: [192.0.2.1:1], public_key: " PUBLIC_A ", preshared_key_file: a.psk}\n"
	"  b: {endpoints: [192.0.2.2:1], public_key: " PUBLIC_B "}\n";

/* X25519 is the caller's; any function of the key will do here. */
static int fake_public_half(void *ctx, const uint8_t private_key[CONFIG_KEY_BYTES],
	uint8_t ret_public_key[CONFIG_KEY_BYTES])
{
	(void)ctx;
	memcpy(ret_public_key, private_key, CONFIG_KEY_BYTES);
	ret_public_key[0] ^= 0xff;
	ret_public_key[CONFIG_KEY_BYTES - 1] &= 0x7f;
	return 0;
}

static int load_keyed(const struct memory_file *files, size_t count, struct config **ret,
	struct config_report *report)
{
	struct memory_files memory = {.files = files, .count = count};
	struct config_reader reader = {.ctx = &memory,
		.read_file = memory_read,
		.list_files = memory_glob,
		.public_half = fake_public_half};

	return config_load(files[0].path, &reader, ret, report);
}

Test(key_files, arrive_as_bytes)
{
	static struct config_report report;
	struct memory_file files[] = {
		{.path = "/c/office.yaml", .text = FULL, .mode = 0644},
		{.path = "/c/office.key", .text = SECRET_A "\n", .mode = 0600},
		{.path = "/n/k", .text = SECRET_B, .mode = 0440},
		{.path = "/c/a.psk", .text = SECRET_C "\r\n", .mode = 0640},
	};
	struct config *c = NULL;
	uint8_t want[CONFIG_KEY_BYTES], half[CONFIG_KEY_BYTES];
	char text[CONFIG_KEY_TEXT_BYTES];

	cr_assert_eq(load_keyed(files, COUNT(files), &c, &report), 0, "%s", report.errors[0].text);
	cr_assert_eq(report.warning_total, 0u, "%s", report.warnings[0].text);
	cr_assert_eq(c->wire, CONFIG_WIRE_NATIVE);
	cr_assert_eq(c->interface.mtu_bytes, 1400);
	cr_assert_str_eq(c->identity.private_key_file, "/c/office.key");
	cr_assert_eq(config_key_parse(SECRET_A, 44, want), 0);
	cr_assert_arr_eq(c->identity.private_key, want, sizeof(want));
	(void)fake_public_half(NULL, want, half);
	cr_assert_arr_eq(c->identity.public_key, half, sizeof(half));
	cr_assert_str_eq(c->identity.public_key_text, config_key_format(half, text));
	cr_assert_eq(config_key_parse(SECRET_B, 44, want), 0);
	cr_assert_arr_eq(c->identity.network_key, want, sizeof(want));
	cr_assert_eq(config_key_parse(SECRET_C, 44, want), 0);
	cr_assert_arr_eq(c->peers[0].preshared_key, want, sizeof(want));
	cr_assert_eq(c->peers[1].preshared_key, NULL);
	cr_assert_str_eq(c->peers[1].public_key_text, PUBLIC_B);
	cr_assert_eq(config_key_parse(PUBLIC_B, 44, want), 0);
	cr_assert_arr_eq(c->peers[1].public_key, want, sizeof(want));
	cr_assert(c->peers[1].session.roaming);
	cr_assert_eq(c->peers[1].transport.deadline_ms, CONFIG_AUTO);
	cr_assert_eq(c->peers[1].transport.padding, CONFIG_PADDING_NONE);

	/* what is shown tells the files and the public key, and no secret */
	for (int effective = 0; effective < 2; effective++) {
		char *shown = NULL;
		cr_assert_eq(config_show(c, effective, &shown), 0);
		cr_assert(strstr(shown, "private_key_file: /c/office.key\n"), "%s", shown);
		cr_assert(strstr(shown, PUBLIC_A));
		cr_assert_eq(strstr(shown, "SECRET"), NULL);
		free(shown);
	}
	(void)config_keys_locked(c);
	config_free(c);
}

/* What becomes of a private key file: each mistake, with what to do about it. */
Test(key_files, every_mistake_says_what_next)
{
	static const struct {
		const char *text;
		unsigned mode;
		int error;
		unsigned code;
		const char *want;
	} ROWS[] = {
		{NULL, 0, -ENOENT, CONFIG_E_READ,
			"identity.private_key_file: there is no file /c/office.key; make it: "
			"kcpctl key gen /c/office.key"},
		{NULL, 0, -EACCES, CONFIG_E_READ,
			"identity.private_key_file: /c/office.key cannot be read: Permission "
			"denied"},
		{NULL, 0, -EINVAL, CONFIG_E_READ,
			"identity.private_key_file: /c/office.key is not a regular file"},
		{NULL, 0, -EFBIG, CONFIG_E_SECRET, "holds no key: it is longer than 256 bytes"},
		{SECRET_A, 0644, 0, CONFIG_E_MODE,
			"identity.private_key_file: /c/office.key has mode 0644, a key file at "
			"most 0640; use: chmod 0600 /c/office.key"},
		{SECRET_A, 0660, 0, CONFIG_E_MODE, "has mode 0660"},
		{SECRET_A, 0604, 0, CONFIG_E_MODE, "has mode 0604"},
		{SECRET_A, 0601, 0, CONFIG_E_MODE, "has mode 0601"},
		{SECRET_A, 0610, 0, CONFIG_E_MODE, "has mode 0610"},
		{SECRET_A, 0700, 0, CONFIG_E_MODE, "has mode 0700"},
		{SECRET_A, 0602, 0, CONFIG_E_MODE, "has mode 0602"},
		{"", 0600, 0, CONFIG_E_SECRET, "holds no key: it is empty"},
		{"SECRET", 0600, 0, CONFIG_E_SECRET, "holds no key: it is something else"},
		{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0600, 0, CONFIG_E_SECRET,
			"is all zeros"},
		{SECRET_A "\n" SECRET_B, 0600, 0, CONFIG_E_SECRET, "something else"},
	};
	static struct config_report report;

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		struct memory_file files[] = {
			{.path = "/c/office.yaml", .text = PEER_A, .mode = 0600},
			{.path = "/c/office.key",
				.text = ROWS[i].text,
				.mode = ROWS[i].mode,
				.error = ROWS[i].error},
		};
		struct config *c = NULL;
		char *told = NULL;
		cr_assert(load_keyed(files, COUNT(files), &c, &report) < 0, "row %zu", i);
		cr_assert_eq(c, NULL);
		cr_assert_eq(report.error_total, 1u, "row %zu", i);
		cr_assert_eq(report.errors[0].number, ROWS[i].code, "row %zu", i);
		cr_assert_eq(report.errors[0].line, 2u);
		cr_assert(strstr(report.errors[0].text, ROWS[i].want), "row %zu: %s", i,
			report.errors[0].text);
		cr_assert_eq(config_report_format(&report, "vpnd", &told), 0);
		cr_assert_eq(strstr(told, "SECRET"), NULL, "%s", told);
		cr_assert_eq(report.read_error, ROWS[i].error, "row %zu: %d", i, report.read_error);
		free(told);
	}
	/* a reader that read a pipe all the same */
	struct memory_file piped[] = {
		{.path = "/c/office.yaml", .text = PEER_A, .mode = 0600},
		{.path = "/c/office.key", .text = SECRET_A, .pipe = true},
	};
	struct config *none = NULL;
	cr_assert(load_keyed(piped, COUNT(piped), &none, &report) < 0);
	cr_assert(strstr(report.errors[0].text, "is not a regular file"));
	/* modes that are fine */
	static const unsigned GOOD[] = {0400, 0600, 0440, 0640, 0};
	for (size_t i = 0; i < COUNT(GOOD); i++) {
		struct memory_file files[] = {
			{.path = "/c/office.yaml", .text = PEER_A, .mode = 0600},
			{.path = "/c/office.key", .text = SECRET_A, .mode = GOOD[i]},
		};
		struct config *c = NULL;
		cr_assert_eq(load_keyed(files, COUNT(files), &c, &report), 0, "%04o", GOOD[i]);
		config_free(c);
	}
}

/* The same rules hold for the other two kinds of key files. */
Test(key_files, the_other_kinds_are_judged_alike)
{
	static const struct {
		size_t file;
		const char *text;
		unsigned mode;
		unsigned code;
		const char *want;
	} ROWS[] = {
		{2, SECRET_B, 0644, CONFIG_E_MODE, "identity.network_key_file: /n/k has mode 0644"},
		{2, "x", 0600, CONFIG_E_SECRET, "as kcpctl key psk makes it"},
		{2, NULL, 0600, CONFIG_E_READ, "make it: kcpctl key psk /n/k"},
		{3, SECRET_C, 0644, CONFIG_E_MODE,
			"peers.a.preshared_key_file: /c/a.psk has mode 0644"},
		{3, "x", 0600, CONFIG_E_SECRET, "peers.a.preshared_key_file: /c/a.psk holds no"},
		{3, NULL, 0600, CONFIG_E_READ, "make it: kcpctl key psk /c/a.psk"},
	};
	static struct config_report report;

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		struct memory_file files[] = {
			{.path = "/c/office.yaml", .text = FULL, .mode = 0644},
			{.path = "/c/office.key", .text = SECRET_A "\n", .mode = 0600},
			{.path = "/n/k", .text = SECRET_B, .mode = 0600},
			{.path = "/c/a.psk", .text = SECRET_C, .mode = 0600},
		};
		struct config *c = NULL;
		files[ROWS[i].file].text = ROWS[i].text;
		files[ROWS[i].file].mode = ROWS[i].mode;
		files[ROWS[i].file].error = -ENOENT;
		cr_assert(load_keyed(files, COUNT(files), &c, &report) < 0, "row %zu", i);
		cr_assert_eq(report.error_total, 1u);
		cr_assert_eq(report.errors[0].number, ROWS[i].code, "row %zu", i);
		cr_assert(strstr(report.errors[0].text, ROWS[i].want), "row %zu: %s", i,
			report.errors[0].text);
	}
}

/* What the reader is asked for. */
struct asked {
	char path[8][64];
	unsigned flags[8];
	size_t count;
};

static int asking_read(void *ctx, const char *path, size_t max_bytes, unsigned flags,
	char **ret_data, size_t *ret_len, struct config_file_stat *ret_stat)
{
	struct asked *asked = ctx;
	const char *text = strstr(path, ".yaml") ? FULL : SECRET_A;

	cr_assert(asked->count < 8);
	(void)snprintf(asked->path[asked->count], 64, "%s", path);
	asked->flags[asked->count++] = flags;
	cr_assert(max_bytes >= strlen(text));
	*ret_data = strdup(text);
	*ret_len = strlen(text);
	*ret_stat = (struct config_file_stat){.regular = true, .mode = 0600};
	return 0;
}

static int no_files(void *ctx, const char *pattern, char ***ret_paths, size_t *ret_count)
{
	(void)ctx;
	(void)pattern;
	*ret_paths = NULL;
	*ret_count = 0;
	return 0;
}

Test(key_files, come_through_the_one_door_in_one_order)
{
	static struct config_report report;
	static const char *const WANT[] = {"/c/office.yaml", "/c/office.key", "/n/k", "/c/a.psk"};
	struct asked asked = {0};
	struct config_reader reader = {
		.ctx = &asked, .read_file = asking_read, .list_files = no_files};
	struct config *c = NULL;

	cr_assert_eq(config_load("/c/office.yaml", &reader, &c, &report), 0);
	cr_assert_eq(asked.count, COUNT(WANT));
	for (size_t i = 0; i < COUNT(WANT); i++) {
		cr_assert_str_eq(asked.path[i], WANT[i]);
		cr_assert(asked.flags[i] & CONFIG_READ_SECRET);
		cr_assert_eq((asked.flags[i] & CONFIG_READ_REGULAR) != 0, i > 0);
	}
	/* without a way to make the public half it is not known */
	cr_assert_str_eq(c->identity.public_key_text, "");
	uint8_t other[CONFIG_KEY_BYTES] = {9};
	cr_assert_eq(config_set_public_key(c, other), NULL);
	cr_assert_str_eq(
		c->identity.public_key_text, "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	cr_assert_eq(config_set_public_key(c, c->peers[1].public_key), &c->peers[1]);
	config_free(c);

	asked.count = 0;
	reader.skip_secrets = true;
	cr_assert_eq(config_load("/c/office.yaml", &reader, &c, &report), 0);
	cr_assert_eq(asked.count, 1u);
	cr_assert_eq(c->identity.private_key, NULL);
	cr_assert_str_eq(c->identity.private_key_file, "/c/office.key");
	config_free(c);
}

/* A peer with our own key would be a tunnel to ourselves. */
Test(key_files, the_own_public_key_is_no_peer)
{
	static struct config_report report;
	char text[512], own[CONFIG_KEY_TEXT_BYTES];
	uint8_t private_key[CONFIG_KEY_BYTES], half[CONFIG_KEY_BYTES];
	struct config *c = NULL;

	cr_assert_eq(config_key_parse(SECRET_A, 44, private_key), 0);
	(void)fake_public_half(NULL, private_key, half);
	(void)snprintf(text, sizeof(text),
		HEAD "peers:\n  a: {endpoints: [192.0.2.1:1], public_key: %s}\n"
		     "  b: {endpoints: [192.0.2.1:1], public_key: " PUBLIC_B "}\n",
		config_key_format(half, own));
	struct memory_file files[] = {
		{.path = "office.yaml", .text = text, .mode = 0600},
		{.path = "office.key", .text = SECRET_A, .mode = 0600},
	};
	cr_assert(load_keyed(files, COUNT(files), &c, &report) < 0);
	cr_assert_eq(report.error_total, 1u);
	cr_assert_eq(report.errors[0].line, 4u);
	cr_assert(strstr(report.errors[0].text, "peers.a.public_key is this host's own"));
}

/* ---- the default reader --------------------------------------------------------------------------------------- */

static void put(const char *folder, const char *name, const char *text, mode_t mode)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *out = fopen(path, "wb");
	cr_assert(out, "%s", path);
	(void)fputs(text, out);
	(void)fclose(out);
	cr_assert_eq(chmod(path, mode), 0);
}

Test(key_files, on_disk)
{
	static struct config_report report;
	char folder[] = "/tmp/config-keys-XXXXXX";
	char path[512], link[512];
	struct config *c = NULL;

	cr_assert(mkdtemp(folder));
	put(folder, "office.yaml", PEER_A, 0600);
	put(folder, "real", SECRET_A "\n", 0600);
	(void)snprintf(path, sizeof(path), "%s/office.yaml", folder);
	(void)snprintf(link, sizeof(link), "%s/office.key", folder);
	/* a link is followed, and the modes are those of what it leads to */
	cr_assert_eq(symlink("real", link), 0);
	cr_assert_eq(config_load(path, NULL, &c, &report), 0, "%s", report.errors[0].text);
	cr_assert(c->identity.private_key);
	config_free(c);
	put(folder, "real", SECRET_A "\n", 0644);
	cr_assert(config_load(path, NULL, &c, &report) < 0);
	cr_assert_eq(report.errors[0].number, (unsigned)CONFIG_E_MODE);
	/* neither a pipe nor a folder holds a key, and nobody waits for one */
	cr_assert_eq(unlink(link), 0);
	cr_assert_eq(mkfifo(link, 0600), 0);
	cr_assert(config_load(path, NULL, &c, &report) < 0);
	cr_assert(strstr(report.errors[0].text, "is not a regular file"), "%s",
		report.errors[0].text);
	const struct config_reader *reader = config_reader_default();
	struct config_file_stat st;
	char *data = NULL;
	size_t len = 0;
	cr_assert_eq(
		reader->read_file(NULL, link, 10, CONFIG_READ_REGULAR, &data, &len, &st), -EINVAL);
	cr_assert_eq(reader->read_file(NULL, link, 10, 0, &data, &len, &st), -EINVAL);
	/* nor does one hold a configuration, with a writer or without */
	cr_assert(config_load(link, NULL, &c, &report) < 0);
	cr_assert_eq(report.read_error, -EINVAL);
	cr_assert(strstr(report.errors[0].text, "it is not a regular file"), "%s",
		report.errors[0].text);
	int writer = open(link, O_RDWR);
	cr_assert(writer >= 0);
	cr_assert_eq(reader->read_file(NULL, link, 10, 0, &data, &len, &st), -EINVAL);
	cr_assert_eq(reader->read_file(NULL, "/dev/null", 10, 0, &data, &len, &st), -EINVAL);
	(void)close(writer);
	cr_assert_eq(unlink(link), 0);
	cr_assert_eq(mkdir(link, 0700), 0);
	cr_assert(config_load(path, NULL, &c, &report) < 0);
	cr_assert_eq(report.errors[0].number, (unsigned)CONFIG_E_READ);
	cr_assert_eq(rmdir(link), 0);
	cr_assert(config_load(path, NULL, &c, &report) < 0);
	cr_assert_eq(report.read_error, -ENOENT);
	cr_assert_eq(config_load(path, config_reader_no_secrets(), &c, &report), 0);
	config_free(c);
	/* too long to be a key, and not read to its end */
	put(folder, "office.key",
		SECRET_A "                                                            "
			 "                                                            "
			 "                                                            "
			 "                                                            ",
		0600);
	cr_assert(config_load(path, NULL, &c, &report) < 0);
	cr_assert(strstr(report.errors[0].text, "longer than 256 bytes"));
	cr_assert_eq(unlink(link), 0);
	(void)snprintf(link, sizeof(link), "%s/real", folder);
	cr_assert_eq(unlink(link), 0);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(rmdir(folder), 0);
}

Test(key_files, credentials)
{
	static struct config_report report;
	static const char TEXT[] = "version: 1\nidentity: {private_key_file: \"credential:k\"}\n";
	char folder[] = "/tmp/config-credentials-XXXXXX";
	char path[512];
	struct config *c = NULL;

	cr_assert(mkdtemp(folder));
	put(folder, "k", SECRET_A "\n", 0440);
	cr_assert_eq(unsetenv("CREDENTIALS_DIRECTORY"), 0);
	cr_assert(config_parse_text("/c/office.yaml", TEXT, strlen(TEXT), config_reader_default(),
			  &c, &report) < 0);
	cr_assert(strstr(report.errors[0].text, "there is no credential k"), "%s",
		report.errors[0].text);
	cr_assert(strstr(report.errors[0].text, "LoadCredential=k:FILE"));
	cr_assert_eq(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
	cr_assert_eq(config_parse_text("/c/office.yaml", TEXT, strlen(TEXT),
			     config_reader_default(), &c, &report),
		0, "%s", report.errors[0].text);
	cr_assert(c->identity.private_key);
	cr_assert_str_eq(c->identity.private_key_file, "credential:k");
	config_free(c);
	/* where the service manager looks is its affair alone, not that of the working directory */
	cr_assert_eq(chdir("/"), 0);
	cr_assert_eq(setenv("CREDENTIALS_DIRECTORY", folder + 1, 1), 0);
	cr_assert(config_parse_text("/c/office.yaml", TEXT, strlen(TEXT), config_reader_default(),
			  &c, &report) < 0);
	(void)snprintf(path, sizeof(path), "%s/k", folder);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(rmdir(folder), 0);
}

/* ---- keys in the configuration itself ------------------------------------------------------------------------- */

/* The command that a message tells does what it says. */
Test(key_files, the_command_moves_an_inline_key)
{
	static struct config_report report;
	static const char *const LINES[] = {
		"identity: {private_key: " SECRET_A "}\n",
		"identity: {name: x, private_key:   '" SECRET_A "' } # note\n",
		"identity:\n  private_key: \"" SECRET_A "\"\n",
		"identity: {private_key_file: " SECRET_A "}\n",
	};

	for (size_t i = 0; i < COUNT(LINES); i++) {
		char folder[] = "/tmp/config key's-XXXXXX";
		char text[512], path[512], name[512], moved[64] = "";
		struct config *c = NULL;
		struct stat st;
		cr_assert(mkdtemp(folder));
		(void)snprintf(text, sizeof(text), "version: 1\n%s", LINES[i]);
		put(folder, "office.yaml", text, 0600);
		(void)snprintf(path, sizeof(path), "%s/office.yaml", folder);
		cr_assert(config_load(path, NULL, &c, &report) < 0);
		cr_assert_eq(report.error_total, 1u);
		cr_assert_eq(report.errors[0].number, (unsigned)CONFIG_E_SECRET);
		cr_assert_eq(strstr(report.errors[0].text, "SECRET"), NULL);
		cr_assert_str_eq(report.errors[0].source, "");
		const char *begin = strstr(report.errors[0].text, "(umask");
		const char *end = strstr(report.errors[0].text, "); then write private_key_file: ");
		cr_assert(begin && end, "%s", report.errors[0].text);
		char *command = strndup(begin, (size_t)(end - begin) + 1);
		cr_assert_eq(system(command), 0, "%s", command);
		(void)snprintf(name, sizeof(name), "%s/%s", folder,
			strstr(end, "file: ") + strlen("file: "));
		FILE *in = fopen(name, "rb");
		cr_assert(in, "%s after %s", name, command);
		cr_assert(fgets(moved, sizeof(moved), in));
		cr_assert_eq(fstat(fileno(in), &st), 0);
		cr_assert_eq(st.st_mode & 0777, 0600u);
		(void)fclose(in);
		cr_assert_str_eq(moved, SECRET_A "\n");
		/* it never overwrites */
		cr_assert_neq(system(command), 0);
		free(command);
		cr_assert_eq(unlink(name), 0);
		cr_assert_eq(unlink(path), 0);
		cr_assert_eq(rmdir(folder), 0);
	}
}

/* A key at the wrong place shows in no message, whatever else is wrong on its line. */
Test(key_files, an_inline_key_is_never_quoted)
{
	static const char *const TEXTS[] = {
		"version: 1\nidentity: {private_key: " SECRET_A ", name: -x}\n",
		"version: 1\nidentity: {name: -x, private_key_file: " SECRET_A "}\n",
		"version: 1\nidentity: {private_key_file: \"" SECRET_A "\", name: -x}\n",
		"version: 1\nidentity: {network_key: [" SECRET_A "], name: -x}\n",
		"version: 1\npeers: {a: {preshared_key: " SECRET_A ", enabled: maybe}}\n",
		"version: 1\npeers: {a: {preshared_key_file: " SECRET_A ", enabled: maybe}}\n",
		"version: 1\nwire: kcp-go\nkcp_go: {key_file: " SECRET_A ", mode: x}\n",
		"version: 1\nidentity: {private_key: {a: " SECRET_A "}, name: -x}\n",
	};
	static struct config_report report;

	for (size_t i = 0; i < COUNT(TEXTS); i++) {
		char *told = NULL;
		struct config *c = NULL;
		cr_assert(config_parse_text("office.yaml", TEXTS[i], strlen(TEXTS[i]), NULL, &c,
				  &report) < 0);
		cr_assert(report.error_total >= 2, "text %zu", i);
		cr_assert_eq(config_report_format(&report, "vpnd", &told), 0);
		cr_assert_eq(strstr(told, "SECRET"), NULL, "text %zu: %s", i, told);
		free(told);
	}
}

/* ---- reload --------------------------------------------------------------------------------------------------- */

static struct config *load_with(const char *text, const char *own, const char *network,
	const char *psk, struct config_report *report)
{
	struct memory_file files[] = {
		{.path = "/c/office.yaml", .text = text, .mode = 0600},
		{.path = "/c/office.key", .text = own, .mode = 0600},
		{.path = "/c/other.key", .text = own, .mode = 0600},
		{.path = "/n/k", .text = network, .mode = 0600},
		{.path = "/c/a.psk", .text = psk, .mode = 0600},
	};
	struct config *c = NULL;

	cr_assert_eq(load_keyed(files, COUNT(files), &c, report), 0, "%s", report->errors[0].text);
	return c;
}

Test(key_diff, sees_other_keys_behind_the_same_path)
{
	static struct config_report report;
	static const struct {
		const char *own, *network, *psk;
		unsigned globals, peer;
		const char *text;
	} ROWS[] = {
		{SECRET_A, SECRET_B, SECRET_C, 0, 0, NULL},
		{SECRET_B, SECRET_B, SECRET_C, CONFIG_EFFECT_SESSIONS, 0,
			"identity.private_key_file: another key"},
		{SECRET_A, SECRET_C, SECRET_C, CONFIG_EFFECT_SESSIONS, 0,
			"identity.network_key_file: another key"},
		{SECRET_A, SECRET_B, SECRET_A, 0, CONFIG_PEER_KEYS,
			"a: preshared_key_file: another key"},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		struct config *before = load_with(FULL, SECRET_A, SECRET_B, SECRET_C, &report);
		struct config *after =
			load_with(FULL, ROWS[i].own, ROWS[i].network, ROWS[i].psk, &report);
		struct config_diff diff;
		cr_assert_eq(config_diff(before, after, &diff), 0);
		cr_assert_eq(diff.effects, ROWS[i].globals, "row %zu", i);
		cr_assert_eq(diff.peer_count, ROWS[i].peer ? 1u : 0u);
		if (ROWS[i].peer)
			cr_assert_eq(diff.peers[0].effects, ROWS[i].peer);
		if (ROWS[i].text)
			cr_assert_str_eq(ROWS[i].peer ? diff.peers[0].text : diff.globals[0].text,
				ROWS[i].text);
		config_diff_fini(&diff);
		config_free(before);
		config_free(after);
	}
}

Test(key_diff, what_each_key_does)
{
	static struct config_report report;
	static const char A[] = "public_key: " PUBLIC_A;
	static const struct {
		const char *top, *peer;
		unsigned globals, effects;
		const char *text;
	} ROWS[] = {
		{HEAD, "public_key: " PUBLIC_B, 0, CONFIG_PEER_KEYS,
			"a: public_key \"" PUBLIC_A "\" -> \"" PUBLIC_B "\""},
		{"version: 1\nidentity: {private_key_file: other.key}\n", A, CONFIG_EFFECT_LIVE, 0,
			NULL},
		{HEAD, "public_key: " PUBLIC_A ", session: {roaming: false}", 0,
			CONFIG_PEER_SESSION, "a: session.roaming true -> false"},
		{HEAD "session: {keepalive: 25s}\n", A, CONFIG_EFFECT_LIVE, CONFIG_PEER_SESSION,
			"a: session.keepalive auto -> 25s"},
		{HEAD "transport: {deadline: 1s}\n", A, CONFIG_EFFECT_LIVE, CONFIG_PEER_TRANSPORT,
			"a: transport.deadline auto -> 1000ms"},
		/* peers tell each other when they shake hands */
		{HEAD "interface: {mtu: 1300}\n", A, CONFIG_EFFECT_LINK | CONFIG_EFFECT_SESSIONS, 0,
			NULL},
		{HEAD "interface: {mtu: 1400}\n", A, CONFIG_EFFECT_LINK, 0, NULL}, /* as it was */
		{HEAD, "public_key: " PUBLIC_A ", transport: {padding: full}", 0,
			CONFIG_PEER_TRANSPORT, "a: transport.padding none -> full"},
		{HEAD, "public_key: " PUBLIC_A ", preshared_key_file: a.psk", 0,
			CONFIG_PEER_SESSION | CONFIG_PEER_KEYS,
			"a: preshared_key_file none -> /c/a.psk, preshared_key_file: another key"},
	};

	for (size_t i = 0; i < COUNT(ROWS); i++) {
		char text[512];
		struct config *before = load_with(PEER_A, SECRET_A, SECRET_B, SECRET_C, &report);
		(void)snprintf(text, sizeof(text),
			"%speers:\n  a: {endpoints: [192.0.2.1:1], %s}\n", ROWS[i].top,
			ROWS[i].peer);
		struct config *after = load_with(text, SECRET_A, SECRET_B, SECRET_C, &report);
		struct config_diff diff;
		cr_assert_eq(config_diff(before, after, &diff), 0);
		cr_assert_eq(diff.effects, ROWS[i].globals, "row %zu", i);
		cr_assert_eq(diff.peer_count, ROWS[i].effects ? 1u : 0u, "row %zu", i);
		if (ROWS[i].effects) {
			cr_assert_eq(diff.peers[0].effects, ROWS[i].effects, "row %zu", i);
			cr_assert_str_eq(diff.peers[0].text, ROWS[i].text);
		}
		config_diff_fini(&diff);
		config_free(before);
		config_free(after);
	}
}

Test(native, show_reads_back_the_same)
{
	static const char TEXT[] =
		"version: 1\n"
		"identity: {private_key_file: \"my key\", network_key_file: \"credential:n\"}\n"
		"transport: {deadline: 700ms, padding: 16}\n"
		"session: {roaming: false}\n"
		"peers:\n"
		"  a: {endpoints: [192.0.2.1:1], public_key: " PUBLIC_A ", preshared_key_file: p}\n"
		"  b: {endpoints: [192.0.2.1:1], public_key: " PUBLIC_B
		", session: {roaming: true}}\n";

	for (int effective = 0; effective < 2; effective++) {
		struct config *c = parse_good(TEXT);
		char *first = NULL;
		char *second = NULL;
		cr_assert_eq(config_show(c, effective, &first), 0);
		cr_assert_eq(strstr(first, "kcp_go"), NULL);
		struct config *again = parse_good(first);
		cr_assert_eq(config_show(again, effective, &second), 0);
		cr_assert_str_eq(first, second);
		cr_assert_eq(again->transport.deadline_ms, 700);
		cr_assert_eq(again->peers[0].transport.deadline_ms, 700);
		cr_assert_eq(again->peers[1].transport.padding, CONFIG_PADDING_16);
		cr_assert(!again->peers[0].session.roaming);
		cr_assert(again->peers[1].session.roaming);
		cr_assert_str_eq(again->identity.network_key_file, "credential:n");
		cr_assert_str_eq(again->peers[0].preshared_key_file, "p");
		config_free(c);
		config_free(again);
		free(first);
		free(second);
	}
}

/* ---- a fixed rate --------------------------------------------------------------------------------------------- */

/* On the native wire that takes a rate, its own or the network's; who has made the mistake is told where. */
Test(native_keys, a_fixed_rate_is_given)
{
	static const char TWO[] =
		HEAD "peers:\n"
		     "  a: {endpoints: [192.0.2.1:1], public_key: " PUBLIC_A "%s}\n"
		     "  b: {endpoints: [192.0.2.1:2], public_key: " PUBLIC_B "}\n%s";
	static const struct {
		const char *a, *network;
		unsigned errors, line;
	} rows[] = {
		{"", "transport: {congestion: auto}\n", 0, 0},
		{"", "transport: {congestion: fixed, rate_max: 5M}\n", 0, 0},
		{", transport: {congestion: fixed, rate_max: 5M}", "", 0, 0},
		{", transport: {congestion: fixed}", "transport: {rate_max: 5M}\n", 0, 0},
		{", transport: {congestion: auto, rate_max: 0}",
			"transport: {congestion: fixed, rate_max: 5M}\n", 0, 0},
		{"", "transport: {congestion: fixed}\n", 1, 6},
		{", transport: {rate_max: 5M}", "transport: {congestion: fixed}\n", 1, 6},
		{", transport: {congestion: fixed}", "", 1, 4},
		{", transport: {rate_max: 0}", "transport: {congestion: fixed, rate_max: 5M}\n", 1,
			4},
	};
	struct config_report report;
	char text[1000];

	for (size_t i = 0; i < COUNT(rows); i++) {
		(void)snprintf(text, sizeof(text), TWO, rows[i].a, rows[i].network);
		if (rows[i].errors == 0) {
			config_free(parse_good(text));
			continue;
		}
		cr_assert_eq(parse_bad(text, &report), 12u, "%s", text);
		cr_assert_eq(report.error_total, rows[i].errors, "%s", text);
		cr_assert_eq(report.errors[0].line, rows[i].line, "%s", text);
	}
}
