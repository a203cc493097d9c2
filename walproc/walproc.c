#include "walproc/walproc.h"

#include "stage/io.h"
#include "stage/json.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Taken in one turn before it is synced, so that acks are never long away. */
#define TURN_BYTES ((size_t)4 << 20)
/* Queued for the sink before it takes some. */
#define DELIVER_BYTES ((size_t)256 << 10)
#define DISK_RETRY_NS LOOP_NS_PER_S
/* For the last answers and bytes on their way when told to stop. */
#define STOP_NS (LOOP_NS_PER_S / 2)
#define WHY_BYTES 256

static const char *const state_names[] = {
    [WALPROC_RUNNING] = "running",
    [WALPROC_DRAINING] = "draining",
    [WALPROC_STOPPING] = "stopping",
    [WALPROC_DONE] = "done",
};

static void
enter(struct walproc *walproc, enum walproc_state state)
{
	if (walproc->state == state)
		return;
	log_debug(
	    "%s, was %s", state_names[state], state_names[walproc->state]);
	walproc->state = state;
	switch (state) {
	case WALPROC_RUNNING:
	case WALPROC_DONE:
		break;
	case WALPROC_DRAINING:
		if (walproc->options.drain_timeout_ns != LOOP_NEVER)
			walproc->deadline_ns =
			    loop_now_ns() + walproc->options.drain_timeout_ns;
		break;
	case WALPROC_STOPPING:
		walproc->deadline_ns = loop_now_ns() + STOP_NS;
		break;
	}
}

/* Ends the run with `exitcode` when this turn is over. */
static void
finish(struct walproc *walproc, enum exitcode exitcode)
{
	walproc->exitcode = exitcode;
	enter(walproc, WALPROC_DONE);
}

/* Stops the intake. The source is told, and the log says so once. */
static void
block(struct walproc *walproc, enum walproc_block block)
{
	struct msg msg = {.kind = MSG_BREAKER_OPEN};
	const struct wal_limits *limits = &walproc->wal.limits;
	unsigned long held;

	walproc->retry_ns = loop_now_ns() + DISK_RETRY_NS;
	if (walproc->block == block)
		return;
	walproc->block = block;
	if (block == WALPROC_FULL_DISK)
		(void)snprintf(msg.reason, sizeof(msg.reason), "disk full");
	else if (wal_elements(&walproc->wal) >= limits->max_elements)
		(void)snprintf(msg.reason, sizeof(msg.reason),
		    "log full: %" PRIu64 " events of %" PRIu64,
		    wal_elements(&walproc->wal), limits->max_elements);
	else
		(void)snprintf(msg.reason, sizeof(msg.reason),
		    "log full: %" PRIu64 " bytes of %" PRIu64,
		    wal_bytes(&walproc->wal), limits->max_bytes);
	/* Under load this is ordinary flow control, many times a second. */
	walproc->block_is_told = log_limit_passes(&walproc->block_limit, &held);
	if (walproc->block_is_told)
		log_warn("intake paused: %s held=%lu", msg.reason, held);
	chan_send_msg(&walproc->up, &msg);
}

/* Starts the intake again if what stopped it has passed. */
static void
unblock(struct walproc *walproc)
{
	struct msg msg = {.kind = MSG_BREAKER_CLOSED};

	if (walproc->block == WALPROC_OPEN)
		return;
	if (walproc->block == WALPROC_FULL_LOG &&
	    !wal_is_relieved(&walproc->wal))
		return;
	if (walproc->block == WALPROC_FULL_DISK) {
		if (loop_now_ns() < walproc->retry_ns)
			return;
		walproc->retry_ns = loop_now_ns() + DISK_RETRY_NS;
		if (wal_probe(&walproc->wal) == -1)
			return;
	}
	walproc->block = WALPROC_OPEN;
	if (walproc->block_is_told)
		log_info("intake goes on");
	chan_send_msg(&walproc->up, &msg);
}

/* What became of an event at intake. */
enum taking {
	TAKING_DONE,	/* it is in the log or in the dead letters */
	TAKING_BLOCKED, /* it stays where it is */
	TAKING_FAILED,	/* the run is over; logged */
};

/* Turns a failed write into what it means for the intake. */
static enum taking
write_failed(struct walproc *walproc, const char *what)
{
	if (io_is_full_disk(errno)) {
		block(walproc, WALPROC_FULL_DISK);
		return TAKING_BLOCKED;
	}
	log_error("%s: %m", what);
	return TAKING_FAILED;
}

static void
count_refused(struct walproc *walproc, const char *why)
{
	unsigned long held;

	walproc->taken++;
	walproc->refused++;
	wal_count_refused(&walproc->wal);
	if (log_limit_passes(&walproc->refuse_limit, &held))
		log_warn("event %" PRIu64
			 " of the input: %s: to dead-letters.ndjson held=%lu",
		    walproc->taken, why, held);
}

/* Puts an event of the input into the dead letters. */
static enum taking
refuse(struct walproc *walproc, const char *why, uint64_t at,
    const uint8_t *event, size_t bytes)
{
	if (dead_write(&walproc->dead, why, at, DEAD_NONE, event, bytes) == -1)
		return write_failed(walproc, "dead letters");
	count_refused(walproc, why);
	return TAKING_DONE;
}

/* Appends an event that is fit for the log. `came` is it as it came. */
static enum taking
append(struct walproc *walproc, const uint8_t *event, size_t bytes,
    const uint8_t *came, size_t came_bytes)
{
	switch (wal_room(&walproc->wal, bytes)) {
	case WAL_ROOM:
		break;
	case WAL_FULL:
		block(walproc, WALPROC_FULL_LOG);
		return TAKING_BLOCKED;
	case WAL_NEVER_FITS:
		return refuse(walproc, "does not fit into --max-bytes",
		    DEAD_NONE, came, came_bytes);
	}
	if (wal_append(&walproc->wal, event, bytes) == -1)
		return write_failed(walproc, "append");
	walproc->taken++;
	/* At once, not at the next event: the source is to know. */
	if (wal_elements(&walproc->wal) >= walproc->wal.limits.max_elements)
		block(walproc, WALPROC_FULL_LOG);
	return TAKING_DONE;
}

static enum taking
take_event(struct walproc *walproc, const uint8_t *event, size_t bytes)
{
	struct patch_event about = {
	    .seq = walproc->wal.next_seq,
	    .ingest_ns = loop_realtime_ns(),
	    .log_id = walproc->log_id,
	};
	struct buf *patched = &walproc->patched;
	char text[WHY_BYTES];
	const char *why;
	size_t at;

	if (bytes > walproc->options.max_event_bytes) {
		(void)snprintf(text, sizeof(text), "longer than %zu bytes",
		    walproc->options.max_event_bytes);
		return refuse(walproc, text, DEAD_NONE, event, bytes);
	}
	if (!json_check(event, bytes, &why, &at))
		return refuse(walproc, why, at, event, bytes);
	if (patch_is_empty(walproc->options.patch))
		return append(walproc, event, bytes, event, bytes);
	buf_drop(patched, buf_bytes(patched));
	if (patch_apply(walproc->options.patch, &about, event, bytes, patched,
		text, sizeof(text)) == -1)
		return refuse(walproc, text, DEAD_NONE, event, bytes);
	return append(
	    walproc, buf_front(patched), buf_bytes(patched), event, bytes);
}

/* Takes the next piece of a line that is too long for an event. */
static enum taking
take_long_line(struct walproc *walproc, bool *is_end)
{
	static const char why[] = "longer than an event may be";
	const uint8_t *piece;
	size_t bytes;

	*is_end = chan_next_piece(&walproc->up, &piece, &bytes);
	*is_end = *is_end || walproc->up.in_ended;
	if (!dead_is_open(&walproc->dead) &&
	    dead_begin(&walproc->dead, why) == -1)
		return write_failed(walproc, "dead letters");
	if (dead_add(&walproc->dead, piece, bytes) == -1)
		return write_failed(walproc, "dead letters");
	/* What was added must not be added again when the end is retried. */
	walproc->is_skipping = true;
	if (*is_end && dead_end(&walproc->dead) == -1) {
		walproc->up.in_frame_bytes = bytes;
		chan_drop(&walproc->up);
		return write_failed(walproc, "dead letters");
	}
	chan_drop(&walproc->up);
	if (*is_end) {
		walproc->is_skipping = false;
		count_refused(walproc, why);
	}
	return TAKING_DONE;
}

/*
 * The input cannot be followed, or ended within a frame. Where acks go back,
 * the source still has it and sends it again; a pipe cannot, so what is here
 * is kept.
 */
static enum taking
take_broken(struct walproc *walproc, const char *why)
{
	const uint8_t *piece;
	size_t bytes;
	enum taking taking = TAKING_DONE;

	(void)chan_next_piece(&walproc->up, &piece, &bytes);
	if (!walproc->up.in_is_socket && bytes > 0)
		taking = refuse(walproc, why, DEAD_NONE, piece, bytes);
	if (taking == TAKING_DONE) {
		log_error("input: %s bytes=%zu", why, bytes);
		walproc->up.in_frame_bytes = bytes;
		chan_drop(&walproc->up);
		walproc->up.in_ended = true;
		walproc->exitcode = EXITCODE_AGAIN;
	}
	return taking;
}

/* Takes what is at the front of the input; *is_end when nothing is. */
static enum taking
take_next(struct walproc *walproc, size_t *bytes, bool *is_end)
{
	const uint8_t *event;
	enum taking taking;
	bool line_end;

	*bytes = 0;
	*is_end = false;
	if (walproc->is_skipping) {
		*is_end =
		    buf_bytes(&walproc->up.in) == 0 && !walproc->up.in_ended;
		return *is_end ? TAKING_DONE
			       : take_long_line(walproc, &line_end);
	}
	switch (chan_next(&walproc->up, &event, bytes)) {
	case FRAME_READY:
		taking = take_event(walproc, event, *bytes);
		if (taking == TAKING_DONE)
			chan_drop(&walproc->up);
		return taking;
	case FRAME_TOO_LONG:
		if (walproc->up.in_framing == FRAMING_LENGTH)
			return take_broken(walproc, "not a length prefix");
		return take_long_line(walproc, &line_end);
	case FRAME_PARTIAL:
		break;
	}
	*is_end = true;
	if (walproc->up.in_ended && buf_bytes(&walproc->up.in) > 0)
		return take_broken(walproc, "ended within a frame");
	return TAKING_DONE;
}

/* Takes in what is ready. Returns 0, or -1 when the run is over. */
static int
take_events(struct walproc *walproc)
{
	size_t taken_bytes = 0, bytes;
	bool is_end = false;

	unblock(walproc);
	while (!is_end && walproc->block == WALPROC_OPEN &&
	       taken_bytes < TURN_BYTES) {
		if (take_next(walproc, &bytes, &is_end) == TAKING_FAILED)
			return -1;
		taken_bytes += bytes;
	}
	walproc->is_behind = !is_end && walproc->block == WALPROC_OPEN;
	if (is_end && walproc->up.in_ended && walproc->block == WALPROC_OPEN &&
	    walproc->state == WALPROC_RUNNING)
		enter(walproc, WALPROC_DRAINING);
	return 0;
}

/* Makes what was taken durable, and acks it. */
static int
commit(struct walproc *walproc)
{
	struct msg msg = {.kind = MSG_ACK, .n = walproc->taken};

	if (walproc->taken == walproc->taken_acked)
		return 0;
	if (dead_sync(&walproc->dead) == -1) {
		log_error("dead letters: fdatasync: %m");
		return -1;
	}
	if (wal_sync(&walproc->wal) == -1) {
		log_error("log: fdatasync: %m");
		return -1;
	}
	/* Only now: this is the promise. */
	chan_send_msg(&walproc->up, &msg);
	walproc->taken_acked = walproc->taken;
	return 0;
}

/* Says whether there is something that the sink may be given now. */
static bool
can_deliver(const struct walproc *walproc)
{
	return flight_has_room(&walproc->flight) && !walproc->sink_is_open &&
	       !walproc->down.out_broken &&
	       buf_bytes(&walproc->down.out) < DELIVER_BYTES &&
	       walproc->reader.next_seq <= walproc->wal.durable_seq;
}

/* Gives the sink what the window and its queue allow. */
static int
deliver(struct walproc *walproc)
{
	while (can_deliver(walproc)) {
		struct flight_event flight = {.count = 1};
		struct read_event event;
		unsigned long held;

		switch (reader_next(
		    &walproc->reader, walproc->wal.durable_seq, &event)) {
		case READ_NONE:
			return 0;
		case READ_ERROR:
			log_error("log: read: %m");
			return -1;
		case READ_DAMAGE:
			flight.state = FLIGHT_DAMAGED;
			flight.count = event.count;
			if (log_limit_passes(&walproc->damage_limit, &held))
				log_error("log: %" PRIu64
					  " events from %" PRIu64
					  " on are damaged: moved to "
					  "quarantine held=%lu",
				    event.count, event.seq, held);
			break;
		case READ_EVENT:
			/* The queue has room: DELIVER_BYTES leaves it. */
			(void)chan_send(
			    &walproc->down, event.event, event.bytes);
			break;
		}
		flight.seq = event.seq;
		flight.end = event.end;
		flight_add(&walproc->flight, &flight);
	}
	return 0;
}

/* Moves an event that the sink can never deliver to the dead letters. */
static int
reject(struct walproc *walproc, const struct msg *msg)
{
	const char *why;
	struct flight_event *flight =
	    flight_find(&walproc->flight, msg->n, &why);
	struct read_event event;
	unsigned long held;

	if (flight == NULL) {
		log_error("sink: %s", why);
		return -1;
	}
	reader_init(&walproc->lookup, &walproc->wal.catalog, flight->seq);
	if (reader_next(&walproc->lookup, flight->seq, &event) != READ_EVENT) {
		log_error("log: event %" PRIu64
			  ", rejected by the sink, cannot be read",
		    flight->seq);
		return -1;
	}
	if (dead_write(&walproc->dead,
		msg->reason[0] == '\0' ? "rejected by the sink" : msg->reason,
		DEAD_NONE, event.seq, event.event, event.bytes) == -1 ||
	    dead_sync(&walproc->dead) == -1) {
		log_error("dead letters: %m");
		return -1;
	}
	if (log_limit_passes(&walproc->reject_limit, &held))
		log_warn("event %" PRIu64 ": rejected by the sink: %s: to "
			 "dead-letters.ndjson held=%lu",
		    event.seq, msg->reason, held);
	flight->state = FLIGHT_REJECTED;
	return 0;
}

static int
take_answer(struct walproc *walproc, const struct msg *msg)
{
	const char *why;

	switch (msg->kind) {
	case MSG_ACK:
		if (flight_ack(&walproc->flight, msg->n, &why) == 0)
			return 0;
		log_error("sink: %s", why);
		return -1;
	case MSG_REJECT:
		return reject(walproc, msg);
	case MSG_BREAKER_OPEN:
		walproc->sink_is_open = true;
		log_debug("sink: breaker open");
		return 0;
	case MSG_BREAKER_CLOSED:
		walproc->sink_is_open = false;
		log_debug("sink: breaker closed");
		return 0;
	case MSG_UNKNOWN:
		break;
	}
	return 0;
}

/* Ends in the log what the sink has ended. */
static int
end_events(struct walproc *walproc)
{
	struct flight_event event;
	uint64_t before = wal_acked_seq(&walproc->wal);

	while (flight_take_ended(&walproc->flight, &event)) {
		enum wal_end how = WAL_DELIVERED;

		if (event.state == FLIGHT_REJECTED)
			how = WAL_REJECTED;
		if (event.state == FLIGHT_DAMAGED)
			how = WAL_QUARANTINED;
		wal_end(&walproc->wal, event.count, event.end, how);
	}
	if (before != wal_acked_seq(&walproc->wal))
		walproc->retry_ns = 0;
	if (wal_save(&walproc->wal) == -1) {
		log_error("cursor: %m");
		return -1;
	}
	return 0;
}

/* Reads what the sink has answered. */
static int
take_answers(struct walproc *walproc)
{
	struct msg msg;
	const char *why;

	if (walproc->options.acks_none) {
		if (chan_is_flushed(&walproc->down) &&
		    !walproc->down.out_broken)
			(void)flight_ack(
			    &walproc->flight, walproc->flight.sent, &why);
		return end_events(walproc);
	}
	for (;;) {
		switch (chan_next_msg(&walproc->down, &msg, &why)) {
		case FRAME_READY:
			if (take_answer(walproc, &msg) == -1)
				return -1;
			continue;
		case FRAME_TOO_LONG:
			log_error("sink: message: %s", why);
			return -1;
		case FRAME_PARTIAL:
			break;
		}
		return end_events(walproc);
	}
}

/* Says whether the sink has left and so can neither take nor answer. */
static bool
is_sink_gone(const struct walproc *walproc)
{
	return walproc->down.out_broken ||
	       (!walproc->options.acks_none && walproc->down.in_ended);
}

/* Decides whether the run is over. */
static void
settle_state(struct walproc *walproc)
{
	uint64_t left = wal_elements(&walproc->wal);
	bool is_late = loop_now_ns() >= walproc->deadline_ns;
	bool is_flushed = chan_is_flushed(&walproc->up);

	switch (walproc->state) {
	case WALPROC_RUNNING:
		break;
	case WALPROC_DRAINING:
		if (left == 0 && is_flushed)
			return finish(walproc, walproc->exitcode);
		if (is_late) {
			log_error("drain timeout: %" PRIu64
				  " events stay in the log",
			    left);
			return finish(walproc, EXITCODE_AGAIN);
		}
		break;
	case WALPROC_STOPPING:
		is_flushed = is_flushed && chan_is_flushed(&walproc->down);
		if (is_late ||
		    (is_flushed && !walproc->has_read && !walproc->is_behind))
			finish(walproc, EXITCODE_DONE);
		return;
	case WALPROC_DONE:
		return;
	}
	if (is_sink_gone(walproc)) {
		log_error(
		    "sink left: %" PRIu64 " events stay in the log", left);
		finish(walproc, EXITCODE_AGAIN);
	}
}

/* Waits for something to do. */
static int
wait_turn(struct walproc *walproc)
{
	struct loop *loop = &walproc->loop;
	bool is_open = walproc->block == WALPROC_OPEN;

	loop_begin(loop);
	chan_watch(&walproc->up, loop, is_open);
	chan_watch(&walproc->down, loop, true);
	if (walproc->state != WALPROC_RUNNING)
		loop_until(loop, walproc->deadline_ns);
	if (walproc->state == WALPROC_STOPPING)
		loop_until(loop, loop_now_ns() + 10 * LOOP_NS_PER_MS);
	if (walproc->block == WALPROC_FULL_DISK)
		loop_until(loop, walproc->retry_ns);
	/* Work that is left over, or was found at the start. */
	if (walproc->is_behind ||
	    (walproc->state != WALPROC_STOPPING && can_deliver(walproc)))
		loop_until(loop, 0);
	/* Written to a socket at once: no poll will tell of it. */
	if (walproc->options.acks_none &&
	    walproc->flight.acked != walproc->flight.sent &&
	    chan_is_flushed(&walproc->down))
		loop_until(loop, 0);
	/* Quiet work is left: look whether it is quiet. */
	if (!walproc->wal.marked)
		loop_until(loop, 0);
	return loop_wait(loop);
}

static void
take_signals(struct walproc *walproc)
{
	int signal;

	while ((signal = loop_signal(&walproc->loop)) != 0) {
		log_info("%s: stopping, %" PRIu64 " events in the log",
		    strsignal(signal), wal_elements(&walproc->wal));
		enter(walproc, WALPROC_STOPPING);
	}
}

/* Does what can wait for a moment without input. */
static int
do_quiet_work(struct walproc *walproc)
{
	if (walproc->has_read || walproc->taken != walproc->taken_acked)
		return 0;
	if (walproc->wal.marked)
		return 0;
	if (wal_mark(&walproc->wal) == -1 || wal_prepare(&walproc->wal) == -1) {
		log_error("log: %m");
		return -1;
	}
	return 0;
}

/* One turn. Returns 0, or -1 if the disk or a descriptor failed; logged. */
static int
turn(struct walproc *walproc)
{
	size_t before;

	if (wait_turn(walproc) == -1) {
		log_error("poll: %m");
		return -1;
	}
	take_signals(walproc);
	before = buf_bytes(&walproc->up.in);
	if (chan_turn(&walproc->up, &walproc->loop) == -1) {
		log_error("source: %m");
		return -1;
	}
	walproc->has_read = buf_bytes(&walproc->up.in) != before;
	if (chan_turn(&walproc->down, &walproc->loop) == -1) {
		log_error("sink: %m");
		return -1;
	}
	if (take_answers(walproc) == -1 || take_events(walproc) == -1 ||
	    commit(walproc) == -1)
		return -1;
	if (walproc->state != WALPROC_STOPPING && deliver(walproc) == -1)
		return -1;
	if (chan_push(&walproc->up) == -1 || chan_push(&walproc->down) == -1) {
		log_error("write: %m");
		return -1;
	}
	if (do_quiet_work(walproc) == -1)
		return -1;
	settle_state(walproc);
	return 0;
}

/* When stopped, a pipe's bytes that are here and not taken are told of: their
 * source cannot send them again. */
static void
tell_leftover(struct walproc *walproc)
{
	size_t bytes = buf_bytes(&walproc->up.in);

	if (walproc->up.in_is_socket || bytes == 0)
		return;
	if (walproc->block == WALPROC_OPEN &&
	    take_broken(walproc, "stopped within an event") == TAKING_DONE &&
	    commit(walproc) == 0)
		return;
	log_warn(
	    "stopped with %zu bytes read from a pipe and not taken", bytes);
}

enum exitcode
walproc_run(struct walproc *walproc)
{
	while (walproc->state != WALPROC_DONE) {
		enum walproc_state before = walproc->state;

		if (turn(walproc) == -1)
			return EXITCODE_AGAIN;
		if (before == WALPROC_STOPPING &&
		    walproc->state == WALPROC_DONE)
			tell_leftover(walproc);
	}
	return walproc->exitcode;
}

/* Stands source and sink on fd 0 and fd 1. */
static void
open_peers(struct walproc *walproc)
{
	const struct walproc_options *options = &walproc->options;
	int up_out = io_is_socket(STDIN_FILENO) ? STDIN_FILENO : -1;
	int down_in = options->acks_fd;

	if (down_in == -1 && !options->acks_none)
		down_in = STDOUT_FILENO;
	chan_init(
	    &walproc->up, STDIN_FILENO, FRAMING_AUTO, up_out, FRAMING_LENGTH);
	chan_init(&walproc->down, down_in, FRAMING_LENGTH, STDOUT_FILENO,
	    options->framing);
}

enum exitcode
walproc_open(
    struct walproc *walproc, int dir_fd, const struct walproc_options *options)
{
	static const int signals[] = {SIGTERM, SIGINT};

	*walproc = (struct walproc){
	    .options = *options,
	    .deadline_ns = LOOP_NEVER,
	};
	switch (wal_open(&walproc->wal, dir_fd, &options->limits)) {
	case WAL_OPEN:
		break;
	case WAL_NEWER:
		return EXITCODE_FINAL;
	case WAL_ERROR:
		return EXITCODE_AGAIN;
	}
	if (dead_open(&walproc->dead, dir_fd) == -1) {
		log_error("dead-letters.ndjson: %m");
		return EXITCODE_AGAIN;
	}
	if (wal_rewind(&walproc->wal, &walproc->reader) == -1) {
		log_error("log: %m");
		return EXITCODE_AGAIN;
	}
	if (loop_open(&walproc->loop, signals,
		sizeof(signals) / sizeof(signals[0])) == -1) {
		log_error("signals: %m");
		return EXITCODE_AGAIN;
	}
	for (size_t i = 0; i < LOG_ID_BYTES; i++)
		(void)snprintf(
		    walproc->log_id + 2 * i, 3, "%02x", walproc->wal.log_id[i]);
	buf_init(&walproc->patched, FRAME_MAX_BYTES);
	flight_init(&walproc->flight, options->read_count);
	open_peers(walproc);
	log_info("%" PRIu64 " events stored, next is %" PRIu64 ", log %s",
	    wal_elements(&walproc->wal), walproc->wal.next_seq,
	    walproc->log_id);
	if (wal_elements(&walproc->wal) >= walproc->wal.limits.max_elements)
		block(walproc, WALPROC_FULL_LOG);
	if (walproc->wal.tail_seq != 0)
		block(walproc, WALPROC_FULL_DISK);
	return EXITCODE_DONE;
}

enum exitcode
walproc_close(struct walproc *walproc, enum exitcode exitcode)
{
	/* After a failure nothing more is written: see wal.h. */
	if (walproc->state == WALPROC_DONE && wal_close(&walproc->wal) == -1) {
		log_error("log: closing: %m");
		exitcode = EXITCODE_AGAIN;
	}
	log_info("stopped: %" PRIu64 " events taken, %" PRIu64
		 " of them to the dead letters, %" PRIu64 " acked by the sink",
	    walproc->taken, walproc->refused, walproc->flight.acked);
	dead_close(&walproc->dead);
	reader_fini(&walproc->reader);
	reader_fini(&walproc->lookup);
	flight_fini(&walproc->flight);
	buf_fini(&walproc->patched);
	chan_fini(&walproc->up);
	chan_fini(&walproc->down);
	loop_close(&walproc->loop);
	return exitcode;
}
