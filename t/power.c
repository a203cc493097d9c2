#include "t/power.h"

#include "t/must.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR_BYTES UINT64_C(512)

/* One write that no sync has followed: what was there before. */
struct change {
	ino_t inode;
	uint64_t offset;
	size_t bytes;
	uint8_t *before; /* owned */
	bool is_lost;	 /* a sync failed: none will make it durable */
};

struct power_fault power_fault;
unsigned int power_strikes;

static struct {
	struct change *list;
	size_t count, room;
} changes;

ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_unlinkat(int dir_fd, const char *name, int flags);
int __wrap_unlinkat(int dir_fd, const char *name, int flags);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);

static ino_t
inode_of(int fd)
{
	struct stat st;

	MUST(fstat(fd, &st) == 0, "fstat: %s", strerror(errno));
	return st.st_ino;
}

/*
 * What a failed sync left in the kernel's pages only, and is now written again
 * as a whole, can be made durable again; what is on the disk is still older.
 */
static void
replace_lost(struct change *by)
{
	size_t kept = 0;

	for (size_t i = 0; i < changes.count; i++) {
		struct change *change = &changes.list[i];

		if (change->is_lost && change->inode == by->inode &&
		    change->offset >= by->offset &&
		    change->offset + change->bytes <= by->offset + by->bytes) {
			memcpy(by->before + (change->offset - by->offset),
			    change->before, change->bytes);
			free(change->before);
		} else
			changes.list[kept++] = *change;
	}
	changes.count = kept;
}

/* Notes what stands where is written now. */
static void
note(int fd, size_t bytes, off_t offset)
{
	struct change change = {
	    .inode = inode_of(fd),
	    .offset = (uint64_t)offset,
	    .bytes = bytes,
	    .before = calloc(1, bytes),
	};
	ssize_t n;

	MUST(change.before != NULL, "calloc: %s", strerror(errno));
	n = pread(fd, change.before, bytes, offset);
	MUST(n >= 0, "pread: %s", strerror(errno));
	replace_lost(&change);
	if (changes.count == changes.room) {
		changes.room = changes.room == 0 ? 64 : 2 * changes.room;
		changes.list =
		    realloc(changes.list, changes.room * sizeof(*changes.list));
		MUST(changes.list != NULL, "realloc: %s", strerror(errno));
	}
	changes.list[changes.count++] = change;
}

/* Forgets the changes of a file; but those that a failed sync left only if the
 * file is gone. */
static void
forget(ino_t inode, bool is_gone)
{
	size_t kept = 0;

	for (size_t i = 0; i < changes.count; i++) {
		struct change *change = &changes.list[i];

		if (change->inode == inode && (is_gone || !change->is_lost))
			free(change->before);
		else
			changes.list[kept++] = *change;
	}
	changes.count = kept;
}

/* Says whether this call is to fail; errno is then set. */
static bool
strikes(enum power_call call)
{
	struct power_fault *fault = &power_fault;

	if (fault->call != call || fault->in == 0)
		return false;
	if (fault->in > 1) {
		fault->in--;
		return false;
	}
	if (!fault->is_lasting)
		fault->in = 0;
	power_strikes++;
	errno = fault->error;
	return true;
}

ssize_t
__wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
	uint64_t arrive;

	if (!strikes(POWER_WRITE)) {
		note(fd, bytes, offset);
		return __real_pwrite(fd, data, bytes, offset);
	}
	arrive = ((uint64_t)offset + bytes / 2) / SECTOR_BYTES * SECTOR_BYTES;
	if (power_fault.is_short && arrive > (uint64_t)offset) {
		arrive -= (uint64_t)offset;
		note(fd, (size_t)arrive, offset);
		(void)__real_pwrite(fd, data, (size_t)arrive, offset);
		errno = power_fault.error;
	}
	return -1;
}

int
__wrap_fdatasync(int fd)
{
	ino_t inode = inode_of(fd);

	if (!strikes(POWER_SYNC)) {
		forget(inode, false);
		return __real_fdatasync(fd);
	}
	for (size_t i = 0; i < changes.count; i++)
		if (changes.list[i].inode == inode)
			changes.list[i].is_lost = true;
	return -1;
}

/* The number of a file that is gone may be given to a new one. */
static void
forget_name(int dir_fd, const char *name)
{
	struct stat st;
	int saved = errno;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		forget(st.st_ino, true);
	errno = saved;
}

int
__wrap_unlinkat(int dir_fd, const char *name, int flags)
{
	forget_name(dir_fd, name);
	return __real_unlinkat(dir_fd, name, flags);
}

int
__wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	forget_name(to_fd, to);
	return __real_renameat(from_fd, from, to_fd, to);
}

void
power_reset(void)
{
	for (size_t i = 0; i < changes.count; i++)
		free(changes.list[i].before);
	changes.count = 0;
	power_fault = (struct power_fault){0};
	power_strikes = 0;
}

/* Opens the file of that number, if it still has a name; else -1. */
static int
open_inode(const struct log_dir *dir, ino_t inode)
{
	int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *list;

	MUST(fd != -1, "openat: %s", strerror(errno));
	list = fdopendir(fd);
	MUST(list != NULL, "fdopendir: %s", strerror(errno));
	fd = -1;
	while (fd == -1 && (entry = readdir(list)) != NULL)
		if (entry->d_ino == inode)
			fd = openat(dir->fd, entry->d_name, O_RDWR | O_CLOEXEC);
	(void)closedir(list);
	return fd;
}

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Returns how many of the first changes of a sector arrived on the disk. */
static size_t
arrived(ino_t inode, uint64_t sector, enum power_cut how, uint64_t random)
{
	uint64_t chance;
	size_t first = 0;

	if (how == POWER_CUT_ALL_LOST)
		return 0;
	/* The same at each run, which the number of the file is not. */
	while (changes.list[first].inode != inode)
		first++;
	chance = mix(mix(random ^ first) ^ sector);
	if (how == POWER_CUT_ALL_KEPT || chance % 4 == 0)
		return SIZE_MAX;
	if (chance % 4 == 1)
		return 0;
	return (size_t)(chance / 4 % (changes.count + 1));
}

/* Takes back the sectors of the change `index` that did not arrive. */
static void
take_back(int fd, size_t index, enum power_cut how, uint64_t random)
{
	const struct change *change = &changes.list[index];
	uint64_t to = change->offset + change->bytes;

	for (uint64_t at = change->offset; at < to;) {
		uint64_t sector = at / SECTOR_BYTES;
		uint64_t next = (sector + 1) * SECTOR_BYTES;
		size_t bytes = (size_t)((next < to ? next : to) - at);

		if (index >= arrived(change->inode, sector, how, random))
			MUST(__real_pwrite(fd,
				 change->before + (at - change->offset), bytes,
				 (off_t)at) == (ssize_t)bytes,
			    "pwrite: %s", strerror(errno));
		at += bytes;
	}
}

void
power_cut(const struct log_dir *dir, enum power_cut how, uint64_t random)
{
	for (size_t i = changes.count; i > 0; i--) {
		int fd = open_inode(dir, changes.list[i - 1].inode);

		if (fd == -1)
			continue;
		take_back(fd, i - 1, how, random);
		(void)close(fd);
	}
	for (size_t i = 0; i < changes.count; i++)
		free(changes.list[i].before);
	changes.count = 0;
}
