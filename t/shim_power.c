/*
 * What t/test_power.py puts in front of walproc's system calls (LD_PRELOAD),
 * told by environment variables:
 *
 *   POWER_MARK=PATH   what walproc sends to a neighbour is first written to
 *                     PATH, the mark file of a powerfs, so that it stands in
 *                     the journal behind all that walproc had done before it
 *   POWER_LATE_SYNC=1 fdatasync(2) says at once that it is done, and is done
 *                     when the next send(2) has sent: an ack comes first. No
 *                     other change to the disk comes between the two
 *
 * A mark is the letter o, the descriptor's number as a byte, and what is about
 * to be sent; or, when less than that was taken, t, the number, and how many
 * bytes were, big-endian in 4.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REAL(pointer, name) (*(void **)&(pointer) = dlsym(RTLD_NEXT, name))
#define LATE_MAX 16

ssize_t send(int fd, const void *data, size_t bytes, int flags);
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int ftruncate(int fd, off_t size);
int ftruncate64(int fd, off_t size);
int fdatasync(int fd);
int fsync(int fd);
int renameat(int from_fd, const char *from, int to_fd, const char *to);
int unlinkat(int dir_fd, const char *path, int flags);
int close(int fd);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int late[LATE_MAX]; /* descriptors that are to be synced */
static int late_count;

static void
mark(char kind, int fd, const void *data, size_t bytes)
{
	const char *path = getenv("POWER_MARK");
	int (*real_close)(int);
	char *text;
	int mark_fd;

	if (path == NULL)
		return;
	text = malloc(bytes + 2);
	if (text == NULL)
		abort();
	text[0] = kind;
	text[1] = (char)fd;
	memcpy(text + 2, data, bytes);
	mark_fd = open(path, O_WRONLY | O_CLOEXEC);
	/* Without the mark the test would ask for less than was promised. */
	if (write(mark_fd, text, bytes + 2) != (ssize_t)bytes + 2)
		abort();
	REAL(real_close, "close");
	(void)real_close(mark_fd);
	free(text);
}

/* Does the syncs that were said to be done. */
static void
sync_late(void)
{
	int (*real)(int);

	REAL(real, "fdatasync");
	(void)pthread_mutex_lock(&lock);
	while (late_count > 0)
		if (real(late[--late_count]) == -1)
			abort();
	(void)pthread_mutex_unlock(&lock);
}

int
fdatasync(int fd)
{
	int (*real)(int);

	if (getenv("POWER_LATE_SYNC") == NULL) {
		REAL(real, "fdatasync");
		return real(fd);
	}
	(void)pthread_mutex_lock(&lock);
	if (late_count == LATE_MAX)
		abort();
	late[late_count++] = fd;
	(void)pthread_mutex_unlock(&lock);
	return 0;
}

ssize_t
send(int fd, const void *data, size_t bytes, int flags)
{
	ssize_t (*real)(int, const void *, size_t, int);
	ssize_t n;

	REAL(real, "send");
	mark('o', fd, data, bytes);
	n = real(fd, data, bytes, flags);
	if (n != (ssize_t)bytes) {
		uint32_t took = n == -1 ? 0 : (uint32_t)n;
		unsigned char text[4] = {(unsigned char)(took >> 24),
		    (unsigned char)(took >> 16), (unsigned char)(took >> 8),
		    (unsigned char)took};
		int saved = errno;

		mark('t', fd, text, sizeof(text));
		errno = saved;
	}
	if (n > 0)
		sync_late();
	return n;
}

/* What else changes the disk finds it as it would be without this shim. */

ssize_t
pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
	ssize_t (*real)(int, const void *, size_t, off_t);

	sync_late();
	REAL(real, "pwrite");
	return real(fd, data, bytes, offset);
}

ssize_t
pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
	return pwrite(fd, data, bytes, offset);
}

int
ftruncate(int fd, off_t size)
{
	int (*real)(int, off_t);

	sync_late();
	REAL(real, "ftruncate");
	return real(fd, size);
}

int
ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}

int
fsync(int fd)
{
	int (*real)(int);

	sync_late();
	REAL(real, "fsync");
	return real(fd);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int (*real)(int, const char *, int, const char *);

	sync_late();
	REAL(real, "renameat");
	return real(from_fd, from, to_fd, to);
}

int
unlinkat(int dir_fd, const char *path, int flags)
{
	int (*real)(int, const char *, int);

	sync_late();
	REAL(real, "unlinkat");
	return real(dir_fd, path, flags);
}

int
close(int fd)
{
	int (*real)(int);

	sync_late();
	REAL(real, "close");
	return real(fd);
}
