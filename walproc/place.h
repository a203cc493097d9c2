/*
 * The place of a log: its directory, the lock on it, and the FIFO that brings
 * the sink's acks where there is no socket to bring them.
 */
#ifndef WALPROC_PLACE_H
#define WALPROC_PLACE_H

#include "stage/exitcode.h"

/* The file in it that the lock is on. */
#define PLACE_LOCK_NAME "LOCK"

struct place {
	int dir_fd;  /* owned */
	int lock_fd; /* owned */
};

/*
 * Opens the directory `path`, made (0700, durably) where it is not there but
 * its parent is, and locks it. Returns EXITCODE_DONE, or what to exit with:
 * EXITCODE_FINAL where it cannot be used, `when_held` where another process has
 * it. Logged.
 */
enum exitcode place_open(
    struct place *place, const char *path, enum exitcode when_held);

/* Closes both, which lifts the lock. */
void place_close(struct place *place);

/* Returns what to exit with when a file could not be opened or made, by errno:
 * EXITCODE_AGAIN where another try may succeed, else EXITCODE_FINAL. */
enum exitcode place_exitcode(int error);

/*
 * Makes a FIFO anew at `path` and opens it for reading; call it with the place
 * open. An older FIFO there is unlinked first: a sink of an earlier run may
 * still be writing acks into it, which count other events. Returns its
 * descriptor, the caller's to close, or -1 with errno set; logged.
 */
int place_make_fifo(const struct place *place, const char *path);

/*
 * Moves what bears the name of one of the log's own files and is no regular
 * file to the quarantine. Returns EXITCODE_DONE, or what to exit with; logged.
 */
enum exitcode place_clear(const struct place *place);

#endif
