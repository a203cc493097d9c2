#include "walproc/streams.h"

#include "stage/io.h"
#include "walproc/delivery.h"
#include "walproc/intake.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void
streams_init(struct streams *streams, const struct control *control)
{
	*streams = (struct streams){.control = *control, .sink_fd = -1};
}

void
streams_fini(struct streams *streams)
{
	for (size_t i = 0; i < streams->waiting_count; i++)
		(void)close(streams->waiting[i].fd);
	streams->waiting_count = 0;
	if (streams->sink_fd != -1)
		(void)close(streams->sink_fd);
	streams->sink_fd = -1;
}

bool
streams_are_given(const struct walproc *walproc)
{
	return control_is_open(&walproc->streams.control);
}

bool
streams_may_follow(const struct walproc *walproc)
{
	return streams_are_given(walproc) && !walproc->streams.is_last;
}

bool
streams_have_source(const struct walproc *walproc)
{
	return walproc->streams.waiting_count > 0 ||
	       (!walproc->up.in_ended && !walproc->up.out_broken);
}

bool
streams_have_sink(const struct walproc *walproc)
{
	return walproc->streams.sink_fd != -1 ||
	       !delivery_has_lost_sink(walproc);
}

/* Takes one of those that wait for their turn off the list. */
static struct streams_source
take_waiting(struct streams *streams, size_t index)
{
	struct streams_source source = streams->waiting[index];

	streams->waiting_count--;
	memmove(&streams->waiting[index], &streams->waiting[index + 1],
	    (streams->waiting_count - index) * sizeof(source));
	return source;
}

/* Says whether a source has left without having sent anything. It may not have
 * read what it was told either, which is an error (ECONNRESET). */
static bool
is_empty(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR);
}

/* Makes room for one more to wait. */
static void
clear_waiting(struct streams *streams)
{
	for (size_t i = streams->waiting_count; i > 0; i--)
		if (is_empty(streams->waiting[i - 1].fd))
			(void)close(take_waiting(streams, i - 1).fd);
	if (streams->waiting_count < STREAMS_WAITING)
		return;
	log_error("source: %d of them left before their events could be taken: "
		  "those of the first are lost",
	    STREAMS_WAITING);
	(void)close(take_waiting(streams, 0).fd);
}

static void
add_source(struct walproc *walproc, int fd)
{
	struct streams *streams = &walproc->streams;

	if (streams->is_last || !io_is_socket(fd)) {
		log_error("source: attached, but %s",
		    streams->is_last ? "told that none comes" : "no socket");
		(void)close(fd);
		return;
	}
	clear_waiting(streams);
	streams->waiting[streams->waiting_count++] =
	    (struct streams_source){.fd = fd};
}

static void
add_sink(struct walproc *walproc, int fd)
{
	struct streams *streams = &walproc->streams;

	if (!io_is_socket(fd)) {
		log_error("sink: attached, but no socket");
		(void)close(fd);
		return;
	}
	/* One that waited has been given nothing. */
	if (streams->sink_fd != -1)
		(void)close(streams->sink_fd);
	streams->sink_fd = fd;
}

void
streams_take_orders(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	struct control_msg msg;

	while (control_next(&streams->control, &walproc->loop, &msg) ==
	       CONTROL_GOT) {
		switch (msg.what.kind) {
		case CTLMSG_ATTACH_IN:
			add_source(walproc, msg.fd);
			break;
		case CTLMSG_ATTACH_OUT:
			add_sink(walproc, msg.fd);
			break;
		case CTLMSG_DRAIN:
			streams->is_last = true;
			break;
		case CTLMSG_ASK:
			report_send(walproc);
			break;
		default:
			break;
		}
		cJSON_Delete(msg.what.body);
	}
}

/* Gives `fd` the number of the descriptor that a peer had. 0, or -1; logged. */
static int
replace(const char *name, int fd, int number)
{
	int result = dup2(fd, number);

	if (result == -1)
		log_error("%s: dup2: %m", name);
	(void)close(fd);
	return result == -1 ? -1 : 0;
}

/* Starts over with a sink that nothing was given to. */
static void
begin_sink(struct walproc *walproc)
{
	chan_fini(&walproc->down);
	chan_init(&walproc->down, STDOUT_FILENO, FRAMING_LENGTH, STDOUT_FILENO,
	    walproc->options.framing);
	walproc->streams.acked_before += walproc->flight.acked;
	flight_fini(&walproc->flight);
	reader_init(&walproc->reader, &walproc->wal.catalog,
	    wal_acked_seq(&walproc->wal) + 1);
	walproc->breaker_is_open = false;
	/* This one rejects that event again. */
	walproc->has_held = false;
	walproc->streams.sink_is_missed = false;
	log_info("sink attached: %" PRIu64 " events wait for it",
	    wal_elements(&walproc->wal));
}

int
streams_change_sink(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	struct chan *down = &walproc->down;
	int fd = streams->sink_fd;

	if (!streams_are_given(walproc))
		return 0;
	/* An answer that is held keeps the end behind it from being read. */
	if (fd != -1 && (down->in_ended || walproc->has_held)) {
		streams->sink_fd = -1;
		if (replace("sink", fd, STDOUT_FILENO) == -1)
			return -1;
		begin_sink(walproc);
		return 0;
	}
	if (!delivery_has_lost_sink(walproc))
		return 0;
	down->out_broken = true;
	buf_drop(&down->out, buf_bytes(&down->out));
	if (fd == -1 && !streams->sink_is_missed) {
		log_info("sink left: %" PRIu64 " events wait for the next",
		    wal_elements(&walproc->wal));
		streams->sink_is_missed = true;
	}
	return 0;
}

/* Sends a message to a source whose stream has not begun. */
static void
send_ahead(int fd, const struct msg *msg)
{
	struct chan chan;

	chan_init(&chan, -1, FRAMING_LENGTH, fd, FRAMING_LENGTH);
	chan_send_msg(&chan, msg);
	/* Nothing else is in the socket: it has room. */
	(void)chan_push(&chan);
	chan_fini(&chan);
}

/* The newest that waits may live, and should not send what waits with it. */
static void
tell_waiting(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	struct streams_source *newest;
	struct msg msg;

	if (streams->waiting_count == 0 || walproc->block == WALPROC_TAKING)
		return;
	newest = &streams->waiting[streams->waiting_count - 1];
	if (newest->is_told)
		return;
	newest->is_told = true;
	intake_put_block(walproc, &msg);
	send_ahead(newest->fd, &msg);
}

static int
begin_source(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	struct streams_source next = take_waiting(streams, 0);
	struct msg msg = {.kind = MSG_BREAKER_CLOSED};

	if (replace("source", next.fd, STDIN_FILENO) == -1)
		return -1;
	chan_fini(&walproc->up);
	chan_init(&walproc->up, STDIN_FILENO, FRAMING_AUTO, STDIN_FILENO,
	    FRAMING_LENGTH);
	/* Its acks count what it sends, whatever sync they wait for. */
	streams->taken_before = walproc->taken;
	streams->source_is_missed = false;
	walproc->input_is_over = false;
	if (next.is_told)
		chan_send_msg(&walproc->up, &msg);
	log_info("source attached");
	return 0;
}

int
streams_change_source(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;

	if (!streams_are_given(walproc))
		return 0;
	tell_waiting(walproc);
	if (!walproc->input_is_over)
		return 0;
	if (streams->waiting_count > 0)
		return begin_source(walproc);
	if (!streams->is_last && !streams->source_is_missed) {
		log_info("source left: waiting for the next");
		streams->source_is_missed = true;
	}
	return 0;
}

int
streams_end(struct walproc *walproc, struct chan *chan)
{
	struct streams *streams = &walproc->streams;
	bool is_in = chan == &walproc->up;
	/* One that has a successor has ended already. */
	bool is_here =
	    is_in ? streams->waiting_count == 0 : streams->sink_fd == -1;

	if (!streams_are_given(walproc))
		return -1;
	if (is_here && !chan->in_ended)
		control_fault(&streams->control, is_in, "");
	(void)shutdown(chan->in_fd, SHUT_RDWR);
	buf_drop(&chan->in, buf_bytes(&chan->in));
	buf_drop(&chan->out, buf_bytes(&chan->out));
	chan->in_frame_bytes = 0;
	chan->in_searched = 0;
	chan->in_ended = true;
	chan->out_broken = true;
	return 0;
}
