/*
 * What a test puts in front of walproc's system calls (LD_PRELOAD), told by
 * environment variables:
 *
 *   SHIM_FAIL_SYNC=N   the N-th fdatasync(2) from the start fails with EIO
 *   SHIM_HOLD_SYNC=PATH  while there is a file PATH no fdatasync(2) returns,
 * but for one each time that there is a file PATH.pass SHIM_LOSE_BATCH=N  each
 * N-th batch with events in it is not written, and said to be: a log that acks
 * what it has not got SHIM_FULL=PATH     while there is a file PATH the disk is
 * full: what would grow a file fails with ENOSPC, half written SHIM_TRACE=PATH
 * appends a line for each call that durability hangs on: its name and the
 * file's, or what is sent
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* In a slot of the cursor, the lowest byte of what it counts as refused. */
#define REFUSED_OFFSET 87

#define REAL(pointer, name) (*(void **)&(pointer) = dlsym(RTLD_NEXT, name))

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int fdatasync(int fd);
int fsync(int fd);
int renameat(int from_fd, const char *from, int to_fd, const char *to);
int unlinkat(int dir_fd, const char *path, int flags);
ssize_t send(int fd, const void *data, size_t bytes, int flags);

/* Returns the number in an environment variable, 0 if it is not set. */
static int
setting(const char *name)
{
	const char *text = getenv(name);

	return text == NULL ? 0 : atoi(text);
}

static void trace(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* Appends a line to the trace, if one is wanted. */
static void
trace(const char *format, ...)
{
	const char *path = getenv("SHIM_TRACE");
	char line[512];
	va_list args;
	int fd, n;

	if (path == NULL)
		return;
	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	(void)!write(fd, line, (size_t)n);
	(void)close(fd);
}

/* Writes the last part of an open file's name to `name`. */
static const char *
name_of(int fd, char name[256])
{
	char link[64], path[256];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	(void)snprintf(name, 256, "%s",
	    strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1);
	return name;
}

static int
is_batch(const void *data, size_t bytes)
{
	static const unsigned char none[4];
	const unsigned char *p = data;

	return bytes >= 48 && memcmp(p, "WPBH", 4) == 0 &&
	       memcmp(p + 8, none, sizeof(none)) != 0;
}

/* Says whether the disk is full and this write would grow the file. */
static int
is_too_much(int fd, size_t bytes, off_t offset)
{
	const char *path = getenv("SHIM_FULL");
	struct stat st;

	return path != NULL && access(path, F_OK) == 0 && fstat(fd, &st) == 0 &&
	       offset + (off_t)bytes > st.st_size;
}

static ssize_t
any_pwrite(
    const char *call, int fd, const void *data, size_t bytes, off_t offset)
{
	static int count;
	int nth = setting("SHIM_LOSE_BATCH");
	ssize_t (*real)(int, const void *, size_t, off_t);
	char name[256];

	REAL(real, call);
	if (is_too_much(fd, bytes, offset)) {
		(void)real(fd, data, bytes / 2, offset);
		errno = ENOSPC;
		return -1;
	}
	if (strcmp(name_of(fd, name), "cursor") == 0 && bytes > REFUSED_OFFSET)
		trace("pwrite cursor refused=%u\n",
		    ((const unsigned char *)data)[REFUSED_OFFSET]);
	else
		trace("pwrite %s %s\n", name,
		    is_batch(data, bytes) ? "batch" : "other");
	if (nth > 0 && is_batch(data, bytes) && ++count % nth == 0)
		return (ssize_t)bytes;
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

/* Waits until there is no file `hold`, or one to let this call pass. */
static void
wait_for(const char *hold)
{
	char pass[512];

	(void)snprintf(pass, sizeof(pass), "%s.pass", hold);
	while (access(hold, F_OK) == 0 && unlink(pass) == -1)
		(void)poll(NULL, 0, 1);
}

int
fdatasync(int fd)
{
	static int count;
	const char *hold = getenv("SHIM_HOLD_SYNC");
	int (*real)(int);
	char name[256];

	if (++count == setting("SHIM_FAIL_SYNC")) {
		errno = EIO;
		return -1;
	}
	if (hold != NULL)
		wait_for(hold);
	/* On record once it has returned: only then does it count. */
	REAL(real, "fdatasync");
	if (real(fd) == -1)
		return -1;
	trace("fdatasync %s\n", name_of(fd, name));
	return 0;
}

int
fsync(int fd)
{
	int (*real)(int);
	char name[256];

	REAL(real, "fsync");
	if (real(fd) == -1)
		return -1;
	trace("fsync %s\n", name_of(fd, name));
	return 0;
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int (*real)(int, const char *, int, const char *);

	trace("rename %s %s\n", from, to);
	REAL(real, "renameat");
	return real(from_fd, from, to_fd, to);
}

int
unlinkat(int dir_fd, const char *path, int flags)
{
	int (*real)(int, const char *, int);

	trace("unlink %s\n", path);
	REAL(real, "unlinkat");
	return real(dir_fd, path, flags);
}

ssize_t
send(int fd, const void *data, size_t bytes, int flags)
{
	ssize_t (*real)(int, const void *, size_t, int);
	const char *p = data;

	for (size_t i = 0; i + 4 < bytes; i++)
		if (memcmp(p + i, "\"ack\"", 5) == 0)
			trace("ack\n");
	if (bytes > 4 && memmem(data, bytes, "\"n\"", 3) != NULL)
		trace("event\n");
	REAL(real, "send");
	return real(fd, data, bytes, flags);
}
