/*
 * The descriptors that a stage is started with: sockets to its neighbours,
 * pipes, its log, its control channel; and the numbers under which it finds
 * them.
 */
#ifndef SUPERVISOR_LINK_H
#define SUPERVISOR_LINK_H

/* The stages of an instance, in the order that events take. */
enum stage_kind {
	STAGE_COMMAND, /* a program of the user's, where there is one */
	STAGE_SOURCE,
	STAGE_WAL,
	STAGE_SINK,
	STAGE_KINDS,
};

/* The descriptors of a stage; it has no other. A command has the first three
 * only; the WAL's first two are /dev/null, since its streams come by name on
 * the control channel. */
enum link_fd {
	LINK_IN_FD = 0,	     /* events from upstream, acks to it */
	LINK_OUT_FD = 1,     /* events to downstream, acks from it */
	LINK_LOG_FD = 2,     /* log lines to the supervisor */
	LINK_CONTROL_FD = 3, /* stage/control.h */
	/*
	 * The supervisor's lock, open and never used. A flock(2) lives until
	 * its last descriptor is closed, so the next supervisor gets the lock
	 * only when the stages of the last one are gone too, however it ended:
	 * it can never meet a walproc that still holds its directory.
	 */
	LINK_LOCK_FD = 4,
};

/* What a stage is given; each is -1 when closed. */
struct link {
	int in_fd;
	int out_fd;
	int log_fd;
	int control_fd;
};

/* Makes one with nothing open. */
void link_init(struct link *link);

/* Closes what is open: the supervisor must not keep it once the stage runs, or
 * no neighbour would ever see that it has ended. */
void link_close(struct link *link);

/* Closes a descriptor, if it is open, and sets it to -1. */
void link_close_fd(int *fd);

/*
 * Each opens what it says, CLOEXEC, and returns 0, or -1 with errno set and
 * nothing changed: a socketpair for the stream from `*up_fd` to `*down_fd`; a
 * pipe; a pipe for a log, whose reading end does not block; a control channel
 * with its hello on the way to the stage; /dev/null.
 */
int link_stream(int *up_fd, int *down_fd);
int link_pipe(int *read_fd, int *write_fd);
int link_log(int *read_fd, int *write_fd);
int link_control(int *our_fd, int *stage_fd);
int link_null(int *fd);

#endif
