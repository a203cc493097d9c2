/*
 * The batches that were written last, in memory, as they are in the file: what
 * a sink that keeps up is given needs not be read back. Memory only; it knows
 * a segment by its salt, which no other has.
 */
#ifndef WALPROC_RECENT_H
#define WALPROC_RECENT_H

#include "stage/buf.h"

#include <stddef.h>
#include <stdint.h>

/* Batches kept, and the bytes of the longest that is. */
#define RECENT_BATCHES 4
#define RECENT_BYTES ((size_t)2 << 20)

struct recent_batch {
	struct buf bytes; /* its header first; what it holds, if any */
	uint64_t salt;	  /* of its segment */
	uint64_t offset;  /* in that */
};

struct recent {
	struct recent_batch batches[RECENT_BATCHES];
	uint64_t taken; /* batches so far: one more, and what was given out is
			 * void */
};

/* Makes an empty one. */
void recent_init(struct recent *recent);

/* Frees the memory. */
void recent_fini(struct recent *recent);

/*
 * Takes the first `bytes` of *batch, which were written at `offset` of the
 * segment with that salt, and what is queued of them; *batch is empty then, and
 * has the memory of the batch that is forgotten for it.
 */
void recent_take(struct recent *recent, struct buf *batch, size_t bytes,
    uint64_t salt, uint64_t offset);

/*
 * Returns the bytes at `offset` of the segment with that salt, and sets *bytes
 * to how many follow that are here; or NULL. Borrowed until `taken` changes.
 */
const uint8_t *recent_find(
    const struct recent *recent, uint64_t salt, uint64_t offset, size_t *bytes);

#endif
