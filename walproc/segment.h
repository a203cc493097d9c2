/*
 * One segment file: made, opened, written at its end, read. What its bytes
 * mean is in layout.h. It knows neither limits nor other segments.
 */
#ifndef WALPROC_SEGMENT_H
#define WALPROC_SEGMENT_H

#include "walproc/layout.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct segment {
	int fd;		     /* owned; -1 while closed */
	uint64_t salt;	     /* of its checksums */
	uint64_t first_seq;  /* of its first event; its name */
	uint64_t next_seq;   /* one behind the last event that counts */
	uint64_t end_offset; /* in the file, behind the last batch */
	uint64_t bytes;	     /* size of the file */
	uint64_t log_offset; /* of the file's first byte in the log: wal.h */
};

enum segment_status {
	SEGMENT_OK,
	SEGMENT_BAD,   /* neither copy of its header is sound, or readable;
			* or it is no regular file */
	SEGMENT_NEWER, /* a major version that is not ours */
	SEGMENT_ERROR, /* errno is set */
};

/* Room for a segment's file name, NUL included. */
#define SEGMENT_NAME_BYTES 32

/* Writes the name of the segment that starts with `first_seq`. */
void segment_name(char name[SEGMENT_NAME_BYTES], uint64_t first_seq);

/* Says whether `name` is a segment's, and with which first sequence number. */
bool segment_is_name(const char *name, uint64_t *first_seq);

/* A file of zeros that is to be made. */
struct segment_zeros {
	uint64_t bytes; /* how many */
	bool is_direct; /* past the page cache, where the file system can do
			 * that: it costs less, but a batch that does not fill
			 * a page then has to read it */
	const atomic_bool *is_cut; /* borrowed: true: `least` are enough; NULL:
				    * they are not */
	uint64_t least;
};

/*
 * Makes a file of zeros named SEGMENT_SPARE in the directory, durably but for
 * its name, and returns its descriptor, which the caller closes, with *written
 * set to its size; or -1 with errno set and no file left behind. Zeros are
 * written, not only reserved, so that a sync of what later overwrites them
 * costs one flush.
 */
#define SEGMENT_SPARE "spare.tmp"
int segment_make_spare(
    int dir_fd, const struct segment_zeros *wanted, uint64_t *written);

/*
 * Writes the header into the spare, open as `spare_fd` and `bytes` long: from
 * now on it is the segment that *segment describes and takes batches, but it
 * has no name of its own yet and is gone after a crash. Returns 0 (*segment
 * owns spare_fd), or -1 with errno set (it is the caller's still).
 */
int segment_start(struct segment *segment, int spare_fd, uint64_t bytes,
    const struct layout_segment *header);

/*
 * Syncs the file and gives it its name, durably; a file of that name is
 * replaced in one step. Returns 0, or -1 with errno set: then the name may or
 * may not be there, and what is in the file counts for nothing yet.
 */
int segment_publish(const struct segment *segment, int dir_fd);

/*
 * Writes one batch at the end: `raw` is LAYOUT_BATCH_BYTES to be filled in
 * here, then batch->body_bytes of records, then zeros up to the alignment.
 * Behind these may be `room` bytes of memory more: a batch that is large then
 * has the zeros up to the end of its last page written again, so that this page
 * needs not be read from the disk first. Not synced. Returns 0, or -1 with
 * errno set; the end is then as it was, what the file holds behind it unknown.
 */
#define SEGMENT_PAGE_BYTES ((size_t)4096)
int segment_write_batch(struct segment *segment, uint8_t *raw, size_t room,
    const struct layout_batch *batch);

/*
 * Opens the segment file whose name says `first_seq` and reads its header.
 * SEGMENT_OK sets *segment, with next_seq and end as of an empty one, and
 * *header, which may be that of another segment: that is for the caller to
 * check. Anything else leaves nothing open.
 */
enum segment_status segment_open(struct segment *segment, int dir_fd,
    uint64_t first_seq, struct layout_segment *header);

/* Opens the file again if it is closed; where it cannot be written, for reading
 * only. Returns 0, or -1 with errno set. */
int segment_reopen(struct segment *segment, int dir_fd);

/* Closes the file; the struct still describes it. */
void segment_close(struct segment *segment);

/*
 * Reads up to `bytes` at `offset`, short only at the end of the file. A sector
 * that cannot be read (io_is_unreadable) reads as zeros, which are no batch
 * and no record. Returns the count, or -1 with errno set.
 */
ssize_t segment_read(
    const struct segment *segment, void *data, size_t bytes, uint64_t offset);

/* Says whether all of from..to-1 can be read: 1, 0, or -1 with errno set. */
int segment_is_readable(
    const struct segment *segment, uint64_t from, uint64_t to);

/*
 * Reads the batch header at `offset`. LAYOUT_OK: sound, though where the file
 * was cut its records may not all be there. LAYOUT_BAD: none is there. Returns
 * 0 with *status set, or -1 with errno set.
 */
int segment_read_batch(const struct segment *segment, uint64_t offset,
    struct layout_batch *batch, enum layout_status *status);

/*
 * Searches for the first sound batch header at `offset` or behind it whose
 * first sequence number is at least `min_seq`. Returns 1 with *at and *batch
 * set, 0 if there is none, or -1 with errno set.
 */
int segment_find_batch(const struct segment *segment, uint64_t offset,
    uint64_t min_seq, uint64_t *at, struct layout_batch *batch);

/*
 * Estimates, for a segment whose headers are lost, the number behind its last
 * event: at least `first_seq`. What cannot be read is not counted.
 */
uint64_t segment_guess_next(int dir_fd, uint64_t first_seq);

/*
 * Sets *end to where the zeros at the end of the file begin, which is not
 * before segment->end_offset, and *is_readable to true. Where anything behind
 * that offset cannot be read, it sets *end to the end of the file and
 * *is_readable to false. Returns 0, or -1 with errno set.
 */
int segment_find_zeros(
    const struct segment *segment, uint64_t *end, bool *is_readable);

/* Cuts the file at `end`, if it is longer. 0, or -1 with errno set. */
int segment_cut(struct segment *segment, uint64_t end);

#endif
