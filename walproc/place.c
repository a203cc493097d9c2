#include "walproc/place.h"

#include "stage/lock.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "walproc/cursor.h"
#include "walproc/dead.h"
#include "walproc/quarantine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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
place_open(struct place *place, const char *path, enum exitcode when_held)
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
		/* The file may be removed under its holder; this cannot. Some
		 * file systems have no such lock: then the file is all. */
		if (flock(dir_fd, LOCK_EX | LOCK_NB) == -1 &&
		    errno == EWOULDBLOCK) {
			log_error("%s: another walproc has it, whose LOCK was "
				  "removed",
			    path);
			(void)close(lock_fd);
			exitcode = when_held;
			break;
		}
		*place = (struct place){.dir_fd = dir_fd, .lock_fd = lock_fd};
		return EXITCODE_DONE;
	case LOCK_HELD:
		log_error(
		    "%s: another walproc has it, pid %d", path, (int)holder);
		exitcode = when_held;
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

/* Says whether a name is one that the log has for files of its own. */
static bool
is_taken(const char *name)
{
	static const char *const names[] = {PLACE_LOCK_NAME, CURSOR_NAME,
	    DEAD_NAME, SEGMENT_SPARE, "quarantine"};
	uint64_t seq;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return strncmp(name, CURSOR_SINK_NAME, strlen(CURSOR_SINK_NAME)) == 0 ||
	       segment_is_name(name, &seq);
}

/* Says whether `path` names a file of the log itself. */
static bool
is_own_file(const struct place *place, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash == NULL
			? mem_strdup(".")
			: mem_strndup(path, (size_t)(slash - path) + 1);
	struct stat ours, theirs;
	bool is_same =
	    fstat(place->dir_fd, &ours) == 0 && stat(dir, &theirs) == 0 &&
	    ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;

	free(dir);
	return is_same && is_taken(slash == NULL ? path : slash + 1);
}

int
place_make_fifo(const struct place *place, const char *path)
{
	struct stat st;
	int fd = -1;

	if (is_own_file(place, path)) {
		log_error("--acks %s: the log has a file of that name", path);
		errno = EEXIST;
		return -1;
	}
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

enum exitcode
place_clear(const struct place *place)
{
	static const char *const names[] = {
	    CURSOR_NAME, DEAD_NAME, SEGMENT_SPARE};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (quarantine_odd(place->dir_fd, names[i]) == 0)
			continue;
		log_error("%s cannot be moved to quarantine: %m", names[i]);
		return place_exitcode(errno);
	}
	return EXITCODE_DONE;
}
