/*
 * What a log holds that nothing runs on: asked of `walproc inspect`, which
 * knows, and only looks. It waits, so that it is not for the supervisor itself.
 */
#ifndef SUPERVISOR_BACKLOG_H
#define SUPERVISOR_BACKLOG_H

#include <stdint.h>

struct backlog {
	uint64_t stored; /* events that are not ended */
	uint64_t bytes;	 /* of their records */
};

/*
 * Looks at the log in `directory` with the walproc in `bin_dir`, until
 * `deadline_ns` (CLOCK_MONOTONIC) at the latest. Returns 0, or -1 with
 * *backlog as it was; walproc has said why on stderr, unless the time was over
 * or it could not be run.
 */
int backlog_look(const char *bin_dir, const char *directory,
    int64_t deadline_ns, struct backlog *backlog);

#endif
