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
	(void)spare_end(spare, true);
	worker_fini(&spare->worker);
	if (spare->fd != -1)
		(void)close(spare->fd);
	spare->fd = -1;
}

int
spare_make(struct spare *spare, uint64_t bytes)
{
	struct segment_zeros wanted = {.bytes = bytes};

	spare->fd = segment_make_spare(spare->dir_fd, &wanted, &spare->bytes);
	return spare->fd == -1 ? -1 : 0;
}

/* The work of the worker. */
static int
make_job(void *job)
{
	struct spare_job *spare = job;

	spare->fd =
	    segment_make_spare(spare->dir_fd, &spare->wanted, &spare->written);
	return spare->fd == -1 ? -1 : 0;
}

int
spare_begin(struct spare *spare, uint64_t bytes)
{
	atomic_store(&spare->is_cut, false);
	spare->bytes = bytes;
	spare->job = (struct spare_job){
	    .dir_fd = spare->dir_fd,
	    .wanted =
		{
		    .bytes = bytes,
		    .is_direct = true,
		    .is_cut = &spare->is_cut,
		    .least = SPARE_SMALL_BYTES,
		},
	};
	if (worker_begin(&spare->worker, make_job, &spare->job) == 0)
		return 0;
	/* Without a thread it takes its time. */
	return spare_make(spare, bytes);
}

int
spare_end(struct spare *spare, bool wait)
{
	int result;

	if (!spare->worker.is_busy)
		return 1;
	if (wait)
		atomic_store(&spare->is_cut, true);
	result = worker_take(&spare->worker, wait);
	if (result == 1) {
		spare->fd = spare->job.fd;
		spare->bytes = spare->job.written;
	}
	return result;
}

uint64_t
spare_bytes(const struct spare *spare)
{
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
