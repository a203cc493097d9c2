/*
 * What the bytes in a log directory mean: segments, batches, records, cursor
 * slots. Pure bytes: no descriptor. All integers are big-endian. Checksums are
 * XXH3 (64 bits) of libxxhash.
 *
 * A segment file, named by its first sequence number in 20 digits and ".seg":
 *
 *   offset  size  what
 *        0    64  segment header
 *      512    64  the same again: one bad sector does not cost the file
 *     1024     -  batches, each starting at a multiple of 8
 *        -     -  zeros up to the end of the file
 *
 * Segment header:
 *
 *        0     8  magic 89 57 50 53 45 47 0d 0a
 *        8     2  major version, 1; another is refused
 *       10     2  minor version, 0; another is read
 *       12     4  zero
 *       16    16  log id, random, the same in all files of a log
 *       32     8  sequence number of the first event
 *       40     8  salt, random, this file's own
 *       48     8  creation, CLOCK_REALTIME ns
 *       56     8  checksum of 0..55
 *
 * Batch: header, records one after another, zeros to a multiple of 8. What one
 * pwrite wrote. With no records it is a commit mark: it says in durable_seq
 * that all before it was proven durable.
 *
 *        0     4  magic 57 50 42 48
 *        4     4  bytes of its records
 *        8     4  number of its records
 *       12     4  zero
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
 *        8     2  major version, 1
 *       10     2  minor version, 0
 *       12     4  zero
 *       16    16  log id
 *       32     8  generation
 *       40     8  acked_seq: all up to here is ended
 *       48     8  of these: delivered
 *       56     8  of these: rejected by the sink, in the dead letters
 *       64     8  of these: dropped by choice when full
 *       72     8  of these: quarantined as damaged
 *       80     8  events refused at intake, in the dead letters, which never
 *                 had a sequence number
 *       88     8  checksum of 0..87
 */
#ifndef WALPROC_LAYOUT_H
#define WALPROC_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_MAJOR 1
#define LAYOUT_MINOR 0

#define LOG_ID_BYTES 16

#define SEGMENT_HEADER_BYTES ((size_t)64)
#define SEGMENT_COPY_OFFSET UINT64_C(512)
#define SEGMENT_DATA_OFFSET UINT64_C(1024)

#define BATCH_HEADER_BYTES ((size_t)48)
#define BATCH_ALIGN 8
#define RECORD_HEADER_BYTES ((size_t)8)

#define CURSOR_SLOT_BYTES ((size_t)96)
#define CURSOR_SLOT_OFFSET UINT64_C(4096)

enum layout_status {
	LAYOUT_OK,
	LAYOUT_BAD,   /* not what it should be: zeros, torn or damaged */
	LAYOUT_NEWER, /* sound, but of a major version that is not ours */
};

struct segment_header {
	uint8_t log_id[LOG_ID_BYTES];
	uint64_t first_seq;
	uint64_t salt;
	int64_t created_ns;
};

struct batch_header {
	uint32_t body_bytes; /* records, without the padding behind them */
	uint32_t count;	     /* 0: a commit mark */
	uint64_t first_seq;
	uint64_t durable_seq;
	int64_t realtime_ns;
};

struct cursor_slot {
	uint8_t log_id[LOG_ID_BYTES];
	uint64_t generation;
	uint64_t acked_seq;
	uint64_t delivered;
	uint64_t rejected;
	uint64_t dropped;
	uint64_t quarantined;
	uint64_t refused;
};

/* Rounds a length or offset up to where a batch may start. */
uint64_t layout_align(uint64_t bytes);

/* Returns the bytes that a batch takes in its segment, padding included. */
uint64_t layout_batch_bytes(const struct batch_header *batch);

void layout_put_segment(
    uint8_t out[SEGMENT_HEADER_BYTES], const struct segment_header *header);
enum layout_status layout_get_segment(
    const uint8_t in[SEGMENT_HEADER_BYTES], struct segment_header *header);

/*
 * A batch header for, or from, `offset` in the segment with that salt. Getting
 * gives LAYOUT_OK or LAYOUT_BAD; then *batch is untouched. That the records
 * fit into the file is for the caller to check.
 */
void layout_put_batch(uint8_t out[BATCH_HEADER_BYTES],
    const struct batch_header *batch, uint64_t salt, uint64_t offset);
enum layout_status layout_get_batch(const uint8_t in[BATCH_HEADER_BYTES],
    uint64_t salt, uint64_t offset, struct batch_header *batch);

/*
 * Reads a batch header whose checksum cannot be checked, because the salt is
 * lost: LAYOUT_OK if it looks like one. Only good for an estimate.
 */
enum layout_status layout_guess_batch(
    const uint8_t in[BATCH_HEADER_BYTES], struct batch_header *batch);

/* Writes the header of the record of `event`, `bytes` long, numbered `seq`. */
void layout_put_record(uint8_t out[RECORD_HEADER_BYTES], const uint8_t *event,
    uint32_t bytes, uint64_t salt, uint64_t seq);

/* Returns the event's length as the record's header has it, unchecked. */
uint32_t layout_record_bytes(const uint8_t in[RECORD_HEADER_BYTES]);

/* Says whether `event` is what the record's header was written for. */
bool layout_is_record(const uint8_t in[RECORD_HEADER_BYTES],
    const uint8_t *event, uint32_t bytes, uint64_t salt, uint64_t seq);

void layout_put_cursor(
    uint8_t out[CURSOR_SLOT_BYTES], const struct cursor_slot *slot);
enum layout_status layout_get_cursor(
    const uint8_t in[CURSOR_SLOT_BYTES], struct cursor_slot *slot);

#endif
