#include "walproc/wal.h"

#include "stage/io.h"
#include "stage/log.h"
#include "walproc/quarantine.h"
#include "walproc/recover.h"
#include "walproc/wal_write.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* What is just too little to be written, and the largest event behind it. */
#define BATCH_MAX_BYTES (WAL_WRITE_BATCH_BYTES + ((size_t)32 << 20))

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
	if (wal->batch_count > 0 && wal_write_batch(wal, segment) == -1)
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
			wal_write_gather(
			    wal, segment, event.seq, event.event, event.bytes);
			if (buf_bytes(&wal->batch) >= WAL_WRITE_BATCH_BYTES)
				more = wal_write_batch(wal, segment) == -1 ? -1
									   : 1;
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
		more = wal_write_batch(wal, segment);
	reader_fini(&reader);
	return more;
}

/* A part that cannot be followed counts as behind it. */
int
wal_find_offset(struct wal *wal, uint64_t seq, uint64_t *found)
{
	struct segment *segment = catalog_find(&wal->catalog, seq);
	const struct segment *last = catalog_last(&wal->catalog);
	uint64_t offset = LAYOUT_DATA_OFFSET;

	*found = last == NULL ? 0 : last->log_offset + last->end_offset;
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
	if (offset > segment->end_offset)
		offset = segment->end_offset;
	*found = segment->log_offset + offset;
	return 0;
}

/* Finds where the first event that is not ended starts, to the batch, and sets
 * wal->ended_offset; the same for each sink. */
static int
find_ended(struct wal *wal)
{
	/* More may be stored than was said before. */
	wal->batch_left = 0;
	if (wal_sinks_find_ended(wal) == -1)
		return -1;
	return wal_find_offset(wal, wal_acked_seq(wal) + 1, &wal->ended_offset);
}

/* Returns the highest number that is ended, at a sink at least. */
static uint64_t
highest_ended(const struct wal *wal)
{
	uint64_t seq = wal_sinks_acked_seq(wal);

	return seq > wal_acked_seq(wal) ? seq : wal_acked_seq(wal);
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

	if (wal->cursor_waits) {
		wal->cursor.slot.durable_seq = wal->durable_seq;
		if (cursor_claim(&wal->cursor) == -1)
			return -1;
		wal->cursor_waits = false;
	}
	if (wal->has_bad && recover_clear(wal->catalog.dir_fd) == -1)
		return -1;
	wal->has_bad = false;
	if (wal->tail_seq == 0)
		return 0;
	if (wal_write_start(wal, &segment, wal->durable_seq + 1,
		(last == NULL ? 0 : last->bytes) + LAYOUT_DATA_OFFSET +
		    WAL_WRITE_OVERHEAD) == -1)
		return -1;
	if (copy_tail(wal, &segment) == -1)
		goto fail;
	if (segment.next_seq <= highest_ended(wal))
		segment.next_seq = highest_ended(wal) + 1;
	if (wal_write_publish(wal, &segment) == -1)
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
	spare_drop(&wal->spare);
	errno = saved;
	return -1;
}

bool
wal_is_settled(const struct wal *wal)
{
	return wal->tail_seq == 0 && !wal->cursor_waits && !wal->has_bad;
}

/* Fills the cursor of a log whose own is lost: all that is there is not yet
 * ended, all before it was. */
static void
guess_cursor(struct wal *wal, const struct recovered *found)
{
	struct layout_cursor *slot = &wal->cursor.slot;

	*slot = (struct layout_cursor){
	    .acked_seq = found->first_seq - 1,
	    .letters_bytes = found->has_log_id ? UINT64_MAX : 0,
	};
	slot->delivered = slot->acked_seq;
}

/* Opens cursor and segments; cursor and log belong together afterwards. */
static enum wal_status
open_files(struct wal *wal, struct recovered *found)
{
	bool lost;
	enum cursor_status cursor =
	    cursor_open(&wal->cursor, wal->catalog.dir_fd, CURSOR_NAME, &lost);
	enum recover_status recover;
	struct layout_cursor known;

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
	if (wal_sinks_find(&wal->sinks, wal->catalog.dir_fd,
		cursor == CURSOR_OK ? wal->cursor.slot.log_id : NULL) == -1) {
		log_error("cursors of the sinks: %m");
		return WAL_ERROR;
	}
	/* What any of them knows to be durable is no torn tail. */
	known = wal->cursor.slot;
	if (known.durable_seq < wal_sinks_durable_seq(wal))
		known.durable_seq = wal_sinks_durable_seq(wal);
	recover = recover_scan(
	    &wal->catalog, cursor == CURSOR_OK ? &known : NULL, NULL, found);
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
	    wal_write_random(found->log_id, LAYOUT_LOG_ID_BYTES) == -1) {
		log_error("log id: %m");
		return WAL_ERROR;
	}
	wal_sinks_keep(&wal->sinks, found->log_id);
	/* Nor are numbers that one of them has ended used again. */
	if (found->next_seq <= wal_sinks_acked_seq(wal))
		found->next_seq = wal_sinks_acked_seq(wal) + 1;
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
	wal->has_bad = found->has_bad;
	if (unlinkat(wal->catalog.dir_fd, SEGMENT_SPARE, 0) == -1 &&
	    errno != ENOENT)
		return -1;
	if (wal_write_drop_ended(wal) == -1 || find_ended(wal) == -1)
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
	worker_fini(&wal->syncer);
	spare_fini(&wal->spare);
	cursor_close(&wal->cursor);
	wal_sinks_fini(&wal->sinks);
	catalog_fini(&wal->catalog);
	recent_fini(&wal->recent);
	buf_fini(&wal->batch);
}

enum wal_status
wal_open(struct wal *wal, int dir_fd, const struct wal_limits *limits)
{
	struct recovered found;
	enum wal_status status;

	*wal = (struct wal){
	    .limits = *limits,
	    .cursor = {.fd = -1},
	    .is_marked = true,
	};
	wal_default_segment(&wal->limits);
	catalog_init(&wal->catalog, dir_fd);
	recent_init(&wal->recent);
	buf_init(&wal->batch, BATCH_MAX_BYTES);
	worker_init(&wal->syncer);
	spare_init(&wal->spare, dir_fd);
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

	if (wal_write_wait(wal) == -1)
		result = -1;
	/* A disk that has failed at zeros has failed. */
	if (spare_end(&wal->spare, true) == -1 && !io_is_full_disk(errno))
		result = -1;
	/* Before the mark, which would hide that. */
	if (result == 0 && wal->is_lazy && wal_sync(wal) == -1)
		result = -1;
	if (result == -1 || wal_save(wal) == -1 || wal_mark(wal) == -1 ||
	    cursor_sync(&wal->cursor) == -1 || wal_sinks_sync(wal) == -1)
		result = -1;
	/* With the mark durable the next start finds all of it proven. */
	if (wal->is_writable && result == 0 &&
	    (ftruncate(last->fd, (off_t)last->end_offset) == -1 ||
		fdatasync(last->fd) == -1))
		result = -1;
	spare_drop(&wal->spare);
	wal_abandon(wal);
	return result;
}
