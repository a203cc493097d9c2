/*
 * powerfs: a filesystem for tests of power cuts. It shows a backing directory
 * and passes each operation on to it, and writes all that changes something,
 * and each sync, to a journal in the order in which it was done
 * (powerfs_journal.h). It decides nothing about what a cut leaves.
 *
 *   powerfs BACKING JOURNAL MOUNTPOINT [ignore-sync] [ignore-sync-dir]
 *
 * Says "ready" on standard output once it is mounted, and unmounts when its
 * standard input ends, so that it never outlives the test that started it. One
 * thread does one operation after another. Nothing is cached that would keep a
 * write from being seen here at once.
 *
 * What is written to the file /.mark, which no listing shows, goes into the
 * journal as a mark: a test says there what it knows at that moment. The two
 * options leave syncs of files, or of directories, out of the journal: a disk
 * on which they do nothing.
 *
 * Exit status: 0 unmounted, 77 it cannot be mounted here, 1 all else.
 */
#define FUSE_USE_VERSION 35

#include "t/powerfs_journal.h"

#include <fuse3/fuse_lowlevel.h>

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MARK_NAME ".mark"
#define MARK_INO 1 /* shown; no file on a disk has it */
#define CACHE_SECONDS 1.0
#define EXIT_NOT_HERE 77

/* A file or directory that the kernel knows. */
struct node {
	ino_t ino;	   /* in the backing directory */
	int fd;		   /* opened with O_PATH; owned */
	uint64_t refs;	   /* the kernel's */
	struct node *next; /* in the list of all; owned */
};

struct powerfs {
	struct node root; /* of the list; never freed */
	struct node mark; /* /.mark; not in the list, and has no fd */
	int journal_fd;
	bool ignores_sync;
	bool ignores_sync_dir;
};

static struct powerfs *
powerfs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct node *
node_of(struct powerfs *fs, fuse_ino_t ino)
{
	if (ino == FUSE_ROOT_ID)
		return &fs->root;
	return (struct node *)(uintptr_t)ino;
}

static void
record(struct powerfs *fs, enum journal_kind kind, uint64_t x, uint64_t y,
    const char *name)
{
	journal_add(fs->journal_fd, kind, x, y, 0, name,
	    name == NULL ? 0 : strlen(name));
}

/* The path by which an O_PATH descriptor is opened for real. */
static const char *
path_of(const struct node *node, char path[32])
{
	(void)snprintf(path, 32, "/proc/self/fd/%d", node->fd);
	return path;
}

static int
get_attr(struct powerfs *fs, const struct node *node, struct stat *st)
{
	if (node != &fs->mark)
		return fstatat(node->fd, "", st,
			   AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == -1
			   ? errno
			   : 0;
	*st = (struct stat){.st_ino = MARK_INO,
	    .st_mode = S_IFREG | 0600,
	    .st_nlink = 1,
	    .st_uid = getuid(),
	    .st_gid = getgid()};
	return 0;
}

/*
 * Finds a name and counts it as known to the kernel. Returns 0 or an error
 * number.
 */
static int
find(struct powerfs *fs, const struct node *dir, const char *name,
    struct fuse_entry_param *entry)
{
	struct node *node;
	int fd;

	*entry = (struct fuse_entry_param){
	    .attr_timeout = CACHE_SECONDS,
	    .entry_timeout = CACHE_SECONDS,
	};
	if (dir == &fs->root && strcmp(name, MARK_NAME) == 0) {
		entry->ino = (uintptr_t)&fs->mark;
		return get_attr(fs, &fs->mark, &entry->attr);
	}
	fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return errno;
	if (fstatat(fd, "", &entry->attr, AT_EMPTY_PATH) == -1) {
		int error = errno;

		(void)close(fd);
		return error;
	}
	node = fs->root.next;
	while (node != NULL && node->ino != entry->attr.st_ino)
		node = node->next;
	if (node != NULL) {
		(void)close(fd);
	} else {
		node = calloc(1, sizeof(*node));
		assert(node != NULL);
		*node = (struct node){
		    .ino = entry->attr.st_ino, .fd = fd, .next = fs->root.next};
		fs->root.next = node;
	}
	node->refs++;
	entry->ino = (uintptr_t)node;
	return 0;
}

static void
forget(struct powerfs *fs, fuse_ino_t ino, uint64_t refs)
{
	struct node *node = node_of(fs, ino), **link = &fs->root.next;

	if (node == &fs->root || node == &fs->mark)
		return;
	assert(node->refs >= refs);
	node->refs -= refs;
	if (node->refs > 0)
		return;
	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
	(void)close(node->fd);
	free(node);
}

static void
do_init(void *data, struct fuse_conn_info *conn)
{
	(void)data;
	/* Each write comes here when it is made, with its own size. */
	conn->want &= ~(unsigned int)FUSE_CAP_WRITEBACK_CACHE;
}

static void
do_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct powerfs *fs = powerfs_of(req);
	struct fuse_entry_param entry;
	int error = find(fs, node_of(fs, dir), name, &entry);

	if (error != 0)
		fuse_reply_err(req, error);
	else
		fuse_reply_entry(req, &entry);
}

static void
do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t refs)
{
	forget(powerfs_of(req), ino, refs);
	fuse_reply_none(req);
}

static void
do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);
	struct stat st;
	int error = get_attr(fs, node_of(fs, ino), &st);

	(void)fi;
	if (error != 0)
		fuse_reply_err(req, error);
	else
		fuse_reply_attr(req, &st, CACHE_SECONDS);
}

/* Sizes matter to a power cut, times and owners do not. */
static void
do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int set,
    struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);
	struct node *node = node_of(fs, ino);
	char path[32];

	if (node == &fs->mark)
		return do_getattr(req, ino, fi);
	(void)path_of(node, path);
	if ((set & FUSE_SET_ATTR_MODE) != 0 && chmod(path, st->st_mode) == -1) {
		fuse_reply_err(req, errno);
		return;
	}
	if ((set & FUSE_SET_ATTR_SIZE) != 0) {
		if (truncate(path, st->st_size) == -1) {
			fuse_reply_err(req, errno);
			return;
		}
		record(fs, JOURNAL_TRUNCATE, node->ino, (uint64_t)st->st_size,
		    NULL);
	}
	do_getattr(req, ino, fi);
}

/* Answers with a name that was just made. */
static void
reply_made(fuse_req_t req, const struct node *dir, const char *name,
    enum journal_kind kind)
{
	struct powerfs *fs = powerfs_of(req);
	struct fuse_entry_param entry;
	int error = find(fs, dir, name, &entry);

	if (error != 0) {
		fuse_reply_err(req, error);
		return;
	}
	record(fs, kind, dir->ino, entry.attr.st_ino, name);
	fuse_reply_entry(req, &entry);
}

static void
do_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	struct powerfs *fs = powerfs_of(req);

	if (mkdirat(node_of(fs, dir)->fd, name, mode) == -1)
		fuse_reply_err(req, errno);
	else
		reply_made(req, node_of(fs, dir), name, JOURNAL_MKDIR);
}

static void
do_mknod(
    fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t device)
{
	struct powerfs *fs = powerfs_of(req);

	(void)device;
	if (!S_ISFIFO(mode))
		fuse_reply_err(req, EPERM);
	else if (mkfifoat(node_of(fs, dir)->fd, name, mode) == -1)
		fuse_reply_err(req, errno);
	else
		reply_made(req, node_of(fs, dir), name, JOURNAL_FIFO);
}

static void
do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	struct powerfs *fs = powerfs_of(req);
	char path[32];

	if (linkat(AT_FDCWD, path_of(node_of(fs, ino), path),
		node_of(fs, dir)->fd, name, AT_SYMLINK_FOLLOW) == -1)
		fuse_reply_err(req, errno);
	else
		reply_made(req, node_of(fs, dir), name, JOURNAL_LINK);
}

static void
remove_name(fuse_req_t req, fuse_ino_t ino, const char *name, int flags)
{
	struct powerfs *fs = powerfs_of(req);
	struct node *dir = node_of(fs, ino);
	struct stat st;

	if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    unlinkat(dir->fd, name, flags) == -1) {
		fuse_reply_err(req, errno);
		return;
	}
	record(fs, JOURNAL_UNLINK, dir->ino, st.st_ino, name);
	fuse_reply_err(req, 0);
}

static void
do_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	remove_name(req, dir, name, 0);
}

static void
do_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	remove_name(req, dir, name, AT_REMOVEDIR);
}

static void
do_rename(fuse_req_t req, fuse_ino_t from_ino, const char *from,
    fuse_ino_t to_ino, const char *to, unsigned int flags)
{
	struct powerfs *fs = powerfs_of(req);
	struct node *from_dir = node_of(fs, from_ino),
		    *to_dir = node_of(fs, to_ino);
	char names[2 * NAME_MAX + 2];
	struct stat st;
	int n;

	if (flags != 0) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (fstatat(from_dir->fd, from, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    renameat(from_dir->fd, from, to_dir->fd, to) == -1) {
		fuse_reply_err(req, errno);
		return;
	}
	n = snprintf(names, sizeof(names), "%s%c%s", from, '\0', to);
	assert(n > 0 && (size_t)n < sizeof(names));
	journal_add(fs->journal_fd, JOURNAL_RENAME, from_dir->ino, to_dir->ino,
	    st.st_ino, names, (size_t)n + 1);
	fuse_reply_err(req, 0);
}

static void
do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);
	struct node *node = node_of(fs, ino);
	char path[32];
	int fd;

	if (node == &fs->mark) {
		fi->direct_io = 1;
		fuse_reply_open(req, fi);
		return;
	}
	/* The kernel gives each write its offset, those that append too. */
	fd = open(path_of(node, path),
	    (fi->flags & ~(O_NOFOLLOW | O_APPEND)) | O_CLOEXEC);
	if (fd == -1) {
		fuse_reply_err(req, errno);
		return;
	}
	fi->fh = (uint64_t)fd;
	fuse_reply_open(req, fi);
}

static void
do_create(fuse_req_t req, fuse_ino_t ino, const char *name, mode_t mode,
    struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);
	struct node *dir = node_of(fs, ino);
	struct fuse_entry_param entry;
	int error, fd;

	fd = openat(dir->fd, name,
	    (fi->flags & ~O_APPEND) | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd == -1) {
		fuse_reply_err(req, errno);
		return;
	}
	error = find(fs, dir, name, &entry);
	if (error != 0) {
		(void)close(fd);
		fuse_reply_err(req, error);
		return;
	}
	record(fs, JOURNAL_CREATE, dir->ino, entry.attr.st_ino, name);
	fi->fh = (uint64_t)fd;
	fuse_reply_create(req, &entry, fi);
}

static void
do_read(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t offset,
    struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);
	char *data;
	ssize_t n = 0;

	data = malloc(bytes);
	assert(data != NULL);
	if (node_of(fs, ino) != &fs->mark)
		n = pread((int)fi->fh, data, bytes, offset);
	if (n == -1)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, data, (size_t)n);
	free(data);
}

static void
do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t bytes,
    off_t offset, struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);
	struct node *node = node_of(fs, ino);
	ssize_t n;

	if (node == &fs->mark) {
		journal_add(fs->journal_fd, JOURNAL_MARK, 0, 0, 0, data, bytes);
		fuse_reply_write(req, bytes);
		return;
	}
	n = pwrite((int)fi->fh, data, bytes, offset);
	if (n == -1) {
		fuse_reply_err(req, errno);
		return;
	}
	journal_add(fs->journal_fd, JOURNAL_WRITE, node->ino, (uint64_t)offset,
	    0, data, (size_t)n);
	fuse_reply_write(req, (size_t)n);
}

static void
do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);

	if (node_of(fs, ino) != &fs->mark)
		(void)close((int)fi->fh);
	fuse_reply_err(req, 0);
}

/* That it is on a disk is a matter of the journal, not of the backing file. */
static void
do_fsync(
    fuse_req_t req, fuse_ino_t ino, int only_data, struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);

	(void)fi;
	if (!fs->ignores_sync)
		record(fs, JOURNAL_SYNC, node_of(fs, ino)->ino, only_data != 0,
		    NULL);
	fuse_reply_err(req, 0);
}

static void
do_fsyncdir(
    fuse_req_t req, fuse_ino_t ino, int only_data, struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);

	(void)only_data;
	(void)fi;
	if (!fs->ignores_sync_dir)
		record(fs, JOURNAL_SYNC_DIR, node_of(fs, ino)->ino, 0, NULL);
	fuse_reply_err(req, 0);
}

static void
do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct powerfs *fs = powerfs_of(req);
	char path[32];
	DIR *dir = opendir(path_of(node_of(fs, ino), path));

	if (dir == NULL) {
		fuse_reply_err(req, errno);
		return;
	}
	fi->fh = (uintptr_t)dir;
	fuse_reply_open(req, fi);
}

static void
do_readdir(fuse_req_t req, fuse_ino_t ino, size_t room, off_t offset,
    struct fuse_file_info *fi)
{
	DIR *dir = (DIR *)(uintptr_t)fi->fh;
	struct dirent *entry;
	size_t used = 0;
	char *out;

	(void)ino;
	out = malloc(room);
	assert(out != NULL);
	if (offset == 0)
		rewinddir(dir);
	else
		seekdir(dir, offset);
	while ((entry = readdir(dir)) != NULL) {
		struct stat st = {
		    .st_ino = entry->d_ino,
		    .st_mode = (mode_t)DTTOIF(entry->d_type),
		};
		size_t n = fuse_add_direntry(req, out + used, room - used,
		    entry->d_name, &st, entry->d_off);

		if (n > room - used)
			break;
		used += n;
	}
	fuse_reply_buf(req, out, used);
	free(out);
}

static void
do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)closedir((DIR *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static void
do_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct powerfs *fs = powerfs_of(req);
	struct statvfs st;

	(void)ino;
	if (fstatvfs(fs->root.fd, &st) == -1)
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops operations = {
    .init = do_init,
    .lookup = do_lookup,
    .forget = do_forget,
    .getattr = do_getattr,
    .setattr = do_setattr,
    .mkdir = do_mkdir,
    .mknod = do_mknod,
    .link = do_link,
    .unlink = do_unlink,
    .rmdir = do_rmdir,
    .rename = do_rename,
    .open = do_open,
    .create = do_create,
    .read = do_read,
    .write = do_write,
    .release = do_release,
    .fsync = do_fsync,
    .opendir = do_opendir,
    .readdir = do_readdir,
    .releasedir = do_releasedir,
    .fsyncdir = do_fsyncdir,
    .statfs = do_statfs,
};

/* Serves the kernel until standard input ends and nothing is asked any more, or
 * somebody unmounts. Returns 0, or -1 with a message. */
static int
serve(struct fuse_session *session)
{
	struct pollfd ready[] = {
	    {.fd = fuse_session_fd(session), .events = POLLIN},
	    {.fd = STDIN_FILENO, .events = POLLIN},
	};
	struct fuse_buf buf = {.mem = NULL};
	int n = 1, timeout = -1;

	while (n > 0 && !fuse_session_exited(session)) {
		if (poll(ready, 2, timeout) == -1 && errno == EINTR)
			continue;
		if (ready[1].revents != 0)
			timeout = 0;
		if (ready[0].revents == 0 && timeout == 0)
			break;
		if (ready[0].revents == 0)
			continue;
		n = fuse_session_receive_buf(session, &buf);
		if (n > 0)
			fuse_session_process_buf(session, &buf);
		if (n == -EINTR)
			n = 1;
	}
	free(buf.mem);
	if (n >= 0)
		return 0;
	(void)fprintf(stderr, "powerfs: device: %s\n", strerror(-n));
	return -1;
}

/* Opens what the command line names. Returns 0, or -1 with a message. */
static int
start(struct powerfs *fs, int argc, char **argv)
{
	struct stat st;

	if (argc < 4) {
		(void)fprintf(stderr, "usage: powerfs BACKING JOURNAL "
				      "MOUNTPOINT [ignore-sync] "
				      "[ignore-sync-dir]\n");
		return -1;
	}
	for (int i = 4; i < argc; i++) {
		fs->ignores_sync |= strcmp(argv[i], "ignore-sync") == 0;
		fs->ignores_sync_dir |= strcmp(argv[i], "ignore-sync-dir") == 0;
	}
	fs->root.fd = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fs->root.fd == -1 || fstat(fs->root.fd, &st) == -1) {
		perror(argv[1]);
		return -1;
	}
	fs->root.ino = st.st_ino;
	fs->journal_fd = journal_open(argv[2]);
	if (fs->journal_fd == -1) {
		perror(argv[2]);
		return -1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	char name[] = "powerfs", option[] = "-ofsname=powerfs";
	char *words[] = {name, option, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(2, words);
	struct powerfs fs = {.journal_fd = -1};
	struct fuse_session *session;
	int result;

	(void)umask(0);
	if (start(&fs, argc, argv) == -1)
		return 1;
	session = fuse_session_new(&args, &operations, sizeof(operations), &fs);
	fuse_opt_free_args(&args);
	if (session == NULL)
		return 1;
	if (fuse_session_mount(session, argv[3]) == -1) {
		fuse_session_destroy(session);
		return EXIT_NOT_HERE;
	}
	(void)!write(STDOUT_FILENO, "ready\n", 6);
	result = serve(session);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	while (fs.root.next != NULL)
		forget(&fs, (uintptr_t)fs.root.next, fs.root.next->refs);
	return result == 0 ? 0 : 1;
}
