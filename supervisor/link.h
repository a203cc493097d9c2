/*
 * The descriptors between the stages of one chain: socketpairs for events and
 * their reverse channel, pipes for the logs, /dev/null for the two ends that
 * lead nowhere; and the numbers under which a stage finds them.
 */
#ifndef SUPERVISOR_LINK_H
#define SUPERVISOR_LINK_H

#include <stdbool.h>

/* The stages of a chain, in the order that events take. */
enum stage_kind {
	STAGE_SOURCE,
	STAGE_WAL,
	STAGE_SINK,
	STAGE_KINDS,
};

/* The descriptors of a stage; it has no other. */
enum link_fd {
	LINK_IN_FD = 0,	 /* events from upstream, acks to it */
	LINK_OUT_FD = 1, /* events to downstream, acks from it */
	LINK_LOG_FD = 2, /* log lines to the supervisor */
	/*
	 * The supervisor's lock, open and never used. A flock(2) lives until
	 * its last descriptor is closed, so the next supervisor gets the lock
	 * only when the stages of the last one are gone too, however it ended:
	 * it can never meet a walproc that still holds its directory. (3 is
	 * left free for a control channel.)
	 */
	LINK_LOCK_FD = 4,
};

/* What one start of a chain hands out; all are -1 when closed. */
struct link_stage {
	int in_fd;
	int out_fd;
	int log_fd;    /* the stage's end of its log pipe */
	int reader_fd; /* the supervisor's end; it does not block */
};

struct link {
	struct link_stage stage[STAGE_KINDS];
};

/*
 * Opens all of them. Without a source (`has_source` false) the WAL finds the
 * end of its input at once, on a socket all the same, and the source's
 * descriptors are -1. Returns 0, or -1 with errno set and nothing open.
 */
int link_open(struct link *link, bool has_source);

/*
 * Closes what belongs to the stages: the supervisor must not keep it once they
 * run, or no stage would ever see the end of its input. The readers of the
 * logs stay open and belong to the caller.
 */
void link_close_given(struct link *link);

/* Closes everything. */
void link_close(struct link *link);

#endif
