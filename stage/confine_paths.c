#include "stage/confine_paths.h"

#include "stage/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of later kernels than the headers may be. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#ifndef LANDLOCK_ACCESS_NET_BIND_TCP
#define LANDLOCK_ACCESS_NET_BIND_TCP (1ULL << 0)
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (1ULL << 1)
#endif
#ifndef LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define LANDLOCK_SCOPE_SIGNAL (1ULL << 1)
#endif

#define READS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* What Landlock has had from its first version on. */
#define FIRST_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
/* What can be said of a file that is no directory. */
#define FILE_RIGHTS \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
	    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_TRUNCATE | \
	    LANDLOCK_ACCESS_FS_IOCTL_DEV)

/* landlock_ruleset_attr as the last kernel known here has it; the first
 * versions have its beginning only. */
struct ruleset {
	uint64_t fs;	 /* rights that are refused where no rule grants them */
	uint64_t net;	 /* likewise; since version 4 */
	uint64_t scoped; /* since version 6 */
};

/* Returns the version that the kernel has, 0 for none. */
static int
version(void)
{
	long n = syscall(SYS_landlock_create_ruleset, NULL, 0,
	    LANDLOCK_CREATE_RULESET_VERSION);

	return n > 0 ? (int)n : 0;
}

/* Fills in all that a version has. Returns how long that is. */
static size_t
take_rights(struct ruleset *ruleset, int abi, bool may_connect)
{
	*ruleset = (struct ruleset){.fs = FIRST_RIGHTS};
	if (abi >= 2)
		ruleset->fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		ruleset->fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 5)
		ruleset->fs |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	ruleset->net = LANDLOCK_ACCESS_NET_BIND_TCP;
	if (!may_connect)
		ruleset->net |= LANDLOCK_ACCESS_NET_CONNECT_TCP;
	ruleset->scoped =
	    LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL;
	if (abi < 4)
		return sizeof(ruleset->fs);
	return abi < 6 ? sizeof(ruleset->fs) + sizeof(ruleset->net)
		       : sizeof(*ruleset);
}

/* Grants one path, open as `fd`. */
static int
grant_fd(int ruleset_fd, const struct ruleset *ruleset, int fd,
    enum confine_access access)
{
	struct landlock_path_beneath_attr rule = {
	    .allowed_access = READS,
	    .parent_fd = fd,
	};
	struct stat st;

	if (access == CONFINE_READ_WRITE)
		rule.allowed_access =
		    ruleset->fs & ~(LANDLOCK_ACCESS_FS_EXECUTE |
				      LANDLOCK_ACCESS_FS_IOCTL_DEV);
	if (fstat(fd, &st) == -1)
		return -1;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FILE_RIGHTS;
	if (syscall(SYS_landlock_add_rule, ruleset_fd,
		LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == -1)
		/* What no path leads to, as a memfd, is refused to nobody. */
		return errno == EBADFD ? 0 : -1;
	return 0;
}

static int
grant(int ruleset_fd, const struct ruleset *ruleset,
    const struct confine_path *path)
{
	int fd, result, saved;

	if (path->path == NULL)
		return grant_fd(ruleset_fd, ruleset, path->fd, path->access);
	fd = open(path->path, O_PATH | O_CLOEXEC);
	if (fd == -1)
		return 0;
	result = grant_fd(ruleset_fd, ruleset, fd, path->access);
	saved = errno;
	(void)close(fd);
	errno = saved;
	return result;
}

/* Says whether a version can do what is asked: the first one lets no file move
 * from one directory to another, wherever they are. */
static bool
is_enough(int abi, const struct confine_path *paths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (paths[i].access == CONFINE_READ_WRITE && abi < 2)
			return false;
	return abi > 0;
}

int
confine_paths(const struct confine_path *paths, size_t count, bool may_connect)
{
	struct ruleset ruleset;
	int abi = version(), fd, result = -1;
	size_t bytes = take_rights(&ruleset, abi, may_connect);

	if (!is_enough(abi, paths, count)) {
		log_debug("confinement: files and ports are not refused: the "
			  "kernel's Landlock is version %d",
		    abi);
		return 0;
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, bytes, 0);
	if (fd == -1) {
		log_error("confinement: Landlock: %m");
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		if (grant(fd, &ruleset, &paths[i]) == 0)
			continue;
		log_error("confinement: Landlock: %s: %m",
		    paths[i].path == NULL ? "a descriptor" : paths[i].path);
		goto done;
	}
	if (syscall(SYS_landlock_restrict_self, fd, 0) == -1) {
		log_error("confinement: Landlock: %m");
		goto done;
	}
	log_debug("confinement: Landlock version %d, %zu paths", abi, count);
	result = 0;
done:
	(void)close(fd);
	return result;
}
