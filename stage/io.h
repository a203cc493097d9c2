/*
 * System calls with their short counts and interruptions handled, and the few
 * questions about descriptors that a program asks at its start.
 */
#ifndef STAGE_IO_H
#define STAGE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Writes all of `bytes` at `offset` of a regular file, as pwrite(2). Returns 0,
 * or -1 with errno set; then any part of the range may have been written.
 */
int io_pwrite_full(int fd, const void *data, size_t bytes, uint64_t offset);

/*
 * Reads up to `bytes` at `offset` of a regular file, as pread(2), short only
 * at the end of the file. Returns the count, or -1 with errno set.
 */
ssize_t io_pread_full(int fd, void *data, size_t bytes, uint64_t offset);

/* Writes all of `bytes` to a blocking descriptor. 0, or -1 with errno set. */
int io_write_full(int fd, const void *data, size_t bytes);

/*
 * Reads a whole file of at most `max_bytes` into memory with a NUL behind it.
 * Returns it (the caller frees it) and its length, or NULL with errno set
 * (EFBIG: it is longer).
 */
char *io_read_file(const char *path, size_t max_bytes, size_t *bytes);

/* Says whether `error` is one of a full disk, which passes: ENOSPC, EDQUOT. */
bool io_is_full_disk(int error);

/*
 * Says whether `error`, of a read, is one of a place on the medium that cannot
 * be read, while others may be: EIO, and what drivers and file systems with
 * checksums of their own say instead (ENODATA, EBADMSG, EUCLEAN).
 */
bool io_is_unreadable(int error);

/*
 * Lets the connection of the TCP socket `fd` fail (ETIMEDOUT) when its peer
 * has acknowledged nothing for `ms`, be it what was sent, or the probes that
 * are sent while nothing is (from 1 s on, or half of `ms` if that is more; a
 * second apart). tcp(7): TCP_USER_TIMEOUT, TCP_KEEPIDLE, TCP_KEEPINTVL; their
 * clock is a second late at most. A peer that has no room for more for so long
 * fails it too, although it answers. Returns 0, or -1 with errno set.
 */
int io_set_silence_timeout(int fd, uint64_t ms);

/*
 * Lets the system hold no more than about `bytes` of the TCP socket `fd` that
 * it cannot send yet; so poll(2) tells soon that some have gone, however slowly
 * the peer reads. tcp(7): TCP_NOTSENT_LOWAT. Returns 0, or -1 with errno set.
 */
int io_set_unsent_limit(int fd, int bytes);

/* Says whether what can be read from `fd` has an end: it is a regular file, or
 * a pipe or socket whose other end writes no more. */
bool io_has_end(int fd);

/* Lets writes to the file go past the page cache (O_DIRECT of open(2)), or not
 * any more. Returns 0, or -1 with errno set; not every file system can. */
int io_set_direct(int fd, bool is_direct);

/* Returns how many bytes can be written to `fd`, which poll(2) has found ready,
 * without blocking, if nobody else writes there: PIPE_BUF at least. */
size_t io_pipe_room(int fd);

/*
 * Puts the descriptor `fd` in the place of *number, which is closed; where that
 * is -1 it is set to `fd`. Returns 0, or -1 with errno set and `fd` closed.
 */
int io_replace(int fd, int *number);

/* Says whether `fd` is an open socket. */
bool io_is_socket(int fd);

/* Says whether `fd` is open at all. */
bool io_is_open(int fd);

/*
 * Opens for writing what `fd` leads to, with flags of its own, which do not
 * block (proc(5), /proc/PID/fd). Returns the descriptor, the caller's to close,
 * CLOEXEC; or -1 with errno set.
 */
int io_open_again(int fd);

/*
 * Makes sure that 0, 1 and 2 are open (on /dev/null where they were not), so
 * that no file of ours lands on one of these numbers. 0, or -1 with errno set.
 */
int io_claim_stdio(void);

#endif
