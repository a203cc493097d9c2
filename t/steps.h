/*
 * The steps of a test of the log: it is made in a directory of its own, events
 * that all differ are appended, read back and ended, bytes are flipped. A crash
 * is wal_abandon, which leaves what kill -9 does: all that was written, nothing
 * that was only in memory. Failures end the test that runs.
 */
#ifndef T_STEPS_H
#define T_STEPS_H

#include "t/log_dir.h"
#include "walproc/reader.h"
#include "walproc/wal.h"

/* Where the log is. */
extern struct log_dir steps_dir;

/* No limits that a test reaches, in small segments. */
extern const struct wal_limits steps_limits;

/* Make the directory, and remove it: not in the process of a test, which may
 * not come to its end. */
void steps_init(void);
void steps_fini(void);

/* Empties the directory, for the next test or round. */
void steps_begin(void);

/* Opens the log under these limits. */
void steps_open(struct wal *wal, const struct wal_limits *limits);

/* Writes the event numbered `n`, of any length from 12 to some hundred bytes;
 * returns its length. */
size_t steps_event(uint64_t n, char out[LOG_EVENT_ROOM]);

/* Appends `count` events, unsynced. */
void steps_append(struct wal *wal, uint64_t count);

/*
 * Reads all that is durable and not ended; each event must be the next one and
 * what was put in. Returns the first sequence number, 0 if there is none, and
 * sets *count to how many came.
 */
uint64_t steps_read(struct wal *wal, uint64_t *count);

/* Goes on reading up to the event `last`; each event must be what was put in.
 * Returns how many came, and sets *damaged to how many were given up. */
uint64_t steps_read_to(struct reader *reader, uint64_t last, uint64_t *damaged);

/* Ends the first `count` events as delivered, and saves that. */
void steps_end(struct wal *wal, uint64_t count);

/* Opens the only, or last, segment file for writing. Returns its descriptor,
 * the caller's to close, and writes its name. */
int steps_open_last(const struct wal *wal, char name[SEGMENT_NAME_BYTES]);

/* Flips a bit of the byte at `offset` of a file. */
void steps_flip(int fd, uint64_t offset);

/* Returns how many files are in quarantine. */
size_t steps_quarantined(void);

#endif
