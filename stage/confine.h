/*
 * Confinement: takes from this process what it does not need for its work, for
 * good and for its children, so that whoever gets hold of it through the bytes
 * that it reads has little to take. Descriptors that are open stay as they are.
 *
 * It knows no program: which paths, and which kind of work, say its callers. It
 * does not change who the process is; see setresuid(2) for that.
 */
#ifndef STAGE_CONFINE_H
#define STAGE_CONFINE_H

#include <stddef.h>

/* What the process does from here on, and so which system calls are left. */
enum confine_work {
	CONFINE_PURE,  /* reads and writes what is open: no file is opened, no
			* socket made, no thread, process or program started */
	CONFINE_FILES, /* opens, makes and removes files; has threads */
	CONFINE_NET,   /* reads files, connects by TCP, asks the DNS for names;
			* has threads */
	CONFINE_NET_AND_UNIX, /* the same, and may connect to any socket of the
			       * Unix domain, which Landlock does not see: for
			       * a daemon that is asked for names */
};

enum confine_access {
	CONFINE_READ,	    /* read the file, or the files in a directory */
	CONFINE_READ_WRITE, /* all but to execute, in a directory */
};

/* Something that may be opened, beneath it too if it is a directory. */
struct confine_path {
	const char *path; /* borrowed for the call; links are followed. What is
			   * not there or cannot be opened is left out */
	int fd;		  /* if `path` is NULL: what is open here */
	enum confine_access access;
};

/*
 * Leaves to this process the work `work` and, besides what is open, the `count`
 * paths: no core dump and no other process that looks inside (prctl(2),
 * PR_SET_DUMPABLE), no new privileges, no other file or socket (landlock(7)),
 * no other system call (seccomp(2)): these fail, with ENOSYS mostly. Call it
 * with one thread only. What the kernel does not have is left out and told at
 * debug; so is all of it in builds with CONFINE_NOTHING. Returns 0; or -1 if
 * something that the kernel has did not work, which is logged: then end.
 */
int confine_enter(
    enum confine_work work, const struct confine_path *paths, size_t count);

#endif
