#include "supervisor/state_dir.h"

#include "stage/io.h"
#include "stage/lock.h"
#include "stage/loop.h"
#include "stage/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long the stages of a dead supervisor may take to end. */
#define LEFT_WAIT_NS (2 * LOOP_NS_PER_S)
#define LEFT_POLL_NS (10 * LOOP_NS_PER_MS)
/* /proc/PID/stat is shorter. */
#define STAT_BYTES 4096

static bool
is_absolute(const char *path)
{
	return path != NULL && path[0] == '/';
}

char *
state_dir_default(const struct state_dir_env *env)
{
	if (is_absolute(env->state_directory))
		return mem_strndup(
		    env->state_directory, strcspn(env->state_directory, ":"));
	if (env->is_root)
		return mem_strdup("/var/lib/walpipe");
	if (is_absolute(env->xdg_state_home))
		return mem_printf("%s/walpipe", env->xdg_state_home);
	if (is_absolute(env->home))
		return mem_printf("%s/.local/state/walpipe", env->home);
	return NULL;
}

static int
make_one(const char *path)
{
	struct stat st;
	int saved;

	if (mkdir(path, 0700) == 0)
		return 0;
	saved = errno;
	/* Whatever mkdir says of a directory that is there, it is there. */
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		saved = ENOTDIR;
	}
	errno = saved;
	return -1;
}

int
state_dir_make(const char *path)
{
	char *part = mem_strdup(path);
	int result = 0;

	for (char *p = part + 1; result == 0 && *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		result = make_one(part);
		*p = '/';
	}
	if (result == 0)
		result = make_one(part);
	free(part);
	return result;
}

static int give_tree(int dir_fd, uid_t uid, gid_t gid);

/* Gives away one entry of a directory. Nothing is looked up twice: who owns
 * the directory could put something else there meanwhile. */
static int
give_entry(int dir_fd, const char *name, uid_t uid, gid_t gid)
{
	int fd = openat(dir_fd, name,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	int result = 0;

	/* A link, a socket, or gone. */
	if (fd == -1)
		return errno == ELOOP || errno == ENXIO || errno == ENOENT ? 0
									   : -1;
	if (fstat(fd, &st) == -1)
		result = -1;
	else if (S_ISDIR(st.st_mode))
		return give_tree(fd, uid, gid);
	else if (st.st_nlink == 1)
		result = fchown(fd, uid, gid);
	(void)close(fd);
	return result;
}

/* Gives away an open directory, which is closed, and what is in it; itself
 * last, so that one that was left half done is found so. */
static int
give_tree(int dir_fd, uid_t uid, gid_t gid)
{
	DIR *dir = fdopendir(dir_fd);
	const struct dirent *entry;
	int result = 0;

	if (dir == NULL) {
		(void)close(dir_fd);
		return -1;
	}
	while (result == 0 && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			result = give_entry(dir_fd, entry->d_name, uid, gid);
	}
	if (result == 0)
		result = fchown(dir_fd, uid, gid);
	(void)closedir(dir);
	return result;
}

int
state_dir_give(const char *path, uid_t uid, gid_t gid)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && st.st_uid == uid &&
	    (gid == (gid_t)-1 || st.st_gid == gid)) {
		(void)close(fd);
		return 0;
	}
	return give_tree(fd, uid, gid);
}

int
state_dir_let_pass(const char *path, gid_t gid)
{
	if (chown(path, (uid_t)-1, gid) == -1)
		return -1;
	return chmod(path, 0710);
}

/* Says whether a process runs: a zombie does not. */
static bool
is_running(pid_t pid)
{
	char name[32], *text;
	const char *end;
	size_t bytes;
	bool is_dead;

	if (kill(pid, 0) == -1 && errno == ESRCH)
		return false;
	(void)snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	text = io_read_file(name, STAT_BYTES, &bytes);
	if (text == NULL)
		return errno != ENOENT && errno != ESRCH;
	/* The name before the state may hold anything, ")" too. */
	end = strrchr(text, ')');
	is_dead = end != NULL && (end[2] == 'Z' || end[2] == 'X');
	free(text);
	return !is_dead;
}

/* Takes the lock in an open directory; see state_dir_lock. */
static enum state_dir_lock
wait_for_lock(int dir_fd, int *fd, pid_t *holder)
{
	const struct timespec pause = {.tv_nsec = LEFT_POLL_NS};
	int64_t end_ns = loop_now_ns() + LEFT_WAIT_NS;

	for (;;) {
		enum lock_status status = lock_take(dir_fd, "LOCK", fd, holder);

		if (status == LOCK_TAKEN)
			return STATE_DIR_LOCKED;
		if (status == LOCK_ERROR)
			return STATE_DIR_FAILED;
		/* Judged anew each time: a third supervisor may be faster. */
		if (*holder != 0 && is_running(*holder))
			return STATE_DIR_BUSY;
		if (loop_now_ns() >= end_ns)
			return *holder != 0 ? STATE_DIR_LEFT : STATE_DIR_BUSY;
		(void)nanosleep(&pause, NULL);
	}
}

enum state_dir_lock
state_dir_lock(const char *path, int *fd, pid_t *holder)
{
	int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), saved;
	enum state_dir_lock result;

	*holder = 0;
	if (dir_fd == -1)
		return STATE_DIR_FAILED;
	result = wait_for_lock(dir_fd, fd, holder);
	saved = errno;
	(void)close(dir_fd);
	errno = saved;
	return result;
}
