/*
 * A worker: does what the log must not wait for, one job at a time, in a thread
 * of its own, which is made when it is first needed. The thread touches nothing
 * but the job that it is given, which nobody else touches meanwhile.
 */
#ifndef WALPROC_WORKER_H
#define WALPROC_WORKER_H

#include <pthread.h>
#include <stdbool.h>

struct worker {
	pthread_t thread; /* the one that works */
	bool has_thread;  /* it was made */
	bool is_busy;	  /* begun, and its end not taken */
	int begin_fd;	  /* owned: eventfd, tells the thread to begin or end */
	int done_fd;	  /* owned: eventfd, readable when it is done */
	int (*work)(void *job); /* to be done; NULL: the thread is to end */
	void *job;		/* borrowed */
	int error;		/* of the last job: 0 or an errno */
};

/* Makes an idle one, without a thread. */
void worker_init(struct worker *worker);

/* Waits for a job on its way, ends the thread, closes the descriptors. */
void worker_fini(struct worker *worker);

/*
 * Begins to do `work` on `job`, borrowed until the end is taken; none is on its
 * way. The work returns 0, or -1 with errno set. Returns 0, or -1 with errno
 * set and nothing begun.
 */
int worker_begin(struct worker *worker, int (*work)(void *job), void *job);

/* Returns the descriptor to be polled for reading; -1 if none is on its way. */
int worker_poll_fd(const struct worker *worker);

/*
 * Takes the end of the job that is on its way: 1 if it has succeeded, 0 if it
 * is not over (never so where `wait` is set: then it blocks), or -1 with errno
 * set to what it failed with.
 */
int worker_take(struct worker *worker, bool wait);

#endif
