/*
 * What is in a log, told on standard output: for people, or as one JSON object
 * on one line for programs. It only looks (look.h).
 */
#ifndef WALPROC_INSPECT_H
#define WALPROC_INSPECT_H

#include "stage/exitcode.h"

#include <stdbool.h>

struct inspect_options {
	bool is_json;
	bool with_segments; /* a line for each; JSON always has them */
};

/* Tells of the log in the directory `path`. Returns what to exit with; what
 * failed is logged. */
enum exitcode inspect_log(
    const char *path, const struct inspect_options *options);

#endif
