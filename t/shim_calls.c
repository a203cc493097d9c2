/*
 * The calls on files and sockets that shim_fault.c makes fail, each in front of
 * libc's own.
 */
#include "t/shim_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNDO_COUNT 1024

/* What a write replaced; the newest last. */
struct undo {
	dev_t dev;
	ino_t ino;
	off_t offset;
	size_t bytes;
	char *old; /* owned; all of it, zeros where there was nothing */
};

static struct undo undos[UNDO_COUNT];
static size_t undo_count;
static pthread_mutex_t undo_lock = PTHREAD_MUTEX_INITIALIZER;

/* Stands behind a call that was made with bytes. */
static ssize_t
moved(enum fault_verdict verdict, ssize_t n, size_t bytes)
{
	(void)fault_done(0);
	return verdict == FAULT_HALF_LIE && n > 0 ? (ssize_t)bytes : n;
}

/* How many of `bytes` a call is to handle. */
static size_t
part_of(enum fault_verdict verdict, size_t bytes)
{
	if ((verdict == FAULT_HALF || verdict == FAULT_HALF_LIE) && bytes > 1)
		return bytes / 2;
	return bytes;
}

/* Looks at an open file without being counted; false if it is no file. */
static bool
look(int fd, struct stat *st)
{
	int (*real)(int, struct stat *);

	REAL(real, "fstat");
	return real(fd, st) == 0 && S_ISREG(st->st_mode);
}

/* Keeps what a write is about to replace, for a sync that is to lose it. */
static void
keep(int fd, size_t bytes, off_t offset)
{
	ssize_t (*real)(int, void *, size_t, off_t);
	void *(*allocate)(size_t, size_t);
	struct undo *undo;
	struct stat st;

	if (!fault_loses() || !look(fd, &st))
		return;
	REAL(real, "pread");
	REAL(allocate, "calloc");
	(void)pthread_mutex_lock(&undo_lock);
	if (undo_count == UNDO_COUNT)
		fault_give_up("too many writes without a sync");
	undo = &undos[undo_count++];
	*undo = (struct undo){
	    .dev = st.st_dev,
	    .ino = st.st_ino,
	    .offset = offset,
	    .bytes = bytes,
	    .old = allocate(1, bytes),
	};
	if (undo->old == NULL)
		fault_give_up("cannot keep what is replaced");
	/* In a file for writing only nothing is replaced that counts. */
	(void)!real(fd, undo->old, bytes, offset);
	(void)pthread_mutex_unlock(&undo_lock);
}

/* Forgets what was written to a file since its last sync; and, if that is to
 * be lost, puts back what was there. */
static void
forget(int fd, bool is_lost)
{
	ssize_t (*real)(int, const void *, size_t, off_t);
	size_t left = 0;
	struct stat st;

	if (undo_count == 0 || !look(fd, &st))
		return;
	REAL(real, "pwrite");
	(void)pthread_mutex_lock(&undo_lock);
	for (size_t i = undo_count; i-- > 0;) {
		struct undo *undo = &undos[i];

		if (undo->dev != st.st_dev || undo->ino != st.st_ino)
			continue;
		if (is_lost)
			(void)!real(fd, undo->old, undo->bytes, undo->offset);
		free(undo->old);
		undo->old = NULL;
	}
	for (size_t i = 0; i < undo_count; i++)
		if (undos[i].old != NULL)
			undos[left++] = undos[i];
	undo_count = left;
	(void)pthread_mutex_unlock(&undo_lock);
}

static ssize_t
any_pwrite(
    const char *call, int fd, const void *data, size_t bytes, off_t offset)
{
	ssize_t (*real)(int, const void *, size_t, off_t);
	enum fault_verdict verdict =
	    fault_strike(FAULT_WRITE, call, fd, NULL, (long)bytes);

	if (verdict == FAULT_FAIL)
		return -1;
	keep(fd, bytes, offset);
	REAL(real, call);
	return moved(
	    verdict, real(fd, data, part_of(verdict, bytes), offset), bytes);
}

ssize_t
pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
	return any_pwrite("pwrite", fd, data, bytes, offset);
}

ssize_t
pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
	return any_pwrite("pwrite64", fd, data, bytes, offset);
}

ssize_t
write(int fd, const void *data, size_t bytes)
{
	ssize_t (*real)(int, const void *, size_t);
	enum fault_verdict verdict =
	    fault_strike(FAULT_WRITE, "write", fd, NULL, (long)bytes);

	if (verdict == FAULT_FAIL)
		return -1;
	REAL(real, "write");
	return moved(verdict, real(fd, data, part_of(verdict, bytes)), bytes);
}

ssize_t
send(int fd, const void *data, size_t bytes, int flags)
{
	ssize_t (*real)(int, const void *, size_t, int);
	enum fault_verdict verdict =
	    fault_strike(FAULT_WRITE, "send", fd, NULL, (long)bytes);

	if (verdict == FAULT_FAIL)
		return -1;
	REAL(real, "send");
	return moved(
	    verdict, real(fd, data, part_of(verdict, bytes), flags), bytes);
}

static int
any_sync(enum fault_kind kind, const char *call, int fd)
{
	enum fault_verdict verdict = fault_strike(kind, call, fd, NULL, -1);
	int (*real)(int);
	int result;

	if (verdict == FAULT_FAIL)
		return -1;
	if (verdict == FAULT_LOSE || verdict == FAULT_LOSE_LIE) {
		forget(fd, true);
		errno = EIO;
		return verdict == FAULT_LOSE ? -1 : 0;
	}
	REAL(real, call);
	result = fault_done(real(fd));
	forget(fd, false);
	return result;
}

int
fdatasync(int fd)
{
	return any_sync(FAULT_FDATASYNC, "fdatasync", fd);
}

int
fsync(int fd)
{
	return any_sync(FAULT_FSYNC, "fsync", fd);
}

/* The mode is there only where a file may be made. */
static mode_t
mode_of(int flags, va_list args)
{
	return (flags & (O_CREAT | O_TMPFILE)) == 0 ? 0 : va_arg(args, mode_t);
}

static int
any_openat(
    const char *call, int dir_fd, const char *path, int flags, va_list args)
{
	int (*real)(int, const char *, int, ...);

	REAL(real, call);
	if (fault_fails(FAULT_OPEN, call, -1, path))
		return -1;
	return fault_done(real(dir_fd, path, flags, mode_of(flags, args)));
}

static int
any_open(const char *call, const char *path, int flags, va_list args)
{
	int (*real)(const char *, int, ...);

	REAL(real, call);
	if (fault_fails(FAULT_OPEN, call, -1, path))
		return -1;
	return fault_done(real(path, flags, mode_of(flags, args)));
}

int
open(const char *path, int flags, ...)
{
	va_list args;
	int fd;

	va_start(args, flags);
	fd = any_open("open", path, flags, args);
	va_end(args);
	return fd;
}

int
open64(const char *path, int flags, ...)
{
	va_list args;
	int fd;

	va_start(args, flags);
	fd = any_open("open64", path, flags, args);
	va_end(args);
	return fd;
}

int
openat(int dir_fd, const char *path, int flags, ...)
{
	va_list args;
	int fd;

	va_start(args, flags);
	fd = any_openat("openat", dir_fd, path, flags, args);
	va_end(args);
	return fd;
}

int
openat64(int dir_fd, const char *path, int flags, ...)
{
	va_list args;
	int fd;

	va_start(args, flags);
	fd = any_openat("openat64", dir_fd, path, flags, args);
	va_end(args);
	return fd;
}

int
ftruncate(int fd, off_t bytes)
{
	int (*real)(int, off_t);

	REAL(real, "ftruncate");
	if (fault_fails(FAULT_FTRUNCATE, "ftruncate", fd, NULL))
		return -1;
	return fault_done(real(fd, bytes));
}

int
ftruncate64(int fd, off_t bytes)
{
	int (*real)(int, off_t);

	REAL(real, "ftruncate64");
	if (fault_fails(FAULT_FTRUNCATE, "ftruncate64", fd, NULL))
		return -1;
	return fault_done(real(fd, bytes));
}

int
fallocate(int fd, int mode, off_t offset, off_t bytes)
{
	int (*real)(int, int, off_t, off_t);

	REAL(real, "fallocate");
	if (fault_fails(FAULT_FTRUNCATE, "fallocate", fd, NULL))
		return -1;
	return fault_done(real(fd, mode, offset, bytes));
}

int
unlink(const char *path)
{
	int (*real)(const char *);

	REAL(real, "unlink");
	if (fault_fails(FAULT_UNLINK, "unlink", -1, path))
		return -1;
	return fault_done(real(path));
}

int
unlinkat(int dir_fd, const char *path, int flags)
{
	int (*real)(int, const char *, int);

	REAL(real, "unlinkat");
	if (fault_fails(FAULT_UNLINK, "unlinkat", -1, path))
		return -1;
	return fault_done(real(dir_fd, path, flags));
}

int
rename(const char *from, const char *to)
{
	int (*real)(const char *, const char *);

	REAL(real, "rename");
	if (fault_fails(FAULT_RENAME, "rename", -1, to))
		return -1;
	return fault_done(real(from, to));
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int (*real)(int, const char *, int, const char *);

	REAL(real, "renameat");
	if (fault_fails(FAULT_RENAME, "renameat", -1, to))
		return -1;
	return fault_done(real(from_fd, from, to_fd, to));
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to,
    unsigned int flags)
{
	int (*real)(int, const char *, int, const char *, unsigned int);

	REAL(real, "renameat2");
	if (fault_fails(FAULT_RENAME, "renameat2", -1, to))
		return -1;
	return fault_done(real(from_fd, from, to_fd, to, flags));
}

int
mkdir(const char *path, mode_t mode)
{
	int (*real)(const char *, mode_t);

	REAL(real, "mkdir");
	if (fault_fails(FAULT_MKDIR, "mkdir", -1, path))
		return -1;
	return fault_done(real(path, mode));
}

int
mkdirat(int dir_fd, const char *path, mode_t mode)
{
	int (*real)(int, const char *, mode_t);

	REAL(real, "mkdirat");
	if (fault_fails(FAULT_MKDIR, "mkdirat", -1, path))
		return -1;
	return fault_done(real(dir_fd, path, mode));
}

static ssize_t
any_pread(const char *call, int fd, void *data, size_t bytes, off_t offset)
{
	ssize_t (*real)(int, void *, size_t, off_t);
	enum fault_verdict verdict =
	    fault_strike(FAULT_PREAD, call, fd, NULL, (long)bytes);

	if (verdict == FAULT_FAIL)
		return -1;
	if (fault_is_bad_sector(fd, bytes, offset)) {
		errno = EIO;
		return -1;
	}
	REAL(real, call);
	return moved(
	    FAULT_PASS, real(fd, data, part_of(verdict, bytes), offset), 0);
}

ssize_t
pread(int fd, void *data, size_t bytes, off_t offset)
{
	return any_pread("pread", fd, data, bytes, offset);
}

ssize_t
pread64(int fd, void *data, size_t bytes, off_t offset)
{
	return any_pread("pread64", fd, data, bytes, offset);
}

ssize_t
read(int fd, void *data, size_t bytes)
{
	ssize_t (*real)(int, void *, size_t);
	enum fault_verdict verdict =
	    fault_strike(FAULT_READ, "read", fd, NULL, (long)bytes);

	if (verdict == FAULT_FAIL)
		return -1;
	REAL(real, "read");
	return moved(FAULT_PASS, real(fd, data, part_of(verdict, bytes)), 0);
}

ssize_t
recv(int fd, void *data, size_t bytes, int flags)
{
	ssize_t (*real)(int, void *, size_t, int);
	enum fault_verdict verdict =
	    fault_strike(FAULT_READ, "recv", fd, NULL, (long)bytes);

	if (verdict == FAULT_FAIL)
		return -1;
	REAL(real, "recv");
	return moved(
	    FAULT_PASS, real(fd, data, part_of(verdict, bytes), flags), 0);
}

int
ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
    const sigset_t *mask)
{
	int (*real)(
	    struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);

	REAL(real, "ppoll");
	if (fault_fails(FAULT_POLL, "ppoll", -1, NULL))
		return -1;
	return fault_done(real(fds, count, timeout, mask));
}

int
poll(struct pollfd *fds, nfds_t count, int timeout)
{
	int (*real)(struct pollfd *, nfds_t, int);

	REAL(real, "poll");
	if (fault_fails(FAULT_POLL, "poll", count > 0 ? fds[0].fd : -1, NULL))
		return -1;
	return fault_done(real(fds, count, timeout));
}
