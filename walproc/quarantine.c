#include "walproc/quarantine.h"

#include "stage/io.h"
#include "stage/log.h"
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
	static const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	char aside[2 * SEGMENT_NAME_BYTES];
	int fd, saved;

	if (mkdirat(dir_fd, QUARANTINE_NAME, 0700) == -1 && errno != EEXIST)
		return -1;
	fd = openat(dir_fd, QUARANTINE_NAME, flags);
	if (fd == -1 && errno == ENOTDIR) {
		/* Something else bears the name: that is kept too. */
		(void)snprintf(aside, sizeof(aside),
		    QUARANTINE_NAME ".%" PRId64, loop_realtime_ns());
		if (renameat(dir_fd, QUARANTINE_NAME, dir_fd, aside) == 0 &&
		    mkdirat(dir_fd, QUARANTINE_NAME, 0700) == 0)
			fd = openat(dir_fd, QUARANTINE_NAME, flags);
	}
	if (fd == -1)
		return -1;
	if (fsync(dir_fd) == 0)
		return fd;
	saved = errno;
	(void)close(fd);
	errno = saved;
	return -1;
}

static int
copy_bytes(int to_fd, const struct segment *segment, uint64_t from, uint64_t to)
{
	uint8_t piece[PIECE_BYTES];

	for (uint64_t at = from; at < to;) {
		uint64_t left = to - at;
		size_t want = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
		ssize_t n = segment_read(segment, piece, want, at);

		if (n == -1)
			return -1;
		if (n > 0 &&
		    io_pwrite_full(to_fd, piece, (size_t)n, at - from) == -1)
			return -1;
		at += want;
	}
	return fdatasync(to_fd);
}

/* The name of the empty file that says that a segment is to be kept. */
static void
keep_name(char name[2 * SEGMENT_NAME_BYTES], uint64_t first_seq)
{
	(void)snprintf(name, 2 * SEGMENT_NAME_BYTES,
	    QUARANTINE_NAME "/%020" PRIu64 ".keep", first_seq);
}

bool
quarantine_keeps(int dir_fd, uint64_t first_seq)
{
	char name[2 * SEGMENT_NAME_BYTES];

	keep_name(name, first_seq);
	return faccessat(dir_fd, name, F_OK, 0) == 0;
}

int
quarantine_keep(int dir_fd, uint64_t first_seq)
{
	char name[2 * SEGMENT_NAME_BYTES];
	int quarantine = open_quarantine(dir_fd), fd, result = -1, saved;

	if (quarantine == -1)
		return -1;
	keep_name(name, first_seq);
	fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd != -1 && fsync(quarantine) == 0)
		result = 0;
	saved = errno;
	if (fd != -1)
		(void)close(fd);
	(void)close(quarantine);
	errno = saved;
	return result;
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
	if (fd == -1 || copy_bytes(fd, segment, from, to) == -1 ||
	    fsync(quarantine) == -1)
		goto out;
	switch (segment_is_readable(segment, from, to)) {
	case 1:
		result = 0;
		break;
	case 0:
		result = quarantine_keep(dir_fd, segment->first_seq);
		break;
	default:
		break;
	}
out:
	saved = errno;
	if (fd != -1)
		(void)close(fd);
	(void)close(quarantine);
	errno = saved;
	return result;
}

/* Moves what bears a name, durably, under a name of its own. */
static int
move(int dir_fd, const char *name)
{
	char moved[QUARANTINE_NAME_BYTES];
	int quarantine = open_quarantine(dir_fd), result = -1, saved;

	if (quarantine == -1)
		return -1;
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

int
quarantine_segment(int dir_fd, uint64_t first_seq)
{
	char name[SEGMENT_NAME_BYTES], mark[2 * SEGMENT_NAME_BYTES];

	segment_name(name, first_seq);
	if (move(dir_fd, name) == -1)
		return -1;
	keep_name(mark, first_seq);
	(void)unlinkat(dir_fd, mark, 0);
	return 0;
}

int
quarantine_odd(int dir_fd, const char *name)
{
	struct stat st;

	/* A symbolic link in a circle is as little one as a directory. */
	if (fstatat(dir_fd, name, &st, 0) == -1 ? errno != ELOOP
						: S_ISREG(st.st_mode))
		return 0;
	log_error("%s: no regular file: moved to quarantine", name);
	return move(dir_fd, name);
}

/* Copies the file `name`, for quarantine_link. Returns 0, or -1 with errno set
 * and nothing left behind. */
static int
copy_file(int dir_fd, const char *name, int quarantine, const char *kept)
{
	int from = openat(dir_fd, name, O_RDONLY | O_CLOEXEC), to = -1;
	uint8_t piece[PIECE_BYTES];
	uint64_t at = 0;
	ssize_t n;
	int saved;

	if (from == -1)
		return -1;
	to = openat(
	    quarantine, kept, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to == -1)
		goto fail;
	while ((n = io_pread_full(from, piece, sizeof(piece), at)) > 0) {
		if (io_pwrite_full(to, piece, (size_t)n, at) == -1)
			goto fail;
		at += (uint64_t)n;
	}
	if (n == -1 || fdatasync(to) == -1)
		goto fail;
	(void)close(from);
	(void)close(to);
	return 0;

fail:
	saved = errno;
	(void)close(from);
	if (to != -1) {
		(void)close(to);
		(void)unlinkat(quarantine, kept, 0);
	}
	errno = saved;
	return -1;
}

/* Links the file, or copies it. As quarantine_link, but for EEXIST. */
static int
link_or_copy(int dir_fd, const char *name, int quarantine, const char *kept)
{
	struct stat here, there;

	if (linkat(dir_fd, name, quarantine, kept, 0) == 0)
		return 0;
	if (errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK)
		return copy_file(dir_fd, name, quarantine, kept);
	if (errno != EEXIST)
		return -1;
	if (fstatat(dir_fd, name, &here, 0) == -1 ||
	    fstatat(quarantine, kept, &there, 0) == -1)
		return -1;
	errno = EEXIST;
	return here.st_dev == there.st_dev && here.st_ino == there.st_ino ? 0
									  : -1;
}

int
quarantine_link(int dir_fd, const char *name, char kept[QUARANTINE_NAME_BYTES])
{
	int quarantine = open_quarantine(dir_fd), result = -1, saved;

	if (quarantine == -1)
		return -1;
	for (unsigned int i = 1; i != 0; i++) {
		(void)snprintf(
		    kept, QUARANTINE_NAME_BYTES, "%s-damaged-%u", name, i);
		result = link_or_copy(dir_fd, name, quarantine, kept);
		if (result == 0 || errno != EEXIST)
			break;
	}
	if (result == 0)
		result = fsync(quarantine);
	saved = errno;
	(void)close(quarantine);
	errno = saved;
	return result;
}

int
quarantine_release(int dir_fd, uint64_t first_seq)
{
	char name[SEGMENT_NAME_BYTES], kept[QUARANTINE_NAME_BYTES],
	    mark[2 * SEGMENT_NAME_BYTES];

	if (!quarantine_keeps(dir_fd, first_seq))
		return 0;
	segment_name(name, first_seq);
	if (quarantine_link(dir_fd, name, kept) == -1 && errno != ENOENT)
		return -1;
	/* It was of the old file. */
	keep_name(mark, first_seq);
	return unlinkat(dir_fd, mark, 0);
}
