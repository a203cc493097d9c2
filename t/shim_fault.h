/*
 * What the parts of shim_fault.so share: which call of the process is to fail,
 * and how. How it is told is at the top of shim_fault.c.
 */
#ifndef T_SHIM_FAULT_H
#define T_SHIM_FAULT_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define REAL(pointer, name) (*(void **)&(pointer) = dlsym(RTLD_NEXT, name))

enum fault_kind {
	FAULT_WRITE,
	FAULT_FDATASYNC,
	FAULT_FSYNC,
	FAULT_OPEN,
	FAULT_FTRUNCATE,
	FAULT_UNLINK,
	FAULT_RENAME,
	FAULT_MKDIR,
	FAULT_PREAD,
	FAULT_READ,
	FAULT_POLL,
	FAULT_MALLOC,
	FAULT_MMAP,
};
#define FAULT_KINDS (FAULT_MMAP + 1)

/* What is to be done with one call. */
enum fault_verdict {
	FAULT_PASS,
	FAULT_FAIL,	/* errno is set */
	FAULT_HALF,	/* half of it, and say so */
	FAULT_HALF_LIE, /* half of it, and say all */
	FAULT_LOSE,	/* lose what it should keep, and fail */
	FAULT_LOSE_LIE, /* the same, and say nothing */
};

/* Ends the process with 99: the test is told wrong, or cannot run here. */
_Noreturn void fault_give_up(const char *why);

/*
 * Counts one call, on the open file `fd` or on `path`, -1 and NULL for neither,
 * and says what becomes of it; FAULT_FAIL sets errno. `bytes` is its length, or
 * -1 if it has none.
 */
enum fault_verdict fault_strike(enum fault_kind kind, const char *call, int fd,
    const char *path, long bytes);

/* The same for a call that has no bytes to be cut: says whether it fails. */
bool fault_fails(
    enum fault_kind kind, const char *call, int fd, const char *path);

/* Stands behind each call that was made, and gives its result on, or ends the
 * process. */
int fault_done(int result);

/* Says whether a read would touch the bad sector. */
bool fault_is_bad_sector(int fd, size_t bytes, off_t offset);

/* Says whether a sync is to lose what was written since the last one. */
bool fault_loses(void);

/* Has every mmap(2) of the process counted from here on. */
void fault_catch_mmap(void);

#endif
