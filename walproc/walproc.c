#include "walproc/walproc.h"

#include "stage/io.h"
#include "walproc/block.h"
#include "walproc/commit.h"
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
	bool is_flushed = streams_have_told_sources(walproc);

	switch (walproc->state) {
	case WALPROC_RUNNING:
		break;
	case WALPROC_DRAINING:
		if (streams_are_drained(walproc) && is_flushed)
			return finish(walproc, walproc->exitcode);
		if (is_late) {
			log_error("drain timeout: %" PRIu64
				  " events stay in the log",
			    left);
			return finish(walproc, EXITCODE_AGAIN);
		}
		break;
	case WALPROC_STOPPING:
		is_flushed = is_flushed && streams_have_told_sinks(walproc);
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
	} else if (!streams_are_given(walproc) && !streams_have_sink(walproc)) {
		log_error(
		    "sink left: %" PRIu64 " events stay in the log", left);
		finish(walproc, EXITCODE_AGAIN);
	}
}

/* States what is waited for from one sink, and what is to be done for it. */
static void
watch_outlet(struct walproc *walproc, struct outlet *outlet)
{
	struct loop *loop = &walproc->loop;

	chan_watch(&outlet->chan, loop, true);
	/* Work that is left over, or was found at the start. */
	if (walproc->state != WALPROC_STOPPING &&
	    delivery_is_due(walproc, outlet))
		loop_until(loop, 0);
	/* Ended without an ack, or an answer to be looked at again. */
	if (flight_has_ended(&outlet->flight) ||
	    (outlet->has_held && walproc->block != WALPROC_FULL_DISK))
		loop_until(loop, 0);
	/* Written to a socket at once: no poll will tell of it. */
	if (walproc->options.acks_none &&
	    outlet->flight.acked != outlet->flight.sent &&
	    chan_is_flushed(&outlet->chan) && !outlet->chan.out_broken)
		loop_until(loop, 0);
}

/* Waits for something to do. */
static int
wait_turn(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	struct loop *loop = &walproc->loop;
	bool is_open = walproc->block == WALPROC_TAKING;

	loop_begin(loop);
	for (size_t i = 0; i < streams->inlet_count; i++) {
		chan_watch(&streams->inlets[i]->chan, loop, is_open);
		/* Its last ack was sent: it is freed. */
		if (inlet_is_gone(streams->inlets[i]))
			loop_until(loop, 0);
	}
	for (size_t i = 0; i < streams->outlet_count; i++)
		watch_outlet(walproc, streams->outlets[i]);
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
	/* Work that is left over. */
	if (walproc->is_behind)
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

/* Reads and writes what is ready. Returns 0, or -1 if a descriptor failed;
 * logged. */
static int
turn_streams(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;

	walproc->has_read = false;
	for (size_t i = 0; i < streams->inlet_count; i++) {
		struct inlet *inlet = streams->inlets[i];
		size_t before = buf_bytes(&inlet->chan.in);

		if (chan_turn(&inlet->chan, &walproc->loop) == -1) {
			log_error("%s: %m", inlet->title);
			return -1;
		}
		if (buf_bytes(&inlet->chan.in) != before)
			walproc->has_read = true;
	}
	for (size_t i = 0; i < streams->outlet_count; i++) {
		struct outlet *outlet = streams->outlets[i];

		if (chan_turn(&outlet->chan, &walproc->loop) == -1) {
			log_error("%s: %m", outlet->title);
			return -1;
		}
	}
	return 0;
}

/* Gives the sinks what they may have, and all neighbours what is queued.
 * Returns 0, or -1; logged. */
static int
push_streams(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	int result = 0;

	for (size_t i = 0; i < streams->outlet_count; i++)
		if (walproc->state != WALPROC_STOPPING &&
		    delivery_give(walproc, streams->outlets[i]) == -1)
			return -1;
	for (size_t i = 0; result == 0 && i < streams->inlet_count; i++)
		result = chan_push(&streams->inlets[i]->chan);
	for (size_t i = 0; result == 0 && i < streams->outlet_count; i++)
		result = chan_push(&streams->outlets[i]->chan);
	if (result == -1)
		log_error("write: %m");
	return result;
}

/* One turn. Returns 0, or -1 if the disk or a descriptor failed; logged. */
static int
turn(struct walproc *walproc)
{
	if (wait_turn(walproc) == -1) {
		log_error("poll: %m");
		return -1;
	}
	take_signals(walproc);
	if (streams_take_orders(walproc) == -1 || turn_streams(walproc) == -1 ||
	    delivery_take_answers(walproc) == -1 ||
	    streams_change_sinks(walproc) == -1)
		return -1;
	if (shed_expired(walproc) == -1) {
		log_error("log: dropping old events: %m");
		return -1;
	}
	if (intake_take(walproc) == -1 ||
	    streams_change_sources(walproc) == -1 ||
	    commit_turn(walproc) == -1 || keep_synced(walproc) == -1)
		return -1;
	if ((walproc->has_read || walproc->taken != walproc->taken_acked) &&
	    wal_prepare_ahead(&walproc->wal) == -1) {
		log_error("log: the next segment: %m");
		return -1;
	}
	if (streams_are_over(walproc) && !streams_may_follow(walproc) &&
	    walproc->state == WALPROC_RUNNING)
		enter(walproc, WALPROC_DRAINING);
	if (push_streams(walproc) == -1)
		return -1;
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

/* Opens the log and what is beside it. Returns EXITCODE_DONE, or what to exit
 * with, with nothing open; logged. */
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
	streams_init(walproc, &options->control);
	report_init(walproc);
	log_info("%" PRIu64 " events stored, next is %" PRIu64 ", log %s",
	    wal_elements(&walproc->wal), walproc->wal.next_seq,
	    walproc->log_id);
	if (options->on_full == WALPROC_PAUSE &&
	    wal_elements(&walproc->wal) >= walproc->wal.limits.max_elements)
		block_set(walproc, WALPROC_FULL_LOG);
	if (!wal_is_settled(&walproc->wal))
		block_set(walproc, WALPROC_FULL_DISK);
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
		 " of them to the dead letters, %" PRIu64
		 " acked by the sink%s",
	    walproc->taken, walproc->refused, streams_acked(walproc),
	    walproc->streams.outlet_count > 1 ? "s" : "");
	dead_close(&walproc->dead);
	shed_fini(&walproc->shed);
	report_fini(&walproc->report);
	streams_fini(&walproc->streams);
	buf_fini(&walproc->patched);
	loop_close(&walproc->loop);
	return exitcode;
}
