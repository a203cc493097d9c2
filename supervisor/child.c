#include "supervisor/child.h"

#include "stage/exitcode.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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
	const struct link *link = setup->link;
	int lock_fd = setup->lock_fd, control_fd = link->control_fd;

	/* First out of the way of each other's numbers. */
	if (control_fd != -1) {
		lock_fd = fcntl(lock_fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
		control_fd = fcntl(control_fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
		if (lock_fd == -1 || control_fd == -1)
			return -1;
	}
	if (dup2(link->in_fd, LINK_IN_FD) == -1 ||
	    dup2(link->out_fd, LINK_OUT_FD) == -1 ||
	    dup2(link->log_fd, LINK_LOG_FD) == -1)
		return -1;
	/* A kernel without the call leaves what it would have closed. */
	(void)close_range(LINK_LOG_FD + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
	if (control_fd == -1)
		return 0;
	return dup2(control_fd, LINK_CONTROL_FD) == -1 ||
		       dup2(lock_fd, LINK_LOCK_FD) == -1
		   ? -1
		   : 0;
}

/* Becomes another, for good: from the groups to the user, who may not change
 * the rest any more. */
static int
change_user(const struct identity *who)
{
	if (!who->is_given)
		return 0;
	if (setgroups(who->group_count, who->groups) == -1 ||
	    setresgid(who->gid, who->gid, who->gid) == -1)
		return -1;
	return setresuid(who->uid, who->uid, who->uid);
}

/*
 * The child between fork and exec: async-signal-safe calls only. Tells the
 * parent through `report_fd` why it could not become the program.
 */
static _Noreturn void
become(const char *path, char *const argv[], const struct child_setup *setup,
    pid_t parent, int report_fd)
{
	struct sigaction fallback = {.sa_handler = SIG_DFL};
	int error;

	/* This comes first: who changes the user loses the signal again. */
	if (change_user(setup->identity) == -1 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) == -1)
		goto fail;
	/* The parent that ended before the call above sends no signal. */
	if (getppid() != parent)
		_exit(EXITCODE_AGAIN);
	/* place_fds takes low numbers: keep the report out of its way. */
	report_fd = fcntl(report_fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
	if (report_fd == -1)
		_exit(EXITCODE_AGAIN);
	if ((!setup->shares_group && setpgid(0, 0) == -1) ||
	    place_fds(setup) == -1 ||
	    sigaction(SIGPIPE, &fallback, NULL) == -1 ||
	    sigaction(SIGXFSZ, &fallback, NULL) == -1 ||
	    setrlimit(RLIMIT_NOFILE, setup->fd_limit) == -1 ||
	    sigprocmask(SIG_SETMASK, setup->mask, NULL) == -1)
		goto fail;
	(void)execv(path, argv);

fail:
	error = errno;
	(void)!write(report_fd, &error, sizeof(error));
	_exit(EXITCODE_AGAIN);
}

void
child_raise_fd_limit(struct rlimit *before)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, before) == -1)
		*before = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
	limit = *before;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
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
child_spawn(const char *path, char *const argv[],
    const struct child_setup *setup, pid_t *pid)
{
	pid_t parent = getpid(), child;
	int report[2], error;

	if (pipe2(report, O_CLOEXEC) == -1)
		return -1;
	child = fork();
	if (child == 0)
		become(path, argv, setup, parent, report[1]);
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
child_next(void)
{
	siginfo_t info = {.si_pid = 0};

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == -1)
		return 0;
	return info.si_pid;
}

int
child_reap(pid_t pid)
{
	int status = 0;

	(void)waitpid(pid, &status, WNOHANG);
	return status;
}

void
child_signal(pid_t pid, int number)
{
	/* Not reaped, so the number is still its own: this cannot fail. */
	(void)kill(pid, number);
}

void
child_signal_group(pid_t pid, int number)
{
	(void)kill(-pid, number);
}

bool
child_leads_group(pid_t pid)
{
	return getpgid(pid) == pid;
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
