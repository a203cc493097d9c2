/*
 * A byte queue with a hard cap: bytes go in at the back and leave at the
 * front. Memory grows as needed up to the cap and is kept until buf_fini, so
 * the event path allocates nothing once it has seen its largest event.
 */
#ifndef STAGE_BUF_H
#define STAGE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;	  /* owned */
	size_t room;	  /* bytes allocated at data */
	size_t start;	  /* first queued byte */
	size_t end;	  /* one behind the last queued byte */
	size_t max_bytes; /* cap on the bytes queued */
};

/* Makes an empty queue that will hold at most `max_bytes`. */
void buf_init(struct buf *buf, size_t max_bytes);

/* Frees the memory; the queue can be initialised again. */
void buf_fini(struct buf *buf);

/* Returns the number of bytes queued. */
size_t buf_bytes(const struct buf *buf);

/* Returns how many more bytes the cap allows. */
size_t buf_left(const struct buf *buf);

/*
 * Returns the first queued byte; buf_bytes of them follow. Valid until the
 * next call that reserves or appends.
 */
const uint8_t *buf_front(const struct buf *buf);

/*
 * Makes room for `bytes` behind the last byte and returns where to write
 * them, or NULL if that would pass the cap. They are queued by buf_commit.
 */
uint8_t *buf_reserve(struct buf *buf, size_t bytes);

/* Queues the first `bytes` of those last reserved. */
void buf_commit(struct buf *buf, size_t bytes);

/* Queues a copy of `bytes` at `data`; 0, or -1 (and nothing queued) if that
 * would pass the cap. */
int buf_append(struct buf *buf, const void *data, size_t bytes);

/* Drops `bytes`, at most buf_bytes, from the front. */
void buf_drop(struct buf *buf, size_t bytes);

/* Drops `bytes` from behind the first `at`, which are moved; there are
 * `at` + `bytes` at least. */
void buf_cut(struct buf *buf, size_t at, size_t bytes);

#endif
