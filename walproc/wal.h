/*
 * The log: a directory of segments with a cursor. Events go in at the end, are
 * made durable in groups, and leave at the front once they are ended. It knows
 * neither peers nor JSON. One process has a log open at a time; that is for
 * the caller to see to (stage/lock.h).
 *
 * A log offset, which events and segments have, counts the bytes of all segment
 * files one behind the other, since the log was opened, whether they are still
 * there or not: what is stored is the difference of two.
 *
 * Order of work: wal_append any number of times, then a commit; only when that
 * has succeeded may the events be acked to where they came from. Up to
 * wal_ready_seq they may be given to the sink.
 *
 * After a call failed with anything but a full disk (see io_is_full_disk) what
 * the kernel has in its pages cannot be trusted: sync no more, ack nothing, end
 * the process (fsync(2), NOTES). The next wal_open writes what was not proven
 * durable to a new segment before it is acked.
 */
#ifndef WALPROC_WAL_H
#define WALPROC_WAL_H

#include "stage/buf.h"
#include "walproc/catalog.h"
#include "walproc/cursor.h"
#include "walproc/reader.h"
#include "walproc/recent.h"
#include "walproc/spare.h"
#include "walproc/wal_sinks.h"
#include "walproc/worker.h"

#include <stdbool.h>

struct wal_limits {
	uint64_t max_elements;	/* events not ended; UINT64_MAX: no limit */
	uint64_t max_bytes;	/* their bytes on disk; UINT64_MAX: no limit */
	uint64_t segment_bytes; /* size of a segment file under load */
};

struct wal {
	struct wal_limits limits;	     /* as given, segment_bytes set */
	struct catalog catalog;		     /* the segments */
	struct cursor cursor;		     /* what is ended, and how */
	struct wal_sinks sinks;		     /* how far each has come */
	uint8_t log_id[LAYOUT_LOG_ID_BYTES]; /* random, for ever */
	bool is_lazy;	       /* the caller's: what is written, though not yet
				* durable, counts as ready */
	bool is_writable;      /* the last segment is ours to append to */
	uint64_t next_seq;     /* of the next event appended */
	uint64_t durable_seq;  /* all up to here is durable */
	struct worker syncer;  /* makes more so */
	int syncing_fd;	       /* of the segment that it syncs */
	uint64_t syncing_seq;  /* up to here, when it is done */
	uint64_t syncs;	       /* of events, that have succeeded */
	uint64_t tail_seq;     /* last event found at the start that was not
				* proven durable and is not settled yet; 0 if
				* there is none */
	uint64_t ended_offset; /* in the log: where what is not ended starts */
	uint64_t cursor_saved; /* acked_seq in the cursor file; UINT64_MAX:
				* there is more to save than that */
	bool counts_wait;      /* what only the cursor counts is not durable */
	bool cursor_waits;     /* its two slots are not in the file yet */
	bool has_bad;	       /* headless files are not in quarantine yet */
	bool is_marked;	       /* the last sync is on record in the file */
	struct spare spare;    /* for the next segment */
	bool has_no_room;      /* on the disk, for a spare */
	struct recent recent;  /* the batches written last */
	struct buf batch;      /* header and records not yet written */
	uint32_t batch_count;  /* records in it */
	size_t batch_left;     /* bytes of records that surely have room in it,
				* in its segment and under max_bytes */
};

enum wal_status {
	WAL_OPEN,
	WAL_NEWER, /* of a format version that is not ours, which is logged:
		    * what is there is untouched */
	WAL_ERROR, /* errno is set; already logged */
};

/* How an event ended. */
enum wal_end {
	WAL_DELIVERED,
	WAL_REJECTED,
	WAL_DROPPED,
	WAL_QUARANTINED,
};

enum wal_room {
	WAL_ROOM,	/* it fits */
	WAL_FULL,	/* it does not fit now */
	WAL_NEVER_FITS, /* not even into an empty log */
};

/*
 * Sets segment_bytes where it is 0: an eighth of max_bytes, from 64 KiB to
 * 16 MiB.
 */
void wal_default_segment(struct wal_limits *limits);

/*
 * Opens the log in the directory `dir_fd`, borrowed until wal_close, and makes
 * it if there is none. What an earlier process left is scanned (recover.h),
 * what was not proven durable written again; on a full disk that is left to
 * wal_settle. Anything but WAL_OPEN leaves nothing open.
 */
enum wal_status wal_open(
    struct wal *wal, int dir_fd, const struct wal_limits *limits);

/*
 * Waits for the sync that is on its way, saves the cursor durably, cuts unused
 * zeros, and closes. What was appended since is synced first where the log is
 * lazy; else what is only gathered is dropped. Returns 0, or -1 with errno set
 * and the log closed.
 */
int wal_close(struct wal *wal);

/* Closes without writing anything more, though not before a sync that is on
 * its way has returned: for after a failure. */
void wal_abandon(struct wal *wal);

/* Events not ended, and what they take on disk with all that is around them.
 * Gathered ones are counted. */
uint64_t wal_elements(const struct wal *wal);
uint64_t wal_bytes(const struct wal *wal);

/* Says whether an event of `bytes` may be appended under the limits. */
enum wal_room wal_room(const struct wal *wal, size_t bytes);

/* Says whether both measures are below 90 % of their limits. */
bool wal_is_relieved(const struct wal *wal);

/*
 * Writes the cursor, moves files without a header to the quarantine, and writes
 * the tail that the start found and that is not proven durable to a new
 * segment. Where that tail is not sound the log ends, but for what cannot be
 * read, which goes to the quarantine. In this order no crash makes the next
 * start know less. Nothing may be appended before that is done; wal_open does
 * it, but for a full disk. Returns 0 (also if there is nothing to do), or -1
 * with errno set; after a full disk it can be tried again.
 */
int wal_settle(struct wal *wal);

/* Says whether there is nothing left to settle. */
bool wal_is_settled(const struct wal *wal);

/* Gives the room of the spare back to the disk. */
void wal_give_spare(struct wal *wal);

/*
 * Tries whether a disk that was full has room again: settles, and makes a
 * spare. Returns 0, or -1 with errno set.
 */
int wal_probe(struct wal *wal);

/*
 * Gathers one event, which wal_room allowed, and gives it the number
 * wal->next_seq. Returns 0, or -1 with errno set and the event not taken;
 * after an error of a full disk all is as it was, and it can be tried again.
 */
int wal_append(struct wal *wal, const uint8_t *event, size_t bytes);

/*
 * Appends an event if that can be told to be allowed and possible at a glance,
 * as it mostly can where many come. Returns false and takes nothing where the
 * long way has to find out.
 */
bool wal_append_quickly(struct wal *wal, const uint8_t *event, size_t bytes);

/*
 * Writes what is gathered and makes it durable. Returns 0, or -1 with errno
 * set; after an error of a full disk all is as it was, and it can be tried
 * again.
 */
int wal_sync(struct wal *wal);

/*
 * Makes all that was appended and counted safe, so that it may be acked to
 * where it came from: durable, or where the log is lazy only written (the
 * counts by the wal_save that follows). Returns as wal_sync.
 */
int wal_commit(struct wal *wal);

/*
 * The same without waiting for the sync, while none is on its way.
 * wal_commit_begin returns 1 if all is safe already; 0 if the sync is on its
 * way: until wal_commit_end has returned 1 none of it may be acked, but more
 * may be appended, which the next commit makes safe; or -1 as wal_commit.
 * wal_commit_end returns 1 if it has succeeded, or none was on its way, 0 if it
 * is not over, or -1 with errno set. Any other call that needs a sync waits for
 * this one.
 */
int wal_commit_begin(struct wal *wal);
int wal_commit_end(struct wal *wal);

/* Returns the descriptor that is readable when wal_commit_end is due; -1 where
 * no sync is on its way. */
int wal_poll_fd(const struct wal *wal);

/* Returns up to where events may be given to the sink: all that is durable, or
 * written where the log is lazy. */
uint64_t wal_ready_seq(const struct wal *wal);

/*
 * Puts on record that the last sync returned, so that damage to what it made
 * durable is known from a torn tail, in the segment and in the cursor. Worth
 * its bytes only when no batch follows at once. A full disk is no error here.
 * Returns 0, or -1 with errno set.
 */
int wal_mark(struct wal *wal);

/*
 * Makes a small spare for the next segment, if it is needed soon, there is none
 * and the limits leave room. Work for a quiet moment. A full disk is no error
 * here. Returns 0, or -1 with errno set.
 */
int wal_prepare(struct wal *wal);

/*
 * The same where no moment is quiet: once five eighths of the last segment are
 * used it begins to make one of segment_bytes meanwhile, unless these are few,
 * and takes it when it is made. Cheap if nothing is to be done.
 */
int wal_prepare_ahead(struct wal *wal);

/*
 * Ends `count` events that follow the last ended one; all of them are ready.
 * `end_offset` is where the last of them ends in the log (struct reader_event).
 * Where there are several sinks, all of them end what they have not.
 */
void wal_end(
    struct wal *wal, uint64_t count, uint64_t end_offset, enum wal_end how);

/* The same for the sink at that place (wal_sinks_place) alone, of the events
 * that follow the last that it has ended. */
void wal_end_at(struct wal *wal, size_t place, uint64_t count,
    uint64_t end_offset, enum wal_end how);

/* Count one event that was refused at intake into the dead letters, or dropped
 * there by choice; it never had a number. */
void wal_count_refused(struct wal *wal);
void wal_count_dropped(struct wal *wal);

/*
 * Notes how many bytes of the dead letters are durable, for the next commit to
 * save with the counts; returns what was noted last, at most UINT64_MAX, which
 * says that it is not known.
 */
void wal_note_letters(struct wal *wal, uint64_t bytes);
uint64_t wal_letters_bytes(const struct wal *wal);

/*
 * Saves what wal_end and the counts said, not durably, and unlinks segments
 * that nothing needs any more. A full disk is no error here: the next call
 * tries again. Returns 0, or -1 with errno set.
 */
int wal_save(struct wal *wal);

/* Returns the highest sequence number ended. */
uint64_t wal_acked_seq(const struct wal *wal);

/* Finds where the event `seq` starts in the log, to the batch; or, where it is
 * not written yet, where it will. Returns 0, or -1 with errno set. */
int wal_find_offset(struct wal *wal, uint64_t seq, uint64_t *offset);

#endif
