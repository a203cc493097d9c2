#include "stage/source.h"

#include "stage/io.h"
#include "stage/log.h"
#include "stage/msg.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Takes `fd` as the descriptor of the reader, or -1 for none. */
static void
begin_stream(struct source *s, int fd)
{
	chan_init(&s->reader, s->has_acks ? fd : -1, FRAMING_LENGTH, fd,
	    s->keep.framing);
	s->has_reader = fd != -1;
	s->breaker_open = false;
	s->is_shut = false;
	s->stream++;
}

int
source_open(struct source *s, const struct source_options *options, int out_fd)
{
	static const int signals[] = {SIGTERM, SIGINT};
	bool is_socket = io_is_socket(out_fd);
	bool is_controlled = control_is_open(&options->control);
	enum framing framing = options->framing;

	*s = (struct source){
	    .life = SOURCE_RUNNING,
	    .control = options->control,
	    .out_fd = out_fd,
	    .has_acks = is_socket || is_controlled,
	    .drain_ns = options->drain_ns,
	    .deadline_ns = LOOP_NEVER,
	};
	if (loop_open(&s->loop, signals, 2) == -1)
		return -1;
	if (framing == FRAMING_AUTO)
		framing = s->has_acks ? FRAMING_LENGTH : FRAMING_NDJSON;
	keep_init(&s->keep, framing, options->keep_bytes);
	begin_stream(s, is_controlled && !is_socket ? -1 : out_fd);
	return 0;
}

void
source_close(struct source *s)
{
	chan_fini(&s->reader);
	keep_fini(&s->keep);
	loop_close(&s->loop);
}

static size_t
waiting_bytes(const struct source *s)
{
	return buf_bytes(&s->reader.out) + keep_waiting_bytes(&s->keep);
}

uint64_t
source_unacked(const struct source *s)
{
	return keep_unacked(&s->keep);
}

bool
source_is_full(const struct source *s)
{
	return waiting_bytes(s) >= SOURCE_FULL_BYTES;
}

/* Says to the reader that no more comes. One that gathers a batch must know
 * that it is the last. Should this fail the reader is gone, which the next read
 * shows. */
static void
shut(struct source *s)
{
	if (s->has_acks && s->has_reader && !s->is_shut)
		(void)shutdown(s->reader.out_fd, SHUT_WR);
	s->is_shut = true;
}

/* The one place where the life changes. */
static void
move_to(struct source *s, enum source_life life)
{
	static const char *const names[] = {
	    [SOURCE_RUNNING] = "running",
	    [SOURCE_FLUSHING] = "flushing",
	    [SOURCE_DRAINING] = "draining",
	    [SOURCE_STOPPING] = "stopping",
	    [SOURCE_DONE] = "done",
	};
	_Static_assert(sizeof(names) / sizeof(names[0]) == SOURCE_DONE + 1,
	    "every life has a name");

	assert(life > s->life ||
	       (s->life == SOURCE_DRAINING && life == SOURCE_FLUSHING));
	if (life == SOURCE_FLUSHING && s->life == SOURCE_RUNNING &&
	    s->drain_ns != LOOP_NEVER)
		s->deadline_ns = loop_now_ns() + s->drain_ns;
	if (life == SOURCE_STOPPING)
		s->deadline_ns = loop_now_ns() + SOURCE_STOP_NS;
	s->life = life;
	if (life == SOURCE_DRAINING)
		shut(s);
	log_debug("%s events=%" PRIu64 " acked=%" PRIu64, names[life],
	    s->events, s->acked);
}

void
source_give_up(struct source *s)
{
	s->exitcode = EXITCODE_AGAIN;
	move_to(s, SOURCE_DONE);
}

void
source_finish(struct source *s)
{
	s->is_over = true;
}

uint8_t *
source_put(struct source *s, size_t bytes)
{
	uint8_t *to = keep_put(&s->keep, bytes);

	if (to != NULL)
		s->events++;
	return to;
}

int
source_add_line(struct source *s, const uint8_t *line, size_t bytes)
{
	if (keep_add_line(&s->keep, line, bytes) == -1)
		return -1;
	s->events++;
	return 0;
}

size_t
source_pass(struct source *s, const uint8_t *piece, size_t bytes)
{
	size_t queued = buf_bytes(&s->reader.out), room = 0;

	assert(keep_bytes(&s->keep) == 0);
	if (queued < SOURCE_FULL_BYTES)
		room = SOURCE_FULL_BYTES - queued;
	if (bytes > room)
		bytes = room;
	return buf_append(&s->reader.out, piece, bytes) == -1 ? 0 : bytes;
}

void
source_pass_end(struct source *s)
{
	keep_count_bare(&s->keep);
	s->events++;
}

/* Takes what stands in one message. Returns NULL, or what is wrong. */
static const char *
take_message(struct source *s, const struct msg *msg)
{
	char reason[2 * MSG_REASON_BYTES];
	uint64_t unacked = keep_unacked(&s->keep);
	const char *why;

	switch (msg->kind) {
	case MSG_ACK:
		why = keep_ack(&s->keep, msg->n);
		if (why != NULL)
			return why;
		s->acked += unacked - keep_unacked(&s->keep);
		break;
	case MSG_REJECT:
		/* Whoever rejects keeps the event as a dead letter and says so;
		 * here it is only one that will be acked like the others. */
		if (msg->n == 0 || msg->n > s->keep.sent)
			return "a reject of an event that was not sent";
		log_debug("the reader rejected event %" PRIu64 ": %s", msg->n,
		    log_escape(reason, sizeof(reason), msg->reason,
			strlen(msg->reason)));
		break;
	case MSG_BREAKER_OPEN:
	case MSG_BREAKER_CLOSED:
		s->breaker_open = msg->kind == MSG_BREAKER_OPEN;
		/* Debug: at the edge of a full log it turns often, and the
		 * reader logs it where the reason is. */
		log_debug(
		    "the breaker is %s", s->breaker_open ? "open" : "closed");
		break;
	case MSG_UNKNOWN:
		break;
	}
	return NULL;
}

/* Forgets the reader, and what of the events only it had. */
static void
end_stream(struct source *s)
{
	uint64_t lost = keep_restart(&s->keep);

	if (lost > 0)
		log_error("the reader left: events too long to be kept are"
			  " lost: events=%" PRIu64,
		    lost);
	chan_fini(&s->reader);
	begin_stream(s, -1);
}

/* The reader cannot be followed. */
static void
take_broken(struct source *s, const char *why)
{
	log_error("the reader broke the protocol: %s events=%" PRIu64
		  " acked=%" PRIu64,
	    why, s->events, s->acked);
	if (!control_is_open(&s->control)) {
		source_give_up(s);
		return;
	}
	control_fault(&s->control, false, "");
	/* It is to see an end, too, whatever it thinks of this stream. */
	(void)shutdown(s->reader.out_fd, SHUT_RDWR);
	end_stream(s);
}

static void
take_messages(struct source *s)
{
	enum frame_status status;
	const char *why = NULL;
	struct msg msg;

	while (
	    (status = chan_next_msg(&s->reader, &msg, &why)) == FRAME_READY) {
		why = take_message(s, &msg);
		if (why != NULL)
			break;
	}
	if (status != FRAME_PARTIAL)
		take_broken(s, why);
}

/* Takes the acks that a reader left behind, and then leaves it. Returns 0, or
 * -1 with errno set. */
static int
leave_reader(struct source *s)
{
	uint64_t stream = s->stream;
	bool is_full;

	do {
		if (chan_pull(&s->reader) == -1)
			return -1;
		is_full = buf_bytes(&s->reader.in) >= CHAN_READ_BYTES;
		take_messages(s);
	} while (s->stream == stream && is_full);
	if (s->stream == stream)
		end_stream(s);
	return 0;
}

/* Makes `fd`, which is owned, the reader. Returns 0, or -1 with errno set. */
static int
attach(struct source *s, int fd)
{
	int result;

	if (!io_is_socket(fd)) {
		log_warn("a reader that is no socket: not taken");
		(void)close(fd);
		return 0;
	}
	if (s->has_reader && leave_reader(s) == -1) {
		(void)close(fd);
		return -1;
	}
	result = dup2(fd, s->out_fd);
	(void)close(fd);
	if (result == -1)
		return -1;
	chan_fini(&s->reader);
	begin_stream(s, s->out_fd);
	if (s->life == SOURCE_DRAINING)
		move_to(s, SOURCE_FLUSHING);
	log_info("a new reader: events=%" PRIu64 " again=%" PRIu64, s->events,
	    keep_unacked(&s->keep));
	return 0;
}

static void
take_signals(struct source *s)
{
	int signal;

	while ((signal = loop_signal(&s->loop)) != 0) {
		if (s->life >= SOURCE_STOPPING)
			continue;
		log_info("stopping: %s events=%" PRIu64 " acked=%" PRIu64,
		    signal == SIGTERM ? "SIGTERM" : "SIGINT", s->events,
		    s->acked);
		move_to(s, SOURCE_STOPPING);
	}
}

/* Takes what the supervisor says. Returns 0, or -1 with errno set. */
static int
take_control(struct source *s)
{
	struct control_msg msg;
	int result = 0;

	while (result == 0 &&
	       control_next(&s->control, &s->loop, &msg) == CONTROL_GOT) {
		if (msg.what.kind == CTLMSG_ATTACH_OUT)
			result = attach(s, msg.fd);
		else if (msg.what.kind == CTLMSG_ASK)
			s->is_asked = true;
		else if (msg.fd != -1)
			(void)close(msg.fd);
		cJSON_Delete(msg.what.body);
	}
	if (s->control.is_lost && s->life != SOURCE_DONE) {
		log_error("the supervisor is gone: events=%" PRIu64
			  " acked=%" PRIu64,
		    s->events, s->acked);
		source_give_up(s);
	}
	return result;
}

void
source_begin(struct source *s)
{
	s->waiting = waiting_bytes(s);
	loop_begin(&s->loop);
	chan_watch(&s->reader, &s->loop, true);
	control_watch(&s->control, &s->loop);
	loop_until(&s->loop,
	    s->life == SOURCE_STOPPING && !s->has_acks ? 0 : s->deadline_ns);
}

int
source_wait(struct source *s)
{
	if (loop_wait(&s->loop) == -1 || chan_turn(&s->reader, &s->loop) == -1)
		return -1;
	take_messages(s);
	if (s->life == SOURCE_DONE)
		return 0;
	take_signals(s);
	return take_control(s);
}

/* Gives the reader what it takes. Returns 0, or -1 with errno set. */
static int
write_out(struct source *s)
{
	struct chan *reader = &s->reader;

	/* Again while all of it goes: nothing else would wake this process. */
	do {
		if (s->has_reader && !s->breaker_open && !reader->out_broken)
			keep_give(&s->keep, &reader->out, SOURCE_FULL_BYTES);
		if (!s->has_acks)
			keep_drop_given(&s->keep);
		if (buf_bytes(&reader->out) == 0)
			return 0;
		if (chan_push(reader) == -1)
			return -1;
	} while (buf_bytes(&reader->out) == 0);
	return 0;
}

/* Says whether one that was told to stop has nothing left to wait for. */
static bool
is_stopped(const struct source *s)
{
	/* Nothing went: the reader takes no more for now. */
	if (!s->has_acks)
		return waiting_bytes(s) == 0 || waiting_bytes(s) == s->waiting;
	return !s->has_reader || s->breaker_open || source_unacked(s) == 0 ||
	       loop_now_ns() >= s->deadline_ns;
}

static void
stop(struct source *s)
{
	/* Not before: what the program has still waits for acks, maybe. */
	if (s->is_over && waiting_bytes(s) == 0)
		shut(s);
	if (!is_stopped(s))
		return;
	if (source_unacked(s) > 0)
		log_warn("stopped without all acks: events=%" PRIu64
			 " acked=%" PRIu64,
		    s->events, s->acked);
	move_to(s, SOURCE_DONE);
}

/* Moves on as far as what was sent and acknowledged allows. */
static void
advance(struct source *s)
{
	bool is_written = waiting_bytes(s) == 0 && !s->reader.out_broken;

	if (s->life == SOURCE_RUNNING && s->is_over)
		move_to(s, SOURCE_FLUSHING);
	if (s->life == SOURCE_FLUSHING && s->has_reader && is_written)
		move_to(s, SOURCE_DRAINING);
	if (s->life == SOURCE_DRAINING ||
	    (s->life == SOURCE_FLUSHING && !s->has_reader)) {
		if (s->has_acks && source_unacked(s) > 0)
			return;
		log_info("done: events=%" PRIu64, s->events);
		move_to(s, SOURCE_DONE);
	}
}

/*
 * Sees whether the reader left. The end of a socket is the end of what can be
 * read from it: acks may come along with the news that it was closed. Returns
 * 0, or -1 with errno set.
 */
static int
check_reader(struct source *s)
{
	const struct chan *reader = &s->reader;

	if (!s->has_reader || s->life == SOURCE_DONE)
		return 0;
	if (control_is_open(&s->control)) {
		if (!reader->in_ended && !reader->out_broken)
			return 0;
		if (leave_reader(s) == -1)
			return -1;
		log_info("the reader left: events=%" PRIu64 " acked=%" PRIu64,
		    s->events, s->acked);
	} else if ((s->has_acks && reader->in_ended) ||
		   (reader->out_broken && s->life != SOURCE_DRAINING)) {
		log_error("the reader left: events=%" PRIu64 " acked=%" PRIu64,
		    s->events, s->acked);
		source_give_up(s);
	}
	return 0;
}

static void
check_time(struct source *s)
{
	if (s->life >= SOURCE_STOPPING || loop_now_ns() < s->deadline_ns)
		return;
	log_error("no ack of the last events within the drain timeout: events"
		  "=%" PRIu64 " acked=%" PRIu64,
	    s->events, s->acked);
	source_give_up(s);
}

int
source_end(struct source *s)
{
	if (s->life == SOURCE_DONE)
		return 0;
	if (s->events != s->metered)
		meter_add(&s->meter, s->events - s->metered, loop_now_ns());
	s->metered = s->events;
	if (write_out(s) == -1)
		return -1;
	advance(s);
	if (check_reader(s) == -1)
		return -1;
	if (s->life == SOURCE_STOPPING)
		stop(s);
	check_time(s);
	return 0;
}

cJSON *
source_report(struct source *s)
{
	cJSON *report = cJSON_CreateObject();

	s->is_asked = false;
	(void)cJSON_AddNumberToObject(report, "events", (double)s->events);
	(void)cJSON_AddNumberToObject(report, "acked", (double)s->acked);
	(void)cJSON_AddNumberToObject(
	    report, "unacked", (double)source_unacked(s));
	(void)cJSON_AddStringToObject(
	    report, "breaker", s->breaker_open ? "open" : "closed");
	(void)cJSON_AddBoolToObject(report, "reader", s->has_reader);
	(void)cJSON_AddNumberToObject(
	    report, "rate", meter_rate(&s->meter, loop_now_ns()));
	return report;
}
