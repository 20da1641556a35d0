/*
 * A main for fuzz targets outside the fuzz profile: it feeds each file given, and each file of the directories given,
 * to the target, so that plain tests replay the corpora under any compiler and sanitizer. No file at all is an error:
 * a replay of nothing must not look like a success.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	INPUT_BYTES_MAX = 1 << 20, /* libFuzzer's own default bound on a corpus file */
};

/* The bytes are copied into a block of exactly their size, so that a sanitizer sees a read past the end. */
static int replay_file(const char *path)
{
	static uint8_t buffer[INPUT_BYTES_MAX + 1];
	FILE *file = fopen(path, "rb");

	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	size_t len = fread(buffer, 1, sizeof(buffer), file);
	int failed = ferror(file);
	fclose(file);
	if (failed || len > INPUT_BYTES_MAX) {
		fprintf(stderr, "%s: cannot be read, or is too long\n", path);
		return -1;
	}
	uint8_t *exact = malloc(len ? len : 1);
	if (!exact)
		return -1;
	memcpy(exact, buffer, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int replay(const char *path, size_t *files)
{
	struct stat info;
	struct dirent **entries;
	char below[4096];
	int bad = 0;

	if (stat(path, &info) < 0 || !S_ISDIR(info.st_mode)) {
		++*files;
		return replay_file(path);
	}
	int count = scandir(path, &entries, not_hidden, by_name);
	for (int i = 0; i < count; i++) {
		snprintf(below, sizeof(below), "%s/%s", path, entries[i]->d_name);
		bad |= replay(below, files);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return count < 0 ? -1 : bad;
}

int main(int argc, char **argv)
{
	size_t files = 0;
	int bad = 0;

	for (int i = 1; i < argc; i++)
		bad |= replay(argv[i], &files);
	if (files == 0) {
		fprintf(stderr, "usage: %s FILE|DIRECTORY...: no input was found\n", argv[0]);
		return 2;
	}
	printf("%zu inputs replayed\n", files);
	return bad ? 1 : 0;
}
