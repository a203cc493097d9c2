/*
 * Any files as a log: it opens or is refused, what it has is read to its end,
 * it can be continued, and when it is opened again it has the same.
 *
 * The input says what the files hold, so that checksums are right where it
 * does not say otherwise; then come changes of single bytes. In order (numbers
 * as in fuzz_input.h):
 *
 *   flags      1: there is a cursor; 2: its second slot too; then how many
 *              segments, 0..3, times 4
 *   cursor     log id, generation, acked_seq, rejected, durable_seq, for each
 *   segments   each: name, first_seq, log id, salt, flags (1: no first header,
 *              2: no copy), how many batches, the batches, zeros behind them
 *   batches    each: flags, zeros before it where flag 1 says so, first_seq
 *              and durable_seq where flag 2 does (else they follow from what
 *              stands before), count where 4 does, body_bytes where 8 does;
 *              16: gap known; 32: no sound records; how many records, and each
 *              one's length and bytes
 *   changes    file, offset in 16 bits, what to change by xor
 */
#include "t/fuzz_input.h"
#include "t/log_dir.h"
#include "t/rewind.h"
#include "walproc/wal.h"

#include <assert.h>
#include <stdlib.h>

#define FILE_BYTES ((size_t)32768)
#define SEGMENTS 3
#define CURSOR SEGMENTS /* its index */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A file that is being made. */
struct file {
	char name[SEGMENT_NAME_BYTES];
	size_t bytes;
	uint8_t data[FILE_BYTES];
};

/* What reading a log gave. */
struct outcome {
	uint64_t first_seq;
	uint64_t next_seq;
	uint64_t events;
	uint64_t damaged;
	uint64_t hash; /* of the events, and where what is damaged lies */
};

static struct log_dir dir = {.fd = -1};
static struct file files[SEGMENTS + 1];

static const struct wal_limits limits = {
    .max_elements = UINT64_MAX,
    .max_bytes = UINT64_MAX,
    .segment_bytes = 16384,
};

static void
clean_up(void)
{
	log_dir_remove(&dir);
}

/* Moves the end of a file on, as far as there is room. Returns how far. */
static size_t
extend(struct file *file, uint64_t bytes)
{
	if (bytes > FILE_BYTES - file->bytes)
		bytes = FILE_BYTES - file->bytes;
	file->bytes += (size_t)bytes;
	return (size_t)bytes;
}

static void
make_cursor(struct fuzz_input *in, struct file *file, unsigned int slots)
{
	for (unsigned int i = 0; i < slots; i++) {
		struct layout_cursor slot = {0};

		slot.log_id[0] = fuzz_byte(in);
		slot.generation = fuzz_number(in);
		slot.acked_seq = fuzz_number(in);
		slot.rejected = fuzz_number(in);
		slot.delivered = slot.acked_seq - slot.rejected;
		slot.durable_seq = fuzz_number(in);
		layout_put_cursor(file->data + i * LAYOUT_CURSOR_OFFSET, &slot);
		file->bytes = i * LAYOUT_CURSOR_OFFSET + LAYOUT_CURSOR_BYTES;
	}
}

/* Appends the records of a batch that starts with the event `seq`. */
static void
make_records(struct fuzz_input *in, struct file *file, uint32_t count,
    uint64_t salt, uint64_t seq)
{
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *raw = file->data + file->bytes;
		size_t bytes = fuzz_byte(in);

		if (FILE_BYTES - file->bytes < LAYOUT_RECORD_BYTES + bytes)
			return;
		fuzz_take(in, raw + LAYOUT_RECORD_BYTES, bytes);
		layout_put_record(raw, raw + LAYOUT_RECORD_BYTES,
		    (uint32_t)bytes, salt, seq + i);
		file->bytes += LAYOUT_RECORD_BYTES + bytes;
	}
}

/* Appends a batch; *seq is the number of the next event. */
static void
make_batch(
    struct fuzz_input *in, struct file *file, uint64_t salt, uint64_t *seq)
{
	uint8_t flags = fuzz_byte(in);
	struct layout_batch batch = {
	    .first_seq = *seq,
	    .durable_seq = *seq - 1,
	    .is_gap_known = (flags & 16) != 0,
	};
	size_t offset;

	if ((flags & 1) != 0)
		(void)extend(file, fuzz_number(in) * LAYOUT_ALIGN);
	offset = file->bytes;
	if (extend(file, LAYOUT_BATCH_BYTES) < LAYOUT_BATCH_BYTES)
		return;
	if ((flags & 2) != 0) {
		batch.first_seq = fuzz_number(in);
		batch.durable_seq = fuzz_number(in);
	}
	batch.count = fuzz_byte(in);
	make_records(in, file, batch.count, (flags & 32) != 0 ? salt + 1 : salt,
	    batch.first_seq);
	batch.body_bytes =
	    (uint32_t)(file->bytes - offset - LAYOUT_BATCH_BYTES);
	*seq = batch.first_seq + batch.count;
	if ((flags & 4) != 0)
		batch.count = (uint32_t)fuzz_number(in);
	if ((flags & 8) != 0)
		batch.body_bytes = (uint32_t)fuzz_number(in);
	layout_put_batch(file->data + offset, &batch, salt, offset);
	(void)extend(file, layout_align(file->bytes) - file->bytes);
}

static void
make_segment(struct fuzz_input *in, struct file *file)
{
	uint64_t name = fuzz_number(in);
	struct layout_segment header = {.first_seq = fuzz_number(in)};
	uint64_t seq = header.first_seq;
	uint8_t flags, batches;

	header.log_id[0] = fuzz_byte(in);
	header.salt = fuzz_byte(in);
	flags = fuzz_byte(in);
	batches = fuzz_byte(in);
	segment_name(file->name, name);
	if ((flags & 1) == 0)
		layout_put_segment(file->data, &header);
	if ((flags & 2) == 0)
		layout_put_segment(file->data + LAYOUT_COPY_OFFSET, &header);
	file->bytes = LAYOUT_DATA_OFFSET;
	for (; batches > 0 && in->bytes > 0; batches--)
		make_batch(in, file, header.salt, &seq);
	(void)extend(file, fuzz_number(in) * LAYOUT_ALIGN);
}

/* Makes the files of the input in the directory. */
static void
make_files(struct fuzz_input *in)
{
	uint8_t flags = fuzz_byte(in);
	unsigned int slots = (flags & 1) == 0 ? 0 : (flags & 2) == 0 ? 1 : 2;

	for (size_t i = 0; i <= SEGMENTS; i++)
		files[i].bytes = 0;
	memcpy(files[CURSOR].name, "cursor", sizeof("cursor"));
	memset(files[CURSOR].data, 0, FILE_BYTES);
	make_cursor(in, &files[CURSOR], slots);
	for (unsigned int i = 0; i < (flags >> 2) % 4U; i++) {
		memset(files[i].data, 0, FILE_BYTES);
		make_segment(in, &files[i]);
	}
	while (in->bytes > 0) {
		struct file *file = &files[fuzz_byte(in) % (SEGMENTS + 1)];
		uint8_t offset[2];

		fuzz_take(in, offset, sizeof(offset));
		if (get_be16(offset) < file->bytes)
			file->data[get_be16(offset)] ^= fuzz_byte(in);
	}
	log_dir_clear(&dir);
	for (size_t i = 0; i <= SEGMENTS; i++)
		if (files[i].bytes > 0)
			log_dir_write(
			    &dir, files[i].name, files[i].data, files[i].bytes);
}

static uint64_t
mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * UINT64_C(0xbf58476d1ce4e5b9);
	return hash ^ hash >> 29;
}

/*
 * Reads all that is not ended, up to `last_seq`; with `is_ending` ends it. What
 * is damaged may come in other pieces the next time, so only its bounds count.
 */
static struct outcome
read_all(struct wal *wal, uint64_t last_seq, bool is_ending)
{
	struct outcome out = {.first_seq = wal_acked_seq(wal) + 1};
	struct reader reader = {0};
	struct reader_event event;
	bool was_damage = false;
	enum reader_status status;

	out.next_seq = out.first_seq;
	assert(rewind_reader(wal, &reader) == 0);
	while (
	    (status = reader_next(&reader, last_seq, &event)) != READER_NONE) {
		assert(status != READER_ERROR);
		assert(event.seq == out.next_seq && event.count > 0);
		assert(event.count <= last_seq + 1 - event.seq);
		out.next_seq += event.count;
		if (status == READER_DAMAGE)
			out.damaged += event.count;
		if (status == READER_DAMAGE && !was_damage)
			out.hash = mix(out.hash, event.seq);
		was_damage = status == READER_DAMAGE;
		if (status == READER_EVENT) {
			assert(event.count == 1);
			out.hash = mix(out.hash, event.seq);
			for (size_t i = 0; i < event.bytes; i++)
				out.hash = mix(out.hash, event.event[i]);
			out.events++;
		}
		if (is_ending)
			wal_end(wal, event.count, event.end_offset,
			    status == READER_EVENT ? WAL_DELIVERED
						   : WAL_QUARANTINED);
	}
	reader_fini(&reader);
	assert(out.next_seq == last_seq + 1 || last_seq < out.first_seq);
	return out;
}

/* Reads and continues the log, and opens it again and again. */
static void
check_log(struct wal *wal)
{
	uint64_t last_seq = wal->next_seq - 1;
	struct outcome first, again;

	assert(wal_is_settled(wal) && wal->durable_seq == last_seq);
	first = read_all(wal, last_seq, false);
	assert(first.events + first.damaged == wal_elements(wal));
	wal_abandon(wal);

	assert(wal_open(wal, dir.fd, &limits) == WAL_OPEN);
	assert(wal->next_seq == last_seq + 1);
	again = read_all(wal, last_seq, false);
	assert(memcmp(&first, &again, sizeof(first)) == 0);
	if (wal_room(wal, 3) != WAL_ROOM) {
		/* The last number is used. */
		assert(last_seq == LAYOUT_SEQ_MAX);
		wal_abandon(wal);
		return;
	}
	assert(wal_append(wal, (const uint8_t *)"[1]", 3) == 0);
	assert(wal_sync(wal) == 0 && wal_close(wal) == 0);

	assert(wal_open(wal, dir.fd, &limits) == WAL_OPEN);
	assert(wal->next_seq == last_seq + 2);
	again = read_all(wal, last_seq + 1, true);
	assert(again.first_seq == first.first_seq);
	assert(again.events == first.events + 1);
	assert(again.damaged == first.damaged);
	assert(wal_elements(wal) == 0);
	assert(wal_close(wal) == 0);

	assert(wal_open(wal, dir.fd, &limits) == WAL_OPEN);
	assert(wal->next_seq == last_seq + 2 && wal_elements(wal) == 0);
	wal_abandon(wal);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_input in = {.data = data, .bytes = bytes};
	struct wal wal;

	if (dir.fd == -1) {
		log_dir_make(&dir);
		(void)atexit(clean_up);
	}
	make_files(&in);
	switch (wal_open(&wal, dir.fd, &limits)) {
	case WAL_OPEN:
		check_log(&wal);
		break;
	case WAL_NEWER:
		break;
	case WAL_ERROR:
		assert(!"a log that no disk error spoils must open");
	}
	return 0;
}
