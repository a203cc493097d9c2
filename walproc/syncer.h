/*
 * The syncer: fdatasync(2) in a thread of its own, one file at a time, so that
 * the next events can be taken in meanwhile. The thread touches nothing but the
 * descriptor that it is given. It is made when it is first needed.
 */
#ifndef WALPROC_SYNCER_H
#define WALPROC_SYNCER_H

#include <pthread.h>
#include <stdbool.h>

struct syncer {
	pthread_t thread; /* the one that syncs */
	bool has_thread;  /* it was made */
	bool is_busy;	  /* begun, and its end not taken */
	int begin_fd;	  /* owned: eventfd, tells the thread to begin or end */
	int done_fd;	  /* owned: eventfd, readable when it is done */
	int file_fd;	  /* borrowed: to be synced; -1: the thread is to end */
	int error;	  /* of the last sync: 0 or an errno */
};

/* Makes an idle one, without a thread. */
void syncer_init(struct syncer *syncer);

/* Waits for a sync on its way, ends the thread, closes the descriptors. */
void syncer_fini(struct syncer *syncer);

/*
 * Begins to sync `file_fd`, borrowed until the end is taken; none is on its
 * way. Returns 0, or -1 with errno set and nothing begun.
 */
int syncer_begin(struct syncer *syncer, int file_fd);

/* Returns the descriptor to be polled for reading; -1 if none is on its way. */
int syncer_poll_fd(const struct syncer *syncer);

/*
 * Takes the end of the sync that is on its way: 1 if it has succeeded, 0 if it
 * is not over (never so where `wait` is set: then it blocks), or -1 with errno
 * set to what it failed with.
 */
int syncer_take(struct syncer *syncer, bool wait);

#endif
