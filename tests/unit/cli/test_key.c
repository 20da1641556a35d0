/* kcpctl key: whole command lines on files of their own. Keys are right, files are whole and private, errors say what next. */
#include "cli/cli.h"
#include "cli/key.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The key of RFC 7748, section 6.1, that is Alice's, and its public half. */
#define ALICE "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
#define ALICE_PUBLIC "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="

static char dir[32];
static char *out, *err;

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/kcpctl-key-XXXXXX");
	cr_assert(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
}

static void teardown(void)
{
	char command[64];

	free(out);
	free(err);
	cr_assert_eq(chdir("/"), 0);
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

TestSuite(key, .init = setup, .fini = teardown, .timeout = 60);

/* Runs "kcpctl WORDS". @return the exit status; what it wrote is in `out` and `err` */
static int run_on(const char *words, bool terminal)
{
	struct cli cli = {.run_dir = dir, .etc_dir = dir, .systemd_dir = dir, .terminal = terminal};
	char text[512], *argv[16] = {NULL}, *save = NULL;
	size_t out_len = 0, err_len = 0;
	int argc = 0;

	free(out);
	free(err);
	(void)snprintf(text, sizeof(text), "kcpctl %s", words);
	for (char *word = strtok_r(text, " ", &save); word && argc < 15;
		word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	cli.out = open_memstream(&out, &out_len);
	cli.err = open_memstream(&err, &err_len);
	int status = cli_run(&cli, argc, argv);
	(void)fclose(cli.out);
	(void)fclose(cli.err);
	return status;
}

static int run(const char *words)
{
	return run_on(words, false);
}

static void put(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "wb");

	cr_assert(file);
	(void)fputs(text, file);
	(void)fclose(file);
	cr_assert_eq(chmod(path, mode), 0);
}

static void slurp(const char *path, char text[64])
{
	FILE *file = fopen(path, "rb");

	cr_assert(file, "%s", path);
	size_t len = fread(text, 1, 63, file);
	text[len] = '\0';
	(void)fclose(file);
}

/* @return how many names the folder holds, hidden ones too */
static size_t entries(void)
{
	FILE *list = popen("ls -A | wc -l", "r");
	size_t count = 999;

	cr_assert(list);
	cr_assert_eq(fscanf(list, "%zu", &count), 1);
	(void)pclose(list);
	return count;
}

Test(key, gen_makes_a_private_file_and_prints_the_public_half)
{
	char text[64], again[64];
	uint8_t private_key[32], public_key[32], want[32];
	struct stat st;

	(void)umask(0);
	cr_assert_eq(run("key gen office.key"), 0, "%s", err);
	cr_assert_str_eq(err, "");
	cr_assert_eq(stat("office.key", &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600u);
	slurp("office.key", text);
	cr_assert_eq(strlen(text), 45u);
	cr_assert_eq(config_key_parse_file(text, 45, private_key), 0);
	cr_assert_eq(private_key[0] & 7, 0);
	cr_assert_eq(private_key[31] & 192, 64);
	cr_assert_eq(strlen(out), 45u);
	cr_assert_eq(config_key_parse_file(out, 45, public_key), 0);
	cr_assert_eq(config_key_unusable(public_key), NULL);
	cr_assert_eq(crypto_scalarmult_base(want, private_key), 0);
	cr_assert_arr_eq(public_key, want, 32);
	cr_assert_eq(strstr(out, text), NULL);
	(void)snprintf(again, sizeof(again), "%.63s", out);
	cr_assert_eq(run("key pub office.key"), 0);
	cr_assert_str_eq(out, again);
	cr_assert_str_eq(err, "");
	/* nothing else was left behind, and another key is another */
	cr_assert_eq(entries(), 1u);
	cr_assert_eq(run("key gen other.key"), 0);
	cr_assert_str_neq(out, again);
}

Test(key, psk_makes_a_secret_and_prints_none)
{
	char text[64];
	uint8_t key[32];
	struct stat st;

	cr_assert_eq(run("key psk peer.psk"), 0, "%s", err);
	cr_assert_str_eq(out, "");
	cr_assert_str_eq(err, "");
	cr_assert_eq(stat("peer.psk", &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600u);
	slurp("peer.psk", text);
	cr_assert_eq(config_key_parse_file(text, 45, key), 0);
	/* a person is told what to do with it, and not what it is */
	cr_assert_eq(run_on("key psk peer2.psk", true), 0);
	slurp("peer2.psk", text);
	text[44] = '\0';
	cr_assert(strstr(err, "peers.NAME.preshared_key_file"));
	cr_assert_eq(strstr(err, text), NULL);
	cr_assert_eq(run_on("-q key psk peer3.psk", true), 0);
	cr_assert_str_eq(err, "");
}

Test(key, nothing_is_ever_overwritten)
{
	char before[64], after[64];

	cr_assert_eq(run("key gen k"), 0);
	slurp("k", before);
	cr_assert_eq(run("key gen k"), 1);
	cr_assert_str_eq(out, "");
	cr_assert(strstr(err, "E-KEY-2 k is there already and stays"), "%s", err);
	cr_assert(strstr(err, "kcpctl key pub k"));
	cr_assert_eq(run("key psk k"), 1);
	slurp("k", after);
	cr_assert_str_eq(before, after);
	/* a link to nowhere is not followed, a folder is not entered */
	cr_assert_eq(symlink("nowhere", "link"), 0);
	cr_assert_eq(run("key gen link"), 1);
	cr_assert(strstr(err, "E-KEY-2"));
	cr_assert_neq(access("nowhere", F_OK), 0);
	cr_assert_eq(mkdir("folder", 0755), 0);
	cr_assert_eq(run("key gen folder"), 1);
	cr_assert(strstr(err, "E-KEY-2"));
	cr_assert_eq(entries(), 3u);
}

Test(key, errors_say_what_next)
{
	cr_assert_eq(run("key gen not/there/k"), 1);
	cr_assert(strstr(err, "E-KEY-1 cannot write not/there/k: there is no folder not/there\n"
			      "  make it:  sudo mkdir -p not/there\n"),
		"%s", err);
	put("file", "", 0600);
	cr_assert_eq(run("key gen file/k"), 1);
	cr_assert(strstr(err, "there is no folder file"));
	cr_assert_eq(run("key gen -"), 2);
	cr_assert(strstr(err, "writes a file"));
	cr_assert_eq(run("key gen x/"), 2);
	cr_assert_eq(run("key gen"), 2);
	cr_assert_eq(run("key gen a b"), 2);
	cr_assert_eq(run("key"), 2);
	cr_assert(strstr(err, "needs one of: gen, pub, psk"));
	cr_assert_eq(run("key pub none"), 1);
	cr_assert(strstr(err, "E-KEY-3 there is no file none\n  make it:  kcpctl key gen none\n"));
	cr_assert_eq(run("key pub ."), 1);
	cr_assert(strstr(err, "E-KEY-3"));
	static const char *const CODES[] = {"E-KEY-1", "E-KEY-2", "E-KEY-3", "E-KEY-4", "E-KEY-5"};
	for (size_t i = 0; i < 5; i++) {
		char words[32];
		(void)snprintf(words, sizeof(words), "help %s", CODES[i]);
		cr_assert_eq(run(words), 0);
	}
	cr_assert_eq(entries(), 1u);
}

Test(key, pub_takes_what_wireguard_makes)
{
	static const char *const GOOD[] = {ALICE, ALICE "\n", ALICE "\r\n", ALICE " \n\n"};
	static const char *const BAD[] = {
		"", "\n", "x", ALICE ALICE, ALICE "\nx", " " ALICE, "PrivateKey = " ALICE};

	for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
		put("k", GOOD[i], 0600);
		cr_assert_eq(run("key pub k"), 0, "%zu: %s", i, err);
		cr_assert_str_eq(out, ALICE_PUBLIC "\n");
		cr_assert(freopen("k", "rb", stdin));
		cr_assert_eq(run("key pub -"), 0, "%zu: %s", i, err);
		cr_assert_str_eq(out, ALICE_PUBLIC "\n");
	}
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		put("k", BAD[i], 0600);
		cr_assert_eq(run("key pub k"), 1, "%zu", i);
		cr_assert_str_eq(out, "");
		cr_assert(strstr(err, "E-KEY-4 k holds no key"), "%zu: %s", i, err);
		cr_assert_eq(strstr(err, ALICE), NULL);
		cr_assert(freopen("k", "rb", stdin));
		cr_assert_eq(run("key pub -"), 1);
		cr_assert(strstr(err, "standard input holds no key"));
	}
	char *large = calloc(1, 100001);
	memset(large, 'A', 100000);
	put("k", large, 0600);
	free(large);
	cr_assert_eq(run("key pub k"), 1);
	cr_assert(freopen("k", "rb", stdin));
	cr_assert_eq(run("key pub -"), 1);
	/* what vpnd will not take is told, and printed all the same */
	put("k", ALICE "\n", 0644);
	cr_assert_eq(run("key pub k"), 0);
	cr_assert_str_eq(out, ALICE_PUBLIC "\n");
	cr_assert(
		strstr(err, "mode 0644 is more than the 0640 that vpnd takes; use: chmod 0600 k"));
	cr_assert_eq(run("-q key pub k"), 0);
	cr_assert_str_eq(err, "");
}

Test(key, json_for_programs)
{
	json_t *doc;

	put("k", ALICE "\n", 0600);
	cr_assert_eq(run("key pub k -o json"), 0);
	doc = json_loads(out, 0, NULL);
	cr_assert(doc);
	cr_assert_str_eq(json_string_value(json_object_get(doc, "public_key")), ALICE_PUBLIC);
	cr_assert_str_eq(json_string_value(json_object_get(doc, "file")), "k");
	json_decref(doc);
	cr_assert_eq(run("key gen g -o json"), 0);
	doc = json_loads(out, 0, NULL);
	cr_assert_eq(strlen(json_string_value(json_object_get(doc, "public_key"))), 44u);
	json_decref(doc);
	cr_assert_eq(run("key psk p -o json"), 0);
	doc = json_loads(out, 0, NULL);
	cr_assert(json_is_null(json_object_get(doc, "public_key")));
	json_decref(doc);
}

/* The points that the configuration refuses are those that X25519 refuses; the base point it takes. */
Test(key, low_order_points_share_no_secret)
{
	uint8_t points[5][32] = {{0}, {1}};
	uint8_t scalar[32], shared[32];

	cr_assert_eq(
		config_key_parse("4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=", 44, points[2]), 0);
	cr_assert_eq(
		config_key_parse("X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=", 44, points[3]), 0);
	memset(points[4], 0xff, 32);
	points[4][0] = 0xec;
	points[4][31] = 0x7f;
	cr_assert_eq(config_key_parse(ALICE, 44, scalar), 0);
	for (size_t i = 0; i < 5; i++) {
		cr_assert(config_key_unusable(points[i]), "point %zu", i);
		cr_assert(crypto_scalarmult(shared, scalar, points[i]) != 0, "point %zu", i);
	}
	uint8_t base[32] = {9};
	cr_assert_eq(config_key_unusable(base), NULL);
	cr_assert_eq(crypto_scalarmult(shared, scalar, base), 0);
}

/* From nothing to a configuration that is accepted, by what kcpctl itself says. */
Test(key, the_first_steps)
{
	char text[256], public_key[64];

	(void)snprintf(
		text, sizeof(text), "version: 1\nidentity: {private_key_file: office.key}\n");
	put("office.yaml", text, 0600);
	cr_assert_eq(run("config check office.yaml"), 5);
	cr_assert(strstr(err, "make it: kcpctl key gen office.key"), "%s", err);
	cr_assert_eq(run("key gen office.key"), 0);
	(void)snprintf(public_key, sizeof(public_key), "%.44s", out);
	cr_assert_eq(run("config check office.yaml"), 0, "%s", err);
	cr_assert_eq(chmod("office.key", 0644), 0);
	cr_assert_eq(run("config check office.yaml"), 5);
	cr_assert(strstr(err, "E-CFG-21"), "%s", err);
	cr_assert_eq(chmod("office.key", 0640), 0);
	/* the own key is nobody else's */
	(void)snprintf(text, sizeof(text),
		"version: 1\nidentity: {private_key_file: office.key}\npeers:\n"
		"  a: {endpoints: [192.0.2.1:1], public_key: %s}\n",
		public_key);
	put("office.yaml", text, 0600);
	cr_assert_eq(run("config check office.yaml"), 5);
	cr_assert(strstr(err, "peers.a.public_key is this host's own"), "%s", err);
	/* to show it no key is read */
	cr_assert_eq(unlink("office.key"), 0);
	cr_assert_eq(run("config show office.yaml"), 0, "%s", err);
	cr_assert(strstr(out, public_key));
}
