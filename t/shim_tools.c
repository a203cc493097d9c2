/*
 * What a test puts in front of the system calls of walproc's tools
 * (LD_PRELOAD), told by environment variables:
 *
 *   SHIM_STOP_AT=N      the N-th call that changes what is on disk, or makes it
 *                       durable, ends the process as kill -9 does; of a write
 *                       half is done before
 *   SHIM_PAUSE_AT=N     the process stops (SIGSTOP) at the N-th file that it
 *                       opens, or part of one that it reads
 *   SHIM_NO_LINK=1      the file system has no hard links
 *   SHIM_READ_ONLY=1    the file system is mounted read-only
 *   SHIM_NEWER=NAME     the headers of the file NAME are read as of a newer
 *                       format version, with checksums that fit
 *   SHIM_UNREADABLE=INODE:FROM:TO
 *                       the bytes FROM to TO-1 of that file cannot be read
 */
#define XXH_INLINE_ALL

#include "stage/bytes.h"
#include "walproc/layout.h"

#include <xxhash.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(pointer, name) (*(void **)&(pointer) = dlsym(RTLD_NEXT, name))

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset);
ssize_t pread(int fd, void *data, size_t bytes, off_t offset);
ssize_t pread64(int fd, void *data, size_t bytes, off_t offset);
int fdatasync(int fd);
int fsync(int fd);
int ftruncate(int fd, off_t bytes);
int ftruncate64(int fd, off_t bytes);
int renameat(int from_fd, const char *from, int to_fd, const char *to);
int renameat2(int from_fd, const char *from, int to_fd, const char *to,
    unsigned int flags);
int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int unlinkat(int dir_fd, const char *path, int flags);
int mkdirat(int dir_fd, const char *path, mode_t mode);
int openat(int dir_fd, const char *path, int flags, ...);
int openat64(int dir_fd, const char *path, int flags, ...);

/* Counts a call, and says whether it is the one to stop at. */
static int
is_last(void)
{
	static int count;
	const char *text = getenv("SHIM_STOP_AT");

	return text != NULL && ++count == atoi(text);
}

/* Stops the process if this is the call for it. */
static void
pause_here(void)
{
	static int count;
	const char *text = getenv("SHIM_PAUSE_AT");

	if (text != NULL && ++count == atoi(text))
		(void)kill(getpid(), SIGSTOP);
}

static void
stop(void)
{
	(void)kill(getpid(), SIGKILL);
}

static ssize_t
any_pwrite(
    const char *call, int fd, const void *data, size_t bytes, off_t offset)
{
	ssize_t (*real)(int, const void *, size_t, off_t);

	REAL(real, call);
	if (is_last()) {
		(void)!real(fd, data, bytes / 2, offset);
		stop();
	}
	return real(fd, data, bytes, offset);
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

/* Says whether the open file has that name. */
static int
has_name(int fd, const char *wanted)
{
	char link[64], path[256];
	const char *name;
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	name = strrchr(path, '/');
	return name != NULL && strcmp(name + 1, wanted) == 0;
}

/* Says whether bytes of the file are among those that cannot be read. */
static int
is_unreadable(int fd, size_t bytes, off_t offset)
{
	const char *text = getenv("SHIM_UNREADABLE");
	long long inode, from, to;
	struct stat st;

	return text != NULL &&
	       sscanf(text, "%lld:%lld:%lld", &inode, &from, &to) == 3 &&
	       offset < to && offset + (long long)bytes > from &&
	       fstat(fd, &st) == 0 && (long long)st.st_ino == inode;
}

/* Makes a header, of a segment or of a cursor's slot, one of version 99. */
static void
make_newer(int fd, uint8_t *data, size_t bytes, off_t offset)
{
	const char *wanted = getenv("SHIM_NEWER");

	if (wanted == NULL ||
	    (offset != 0 && offset != (off_t)LAYOUT_COPY_OFFSET) ||
	    (bytes != LAYOUT_SEGMENT_BYTES && bytes != LAYOUT_CURSOR_BYTES) ||
	    !has_name(fd, wanted))
		return;
	put_be16(data + 8, 99);
	put_be64(data + bytes - 8, XXH3_64bits(data, bytes - 8));
}

static ssize_t
any_pread(const char *call, int fd, void *data, size_t bytes, off_t offset)
{
	ssize_t (*real)(int, void *, size_t, off_t);
	ssize_t n;

	REAL(real, call);
	pause_here();
	if (is_unreadable(fd, bytes, offset)) {
		errno = EIO;
		return -1;
	}
	n = real(fd, data, bytes, offset);
	if (n > 0 && (size_t)n == bytes)
		make_newer(fd, data, bytes, offset);
	return n;
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

int
fdatasync(int fd)
{
	int (*real)(int);

	REAL(real, "fdatasync");
	if (is_last())
		stop();
	return real(fd);
}

int
fsync(int fd)
{
	int (*real)(int);

	REAL(real, "fsync");
	if (is_last())
		stop();
	return real(fd);
}

int
ftruncate(int fd, off_t bytes)
{
	int (*real)(int, off_t);

	REAL(real, "ftruncate");
	if (is_last())
		stop();
	return real(fd, bytes);
}

int
ftruncate64(int fd, off_t bytes)
{
	return ftruncate(fd, bytes);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int (*real)(int, const char *, int, const char *);

	REAL(real, "renameat");
	if (is_last())
		stop();
	return real(from_fd, from, to_fd, to);
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to,
    unsigned int flags)
{
	int (*real)(int, const char *, int, const char *, unsigned int);

	REAL(real, "renameat2");
	if (is_last())
		stop();
	return real(from_fd, from, to_fd, to, flags);
}

int
linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	int (*real)(int, const char *, int, const char *, int);

	REAL(real, "linkat");
	if (is_last())
		stop();
	if (getenv("SHIM_NO_LINK") != NULL) {
		errno = EPERM;
		return -1;
	}
	return real(from_fd, from, to_fd, to, flags);
}

int
unlinkat(int dir_fd, const char *path, int flags)
{
	int (*real)(int, const char *, int);

	REAL(real, "unlinkat");
	if (is_last())
		stop();
	return real(dir_fd, path, flags);
}

int
mkdirat(int dir_fd, const char *path, mode_t mode)
{
	int (*real)(int, const char *, mode_t);

	REAL(real, "mkdirat");
	if (is_last())
		stop();
	return real(dir_fd, path, mode);
}

static int
any_openat(const char *call, int dir_fd, const char *path, int flags, int mode)
{
	int (*real)(int, const char *, int, ...);

	REAL(real, call);
	pause_here();
	if ((flags & O_ACCMODE) != O_RDONLY &&
	    getenv("SHIM_READ_ONLY") != NULL) {
		errno = EROFS;
		return -1;
	}
	if ((flags & O_CREAT) != 0 && is_last())
		stop();
	return real(dir_fd, path, flags, mode);
}

int
openat(int dir_fd, const char *path, int flags, ...)
{
	va_list args;
	int mode;

	va_start(args, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(args, int) : 0;
	va_end(args);
	return any_openat("openat", dir_fd, path, flags, mode);
}

int
openat64(int dir_fd, const char *path, int flags, ...)
{
	va_list args;
	int mode;

	va_start(args, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(args, int) : 0;
	va_end(args);
	return any_openat("openat64", dir_fd, path, flags, mode);
}
