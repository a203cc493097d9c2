#include "stage/loop.h"

#include "stage/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define LOOP_FIRST_ROOM 8

static int64_t
clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * LOOP_NS_PER_S + t.tv_nsec;
}

int64_t
loop_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t
loop_realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int
loop_open(struct loop *loop, const int *signals, size_t count)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;
	int fd;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < count; i++)
		(void)sigaddset(&set, signals[i]);
	if (sigaction(SIGPIPE, &ignore, NULL) == -1 ||
	    sigaction(SIGXFSZ, &ignore, NULL) == -1)
		return -1;
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return -1;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd == -1)
		return -1;
	*loop = (struct loop){
	    .fds = mem_calloc(LOOP_FIRST_ROOM, sizeof(struct pollfd)),
	    .room = LOOP_FIRST_ROOM,
	    .deadline_ns = LOOP_NEVER,
	};
	loop->fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
	loop->count = 1;
	return 0;
}

void
loop_close(struct loop *loop)
{
	(void)close(loop->fds[0].fd);
	free(loop->fds);
	loop->fds = NULL;
}

void
loop_begin(struct loop *loop)
{
	loop->count = 1;
	loop->fds[0].revents = 0;
	loop->deadline_ns = LOOP_NEVER;
}

size_t
loop_watch(struct loop *loop, int fd, short events)
{
	/* poll(2) counts such entries against the limit of descriptors. */
	if (fd == -1)
		return 0;
	if (loop->count == loop->room) {
		loop->room *= 2;
		loop->fds =
		    mem_realloc(loop->fds, loop->room, sizeof(struct pollfd));
	}
	loop->fds[loop->count] = (struct pollfd){.fd = fd, .events = events};
	return loop->count++;
}

void
loop_until(struct loop *loop, int64_t at_ns)
{
	if (at_ns < loop->deadline_ns)
		loop->deadline_ns = at_ns;
}

int
loop_wait(struct loop *loop)
{
	struct timespec left, *timeout = NULL;

	if (loop->deadline_ns != LOOP_NEVER) {
		int64_t ns = loop->deadline_ns - loop_now_ns();

		if (ns < 0)
			ns = 0;
		left.tv_sec = (time_t)(ns / LOOP_NS_PER_S);
		left.tv_nsec = (long)(ns % LOOP_NS_PER_S);
		timeout = &left;
	}
	if (ppoll(loop->fds, loop->count, timeout, NULL) == -1) {
		if (errno != EINTR)
			return -1;
		/* Nothing is known: the turn passes with nothing ready. */
		for (size_t i = 0; i < loop->count; i++)
			loop->fds[i].revents = 0;
	}
	return 0;
}

short
loop_ready(const struct loop *loop, size_t slot)
{
	return slot == 0 ? 0 : loop->fds[slot].revents;
}

int
loop_signal(struct loop *loop)
{
	struct signalfd_siginfo info;

	if (loop->fds[0].revents == 0)
		return 0;
	if (read(loop->fds[0].fd, &info, sizeof(info)) != sizeof(info)) {
		loop->fds[0].revents = 0;
		return 0;
	}
	return (int)info.ssi_signo;
}
