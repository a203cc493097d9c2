/*
 * A look at a log from outside: what its directory holds, found by reading
 * only. Nothing is created, changed, locked or synced, so it may be done while
 * a walproc runs on the log, and on a file system that is mounted read-only.
 *
 * What a running walproc does meanwhile can make a look disagree with itself:
 * files are listed while others come and go. look_has_changed tells whether
 * that can be, and look_again takes a new look; what two looks say is true.
 */
#ifndef WALPROC_LOOK_H
#define WALPROC_LOOK_H

#include "stage/exitcode.h"
#include "walproc/cursor.h"
#include "walproc/recover.h"
#include "walproc/wal_sinks.h"

#include <sys/types.h>
#include <time.h>

/* A file that is not where or what it should be, as recover.h tells of it. */
struct look_fault {
	uint64_t name_seq; /* what its name says */
	char *what;	   /* owned */
};

/* How the cursor was found. */
enum look_cursor {
	LOOK_CURSOR_SOUND,
	LOOK_CURSOR_NEW,     /* none is there, nor is an event */
	LOOK_CURSOR_LOST,    /* none is there, or no slot of it is sound */
	LOOK_CURSOR_FOREIGN, /* of another log */
};

struct look {
	struct catalog catalog; /* its dir_fd is owned */
	struct recovered found; /* what the scan says of them */
	/* What the cursor says; where it is lost or foreign, what a start
	 * makes of that: all that is stored is not ended, all before it is. */
	struct layout_cursor slot;
	enum look_cursor cursor;   /* what was found of it */
	enum cursor_slot slots[2]; /* and of each slot */
	struct wal_sinks sinks;	   /* of each, where there are several */
	struct look_fault *faults; /* owned */
	size_t fault_count;	   /* of them */
	uint64_t start_seq;	   /* the first event that should be there */
	bool is_running;	   /* another process has the lock */
	pid_t holder;		   /* its pid, 0 if not known */
	/* When directory and lock file last changed before the look. */
	struct timespec dir_time, lock_time;
};

enum look_status {
	LOOK_OK,
	LOOK_NONE,  /* no log is there; logged */
	LOOK_NEWER, /* of a format version that is not ours; logged */
	LOOK_ERROR, /* errno is set; logged */
};

/* Looks at the log in the directory `path`. Anything but LOOK_OK leaves
 * nothing open. */
enum look_status look_open(struct look *look, const char *path);

/* Takes a new look at the same directory, which replaces the old one: all that
 * pointed into its catalog is void. After anything but LOOK_OK only look_close
 * may follow. */
enum look_status look_again(struct look *look);

/* Closes the directory and frees the memory. */
void look_close(struct look *look);

/* Returns what a tool exits with that got this status. */
enum exitcode look_exitcode(enum look_status status);

/* Says whether a process may have changed the log since the look began. */
bool look_has_changed(const struct look *look);

/* Returns the number of the last event stored; 0 if there never was one. */
uint64_t look_last_seq(const struct look *look);

/* Returns how many events are stored and not ended. */
uint64_t look_elements(const struct look *look);

/* The two copies of a segment's header. */
struct look_header {
	struct layout_segment header; /* where one of them is sound */
	bool is_sound[2];
	uint64_t bytes; /* size of the file */
};

/*
 * Reads the headers of the segment of that name. A copy that differs from the
 * first sound one is not sound. Returns 0, or -1 with errno set.
 */
int look_header(
    const struct look *look, uint64_t name_seq, struct look_header *out);

#endif
