/*
 * The spare: a file of zeros that waits to be the next segment, so that a sync
 * of what is written into it costs one flush of the device, and nobody waits
 * for it to be filled. There is at most one in a directory.
 */
#ifndef WALPROC_SPARE_H
#define WALPROC_SPARE_H

#include "walproc/segment.h"
#include "walproc/worker.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What the worker is told, and what it has made; its own while it is busy. */
struct spare_job {
	int dir_fd;
	struct segment_zeros wanted;
	int fd;		  /* owned */
	uint64_t written; /* its size */
};

struct spare {
	int dir_fd;	      /* borrowed: the log's directory */
	int fd;		      /* owned; -1: there is none */
	uint64_t bytes;	      /* its size, or that of the one being made */
	struct worker worker; /* makes one */
	struct spare_job job; /* for it */
	atomic_bool is_cut;   /* it is to end, once it is no small one */
};

/* Makes an empty one. What an earlier process left is not touched. */
void spare_init(struct spare *spare, int dir_fd);

/* Closes it and leaves the file. Waits for one that is being made. */
void spare_fini(struct spare *spare);

/*
 * Makes one of `bytes`, durable but for its name; there is none, and none is
 * being made. Returns 0, or -1 with errno set.
 */
int spare_make(struct spare *spare, uint64_t bytes);

/* Up to this size one is made in a moment. */
#define SPARE_SMALL_BYTES (UINT64_C(8) << 20)

/* Begins to make one meanwhile, past the page cache: see segment.h; where no
 * thread can be had it is made here and now. Returns as spare_make. */
int spare_begin(struct spare *spare, uint64_t bytes);

/*
 * Takes the end of that: 1 if there is a spare now, or none was being made, 0
 * if it is not over (never so where `wait` is set: then it is cut short, to
 * what it has by then but no less than a small one has, and waited for), or -1
 * with errno set and no spare.
 */
int spare_end(struct spare *spare, bool wait);

/* Returns how many bytes it takes, being made or made. */
uint64_t spare_bytes(const struct spare *spare);

/* Removes it, also one that is being made. Keeps errno. */
void spare_drop(struct spare *spare);

#endif
