#include "walproc/worker.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* It calls little but the system, and sanitizers want some more. */
#define STACK_BYTES ((size_t)256 << 10)

/* Tells the other side. An eventfd takes it at once: eventfd(2). */
static void
tell(int fd)
{
	uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) == -1 && errno == EINTR)
		continue;
}

/* Waits until it is told. */
static void
hear(int fd)
{
	struct pollfd waiting = {.fd = fd, .events = POLLIN};
	uint64_t count;

	while (read(fd, &count, sizeof(count)) == -1)
		(void)poll(&waiting, 1, -1);
}

static void *
run(void *context)
{
	struct worker *worker = context;

	for (;;) {
		hear(worker->begin_fd);
		if (worker->work == NULL)
			return NULL;
		worker->error = worker->work(worker->job) == -1 ? errno : 0;
		tell(worker->done_fd);
	}
}

void
worker_init(struct worker *worker)
{
	*worker = (struct worker){
	    .begin_fd = -1,
	    .done_fd = -1,
	};
}

void
worker_fini(struct worker *worker)
{
	if (worker->is_busy)
		(void)worker_take(worker, true);
	if (worker->has_thread) {
		worker->work = NULL;
		tell(worker->begin_fd);
		(void)pthread_join(worker->thread, NULL);
	}
	if (worker->begin_fd != -1)
		(void)close(worker->begin_fd);
	if (worker->done_fd != -1)
		(void)close(worker->done_fd);
	worker_init(worker);
}

/* Makes the thread. It inherits the blocked signals: none is taken there. */
static int
start(struct worker *worker)
{
	pthread_attr_t attributes;
	int error;

	if (worker->begin_fd == -1)
		worker->begin_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->done_fd == -1)
		worker->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->begin_fd == -1 || worker->done_fd == -1)
		return -1;
	error = pthread_attr_init(&attributes);
	if (error == 0) {
		(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
		error =
		    pthread_create(&worker->thread, &attributes, run, worker);
		(void)pthread_attr_destroy(&attributes);
	}
	if (error != 0) {
		errno = error;
		return -1;
	}
	worker->has_thread = true;
	return 0;
}

int
worker_begin(struct worker *worker, int (*work)(void *), void *job)
{
	assert(!worker->is_busy);
	if (!worker->has_thread && start(worker) == -1)
		return -1;
	worker->is_busy = true;
	worker->work = work;
	worker->job = job;
	tell(worker->begin_fd);
	return 0;
}

int
worker_poll_fd(const struct worker *worker)
{
	return worker->is_busy ? worker->done_fd : -1;
}

int
worker_take(struct worker *worker, bool wait)
{
	uint64_t count;

	assert(worker->is_busy);
	if (wait)
		hear(worker->done_fd);
	else if (read(worker->done_fd, &count, sizeof(count)) == -1)
		return 0;
	worker->is_busy = false;
	errno = worker->error;
	return worker->error == 0 ? 1 : -1;
}
