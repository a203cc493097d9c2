/*
 * A lock that one process holds on a directory: flock(2) on a file in it that
 * also has the holder's pid, for people. The kernel lets go of it when the
 * last descriptor of the holder is gone, however that came about.
 */
#ifndef STAGE_LOCK_H
#define STAGE_LOCK_H

#include <sys/types.h>

enum lock_status {
	LOCK_TAKEN, /* ours until *fd is closed */
	LOCK_HELD,  /* another has it; *holder is its pid, 0 if not known */
	LOCK_ERROR, /* errno is set */
};

/*
 * Takes the lock `name` in the directory `dir_fd`, making the file (0600) if
 * there is none, and writes our pid into it. *fd is then the caller's to
 * close; it is CLOEXEC.
 */
enum lock_status lock_take(
    int dir_fd, const char *name, int *fd, pid_t *holder);

/*
 * Says whether a process holds the lock, without touching it: an attempt to
 * take it could make the start of another fail. Asks /proc/locks, and where
 * that does not know the file (some file systems have other numbers there)
 * the descriptors of the process whose pid the file has; where they may not be
 * listed, that process counts as the holder if it is alive. Returns 1 with
 * *holder set (0: not known), 0 if nobody holds it or there is no such file, or
 * -1 with errno set.
 */
int lock_look(int dir_fd, const char *name, pid_t *holder);

#endif
