/*
 * What is on its way out of one connection: frames of RFC 6455, masked with
 * random numbers, one behind the other until the system takes them. It counts
 * their bytes, and knows since when none has gone. No descriptor.
 */
#ifndef WSSINK_WSQUEUE_H
#define WSSINK_WSQUEUE_H

#include "stage/buf.h"
#include "wssink/wsframe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* It is full when this much waits; one frame more may be put on top. */
#define WSQUEUE_FULL_BYTES ((size_t)256 << 10)
/* Random bytes are fetched in pieces of this size. */
#define WSQUEUE_MASKS_BYTES 8192

struct wsqueue {
	struct buf bytes;
	uint64_t queued_bytes; /* of the connection, put in */
	uint64_t gone_bytes;   /* of these, taken by the system */
	int64_t moved_ns;      /* bytes went, or it was empty, last */
	uint8_t masks[WSQUEUE_MASKS_BYTES];
	size_t masks_used;
};

/* Makes an empty queue. */
void wsqueue_init(struct wsqueue *queue);

/* Frees its memory. */
void wsqueue_fini(struct wsqueue *queue);

/* Drops all, and counts from 0: a new connection begins. */
void wsqueue_reset(struct wsqueue *queue);

/* Say whether nothing waits, and whether WSQUEUE_FULL_BYTES do. */
bool wsqueue_is_empty(const struct wsqueue *queue);
bool wsqueue_is_full(const struct wsqueue *queue);

/*
 * Puts in one frame of at most FRAME_MAX_BYTES; a data frame only while the
 * queue is not full. Returns 0, or -1, and nothing is put in, if OpenSSL has no
 * random numbers.
 */
int wsqueue_put(struct wsqueue *queue, enum wsframe_opcode opcode,
    const void *payload, size_t bytes);

/* As wsqueue_put, a Close; see wsframe_put_close. */
int wsqueue_put_close(struct wsqueue *queue, unsigned code, const char *reason);

/* Counts bytes that were appended to queue->bytes without a frame: the
 * request. */
void wsqueue_count(struct wsqueue *queue, size_t bytes);

/* Takes out the first `bytes`, which the system has taken. */
void wsqueue_drop(struct wsqueue *queue, size_t bytes, int64_t now_ns);

/* Returns when more must have gone, if some must within `timeout_ns`, or
 * INT64_MAX if nothing waits. */
int64_t wsqueue_deadline_ns(const struct wsqueue *queue, int64_t timeout_ns);

#endif
