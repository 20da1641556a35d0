/*
 * A record is a row of pieces, numbers in little-endian:
 *
 *      kind u8 (1 file, 2 list)   error u32 (0 or an errno)   path: length u32, bytes
 *      file, error 0:  regular u8   mode u32   exposure u8   contents: length u32, bytes
 *      list, error 0:  count u32   count times: length u32, bytes
 *
 * A load asks the same questions in the same order when it gets the same answers, so the replay first looks at the piece
 * behind the last one; if that is another, at all.
 *
 * Contents may be keys. Buffers grow by copying and wiping (realloc would leave copies behind); a record that came
 * through shared memory is wiped there.
 */
#include "vpnd/config_record.h"

#include "core/endian.h"
#include "core/wire.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
	KIND_FILE = 1,
	KIND_LIST = 2,
	ROOM_FIRST = 16384,
};

void config_record_init(struct config_record *record, const struct config_reader *base)
{
	*record = (struct config_record){.base = base};
}

void config_record_fini(struct config_record *record)
{
	if (record->bytes) {
		explicit_bzero(record->bytes, record->len);
		if (!record->borrowed)
			free(record->bytes);
	}
	*record = (struct config_record){0};
}

void config_record_borrow(struct config_record *record, uint8_t *bytes, size_t len)
{
	record->bytes = bytes;
	record->len = record->room = len;
	record->borrowed = true;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static bool make_room(struct config_record *record, size_t more)
{
	size_t room = record->room ? record->room : ROOM_FIRST;

	if (record->failed || more > CONFIG_RECORD_BYTES_MAX - record->len) {
		record->failed = true;
		return false;
	}
	if (record->bytes && more <= record->room - record->len)
		return true;
	while (room - record->len < more)
		room *= 2;
	uint8_t *grown = malloc(room);
	if (!grown) {
		record->failed = true;
		return false;
	}
	if (record->bytes) {
		memcpy(grown, record->bytes, record->len);
		explicit_bzero(record->bytes, record->len);
		free(record->bytes);
	}
	record->bytes = grown;
	record->room = room;
	return true;
}

static void put_u8(struct config_record *record, uint8_t value)
{
	if (make_room(record, 1))
		record->bytes[record->len++] = value;
}

static void put_u32(struct config_record *record, uint32_t value)
{
	if (!make_room(record, 4))
		return;
	store_le32(record->bytes + record->len, value);
	record->len += 4;
}

static void put_bytes(struct config_record *record, const void *bytes, size_t len)
{
	if (len > CONFIG_RECORD_BYTES_MAX)
		record->failed = true;
	put_u32(record, (uint32_t)len);
	if (!make_room(record, len))
		return;
	if (len > 0)
		memcpy(record->bytes + record->len, bytes, len);
	record->len += len;
}

static void begin(struct config_record *record, uint8_t kind, int error, const char *path)
{
	if (++record->pieces > CONFIG_RECORD_PIECES_MAX)
		record->failed = true;
	put_u8(record, kind);
	put_u32(record, (uint32_t)-error);
	put_bytes(record, path, strlen(path));
}

static int write_file(void *ctx, const char *path, size_t max_bytes, unsigned flags,
	char **ret_data, size_t *ret_len, struct config_file_stat *ret_stat)
{
	struct config_record *record = ctx;
	struct config_file_stat st;
	char *data;
	size_t len;
	int error = record->base->read_file(
		record->base->ctx, path, max_bytes, flags, &data, &len, &st);

	begin(record, KIND_FILE, error, path);
	if (error)
		return error;
	put_u8(record, st.regular);
	put_u32(record, st.mode);
	put_u8(record, (uint8_t)st.exposure);
	put_bytes(record, data, len);
	*ret_data = data;
	*ret_len = len;
	*ret_stat = st;
	return 0;
}

static int write_list(void *ctx, const char *pattern, char ***ret_paths, size_t *ret_count)
{
	struct config_record *record = ctx;
	char **paths;
	size_t count;
	int error = record->base->list_files(record->base->ctx, pattern, &paths, &count);

	begin(record, KIND_LIST, error, pattern);
	if (error)
		return error;
	put_u32(record, (uint32_t)count);
	for (size_t i = 0; i < count; i++)
		put_bytes(record, paths[i], strlen(paths[i]));
	*ret_paths = paths;
	*ret_count = count;
	return 0;
}

struct config_reader config_record_writer(struct config_record *record)
{
	return (struct config_reader){
		.ctx = record,
		.read_file = write_file,
		.list_files = write_list,
		.skip_secrets = record->base->skip_secrets,
	};
}

/* ---- replaying -------------------------------------------------------------------------------------------------- */

/* One piece, pointing into the record. */
struct piece {
	uint8_t kind;
	int error; /* 0 or negative */
	const uint8_t *path;
	uint32_t path_len;
	bool regular;
	uint32_t mode;
	uint8_t exposure;
	const uint8_t *data; /* of a file; of a list the first entry */
	uint32_t len;	     /* of a file's contents */
	uint32_t count;	     /* of a list's entries */
};

static const uint8_t *take_bytes(struct wire *w, uint32_t *ret_len)
{
	*ret_len = wire_le32(w);
	return wire_bytes(w, *ret_len);
}

/* Reads the piece at `w`, which is behind it then. @return false if that is none */
static bool take_piece(struct wire *w, struct piece *piece)
{
	*piece = (struct piece){.kind = wire_u8(w)};
	uint32_t error = wire_le32(w);
	piece->path = take_bytes(w, &piece->path_len);
	if (!wire_ok(w) || error > INT_MAX ||
		(piece->kind != KIND_FILE && piece->kind != KIND_LIST))
		return false;
	piece->error = -(int)error;
	if (error)
		return true;
	if (piece->kind == KIND_FILE) {
		piece->regular = wire_u8(w) != 0;
		piece->mode = wire_le32(w) & 07777;
		piece->exposure = wire_u8(w);
		piece->data = take_bytes(w, &piece->len);
		return wire_ok(w) && piece->exposure <= CONFIG_EXPOSED_FOLDER;
	}
	piece->count = wire_le32(w);
	piece->data = w->at;
	for (uint32_t i = 0, len; i < piece->count && wire_ok(w); i++)
		(void)take_bytes(w, &len);
	return wire_ok(w);
}

static bool is_about(const struct piece *piece, uint8_t kind, const char *path)
{
	return piece->kind == kind && piece->path_len == strlen(path) &&
	       memcmp(piece->path, path, piece->path_len) == 0;
}

static bool find_from(struct config_record *record, size_t from, uint8_t kind, const char *path,
	bool next_only, struct piece *piece)
{
	struct wire w = wire_of(record->bytes + from, record->len - from);

	while (wire_left(&w) > 0 && take_piece(&w, piece)) {
		if (is_about(piece, kind, path)) {
			record->next = record->len - wire_left(&w);
			return true;
		}
		if (next_only)
			return false;
	}
	return false;
}

static bool find(struct config_record *record, uint8_t kind, const char *path, struct piece *piece)
{
	return record->bytes && (find_from(record, record->next, kind, path, true, piece) ||
					find_from(record, 0, kind, path, false, piece));
}

static int replay_file(void *ctx, const char *path, size_t max_bytes, unsigned flags,
	char **ret_data, size_t *ret_len, struct config_file_stat *ret_stat)
{
	struct piece piece;

	(void)flags; /* were obeyed by who recorded */
	if (!find(ctx, KIND_FILE, path, &piece))
		return -EACCES;
	if (piece.error)
		return piece.error;
	if (piece.len > max_bytes)
		return -EFBIG;
	char *data = malloc(piece.len ? piece.len : 1);
	if (!data)
		return -ENOMEM;
	if (piece.len > 0)
		memcpy(data, piece.data, piece.len);
	*ret_data = data;
	*ret_len = piece.len;
	*ret_stat = (struct config_file_stat){.regular = piece.regular,
		.mode = piece.mode,
		.exposure = (enum config_exposure)piece.exposure};
	return 0;
}

static void free_paths(char **paths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
}

static int replay_list(void *ctx, const char *pattern, char ***ret_paths, size_t *ret_count)
{
	const struct config_record *record = ctx;
	struct piece piece;
	char **paths = NULL;

	if (!find(ctx, KIND_LIST, pattern, &piece))
		return -EACCES;
	if (piece.error)
		return piece.error;
	if (piece.count > 0) { /* each took four bytes of the record: the number is bounded */
		paths = calloc(piece.count, sizeof(*paths));
		if (!paths)
			return -ENOMEM;
	}
	struct wire w = wire_of(piece.data, (size_t)(record->bytes + record->len - piece.data));
	for (uint32_t i = 0, len; i < piece.count; i++) {
		const uint8_t *path = take_bytes(&w, &len);
		paths[i] = path ? strndup((const char *)path, len) : NULL;
		if (!paths[i]) {
			free_paths(paths, i);
			return -ENOMEM;
		}
	}
	*ret_paths = paths;
	*ret_count = piece.count;
	return 0;
}

struct config_reader config_record_replayer(struct config_record *record)
{
	struct config_reader reader = {
		.ctx = record,
		.read_file = replay_file,
		.list_files = replay_list,
	};

	return reader;
}
