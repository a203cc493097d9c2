#include "stage/keep.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

void
keep_init(struct keep *keep, enum framing framing, size_t max_bytes)
{
	assert(framing != FRAMING_AUTO);
	*keep = (struct keep){.framing = framing};
	buf_init(&keep->bytes, max_bytes);
}

void
keep_fini(struct keep *keep)
{
	buf_fini(&keep->bytes);
}

uint8_t *
keep_put(struct keep *keep, size_t bytes)
{
	bool has_header = keep->framing == FRAMING_LENGTH;
	size_t more = has_header ? FRAME_HEADER_BYTES : 1;
	uint8_t *to = buf_reserve(&keep->bytes, more + bytes);

	if (to == NULL)
		return NULL;
	buf_commit(&keep->bytes, more + bytes);
	keep->events++;
	if (!has_header) {
		to[bytes] = '\n';
		return to;
	}
	frame_put_header(to, bytes);
	return to + FRAME_HEADER_BYTES;
}

int
keep_add_line(struct keep *keep, const uint8_t *line, size_t bytes)
{
	size_t before = bytes > 0 && line[0] == 0 ? 1 : 0;
	uint8_t *to = buf_reserve(&keep->bytes, before + bytes + 1);

	assert(keep->framing == FRAMING_NDJSON);
	if (to == NULL)
		return -1;
	if (before > 0)
		*to++ = ' ';
	memcpy(to, line, bytes);
	to[bytes] = '\n';
	buf_commit(&keep->bytes, before + bytes + 1);
	keep->events++;
	return 0;
}

/* Returns the length of the event that begins at `at`, with its framing. */
static size_t
event_bytes(const struct keep *keep, size_t at)
{
	const uint8_t *event = buf_front(&keep->bytes) + at, *end;
	size_t bytes = buf_bytes(&keep->bytes) - at;

	if (keep->framing == FRAMING_LENGTH)
		return frame_wanted(event, bytes);
	end = memchr(event, '\n', bytes);
	assert(end != NULL);
	return (size_t)(end - event) + 1;
}

/* Gives whole events, as many as fit into `room` bytes of `out`; the last one
 * given before them was given whole. Returns whether there were any. */
static bool
give_whole(struct keep *keep, struct buf *out, size_t room)
{
	size_t waiting = keep_waiting_bytes(keep), bytes = 0;
	uint64_t events = 0;

	while (bytes < waiting) {
		size_t more = event_bytes(keep, keep->sent_bytes + bytes);

		if (more > room - bytes)
			break;
		bytes += more;
		events++;
	}
	if (events == 0 ||
	    buf_append(
		out, buf_front(&keep->bytes) + keep->sent_bytes, bytes) == -1)
		return false;
	keep->sent_bytes += bytes;
	keep->sent_end = keep->sent_bytes;
	keep->sent += events;
	return true;
}

void
keep_give(struct keep *keep, struct buf *out, size_t limit)
{
	while (keep_waiting_bytes(keep) > 0 && buf_bytes(out) < limit) {
		size_t room = limit - buf_bytes(out), bytes;

		if (keep->sent_bytes == keep->sent_end &&
		    give_whole(keep, out, room))
			continue;
		if (keep->sent_bytes == keep->sent_end)
			keep->sent_end += event_bytes(keep, keep->sent_bytes);
		bytes = keep->sent_end - keep->sent_bytes;
		/* Short ones are given whole: chan.h writes them so. */
		if (bytes > room && bytes <= limit && buf_bytes(out) > 0)
			return;
		if (bytes > room)
			bytes = room;
		if (buf_append(out, buf_front(&keep->bytes) + keep->sent_bytes,
			bytes) == -1)
			return;
		keep->sent_bytes += bytes;
		if (keep->sent_bytes == keep->sent_end)
			keep->sent++;
	}
}

void
keep_count_bare(struct keep *keep)
{
	assert(keep->events == 0);
	keep->sent++;
	keep->bare++;
}

/* Drops the first `bytes`, which were given and are the first `events`. */
static void
drop(struct keep *keep, size_t bytes, uint64_t events)
{
	assert(bytes <= keep->sent_bytes && events <= keep->events);
	buf_drop(&keep->bytes, bytes);
	keep->sent_bytes -= bytes;
	keep->sent_end -= bytes;
	keep->events -= events;
}

const char *
keep_ack(struct keep *keep, uint64_t n)
{
	uint64_t count, bare;
	size_t bytes = 0;

	if (n < keep->acked)
		return "an ack that falls";
	if (n > keep->sent)
		return "an ack of more events than were sent";
	count = n - keep->acked;
	bare = count < keep->bare ? count : keep->bare;
	for (uint64_t i = bare; i < count; i++)
		bytes += event_bytes(keep, bytes);
	drop(keep, bytes, count - bare);
	keep->bare -= bare;
	keep->acked = n;
	return NULL;
}

void
keep_drop_given(struct keep *keep)
{
	uint64_t events = keep->sent - keep->acked - keep->bare;

	drop(keep, keep->sent_bytes, events);
	keep->bare = 0;
	keep->acked = keep->sent;
}

uint64_t
keep_restart(struct keep *keep)
{
	uint64_t lost = keep->bare;

	keep->sent_bytes = keep->sent_end = 0;
	keep->sent = keep->acked = keep->bare = 0;
	return lost;
}

uint64_t
keep_unacked(const struct keep *keep)
{
	return keep->events + keep->bare;
}

size_t
keep_bytes(const struct keep *keep)
{
	return buf_bytes(&keep->bytes);
}

size_t
keep_waiting_bytes(const struct keep *keep)
{
	return buf_bytes(&keep->bytes) - keep->sent_bytes;
}
