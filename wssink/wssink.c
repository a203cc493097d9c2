#include "wssink/wssink.h"

#include "stage/chan.h"
#include "stage/io.h"
#include "stage/json.h"
#include "stage/log.h"
#include "stage/loop.h"
#include "stage/mem.h"
#include "wssink/pace.h"
#include "wssink/poison.h"
#include "wssink/retry.h"
#include "wssink/window.h"
#include "wssink/wsframe.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* For the closing handshake: when all is done, and after a signal. */
#define CLOSE_DONE_MS 2000
#define CLOSE_SIGNAL_MS 1000
/* For the reader of the acks to open its FIFO: between looks, and until that
 * is worth a line. */
#define FIFO_RETRY_NS (50 * LOOP_NS_PER_MS)
#define FIFO_ODD_NS (2 * LOOP_NS_PER_S)
/* No ack is queued, and no event taken, on top of this much that the reader of
 * the acks has not read yet. */
#define UNREAD_ACKS_BYTES 4096

/* That many connections in a row may end upon what is sent again. */
#define VAIN_REPLAYS 10

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
	struct loop loop;
	struct chan input;    /* events in; the acks out, if a socket */
	struct chan fifo;     /* the acks out, if it is open */
	int fifo_fd;	      /* -1: not open */
	struct chan *reverse; /* one of these two; NULL: none, or not yet */
	int64_t fifo_next_ns; /* the next look for the FIFO */
	int64_t fifo_odd_ns;  /* when to say that it is missing */
	struct window window;
	struct wslink *link; /* owned */

	enum life life;
	enum exitcode status; /* what to return */
	int64_t drain_ns;     /* deadline of LIFE_DRAINING */
	int64_t moved_ns;     /* an event was confirmed or, if there is a drain
			       * timeout, taken last */
	bool input_is_over;   /* no more events are taken from it */
	bool is_skipping;     /* inside a line that is too long */

	enum wslink_state seen;	 /* the link's state, last looked at */
	uint64_t ended_messages; /* of this connection, looked at */
	uint64_t replayed;	 /* of its messages: events that had ended
				  * before, and are not confirmed again yet */
	bool owes_replay;	 /* the last end was abnormal */
	bool is_replay;		 /* this connection began with such events */
	unsigned vain_replays;	 /* such connections, in a row, that confirmed
				  * no event for the first time */
	bool is_alone;		 /* a single event was sent, to try it */
	int64_t first_ns;	 /* when it was; or, since when the connection
				  * is open */
	struct retry retry;
	struct poison poison;
	struct pace pace;
	int64_t wake_ns; /* when an event that is held back may be sent */

	uint64_t confirmed;   /* events */
	uint64_t acked;	      /* the last ack queued */
	bool breaker_is_open; /* as it was last told */
	uint64_t rejected;    /* events refused */
	uint64_t untellable;  /* those of them that nobody was told of */
	struct log_limit reject_limit;
};

struct wssink *
wssink_open(const struct wssink_options *options)
{
	static const int signals[] = {SIGTERM, SIGINT};
	struct wssink *sink = mem_calloc(1, sizeof(*sink));
	int64_t now = loop_now_ns();
	bool answers;

	sink->options = options;
	if (loop_open(&sink->loop, signals, 2) == -1) {
		log_error("signals: %m");
		free(sink);
		return NULL;
	}
	sink->link = wslink_new(&options->link);
	if (sink->link == NULL) {
		log_error("libcurl cannot be set up");
		loop_close(&sink->loop);
		free(sink);
		return NULL;
	}
	window_init(&sink->window, options->replay);
	answers = options->acks_path == NULL && io_is_socket(STDIN_FILENO);
	chan_init(&sink->input, STDIN_FILENO, FRAMING_AUTO,
	    answers ? STDIN_FILENO : -1, FRAMING_LENGTH);
	if (answers)
		sink->reverse = &sink->input;
	sink->fifo_fd = -1;
	sink->fifo_next_ns = now;
	sink->fifo_odd_ns = now + FIFO_ODD_NS;
	sink->drain_ns = LOOP_NEVER;
	sink->wake_ns = LOOP_NEVER;
	sink->moved_ns = now;
	sink->seen = WSLINK_DOWN;
	retry_init(&sink->retry, options->link.url.shown,
	    options->backoff_max_ms, now);
	poison_init(&sink->poison);
	pace_init(&sink->pace, options->rate);
	return sink;
}

void
wssink_close(struct wssink *sink)
{
	if (sink->fifo_fd != -1) {
		chan_fini(&sink->fifo);
		(void)close(sink->fifo_fd);
	}
	chan_fini(&sink->input);
	wslink_free(sink->link);
	window_fini(&sink->window);
	loop_close(&sink->loop);
	retry_fini(&sink->retry);
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
	sink->input_is_over = true;
	enter(sink, LIFE_LEAVING);
	wslink_close(sink->link, code, ms);
}

/* Ends the run for a failure that was logged. */
static void
give_up(struct wssink *sink, enum exitcode status)
{
	if (sink->life < LIFE_LEAVING)
		leave(sink, status, WSFRAME_GOING_AWAY, CLOSE_SIGNAL_MS);
}

/* Tells the writer of event N of the input that it can never be delivered. */
static void
tell_reject(struct wssink *sink, uint64_t n, const char *why)
{
	struct msg msg = {.kind = MSG_REJECT, .n = n};

	sink->rejected++;
	(void)snprintf(msg.reason, sizeof(msg.reason), "%s", why);
	if (sink->reverse != NULL)
		chan_send_msg(sink->reverse, &msg);
	else
		sink->untellable++;
}

/* Takes the confirmed messages off the window. Returns whether there were any.
 */
static bool
take_confirmed(struct wssink *sink)
{
	uint64_t n = wslink_confirmed(sink->link) - sink->ended_messages;
	uint64_t again = n < sink->replayed ? n : sink->replayed;

	/* After a loss the count is that of a connection long over. */
	if (sink->seen == WSLINK_DOWN || n == 0)
		return false;
	sink->ended_messages += n;
	sink->replayed -= again;
	if (again > 0 && sink->replayed == 0)
		sink->owes_replay = false;
	if (n == again)
		return true;
	sink->is_replay = false;
	sink->vain_replays = 0;
	sink->moved_ns = loop_now_ns();
	window_end(&sink->window, n - again);
	sink->confirmed += n - again;
	poison_confirmed(&sink->poison, sink->window.ended);
	return true;
}

/* Says whether the server may have lost what it had confirmed: it did not end
 * the connection in good order. */
static bool
is_abnormal(const struct wslink *link)
{
	unsigned code = wslink_code(link);

	if (wslink_end(link) != WSLINK_END_CLOSED)
		return wslink_end(link) != WSLINK_END_NEVER_OPEN;
	return code != WSFRAME_NORMAL && code != WSFRAME_GOING_AWAY &&
	       code != WSFRAME_RESTART && code != WSFRAME_NO_CODE;
}

/* Finds what the end of the connection says of an event. Returns false if it
 * says nothing: the server did not end it. */
static bool
find_poison_end(const struct wslink *link, enum poison_end *end)
{
	if (wslink_end(link) == WSLINK_END_HUNG_UP) {
		*end = POISON_HANG_UP;
		return true;
	}
	*end = POISON_OTHER;
	if (wslink_end(link) != WSLINK_END_CLOSED)
		return wslink_end(link) == WSLINK_END_BROKEN;
	switch (wslink_code(link)) {
	case WSFRAME_BAD_DATA:
	case WSFRAME_TOO_BIG:
		*end = POISON_MESSAGE;
		break;
	case WSFRAME_POLICY:
		*end = POISON_POLICY;
		break;
	default:
		break;
	}
	return true;
}

/* Holds the end of the connection against the first event on it. */
static void
suspect_first(struct wssink *sink)
{
	struct window *window = &sink->window;
	uint64_t first = window->ended + 1;
	char why[MSG_REASON_BYTES];
	/* Behind what is sent again it is not alone: the server may have died
	 * late of an event that it had confirmed. */
	bool is_alone = sink->is_alone && !sink->is_replay;
	enum poison_end end;

	if (window->next <= window->ended || !find_poison_end(sink->link, &end))
		return;
	switch (poison_ended(&sink->poison, first, window->next, end,
	    loop_now_ns() - sink->first_ns, is_alone)) {
	case POISON_AGAIN:
		break;
	case POISON_ISOLATE:
		log_warn("connections end at event %" PRIu64
			 ", or behind it: sending events one by one",
		    first);
		break;
	case POISON_REFUSE:
		(void)snprintf(why, sizeof(why),
		    "each time, and alone at last: %s", wslink_why(sink->link));
		log_warn("event %" PRIu64 " refused: %s", first, why);
		/* It was this one, and not what is sent again. */
		sink->vain_replays = 0;
		window_refuse_first(window);
		tell_reject(sink, first, why);
		break;
	}
}

/* There is no connection any more, or none was to be had. */
static void
take_loss(struct wssink *sink)
{
	bool is_quiet = sink->life >= LIFE_LEAVING;

	if (!is_quiet)
		suspect_first(sink);
	if (is_abnormal(sink->link)) {
		sink->owes_replay = true;
		sink->vain_replays +=
		    sink->is_replay && wslink_was_answered(sink->link);
	}
	sink->is_replay = false;
	window_rewind(&sink->window);
	retry_lost(&sink->retry, wslink_why(sink->link),
	    wslink_retry_after_ms(sink->link), is_quiet, loop_now_ns());
}

/* Gives the events again that the server may have lost, if there are any. */
static void
start_replay(struct wssink *sink)
{
	if (!sink->owes_replay)
		return;
	if (sink->vain_replays < VAIN_REPLAYS) {
		sink->replayed = window_rewind_kept(&sink->window);
	} else if (sink->vain_replays == VAIN_REPLAYS) {
		log_warn("confirmed events are not sent again: connections "
			 "end upon them");
		sink->vain_replays++;
	}
	sink->is_replay = sink->replayed > 0;
	sink->owes_replay = sink->is_replay;
}

static void
dial(struct wssink *sink)
{
	sink->ended_messages = 0;
	sink->replayed = 0;
	sink->is_alone = false;
	start_replay(sink);
	retry_dialed(&sink->retry);
	wslink_dial(sink->link);
	sink->seen = WSLINK_CONNECTING;
}

/* Follows the link's state, and connects when it is time to. */
static void
follow_link(struct wssink *sink)
{
	enum wslink_state state = wslink_state(sink->link);

	if (state != sink->seen) {
		/* What the last turn confirmed counts, lost or not. */
		(void)take_confirmed(sink);
		sink->seen = state;
		if (state == WSLINK_OPEN) {
			sink->first_ns = loop_now_ns();
			retry_opened(&sink->retry, sink->first_ns);
		}
		if (state == WSLINK_DOWN)
			take_loss(sink);
	}
	if (state == WSLINK_DOWN && sink->life < LIFE_LEAVING &&
	    loop_now_ns() >= sink->retry.next_ns)
		dial(sink);
}

/* Says whether an event of `bytes` may be taken from the input. Where its
 * writer is to be told of acks, none is taken before that is possible. */
static bool
has_room(const struct wssink *sink, size_t bytes)
{
	if (sink->reverse == NULL && sink->options->acks_path != NULL)
		return false;
	if (sink->reverse != NULL &&
	    buf_bytes(&sink->reverse->out) >= UNREAD_ACKS_BYTES)
		return false;
	return window_has_room(&sink->window, bytes);
}

/* Refuses the next event of the input. */
static void
reject(struct wssink *sink, const char *why)
{
	unsigned long held;

	window_add_refused(&sink->window);
	if (log_limit_passes(&sink->reject_limit, &held))
		log_warn("event %" PRIu64 " refused: %s held_back=%lu",
		    sink->window.taken, why, held);
	tell_reject(sink, sink->window.taken, why);
}

/* Takes one event that is whole. */
static void
take_event(struct wssink *sink, const uint8_t *payload, size_t bytes)
{
	char text[MSG_REASON_BYTES];
	const char *why;
	size_t at;

	if (sink->options->has_drain_timeout)
		sink->moved_ns = loop_now_ns();
	if (json_check(payload, bytes, &why, &at)) {
		window_add(&sink->window, payload, bytes);
		return;
	}
	(void)snprintf(text, sizeof(text), "not JSON: %s at byte %zu", why, at);
	reject(sink, text);
}

/* No more events come, or none that can be told apart. */
static void
end_input(struct wssink *sink, const char *fault)
{
	sink->input_is_over = true;
	if (fault != NULL) {
		log_error("the input after event %" PRIu64 " %s",
		    sink->window.taken, fault);
		sink->status = EXITCODE_AGAIN;
	}
}

/* Skips a line that is too long. Returns whether its end was found. */
static bool
skip_line(struct wssink *sink)
{
	const uint8_t *piece;
	size_t bytes;

	sink->is_skipping = !chan_next_piece(&sink->input, &piece, &bytes);
	chan_drop(&sink->input);
	return !sink->is_skipping;
}

/*
 * Takes one event from the input into the window. Returns false if none is
 * there, or there is no room for it.
 */
static bool
take_next(struct wssink *sink)
{
	struct chan *input = &sink->input;
	const uint8_t *payload;
	size_t bytes;

	if (sink->is_skipping && !skip_line(sink))
		return false;
	switch (chan_next(input, &payload, &bytes)) {
	case FRAME_READY:
		if (!has_room(sink, bytes))
			return false;
		take_event(sink, payload, bytes);
		chan_drop(input);
		return true;
	case FRAME_TOO_LONG:
		if (input->in_framing == FRAMING_LENGTH) {
			end_input(sink, "is not in length framing");
			return false;
		}
		if (!has_room(sink, 0))
			return false;
		reject(sink, "longer than 16777215 bytes");
		sink->is_skipping = true;
		return true;
	case FRAME_PARTIAL:
		break;
	}
	return false;
}

static void
take_events(struct wssink *sink)
{
	while (!sink->input_is_over && take_next(sink))
		continue;
	if (sink->life == LIFE_RUNNING &&
	    (sink->input_is_over || sink->input.in_ended))
		enter(sink, LIFE_DRAINING);
	if (sink->input_is_over || !sink->input.in_ended)
		return;
	if (buf_bytes(&sink->input.in) == 0)
		end_input(sink, NULL);
	else if (sink->input.in_starved)
		end_input(sink, "ends within an event");
}

/* Says whether the pace allows an event now; else sets wake_ns. */
static bool
is_paced(struct wssink *sink)
{
	if (sink->options->rate == 0 ||
	    sink->window.next == sink->window.taken ||
	    pace_is_due(&sink->pace, loop_now_ns()))
		return true;
	sink->wake_ns = pace_wake_ns(&sink->pace);
	return false;
}

/* Says whether a ping was answered on the connection; else asks for one. */
static bool
is_answering(struct wssink *sink)
{
	if (wslink_was_answered(sink->link))
		return true;
	wslink_probe(sink->link);
	return false;
}

/* Says whether the connection has held for so long that what is sent alone now
 * can be what ends it; else sets wake_ns. */
static bool
has_held(struct wssink *sink)
{
	int64_t at_ns = sink->retry.opened_ns + poison_hold_ns(&sink->poison);

	if (loop_now_ns() >= at_ns)
		return true;
	sink->wake_ns = at_ns;
	return false;
}

/* Says whether the next event may be sent now. */
static bool
may_send(struct wssink *sink)
{
	bool is_again = sink->window.next < sink->window.ended;
	bool is_careful = poison_is_careful(&sink->poison) && !is_again;

	if (!wslink_has_room(sink->link))
		return false;
	/* What is sent again was confirmed first, or it may be the cause. */
	if (is_careful &&
	    (sink->window.next > sink->window.ended || sink->replayed > 0))
		return false;
	if ((is_again || is_careful) && !is_answering(sink))
		return false;
	if (is_careful && !has_held(sink))
		return false;
	return is_paced(sink);
}

/* Gives the link what it takes. */
static void
send_events(struct wssink *sink)
{
	const uint8_t *payload;
	size_t bytes;
	bool is_flushed, is_more;

	sink->wake_ns = LOOP_NEVER;
	do {
		is_more = true;
		while (is_more && may_send(sink)) {
			is_more = window_next(&sink->window, &payload, &bytes);
			if (!is_more)
				break;
			wslink_send(sink->link, payload, bytes);
			if (sink->options->rate > 0)
				pace_take(&sink->pace, loop_now_ns());
			sink->is_alone = poison_is_careful(&sink->poison);
			if (sink->is_alone)
				sink->first_ns = loop_now_ns();
		}
		is_flushed = wslink_flush(sink->link);
	} while (is_flushed && is_more && may_send(sink));
}

/* Tells the input's writer what changed. */
static void
tell(struct wssink *sink)
{
	bool is_away = wslink_state(sink->link) != WSLINK_OPEN;
	struct msg msg = {.kind = MSG_ACK, .n = sink->window.ended};

	if (sink->reverse == NULL || sink->reverse->out_broken)
		return;
	if (is_away != sink->breaker_is_open && sink->life < LIFE_LEAVING) {
		struct msg breaker = {.kind = MSG_BREAKER_CLOSED};

		if (is_away) {
			breaker.kind = MSG_BREAKER_OPEN;
			(void)snprintf(breaker.reason, sizeof(breaker.reason),
			    "%.*s", (int)sizeof(breaker.reason) - 1,
			    wslink_why(sink->link));
		}
		chan_send_msg(sink->reverse, &breaker);
		sink->breaker_is_open = is_away;
	}
	/* A reader that is slow gets fewer acks, not a queue of them. */
	if (msg.n > sink->acked &&
	    buf_bytes(&sink->reverse->out) < UNREAD_ACKS_BYTES) {
		chan_send_msg(sink->reverse, &msg);
		sink->acked = msg.n;
	}
	if (chan_push(sink->reverse) == -1) {
		log_error("acks: %m");
		give_up(sink, EXITCODE_AGAIN);
	}
}

/* Looks whether the reader of the acks has made and opened its FIFO. */
static void
open_fifo(struct wssink *sink)
{
	const char *path = sink->options->acks_path;
	int64_t now = loop_now_ns();
	struct stat st;
	int fd;

	if (path == NULL || sink->fifo_fd != -1 || sink->life >= LIFE_LEAVING ||
	    now < sink->fifo_next_ns)
		return;
	sink->fifo_next_ns = now + FIFO_RETRY_NS;
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1 && (errno == ENXIO || errno == EISDIR) &&
	    stat(path, &st) == 0 && !S_ISFIFO(st.st_mode)) {
		log_error("acks %s: not a FIFO", path);
		give_up(sink, EXITCODE_FINAL);
		return;
	}
	if (fd == -1 && errno != ENOENT && errno != ENXIO && errno != EINTR) {
		log_error("acks %s: %m", path);
		give_up(sink, EXITCODE_AGAIN);
		return;
	}
	if (fd == -1) {
		if (now >= sink->fifo_odd_ns) {
			log_warn("acks %s: nobody reads it yet", path);
			sink->fifo_odd_ns = LOOP_NEVER;
		}
		return;
	}
	if (fstat(fd, &st) == -1 || !S_ISFIFO(st.st_mode)) {
		log_error("acks %s: not a FIFO", path);
		(void)close(fd);
		give_up(sink, EXITCODE_FINAL);
		return;
	}
	/* Acks count the events of one stream: two writers would ack what the
	 * other has not delivered. */
	if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		log_error("acks %s: another wssink writes it", path);
		(void)close(fd);
		give_up(sink, EXITCODE_FINAL);
		return;
	}
	sink->fifo_fd = fd;
	chan_init(&sink->fifo, -1, FRAMING_LENGTH, fd, FRAMING_LENGTH);
	sink->reverse = &sink->fifo;
}

/* Says whether all that was taken in has ended, and its writer knows. */
static bool
is_drained(const struct wssink *sink)
{
	if (!sink->input_is_over || !window_is_empty(&sink->window))
		return false;
	if (sink->reverse == NULL)
		return sink->options->acks_path == NULL;
	return sink->acked == sink->window.ended &&
	       chan_is_flushed(sink->reverse);
}

/* The reader of the acks has gone. That is no loss if it had them all. */
static void
check_reverse(struct wssink *sink)
{
	bool may_end = !sink->input.in_ended && buf_bytes(&sink->input.in) == 0;

	if (sink->reverse == NULL || !sink->reverse->out_broken)
		return;
	/* It had all acks so far; that its other end is closed as well shows
	 * a moment later. */
	if (window_is_empty(&sink->window) && may_end)
		return;
	if (sink->life >= LIFE_LEAVING || is_drained(sink))
		return;
	log_error("the reader of the acks is gone; unconfirmed=%" PRIu64,
	    sink->window.taken - sink->window.ended);
	give_up(sink, EXITCODE_AGAIN);
}

/* When to ask whether the end of the input is only not seen because no more of
 * it is taken. */
static int64_t
stall_ns(const struct wssink *sink)
{
	if (!sink->options->has_drain_timeout || sink->life != LIFE_RUNNING ||
	    has_room(sink, 1))
		return LOOP_NEVER;
	return sink->moved_ns +
	       (int64_t)sink->options->drain_timeout_ms * LOOP_NS_PER_MS;
}

/* Gives up what a file still holds, or a pipe that nobody writes any more. */
static void
check_stall(struct wssink *sink)
{
	int64_t now = loop_now_ns();

	if (now < stall_ns(sink))
		return;
	sink->moved_ns = now;
	if (!io_has_end(STDIN_FILENO))
		return;
	log_error("the drain timeout has passed, and nothing was confirmed; "
		  "undelivered=%" PRIu64 " and what is not read yet",
	    sink->window.taken - sink->window.ended);
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
		    sink->window.taken - sink->window.ended,
		    buf_bytes(&sink->input.in));
		give_up(sink, EXITCODE_AGAIN);
	}
	if (sink->life == LIFE_LEAVING &&
	    wslink_state(sink->link) == WSLINK_DOWN)
		enter(sink, LIFE_DONE);
}

static void
take_signals(struct wssink *sink)
{
	int signal;

	while ((signal = loop_signal(&sink->loop)) != 0) {
		log_info("stopping on %s; unconfirmed=%" PRIu64,
		    signal == SIGTERM ? "SIGTERM" : "SIGINT",
		    sink->window.taken - sink->window.ended);
		if (sink->life == LIFE_LEAVING)
			enter(sink, LIFE_DONE);
		else
			give_up(sink, EXITCODE_DONE);
	}
}

/* States what this turn waits for. */
static void
watch(struct wssink *sink)
{
	struct loop *loop = &sink->loop;
	bool is_reading = sink->life == LIFE_RUNNING &&
			  (sink->is_skipping || has_room(sink, 1));

	loop_begin(loop);
	chan_watch(&sink->input, loop, is_reading);
	if (sink->fifo_fd != -1)
		chan_watch(&sink->fifo, loop, false);
	wslink_watch(sink->link, loop);
	/* These have passed, and mean nothing any more, when it leaves. */
	if (sink->life >= LIFE_LEAVING)
		return;
	if (sink->fifo_fd == -1 && sink->options->acks_path != NULL)
		loop_until(loop, sink->fifo_next_ns);
	loop_until(loop, sink->wake_ns);
	loop_until(loop, stall_ns(sink));
	if (wslink_state(sink->link) == WSLINK_DOWN)
		loop_until(loop, sink->retry.next_ns);
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
	if (chan_turn(&sink->input, &sink->loop) == -1)
		return -1;
	if (sink->fifo_fd != -1 && chan_turn(&sink->fifo, &sink->loop) == -1)
		return -1;
	open_fifo(sink);
	wslink_turn(sink->link, &sink->loop);
	do {
		follow_link(sink);
		take_events(sink);
		send_events(sink);
	} while (take_confirmed(sink));
	follow_link(sink);
	tell(sink);
	advance(sink);
	return 0;
}

enum exitcode
wssink_run(struct wssink *sink)
{
	if (sink->options->link.conn.is_insecure)
		log_warn("-k: the server's certificate is not checked");
	while (sink->life != LIFE_DONE) {
		if (turn(sink) == 0)
			continue;
		log_error("the loop: %m");
		sink->status = EXITCODE_AGAIN;
		break;
	}
	if (sink->untellable > 0) {
		log_error("refused events that nobody was told of: %" PRIu64,
		    sink->untellable);
		sink->status = EXITCODE_AGAIN;
	}
	log_info("done confirmed=%" PRIu64 " refused=%" PRIu64
		 " unconfirmed=%" PRIu64,
	    sink->confirmed, sink->rejected,
	    sink->window.taken - sink->window.ended);
	return sink->status;
}
