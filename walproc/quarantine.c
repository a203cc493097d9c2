#include "walproc/quarantine.h"

#include "stage/io.h"
#include "stage/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUARANTINE_NAME "quarantine"
#define PIECE_BYTES 8192

/* Opens the directory, making it if need be; -1 with errno set. */
static int
open_quarantine(int dir_fd)
{
	if (mkdirat(dir_fd, QUARANTINE_NAME, 0700) == -1 && errno != EEXIST)
		return -1;
	if (fsync(dir_fd) == -1)
		return -1;
	return openat(
	    dir_fd, QUARANTINE_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int
copy_bytes(int to_fd, const struct segment *segment, uint64_t from, uint64_t to)
{
	uint8_t piece[PIECE_BYTES];

	for (uint64_t at = from; at < to;) {
		uint64_t left = to - at;
		size_t want = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
		ssize_t n = io_pread_full(segment->fd, piece, want, at);

		/* A part that cannot be read stays a hole of zeros. */
		if (n > 0 &&
		    io_pwrite_full(to_fd, piece, (size_t)n, at - from) == -1)
			return -1;
		at += want;
	}
	return fdatasync(to_fd);
}

int
quarantine_bytes(
    int dir_fd, const struct segment *segment, uint64_t from, uint64_t to)
{
	char name[2 * SEGMENT_NAME_BYTES];
	int quarantine, fd = -1, result = -1, saved;

	quarantine = open_quarantine(dir_fd);
	if (quarantine == -1)
		return -1;
	(void)snprintf(name, sizeof(name), "%020" PRIu64 "-%" PRIu64 ".bin",
	    segment->first_seq, from);
	fd = openat(
	    quarantine, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd != -1 && copy_bytes(fd, segment, from, to) == 0 &&
	    fsync(quarantine) == 0)
		result = 0;
	saved = errno;
	if (fd != -1)
		(void)close(fd);
	(void)close(quarantine);
	errno = saved;
	return result;
}

int
quarantine_segment(int dir_fd, uint64_t first_seq)
{
	char name[SEGMENT_NAME_BYTES], moved[2 * SEGMENT_NAME_BYTES];
	int quarantine, result = -1, saved;

	quarantine = open_quarantine(dir_fd);
	if (quarantine == -1)
		return -1;
	segment_name(name, first_seq);
	/* Not over one that has been moved here before. */
	(void)snprintf(
	    moved, sizeof(moved), "%s-%" PRId64, name, loop_realtime_ns());
	if (renameat(dir_fd, name, quarantine, moved) == 0 &&
	    fsync(quarantine) == 0 && fsync(dir_fd) == 0)
		result = 0;
	saved = errno;
	(void)close(quarantine);
	errno = saved;
	return result;
}
