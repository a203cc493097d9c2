#include "walproc/syncer.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* It calls one function of the system, and sanitizers want some more. */
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
	struct syncer *syncer = context;

	for (;;) {
		hear(syncer->begin_fd);
		if (syncer->file_fd == -1)
			return NULL;
		syncer->error = fdatasync(syncer->file_fd) == -1 ? errno : 0;
		tell(syncer->done_fd);
	}
}

void
syncer_init(struct syncer *syncer)
{
	*syncer = (struct syncer){
	    .begin_fd = -1,
	    .done_fd = -1,
	    .file_fd = -1,
	};
}

void
syncer_fini(struct syncer *syncer)
{
	if (syncer->is_busy)
		(void)syncer_take(syncer, true);
	if (syncer->has_thread) {
		syncer->file_fd = -1;
		tell(syncer->begin_fd);
		(void)pthread_join(syncer->thread, NULL);
	}
	if (syncer->begin_fd != -1)
		(void)close(syncer->begin_fd);
	if (syncer->done_fd != -1)
		(void)close(syncer->done_fd);
	syncer_init(syncer);
}

/* Makes the thread. It inherits the blocked signals: none is taken there. */
static int
start(struct syncer *syncer)
{
	pthread_attr_t attributes;
	int error;

	if (syncer->begin_fd == -1)
		syncer->begin_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (syncer->done_fd == -1)
		syncer->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (syncer->begin_fd == -1 || syncer->done_fd == -1)
		return -1;
	error = pthread_attr_init(&attributes);
	if (error == 0) {
		(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
		error =
		    pthread_create(&syncer->thread, &attributes, run, syncer);
		(void)pthread_attr_destroy(&attributes);
	}
	if (error != 0) {
		errno = error;
		return -1;
	}
	syncer->has_thread = true;
	return 0;
}

int
syncer_begin(struct syncer *syncer, int file_fd)
{
	assert(!syncer->is_busy);
	if (!syncer->has_thread && start(syncer) == -1)
		return -1;
	syncer->is_busy = true;
	syncer->file_fd = file_fd;
	tell(syncer->begin_fd);
	return 0;
}

int
syncer_poll_fd(const struct syncer *syncer)
{
	return syncer->is_busy ? syncer->done_fd : -1;
}

int
syncer_take(struct syncer *syncer, bool wait)
{
	uint64_t count;

	assert(syncer->is_busy);
	if (wait)
		hear(syncer->done_fd);
	else if (read(syncer->done_fd, &count, sizeof(count)) == -1)
		return 0;
	syncer->is_busy = false;
	errno = syncer->error;
	return syncer->error == 0 ? 1 : -1;
}
