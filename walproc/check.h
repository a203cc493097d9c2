/*
 * The check of a whole log: reads every event, every batch header and both
 * copies of each segment's header, and tells of all that is not as it should
 * be. It only looks (look.h), so it may be done while a walproc runs.
 *
 * Not looked at, since nothing is stored there: what lies between the copies
 * of a segment's header, and behind the last batch that counts.
 */
#ifndef WALPROC_CHECK_H
#define WALPROC_CHECK_H

#include "walproc/look.h"

enum check_kind {
	CHECK_DAMAGED,	  /* events whose bytes are not sound */
	CHECK_UNREADABLE, /* events whose bytes cannot be read */
	CHECK_MISSING,	  /* events that no file has */
	CHECK_BYTES,	  /* damaged bytes that cost no event */
	CHECK_HEADER,	  /* one copy of a segment's header, at `from` */
	CHECK_FILE,	  /* a file that is not where or what it should be */
	CHECK_CURSOR,	  /* the cursor is lost, or of another log */
	CHECK_COUNTS,	  /* the cursor's counts do not add up */
	/* No damage: */
	CHECK_KNOWN,	/* events missing, and known to be: repaired */
	CHECK_SLOT,	/* one slot of the cursor, as a crash may leave it */
	CHECK_UNPROVEN, /* events at the end, not on record as durable */
	CHECK_TORN,	/* bytes behind the end, as a crash may leave them */
	CHECK_KINDS,
};

struct check_finding {
	enum check_kind kind;
	uint64_t segment_seq; /* name of the file it is in; 0: none */
	uint64_t from, to;    /* bytes of it; equal where there are none */
	uint64_t seq, count;  /* events; count 0 where there are none */
	uint64_t ended;	      /* so many of these are ended already */
	const char *what;     /* of a file or the cursor: in words */
};

struct check {
	/* Hears of each finding. */
	void (*tell)(void *context, const struct check_finding *finding);
	/* Hears how far the check is; NULL: nobody does. */
	void (*progress)(void *context, uint64_t done_bytes, uint64_t bytes);
	void *context; /* borrowed; of both */
};

struct check_result {
	uint64_t segments; /* that have a sound header */
	uint64_t sound;	   /* events */
	uint64_t lost;	   /* events damaged, unreadable or missing */
	uint64_t counts[CHECK_KINDS]; /* findings of each kind */
	bool is_damaged;	      /* one of them is damage */
};

/* Says whether a finding of that kind is damage. */
bool check_is_damage(enum check_kind kind);

/*
 * Checks the log that was looked at; it is looked at again as need be. Returns
 * 0 with *result set, or -1 where the disk failed; logged.
 */
int check_log(
    struct look *look, const struct check *check, struct check_result *result);

#endif
