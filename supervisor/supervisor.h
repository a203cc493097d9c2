/*
 * The policy of the whole: takes the lock, runs all instances, stops them in
 * order, and says how it ended. What one instance does is chain.h.
 *
 *	RUNNING -> STOPPING -> KILLING -> DONE
 *
 * It stops when it is told to, when every instance has come to its end, or when
 * a stage has failed for good. A second signal turns stopping into killing.
 */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include "stage/exitcode.h"
#include "supervisor/journal.h"
#include "supervisor/plan.h"

/* All borrowed. */
struct supervisor_options {
	const struct plan_source *source; /* read again to reload */
	const struct plan *plan;	  /* what was read from it */
	const struct faults *notes;	  /* what is odd about that */
	const char *log_file;		  /* NULL: stderr */
};

/*
 * Runs the plan until it has ended. What is odd about it is told when the state
 * directory is ours: a second supervisor says nothing.
 *
 * Returns EXITCODE_DONE: every instance came to its end, or all were stopped in
 * order, or another supervisor runs with this state directory; EXITCODE_FINAL:
 * a stage failed for good, or the log file cannot be opened; EXITCODE_AGAIN: it
 * was killed by a second signal, the state directory cannot be used for now, or
 * the system failed. The reason is in the journal.
 */
enum exitcode supervisor_run(
    const struct supervisor_options *options, struct journal *journal);

#endif
