/* The state file in a folder of its own, read back and damaged in every way. */
#include "config/config_key.h"
#include "core/log.h"
#include "vpnd/loop.h"
#include "vpnd/resolver.h"
#include "vpnd/state_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct bench {
	struct loop *loop;
	struct state_file *file;
	struct log log;
	char folder[64];
	int warnings;
	char last[LOG_LINE_BYTES];
};

static void sink(void *ctx, enum log_level level, const char *text)
{
	struct bench *b = ctx;

	b->warnings += level <= LOG_LEVEL_WARN;
	(void)snprintf(b->last, sizeof(b->last), "%s", text);
}

static void setup(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	b->log = (struct log){sink, b, LOG_LEVEL_DEBUG};
	(void)snprintf(b->folder, sizeof(b->folder), "/tmp/vpnd-state-XXXXXX");
	cr_assert_not_null(mkdtemp(b->folder));
	cr_assert_eq(loop_new(&b->loop), 0);
}

static int folder_fd(const struct bench *b)
{
	int fd = open(b->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	cr_assert(fd >= 0);
	return fd;
}

static void open_file(struct bench *b)
{
	cr_assert_eq(state_file_open(b->loop, folder_fd(b), "net", &b->log, &b->file), 0);
}

static char *path_in(const struct bench *b, const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", b->folder, name);
	return path;
}

static void teardown(struct bench *b)
{
	state_file_free(b->file);
	loop_free(b->loop);
	(void)unlink(path_in(b, "net.peers"));
	(void)unlink(path_in(b, "net.peers.new"));
	(void)unlink(path_in(b, "other"));
	(void)rmdir(b->folder);
}

static const uint8_t *key(unsigned n)
{
	static uint8_t keys[4][32];
	static unsigned turn;
	uint8_t *k = keys[turn++ % 4];

	memset(k, 0, 32);
	k[0] = (uint8_t)(n * 37);
	k[1] = (uint8_t)(n >> 8);
	k[2] = (uint8_t)n;
	k[31] = 1;
	return k;
}

static struct kcpvpn_endpoint address(const char *text)
{
	struct kcpvpn_endpoint endpoint;

	cr_assert_eq(resolver_parse_numeric(text, &endpoint), 0, "%s", text);
	return endpoint;
}

static void set(struct bench *b, unsigned n, const char *text)
{
	struct kcpvpn_endpoint endpoint = address(text);

	state_file_set(b->file, key(n), &endpoint);
}

/* "" if nothing is known */
static const char *get(const struct bench *b, unsigned n)
{
	static char text[KCPVPN_ENDPOINT_TEXT_BYTES];
	struct kcpvpn_endpoint endpoint;

	if (!state_file_find(b->file, key(n), &endpoint))
		return "";
	return kcpvpn_endpoint_format(&endpoint, text);
}

static bool exists(const struct bench *b, const char *name, struct stat *stat)
{
	return lstat(path_in(b, name), stat) == 0;
}

static ino_t inode(const struct bench *b)
{
	struct stat stat;

	return exists(b, "net.peers", &stat) ? stat.st_ino : 0;
}

/* Turns the loop until the file is another one than before. */
static void wait_for_write(struct bench *b, ino_t before)
{
	while (inode(b) == before)
		cr_assert(loop_turn(b->loop, true) >= 0);
}

static void put(const struct bench *b, const char *data, size_t len)
{
	FILE *f = fopen(path_in(b, "net.peers"), "w");

	cr_assert_not_null(f);
	cr_assert_eq(fwrite(data, 1, len, f), len);
	cr_assert_eq(fclose(f), 0);
}

static size_t slurp(const struct bench *b, char *text, size_t room)
{
	FILE *f = fopen(path_in(b, "net.peers"), "r");
	size_t len;

	cr_assert_not_null(f);
	len = fread(text, 1, room - 1, f);
	text[len] = '\0';
	(void)fclose(f);
	return len;
}

Test(state_file, remembers_over_a_restart)
{
	struct bench b;
	struct stat stat;

	setup(&b);
	open_file(&b);
	cr_assert_eq(b.warnings, 0); /* that it is not there yet is no reason to warn */
	cr_assert_str_eq(get(&b, 1), "");
	set(&b, 1, "198.51.100.7:29900");
	set(&b, 2, "[2001:db8::1]:1");
	set(&b, 3, "[fe80::1%3]:65535");
	cr_assert_str_eq(get(&b, 1), "198.51.100.7:29900");
	wait_for_write(&b, 0);
	cr_assert(exists(&b, "net.peers", &stat));
	cr_assert_eq(stat.st_mode & 07777, 0640);
	state_file_free(b.file);
	cr_assert(!exists(&b, "net.peers.new", &stat));

	open_file(&b);
	cr_assert_str_eq(get(&b, 1), "198.51.100.7:29900");
	cr_assert_str_eq(get(&b, 2), "[2001:db8::1]:1");
	cr_assert_str_eq(get(&b, 3), "[fe80::1%3]:65535");
	cr_assert_str_eq(get(&b, 4), "");
	cr_assert_eq(b.warnings, 0, "%s", b.last);
	teardown(&b);
}

Test(state_file, is_written_within_a_second_however_often_it_changes)
{
	struct bench b;
	char text[32];

	setup(&b);
	open_file(&b);
	/* A change in each round: the write must not be put off by that, nor follow every one. */
	struct mono began = loop_clock();
	ino_t last = 0;
	unsigned writes = 0;
	for (unsigned i = 0; writes < 3; i++) {
		(void)snprintf(text, sizeof(text), "192.0.2.1:%u", i % 60000 + 1);
		set(&b, 1, text);
		cr_assert(loop_turn(b.loop, false) >= 0);
		cr_assert_lt(mono_diff_us(loop_clock(), began), 10000000);
		writes += inode(&b) != last;
		last = inode(&b);
	}
	cr_assert_gt(mono_diff_us(loop_clock(), began), 2 * STATE_FILE_PAUSE_US - 1);
	teardown(&b);
}

Test(state_file, holds_keys_and_addresses_and_nothing_else)
{
	struct bench b;
	char text[512], wanted[512], base64[CONFIG_KEY_TEXT_BYTES];

	setup(&b);
	open_file(&b);
	set(&b, 9, "192.0.2.1:7");
	state_file_free(b.file);
	b.file = NULL;
	slurp(&b, text, sizeof(text));
	char *line = strchr(text, '\n');
	cr_assert(text[0] == '#' && line != NULL);
	(void)snprintf(
		wanted, sizeof(wanted), "\n%s 192.0.2.1:7\n", config_key_format(key(9), base64));
	cr_assert_str_eq(line, wanted);
	teardown(&b);
}

Test(state_file, what_did_not_change_is_not_written)
{
	struct bench b;

	setup(&b);
	open_file(&b);
	set(&b, 1, "192.0.2.1:7");
	state_file_free(b.file);
	open_file(&b);
	ino_t before = inode(&b);
	set(&b, 1, "192.0.2.1:7");
	state_file_free(b.file);
	b.file = NULL;
	cr_assert_eq(inode(&b), before);
	open_file(&b);
	set(&b, 1, "192.0.2.1:8");
	wait_for_write(&b, before); /* another file: renamed, not overwritten */
	cr_assert_str_eq(get(&b, 1), "192.0.2.1:8");
	teardown(&b);
}

Test(state_file, a_change_while_the_disk_is_slow_is_written_next)
{
	struct bench b;

	setup(&b);
	open_file(&b);
	set(&b, 1, "192.0.2.1:7");
	wait_for_write(&b, 0);
	ino_t first = inode(&b);
	set(&b, 1, "192.0.2.1:8"); /* the thread has ended, but the loop was not told yet */
	wait_for_write(&b, first);
	state_file_free(b.file);
	open_file(&b);
	cr_assert_str_eq(get(&b, 1), "192.0.2.1:8");
	teardown(&b);
}

Test(state_file, damaged_lines_are_skipped_and_the_others_count)
{
	static const char *const bad[] = {
		"",
		"x",
		" ",
		"\x01\x02\x03",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=192.0.2.1:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA 192.0.2.1:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB= 192.0.2.1:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 192.0.2.1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 192.0.2.1:0",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 192.0.2.1:65536",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 0.0.0.0:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 0.1.2.3:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 224.0.0.1:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 255.255.255.255:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= [::]:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= [ff02::1]:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= localhost:1",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= 192.0.2.1:1 more",
		("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= "
		 "[2001:db8:1111:2222:3333:4444:5555:6666%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]:1"),
	};
	static const uint8_t zero[32];
	struct kcpvpn_endpoint endpoint;
	struct bench b;
	char text[8192], base64[CONFIG_KEY_TEXT_BYTES];
	size_t len = 0;

	setup(&b);
	len += (size_t)snprintf(text, sizeof(text), "# a comment\n%s 192.0.2.1:7\n",
		config_key_format(key(1), base64));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", bad[i]);
	memcpy(text + len, "\0\0\0\n", 4);
	len += 4;
	memset(text + len, 'A', 600);
	len += 600;
	text[len++] = '\n';
	len += (size_t)snprintf(text + len, sizeof(text) - len, "%s 192.0.2.2:8\n",
		config_key_format(key(2), base64));
	len += (size_t)snprintf(text + len, sizeof(text) - len, "%s 192.0.2.9:9\n",
		config_key_format(key(2), base64));				   /* twice */
	len += (size_t)snprintf(text + len, sizeof(text) - len, "%s 192.0.2.3:80", /* cut: 8000? */
		config_key_format(key(3), base64));
	put(&b, text, len);
	open_file(&b);
	cr_assert_str_eq(get(&b, 1), "192.0.2.1:7");
	cr_assert_neq(get(&b, 2)[0], '\0');
	cr_assert_str_eq(get(&b, 3), "");
	cr_assert(!state_file_find(b.file, zero, &endpoint));
	cr_assert_eq(b.warnings, 1); /* one for all */
	/* all but the empty one, which is none; NULs, the long one, the second of two, the cut one */
	cr_assert(strncmp(b.last, "24 lines", 8) == 0, "%s", b.last);
	cr_assert(!state_file_failed(b.file));
	teardown(&b);
}

Test(state_file, random_bytes_do_no_harm)
{
	struct bench b;
	static char text[65536];

	setup(&b);
	srandom(4711);
	for (int round = 0; round < 50; round++) {
		size_t len = (size_t)random() % sizeof(text);
		for (size_t i = 0; i < len; i++)
			text[i] = (char)(random() % 5 == 0 ? random() : "A= \n1.:[]"[random() % 9]);
		put(&b, text, len);
		open_file(&b);
		set(&b, 1, "192.0.2.1:7");
		state_file_free(b.file);
		b.file = NULL;
	}
	teardown(&b);
}

Test(state_file, only_a_plain_file_is_read)
{
	struct bench b;
	char line[128], base64[CONFIG_KEY_TEXT_BYTES];

	setup(&b);
	int len =
		snprintf(line, sizeof(line), "%s 192.0.2.1:7\n", config_key_format(key(1), base64));
	put(&b, line, (size_t)len);
	char from[128];
	(void)snprintf(from, sizeof(from), "%s", path_in(&b, "net.peers"));
	cr_assert_eq(rename(from, path_in(&b, "other")), 0);
	cr_assert_eq(symlink("other", from), 0);
	open_file(&b);
	cr_assert_str_eq(get(&b, 1), "");
	cr_assert_eq(b.warnings, 1);
	state_file_free(b.file);
	cr_assert_eq(unlink(from), 0);
	cr_assert_eq(mkfifo(from, 0600), 0); /* must not wait for a writer */
	open_file(&b);
	cr_assert_str_eq(get(&b, 1), "");
	cr_assert_eq(b.warnings, 2);
	state_file_free(b.file);
	cr_assert_eq(unlink(from), 0);
	put(&b, line, (size_t)len);
	cr_assert_eq(truncate(from, STATE_FILE_BYTES_MAX + 1), 0);
	open_file(&b);
	cr_assert_str_eq(get(&b, 1), "");
	cr_assert_eq(b.warnings, 3);
	teardown(&b);
}

/* Somebody who shares the folder's user puts a link where the new file goes. */
Test(state_file, nothing_is_written_through_a_link)
{
	struct bench b;
	struct stat stat;

	setup(&b);
	cr_assert_eq(symlink("other", path_in(&b, "net.peers.new")), 0);
	open_file(&b);
	set(&b, 1, "192.0.2.1:7");
	state_file_free(b.file);
	b.file = NULL;
	cr_assert(!exists(&b, "other", &stat));
	cr_assert(exists(&b, "net.peers", &stat));
	cr_assert(S_ISREG(stat.st_mode));
	cr_assert_eq(b.warnings, 0);
	teardown(&b);
}

Test(state_file, a_disk_that_refuses_is_warned_of_once)
{
	struct bench b;

	setup(&b);
	open_file(&b);
	cr_assert(!state_file_failed(b.file));
	cr_assert_eq(rmdir(b.folder), 0);
	set(&b, 1, "192.0.2.1:7");
	while (!state_file_failed(b.file))
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(b.warnings, 1);
	set(&b, 2, "192.0.2.2:7"); /* goes on in memory */
	cr_assert_str_eq(get(&b, 2), "192.0.2.2:7");
	state_file_free(b.file);
	b.file = NULL;
	cr_assert_eq(b.warnings, 1);
	teardown(&b);
}

Test(state_file, a_disk_that_takes_it_again_is_told_of)
{
	struct bench b;

	setup(&b);
	open_file(&b);
	cr_assert_eq(mkdir(path_in(&b, "net.peers"), 0700), 0);
	set(&b, 1, "192.0.2.1:7");
	while (!state_file_failed(b.file))
		cr_assert(loop_turn(b.loop, true) >= 0);
	cr_assert_eq(rmdir(path_in(&b, "net.peers")), 0);
	b.last[0] = '\0';
	state_file_free(b.file); /* writes what it could not before */
	b.file = NULL;
	cr_assert_eq(b.warnings, 1);
	cr_assert_str_eq(b.last, "the state file net.peers is written again");
	teardown(&b);
}

Test(state_file, works_without_a_folder)
{
	struct bench b;

	setup(&b);
	cr_assert_eq(state_file_open(b.loop, -1, "net", &b.log, &b.file), 0);
	cr_assert(state_file_failed(b.file));
	set(&b, 1, "192.0.2.1:7");
	cr_assert_str_eq(get(&b, 1), "192.0.2.1:7");
	cr_assert(loop_turn(b.loop, false) >= 0);
	teardown(&b);
	cr_assert_eq(b.warnings, 0);
}

static const uint8_t *odd_key(const void *ctx, size_t index)
{
	(void)ctx;
	return key(2 * (unsigned)index + 1);
}

Test(state_file, forgets_all_but_who_is_to_be_kept)
{
	struct bench b;
	char text[32], wanted[32];

	setup(&b);
	open_file(&b);
	for (unsigned i = 0; i < 1000; i++) {
		(void)snprintf(text, sizeof(text), "192.0.2.1:%u", i + 1);
		set(&b, i * 389 % 1000, text);
	}
	state_file_keep(b.file, odd_key, NULL, 300); /* 1, 3 .. 599 */
	state_file_free(b.file);
	open_file(&b);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned n = i * 389 % 1000;
		wanted[0] = '\0';
		if (n % 2 == 1 && n < 600)
			(void)snprintf(wanted, sizeof(wanted), "192.0.2.1:%u", i + 1);
		cr_assert_str_eq(get(&b, n), wanted);
	}
	cr_assert_eq(b.warnings, 0);
	teardown(&b);
}
