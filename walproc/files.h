/*
 * The segment files of a directory as a start finds them: their headers, and
 * whether each is where and what its name says. Names are put right here; what
 * the files hold is the scan's business (recover.h).
 */
#ifndef WALPROC_FILES_H
#define WALPROC_FILES_H

#include "walproc/recover.h"

struct files_entry {
	uint64_t name_seq;	      /* what its name says */
	enum segment_status status;   /* OK, BAD, or NEWER */
	struct layout_segment header; /* where OK */
	uint64_t bytes;		      /* size of the file, where OK */
};

struct files {
	int dir_fd;		     /* borrowed */
	struct files_entry *entries; /* owned; in order of their names */
	size_t count;
	size_t room; /* entries allocated */
};

/*
 * Lists the segment files and reads their headers. Returns 0, or -1 with errno
 * set and logged; files_fini is due in both cases.
 */
int files_list(struct files *files, int dir_fd);

/* Frees the list. */
void files_fini(struct files *files);

/* Logs, as an error, what is wrong with the segment file of that name. */
void files_log(uint64_t name_seq, const char *what);

/* Says whether one of them is of a version that is not ours; logged if so. */
bool files_have_newer(const struct files *files);

/*
 * Finds out which log they belong to: that of `cursor` (NULL: none) if any of
 * them does, else that of most. Sets log_id, has_log_id, is_foreign.
 */
void files_find_log(const struct files *files,
    const struct layout_cursor *cursor, struct recovered *found);

/*
 * Takes those that are not of the log `log_id`, bear another's name or are
 * there twice to where they belong, and off the list if that is the quarantine.
 * With a listener they are only told of, and all taken off the list. Returns 0,
 * or -1 with errno set and logged.
 */
int files_put_right(struct files *files,
    const uint8_t log_id[LAYOUT_LOG_ID_BYTES],
    const struct recover_listener *listener);

#endif
