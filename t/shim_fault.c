/*
 * Makes one system call of a process fail (LD_PRELOAD), told by environment
 * variables:
 *
 *   FAULT=KIND:N:HOW[:ever]
 *                 the N-th call of this kind since main began fails, once, or
 *                 from then on for ever; N of 0: none does
 *   FAULT_SECTOR=NAME:FROM:TO
 *                 what would read any of the bytes FROM to TO - 1 of a file
 *                 of that name fails with EIO, always
 *   FAULT_COUNT=PATH
 *                 a file that has, at any moment, the number of calls of each
 *                 kind in 8 bytes each as the machine has them, in the order
 *                 of kind_names, then 256 bytes of text: the first call that
 *                 was made to fail, the file's name, and its length or -1
 *
 * KIND is one of kind_names. HOW is
 *
 *   an errno's name   the call fails with it and does nothing
 *   short             half of the bytes are written or read, and it says so
 *   half-ERRNO        the same, and the next call of the kind fails with ERRNO
 *   half-lie          half of the bytes are written, and all are said to be
 *   lost              a sync fails with EIO, and what was written to the file
 *                     since its last sync is what it was before, as after a
 *                     power cut
 *   lie               the same, but the sync says that it was done
 *   kill-before, kill-after   SIGKILL
 *
 * Standard error is left alone, and so is what has no device or peer behind it.
 * What only libc's own allocator calls, mmap(2), is reached by a seccomp
 * filter, and counted only when FAULT names it.
 */
#include "t/shim_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME_BYTES 256

static const char *const kind_names[FAULT_KINDS] = {
    [FAULT_WRITE] = "write",
    [FAULT_FDATASYNC] = "fdatasync",
    [FAULT_FSYNC] = "fsync",
    [FAULT_OPEN] = "open",
    [FAULT_FTRUNCATE] = "ftruncate",
    [FAULT_UNLINK] = "unlink",
    [FAULT_RENAME] = "rename",
    [FAULT_MKDIR] = "mkdir",
    [FAULT_PREAD] = "pread",
    [FAULT_READ] = "read",
    [FAULT_POLL] = "poll",
    [FAULT_MALLOC] = "malloc",
    [FAULT_MMAP] = "mmap",
};

static const struct {
	const char *name;
	int value;
} errors[] = {
    {"EIO", EIO},
    {"ENOSPC", ENOSPC},
    {"EDQUOT", EDQUOT},
    {"EINTR", EINTR},
    {"EMFILE", EMFILE},
    {"ENFILE", ENFILE},
    {"ENOMEM", ENOMEM},
};

enum how {
	HOW_ERRNO,
	HOW_SHORT,
	HOW_HALF_ERRNO,
	HOW_HALF_LIE,
	HOW_LOST,
	HOW_LIE,
	HOW_KILL_BEFORE,
	HOW_KILL_AFTER,
};

/* The file FAULT_COUNT. */
struct counts {
	uint64_t calls[FAULT_KINDS];
	char struck[NAME_BYTES];
};

static bool is_on; /* main has begun */
static struct counts no_file;
static struct counts *counts = &no_file;
static enum fault_kind struck_kind;
static uint64_t fault_nth;
static enum how fault_how;
static int fault_error;
static bool fault_ever;
static char sector_name[NAME_BYTES];
static uint64_t sector_from, sector_to;
/* The call under way is the last of this process. */
static __thread bool dies __attribute__((tls_model("initial-exec")));

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv,
    void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
    void *stack_end);

_Noreturn void
fault_give_up(const char *why)
{
	(void)dprintf(STDERR_FILENO, "shim_fault: %s\n", why);
	_exit(99);
}

/* Writes the last part of an open file's name to `name`. */
static const char *
name_of(int fd, char name[NAME_BYTES])
{
	char link[64], path[NAME_BYTES];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	(void)snprintf(name, NAME_BYTES, "%s",
	    strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1);
	return name;
}

/* Says whether a descriptor leads out of the process: eventfd(2) and
 * signalfd(2) have no device behind them that could fail. */
static bool
leads_out(int fd)
{
	char name[NAME_BYTES];

	return fd == -1 || strncmp(name_of(fd, name), "anon_inode:", 11) != 0;
}

/* Puts the first call that is struck on record. */
static void
record(const char *call, int fd, const char *path, long bytes)
{
	char name[NAME_BYTES] = "-";

	if (counts->struck[0] != '\0')
		return;
	if (path == NULL && fd != -1)
		path = name_of(fd, name);
	(void)snprintf(counts->struck, sizeof(counts->struck), "%s %.128s %ld",
	    call, path == NULL ? name : path, bytes);
}

/* Says whether the call of this kind that is the n-th is to be struck. */
static bool
is_struck(enum fault_kind kind, uint64_t n)
{
	if (fault_nth == 0 || kind != struck_kind || n < fault_nth)
		return false;
	return n == fault_nth || fault_ever ||
	       (fault_how == HOW_HALF_ERRNO && n == fault_nth + 1);
}

enum fault_verdict
fault_strike(enum fault_kind kind, const char *call, int fd, const char *path,
    long bytes)
{
	uint64_t n;

	if (!is_on || fd == STDERR_FILENO || !leads_out(fd))
		return FAULT_PASS;
	n = __atomic_add_fetch(&counts->calls[kind], 1, __ATOMIC_SEQ_CST);
	if (!is_struck(kind, n))
		return FAULT_PASS;
	record(call, fd, path, bytes);
	switch (fault_how) {
	case HOW_ERRNO:
		break;
	case HOW_SHORT:
		return FAULT_HALF;
	case HOW_HALF_ERRNO:
		if (n == fault_nth)
			return FAULT_HALF;
		break;
	case HOW_HALF_LIE:
		return FAULT_HALF_LIE;
	case HOW_LOST:
		return FAULT_LOSE;
	case HOW_LIE:
		return FAULT_LOSE_LIE;
	case HOW_KILL_BEFORE:
		(void)kill(getpid(), SIGKILL);
		break;
	case HOW_KILL_AFTER:
		dies = true;
		return FAULT_PASS;
	}
	errno = fault_error;
	return FAULT_FAIL;
}

bool
fault_fails(enum fault_kind kind, const char *call, int fd, const char *path)
{
	return fault_strike(kind, call, fd, path, -1) == FAULT_FAIL;
}

int
fault_done(int result)
{
	if (dies)
		(void)kill(getpid(), SIGKILL);
	return result;
}

bool
fault_is_bad_sector(int fd, size_t bytes, off_t offset)
{
	uint64_t from = (uint64_t)offset, to = from + bytes;
	char name[NAME_BYTES];

	return is_on && from < sector_to && sector_from < to &&
	       strcmp(name_of(fd, name), sector_name) == 0;
}

bool
fault_loses(void)
{
	return fault_how == HOW_LOST || fault_how == HOW_LIE;
}

static int
error_of(const char *name)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strcmp(name, errors[i].name) == 0)
			return errors[i].value;
	fault_give_up("FAULT: unknown errno");
}

static void
parse_how(const char *text)
{
	static const struct {
		const char *name;
		enum how how;
	} hows[] = {
	    {"short", HOW_SHORT},
	    {"half-lie", HOW_HALF_LIE},
	    {"lost", HOW_LOST},
	    {"lie", HOW_LIE},
	    {"kill-before", HOW_KILL_BEFORE},
	    {"kill-after", HOW_KILL_AFTER},
	};

	for (size_t i = 0; i < sizeof(hows) / sizeof(hows[0]); i++) {
		if (strcmp(text, hows[i].name) != 0)
			continue;
		fault_how = hows[i].how;
		return;
	}
	fault_how = HOW_ERRNO;
	if (strncmp(text, "half-", 5) == 0) {
		fault_how = HOW_HALF_ERRNO;
		text += 5;
	}
	fault_error = error_of(text);
}

static void
parse_fault(const char *text)
{
	char kind[16], how[16], ever[8] = "";
	unsigned long nth;

	if (text == NULL)
		return;
	if (sscanf(text, "%15[^:]:%lu:%15[^:]:%7s", kind, &nth, how, ever) < 3)
		fault_give_up("FAULT=KIND:N:HOW[:ever] is expected");
	for (struck_kind = 0; struck_kind < FAULT_KINDS; struck_kind++)
		if (strcmp(kind, kind_names[struck_kind]) == 0)
			break;
	if (struck_kind == FAULT_KINDS)
		fault_give_up("FAULT: unknown kind");
	parse_how(how);
	fault_nth = nth;
	fault_ever = strcmp(ever, "ever") == 0;
}

static void
parse_sector(const char *text)
{
	unsigned long from, to;

	if (text == NULL)
		return;
	if (sscanf(text, "%255[^:]:%lu:%lu", sector_name, &from, &to) != 3)
		fault_give_up("FAULT_SECTOR=NAME:FROM:TO is expected");
	sector_from = from;
	sector_to = to;
}

/* Makes the file of the counts and maps it, so that it has them at any moment,
 * whatever ends the process. */
static void
open_counts(const char *path)
{
	void *p = MAP_FAILED;
	int fd;

	if (path == NULL)
		return;
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd != -1 && ftruncate(fd, sizeof(*counts)) == 0)
		p = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		fault_give_up("FAULT_COUNT cannot be made");
	(void)close(fd);
	counts = p;
}

static int (*real_main)(int, char **, char **);

static int
begin(int argc, char **argv, char **environment)
{
	parse_fault(getenv("FAULT"));
	parse_sector(getenv("FAULT_SECTOR"));
	open_counts(getenv("FAULT_COUNT"));
	if (getenv("FAULT") != NULL && struck_kind == FAULT_MMAP)
		fault_catch_mmap();
	is_on = true;
	return real_main(argc, argv, environment);
}

int
__libc_start_main(int (*main)(int, char **, char **), int argc, char **argv,
    void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
    void *stack_end)
{
	int (*real)(int (*)(int, char **, char **), int, char **,
	    void (*)(void), void (*)(void), void (*)(void), void *);

	real_main = main;
	REAL(real, "__libc_start_main");
	return real(begin, argc, argv, init, fini, rtld_fini, stack_end);
}
