/*
 * The writing of a log's files, for wal.c and wal_open.c, who decide what is
 * written when: batches at the end of a segment, new segments, the cursor, and
 * the end of files that nothing needs any more.
 */
#ifndef WALPROC_WAL_WRITE_H
#define WALPROC_WAL_WRITE_H

#include "walproc/wal.h"

/* Records gathered in memory before they are written, unsynced. */
#define WAL_WRITE_BATCH_BYTES ((size_t)1 << 20)
/* What one event costs at most beside its own bytes: the header and padding
 * of a batch, its record's header, and the commit mark behind it. */
#define WAL_WRITE_OVERHEAD \
	(2 * LAYOUT_BATCH_BYTES + LAYOUT_ALIGN + LAYOUT_RECORD_BYTES)

/* Fills up to 256 bytes by chance. Returns 0, or -1 with errno set. */
int wal_write_random(void *to, size_t bytes);

/* Returns the size of a segment whose zeros somebody waits for: no more than a
 * moment's work. */
uint64_t wal_write_small_bytes(const struct wal *wal);

/*
 * Starts a segment of at least `bytes` with the event `first_seq`, unnamed
 * yet: in the spare, which is cut short if it is being made, or if there is
 * none in a small file. Returns 0, or -1
 * with errno set and nothing left behind.
 */
int wal_write_start(struct wal *wal, struct segment *segment,
    uint64_t first_seq, uint64_t bytes);

/*
 * Publishes a segment that was started; one of that name that is to be kept is
 * in the quarantine before. Returns as segment_publish.
 */
int wal_write_publish(struct wal *wal, const struct segment *segment);

/* Adds one event, numbered `seq`, to what is gathered for `segment`. */
void wal_write_gather(struct wal *wal, const struct segment *segment,
    uint64_t seq, const uint8_t *event, size_t bytes);

/* Writes what is gathered to `segment`, unsynced. 0, or -1 with errno set and
 * all as it was. */
int wal_write_batch(struct wal *wal, struct segment *segment);

/* Takes the `result` of a sync, with errno set where it is -1, that was to make
 * all up to `seq` durable. Returns 0, or -1 with errno set, which is never that
 * of a full disk: a failed sync is not to be tried again. */
int wal_write_end_sync(struct wal *wal, int result, uint64_t seq);

/* Waits for the sync that is on its way, if one is. Returns as that. */
int wal_write_wait(struct wal *wal);

/* Writes the cursor, not synced. Returns 0, or -1 with errno set. */
int wal_write_cursor(struct wal *wal);

/*
 * Takes away the segments all of whose events are ended, but never the last,
 * which carries the numbering on: to the quarantine those that it keeps, for
 * good the others. The cursor is synced first. Returns 0 (also where a full
 * disk leaves some for later), or -1 with errno set.
 */
int wal_write_drop_ended(struct wal *wal);

#endif
