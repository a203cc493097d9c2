#include "stage/lock.h"

#include "stage/io.h"
#include "stage/number.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define PID_TEXT_BYTES 24

/* Reads the pid that the holder wrote; 0 if there is none. */
static pid_t
read_holder(int fd)
{
	char text[PID_TEXT_BYTES];
	ssize_t n = io_pread_full(fd, text, sizeof(text) - 1, 0);
	uint64_t pid;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (number_parse(text, 1, INT32_MAX, &pid) == -1)
		return 0;
	return (pid_t)pid;
}

static int
write_holder(int fd)
{
	char text[PID_TEXT_BYTES];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) == -1)
		return -1;
	return io_pwrite_full(fd, text, (size_t)n, 0);
}

enum lock_status
lock_take(int dir_fd, const char *name, int *fd, pid_t *holder)
{
	int lock = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int saved;

	if (lock == -1)
		return LOCK_ERROR;
	if (flock(lock, LOCK_EX | LOCK_NB) == -1) {
		saved = errno;
		*holder = read_holder(lock);
		(void)close(lock);
		errno = saved;
		return saved == EWOULDBLOCK ? LOCK_HELD : LOCK_ERROR;
	}
	/* The pid is for people only: a full disk must not keep us from
	 * delivering what would make room on it. */
	if (write_holder(lock) == -1 && !io_is_full_disk(errno)) {
		saved = errno;
		(void)close(lock);
		errno = saved;
		return LOCK_ERROR;
	}
	*fd = lock;
	return LOCK_TAKEN;
}
