/*
 * Repairs a log of which parts are damaged, so that it is sound again but for
 * events that are lost, which are put on record as missing. It has the log's
 * lock meanwhile. It deletes nothing: what it replaces it moves to the
 * quarantine. Killed at any moment it leaves a log that is no worse, and the
 * next repair goes on.
 */
#ifndef WALPROC_REPAIR_H
#define WALPROC_REPAIR_H

#include "stage/exitcode.h"

/*
 * Repairs the log in the directory `path`, and prints what it does. Returns
 * EXITCODE_DONE if the log is sound then, EXITCODE_DAMAGE if it is not,
 * EXITCODE_FINAL if a walproc runs on it or no log is there, or EXITCODE_AGAIN;
 * what failed is logged.
 */
enum exitcode repair_log(const char *path);

#endif
