/*
 * Any bytes as the cursor of a log: it opens with the better of its slots or
 * with none, what is written then is what is read, and a log starts with it.
 *
 * Input: flags, two slots, each as bytes or, where flag 1 or 2 says so, as
 * numbers (fuzz_input.h) of which a sound slot is made; then, up to the end,
 * changes: offset in 16 bits, what to change by xor. Flag 4: the file ends
 * behind the first slot.
 */
#include "t/fuzz_input.h"
#include "t/log_dir.h"
#include "walproc/wal.h"

#include <assert.h>
#include <stdlib.h>

#define FILE_BYTES (LAYOUT_CURSOR_OFFSET + LAYOUT_CURSOR_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct log_dir dir = {.fd = -1};

static void
clean_up(void)
{
	log_dir_remove(&dir);
}

static void
make_slot(struct fuzz_input *in, bool is_sound, uint8_t *raw)
{
	struct layout_cursor slot = {0};

	if (!is_sound) {
		fuzz_take(in, raw, LAYOUT_CURSOR_BYTES);
		return;
	}
	slot.log_id[0] = fuzz_byte(in);
	slot.generation = fuzz_number(in);
	slot.acked_seq = fuzz_number(in);
	slot.delivered = fuzz_number(in);
	slot.rejected = fuzz_number(in);
	slot.dropped = fuzz_number(in);
	slot.quarantined = fuzz_number(in);
	slot.refused = fuzz_number(in);
	slot.dropped_newest = fuzz_number(in);
	slot.durable_seq = fuzz_number(in);
	layout_put_cursor(raw, &slot);
}

/* Makes the file; returns its length. */
static size_t
make_cursor(struct fuzz_input *in, uint8_t file[FILE_BYTES])
{
	uint8_t flags = fuzz_byte(in);

	memset(file, 0, FILE_BYTES);
	make_slot(in, (flags & 1) != 0, file);
	make_slot(in, (flags & 2) != 0, file + LAYOUT_CURSOR_OFFSET);
	while (in->bytes > 0) {
		uint8_t offset[2];

		fuzz_take(in, offset, sizeof(offset));
		file[get_be16(offset) % FILE_BYTES] ^= fuzz_byte(in);
	}
	return (flags & 4) != 0 ? LAYOUT_CURSOR_BYTES : FILE_BYTES;
}

/* Says what the slots of the file make of it, without the code that reads it:
 * the sound one of the higher generation. */
static enum cursor_status
expect(const uint8_t *file, size_t bytes, struct layout_cursor *best)
{
	enum cursor_status status = CURSOR_NONE;

	*best = (struct layout_cursor){0};
	for (size_t at = 0; at < bytes; at += LAYOUT_CURSOR_OFFSET) {
		struct layout_cursor slot;

		switch (layout_get_cursor(file + at, &slot)) {
		case LAYOUT_NEWER:
			return CURSOR_NEWER;
		case LAYOUT_BAD:
			continue;
		case LAYOUT_OK:
			break;
		}
		if (status == CURSOR_NONE || slot.generation > best->generation)
			*best = slot;
		status = CURSOR_OK;
	}
	return status;
}

static bool
is_same(const struct layout_cursor *a, const struct layout_cursor *b)
{
	return memcmp(a->log_id, b->log_id, LAYOUT_LOG_ID_BYTES) == 0 &&
	       a->generation == b->generation && a->acked_seq == b->acked_seq &&
	       a->delivered == b->delivered && a->rejected == b->rejected &&
	       a->dropped == b->dropped && a->quarantined == b->quarantined &&
	       a->refused == b->refused &&
	       a->dropped_newest == b->dropped_newest &&
	       a->durable_seq == b->durable_seq;
}

/* Opens the cursor, writes it a few times, and opens it after each. */
static void
check_cursor(const uint8_t *file, size_t bytes)
{
	struct layout_cursor best;
	struct cursor cursor;
	bool lost;
	enum cursor_status status = expect(file, bytes, &best);

	assert(cursor_open(&cursor, dir.fd, CURSOR_NAME, &lost) == status);
	if (status == CURSOR_NEWER)
		return;
	assert(is_same(&cursor.slot, &best));
	for (unsigned int i = 0; i < 3; i++) {
		/* The last of all generations has none behind it. */
		if (best.generation == UINT64_MAX)
			break;
		cursor.slot.refused = i;
		best.refused = i;
		best.generation++;
		assert(cursor_write(&cursor) == 0);
		if (i > 0)
			assert(cursor_sync(&cursor) == 0);
		cursor_close(&cursor);
		assert(cursor_open(&cursor, dir.fd, CURSOR_NAME, &lost) ==
		       CURSOR_OK);
		assert(is_same(&cursor.slot, &best));
	}
	cursor_close(&cursor);
}

/* Starts a log that has nothing but this cursor, and one more event. */
static void
check_log(enum cursor_status status, const struct layout_cursor *best)
{
	static const struct wal_limits limits = {
	    .max_elements = UINT64_MAX,
	    .max_bytes = UINT64_MAX,
	    .segment_bytes = 16384,
	};
	struct wal wal;
	uint64_t seq;

	if (status == CURSOR_NEWER) {
		assert(wal_open(&wal, dir.fd, &limits) == WAL_NEWER);
		return;
	}
	assert(wal_open(&wal, dir.fd, &limits) == WAL_OPEN);
	seq = wal.next_seq;
	assert(seq > best->acked_seq && seq > best->durable_seq);
	if (wal_room(&wal, 1) != WAL_ROOM) {
		/* The last number is used. */
		assert(seq == LAYOUT_SEQ_MAX + 1);
		wal_abandon(&wal);
		return;
	}
	assert(wal_append(&wal, (const uint8_t *)"1", 1) == 0);
	assert(wal_sync(&wal) == 0);
	assert(wal_close(&wal) == 0);
	assert(wal_open(&wal, dir.fd, &limits) == WAL_OPEN);
	assert(wal.next_seq == seq + 1);
	wal_abandon(&wal);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_input in = {.data = data, .bytes = bytes};
	uint8_t file[FILE_BYTES];
	struct layout_cursor best;
	size_t file_bytes;

	if (dir.fd == -1) {
		log_dir_make(&dir);
		(void)atexit(clean_up);
	}
	file_bytes = make_cursor(&in, file);
	log_dir_clear(&dir);
	log_dir_write(&dir, "cursor", file, file_bytes);
	check_cursor(file, file_bytes);
	log_dir_clear(&dir);
	log_dir_write(&dir, "cursor", file, file_bytes);
	check_log(expect(file, file_bytes, &best), &best);
	return 0;
}
