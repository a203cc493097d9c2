/*
 * The reader: gives the events of a log in order, each one checked, and says
 * where some are damaged. It reads ahead in large pieces and never behind the
 * end that the catalog has for a segment. Several may read one log, and share
 * what they read.
 */
#ifndef WALPROC_READER_H
#define WALPROC_READER_H

#include "walproc/catalog.h"
#include "walproc/pieces.h"
#include "walproc/recent.h"

struct reader {
	struct catalog *catalog;     /* borrowed */
	uint64_t next_seq;	     /* the event to be given next */
	uint64_t last_seq;	     /* the last that may be given now */
	uint64_t segment_seq;	     /* first_seq of the segment it stands in */
	uint64_t offset;	     /* of the next record, or batch header */
	uint64_t record_seq;	     /* of the record at offset */
	uint64_t batch_end;	     /* where the next batch header is */
	uint64_t salt;		     /* of the segment it stands in */
	uint64_t log_offset;	     /* of that segment: wal.h */
	uint32_t records_left;	     /* in this batch; 0: a header is next */
	const struct recent *recent; /* borrowed: where to look before the
				      * file; NULL: nowhere, or no more */
	uint64_t recent_taken;	     /* of it, when the window was set */
	bool is_recent;		     /* the window is there, and proven */
	struct pieces *pieces;	     /* borrowed: where to look then; NULL:
				      * it reads for itself alone */
	struct piece *piece;	     /* of them: the window is there; or NULL */
	const uint8_t *window;	     /* bytes read ahead; or there */
	size_t window_bytes;	     /* how many */
	uint64_t window_offset;	     /* in the segment, of the first of them */
	uint8_t *room;		     /* owned: where it is read to */
	size_t room_bytes;	     /* allocated */
	int64_t batch_ns;	     /* when this batch was written */
	bool is_looking;	     /* damage is told, and not copied to the
				      * quarantine */
};

enum reader_status {
	READER_EVENT,  /* one event */
	READER_NONE,   /* none up to the sequence number asked for */
	READER_DAMAGE, /* some events are damaged or missing */
	READER_ERROR,  /* errno is set; nothing has moved */
};

struct reader_event {
	uint64_t seq;	      /* its sequence number */
	uint64_t count;	      /* 1; READER_DAMAGE: as many, from seq on */
	const uint8_t *event; /* READER_EVENT: borrowed until the next call, or
			       * until the log writes a batch */
	size_t bytes;	      /* READER_EVENT: of it */
	int64_t realtime_ns;  /* READER_EVENT: when it was written */
	uint64_t end_offset;  /* where it ends in the log: wal.h */
	/* READER_DAMAGE: the damaged bytes, from == to where there are none */
	const struct segment *segment; /* borrowed; NULL: in no file */
	uint64_t from;		       /* offset in the segment */
	uint64_t to;		       /* behind the last of them */
	bool is_known; /* missing, and in the quarantine already */
};

/* Stands before the event `seq`, not looking only. The memory of `reader` is
 * zero or of an earlier reader_init; then `recent` and `pieces` stay. */
void reader_init(struct reader *reader, struct catalog *catalog, uint64_t seq);

/* Closes the segment that it stands in, unless that is the last one: for one
 * that reads no more while the log stays open. */
void reader_leave(const struct reader *reader);

/* Frees the memory, while `pieces` are still there. */
void reader_fini(struct reader *reader);

/* Moves forward to the event `seq`; back it does not go. */
void reader_skip_to(struct reader *reader, uint64_t seq);

/*
 * Gives the next event, if its sequence number is at most `last_seq`.
 * READER_DAMAGE sets seq and count, copies the damaged bytes (if there are any)
 * to the quarantine unless it is only looking, and stands behind them.
 */
enum reader_status reader_next(
    struct reader *reader, uint64_t last_seq, struct reader_event *out);

#endif
