/*
 * The commands that ask a running supervisor: status, stop, reload. They send
 * the request, print what the answer says on standard output, for people or as
 * its line of JSON, and say what to exit with.
 */
#ifndef SUPERVISOR_VERBS_H
#define SUPERVISOR_VERBS_H

#include "stage/exitcode.h"
#include "supervisor/journal.h"
#include "supervisor/request.h"

#include <stdbool.h>

struct verbs_options {
	const char *state_dir; /* borrowed, as the other */
	const char *bin_dir;   /* where walproc is */
	bool is_json;
};

/*
 * Does one of them. Returns EXITCODE_DONE: it was answered, or there was
 * nothing to stop; EXITCODE_FINAL: no supervisor runs, we may not ask it, or it
 * refuses; EXITCODE_AGAIN: no answer came, or it could not be written. The
 * reason is in the journal.
 */
enum exitcode verbs_perform(enum request_verb verb,
    const struct verbs_options *options, struct journal *journal);

#endif
