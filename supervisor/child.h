/*
 * The mechanism of child processes: spawn, reap, signal. When and why is
 * decided elsewhere.
 */
#ifndef SUPERVISOR_CHILD_H
#define SUPERVISOR_CHILD_H

#include "supervisor/link.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* What a child gets from the supervisor besides its command. */
struct child_setup {
	const struct link_stage *link; /* borrowed for the call */
	int lock_fd;		       /* becomes LINK_LOCK_FD */
	const sigset_t *mask;	       /* signal mask; borrowed for the call */
};

/*
 * Starts the program argv[0], a path, with the descriptors of link.h and no
 * others, in a process group of its own (a terminal's ^C is for the supervisor,
 * which stops its stages in order), with signals as `setup` says and SIGPIPE
 * at its default. It is killed when the calling thread ends. Returns 0 with
 * *pid set, or -1 with errno set, also when the program cannot be executed.
 */
int child_spawn(
    char *const argv[], const struct child_setup *setup, pid_t *pid);

/*
 * Returns a child that has ended, with *status as waitpid(2) has it, or 0 when
 * there is none left to be reaped. It may be one that nobody here has started.
 */
pid_t child_reap(int *status);

/* Sends a signal to a child that was not reaped yet. */
void child_signal(pid_t pid, int number);

/* Says whether the child exited with this status. */
bool child_exited_with(int status, int exitcode);

/*
 * Writes how a child ended ("exit status 111", "killed by SIGKILL") into
 * `out`, NUL terminated. Returns `out`.
 */
#define CHILD_DESCRIBE_BYTES 48
const char *child_describe(int status, char out[CHILD_DESCRIBE_BYTES]);

#endif
