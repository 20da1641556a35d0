/*
 * usage: bench_kcp NAME COUNT     one of kcp-go's benchmarks, COUNT operations
 * Prints: NAME COUNT ns_per_op MB_per_s cpu_seconds
 *
 * An operation: for a cipher, 1500 bytes encrypted from one buffer into another and decrypted into a third (counted as 3000
 * bytes, as kcp-go does); for EchoSpeed, that many bytes there and back; for SinkSpeed, that many bytes one way. kcp-go's
 * SinkSpeed256K writes 512 KiB, and so does this.
 */
#include "crypto/cipher.h"
#include "tests/bench/end.h"
#include "tests/bench/speed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PACKET_BYTES = 1500,
};

struct benchmark {
	const char *name;
	const char *cipher; /* NULL = not of a cipher */
	double (*speed)(size_t bytes, uint64_t count);
	size_t bytes; /* of an operation */
};

static const struct benchmark benchmarks[] = {
	{"Salsa20", "salsa20", NULL, 0},
	{"AES128", "aes-128", NULL, 0},
	{"AES192", "aes-192", NULL, 0},
	{"AES256", "aes", NULL, 0},
	{"TEA", "tea", NULL, 0},
	{"XTEA", "xtea", NULL, 0},
	{"XOR", "xor", NULL, 0},
	{"Blowfish", "blowfish", NULL, 0},
	{"None", "none", NULL, 0},
	{"Cast5", "cast5", NULL, 0},
	{"3DES", "3des", NULL, 0},
	{"Twofish", "twofish", NULL, 0},
	{"SM4", "sm4", NULL, 0},
	{"EchoSpeed4K", NULL, speed_echo, 4096},
	{"EchoSpeed64K", NULL, speed_echo, 65536},
	{"EchoSpeed512K", NULL, speed_echo, 524288},
	{"EchoSpeed1M", NULL, speed_echo, 1048576},
	{"SinkSpeed4K", NULL, speed_sink, 4096},
	{"SinkSpeed64K", NULL, speed_sink, 65536},
	{"SinkSpeed256K", NULL, speed_sink, 524288},
	{"SinkSpeed1M", NULL, speed_sink, 1048576},
};

/* @return seconds */
static double run_cipher(const char *name, uint64_t count)
{
	_Alignas(64) static uint8_t data[PACKET_BYTES], sealed[PACKET_BYTES], opened[PACKET_BYTES];
	struct cipher *cipher;

	if (cipher_new(name, bench_key(), KCPVPN_KEY_BYTES, &cipher) < 0) {
		fprintf(stderr, "%s: no such cipher\n", name);
		exit(1);
	}
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	int64_t started_us = bench_now_us();
	for (uint64_t i = 0; i < count; i++) {
		memcpy(sealed, data, sizeof(sealed));
		cipher_encrypt(cipher, sealed, sizeof(sealed));
		memcpy(opened, sealed, sizeof(opened));
		cipher_decrypt(cipher, opened, sizeof(opened));
		/* Memory counts as read, so that no copy is left out. */
		__asm__ volatile("" : : "r"(opened), "r"(sealed) : "memory");
	}
	double seconds = (double)(bench_now_us() - started_us) / 1e6;
	if (memcmp(data, opened, sizeof(data)) != 0) {
		fprintf(stderr, "%s: what was decrypted is not what was encrypted\n", name);
		exit(1);
	}
	cipher_free(cipher);
	return seconds;
}

int main(int argc, char **argv)
{
	char *end = NULL;
	uint64_t count = argc == 3 ? strtoull(argv[2], &end, 10) : 0;

	if (count == 0 || *end != '\0') {
		fprintf(stderr, "usage: bench_kcp NAME COUNT\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof(benchmarks) / sizeof(benchmarks[0]); i++) {
		const struct benchmark *b = &benchmarks[i];
		if (strcmp(b->name, argv[1]) != 0)
			continue;
		double seconds =
			b->cipher ? run_cipher(b->cipher, count) : b->speed(b->bytes, count);
		size_t bytes = b->cipher ? 2 * (size_t)PACKET_BYTES : b->bytes;
		printf("%s %" PRIu64 " %.1f %.2f %.3f\n", b->name, count,
			seconds * 1e9 / (double)count,
			(double)bytes * (double)count / seconds / 1e6, bench_cpu_seconds());
		return 0;
	}
	fprintf(stderr, "bench_kcp: there is no %s\n", argv[1]);
	return 2;
}
