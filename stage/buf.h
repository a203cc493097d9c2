/*
 * A byte queue with a hard cap: bytes go in at the back and leave at the
 * front. Memory grows as needed up to the cap and is kept until buf_fini, so
 * the event path allocates nothing once it has seen its largest event. What
 * that path does for each event is inline.
 */
#ifndef STAGE_BUF_H
#define STAGE_BUF_H

#include <assert.h>
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
static inline size_t
buf_bytes(const struct buf *buf)
{
	return buf->end - buf->start;
}

/* Returns how many more bytes the cap allows. */
static inline size_t
buf_left(const struct buf *buf)
{
	return buf->max_bytes - buf_bytes(buf);
}

/* What buf_front gives of a queue without memory. */
extern const uint8_t buf_nothing[];

/*
 * Returns the first queued byte; buf_bytes of them follow. Valid until the
 * next call that reserves or appends.
 */
static inline const uint8_t *
buf_front(const struct buf *buf)
{
	return buf->data == NULL ? buf_nothing : buf->data + buf->start;
}

/* For buf_reserve, where the memory behind the last byte may not do. */
uint8_t *buf_make_room(struct buf *buf, size_t bytes);

/*
 * Makes room for `bytes` behind the last byte and returns where to write
 * them, or NULL if that would pass the cap. They are queued by buf_commit.
 */
static inline uint8_t *
buf_reserve(struct buf *buf, size_t bytes)
{
	if (bytes <= buf_left(buf) && bytes <= buf->room - buf->end &&
	    buf->data != NULL)
		return buf->data + buf->end;
	return buf_make_room(buf, bytes);
}

/* Queues the first `bytes` of those last reserved. */
static inline void
buf_commit(struct buf *buf, size_t bytes)
{
	assert(bytes <= buf->room - buf->end);
	buf->end += bytes;
}

/* Queues a copy of `bytes` at `data`; 0, or -1 (and nothing queued) if that
 * would pass the cap. */
int buf_append(struct buf *buf, const void *data, size_t bytes);

/* Drops `bytes`, at most buf_bytes, from the front. */
static inline void
buf_drop(struct buf *buf, size_t bytes)
{
	assert(bytes <= buf_bytes(buf));
	buf->start += bytes;
	if (buf->start == buf->end)
		buf->start = buf->end = 0;
}

/* Drops `bytes` from behind the first `at`, which are moved; there are
 * `at` + `bytes` at least. */
void buf_cut(struct buf *buf, size_t at, size_t bytes);

#endif
