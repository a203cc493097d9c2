#include "walproc/wal.h"

#include "stage/io.h"
#include "stage/log.h"
#include "stage/loop.h"
#include "walproc/quarantine.h"
#include "walproc/recover.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define SEGMENT_MIN_BYTES (UINT64_C(64) << 10)
#define SEGMENT_MAX_BYTES (UINT64_C(16) << 20)
/* Records gathered in memory before they are written, unsynced. */
#define BATCH_BYTES ((size_t)1 << 20)
#define BATCH_MAX_BYTES (BATCH_BYTES + ((size_t)32 << 20))
/* What one event costs at most beside its own bytes: the header and padding
 * of a batch, its record's header, and the commit mark behind it. */
#define EVENT_OVERHEAD \
	(2 * LAYOUT_BATCH_BYTES + LAYOUT_ALIGN + LAYOUT_RECORD_BYTES)

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
		   gathered_bytes(wal) + EVENT_OVERHEAD + bytes;
}

enum wal_room
wal_room(const struct wal *wal, size_t bytes)
{
	uint64_t cost = EVENT_OVERHEAD + bytes;

	if (LAYOUT_DATA_OFFSET + cost > wal->limits.max_bytes)
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

static int
random_bytes(void *to, size_t bytes)
{
	/* Up to 256 bytes come whole and uninterrupted: getrandom(2). */
	return getrandom(to, bytes, 0) == (ssize_t)bytes ? 0 : -1;
}

/* Forgets the spare and removes its file. */
static void
drop_spare(struct wal *wal)
{
	int saved = errno;

	if (wal->spare_fd != -1)
		(void)close(wal->spare_fd);
	wal->spare_fd = -1;
	(void)unlinkat(wal->catalog.dir_fd, SEGMENT_SPARE, 0);
	errno = saved;
}

/*
 * Starts a segment of at least `bytes` with the event `first_seq`, unnamed
 * yet. Returns 0, or -1 with errno set and nothing left behind.
 */
static int
start_segment(struct wal *wal, struct segment *segment, uint64_t first_seq,
    uint64_t bytes)
{
	struct layout_segment header = {
	    .first_seq = first_seq,
	    .created_ns = loop_realtime_ns(),
	};

	if (bytes < wal->limits.segment_bytes)
		bytes = wal->limits.segment_bytes;
	memcpy(header.log_id, wal->log_id, LAYOUT_LOG_ID_BYTES);
	if (random_bytes(&header.salt, sizeof(header.salt)) == -1)
		return -1;
	if (wal->spare_fd != -1 && wal->spare_bytes < bytes)
		drop_spare(wal);
	if (wal->spare_fd == -1) {
		wal->spare_fd = segment_make_spare(wal->catalog.dir_fd, bytes);
		wal->spare_bytes = bytes;
	}
	if (wal->spare_fd == -1)
		return -1;
	if (segment_start(segment, wal->spare_fd, wal->spare_bytes, &header) ==
	    -1) {
		drop_spare(wal);
		return -1;
	}
	wal->spare_fd = -1;
	return 0;
}

/* Writes what is gathered to `segment`, unsynced. 0, or -1 with errno set. */
static int
write_gathered(struct wal *wal, struct segment *segment)
{
	size_t bytes = buf_bytes(&wal->batch);
	struct layout_batch batch = {
	    .body_bytes = (uint32_t)(bytes - LAYOUT_BATCH_BYTES),
	    .count = wal->batch_count,
	    .first_seq = segment->next_seq,
	    .durable_seq = wal->durable_seq,
	    .realtime_ns = loop_realtime_ns(),
	};
	uint8_t *raw;

	/* The padding is never queued: after a failure more may be gathered. */
	raw = buf_reserve(&wal->batch, LAYOUT_ALIGN);
	memset(raw, 0, LAYOUT_ALIGN);
	raw = wal->batch.data + wal->batch.start;
	if (segment_write_batch(segment, raw, &batch) == -1)
		return -1;
	buf_drop(&wal->batch, buf_bytes(&wal->batch));
	wal->batch_count = 0;
	return 0;
}

/* Adds one event, numbered `seq`, to what is gathered for `segment`. */
static void
gather(struct wal *wal, const struct segment *segment, uint64_t seq,
    const uint8_t *event, size_t bytes)
{
	uint8_t *to;

	if (wal->batch_count == 0) {
		to = buf_reserve(&wal->batch, LAYOUT_BATCH_BYTES);
		memset(to, 0, LAYOUT_BATCH_BYTES);
		buf_commit(&wal->batch, LAYOUT_BATCH_BYTES);
	}
	to = buf_reserve(&wal->batch, LAYOUT_RECORD_BYTES + bytes);
	layout_put_record(to, event, (uint32_t)bytes, segment->salt, seq);
	memcpy(to + LAYOUT_RECORD_BYTES, event, bytes);
	buf_commit(&wal->batch, LAYOUT_RECORD_BYTES + bytes);
	wal->batch_count++;
}

/*
 * What is not sound in an unproven tail is where the power went, and the log
 * ends there; but not if it is only that it cannot be read. Returns 1 if the
 * tail goes on behind it, 0 if not, or -1 with errno set.
 */
static int
pass_damage(
    struct wal *wal, struct segment *segment, const struct reader_event *damage)
{
	int is_readable;

	if (damage->segment == NULL)
		return 0;
	is_readable =
	    segment_is_readable(damage->segment, damage->from, damage->to);
	if (is_readable != 0)
		return is_readable == 1 ? 0 : -1;
	if (quarantine_bytes(wal->catalog.dir_fd, damage->segment, damage->from,
		damage->to) == -1)
		return -1;
	if (wal->batch_count > 0 && write_gathered(wal, segment) == -1)
		return -1;
	segment->next_seq = damage->seq + damage->count;
	return 1;
}

/*
 * Copies the events behind durable_seq up to tail_seq to `segment`, as far as
 * they are sound. Returns 0, or -1 with errno set.
 */
static int
copy_tail(struct wal *wal, struct segment *segment)
{
	struct reader reader = {0};
	struct reader_event event;
	int more = 1;

	reader_init(&reader, &wal->catalog, wal->durable_seq + 1);
	reader.is_looking = true;
	while (more == 1) {
		switch (reader_next(&reader, wal->tail_seq, &event)) {
		case READER_EVENT:
			gather(
			    wal, segment, event.seq, event.event, event.bytes);
			if (buf_bytes(&wal->batch) >= BATCH_BYTES)
				more =
				    write_gathered(wal, segment) == -1 ? -1 : 1;
			break;
		case READER_DAMAGE:
			more = pass_damage(wal, segment, &event);
			break;
		case READER_NONE:
			more = 0;
			break;
		case READER_ERROR:
			more = -1;
			break;
		}
	}
	if (more == 0 && wal->batch_count > 0)
		more = write_gathered(wal, segment);
	reader_fini(&reader);
	return more;
}

/*
 * Finds where the first event that is not ended starts, to the batch, and sets
 * wal->ended_offset. A part that cannot be followed counts as not ended.
 */
static int
find_ended(struct wal *wal)
{
	uint64_t seq = wal_acked_seq(wal) + 1;
	struct segment *segment = catalog_find(&wal->catalog, seq);
	uint64_t offset = LAYOUT_DATA_OFFSET;

	if (segment == NULL)
		return 0;
	if (segment_reopen(segment, wal->catalog.dir_fd) == -1)
		return -1;
	for (;;) {
		struct layout_batch batch;
		enum layout_status status;

		if (segment_read_batch(segment, offset, &batch, &status) == -1)
			return -1;
		if (status != LAYOUT_OK || batch.first_seq + batch.count > seq)
			break;
		offset += layout_batch_bytes(&batch);
	}
	wal->ended_offset = segment->log_offset + offset;
	return 0;
}

/*
 * After a failed sync the kernel may show pages that no disk has, so only what
 * is written and synced anew can be relied on. The new segment gets its name
 * when the tail is safe in it; until then the old one counts, and in that order
 * nothing is lost at any moment.
 */
int
wal_settle(struct wal *wal)
{
	struct segment *last = catalog_last(&wal->catalog);
	struct segment segment;
	int saved;

	if (wal->cursor_waits && cursor_claim(&wal->cursor) == -1)
		return -1;
	wal->cursor_waits = false;
	if (wal->tail_seq == 0)
		return 0;
	if (start_segment(wal, &segment, wal->durable_seq + 1,
		(last == NULL ? 0 : last->bytes) + LAYOUT_DATA_OFFSET +
		    EVENT_OVERHEAD) == -1)
		return -1;
	if (copy_tail(wal, &segment) == -1)
		goto fail;
	if (segment.next_seq <= wal_acked_seq(wal))
		segment.next_seq = wal_acked_seq(wal) + 1;
	if (segment_publish(&segment, wal->catalog.dir_fd) == -1)
		goto fail;
	log_info("settled a tail of %" PRIu64 " events, not proven durable",
	    segment.next_seq - segment.first_seq);
	if (last != NULL)
		last->next_seq = segment.first_seq;
	catalog_add(&wal->catalog, &segment);
	wal->is_writable = true;
	wal->next_seq = segment.next_seq;
	wal->durable_seq = segment.next_seq - 1;
	wal->is_marked = false;
	wal->tail_seq = 0;
	return find_ended(wal);

fail:
	saved = errno;
	buf_drop(&wal->batch, buf_bytes(&wal->batch));
	wal->batch_count = 0;
	segment_close(&segment);
	drop_spare(wal);
	errno = saved;
	return -1;
}

bool
wal_is_settled(const struct wal *wal)
{
	return wal->tail_seq == 0 && !wal->cursor_waits;
}

/* Begins a new segment for an event of `bytes`. All before it is durable. */
static int
roll(struct wal *wal, size_t bytes)
{
	struct segment *last = catalog_last(&wal->catalog);
	struct segment segment;
	uint64_t need = LAYOUT_DATA_OFFSET + EVENT_OVERHEAD + bytes;
	int saved;

	if (start_segment(wal, &segment, wal->next_seq, need) == -1)
		return -1;
	if (segment_publish(&segment, wal->catalog.dir_fd) == -1) {
		saved = errno;
		segment_close(&segment);
		drop_spare(wal);
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

int
wal_append(struct wal *wal, const uint8_t *event, size_t bytes)
{
	struct segment *last;

	assert(wal_is_settled(wal));
	if (!fits_last(wal, bytes)) {
		if (wal_sync(wal) == -1 || roll(wal, bytes) == -1)
			return -1;
	} else if (buf_bytes(&wal->batch) >= BATCH_BYTES) {
		if (write_gathered(wal, catalog_last(&wal->catalog)) == -1)
			return -1;
	}
	last = catalog_last(&wal->catalog);
	if (wal_elements(wal) == 0)
		wal->ended_offset = last->log_offset + last->end_offset;
	gather(wal, last, wal->next_seq, event, bytes);
	wal->next_seq++;
	return 0;
}

/* Takes the result of a sync. Returns 0, or -1 with errno set. */
static int
end_sync(struct wal *wal, int result, uint64_t seq)
{
	if (result == -1) {
		/* Whatever the reason, this file's pages are not to be trusted
		 * again, so it must not look like a disk that is full for now.
		 */
		if (io_is_full_disk(errno))
			errno = EIO;
		return -1;
	}
	wal->durable_seq = seq;
	wal->is_marked = false;
	return 0;
}

int
wal_commit_end(struct wal *wal)
{
	int taken;

	if (!wal->syncer.is_busy)
		return 1;
	taken = syncer_take(&wal->syncer, false);
	if (taken == 0)
		return 0;
	return end_sync(wal, taken, wal->syncing_seq) == -1 ? -1 : 1;
}

/* Waits for the sync that is on its way. 0, or -1 with errno set. */
static int
wait_for_sync(struct wal *wal)
{
	if (!wal->syncer.is_busy)
		return 0;
	return end_sync(wal, syncer_take(&wal->syncer, true), wal->syncing_seq);
}

int
wal_sync(struct wal *wal)
{
	struct segment *last = catalog_last(&wal->catalog);

	if (wait_for_sync(wal) == -1)
		return -1;
	if (wal->tail_seq != 0 || wal->durable_seq + 1 == wal->next_seq)
		return 0;
	if (wal->batch_count > 0 && write_gathered(wal, last) == -1)
		return -1;
	return end_sync(wal, fdatasync(last->fd), wal->next_seq - 1);
}

uint64_t
wal_ready_seq(const struct wal *wal)
{
	return wal->is_lazy && wal->tail_seq == 0
		   ? wal->next_seq - 1 - wal->batch_count
		   : wal->durable_seq;
}

/* Writes the cursor, not synced. 0, or -1 with errno set. */
static int
write_cursor(struct wal *wal)
{
	wal->cursor.slot.durable_seq = wal->durable_seq;
	if (cursor_write(&wal->cursor) == -1)
		return -1;
	wal->cursor_saved = wal_acked_seq(wal);
	return 0;
}

/* Makes durable what only the cursor counts. 0, or -1 with errno set. */
static int
save_counts(struct wal *wal)
{
	if (!wal->counts_wait)
		return 0;
	if (write_cursor(wal) == -1 || cursor_sync(&wal->cursor) == -1)
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
	return write_gathered(wal, catalog_last(&wal->catalog));
}

int
wal_commit(struct wal *wal)
{
	if (wal->is_lazy)
		return flush(wal);
	return wal_sync(wal) == -1 ? -1 : save_counts(wal);
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
	if (syncer_begin(&wal->syncer, catalog_last(&wal->catalog)->fd) == -1)
		return wal_sync(wal) == -1 ? -1 : 1;
	wal->syncing_seq = wal->next_seq - 1;
	return 0;
}

int
wal_poll_fd(const struct wal *wal)
{
	return syncer_poll_fd(&wal->syncer);
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
	    segment_write_batch(last, raw, &mark) == -1 &&
	    !io_is_full_disk(errno))
		return -1;
	if (write_cursor(wal) == -1 && !io_is_full_disk(errno))
		return -1;
	return 0;
}

/* Makes the spare. Returns 0, or -1 with errno set. */
static int
make_spare(struct wal *wal)
{
	uint64_t bytes = wal->limits.segment_bytes;

	wal->spare_fd = segment_make_spare(wal->catalog.dir_fd, bytes);
	wal->spare_bytes = bytes;
	return wal->spare_fd == -1 ? -1 : 0;
}

int
wal_prepare(struct wal *wal)
{
	const struct segment *last = catalog_last(&wal->catalog);
	uint64_t bytes = wal->limits.segment_bytes;
	uint64_t most;

	if (wal->spare_fd != -1 || !wal->is_writable ||
	    last->end_offset < last->bytes / 2)
		return 0;
	/* The promise on disk use holds with the spare in it. */
	if (__builtin_add_overflow(wal->limits.max_bytes, 2 * bytes, &most))
		most = UINT64_MAX;
	if (catalog_bytes(&wal->catalog) + bytes > most)
		return 0;
	return make_spare(wal) == -1 && !io_is_full_disk(errno) ? -1 : 0;
}

int
wal_probe(struct wal *wal)
{
	if (wal_settle(wal) == -1)
		return -1;
	return wal->spare_fd == -1 ? make_spare(wal) : 0;
}

void
wal_end(struct wal *wal, uint64_t count, uint64_t position, enum wal_end how)
{
	struct layout_cursor *slot = &wal->cursor.slot;

	assert(slot->acked_seq + count <= wal_ready_seq(wal));
	slot->acked_seq += count;
	wal->ended_offset = position;
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

void
wal_count_refused(struct wal *wal)
{
	wal->cursor.slot.refused++;
	wal->cursor_saved = UINT64_MAX;
	wal->counts_wait = true;
}

void
wal_count_dropped(struct wal *wal)
{
	wal->cursor.slot.dropped_newest++;
	wal->cursor_saved = UINT64_MAX;
	wal->counts_wait = true;
}

/* Takes the oldest segment's file out of the directory. */
static int
unlink_first(const struct catalog *catalog)
{
	uint64_t first_seq = catalog->segments[0].first_seq;
	char name[SEGMENT_NAME_BYTES];

	if (quarantine_keeps(catalog->dir_fd, first_seq))
		return quarantine_segment(catalog->dir_fd, first_seq);
	segment_name(name, first_seq);
	if (unlinkat(catalog->dir_fd, name, 0) == -1 && errno != ENOENT)
		return -1;
	return 0;
}

/* Unlinks the segments all of whose events are ended, but never the last,
 * which carries the numbering on. */
static int
drop_ended(struct wal *wal)
{
	struct catalog *catalog = &wal->catalog;

	while (catalog->count > 1 &&
	       catalog->segments[0].next_seq - 1 <= wal_acked_seq(wal)) {
		/* Else a power cut could leave a cursor that points at
		 * events which are gone. */
		if (cursor_sync(&wal->cursor) == -1)
			return -1;
		if (unlink_first(catalog) == -1)
			return io_is_full_disk(errno) ? 0 : -1;
		catalog_drop_first(catalog);
	}
	return 0;
}

int
wal_save(struct wal *wal)
{
	if (wal->cursor_saved == wal_acked_seq(wal))
		return 0;
	if (write_cursor(wal) == -1)
		return io_is_full_disk(errno) ? 0 : -1;
	return drop_ended(wal);
}

int
wal_rewind(struct wal *wal, struct reader *reader)
{
	reader_init(reader, &wal->catalog, wal_acked_seq(wal) + 1);
	return find_ended(wal);
}

/* Fills the cursor of a log whose own is lost: all that is there is not yet
 * ended, all before it was. */
static void
guess_cursor(struct wal *wal, const struct recovered *found)
{
	struct layout_cursor *slot = &wal->cursor.slot;

	*slot = (struct layout_cursor){.acked_seq = found->first_seq - 1};
	slot->delivered = slot->acked_seq;
}

/* Opens cursor and segments; cursor and log belong together afterwards. */
static enum wal_status
open_files(struct wal *wal, struct recovered *found)
{
	bool lost;
	enum cursor_status cursor =
	    cursor_open(&wal->cursor, wal->catalog.dir_fd, &lost);
	enum recover_status recover;

	if (cursor == CURSOR_ERROR)
		log_error("cursor: %m");
	if (cursor == CURSOR_NEWER)
		log_error("cursor: of a format version that this walproc does "
			  "not know");
	if (cursor == CURSOR_ERROR || cursor == CURSOR_NEWER)
		return cursor == CURSOR_NEWER ? WAL_NEWER : WAL_ERROR;
	if (lost)
		log_warn("cursor: both slots are damaged: what is stored is "
			 "sent again");
	recover = recover_scan(&wal->catalog,
	    cursor == CURSOR_OK ? &wal->cursor.slot : NULL, NULL, found);
	if (recover != RECOVER_OK)
		return recover == RECOVER_NEWER ? WAL_NEWER : WAL_ERROR;
	if (found->is_foreign) {
		log_warn("cursor: of another log: what is stored is sent "
			 "again");
		cursor = CURSOR_NONE;
	}
	if (cursor == CURSOR_NONE)
		guess_cursor(wal, found);
	else if (!found->has_log_id)
		memcpy(found->log_id, wal->cursor.slot.log_id,
		    LAYOUT_LOG_ID_BYTES);
	if (cursor == CURSOR_NONE && !found->has_log_id &&
	    random_bytes(found->log_id, LAYOUT_LOG_ID_BYTES) == -1)
		return WAL_ERROR;
	return WAL_OPEN;
}

/* Takes over what the scan found. 0, or -1 with errno set. */
static int
take_over(struct wal *wal, const struct recovered *found)
{
	memcpy(wal->log_id, found->log_id, LAYOUT_LOG_ID_BYTES);
	memcpy(wal->cursor.slot.log_id, found->log_id, LAYOUT_LOG_ID_BYTES);
	wal->next_seq = found->next_seq;
	wal->durable_seq = found->proven_seq;
	if (wal->durable_seq >= wal->next_seq)
		wal->durable_seq = wal->next_seq - 1;
	if (wal->durable_seq + 1 < wal->next_seq)
		wal->tail_seq = wal->next_seq - 1;
	wal->cursor_saved = wal_acked_seq(wal);
	wal->cursor_waits = true;
	if (unlinkat(wal->catalog.dir_fd, SEGMENT_SPARE, 0) == -1 &&
	    errno != ENOENT)
		return -1;
	if (drop_ended(wal) == -1 || find_ended(wal) == -1)
		return -1;
	if (wal_settle(wal) == -1) {
		if (!io_is_full_disk(errno))
			return -1;
		log_warn("disk full: the log takes nothing until there is "
			 "room");
	}
	return 0;
}

void
wal_abandon(struct wal *wal)
{
	syncer_fini(&wal->syncer);
	if (wal->spare_fd != -1)
		(void)close(wal->spare_fd);
	wal->spare_fd = -1;
	cursor_close(&wal->cursor);
	catalog_fini(&wal->catalog);
	buf_fini(&wal->batch);
}

enum wal_status
wal_open(struct wal *wal, int dir_fd, const struct wal_limits *limits)
{
	struct recovered found;
	enum wal_status status;

	*wal = (struct wal){
	    .limits = *limits,
	    .spare_fd = -1,
	    .cursor = {.fd = -1},
	    .is_marked = true,
	};
	wal_default_segment(&wal->limits);
	catalog_init(&wal->catalog, dir_fd);
	buf_init(&wal->batch, BATCH_MAX_BYTES);
	syncer_init(&wal->syncer);
	status = open_files(wal, &found);
	if (status == WAL_OPEN && take_over(wal, &found) == -1) {
		log_error("log: %m");
		status = WAL_ERROR;
	}
	if (status != WAL_OPEN)
		wal_abandon(wal);
	return status;
}

int
wal_close(struct wal *wal)
{
	struct segment *last = catalog_last(&wal->catalog);
	int result = 0;

	if (wait_for_sync(wal) == -1)
		result = -1;
	/* Before the mark, which would hide that. */
	if (result == 0 && wal->is_lazy && wal_sync(wal) == -1)
		result = -1;
	if (result == -1 || wal_save(wal) == -1 || wal_mark(wal) == -1 ||
	    cursor_sync(&wal->cursor) == -1)
		result = -1;
	/* With the mark durable the next start finds all of it proven. */
	if (wal->is_writable && result == 0 &&
	    (ftruncate(last->fd, (off_t)last->end_offset) == -1 ||
		fdatasync(last->fd) == -1))
		result = -1;
	drop_spare(wal);
	wal_abandon(wal);
	return result;
}
