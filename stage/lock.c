#include "stage/lock.h"

#include "stage/io.h"
#include "stage/number.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
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
	/* What it links to, if it does, is not ours to write to. */
	int lock = openat(
	    dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
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

/* Looks for a lock on the file in /proc/locks. Returns its holder or 0. */
static pid_t
find_in_locks(const struct stat *st)
{
	FILE *locks = fopen("/proc/locks", "re");
	pid_t holder = 0;
	char line[256];

	if (locks == NULL)
		return 0;
	while (holder == 0 && fgets(line, sizeof(line), locks) != NULL) {
		unsigned int major_id, minor_id;
		uint64_t inode;
		int pid;

		if (sscanf(line, "%*u: FLOCK %*s WRITE %d %x:%x:%" SCNu64, &pid,
			&major_id, &minor_id, &inode) != 4)
			continue;
		if (inode == st->st_ino && major_id == major(st->st_dev) &&
		    minor_id == minor(st->st_dev))
			holder = pid;
	}
	(void)fclose(locks);
	return holder;
}

/* Says whether the process `pid` has the file open. */
static bool
has_open(pid_t pid, const struct stat *st)
{
	char path[64];
	struct dirent *entry;
	struct stat found;
	bool has = false;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (dir == NULL)
		return kill(pid, 0) == 0 || errno == EPERM;
	while (!has && (entry = readdir(dir)) != NULL)
		has = entry->d_name[0] != '.' &&
		      fstatat(dirfd(dir), entry->d_name, &found, 0) == 0 &&
		      found.st_dev == st->st_dev && found.st_ino == st->st_ino;
	(void)closedir(dir);
	return has;
}

int
lock_look(int dir_fd, const char *name, pid_t *holder)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	pid_t told;
	int saved;

	if (fd == -1)
		return errno == ENOENT ? 0 : -1;
	if (fstat(fd, &st) == -1) {
		saved = errno;
		(void)close(fd);
		errno = saved;
		return -1;
	}
	told = read_holder(fd);
	(void)close(fd);
	*holder = find_in_locks(&st);
	if (*holder == 0 && told > 0 && told != getpid() && has_open(told, &st))
		*holder = told;
	return *holder == 0 ? 0 : 1;
}
