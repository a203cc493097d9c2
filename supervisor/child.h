/*
 * The mechanism of child processes: spawn, reap, signal. When and why is
 * decided elsewhere.
 */
#ifndef SUPERVISOR_CHILD_H
#define SUPERVISOR_CHILD_H

#include "supervisor/identity.h"
#include "supervisor/link.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/* What a child gets from the supervisor besides its command. */
struct child_setup {
	const struct link *link; /* borrowed for the call; without a control
				  * channel it gets no lock either */
	int lock_fd;		 /* becomes LINK_LOCK_FD */
	const sigset_t *mask;	 /* signal mask; borrowed for the call */
	const struct identity *identity; /* who it is; borrowed for the call */
	const struct rlimit *fd_limit;	 /* of its descriptors; borrowed */
	bool shares_group;		 /* it stays in our process group */
};

/*
 * Lets this process open as many descriptors as it may at all: with many
 * instances it needs more than most programs expect there to be. *before is
 * set to the limit of until now, which its children are to have. Should it
 * fail, the limit stays what it is.
 */
void child_raise_fd_limit(struct rlimit *before);

/*
 * Starts the program at `path` with `argv` and the descriptors of link.h, and
 * no others, in a process group of its own (a terminal's ^C is for the
 * supervisor, which stops its stages in order), with the mask that `setup`
 * gives, SIGPIPE and SIGXFSZ at their defaults, as who `setup` says. It is
 * killed when the calling thread ends. Returns 0 with *pid set, or -1 with
 * errno set, also when the program cannot be executed.
 */
int child_spawn(const char *path, char *const argv[],
    const struct child_setup *setup, pid_t *pid);

/*
 * Returns a child that has ended and is not reaped yet, or 0 when there is
 * none. It may be one that nobody here has started.
 */
pid_t child_next(void);

/* Reaps it. Returns its status as waitpid(2) has it. */
int child_reap(pid_t pid);

/* Sends a signal to a child that was not reaped yet. */
void child_signal(pid_t pid, int number);

/* Sends a signal to all of the child's process group, which outlives it if it
 * has left processes in it. */
void child_signal_group(pid_t pid, int number);

/* Says whether a child that was not reaped yet is in the group that it was
 * given, and not in another that it has joined. */
bool child_leads_group(pid_t pid);

/* Says whether the child exited with this status. */
bool child_exited_with(int status, int exitcode);

/*
 * Writes how a child ended ("exit status 111", "killed by SIGKILL") into
 * `out`, NUL terminated. Returns `out`.
 */
#define CHILD_DESCRIBE_BYTES 48
const char *child_describe(int status, char out[CHILD_DESCRIBE_BYTES]);

#endif
