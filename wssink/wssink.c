#include "wssink/wssink.h"

#include "stage/chan.h"
#include "stage/control.h"
#include "stage/io.h"
#include "stage/log.h"
#include "stage/loop.h"
#include "stage/mem.h"
#include "wssink/delivery.h"
#include "wssink/fifo.h"
#include "wssink/report.h"
#include "wssink/stream.h"
#include "wssink/wsframe.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* For the closing handshake: when all is done, and after a signal. */
#define CLOSE_DONE_MS 2000
#define CLOSE_SIGNAL_MS 1000

enum life {
	LIFE_RUNNING,  /* events come in and go out */
	LIFE_DRAINING, /* the input has ended; the rest goes out */
	LIFE_LEAVING,  /* the closing handshake */
	LIFE_DONE,
};

static const char *const life_names[] = {
    [LIFE_RUNNING] = "running",
    [LIFE_DRAINING] = "draining",
    [LIFE_LEAVING] = "leaving",
    [LIFE_DONE] = "done",
};
_Static_assert(sizeof(life_names) / sizeof(life_names[0]) == LIFE_DONE + 1,
    "each state has a name");

struct wssink {
	const struct wssink_options *options; /* borrowed */
	struct control *control;	      /* borrowed */
	struct loop loop;
	struct stream stream;
	int64_t held_ns;  /* until when the stream is held, at most */
	bool end_is_told; /* that another input is waited for */
	struct fifo fifo; /* for the acks, if one is named */
	struct delivery delivery;

	enum life life;
	enum exitcode status; /* what to return */
	int64_t drain_ns;     /* deadline of LIFE_DRAINING */
	int64_t taken_ns;     /* an event was taken last; kept only if there is
			       * a drain timeout */
};

struct wssink *
wssink_open(const struct wssink_options *options)
{
	static const int signals[] = {SIGTERM, SIGINT};
	struct wssink *sink = mem_calloc(1, sizeof(*sink));

	sink->options = options;
	sink->control = options->control;
	if (loop_open(&sink->loop, signals, 2) == -1) {
		log_error("signals: %m");
		free(sink);
		return NULL;
	}
	if (delivery_open(&sink->delivery, &options->delivery) == -1) {
		log_error("libcurl cannot be set up");
		loop_close(&sink->loop);
		free(sink);
		return NULL;
	}
	stream_init(&sink->stream, STDIN_FILENO, options->acks_path != NULL);
	sink->stream.is_repeated = control_is_open(sink->control);
	sink->stream.is_last = !control_is_open(sink->control);
	fifo_init(&sink->fifo, options->acks_path);
	sink->drain_ns = LOOP_NEVER;
	sink->taken_ns = loop_now_ns();
	return sink;
}

void
wssink_close(struct wssink *sink)
{
	fifo_fini(&sink->fifo);
	stream_fini(&sink->stream);
	delivery_close(&sink->delivery);
	loop_close(&sink->loop);
	free(sink);
}

/* The one place where the life changes. */
static void
enter(struct wssink *sink, enum life life)
{
	if (sink->life == life)
		return;
	log_debug("%s, was %s", life_names[life], life_names[sink->life]);
	sink->life = life;
	if (life == LIFE_DRAINING && sink->options->has_drain_timeout)
		sink->drain_ns =
		    loop_now_ns() +
		    (int64_t)sink->options->drain_timeout_ms * LOOP_NS_PER_MS;
}

/* Ends the run with `status`, after the closing handshake. */
static void
leave(struct wssink *sink, enum exitcode status, unsigned code, uint64_t ms)
{
	if (status != EXITCODE_DONE)
		sink->status = status;
	sink->stream.is_over = true;
	enter(sink, LIFE_LEAVING);
	delivery_leave(&sink->delivery, code, ms);
}

/* Ends the run for a failure that was logged. */
static void
give_up(struct wssink *sink, enum exitcode status)
{
	if (sink->life < LIFE_LEAVING)
		leave(sink, status, WSFRAME_GOING_AWAY, CLOSE_SIGNAL_MS);
}

/* Ends the run if a file that the next connection needs is not among those that
 * this process may read; the next one may. */
static void
check_permit(struct wssink *sink)
{
	const char *path;

	if (sink->options->permit == NULL || !delivery_is_due(&sink->delivery))
		return;
	path = permit_replaced(sink->options->permit);
	if (path == NULL)
		return;
	log_warn(
	    "%s was replaced: starting again to be allowed to read it", path);
	give_up(sink, EXITCODE_AGAIN);
}

/* Follows the delivery, which may have found an event that it cannot deliver.
 */
static void
follow(struct wssink *sink)
{
	const char *why;
	uint64_t n;

	check_permit(sink);
	n = delivery_follow(&sink->delivery, &why);
	/* Of an event of the stream before nobody is left to be told. */
	if (n > 0 && !sink->stream.is_held)
		stream_reject(&sink->stream, n, why);
}

/* Begins with a new stream, once nothing is left of the one before. */
static void
begin_stream(struct wssink *sink)
{
	struct delivery *delivery = &sink->delivery;

	if (!sink->stream.is_held)
		return;
	if (loop_now_ns() >= sink->held_ns &&
	    !window_is_empty(&delivery->window)) {
		log_warn("not confirmed within the ping timeout, and dropped, "
			 "since the new input brings them again: %" PRIu64,
		    delivery_unended(delivery));
		delivery_drop_disowned(delivery);
	}
	if (window_is_empty(&delivery->window))
		stream_begin(&sink->stream, &delivery->window);
}

static void
take_events(struct wssink *sink)
{
	struct stream *stream = &sink->stream;

	if (sink->life >= LIFE_LEAVING)
		return;
	if (stream_take(stream, &sink->delivery.window) &&
	    sink->options->has_drain_timeout)
		sink->taken_ns = loop_now_ns();
	if (stream->is_faulty)
		sink->status = EXITCODE_AGAIN;
	if (stream->is_faulty && stream->is_repeated)
		give_up(sink, EXITCODE_AGAIN);
	else if (stream->is_over || (stream->is_last && stream->chan.in_ended))
		enter(sink, LIFE_DRAINING);
	else if (stream->chan.in_ended && !sink->end_is_told) {
		log_info("the input has ended; waiting for another");
		sink->end_is_told = true;
	}
}

/* Tells the input's writer what changed. */
static void
tell(struct wssink *sink)
{
	if (stream_tell(&sink->stream, &sink->delivery.window,
		sink->delivery.link, sink->life < LIFE_LEAVING) == 0)
		return;
	log_error("acks: %m");
	give_up(sink, EXITCODE_AGAIN);
}

/* Looks whether the reader of the acks has made and opened its FIFO. */
static void
look_for_fifo(struct wssink *sink)
{
	if (sink->life >= LIFE_LEAVING)
		return;
	switch (fifo_look(&sink->fifo)) {
	case FIFO_SAME:
		break;
	case FIFO_OPENED:
		sink->stream.reverse = &sink->fifo.chan;
		break;
	case FIFO_WRONG:
		give_up(sink, EXITCODE_FINAL);
		break;
	case FIFO_FAILED:
		give_up(sink, EXITCODE_AGAIN);
		break;
	}
}

/* Says whether all that was taken in has ended, and its writer knows. */
static bool
is_drained(const struct wssink *sink)
{
	return sink->stream.is_over &&
	       window_is_empty(&sink->delivery.window) &&
	       stream_is_told(&sink->stream, &sink->delivery.window);
}

/* The reader of the acks has gone. That is no loss if it had them all. */
static void
check_reverse(struct wssink *sink)
{
	const struct stream *stream = &sink->stream;
	bool may_end =
	    !stream->chan.in_ended && buf_bytes(&stream->chan.in) == 0;

	if (stream->reverse == NULL || !stream->reverse->out_broken ||
	    stream->is_repeated)
		return;
	/* It had all acks so far; that its other end is closed as well shows
	 * a moment later. */
	if (window_is_empty(&sink->delivery.window) && may_end)
		return;
	if (sink->life >= LIFE_LEAVING || is_drained(sink))
		return;
	log_error("the reader of the acks is gone; unconfirmed=%" PRIu64,
	    delivery_unended(&sink->delivery));
	give_up(sink, EXITCODE_AGAIN);
}

/* When to ask whether the end of the input is only not seen because no more of
 * it is taken. */
static int64_t
stall_ns(const struct wssink *sink)
{
	int64_t moved_ns;

	if (!sink->options->has_drain_timeout || sink->life != LIFE_RUNNING ||
	    !sink->stream.is_last ||
	    stream_has_room(&sink->stream, &sink->delivery.window, 1))
		return LOOP_NEVER;
	moved_ns = sink->delivery.confirmed_ns > sink->taken_ns
		       ? sink->delivery.confirmed_ns
		       : sink->taken_ns;
	return moved_ns +
	       (int64_t)sink->options->drain_timeout_ms * LOOP_NS_PER_MS;
}

/* Gives up what a file still holds, or a pipe that nobody writes any more. */
static void
check_stall(struct wssink *sink)
{
	int64_t now = loop_now_ns();

	if (now < stall_ns(sink))
		return;
	sink->taken_ns = now;
	if (!io_has_end(STDIN_FILENO))
		return;
	log_error("the drain timeout has passed, and nothing was confirmed; "
		  "undelivered=%" PRIu64 " and what is not read yet",
	    delivery_unended(&sink->delivery));
	give_up(sink, EXITCODE_AGAIN);
}

/* Moves the life on, if it is time to. */
static void
advance(struct wssink *sink)
{
	check_reverse(sink);
	check_stall(sink);
	if (sink->life == LIFE_DRAINING && is_drained(sink)) {
		leave(sink, EXITCODE_DONE, WSFRAME_NORMAL, CLOSE_DONE_MS);
	} else if (sink->life == LIFE_DRAINING &&
		   loop_now_ns() >= sink->drain_ns) {
		log_error("the drain timeout has passed; undelivered=%" PRIu64
			  " unread_bytes=%zu",
		    delivery_unended(&sink->delivery),
		    buf_bytes(&sink->stream.chan.in));
		give_up(sink, EXITCODE_AGAIN);
	}
	if (sink->life == LIFE_LEAVING &&
	    wslink_state(sink->delivery.link) == WSLINK_DOWN)
		enter(sink, LIFE_DONE);
}

static void
take_signals(struct wssink *sink)
{
	int signal;

	while ((signal = loop_signal(&sink->loop)) != 0) {
		log_info("stopping on %s; unconfirmed=%" PRIu64,
		    signal == SIGTERM ? "SIGTERM" : "SIGINT",
		    delivery_unended(&sink->delivery));
		if (sink->life == LIFE_LEAVING)
			enter(sink, LIFE_DONE);
		else
			give_up(sink, EXITCODE_DONE);
	}
}

/* Takes `fd`, which it owns, as the input in place of the one there is. */
static void
attach(struct wssink *sink, int fd)
{
	uint64_t held = delivery_unended(&sink->delivery);
	int64_t now = loop_now_ns();

	if (sink->life >= LIFE_LEAVING) {
		(void)close(fd);
		return;
	}
	if (dup2(fd, STDIN_FILENO) == -1) {
		log_error("the new input: %m");
		(void)close(fd);
		give_up(sink, EXITCODE_AGAIN);
		return;
	}
	(void)close(fd);
	if (!sink->stream.is_held)
		sink->held_ns =
		    now +
		    (int64_t)sink->options->delivery.link.ping_timeout_ms *
			LOOP_NS_PER_MS;
	stream_renew(&sink->stream);
	delivery_disown(&sink->delivery);
	log_info("a new input; of the one before unsent=%" PRIu64
		 " unconfirmed=%" PRIu64,
	    held - delivery_unended(&sink->delivery),
	    delivery_unended(&sink->delivery));
	sink->end_is_told = false;
	sink->taken_ns = now;
	sink->drain_ns = LOOP_NEVER;
	enter(sink, LIFE_RUNNING);
}

static void
report(struct wssink *sink)
{
	if (control_is_open(sink->control))
		control_report(sink->control,
		    report_new(&sink->delivery, sink->stream.rejected));
}

/* Does what the supervisor asks for. */
static void
take_control(struct wssink *sink)
{
	struct control_msg msg;

	while (control_next(sink->control, &sink->loop, &msg) == CONTROL_GOT) {
		if (msg.what.kind == CTLMSG_ATTACH_IN)
			attach(sink, msg.fd);
		else if (msg.fd != -1)
			(void)close(msg.fd);
		if (msg.what.kind == CTLMSG_DRAIN)
			sink->stream.is_last = true;
		if (msg.what.kind == CTLMSG_ASK)
			report(sink);
		cJSON_Delete(msg.what.body);
	}
	if (!sink->control->is_lost || sink->life >= LIFE_LEAVING)
		return;
	log_error("the supervisor is gone");
	give_up(sink, EXITCODE_AGAIN);
}

/* States what this turn waits for. */
static void
watch(struct wssink *sink)
{
	struct loop *loop = &sink->loop;
	struct stream *stream = &sink->stream;
	bool is_reading =
	    sink->life == LIFE_RUNNING &&
	    (stream->is_skipping ||
		stream_has_room(stream, &sink->delivery.window, 1));

	loop_begin(loop);
	control_watch(sink->control, loop);
	chan_watch(&stream->chan, loop, is_reading);
	fifo_watch(&sink->fifo, loop);
	delivery_watch(&sink->delivery, loop);
	/* These have passed, and mean nothing any more, when it leaves. */
	if (sink->life >= LIFE_LEAVING)
		return;
	if (fifo_is_awaited(&sink->fifo))
		loop_until(loop, sink->fifo.next_ns);
	if (stream->is_held)
		loop_until(loop, sink->held_ns);
	loop_until(loop, stall_ns(sink));
	loop_until(loop, sink->drain_ns);
}

/* One turn of the loop. Returns -1 with errno set if the system fails. */
static int
turn(struct wssink *sink)
{
	watch(sink);
	if (loop_wait(&sink->loop) == -1)
		return -1;
	take_signals(sink);
	take_control(sink);
	if (chan_turn(&sink->stream.chan, &sink->loop) == -1)
		return -1;
	if (fifo_turn(&sink->fifo, &sink->loop) == -1)
		return -1;
	look_for_fifo(sink);
	delivery_turn(&sink->delivery, &sink->loop);
	do {
		follow(sink);
		begin_stream(sink);
		take_events(sink);
	} while (delivery_send(&sink->delivery));
	follow(sink);
	tell(sink);
	advance(sink);
	return 0;
}

enum exitcode
wssink_run(struct wssink *sink)
{
	if (sink->options->delivery.link.conn.is_insecure)
		log_warn("-k: the server's certificate is not checked");
	control_ready(sink->control);
	while (sink->life != LIFE_DONE) {
		if (turn(sink) == 0)
			continue;
		log_error("the loop: %m");
		sink->status = EXITCODE_AGAIN;
		break;
	}
	if (sink->stream.untellable > 0) {
		log_error("refused events that nobody was told of: %" PRIu64,
		    sink->stream.untellable);
		sink->status = EXITCODE_AGAIN;
	}
	log_info("done confirmed=%" PRIu64 " refused=%" PRIu64
		 " unconfirmed=%" PRIu64,
	    sink->delivery.confirmed, sink->stream.rejected,
	    delivery_unended(&sink->delivery));
	report(sink);
	return sink->status;
}
