#include "walproc/place.h"

#include "stage/lock.h"
#include "stage/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens the directory, making it if need be; -1 with errno set. */
static int
open_dir(const char *path)
{
	bool made = mkdir(path, 0700) == 0;
	int fd = -1, parent, saved;

	if (!made && errno != EEXIST)
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1 || !made)
		return fd;
	/* The name is data too: a power cut may lose it and all it holds. */
	parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent != -1 && fsync(parent) == 0) {
		(void)close(parent);
		return fd;
	}
	saved = errno;
	if (parent != -1)
		(void)close(parent);
	(void)close(fd);
	errno = saved;
	return -1;
}

enum exitcode
place_exitcode(int error)
{
	switch (error) {
	case EACCES:
	case EEXIST:
	case EPERM:
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ENAMETOOLONG:
		return EXITCODE_FINAL;
	default:
		return EXITCODE_AGAIN;
	}
}

enum exitcode
place_open(struct place *place, const char *path)
{
	pid_t holder = 0;
	int dir_fd = open_dir(path), lock_fd = -1;
	enum exitcode exitcode = EXITCODE_FINAL;

	if (dir_fd == -1) {
		exitcode = place_exitcode(errno);
		log_error("%s: %m", path);
		return exitcode;
	}
	switch (lock_take(dir_fd, PLACE_LOCK_NAME, &lock_fd, &holder)) {
	case LOCK_TAKEN:
		*place = (struct place){.dir_fd = dir_fd, .lock_fd = lock_fd};
		return EXITCODE_DONE;
	case LOCK_HELD:
		log_error(
		    "%s: another walproc has it, pid %d", path, (int)holder);
		break;
	case LOCK_ERROR:
		exitcode = place_exitcode(errno);
		log_error("%s/" PLACE_LOCK_NAME ": %m", path);
		break;
	}
	(void)close(dir_fd);
	return exitcode;
}

void
place_close(struct place *place)
{
	(void)close(place->dir_fd);
	(void)close(place->lock_fd);
}

int
place_make_fifo(const char *path)
{
	struct stat st;
	int fd = -1;

	if (lstat(path, &st) == 0 && !S_ISFIFO(st.st_mode)) {
		log_error("--acks %s: it is there and no FIFO", path);
		errno = EEXIST;
		return -1;
	}
	if ((unlink(path) == 0 || errno == ENOENT) && mkfifo(path, 0600) == 0)
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		log_error("--acks %s: %m", path);
	return fd;
}
