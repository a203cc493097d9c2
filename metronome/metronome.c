#include "metronome/metronome.h"

#include "stage/buf.h"
#include "stage/io.h"
#include "stage/json.h"
#include "stage/log.h"
#include "stage/msg.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

/* Digits of the largest 64-bit number. */
#define DECIMAL_BYTES 20

/* Appends a string constant or other text; returns the new end. */
static uint8_t *
put_text(uint8_t *to, const char *text)
{
	size_t n = strlen(text);

	memcpy(to, text, n);
	return to + n;
}

/* Appends a number in decimal, without snprintf: millions a second are made
 * with --interval 0. Returns the new end. */
static uint8_t *
put_decimal(uint8_t *to, uint64_t v)
{
	uint8_t digits[DECIMAL_BYTES];
	size_t first = sizeof(digits);

	do {
		digits[--first] = (uint8_t)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	memcpy(to, digits + first, sizeof(digits) - first);
	return to + sizeof(digits) - first;
}

/* Writes the part of the event that every event shares. */
static void
put_head(struct metronome *m, const char *id)
{
	uint8_t *to = put_text(m->event, "{\"onramp\":\"");

	assert(strlen(id) <= METRONOME_MAX_ID_BYTES);
	to += json_escape(to, id, strlen(id));
	to = put_text(to, "\",\"id\":");
	m->head_bytes = (size_t)(to - m->event);
}

int
metronome_open(
    struct metronome *m, const struct metronome_options *options, int out_fd)
{
	static const int signals[] = {SIGTERM, SIGINT};
	bool has_acks = io_is_socket(out_fd);

	*m = (struct metronome){
	    .life = METRONOME_RUNNING,
	    .has_acks = has_acks,
	    .count = options->count,
	    .interval_ns = (int64_t)options->interval_ms * LOOP_NS_PER_MS,
	    .drain_ns = options->has_drain
			    ? (int64_t)options->drain_ms * LOOP_NS_PER_MS
			    : LOOP_NEVER,
	    .deadline_ns = LOOP_NEVER,
	};
	if (loop_open(&m->loop, signals, 2) == -1)
		return -1;
	put_head(m, options->id);
	chan_init(&m->reader, has_acks ? out_fd : -1, FRAMING_LENGTH, out_fd,
	    options->framing);
	m->start_ns = m->next_ns = loop_now_ns();
	return 0;
}

/* The one place where the life changes. */
static void
move_to(struct metronome *m, enum metronome_life life)
{
	static const char *const names[] = {
	    [METRONOME_RUNNING] = "running",
	    [METRONOME_FLUSHING] = "flushing",
	    [METRONOME_DRAINING] = "draining",
	    [METRONOME_STOPPING] = "stopping",
	    [METRONOME_DONE] = "done",
	};
	_Static_assert(sizeof(names) / sizeof(names[0]) == METRONOME_DONE + 1,
	    "every life has a name");

	assert(life > m->life);
	m->life = life;
	if (life == METRONOME_FLUSHING && m->drain_ns != LOOP_NEVER)
		m->deadline_ns = loop_now_ns() + m->drain_ns;
	/* The end of the stream is told before the acks are waited for: a
	 * reader that gathers a batch must know that it is the last. Should
	 * this fail the reader is gone, which the next read shows. */
	if (life == METRONOME_DRAINING && m->has_acks)
		(void)shutdown(m->reader.out_fd, SHUT_WR);
	log_debug("%s events=%" PRIu64 " acked=%" PRIu64, names[life], m->made,
	    m->acked);
}

/* Ends with EXITCODE_AGAIN; the caller has said why. */
static void
give_up(struct metronome *m)
{
	m->exitcode = EXITCODE_AGAIN;
	move_to(m, METRONOME_DONE);
}

/* Says whether no event may be made now. Nothing but the reader ends that, so
 * no tick needs to wake this process meanwhile. */
static bool
is_blocked(const struct metronome *m)
{
	return m->breaker_open ||
	       buf_bytes(&m->reader.out) >= METRONOME_FULL_BYTES ||
	       (m->has_acks && m->made - m->acked >= METRONOME_MAX_UNACKED);
}

/* Makes the first tick after `now` the next one, if it was due before. */
static void
skip_ticks(struct metronome *m, int64_t now)
{
	int64_t passed;

	if (m->interval_ns == 0 || now < m->next_ns)
		return;
	passed = (now - m->start_ns) / m->interval_ns;
	m->next_ns = m->start_ns + (passed + 1) * m->interval_ns;
}

static void
make_event(struct metronome *m)
{
	uint8_t *to = m->event + m->head_bytes;
	int sent;

	to = put_decimal(to, m->made);
	to = put_text(to, ",\"ingest_ns\":");
	to = put_decimal(to, (uint64_t)loop_realtime_ns());
	to = put_text(to, "}");
	sent = chan_send(&m->reader, m->event, (size_t)(to - m->event));
	/* METRONOME_FULL_BYTES is far below what the queue holds. */
	assert(sent == 0);
	m->made++;
}

/* Makes what is due: at most one event, or with no interval all that fit. */
static void
make_events(struct metronome *m, bool was_blocked)
{
	int64_t now = loop_now_ns();

	if (was_blocked)
		skip_ticks(m, now);
	while (now >= m->next_ns && m->made < m->count && !is_blocked(m)) {
		make_event(m);
		skip_ticks(m, now);
	}
}

/* Takes what stands in one message. Returns NULL, or what is wrong. */
static const char *
take_message(struct metronome *m, const struct msg *msg)
{
	char reason[2 * MSG_REASON_BYTES];

	switch (msg->kind) {
	case MSG_ACK:
		if (msg->n < m->acked)
			return "an ack that falls";
		if (msg->n > m->made)
			return "an ack of more events than were sent";
		m->acked = msg->n;
		break;
	case MSG_REJECT:
		/* Whoever rejects keeps the event as a dead letter and says so;
		 * here it is only one that will be acked like the others. */
		if (msg->n == 0 || msg->n > m->made)
			return "a reject of an event that was not sent";
		log_debug("the reader rejected event %" PRIu64 ": %s", msg->n,
		    log_escape(reason, sizeof(reason), msg->reason,
			strlen(msg->reason)));
		break;
	case MSG_BREAKER_OPEN:
	case MSG_BREAKER_CLOSED:
		m->breaker_open = msg->kind == MSG_BREAKER_OPEN;
		/* Debug: at the edge of a full log it turns often, and the
		 * reader logs it where the reason is. */
		log_debug(
		    "the breaker is %s", m->breaker_open ? "open" : "closed");
		break;
	case MSG_UNKNOWN:
		break;
	}
	return NULL;
}

static void
take_messages(struct metronome *m)
{
	enum frame_status status;
	const char *why = NULL;
	struct msg msg;

	while (
	    (status = chan_next_msg(&m->reader, &msg, &why)) == FRAME_READY) {
		why = take_message(m, &msg);
		if (why != NULL)
			break;
	}
	if (status == FRAME_PARTIAL)
		return;
	log_error("the reader broke the protocol: %s events=%" PRIu64
		  " acked=%" PRIu64,
	    why, m->made, m->acked);
	give_up(m);
}

static void
take_signals(struct metronome *m)
{
	int signal;

	while ((signal = loop_signal(&m->loop)) != 0) {
		if (m->life >= METRONOME_STOPPING)
			continue;
		log_info("stopping: %s events=%" PRIu64 " acked=%" PRIu64,
		    signal == SIGTERM ? "SIGTERM" : "SIGINT", m->made,
		    m->acked);
		move_to(m, METRONOME_STOPPING);
	}
}

/* Moves on as far as what was sent and acknowledged allows. */
static void
advance(struct metronome *m)
{
	bool flushed = chan_is_flushed(&m->reader);

	if (m->life == METRONOME_RUNNING && m->made == m->count)
		move_to(m, METRONOME_FLUSHING);
	if (m->life == METRONOME_FLUSHING && flushed && !m->reader.out_broken)
		move_to(m, METRONOME_DRAINING);
	if (m->life == METRONOME_DRAINING &&
	    (!m->has_acks || m->acked == m->made)) {
		log_info("done: events=%" PRIu64, m->made);
		move_to(m, METRONOME_DONE);
	}
}

/*
 * Gives up on a reader that left or that let the time run out. The end of a
 * socket is the end of what can be read from it: acks may come along with the
 * news that it was closed.
 */
static void
check_reader(struct metronome *m)
{
	if (m->life >= METRONOME_STOPPING)
		return;
	if ((m->has_acks && m->reader.in_ended) ||
	    (m->reader.out_broken && m->life != METRONOME_DRAINING)) {
		log_error("the reader left: events=%" PRIu64 " acked=%" PRIu64,
		    m->made, m->acked);
		give_up(m);
	} else if (loop_now_ns() >= m->deadline_ns) {
		log_error("no ack of the last events within the drain timeout:"
			  " events=%" PRIu64 " acked=%" PRIu64,
		    m->made, m->acked);
		give_up(m);
	}
}

/* Lets the turn end when there is something to do without the reader. */
static void
watch_time(struct metronome *m, bool blocked)
{
	if (m->life == METRONOME_STOPPING)
		loop_until(&m->loop, 0);
	else if (m->life != METRONOME_RUNNING)
		loop_until(&m->loop, m->deadline_ns);
	else if (!blocked)
		loop_until(&m->loop, m->next_ns);
}

/* One turn of the loop. Returns 0, or -1 with errno set. */
static int
turn(struct metronome *m)
{
	bool blocked = is_blocked(m);
	size_t queued = buf_bytes(&m->reader.out);

	loop_begin(&m->loop);
	chan_watch(&m->reader, &m->loop, true);
	watch_time(m, blocked);
	if (loop_wait(&m->loop) == -1)
		return -1;
	if (chan_turn(&m->reader, &m->loop) == -1)
		return -1;
	if (m->life == METRONOME_STOPPING) {
		/* Nothing went: the reader takes no more for now. */
		if (chan_is_flushed(&m->reader) ||
		    buf_bytes(&m->reader.out) == queued)
			move_to(m, METRONOME_DONE);
		return 0;
	}
	take_messages(m);
	take_signals(m);
	if (m->life == METRONOME_DONE)
		return 0;
	if (m->life == METRONOME_RUNNING)
		make_events(m, blocked);
	if (chan_push(&m->reader) == -1)
		return -1;
	advance(m);
	check_reader(m);
	return 0;
}

enum exitcode
metronome_run(struct metronome *m)
{
	log_info("running: interval_ms=%" PRId64 " output=%s",
	    m->interval_ns / LOOP_NS_PER_MS,
	    m->has_acks ? "socket with acks" : "no socket, no acks");
	while (m->life != METRONOME_DONE) {
		if (turn(m) == 0)
			continue;
		log_error("output: %m");
		give_up(m);
	}
	return m->exitcode;
}

void
metronome_close(struct metronome *m)
{
	chan_fini(&m->reader);
	loop_close(&m->loop);
}
