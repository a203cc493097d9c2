/*
 * Quarantine: where damaged parts of a log are copied, and files that are not
 * what they should be moved, so that a person can look at them: the directory
 * "quarantine" in the log's own. What these files hold is never read again by
 * the log; their names are in walseg(5).
 */
#ifndef WALPROC_QUARANTINE_H
#define WALPROC_QUARANTINE_H

#include "walproc/segment.h"

/*
 * Copies the bytes from..to-1 of a segment, durably, to a file whose name says
 * segment and offset. Bytes that cannot be read are left out; another time
 * they may be read, so the segment itself is then to be kept (quarantine_keeps)
 * when the log needs it no more. Returns 0, or -1 with errno set.
 */
int quarantine_bytes(
    int dir_fd, const struct segment *segment, uint64_t from, uint64_t to);

/* Notes, durably, that the segment is to be kept. 0, or -1 with errno set. */
int quarantine_keep(int dir_fd, uint64_t first_seq);

/* Says whether the segment is to be moved, not unlinked: see above. */
bool quarantine_keeps(int dir_fd, uint64_t first_seq);

/*
 * Before a file of that name is replaced: has it in the quarantine, durably, if
 * it is to be kept. Returns 0, or -1 with errno set.
 */
int quarantine_release(int dir_fd, uint64_t first_seq);

/* Moves the segment file of that name, durably, under a name that is new here,
 * and forgets that it is to be kept. Returns 0, or -1 with errno set. */
int quarantine_segment(int dir_fd, uint64_t first_seq);

/*
 * Moves what bears the name of one of the log's files and is no regular file,
 * if that is so. Returns 0, or -1 with errno set.
 */
int quarantine_odd(int dir_fd, const char *name);

/*
 * Keeps the file `name` of the log's directory in the quarantine too, under a
 * name of its own, durably: what then takes its place in the log takes nothing
 * away. It is a second link; where the file system has none, a copy, unless
 * part of the file cannot be read (EIO). Doing it twice is as doing it once.
 * Returns 0 with the new name in `kept`, or -1 with errno set.
 */
#define QUARANTINE_NAME_BYTES 64
int quarantine_link(
    int dir_fd, const char *name, char kept[QUARANTINE_NAME_BYTES]);

#endif
