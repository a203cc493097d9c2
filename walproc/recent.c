#include "walproc/recent.h"

void
recent_init(struct recent *recent)
{
	*recent = (struct recent){0};
	for (size_t i = 0; i < RECENT_BATCHES; i++)
		buf_init(&recent->batches[i].bytes, SIZE_MAX);
}

void
recent_fini(struct recent *recent)
{
	for (size_t i = 0; i < RECENT_BATCHES; i++)
		buf_fini(&recent->batches[i].bytes);
}

void
recent_take(struct recent *recent, struct buf *batch, size_t bytes,
    uint64_t salt, uint64_t offset)
{
	struct recent_batch *oldest =
	    &recent->batches[recent->taken % RECENT_BATCHES];
	struct buf empty = oldest->bytes;

	/* A long one would keep its memory for ever. */
	if (bytes > RECENT_BYTES) {
		buf_fini(batch);
		return;
	}
	buf_drop(&empty, buf_bytes(&empty));
	empty.max_bytes = batch->max_bytes;
	*oldest = (struct recent_batch){
	    .bytes = *batch,
	    .salt = salt,
	    .offset = offset,
	};
	oldest->bytes.end = oldest->bytes.start + bytes;
	*batch = empty;
	recent->taken++;
}

const uint8_t *
recent_find(
    const struct recent *recent, uint64_t salt, uint64_t offset, size_t *bytes)
{
	for (size_t i = 0; i < RECENT_BATCHES; i++) {
		const struct recent_batch *batch = &recent->batches[i];
		size_t all = buf_bytes(&batch->bytes);

		if (batch->salt != salt || offset < batch->offset ||
		    offset - batch->offset >= all)
			continue;
		*bytes = all - (size_t)(offset - batch->offset);
		return buf_front(&batch->bytes) + (offset - batch->offset);
	}
	return NULL;
}
