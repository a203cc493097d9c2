/*
 * The poll loop of a process: descriptors, one deadline, signals. Interest is
 * stated anew each turn, so it can never disagree with the state it serves:
 *
 *   loop_begin; loop_watch ...; loop_until ...; loop_wait;
 *   while ((signal = loop_signal(...)) != 0) ...; if (loop_ready(slot)) ...
 */
#ifndef STAGE_LOOP_H
#define STAGE_LOOP_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#define LOOP_NS_PER_MS INT64_C(1000000)
#define LOOP_NS_PER_S INT64_C(1000000000)
/* No deadline. */
#define LOOP_NEVER INT64_MAX

struct loop {
	struct pollfd *fds;  /* owned; [0] is the signalfd */
	size_t count;	     /* entries in use this turn */
	size_t room;	     /* entries allocated */
	int64_t deadline_ns; /* this turn's, CLOCK_MONOTONIC, or LOOP_NEVER */
};

/*
 * Blocks the `count` signals at `signals`, so that they arrive through
 * loop_signal only, and ignores SIGPIPE and SIGXFSZ: the calls that would raise
 * them fail instead. Returns 0, or -1 with errno set.
 */
int loop_open(struct loop *loop, const int *signals, size_t count);

/* Closes what loop_open opened. The signals stay blocked. */
void loop_close(struct loop *loop);

/* Starts a turn: no descriptors, no deadline. */
void loop_begin(struct loop *loop);

/*
 * Asks for `events` (POLLIN, POLLOUT; 0 for errors and hang-up alone) on `fd`.
 * Returns the slot to give to loop_ready. With fd -1 nothing is asked, and the
 * slot is 0.
 */
size_t loop_watch(struct loop *loop, int fd, short events);

/* Lets this turn end at `at_ns` (CLOCK_MONOTONIC) at the latest. */
void loop_until(struct loop *loop, int64_t at_ns);

/*
 * Waits until a descriptor is ready, a signal has arrived, or the deadline has
 * passed. Returns 0, or -1 with errno set.
 */
int loop_wait(struct loop *loop);

/* Returns what poll(2) reported for a slot in this turn; 0 for slot 0, which
 * stands for none. */
short loop_ready(const struct loop *loop, size_t slot);

/* Returns a signal that has arrived, or 0 when there is none left. */
int loop_signal(struct loop *loop);

/* Returns CLOCK_MONOTONIC in ns. */
int64_t loop_now_ns(void);

/* Returns CLOCK_REALTIME in ns. */
int64_t loop_realtime_ns(void);

#endif
