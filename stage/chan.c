#include "stage/chan.h"

#include "stage/io.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void
chan_init(struct chan *chan, int in_fd, enum framing in_framing, int out_fd,
    enum framing out_framing)
{
	*chan = (struct chan){
	    .in_fd = in_fd,
	    .out_fd = out_fd,
	    .in_is_socket = in_fd != -1 && io_is_socket(in_fd),
	    .out_is_socket = out_fd != -1 && io_is_socket(out_fd),
	    .in_framing = in_framing,
	    .out_framing = out_framing,
	    .in_starved = true,
	    .in_ended = in_fd == -1,
	    .out_broken = out_fd == -1,
	};
	if (out_framing == FRAMING_AUTO)
		chan->out_framing =
		    chan->out_is_socket ? FRAMING_LENGTH : FRAMING_NDJSON;
	buf_init(&chan->in, CHAN_MAX_BYTES);
	buf_init(&chan->out, CHAN_MAX_BYTES);
}

void
chan_fini(struct chan *chan)
{
	buf_fini(&chan->in);
	buf_fini(&chan->out);
}

void
chan_watch(struct chan *chan, struct loop *loop, bool reading)
{
	bool room = chan->in_starved || buf_bytes(&chan->in) < CHAN_READ_BYTES;
	bool in = reading && room && !chan->in_ended;
	bool out = buf_bytes(&chan->out) > 0;

	chan->in_slot = loop_watch(loop, in ? chan->in_fd : -1, POLLIN);
	/* Watched with nothing to write too: that the reader of a pipe left
	 * shows nowhere else. */
	chan->out_slot = loop_watch(
	    loop, chan->out_broken ? -1 : chan->out_fd, out ? POLLOUT : 0);
}

/* Says whether `error` means that the peer left, which is no failure. */
static bool
is_peer_gone(int error)
{
	return error == EPIPE || error == ECONNRESET;
}

static bool
is_not_now(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static int
read_once(struct chan *chan)
{
	size_t room = buf_left(&chan->in);
	uint8_t *to;
	ssize_t n;

	if (room > CHAN_READ_BYTES)
		room = CHAN_READ_BYTES;
	to = buf_reserve(&chan->in, room);
	if (chan->in_is_socket)
		n = recv(chan->in_fd, to, room, MSG_DONTWAIT);
	else
		n = read(chan->in_fd, to, room);
	if (n == -1 && is_not_now(errno))
		return 0;
	if (n == -1 && !is_peer_gone(errno))
		return -1;
	if (n <= 0) {
		chan->in_ended = true;
		return 0;
	}
	if (chan->in_framing == FRAMING_AUTO)
		chan->in_framing = framing_of(to[0]);
	buf_commit(&chan->in, (size_t)n);
	chan->in_starved = false;
	return 0;
}

/*
 * Returns how many queued bytes to give to something that is no socket: what a
 * pipe that poll found ready takes without blocking, and of lines only whole
 * ones if one fits, so that a reader is not left with half a line when this
 * process ends.
 */
static size_t
pipe_bytes(const struct chan *chan)
{
	const uint8_t *front = buf_front(&chan->out), *end = NULL;
	size_t bytes = buf_bytes(&chan->out), room = PIPE_BUF;

	if (bytes > PIPE_BUF && chan->out_is_ours)
		room = io_pipe_room(chan->out_fd);
	if (bytes <= room)
		return bytes;
	if (chan->out_framing == FRAMING_NDJSON)
		end = memrchr(front, '\n', room);
	return end == NULL ? room : (size_t)(end - front) + 1;
}

/* Takes `bytes` off what is to be written. What a long event took is given back
 * with its last byte: there are many peers, and few such events. */
static void
drop_written(struct chan *chan, size_t bytes)
{
	buf_drop(&chan->out, bytes);
	if (buf_bytes(&chan->out) == 0 && chan->out.room > CHAN_KEEP_BYTES)
		buf_fini(&chan->out);
}

static int
write_once(struct chan *chan)
{
	size_t bytes = buf_bytes(&chan->out);
	ssize_t n;

	if (chan->out_is_socket) {
		n = send(chan->out_fd, buf_front(&chan->out), bytes,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		n = write(
		    chan->out_fd, buf_front(&chan->out), pipe_bytes(chan));
	}
	if (n == -1 && is_not_now(errno))
		return 0;
	if (n == -1 && !is_peer_gone(errno))
		return -1;
	if (n == -1) {
		chan->out_broken = true;
		drop_written(chan, buf_bytes(&chan->out));
		return 0;
	}
	drop_written(chan, (size_t)n);
	return 0;
}

int
chan_turn(struct chan *chan, const struct loop *loop)
{
	short in = loop_ready(loop, chan->in_slot);
	short out = loop_ready(loop, chan->out_slot);

	/* In a turn in which nothing is watched another descriptor may have
	 * these slots, and a pipe read at its word would block. */
	chan->in_slot = chan->out_slot = 0;
	if (in != 0 && read_once(chan) == -1)
		return -1;
	if (out == 0)
		return 0;
	if (buf_bytes(&chan->out) > 0)
		return write_once(chan);
	if ((out & (POLLERR | POLLHUP)) != 0)
		chan->out_broken = true;
	return 0;
}

int
chan_push(struct chan *chan)
{
	size_t before = SIZE_MAX;

	if (!chan->out_is_socket)
		return 0;
	while (buf_bytes(&chan->out) > 0 && buf_bytes(&chan->out) != before) {
		before = buf_bytes(&chan->out);
		if (write_once(chan) == -1)
			return -1;
	}
	return 0;
}

int
chan_pull(struct chan *chan)
{
	size_t before = SIZE_MAX;

	if (!chan->in_is_socket)
		return 0;
	while (!chan->in_ended && buf_bytes(&chan->in) != before &&
	       buf_bytes(&chan->in) < CHAN_READ_BYTES) {
		before = buf_bytes(&chan->in);
		if (read_once(chan) == -1)
			return -1;
	}
	return 0;
}

/* At the end of the input the last line needs no \n. */
static enum frame_status
last_line(struct chan *chan, const uint8_t **payload, size_t *bytes)
{
	size_t n = buf_bytes(&chan->in);

	if (n > FRAME_MAX_BYTES)
		return FRAME_TOO_LONG;
	if (n == 0)
		return FRAME_PARTIAL;
	*payload = buf_front(&chan->in);
	*bytes = n;
	chan->in_frame_bytes = n;
	return FRAME_READY;
}

enum frame_status
chan_next(struct chan *chan, const uint8_t **payload, size_t *bytes)
{
	const uint8_t *in = buf_front(&chan->in);
	size_t n = buf_bytes(&chan->in);
	enum frame_status status;

	if (chan->in_framing == FRAMING_LENGTH) {
		status =
		    frame_peek(in, n, payload, bytes, &chan->in_frame_bytes);
	} else {
		status = line_peek(in, n, chan->in_searched, payload, bytes,
		    &chan->in_frame_bytes);
		if (status == FRAME_PARTIAL)
			chan->in_searched = n;
		if (status == FRAME_PARTIAL && chan->in_ended)
			status = last_line(chan, payload, bytes);
	}
	chan->in_starved = status == FRAME_PARTIAL;
	return status;
}

void
chan_drop(struct chan *chan)
{
	buf_drop(&chan->in, chan->in_frame_bytes);
	chan->in_frame_bytes = 0;
	chan->in_searched = 0;
}

bool
chan_next_piece(struct chan *chan, const uint8_t **piece, size_t *bytes)
{
	const uint8_t *in = buf_front(&chan->in);
	size_t n = buf_bytes(&chan->in);
	const uint8_t *end = NULL;

	if (chan->in_framing != FRAMING_LENGTH && n > 0)
		end = memchr(in, '\n', n);
	*piece = in;
	*bytes = end == NULL ? n : (size_t)(end - in);
	chan->in_frame_bytes = end == NULL ? n : *bytes + 1;
	chan->in_starved = end == NULL;
	return end != NULL;
}

int
chan_send(struct chan *chan, const uint8_t *payload, size_t bytes)
{
	uint8_t *to;

	/* Both framings need at most the header's size on top. */
	to = buf_reserve(&chan->out, FRAME_HEADER_BYTES + bytes);
	if (to == NULL)
		return -1;
	if (chan->out_framing == FRAMING_LENGTH) {
		frame_put_header(to, bytes);
		memcpy(to + FRAME_HEADER_BYTES, payload, bytes);
		buf_commit(&chan->out, FRAME_HEADER_BYTES + bytes);
	} else {
		buf_commit(&chan->out, line_put(to, payload, bytes));
	}
	return 0;
}

void
chan_send_msg(struct chan *chan, const struct msg *msg)
{
	uint8_t text[FRAME_HEADER_BYTES + MSG_MAX_BYTES];
	size_t n;

	if (chan->out_broken)
		return;
	n = msg_put(text + FRAME_HEADER_BYTES, msg);
	frame_put_header(text, n);
	/* Losing one is harmless to what was promised only for acks, which
	 * are cumulative; and 16 MiB of unread messages is a dead peer. */
	if (buf_append(&chan->out, text, FRAME_HEADER_BYTES + n) == -1)
		chan->out_broken = true;
}

enum frame_status
chan_next_msg(struct chan *chan, struct msg *msg, const char **why)
{
	const uint8_t *in;
	size_t n;
	enum frame_status status = chan_next(chan, &in, &n);

	if (status == FRAME_TOO_LONG)
		*why = "not a length-prefixed message";
	if (status == FRAME_PARTIAL &&
	    frame_wanted(buf_front(&chan->in), buf_bytes(&chan->in)) >
		FRAME_HEADER_BYTES + MSG_MAX_BYTES) {
		*why = "longer than a message may be";
		return FRAME_TOO_LONG;
	}
	if (status != FRAME_READY)
		return status;
	if (msg_parse(in, n, msg, why) == -1)
		return FRAME_TOO_LONG;
	chan_drop(chan);
	return FRAME_READY;
}

bool
chan_is_flushed(const struct chan *chan)
{
	return chan->out_broken || buf_bytes(&chan->out) == 0;
}
