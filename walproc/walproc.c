#include "walproc/walproc.h"

#include "stage/io.h"
#include "walproc/delivery.h"
#include "walproc/intake.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* For the last answers and bytes on their way when told to stop. */
#define STOP_NS (LOOP_NS_PER_S / 2)

static const char *const state_names[] = {
    [WALPROC_RUNNING] = "running",
    [WALPROC_DRAINING] = "draining",
    [WALPROC_STOPPING] = "stopping",
    [WALPROC_DONE] = "done",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == WALPROC_DONE + 1,
    "each state has a name");

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
		    (is_flushed && !walproc->has_read && !walproc->is_behind &&
			!walproc->is_committing))
			finish(walproc, EXITCODE_DONE);
		return;
	case WALPROC_DONE:
		return;
	}
	if (walproc->streams.control.is_lost) {
		log_error("the supervisor is gone");
		finish(walproc, EXITCODE_AGAIN);
	} else if (delivery_has_lost_sink(walproc) &&
		   !streams_are_given(walproc)) {
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
	bool is_open = walproc->block == WALPROC_TAKING;

	loop_begin(loop);
	chan_watch(&walproc->up, loop, is_open);
	chan_watch(&walproc->down, loop, true);
	control_watch(&walproc->streams.control, loop);
	(void)loop_watch(loop, wal_poll_fd(&walproc->wal), POLLIN);
	if (walproc->state != WALPROC_RUNNING)
		loop_until(loop, walproc->deadline_ns);
	if (walproc->state == WALPROC_STOPPING)
		loop_until(loop, loop_now_ns() + 10 * LOOP_NS_PER_MS);
	if (walproc->block == WALPROC_FULL_DISK)
		loop_until(loop, walproc->retry_ns);
	loop_until(loop, walproc->sync_due_ns);
	loop_until(loop, shed_due_ns(walproc));
	/* Work that is left over, or was found at the start. */
	if (walproc->is_behind ||
	    (walproc->state != WALPROC_STOPPING && delivery_is_due(walproc)))
		loop_until(loop, 0);
	/* Ended without an ack, or an answer to be looked at again. */
	if (flight_has_ended(&walproc->flight) ||
	    (walproc->has_held && walproc->block != WALPROC_FULL_DISK))
		loop_until(loop, 0);
	/* Written to a socket at once: no poll will tell of it. */
	if (walproc->options.acks_none &&
	    walproc->flight.acked != walproc->flight.sent &&
	    chan_is_flushed(&walproc->down))
		loop_until(loop, 0);
	/* Quiet work is left: look whether it is quiet. */
	if (!walproc->wal.is_marked && walproc->taken == walproc->taken_acked)
		loop_until(loop, 0);
	return loop_wait(loop);
}

static void
take_signals(struct walproc *walproc)
{
	int signal;

	while ((signal = loop_signal(&walproc->loop)) != 0) {
		log_info("stopping: %s, %" PRIu64 " events in the log",
		    signal == SIGTERM ? "SIGTERM" : "SIGINT",
		    wal_elements(&walproc->wal));
		enter(walproc, WALPROC_STOPPING);
	}
}

/* Does what can wait for a moment without input. */
static int
do_quiet_work(struct walproc *walproc)
{
	if (walproc->has_read || walproc->taken != walproc->taken_acked)
		return 0;
	if (walproc->wal.is_marked)
		return 0;
	if (wal_mark(&walproc->wal) == -1 || wal_prepare(&walproc->wal) == -1) {
		log_error("log: %m");
		return -1;
	}
	return 0;
}

/* Where acks do not wait for the sync: syncs when it is due. */
static int
keep_synced(struct walproc *walproc)
{
	const struct wal *wal = &walproc->wal;
	int64_t now;

	if (!wal->is_lazy || walproc->options.sync_ns == LOOP_NEVER)
		return 0;
	if (wal->durable_seq + 1 == wal->next_seq) {
		walproc->sync_due_ns = LOOP_NEVER;
		return 0;
	}
	now = loop_now_ns();
	if (walproc->sync_due_ns == LOOP_NEVER)
		walproc->sync_due_ns = now + walproc->options.sync_ns;
	if (now < walproc->sync_due_ns)
		return 0;
	walproc->sync_due_ns = LOOP_NEVER;
	if (wal_sync(&walproc->wal) == 0 || io_is_full_disk(errno))
		return 0;
	log_error("log: write or sync: %m");
	return -1;
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
	streams_take_orders(walproc);
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
	if (delivery_take_answers(walproc) == -1 ||
	    streams_change_sink(walproc) == -1)
		return -1;
	if (shed_expired(walproc) == -1) {
		log_error("log: dropping old events: %m");
		return -1;
	}
	if (intake_take(walproc) == -1 ||
	    streams_change_source(walproc) == -1 ||
	    intake_commit(walproc) == -1 || keep_synced(walproc) == -1)
		return -1;
	if ((walproc->has_read || walproc->taken != walproc->taken_acked) &&
	    wal_prepare_ahead(&walproc->wal) == -1) {
		log_error("log: the next segment: %m");
		return -1;
	}
	if (walproc->input_is_over && !streams_may_follow(walproc) &&
	    walproc->state == WALPROC_RUNNING)
		enter(walproc, WALPROC_DRAINING);
	if (walproc->state != WALPROC_STOPPING && delivery_give(walproc) == -1)
		return -1;
	if (chan_push(&walproc->up) == -1 || chan_push(&walproc->down) == -1) {
		log_error("write: %m");
		return -1;
	}
	if (do_quiet_work(walproc) == -1)
		return -1;
	report_count(walproc);
	settle_state(walproc);
	return 0;
}

enum exitcode
walproc_run(struct walproc *walproc)
{
	while (walproc->state != WALPROC_DONE)
		if (turn(walproc) == -1) {
			walproc->has_failed = true;
			return EXITCODE_AGAIN;
		}
	if (intake_leave(walproc) == -1) {
		walproc->has_failed = true;
		return EXITCODE_AGAIN;
	}
	return walproc->exitcode;
}

/*
 * Where the output is a file that ends within a line, ends that line: an
 * earlier run was cut off there, and what it was writing comes again. Returns
 * 0, or -1 with errno set.
 */
static int
end_half_line(const struct walproc_options *options)
{
	struct stat st;
	char last = '\n';
	int fd;

	if (options->framing == FRAMING_LENGTH ||
	    fstat(STDOUT_FILENO, &st) == -1 || !S_ISREG(st.st_mode) ||
	    st.st_size == 0)
		return 0;
	/* The descriptor itself may be for writing only. */
	fd = open("/proc/self/fd/1", O_RDONLY | O_CLOEXEC);
	if (fd == -1 ||
	    io_pread_full(fd, &last, 1, (uint64_t)st.st_size - 1) != 1)
		log_debug("the output's last line cannot be read: %m");
	if (fd != -1)
		(void)close(fd);
	if (last == '\n')
		return 0;
	log_warn("the output ends within a line: the line is ended");
	return io_write_full(STDOUT_FILENO, "\n", 1);
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
	/* Acks count what one reader gets of one writer. */
	walproc->down.out_is_ours = options->acks_fd != -1;
}

/* Opens the log and what is beside it, and finds where the delivery stands.
 * Returns EXITCODE_DONE, or what to exit with, with nothing open; logged. */
static enum exitcode
open_log(struct walproc *walproc, int dir_fd)
{
	switch (wal_open(&walproc->wal, dir_fd, &walproc->options.limits)) {
	case WAL_OPEN:
		walproc->wal.is_lazy = walproc->options.sync_ns != 0;
		break;
	case WAL_NEWER:
		return EXITCODE_FINAL;
	case WAL_ERROR:
		return EXITCODE_AGAIN;
	}
	if (dead_open(&walproc->dead, dir_fd,
		wal_letters_bytes(&walproc->wal)) == -1) {
		log_error("dead-letters.ndjson: %m");
		goto fail;
	}
	/* What was there is durable now. */
	wal_note_letters(&walproc->wal, walproc->dead.end_bytes);
	if (wal_rewind(&walproc->wal, &walproc->reader) == -1) {
		log_error("log: %m");
		goto fail;
	}
	if (end_half_line(&walproc->options) == -1) {
		log_error("output: %m");
		goto fail;
	}
	for (size_t i = 0; i < LAYOUT_LOG_ID_BYTES; i++)
		(void)snprintf(
		    walproc->log_id + 2 * i, 3, "%02x", walproc->wal.log_id[i]);
	return EXITCODE_DONE;

fail:
	dead_close(&walproc->dead);
	reader_fini(&walproc->reader);
	wal_abandon(&walproc->wal);
	return EXITCODE_AGAIN;
}

enum exitcode
walproc_open(
    struct walproc *walproc, int dir_fd, const struct walproc_options *options)
{
	static const int signals[] = {SIGTERM, SIGINT};
	enum exitcode exitcode;

	*walproc = (struct walproc){
	    .options = *options,
	    .deadline_ns = LOOP_NEVER,
	    .sync_due_ns = LOOP_NEVER,
	};
	if (loop_open(&walproc->loop, signals,
		sizeof(signals) / sizeof(signals[0])) == -1) {
		log_error("signals: %m");
		return EXITCODE_AGAIN;
	}
	exitcode = open_log(walproc, dir_fd);
	if (exitcode != EXITCODE_DONE) {
		loop_close(&walproc->loop);
		return exitcode;
	}
	buf_init(&walproc->patched, FRAME_MAX_BYTES);
	flight_init(&walproc->flight, options->read_count);
	streams_init(&walproc->streams, &options->control);
	report_init(walproc);
	open_peers(walproc);
	log_info("%" PRIu64 " events stored, next is %" PRIu64 ", log %s",
	    wal_elements(&walproc->wal), walproc->wal.next_seq,
	    walproc->log_id);
	if (options->on_full == WALPROC_PAUSE &&
	    wal_elements(&walproc->wal) >= walproc->wal.limits.max_elements)
		intake_block(walproc, WALPROC_FULL_LOG);
	if (!wal_is_settled(&walproc->wal))
		intake_block(walproc, WALPROC_FULL_DISK);
	control_ready(&walproc->streams.control);
	return EXITCODE_DONE;
}

enum exitcode
walproc_close(struct walproc *walproc, enum exitcode exitcode)
{
	/* While the log can still be looked at. */
	report_send(walproc);
	/* After a failure nothing more is written: see wal.h. */
	if (walproc->has_failed) {
		wal_abandon(&walproc->wal);
	} else if (wal_close(&walproc->wal) == -1) {
		log_error("log: closing: %m");
		exitcode = EXITCODE_AGAIN;
	}
	log_info("stopped: %" PRIu64 " events taken, %" PRIu64
		 " of them to the dead letters, %" PRIu64 " acked by the sink",
	    walproc->taken, walproc->refused,
	    walproc->streams.acked_before + walproc->flight.acked);
	dead_close(&walproc->dead);
	reader_fini(&walproc->reader);
	reader_fini(&walproc->lookup);
	shed_fini(&walproc->shed);
	report_fini(&walproc->report);
	streams_fini(&walproc->streams);
	flight_fini(&walproc->flight);
	buf_fini(&walproc->patched);
	chan_fini(&walproc->up);
	chan_fini(&walproc->down);
	loop_close(&walproc->loop);
	return exitcode;
}
