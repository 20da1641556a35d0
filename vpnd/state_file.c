/*
 * Entries are an array sorted by key. A change arms a timer, and when it is due the whole text goes to a thread that
 * writes it to NETWORK.peers.new, waits for the disk, and renames; an eventfd tells that it is done. One such job runs at
 * a time; what changes meanwhile is written by the next. Where no thread can be had the loop writes, and so it does at
 * the end, when nothing is left to hold up.
 *
 * The folder may belong to a user that others share (nobody), so what is read from it is looked at as anybody's: a
 * regular file and no link, bounded in size, each line exactly as it would be written, addresses that can be a peer's.
 * The folder is held open: names above it are never walked again.
 */
#include "vpnd/state_file.h"

#include "config/config_key.h"
#include "core/log.h"
#include "vpnd/loop.h"
#include "vpnd/resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	NAME_BYTES = 128,
	LINE_BYTES = CONFIG_KEY_TEXT_BYTES + KCPVPN_ENDPOINT_TEXT_BYTES + 2, /* with its end */
	AGAIN_US = 30000000, /* after a write that failed */
};

static const char HEADER[] = "# Where the peers of this network were last proven to be. Written by "
			     "vpnd; may be deleted.\n";

struct entry {
	uint8_t key[STATE_FILE_KEY_BYTES];
	struct kcpvpn_endpoint endpoint;
	bool kept;
};

/** What is to be written. The thread uses this and nothing else. */
struct job {
	pthread_t thread;
	int folder_fd;
	int event_fd;
	char name[NAME_BYTES];
	char fresh[NAME_BYTES]; /* its name until it is whole */
	char *text;
	size_t len;
	int error; /* the result */
};

struct state_file {
	struct loop *loop;
	const struct log *log;
	int folder_fd; /* -1 = none */
	char name[NAME_BYTES];
	char fresh[NAME_BYTES];
	struct entry *entries; /* sorted by key, each once */
	size_t count;
	size_t room;
	bool dirty;
	bool failed; /* the last write, or there is no folder: said once */
	struct loop_timer due;
	struct mono again_at;	 /* not written before */
	struct loop_watch watch; /* of the eventfd */
	struct job *job;	 /* running; NULL = none */
};

/* ---- entries ---------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return memcmp(x->key, y->key, sizeof(x->key));
}

/* The place of a key, or where it belongs. */
static size_t place_of(const struct state_file *file, const uint8_t *key, bool *ret_there)
{
	size_t low = 0, high = file->count;

	*ret_there = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = memcmp(key, file->entries[middle].key, STATE_FILE_KEY_BYTES);
		if (order == 0) {
			*ret_there = true;
			return middle;
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Makes room for one more. @return false without memory, or at the bound */
static bool grow(struct state_file *file)
{
	if (file->count >= STATE_FILE_PEERS_MAX)
		return false;
	if (file->count < file->room)
		return true;
	size_t room = file->room > 0 ? 2 * file->room : 16;
	struct entry *entries = reallocarray(file->entries, room, sizeof(*entries));
	if (!entries)
		return false;
	file->entries = entries;
	file->room = room;
	return true;
}

bool state_file_find(const struct state_file *file, const uint8_t key[STATE_FILE_KEY_BYTES],
	struct kcpvpn_endpoint *ret_endpoint)
{
	bool there;
	size_t at = place_of(file, key, &there);

	if (there)
		*ret_endpoint = file->entries[at].endpoint;
	return there;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* An address that a peer can have: no group, no broadcast, not "any". */
static bool usable(const struct kcpvpn_endpoint *endpoint)
{
	static const uint8_t zero[sizeof(endpoint->address)];
	const uint8_t *a = endpoint->address;

	if (endpoint->port == 0 || memcmp(a, zero, sizeof(zero)) == 0)
		return false;
	return endpoint->family == 4 ? a[0] != 0 && a[0] < 224 : a[0] != 0xff;
}

/* Reads one line, without its end. @return false if it is not one that we wrote */
static bool read_line(const char *line, size_t len, struct entry *ret_entry)
{
	const size_t key_len = CONFIG_KEY_TEXT_BYTES - 1;
	char address[KCPVPN_ENDPOINT_TEXT_BYTES];
	size_t address_len = len - key_len - 1;

	if (len < key_len + 2 || line[key_len] != ' ' || address_len >= sizeof(address) ||
		memchr(line, '\0', len))
		return false;
	memcpy(address, line + key_len + 1, address_len);
	address[address_len] = '\0';
	*ret_entry = (struct entry){.kept = true};
	return config_key_parse(line, key_len, ret_entry->key) == 0 &&
	       resolver_parse_numeric(address, &ret_entry->endpoint) == 0 &&
	       usable(&ret_entry->endpoint);
}

/* @return lines that did not read as we write them */
static size_t read_text(struct state_file *file, const char *text, size_t len)
{
	size_t bad = 0;

	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t line_len = end ? (size_t)(end - text) : len;
		struct entry entry;

		if (line_len > 0 && text[0] != '#') {
			/* A last line without its end was cut: its port may lack digits. */
			if (end && read_line(text, line_len, &entry) && grow(file))
				file->entries[file->count++] = entry;
			else
				bad++;
		}
		line_len += end != NULL;
		text += line_len;
		len -= line_len;
	}
	if (file->count > 0)
		qsort(file->entries, file->count, sizeof(*file->entries), compare);
	size_t unique = 0;
	for (size_t i = 0; i < file->count; i++) {
		if (unique > 0 && compare(&file->entries[unique - 1], &file->entries[i]) == 0)
			bad++;
		else
			file->entries[unique++] = file->entries[i];
	}
	file->count = unique;
	return bad;
}

/* @return bytes read, or a negative errno; `*ret_text` is malloc'ed */
static ssize_t read_whole(int folder_fd, const char *name, char **ret_text)
{
	struct stat stat;
	ssize_t result;
	int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode) || stat.st_size > STATE_FILE_BYTES_MAX) {
		result = -EINVAL;
		goto close_fd;
	}
	size_t room = (size_t)stat.st_size, len = 0;
	char *text = malloc(room + 1);
	if (!text) {
		result = -ENOMEM;
		goto close_fd;
	}
	while (len < room) {
		ssize_t n = read(fd, text + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	*ret_text = text;
	result = (ssize_t)len;
close_fd:
	close(fd);
	return result;
}

static void read_file(struct state_file *file)
{
	char *text = NULL;
	ssize_t len = read_whole(file->folder_fd, file->name, &text);

	if (len < 0) {
		if (len != -ENOENT)
			log_warn(file->log,
				"cannot read the state file %s: %s; peers are called at their "
				"configured endpoints",
				file->name, strerror((int)-len));
		return;
	}
	size_t bad = read_text(file, text, (size_t)len);
	free(text);
	if (bad > 0)
		log_warn(file->log, "%zu lines of the state file %s are damaged; skipped", bad,
			file->name);
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int write_file(const struct job *job)
{
	int error = 0;

	/* What is left of a write that was cut short, or whatever somebody put there, makes way. */
	if (unlinkat(job->folder_fd, job->fresh, 0) < 0 && errno != ENOENT)
		return -errno;
	int fd = openat(job->folder_fd, job->fresh,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, STATE_FILE_MODE);
	if (fd < 0)
		return -errno;
	error = write_all(fd, job->text, job->len);
	if (error == 0 && fsync(fd) < 0)
		error = -errno;
	if (close(fd) < 0 && error == 0)
		error = -errno;
	if (error == 0 && renameat(job->folder_fd, job->fresh, job->folder_fd, job->name) < 0)
		error = -errno;
	if (error < 0)
		(void)unlinkat(job->folder_fd, job->fresh, 0);
	return error;
}

static char *text_of(const struct state_file *file, size_t *ret_len)
{
	size_t room = sizeof(HEADER) + file->count * LINE_BYTES, at = 0;
	char *text = malloc(room);
	char key[CONFIG_KEY_TEXT_BYTES], address[KCPVPN_ENDPOINT_TEXT_BYTES];

	if (!text)
		return NULL;
	at += (size_t)snprintf(text, room, "%s", HEADER);
	for (size_t i = 0; i < file->count; i++)
		at += (size_t)snprintf(text + at, room - at, "%s %s\n",
			config_key_format(file->entries[i].key, key),
			kcpvpn_endpoint_format(&file->entries[i].endpoint, address));
	*ret_len = at;
	return text;
}

static struct job *job_new(const struct state_file *file)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->text = text_of(file, &job->len);
	if (!job->text) {
		free(job);
		return NULL;
	}
	job->folder_fd = file->folder_fd;
	job->event_fd = file->watch.fd;
	memcpy(job->name, file->name, sizeof(job->name));
	memcpy(job->fresh, file->fresh, sizeof(job->fresh));
	return job;
}

/* Takes the result of a write. */
static void done(struct state_file *file, struct job *job)
{
	if (job->error < 0) {
		if (!file->failed)
			log_warn(file->log,
				"cannot write the state file %s: %s; where peers are is not "
				"remembered over a restart",
				file->name, strerror(-job->error));
		file->dirty = true;
	} else if (file->failed) {
		log_info(file->log, "the state file %s is written again", file->name);
	}
	file->failed = job->error < 0;
	file->again_at =
		mono_add_us(loop_now(file->loop), file->failed ? AGAIN_US : STATE_FILE_PAUSE_US);
	free(job->text);
	free(job);
}

/* A timer that runs already is left alone, or frequent changes would put the write off for ever. */
static void arm(struct state_file *file)
{
	if (file->dirty && !file->job && file->folder_fd >= 0 && mono_is_never(file->due.timer.at))
		loop_timer_arm(
			file->loop, &file->due, mono_max(loop_now(file->loop), file->again_at));
}

static void *run_job(void *arg)
{
	struct job *job = arg;
	uint64_t one = 1;

	job->error = write_file(job);
	if (write(job->event_fd, &one, sizeof(one)) < 0) {
		/* EAGAIN: the counter is full, so the loop wakes up anyway. */
	}
	return NULL;
}

static void on_job_done(struct loop_watch *watch, uint32_t events)
{
	struct state_file *file = list_entry(watch, struct state_file, watch);
	struct job *job = file->job;
	uint64_t count;

	(void)events;
	if (read(watch->fd, &count, sizeof(count)) < 0) {
		/* EAGAIN: taken already. */
	}
	if (!job)
		return;
	(void)pthread_join(job->thread, NULL); /* it has said its last word */
	file->job = NULL;
	done(file, job);
	arm(file);
}

/* The thread takes no signal: they are the loop's. */
static bool start_thread(struct job *job)
{
	sigset_t all, before;

	if (job->event_fd < 0)
		return false;
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&job->thread, NULL, run_job, job);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error == 0;
}

static void on_due(struct loop_timer *timer, struct mono now)
{
	struct state_file *file = list_entry(timer, struct state_file, due);
	struct job *job;

	(void)now;
	if (file->job || !file->dirty)
		return;
	job = job_new(file);
	if (!job) {
		loop_timer_arm(file->loop, timer, mono_add_us(now, AGAIN_US));
		return;
	}
	file->dirty = false;
	if (start_thread(job)) {
		file->job = job;
		return;
	}
	job->error = write_file(job);
	done(file, job);
	arm(file);
}

void state_file_set(struct state_file *file, const uint8_t key[STATE_FILE_KEY_BYTES],
	const struct kcpvpn_endpoint *endpoint)
{
	bool there;
	size_t at = place_of(file, key, &there);

	if (!usable(endpoint) ||
		(there && kcpvpn_endpoint_equal(&file->entries[at].endpoint, endpoint)))
		return;
	if (!there) {
		if (!grow(file))
			return;
		memmove(file->entries + at + 1, file->entries + at,
			(file->count - at) * sizeof(*file->entries));
		file->count++;
		memcpy(file->entries[at].key, key, STATE_FILE_KEY_BYTES);
	}
	file->entries[at].endpoint = *endpoint;
	file->dirty = true;
	arm(file);
}

void state_file_keep(struct state_file *file,
	const uint8_t *(*key_at)(const void *ctx, size_t index), const void *ctx, size_t count)
{
	size_t left = 0;
	bool there;

	for (size_t i = 0; i < file->count; i++)
		file->entries[i].kept = false;
	for (size_t i = 0; i < count; i++) {
		size_t at = place_of(file, key_at(ctx, i), &there);
		if (there)
			file->entries[at].kept = true;
	}
	for (size_t i = 0; i < file->count; i++) {
		if (file->entries[i].kept)
			file->entries[left++] = file->entries[i];
	}
	if (left == file->count)
		return;
	file->count = left;
	file->dirty = true;
	arm(file);
}

bool state_file_failed(const struct state_file *file)
{
	return file->failed;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------ */

int state_file_open(struct loop *loop, int folder_fd, const char *network, const struct log *log,
	struct state_file **ret_file)
{
	struct state_file *file = calloc(1, sizeof(*file));

	if (!file) {
		if (folder_fd >= 0)
			close(folder_fd);
		return -ENOMEM;
	}
	file->loop = loop;
	file->log = log;
	file->folder_fd = folder_fd;
	file->failed = folder_fd < 0;
	loop_timer_init(&file->due, on_due);
	(void)snprintf(file->name, sizeof(file->name), "%s.peers", network);
	(void)snprintf(file->fresh, sizeof(file->fresh), "%s.peers.new", network);
	file->watch = (struct loop_watch){
		.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		.on_event = on_job_done,
	};
	if (file->watch.fd >= 0 && loop_watch_add(loop, &file->watch, EPOLLIN) < 0) {
		close(file->watch.fd);
		file->watch.fd = -1; /* then the loop writes */
	}
	if (folder_fd >= 0)
		read_file(file);
	*ret_file = file;
	return 0;
}

void state_file_free(struct state_file *file)
{
	if (!file)
		return;
	loop_timer_disarm(file->loop, &file->due);
	if (file->job) {
		(void)pthread_join(file->job->thread, NULL);
		done(file, file->job);
	}
	struct job *job = file->dirty && file->folder_fd >= 0 ? job_new(file) : NULL;
	if (job) {
		job->error = write_file(job);
		done(file, job);
	}
	loop_watch_remove(file->loop, &file->watch);
	if (file->watch.fd >= 0)
		close(file->watch.fd);
	if (file->folder_fd >= 0)
		close(file->folder_fd);
	free(file->entries);
	free(file);
}
