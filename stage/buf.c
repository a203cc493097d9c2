#include "stage/buf.h"

#include "stage/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST_BYTES 4096

const uint8_t buf_nothing[1] = {0};

void
buf_init(struct buf *buf, size_t max_bytes)
{
	*buf = (struct buf){.max_bytes = max_bytes};
}

void
buf_fini(struct buf *buf)
{
	free(buf->data);
	buf_init(buf, buf->max_bytes);
}

/* Moves the queued bytes to the start of the memory. */
static void
move_to_start(struct buf *buf)
{
	size_t n = buf_bytes(buf);

	if (n > 0)
		memmove(buf->data, buf->data + buf->start, n);
	buf->start = 0;
	buf->end = n;
}

uint8_t *
buf_make_room(struct buf *buf, size_t bytes)
{
	size_t room = buf->room == 0 ? BUF_FIRST_BYTES : buf->room;

	if (bytes > buf_left(buf))
		return NULL;
	if (buf->data != NULL && bytes <= buf->room - buf->end)
		return buf->data + buf->end;
	/* Moving is cheap only if it frees much: otherwise a queue that stays
	 * nearly full would be moved whole for every few bytes. */
	if (buf->start >= buf_bytes(buf) / 2 || room / 2 >= buf->max_bytes)
		move_to_start(buf);
	while (room - buf->end < bytes)
		room += room / 2;
	if (room != buf->room) {
		buf->data = mem_realloc(buf->data, room, 1);
		buf->room = room;
	}
	return buf->data + buf->end;
}

int
buf_append(struct buf *buf, const void *data, size_t bytes)
{
	uint8_t *to = buf_reserve(buf, bytes);

	if (to == NULL)
		return -1;
	if (bytes > 0)
		memcpy(to, data, bytes);
	buf_commit(buf, bytes);
	return 0;
}

void
buf_cut(struct buf *buf, size_t at, size_t bytes)
{
	uint8_t *front = buf->data + buf->start;

	assert(at <= buf_bytes(buf) && bytes <= buf_bytes(buf) - at);
	if (at > 0)
		memmove(front + bytes, front, at);
	buf_drop(buf, bytes);
}
