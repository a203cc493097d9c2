/*
 * The events of a log as NDJSON on standard output, in order. It only looks
 * (look.h).
 */
#ifndef WALPROC_EXPORT_H
#define WALPROC_EXPORT_H

#include "stage/exitcode.h"

#include <stdbool.h>
#include <stdint.h>

struct export_options {
	uint64_t from_seq; /* from the first event stored on: 1 */
	uint64_t to_seq;   /* up to the last one: UINT64_MAX */
	bool is_unacked;   /* only those that are not ended */
};

/*
 * Exports from the directory `path`. A raw line end, which can only stand
 * between the tokens of an event, is written as a blank. Returns EXITCODE_DONE,
 * also where who read it has left, EXITCODE_DAMAGE if events that were asked
 * for are damaged, or another; what failed is logged.
 */
enum exitcode export_log(
    const char *path, const struct export_options *options);

#endif
