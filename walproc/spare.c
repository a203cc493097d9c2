#include "walproc/spare.h"

#include "walproc/segment.h"

#include <errno.h>
#include <unistd.h>

void
spare_init(struct spare *spare, int dir_fd)
{
	*spare = (struct spare){.dir_fd = dir_fd, .fd = -1};
	worker_init(&spare->worker);
}

void
spare_fini(struct spare *spare)
{
	worker_fini(&spare->worker);
	if (spare->fd != -1)
		(void)close(spare->fd);
	spare->fd = -1;
}

int
spare_make(struct spare *spare, uint64_t bytes)
{
	spare->bytes = bytes;
	spare->fd = segment_make_spare(spare->dir_fd, bytes, false);
	return spare->fd == -1 ? -1 : 0;
}

/* The work of the worker. */
static int
make_directly(void *job)
{
	struct spare *spare = job;

	spare->fd = segment_make_spare(spare->dir_fd, spare->bytes, true);
	return spare->fd == -1 ? -1 : 0;
}

int
spare_begin(struct spare *spare, uint64_t bytes)
{
	spare->bytes = bytes;
	if (worker_begin(&spare->worker, make_directly, spare) == 0)
		return 0;
	/* Without a thread it takes its time. */
	return make_directly(spare);
}

int
spare_end(struct spare *spare, bool wait)
{
	if (!spare->worker.is_busy)
		return 1;
	return worker_take(&spare->worker, wait);
}

uint64_t
spare_bytes(const struct spare *spare)
{
	/* While the worker is busy its descriptor is not to be looked at. */
	if (spare->worker.is_busy || spare->fd != -1)
		return spare->bytes;
	return 0;
}

void
spare_drop(struct spare *spare)
{
	int saved = errno;

	(void)spare_end(spare, true);
	if (spare->fd != -1)
		(void)close(spare->fd);
	spare->fd = -1;
	(void)unlinkat(spare->dir_fd, SEGMENT_SPARE, 0);
	errno = saved;
}
