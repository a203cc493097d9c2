#include "wssink/wsqueue.h"

#include "stage/frame.h"
#include "stage/loop.h"

#include <openssl/rand.h>

#include <assert.h>

/* It never holds more: one message on top, and control frames. */
#define MAX_BYTES \
	(WSQUEUE_FULL_BYTES + FRAME_MAX_BYTES + \
	    64 * (size_t)(WSFRAME_HEADER_BYTES + WSFRAME_CONTROL_BYTES))

void
wsqueue_init(struct wsqueue *queue)
{
	*queue = (struct wsqueue){.masks_used = WSQUEUE_MASKS_BYTES};
	buf_init(&queue->bytes, MAX_BYTES);
}

void
wsqueue_fini(struct wsqueue *queue)
{
	buf_fini(&queue->bytes);
}

void
wsqueue_reset(struct wsqueue *queue)
{
	buf_drop(&queue->bytes, buf_bytes(&queue->bytes));
	queue->queued_bytes = 0;
	queue->gone_bytes = 0;
}

bool
wsqueue_is_empty(const struct wsqueue *queue)
{
	return buf_bytes(&queue->bytes) == 0;
}

bool
wsqueue_is_full(const struct wsqueue *queue)
{
	return buf_bytes(&queue->bytes) >= WSQUEUE_FULL_BYTES;
}

/* Returns a mask that nobody can guess (RFC 6455, section 5.3); NULL if there
 * are no random numbers. */
static const uint8_t *
next_mask(struct wsqueue *queue)
{
	if (queue->masks_used == WSQUEUE_MASKS_BYTES) {
		if (RAND_bytes(queue->masks, WSQUEUE_MASKS_BYTES) != 1)
			return NULL;
		queue->masks_used = 0;
	}
	queue->masks_used += WSFRAME_MASK_BYTES;
	return queue->masks + queue->masks_used - WSFRAME_MASK_BYTES;
}

void
wsqueue_count(struct wsqueue *queue, size_t bytes)
{
	if (queue->queued_bytes == queue->gone_bytes)
		queue->moved_ns = loop_now_ns();
	queue->queued_bytes += bytes;
}

int
wsqueue_put(struct wsqueue *queue, enum wsframe_opcode opcode,
    const void *payload, size_t bytes)
{
	const uint8_t *mask = next_mask(queue);
	uint8_t *to;
	size_t n;

	if (mask == NULL)
		return -1;
	to = buf_reserve(&queue->bytes, WSFRAME_HEADER_BYTES + bytes);
	assert(to != NULL);
	n = wsframe_put(to, opcode, payload, bytes, mask);
	buf_commit(&queue->bytes, n);
	wsqueue_count(queue, n);
	return 0;
}

int
wsqueue_put_close(struct wsqueue *queue, unsigned code, const char *reason)
{
	const uint8_t *mask = next_mask(queue);
	uint8_t *to;
	size_t n;

	if (mask == NULL)
		return -1;
	to = buf_reserve(
	    &queue->bytes, WSFRAME_HEADER_BYTES + WSFRAME_CONTROL_BYTES);
	assert(to != NULL);
	n = wsframe_put_close(to, code, reason, mask);
	buf_commit(&queue->bytes, n);
	wsqueue_count(queue, n);
	return 0;
}

void
wsqueue_drop(struct wsqueue *queue, size_t bytes, int64_t now_ns)
{
	buf_drop(&queue->bytes, bytes);
	queue->gone_bytes += bytes;
	queue->moved_ns = now_ns;
}

int64_t
wsqueue_deadline_ns(const struct wsqueue *queue, int64_t timeout_ns)
{
	if (wsqueue_is_empty(queue))
		return INT64_MAX;
	return queue->moved_ns + timeout_ns;
}
