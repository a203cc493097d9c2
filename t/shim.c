/*
 * What a test puts in front of walproc's system calls (LD_PRELOAD), told by
 * environment variables:
 *
 *   SHIM_FAIL_SYNC=N   the N-th fdatasync(2) from the start fails with EIO
 *   SHIM_LOSE_BATCH=N  each N-th batch with events in it is not written, and
 *                      said to be: a log that acks what it has not got
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
typedef int (*fdatasync_fn)(int);

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset);
int fdatasync(int fd);

/* Returns the number in an environment variable, 0 if it is not set. */
static int
setting(const char *name)
{
	const char *text = getenv(name);

	return text == NULL ? 0 : atoi(text);
}

static int
is_batch(const void *data, size_t bytes)
{
	static const unsigned char none[4];
	const unsigned char *p = data;

	return bytes >= 48 && memcmp(p, "WPBH", 4) == 0 &&
	       memcmp(p + 8, none, sizeof(none)) != 0;
}

static ssize_t
write_or_lose(
    const char *name, int fd, const void *data, size_t bytes, off_t offset)
{
	static int count;
	int nth = setting("SHIM_LOSE_BATCH");
	pwrite_fn real;

	if (nth > 0 && is_batch(data, bytes) && ++count % nth == 0)
		return (ssize_t)bytes;
	*(void **)&real = dlsym(RTLD_NEXT, name);
	return real(fd, data, bytes, offset);
}

ssize_t
pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
	return write_or_lose("pwrite", fd, data, bytes, offset);
}

ssize_t
pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
	return write_or_lose("pwrite64", fd, data, bytes, offset);
}

int
fdatasync(int fd)
{
	static int count;
	fdatasync_fn real;

	if (++count == setting("SHIM_FAIL_SYNC")) {
		errno = EIO;
		return -1;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
	return real(fd);
}
