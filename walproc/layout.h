/*
 * What the bytes in a log directory mean: segments, batches, records, cursor
 * slots. Pure bytes: no descriptor. All integers are big-endian. Checksums are
 * XXH3 (64 bits) of libxxhash.
 *
 * A segment file, named by its first sequence number in 20 digits and ".seg":
 *
 *   offset  size  what
 *        0    64  segment header
 *     4096    64  the same again: one bad block does not cost the file
 *     4608     -  batches, each starting at a multiple of 8
 *        -     -  zeros up to the end of the file
 *
 * Segment header:
 *
 *        0     8  magic 89 57 50 53 45 47 0d 0a
 *        8     2  major version, 2; another is refused
 *       10     2  minor version, 0; another is read
 *       12     4  zero
 *       16    16  log id, random, the same in all files of a log
 *       32     8  sequence number of the first event
 *       40     8  salt, random, this file's own
 *       48     8  creation, CLOCK_REALTIME ns
 *       56     8  checksum of 0..55
 *
 * Batch: header, records one after another, zeros to a multiple of 8. What one
 * pwrite wrote. With no records it is a commit mark: it is there for its
 * durable_seq, where no batch follows a sync at once.
 *
 *        0     4  magic 57 50 42 48
 *        4     4  bytes of its records
 *        8     4  number of its records
 *       12     4  flags; 1: the events before its first that are not here
 *                 are known to be missing, and are in the quarantine
 *       16     8  sequence number of its first record (a mark: of the next)
 *       24     8  durable_seq: the highest sequence number whose sync had
 *                 returned when this was built
 *       32     8  CLOCK_REALTIME ns
 *       40     8  checksum of 0..39, seeded with the salt and its offset
 *
 * Record:
 *
 *        0     4  bytes of the event
 *        4     4  low half of the checksum of the event, seeded with the salt
 *                 and its sequence number (XXH3 covers the length too)
 *        8     -  the event, one JSON value
 *
 * Cursor file "cursor": two slots, at 0 and 4096; the valid one with the
 * higher generation counts.
 *
 *        0     8  magic 89 57 50 43 55 52 0d 0a
 *        8     2  major version, 2
 *       10     2  minor version, 0
 *       12     4  zero
 *       16    16  log id
 *       32     8  generation
 *       40     8  acked_seq: all up to here is ended
 *       48     8  of these: delivered
 *       56     8  of these: rejected by the sink, in the dead letters
 *       64     8  of these: dropped by choice, when full or too old
 *       72     8  of these: quarantined as damaged
 *       80     8  events refused at intake, in the dead letters, which never
 *                 had a sequence number
 *       88     8  events dropped by choice at intake, which never had a
 *                 sequence number either
 *       96     8  durable_seq: the highest sequence number whose sync had
 *                 returned when this was written
 *      104     8  bytes of the dead letters that were durable then
 *      112     8  checksum of 0..111
 */
#ifndef WALPROC_LAYOUT_H
#define WALPROC_LAYOUT_H

#include "stage/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_MAJOR 2
#define LAYOUT_MINOR 0

#define LAYOUT_LOG_ID_BYTES 16

#define LAYOUT_SEGMENT_BYTES ((size_t)64)
#define LAYOUT_COPY_OFFSET UINT64_C(4096)
#define LAYOUT_DATA_OFFSET UINT64_C(4608)

#define LAYOUT_BATCH_BYTES ((size_t)48)
#define LAYOUT_ALIGN 8
#define LAYOUT_RECORD_BYTES ((size_t)8)

#define LAYOUT_CURSOR_BYTES ((size_t)120)
#define LAYOUT_CURSOR_OFFSET UINT64_C(4096)

/* The last number that an event can have. No log comes that far, and sums with
 * it do not overflow. A header with a higher one is not sound. */
#define LAYOUT_SEQ_MAX ((uint64_t)INT64_MAX / 2)

enum layout_status {
	LAYOUT_OK,
	LAYOUT_BAD,   /* not what it should be: zeros, torn or damaged */
	LAYOUT_NEWER, /* sound, but of a major version that is not ours */
};

/* The header of a segment. */
struct layout_segment {
	uint8_t log_id[LAYOUT_LOG_ID_BYTES]; /* the log's own, random */
	uint64_t first_seq;		     /* of its first event */
	uint64_t salt;			     /* the file's own, random */
	int64_t created_ns;		     /* CLOCK_REALTIME */
};

/* The header of a batch. */
struct layout_batch {
	uint32_t body_bytes;  /* records, without the padding behind them */
	uint32_t count;	      /* records; 0: a commit mark */
	bool is_gap_known;    /* what is missing before it is in quarantine */
	uint64_t first_seq;   /* of its first event; a mark: of the next */
	uint64_t durable_seq; /* all up to here was durable before it */
	int64_t realtime_ns;  /* CLOCK_REALTIME when it was written */
};

/* A slot of the cursor; the counts of ended events add up to acked_seq. */
struct layout_cursor {
	uint8_t log_id[LAYOUT_LOG_ID_BYTES]; /* of the log it belongs to */
	uint64_t generation;		     /* the higher one counts */
	uint64_t acked_seq;		     /* all up to here is ended */
	uint64_t delivered;		     /* acked by the sink */
	uint64_t rejected;		     /* by the sink: dead letters */
	uint64_t dropped;		     /* by choice: full or too old */
	uint64_t quarantined;		     /* damaged */
	/* Of events that never had a number: */
	uint64_t refused;	 /* at intake: dead letters */
	uint64_t dropped_newest; /* at intake by choice, when full */
	uint64_t durable_seq;	 /* synced when this was written */
	uint64_t letters_bytes;	 /* dead letters that were durable then */
};

/* Rounds a length or offset up to where a batch may start. */
static inline uint64_t
layout_align(uint64_t bytes)
{
	return (bytes + (LAYOUT_ALIGN - 1)) / LAYOUT_ALIGN * LAYOUT_ALIGN;
}

/* Returns the bytes that a batch takes in its segment, padding included. */
uint64_t layout_batch_bytes(const struct layout_batch *batch);

/* Writes a segment header, its checksum included. */
void layout_put_segment(
    uint8_t out[LAYOUT_SEGMENT_BYTES], const struct layout_segment *header);
/* Reads one. Anything but LAYOUT_OK leaves *header as it was. */
enum layout_status layout_get_segment(
    const uint8_t in[LAYOUT_SEGMENT_BYTES], struct layout_segment *header);

/*
 * A batch header for, or from, `offset` in the segment with that salt. Getting
 * gives LAYOUT_OK or LAYOUT_BAD; then *batch is untouched. That the records
 * fit into the file is for the caller to check.
 */
void layout_put_batch(uint8_t out[LAYOUT_BATCH_BYTES],
    const struct layout_batch *batch, uint64_t salt, uint64_t offset);
enum layout_status layout_get_batch(const uint8_t in[LAYOUT_BATCH_BYTES],
    uint64_t salt, uint64_t offset, struct layout_batch *batch);

/*
 * Reads a batch header whose checksum cannot be checked, because the salt is
 * lost: LAYOUT_OK if it looks like one, else *batch is untouched. Only good for
 * an estimate.
 */
enum layout_status layout_guess_batch(
    const uint8_t in[LAYOUT_BATCH_BYTES], struct layout_batch *batch);

/* Writes the header of the record of `event`, `bytes` long, numbered `seq`. */
void layout_put_record(uint8_t out[LAYOUT_RECORD_BYTES], const uint8_t *event,
    uint32_t bytes, uint64_t salt, uint64_t seq);

/* Returns the event's length as the record's header has it, unchecked. */
static inline uint32_t
layout_record_bytes(const uint8_t in[LAYOUT_RECORD_BYTES])
{
	return get_be32(in);
}

/* Says whether `event` is what the record's header was written for. */
bool layout_is_record(const uint8_t in[LAYOUT_RECORD_BYTES],
    const uint8_t *event, uint32_t bytes, uint64_t salt, uint64_t seq);

/* Writes a cursor slot, its checksum included. */
void layout_put_cursor(
    uint8_t out[LAYOUT_CURSOR_BYTES], const struct layout_cursor *slot);
/* Reads one. Anything but LAYOUT_OK leaves *slot as it was. */
enum layout_status layout_get_cursor(
    const uint8_t in[LAYOUT_CURSOR_BYTES], struct layout_cursor *slot);

#endif
