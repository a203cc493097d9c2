#include "walproc/wal.h"

#include "stage/io.h"
#include "stage/log.h"
#include "stage/loop.h"
#include "walproc/wal_write.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

/* Zeros of no more than this are written in less time than a thread is worth.
 */
#define AHEAD_MIN_BYTES (UINT64_C(1) << 20)
#define SEGMENT_MIN_BYTES (UINT64_C(64) << 10)
#define SEGMENT_MAX_BYTES (UINT64_C(16) << 20)

void
wal_default_segment(struct wal_limits *limits)
{
	uint64_t bytes = limits->max_bytes / 8;

	if (limits->segment_bytes != 0)
		return;
	if (bytes < SEGMENT_MIN_BYTES)
		bytes = SEGMENT_MIN_BYTES;
	if (bytes > SEGMENT_MAX_BYTES)
		bytes = SEGMENT_MAX_BYTES;
	limits->segment_bytes = layout_align(bytes);
}

uint64_t
wal_acked_seq(const struct wal *wal)
{
	return wal->cursor.slot.acked_seq;
}

uint64_t
wal_elements(const struct wal *wal)
{
	return wal->next_seq - 1 - wal_acked_seq(wal);
}

/* Bytes that the gathered batch will take when written. */
static uint64_t
gathered_bytes(const struct wal *wal)
{
	return layout_align(buf_bytes(&wal->batch));
}

uint64_t
wal_bytes(const struct wal *wal)
{
	const struct segment *last = catalog_last(&wal->catalog);

	if (wal_elements(wal) == 0 || last == NULL)
		return 0;
	return last->log_offset + last->end_offset + gathered_bytes(wal) -
	       wal->ended_offset;
}

/* Says whether the last segment has room for what is gathered and an event of
 * `bytes` more, with the commit mark behind it. */
static bool
fits_last(const struct wal *wal, size_t bytes)
{
	const struct segment *last = catalog_last(&wal->catalog);

	return wal->is_writable &&
	       last->bytes - last->end_offset >=
		   gathered_bytes(wal) + WAL_WRITE_OVERHEAD + bytes;
}

enum wal_room
wal_room(const struct wal *wal, size_t bytes)
{
	uint64_t cost = WAL_WRITE_OVERHEAD + bytes;

	if (LAYOUT_DATA_OFFSET + cost > wal->limits.max_bytes ||
	    wal->next_seq > LAYOUT_SEQ_MAX)
		return WAL_NEVER_FITS;
	if (wal_elements(wal) == 0)
		return WAL_ROOM;
	if (wal_elements(wal) >= wal->limits.max_elements)
		return WAL_FULL;
	if (!fits_last(wal, bytes))
		cost += LAYOUT_DATA_OFFSET;
	if (wal_bytes(wal) + cost > wal->limits.max_bytes)
		return WAL_FULL;
	return WAL_ROOM;
}

/* Says whether `value` is below 90 % of `limit`. */
static bool
is_below(uint64_t value, uint64_t limit)
{
	return value < limit - limit / 10;
}

bool
wal_is_relieved(const struct wal *wal)
{
	return wal_elements(wal) == 0 ||
	       (is_below(wal_elements(wal), wal->limits.max_elements) &&
		   is_below(wal_bytes(wal), wal->limits.max_bytes));
}

/* Begins a new segment for an event of `bytes`. All before it is durable. */
static int
roll(struct wal *wal, size_t bytes)
{
	struct segment *last = catalog_last(&wal->catalog);
	struct segment segment;
	uint64_t need = LAYOUT_DATA_OFFSET + WAL_WRITE_OVERHEAD + bytes;
	int saved;

	if (wal_write_start(wal, &segment, wal->next_seq, need) == -1)
		return -1;
	if (wal_write_publish(wal, &segment) == -1) {
		saved = errno;
		segment_close(&segment);
		spare_drop(&wal->spare);
		errno = saved;
		return -1;
	}
	if (wal->is_writable) {
		/* Only zeros: they would count against the disk. */
		if (ftruncate(last->fd, (off_t)last->end_offset) == 0)
			last->bytes = last->end_offset;
		segment_close(last);
	}
	catalog_add(&wal->catalog, &segment);
	wal->is_writable = true;
	log_debug("rolled to segment %" PRIu64, segment.first_seq);
	return 0;
}

/*
 * Begins a new segment for an event of `bytes`, where the last one has no room.
 * Returns 0, or -1 with errno set.
 */
static int
make_room(struct wal *wal, size_t bytes)
{
	const struct segment *last;

	if (wal_sync(wal) == -1)
		return -1;
	last = catalog_last(&wal->catalog);
	/* One that is larger than others, and not needed any more, goes before
	 * another such comes: the two would take more than is promised. */
	if (last != NULL && wal_elements(wal) == 0 &&
	    last->bytes > wal->limits.segment_bytes &&
	    (roll(wal, 0) == -1 || wal_write_drop_ended(wal) == -1))
		return -1;
	return fits_last(wal, bytes) ? 0 : roll(wal, bytes);
}

/* Returns by how much `used` is below `limit`, less what one event costs. */
static size_t
left_below(uint64_t limit, uint64_t used)
{
	used += WAL_WRITE_OVERHEAD;
	return limit > used ? (size_t)(limit - used) : 0;
}

/* Finds how many bytes of records more the batch surely has room for: nothing
 * but another event, or the batch's being written, makes it less. */
static void
find_batch_left(struct wal *wal)
{
	const struct segment *last = catalog_last(&wal->catalog);
	size_t left = left_below(WAL_WRITE_BATCH_BYTES, buf_bytes(&wal->batch));
	size_t in_segment =
	    left_below(last->bytes, last->end_offset + buf_bytes(&wal->batch));
	size_t in_log = left_below(wal->limits.max_bytes, wal_bytes(wal));

	if (left > in_segment)
		left = in_segment;
	wal->batch_left = left < in_log ? left : in_log;
}

bool
wal_append_quickly(struct wal *wal, const uint8_t *event, size_t bytes)
{
	uint64_t elements = wal_elements(wal);

	/* The first of all has more to be done. */
	if (elements == 0 || elements + 1 >= wal->limits.max_elements ||
	    wal->next_seq > LAYOUT_SEQ_MAX ||
	    wal->batch_left < LAYOUT_RECORD_BYTES + bytes)
		return false;
	wal->batch_left -= LAYOUT_RECORD_BYTES + bytes;
	wal_write_gather(
	    wal, catalog_last(&wal->catalog), wal->next_seq++, event, bytes);
	return true;
}

int
wal_append(struct wal *wal, const uint8_t *event, size_t bytes)
{
	struct segment *last;

	assert(wal_is_settled(wal));
	if (!fits_last(wal, bytes)) {
		if (make_room(wal, bytes) == -1)
			return -1;
	} else if (buf_bytes(&wal->batch) >= WAL_WRITE_BATCH_BYTES) {
		if (wal_write_batch(wal, catalog_last(&wal->catalog)) == -1)
			return -1;
	}
	last = catalog_last(&wal->catalog);
	if (wal_elements(wal) == 0)
		wal->ended_offset = last->log_offset + last->end_offset;
	wal_write_gather(wal, last, wal->next_seq, event, bytes);
	wal->next_seq++;
	find_batch_left(wal);
	return 0;
}

int
wal_commit_end(struct wal *wal)
{
	int taken;

	if (!wal->syncer.is_busy)
		return 1;
	taken = worker_take(&wal->syncer, false);
	if (taken == 0)
		return 0;
	return wal_write_end_sync(wal, taken, wal->syncing_seq) == -1 ? -1 : 1;
}

int
wal_sync(struct wal *wal)
{
	struct segment *last = catalog_last(&wal->catalog);

	if (wal_write_wait(wal) == -1)
		return -1;
	if (wal->tail_seq != 0 || wal->durable_seq + 1 == wal->next_seq)
		return 0;
	if (wal->batch_count > 0 && wal_write_batch(wal, last) == -1)
		return -1;
	return wal_write_end_sync(wal, fdatasync(last->fd), wal->next_seq - 1);
}

uint64_t
wal_ready_seq(const struct wal *wal)
{
	return wal->is_lazy && wal->tail_seq == 0
		   ? wal->next_seq - 1 - wal->batch_count
		   : wal->durable_seq;
}

/* Makes durable what only the cursor counts. 0, or -1 with errno set. */
static int
save_counts(struct wal *wal)
{
	if (!wal->counts_wait)
		return 0;
	if (wal_write_cursor(wal) == -1 || cursor_sync(&wal->cursor) == -1)
		return -1;
	wal->counts_wait = false;
	return 0;
}

/* Writes what is gathered, if anything is. 0, or -1 with errno set. */
static int
flush(struct wal *wal)
{
	if (wal->batch_count == 0)
		return 0;
	return wal_write_batch(wal, catalog_last(&wal->catalog));
}

int
wal_commit(struct wal *wal)
{
	if (wal->is_lazy)
		return flush(wal);
	return wal_sync(wal) == -1 ? -1 : save_counts(wal);
}

/* The work of the syncer. */
static int
sync_file(void *fd)
{
	return fdatasync(*(const int *)fd);
}

int
wal_commit_begin(struct wal *wal)
{
	assert(!wal->syncer.is_busy);
	if (flush(wal) == -1)
		return -1;
	if (wal->is_lazy)
		return 1;
	if (save_counts(wal) == -1)
		return -1;
	if (wal->durable_seq + 1 == wal->next_seq)
		return 1;
	wal->syncing_fd = catalog_last(&wal->catalog)->fd;
	if (worker_begin(&wal->syncer, sync_file, &wal->syncing_fd) == -1)
		return wal_sync(wal) == -1 ? -1 : 1;
	wal->syncing_seq = wal->next_seq - 1;
	return 0;
}

int
wal_poll_fd(const struct wal *wal)
{
	return worker_poll_fd(&wal->syncer);
}

int
wal_mark(struct wal *wal)
{
	struct segment *last = catalog_last(&wal->catalog);
	uint8_t raw[LAYOUT_BATCH_BYTES];
	struct layout_batch mark = {
	    .first_seq = wal->next_seq,
	    .durable_seq = wal->durable_seq,
	    .realtime_ns = loop_realtime_ns(),
	};

	if (wal->is_marked || !wal->is_writable || wal->batch_count > 0 ||
	    wal->syncer.is_busy)
		return 0;
	wal->is_marked = true;
	if (last->bytes - last->end_offset >= sizeof(raw) &&
	    wal_bytes(wal) + sizeof(raw) <= wal->limits.max_bytes &&
	    segment_write_batch(last, raw, 0, &mark) == -1 &&
	    !io_is_full_disk(errno))
		return -1;
	if (wal_write_cursor(wal) == -1 && !io_is_full_disk(errno))
		return -1;
	return 0;
}

/* Says whether the promise on disk use holds with a spare. */
static bool
has_room_for_spare(const struct wal *wal)
{
	uint64_t bytes = wal->limits.segment_bytes, most;

	if (__builtin_add_overflow(wal->limits.max_bytes, 2 * bytes, &most))
		most = UINT64_MAX;
	return catalog_bytes(&wal->catalog) + bytes <= most;
}

/* Says whether a spare is to be made when `part` eighths of the last segment
 * are used: there is none, nor is there one on its way. */
static bool
needs_spare(const struct wal *wal, uint64_t part)
{
	const struct segment *last = catalog_last(&wal->catalog);

	return spare_bytes(&wal->spare) == 0 && wal->is_writable &&
	       last->end_offset >= last->bytes / 8 * part &&
	       has_room_for_spare(wal);
}

int
wal_prepare(struct wal *wal)
{
	if (!needs_spare(wal, 4) ||
	    spare_make(&wal->spare, wal_write_small_bytes(wal)) == 0 ||
	    io_is_full_disk(errno))
		return 0;
	return -1;
}

int
wal_prepare_ahead(struct wal *wal)
{
	int result = spare_end(&wal->spare, false);

	if (result == 1 && !wal->has_no_room &&
	    wal->limits.segment_bytes > AHEAD_MIN_BYTES && needs_spare(wal, 5))
		result = spare_begin(&wal->spare, wal->limits.segment_bytes);
	/* Not tried again before one is needed. */
	wal->has_no_room = wal->has_no_room || result == -1;
	return result == -1 && !io_is_full_disk(errno) ? -1 : 0;
}

void
wal_give_spare(struct wal *wal)
{
	if (spare_bytes(&wal->spare) > 0)
		spare_drop(&wal->spare);
}

int
wal_probe(struct wal *wal)
{
	if (wal_settle(wal) == -1 || spare_end(&wal->spare, true) == -1)
		return -1;
	if (wal->spare.fd != -1 || !has_room_for_spare(wal))
		return 0;
	return spare_make(&wal->spare, wal_write_small_bytes(wal));
}

/* Counts events that are ended. */
static void
count_ended(struct layout_cursor *slot, uint64_t count, enum wal_end how)
{
	slot->acked_seq += count;
	switch (how) {
	case WAL_DELIVERED:
		slot->delivered += count;
		break;
	case WAL_REJECTED:
		slot->rejected += count;
		break;
	case WAL_DROPPED:
		slot->dropped += count;
		break;
	case WAL_QUARANTINED:
		slot->quarantined += count;
		break;
	}
}

/* Ends in the log what all sinks have ended by now; the last of them did so as
 * `how` says. */
static void
end_for_all(struct wal *wal, enum wal_end how)
{
	const struct wal_sink *last = wal_sinks_last(wal);
	uint64_t acked_seq = wal_acked_seq(wal);

	if (last->cursor.slot.acked_seq <= acked_seq)
		return;
	count_ended(
	    &wal->cursor.slot, last->cursor.slot.acked_seq - acked_seq, how);
	wal->ended_offset = last->ended_offset;
}

void
wal_end_at(struct wal *wal, size_t place, uint64_t count, uint64_t end_offset,
    enum wal_end how)
{
	struct wal_sink *sink;

	if (!wal->sinks.are_many) {
		wal_end(wal, count, end_offset, how);
		return;
	}
	sink = &wal->sinks.list[place];
	assert(sink->cursor.slot.acked_seq + count <= wal_ready_seq(wal));
	count_ended(&sink->cursor.slot, count, how);
	sink->ended_offset = end_offset;
	end_for_all(wal, how);
}

void
wal_end(struct wal *wal, uint64_t count, uint64_t end_offset, enum wal_end how)
{
	uint64_t last_seq = wal_acked_seq(wal) + count;

	assert(last_seq <= wal_ready_seq(wal));
	if (!wal->sinks.are_many) {
		count_ended(&wal->cursor.slot, count, how);
		wal->ended_offset = end_offset;
		return;
	}
	for (size_t i = 0; i < wal->sinks.count; i++) {
		uint64_t acked_seq = wal_sinks_acked_of(wal, i);

		if (acked_seq < last_seq)
			wal_end_at(
			    wal, i, last_seq - acked_seq, end_offset, how);
	}
}

void
wal_count_refused(struct wal *wal)
{
	wal->cursor.slot.refused++;
	wal->cursor_saved = UINT64_MAX;
	wal->counts_wait = true;
}

void
wal_note_letters(struct wal *wal, uint64_t bytes)
{
	wal->cursor.slot.letters_bytes = bytes;
}

uint64_t
wal_letters_bytes(const struct wal *wal)
{
	return wal->cursor.slot.letters_bytes;
}

void
wal_count_dropped(struct wal *wal)
{
	wal->cursor.slot.dropped_newest++;
	wal->cursor_saved = UINT64_MAX;
	wal->counts_wait = true;
}

int
wal_save(struct wal *wal)
{
	if (wal_sinks_save(wal) == -1 ||
	    (wal->cursor_saved != wal_acked_seq(wal) &&
		wal_write_cursor(wal) == -1))
		return io_is_full_disk(errno) ? 0 : -1;
	return wal_write_drop_ended(wal);
}
