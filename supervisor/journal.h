/*
 * The supervisor's log: its own lines and those of its stages, as text or as
 * JSON, on stderr or in a file. One line, one write(2).
 *
 * It never waits and never fails: where nobody takes a line (a full pipe, a
 * stopped terminal, a full disk) it is dropped and counted, and the count is
 * told before the next line that can be written. A log must not hold up the
 * flow. Nor may one stage fill it: see flood.h.
 */
#ifndef SUPERVISOR_JOURNAL_H
#define SUPERVISOR_JOURNAL_H

#include "stage/log.h"
#include "supervisor/faults.h"
#include "supervisor/flood.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum journal_format {
	JOURNAL_TEXT,
	JOURNAL_JSON,
};

struct journal {
	int fd;		  /* stderr_fd, or the file, which is owned */
	int stderr_fd;	  /* 2, or the terminal there, opened anew */
	const char *path; /* borrowed; NULL: stderr */
	enum journal_format format;
	enum log_level level; /* lines above it are not shown */
	unsigned long lost;   /* lines dropped that were not told of yet */
	int lost_errno;	      /* why the last of them was */
	bool is_torn;	      /* only the start of a line was written */
};

/* Which stage a line is of, or about. All borrowed. */
struct journal_stage {
	const char *instance;
	const char *id;
	const char *program;
	pid_t pid;
	struct flood *flood; /* of its lines; NULL: all pass */
};

/*
 * Makes a journal on stderr. A terminal there is opened anew, for as long as
 * the process lives: a write(2) to one that has room for half a line waits for
 * somebody to read it, whatever poll(2) said, and the flags of descriptor 2 are
 * not ours to change.
 */
void journal_init(
    struct journal *journal, enum journal_format format, enum log_level level);

/*
 * Goes on in the file `path` (borrowed as long as the journal lives), which is
 * made with mode 0600 or appended to. Opens it anew if it is the same path.
 * Returns 0; or -1 with errno set, and the journal stays where it was.
 */
int journal_open_file(struct journal *journal, const char *path);

/*
 * Closes the file, if there is one; the journal is on stderr again. Lines that
 * were lost are told of before, if there is a way now; else where it goes on.
 */
void journal_close(struct journal *journal);

/* Writes a line of the supervisor's own. */
void journal_say(struct journal *journal, enum log_level level,
    const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Writes each fault as a line of the supervisor's own. */
void journal_say_faults(
    struct journal *journal, enum log_level level, const struct faults *faults);

/*
 * Writes a line of the supervisor's own about a stage; `stage->id` may be NULL
 * for the whole instance, `stage->pid` 0 for one that does not run. How many of
 * the stage's lines were held back stands before it, so that a line about its
 * end comes last.
 */
void journal_say_about(struct journal *journal, enum log_level level,
    const struct journal_stage *stage, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/*
 * Passes on a line of a stage, without its newline: as text behind
 * "instance/id ". A line that is not of our own form counts as a warning. What
 * stage->flood does not let pass is held back; errors that the stage's program
 * logs in our form always pass.
 */
void journal_pass(struct journal *journal, const struct journal_stage *stage,
    const char *line, size_t bytes);

/*
 * Tells how many lines of a stage were held back since this was last told, if
 * any: "N lines of 01/main held back". For the end of a stage; while it runs
 * the journal does so by itself when lines pass again.
 */
void journal_tell_held(
    struct journal *journal, const struct journal_stage *stage);

#endif
