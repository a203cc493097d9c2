#include "wssink/stream.h"

#include "stage/io.h"
#include "stage/json.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

/* No ack is queued, and no event taken, on top of this much that the reader of
 * the acks has not read yet. */
#define UNREAD_ACKS_BYTES 4096

/* Looks at what the descriptor is. */
static void
open_chan(struct stream *stream, int fd)
{
	bool answers = !stream->needs_reverse && io_is_socket(fd);

	chan_init(
	    &stream->chan, fd, FRAMING_AUTO, answers ? fd : -1, FRAMING_LENGTH);
	if (!stream->needs_reverse)
		stream->reverse = answers ? &stream->chan : NULL;
}

void
stream_init(struct stream *stream, int fd, bool needs_reverse)
{
	*stream = (struct stream){
	    .needs_reverse = needs_reverse,
	    .is_last = true,
	};
	open_chan(stream, fd);
}

void
stream_renew(struct stream *stream)
{
	int fd = stream->chan.in_fd;

	chan_fini(&stream->chan);
	open_chan(stream, fd);
	stream->is_held = true;
	stream->is_over = false;
	stream->is_faulty = false;
	stream->is_skipping = false;
	stream->acked = 0;
	stream->breaker_is_open = false;
}

void
stream_begin(struct stream *stream, const struct window *window)
{
	assert(window_is_empty(window));
	stream->is_held = false;
	stream->base = window->taken;
}

void
stream_fini(struct stream *stream)
{
	chan_fini(&stream->chan);
}

void
stream_reject(struct stream *stream, uint64_t n, const char *why)
{
	struct msg msg = {.kind = MSG_REJECT, .n = n - stream->base};

	stream->rejected++;
	(void)snprintf(msg.reason, sizeof(msg.reason), "%s", why);
	if (stream->reverse != NULL)
		chan_send_msg(stream->reverse, &msg);
	else
		stream->untellable++;
}

bool
stream_has_room(
    const struct stream *stream, const struct window *window, size_t bytes)
{
	if (stream->is_held ||
	    (stream->reverse == NULL && stream->needs_reverse))
		return false;
	if (stream->reverse != NULL &&
	    buf_bytes(&stream->reverse->out) >= UNREAD_ACKS_BYTES)
		return false;
	return window_has_room(window, bytes);
}

/* Refuses the next event of the input. */
static void
refuse_next(struct stream *stream, struct window *window, const char *why)
{
	unsigned long held;

	window_add_refused(window);
	if (log_limit_passes(&stream->reject_limit, &held))
		log_warn("event %" PRIu64 " refused: %s held_back=%lu",
		    window->taken - stream->base, why, held);
	stream_reject(stream, window->taken, why);
}

/* Takes one event that is whole. */
static void
take_event(struct stream *stream, struct window *window, const uint8_t *payload,
    size_t bytes)
{
	char text[MSG_REASON_BYTES];
	const char *why;
	size_t at;

	if (json_check(payload, bytes, &why, &at)) {
		window_add(window, payload, bytes);
		return;
	}
	(void)snprintf(text, sizeof(text), "not JSON: %s at byte %zu", why, at);
	refuse_next(stream, window, text);
}

/* No more events come that can be told apart. */
static void
end_faulty(
    struct stream *stream, const struct window *window, const char *fault)
{
	log_error("the input after event %" PRIu64 " %s",
	    window->taken - stream->base, fault);
	stream->is_over = true;
	stream->is_faulty = true;
}

/* Skips a line that is too long. Returns whether its end was found. */
static bool
skip_line(struct stream *stream)
{
	const uint8_t *piece;
	size_t bytes;

	stream->is_skipping = !chan_next_piece(&stream->chan, &piece, &bytes);
	chan_drop(&stream->chan);
	return !stream->is_skipping;
}

/*
 * Says whether what chan_next gave is the beginning of a line whose writer has
 * died: taken for the whole it may be another event, as 1 is for 123.
 */
static bool
is_cut(const struct stream *stream)
{
	const struct chan *chan = &stream->chan;

	return stream->is_repeated && chan->in_ended &&
	       chan->in_framing == FRAMING_NDJSON && chan->in_frame_bytes > 0 &&
	       buf_front(&chan->in)[chan->in_frame_bytes - 1] != '\n';
}

/*
 * Takes one event from the input into the window. Returns false if none is
 * there, or there is no room for it.
 */
static bool
take_next(struct stream *stream, struct window *window)
{
	struct chan *chan = &stream->chan;
	const uint8_t *payload;
	size_t bytes;

	if (stream->is_skipping && !skip_line(stream))
		return false;
	switch (chan_next(chan, &payload, &bytes)) {
	case FRAME_READY:
		if (is_cut(stream) || !stream_has_room(stream, window, bytes))
			return false;
		take_event(stream, window, payload, bytes);
		chan_drop(chan);
		return true;
	case FRAME_TOO_LONG:
		if (chan->in_framing == FRAMING_LENGTH) {
			end_faulty(stream, window, "is not in length framing");
			return false;
		}
		if (!stream_has_room(stream, window, 0))
			return false;
		refuse_next(stream, window, "longer than 16777215 bytes");
		stream->is_skipping = true;
		return true;
	case FRAME_PARTIAL:
		break;
	}
	return false;
}

/* Looks what is left at the end of the last stream, once no more events can be
 * taken of it. */
static void
take_end(struct stream *stream, const struct window *window)
{
	if (buf_bytes(&stream->chan.in) == 0)
		stream->is_over = true;
	else if (stream->chan.in_starved && !stream->is_repeated)
		end_faulty(stream, window, "ends within an event");
	else if (stream->chan.in_starved || is_cut(stream))
		stream->is_over = true;
}

bool
stream_take(struct stream *stream, struct window *window)
{
	uint64_t before = window->taken;

	if (stream->is_held)
		return false;
	while (!stream->is_over && take_next(stream, window))
		continue;
	if (!stream->is_over && stream->chan.in_ended && stream->is_last)
		take_end(stream, window);
	return window->taken > before;
}

/* Queues word of whether there is a connection. */
static void
tell_breaker(struct stream *stream, const struct wslink *link, bool is_open)
{
	struct msg msg = {.kind = MSG_BREAKER_CLOSED};

	if (is_open) {
		msg.kind = MSG_BREAKER_OPEN;
		(void)snprintf(msg.reason, sizeof(msg.reason), "%.*s",
		    (int)sizeof(msg.reason) - 1, wslink_why(link));
	}
	chan_send_msg(stream->reverse, &msg);
	stream->breaker_is_open = is_open;
}

int
stream_tell(struct stream *stream, const struct window *window,
    const struct wslink *link, bool with_breaker)
{
	bool is_away = wslink_state(link) != WSLINK_OPEN;
	struct msg ack = {.kind = MSG_ACK};

	if (stream->reverse == NULL || stream->reverse->out_broken)
		return 0;
	if (is_away != stream->breaker_is_open && with_breaker)
		tell_breaker(stream, link, is_away);
	if (!stream->is_held)
		ack.n = window->ended - stream->base;
	/* A reader that is slow gets fewer acks, not a queue of them. */
	if (ack.n > stream->acked &&
	    buf_bytes(&stream->reverse->out) < UNREAD_ACKS_BYTES) {
		chan_send_msg(stream->reverse, &ack);
		stream->acked = ack.n;
	}
	return chan_push(stream->reverse);
}

bool
stream_is_told(const struct stream *stream, const struct window *window)
{
	if (stream->reverse == NULL)
		return !stream->needs_reverse;
	if (stream->is_repeated && stream->reverse->out_broken)
		return true;
	return stream->acked == window->ended - stream->base &&
	       chan_is_flushed(stream->reverse);
}
