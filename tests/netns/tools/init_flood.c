/*
 * Throws INITs of the native wire at a port as fast as asked, in batches of sendmmsg(). Each is new: a random index,
 * ephemeral key and rest, so that no cache of answers helps, and nothing in it opens. mac1 is right, as anybody can make
 * it who knows the public key, or, with `strange`, random.
 *
 * Says how many went out, and how many bytes of UDP payload came back and in how many datagrams: answers are read and
 * thrown away, as a flood does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
	KEY_BYTES = 32,
	INIT_BYTES = 184,
	AT_MAC1 = 152,
	MAC_BYTES = 16,
	BATCH = 64,
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The key of mac1 for the responder's public key. */
static void mac1_key(const uint8_t public_key[KEY_BYTES], uint8_t ret_key[KEY_BYTES])
{
	uint8_t text[16 + KEY_BYTES] = "vpnd1 mac1";

	memcpy(text + 16, public_key, KEY_BYTES);
	crypto_generichash_blake2b(ret_key, KEY_BYTES, text, sizeof(text), NULL, 0);
}

/* A keystream is as good as random bytes here, and cheaper. */
static void make_init(uint8_t *init, const uint8_t *key, uint64_t number, bool strange)
{
	static const uint8_t seed[crypto_stream_salsa20_KEYBYTES] = {1};
	uint8_t nonce[crypto_stream_salsa20_NONCEBYTES];

	memcpy(nonce, &number, sizeof(nonce));
	crypto_stream_salsa20(init, INIT_BYTES, nonce, seed);
	memcpy(init, "\x08\x01\0\0", 4);
	init[4] &= 0xf0;
	if (!strange)
		crypto_generichash_blake2b(
			init + AT_MAC1, MAC_BYTES, init, AT_MAC1, key, KEY_BYTES);
	memset(init + AT_MAC1 + MAC_BYTES, 0, MAC_BYTES);
}

static int open_socket(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0) {
		perror("init_flood: socket");
		exit(1);
	}
	return fd;
}

static void read_answers(int fd, uint64_t *answers, uint64_t *answer_bytes)
{
	uint8_t answer[2048];
	ssize_t len;

	while ((len = recv(fd, answer, sizeof(answer), 0)) >= 0 || errno == ECONNREFUSED) {
		if (len < 0)
			continue;
		(*answers)++;
		*answer_bytes += (uint64_t)len;
	}
}

int main(int argc, char **argv)
{
	uint8_t public_key[KEY_BYTES], key[KEY_BYTES];
	struct sockaddr_in to = {.sin_family = AF_INET};
	size_t len;

	if (argc < 6 || argc > 7 || sodium_init() < 0 ||
		sodium_base642bin(public_key, sizeof(public_key), argv[1], strlen(argv[1]), NULL,
			&len, NULL, sodium_base64_VARIANT_ORIGINAL) != 0 ||
		len != KEY_BYTES || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: init_flood PUBLIC-KEY IPV4-ADDRESS PORT A-SECOND COUNT "
				"[strange]\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[3]));
	double rate = atof(argv[4]);
	uint64_t count = strtoull(argv[5], NULL, 10), sent = 0, answers = 0, answer_bytes = 0;
	bool strange = argc == 7;
	uint64_t first = ((uint64_t)randombytes_random() << 32) | randombytes_random();
	static uint8_t inits[BATCH][INIT_BYTES];
	struct iovec pieces[BATCH];
	struct mmsghdr messages[BATCH];

	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	mac1_key(public_key, key);
	memset(messages, 0, sizeof(messages));
	for (size_t i = 0; i < BATCH; i++) {
		pieces[i] = (struct iovec){inits[i], INIT_BYTES};
		messages[i].msg_hdr.msg_iov = &pieces[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	int fd = open_socket(&to);
	double began = now_s();
	while (!stopped && sent < count) {
		if ((double)sent > (now_s() - began) * rate) {
			struct timespec pause = {0, 200000};
			nanosleep(&pause, NULL);
			continue;
		}
		for (size_t i = 0; i < BATCH; i++)
			make_init(inits[i], key, first + sent + i, strange);
		int n = sendmmsg(fd, messages, BATCH, 0);
		/* What the kernel has no room for, and a port where nobody listens, count as sent. */
		sent += n > 0 ? (uint64_t)n : 1;
		read_answers(fd, &answers, &answer_bytes);
	}
	double took = now_s() - began;
	struct timespec rest = {0, 200000000};
	nanosleep(&rest, NULL);
	read_answers(fd, &answers, &answer_bytes);
	printf("%llu %.0f %llu %llu\n", (unsigned long long)sent, (double)sent / took,
		(unsigned long long)answers, (unsigned long long)answer_bytes);
	return 0;
}
