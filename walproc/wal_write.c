#include "walproc/wal_write.h"

#include "stage/io.h"
#include "stage/loop.h"
#include "walproc/quarantine.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

int
wal_write_random(void *to, size_t bytes)
{
	/* Up to 256 bytes come whole and uninterrupted: getrandom(2). */
	return getrandom(to, bytes, 0) == (ssize_t)bytes ? 0 : -1;
}

uint64_t
wal_write_small_bytes(const struct wal *wal)
{
	return wal->limits.segment_bytes < SPARE_SMALL_BYTES
		   ? wal->limits.segment_bytes
		   : SPARE_SMALL_BYTES;
}

int
wal_write_start(struct wal *wal, struct segment *segment, uint64_t first_seq,
    uint64_t bytes)
{
	struct layout_segment header = {
	    .first_seq = first_seq,
	    .created_ns = loop_realtime_ns(),
	};

	uint64_t small = wal_write_small_bytes(wal);

	if (small < bytes)
		small = bytes;
	memcpy(header.log_id, wal->log_id, LAYOUT_LOG_ID_BYTES);
	if (wal_write_random(&header.salt, sizeof(header.salt)) == -1)
		return -1;
	if (spare_end(&wal->spare, true) == -1 && !io_is_full_disk(errno))
		return -1;
	if (spare_bytes(&wal->spare) > 0 && wal->spare.bytes < bytes)
		spare_drop(&wal->spare);
	if (wal->spare.fd == -1 && spare_make(&wal->spare, small) == -1)
		return -1;
	if (segment_start(segment, wal->spare.fd, wal->spare.bytes, &header) ==
	    -1) {
		spare_drop(&wal->spare);
		return -1;
	}
	wal->spare.fd = -1;
	wal->has_no_room = false;
	return 0;
}

int
wal_write_batch(struct wal *wal, struct segment *segment)
{
	size_t bytes = buf_bytes(&wal->batch);
	uint64_t offset = segment->end_offset;
	struct layout_batch batch = {
	    .body_bytes = (uint32_t)(bytes - LAYOUT_BATCH_BYTES),
	    .count = wal->batch_count,
	    .first_seq = segment->next_seq,
	    .durable_seq = wal->durable_seq,
	    .realtime_ns = loop_realtime_ns(),
	};
	uint8_t *raw;

	/* The padding is never queued: after a failure more may be gathered. */
	raw = buf_reserve(&wal->batch, LAYOUT_ALIGN + SEGMENT_PAGE_BYTES);
	memset(raw, 0, LAYOUT_ALIGN);
	raw = wal->batch.data + wal->batch.start;
	if (segment_write_batch(segment, raw, SEGMENT_PAGE_BYTES, &batch) == -1)
		return -1;
	recent_take(&wal->recent, &wal->batch,
	    (size_t)(segment->end_offset - offset), segment->salt, offset);
	wal->batch_count = 0;
	wal->batch_left = 0;
	return 0;
}

void
wal_write_gather(struct wal *wal, const struct segment *segment, uint64_t seq,
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

int
wal_write_cursor(struct wal *wal)
{
	/* First: one that is behind the log's does not know how what is between
	 * them has ended. */
	if (wal_sinks_save(wal) == -1)
		return -1;
	wal->cursor.slot.durable_seq = wal->durable_seq;
	if (cursor_write(&wal->cursor) == -1)
		return -1;
	wal->cursor_saved = wal_acked_seq(wal);
	return 0;
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

int
wal_write_drop_ended(struct wal *wal)
{
	struct catalog *catalog = &wal->catalog;
	bool is_safe = false;

	while (catalog->count > 1 &&
	       catalog->segments[0].next_seq - 1 <= wal_acked_seq(wal)) {
		/* Else a power cut, or damage to one slot, could leave a cursor
		 * that points at events which are gone. */
		if (!is_safe && cursor_sync_both(&wal->cursor) == -1)
			return io_is_full_disk(errno) ? 0 : -1;
		is_safe = true;
		if (unlink_first(catalog) == -1)
			return io_is_full_disk(errno) ? 0 : -1;
		catalog_drop_first(catalog);
	}
	return 0;
}

int
wal_write_end_sync(struct wal *wal, int result, uint64_t seq)
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
	wal->syncs++;
	return 0;
}

int
wal_write_wait(struct wal *wal)
{
	if (!wal->syncer.is_busy)
		return 0;
	return wal_write_end_sync(
	    wal, worker_take(&wal->syncer, true), wal->syncing_seq);
}

int
wal_write_publish(struct wal *wal, const struct segment *segment)
{
	int dir_fd = wal->catalog.dir_fd;

	if (quarantine_release(dir_fd, segment->first_seq) == -1)
		return -1;
	return segment_publish(segment, dir_fd);
}
