#include "supervisor/child.h"

#include "stage/exitcode.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Behind all numbers of link.h. */
#define FIRST_FREE_FD (LINK_LOCK_FD + 1)

/*
 * Puts the descriptors where link.h wants them. Everything else is closed by
 * exec, even what a careless parent left open to us.
 */
static int
place_fds(const struct child_setup *setup)
{
	const struct link_stage *link = setup->link;

	if (dup2(link->in_fd, LINK_IN_FD) == -1 ||
	    dup2(link->out_fd, LINK_OUT_FD) == -1 ||
	    dup2(link->log_fd, LINK_LOG_FD) == -1)
		return -1;
	/* Comes last: a link's end may have stood on this number. */
	if (setup->lock_fd != LINK_LOCK_FD &&
	    dup2(setup->lock_fd, LINK_LOCK_FD) == -1)
		return -1;
	/* A kernel without the call leaves what it would have closed. */
	(void)close_range(LINK_LOG_FD + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
	return fcntl(LINK_LOCK_FD, F_SETFD, 0);
}

/*
 * The child between fork and exec: async-signal-safe calls only. Tells the
 * parent through `report_fd` why it could not become the program.
 */
static _Noreturn void
become(char *const argv[], const struct child_setup *setup, pid_t parent,
    int report_fd)
{
	struct sigaction fallback = {.sa_handler = SIG_DFL};
	int error;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1)
		goto fail;
	/* The parent that ended before the call above sends no signal. */
	if (getppid() != parent)
		_exit(EXITCODE_AGAIN);
	/* place_fds takes low numbers: keep the report out of its way. */
	report_fd = fcntl(report_fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
	if (report_fd == -1)
		_exit(EXITCODE_AGAIN);
	if (setpgid(0, 0) == -1 || place_fds(setup) == -1 ||
	    sigaction(SIGPIPE, &fallback, NULL) == -1 ||
	    sigprocmask(SIG_SETMASK, setup->mask, NULL) == -1)
		goto fail;
	(void)execv(argv[0], argv);

fail:
	error = errno;
	(void)!write(report_fd, &error, sizeof(error));
	_exit(EXITCODE_AGAIN);
}

/* Waits until the child is the program (0) or has told why not (its errno). */
static int
read_report(int report_fd)
{
	int error = 0;
	ssize_t n;

	do
		n = read(report_fd, &error, sizeof(error));
	while (n == -1 && errno == EINTR);
	return n == sizeof(error) ? error : 0;
}

int
child_spawn(char *const argv[], const struct child_setup *setup, pid_t *pid)
{
	pid_t parent = getpid(), child;
	int report[2], error;

	if (pipe2(report, O_CLOEXEC) == -1)
		return -1;
	child = fork();
	if (child == 0)
		become(argv, setup, parent, report[1]);
	error = errno;
	(void)close(report[1]);
	if (child != -1)
		error = read_report(report[0]);
	(void)close(report[0]);
	if (child != -1 && error == 0) {
		*pid = child;
		return 0;
	}
	if (child != -1)
		(void)waitpid(child, NULL, 0);
	errno = error;
	return -1;
}

pid_t
child_reap(int *status)
{
	pid_t pid = waitpid(-1, status, WNOHANG);

	return pid > 0 ? pid : 0;
}

void
child_signal(pid_t pid, int number)
{
	/* Not reaped, so the number is still its own: this cannot fail. */
	(void)kill(pid, number);
}

bool
child_exited_with(int status, int exitcode)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == exitcode;
}

const char *
child_describe(int status, char out[CHILD_DESCRIBE_BYTES])
{
	const char *name;

	if (WIFEXITED(status)) {
		(void)snprintf(out, CHILD_DESCRIBE_BYTES, "exit status %d",
		    WEXITSTATUS(status));
		return out;
	}
	name = sigabbrev_np(WTERMSIG(status));
	(void)snprintf(out, CHILD_DESCRIBE_BYTES, "killed by signal %d (%s%s)",
	    WTERMSIG(status), name == NULL ? "" : "SIG",
	    name == NULL ? "?" : name);
	return out;
}
