/*
 * Reports to the supervisor: how the log, its source and its sink stand. A
 * report is made when it is asked for; in between only what comes and goes is
 * counted.
 */
#ifndef WALPROC_REPORT_H
#define WALPROC_REPORT_H

#include "stage/meter.h"
#include "walproc/reader.h"

#include <stdint.h>

struct walproc;

/* All zero before its first use. */
struct report {
	struct reader reader; /* stands behind the event oldest_seq */
	uint64_t oldest_seq;  /* the oldest not ended, when it was looked for */
	int64_t oldest_ns;    /* CLOCK_REALTIME when it was written */
	struct meter in;      /* events taken in */
	struct meter out;     /* events delivered */
	uint64_t taken;	      /* counted in `in` so far */
	uint64_t delivered;   /* counted in `out` so far, by the log's count */
};

/* Starts to count. */
void report_init(struct walproc *walproc);

/* Frees the memory. */
void report_fini(struct report *report);

/* Counts what came and went in this turn. */
void report_count(struct walproc *walproc);

/* Sends a report, if there is a supervisor. */
void report_send(struct walproc *walproc);

#endif
