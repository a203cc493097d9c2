#include "wssink/stream.h"

#include "stage/io.h"
#include "stage/json.h"

#include <inttypes.h>
#include <stdio.h>

/* No ack is queued, and no event taken, on top of this much that the reader of
 * the acks has not read yet. */
#define UNREAD_ACKS_BYTES 4096

void
stream_init(struct stream *stream, int fd, bool needs_reverse)
{
	bool answers = !needs_reverse && io_is_socket(fd);

	*stream = (struct stream){.needs_reverse = needs_reverse};
	chan_init(
	    &stream->chan, fd, FRAMING_AUTO, answers ? fd : -1, FRAMING_LENGTH);
	if (answers)
		stream->reverse = &stream->chan;
}

void
stream_fini(struct stream *stream)
{
	chan_fini(&stream->chan);
}

void
stream_reject(struct stream *stream, uint64_t n, const char *why)
{
	struct msg msg = {.kind = MSG_REJECT, .n = n};

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
	if (stream->reverse == NULL && stream->needs_reverse)
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
		    window->taken, why, held);
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
	log_error("the input after event %" PRIu64 " %s", window->taken, fault);
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
		if (!stream_has_room(stream, window, bytes))
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

bool
stream_take(struct stream *stream, struct window *window)
{
	uint64_t before = window->taken;

	while (!stream->is_over && take_next(stream, window))
		continue;
	if (stream->is_over || !stream->chan.in_ended)
		return window->taken > before;
	if (buf_bytes(&stream->chan.in) == 0)
		stream->is_over = true;
	else if (stream->chan.in_starved)
		end_faulty(stream, window, "ends within an event");
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
	struct msg ack = {.kind = MSG_ACK, .n = window->ended};

	if (stream->reverse == NULL || stream->reverse->out_broken)
		return 0;
	if (is_away != stream->breaker_is_open && with_breaker)
		tell_breaker(stream, link, is_away);
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
	return stream->acked == window->ended &&
	       chan_is_flushed(stream->reverse);
}
