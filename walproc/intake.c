#include "walproc/intake.h"

#include "stage/io.h"
#include "stage/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Taken in one turn before it is synced, so that acks are never long away. */
#define TURN_BYTES ((size_t)4 << 20)
#define DISK_RETRY_NS LOOP_NS_PER_S
#define WHY_BYTES 256

void
intake_put_block(const struct walproc *walproc, struct msg *msg)
{
	const struct wal_limits *limits = &walproc->wal.limits;

	*msg = (struct msg){.kind = MSG_BREAKER_OPEN};
	if (walproc->block == WALPROC_FULL_DISK)
		(void)snprintf(msg->reason, sizeof(msg->reason), "disk full");
	else if (wal_elements(&walproc->wal) >= limits->max_elements)
		(void)snprintf(msg->reason, sizeof(msg->reason),
		    "log full: %" PRIu64 " events of %" PRIu64,
		    wal_elements(&walproc->wal), limits->max_elements);
	else
		(void)snprintf(msg->reason, sizeof(msg->reason),
		    "log full: %" PRIu64 " bytes of %" PRIu64,
		    wal_bytes(&walproc->wal), limits->max_bytes);
}

void
intake_block(struct walproc *walproc, enum walproc_block block)
{
	struct msg msg;
	unsigned long held;

	walproc->retry_ns = loop_now_ns() + DISK_RETRY_NS;
	if (walproc->block == block)
		return;
	walproc->block = block;
	intake_put_block(walproc, &msg);
	/* Under load this is ordinary flow control, many times a second. */
	walproc->block_is_told = log_limit_passes(&walproc->block_limit, &held);
	if (walproc->block_is_told)
		log_warn("intake paused: %s held=%lu", msg.reason, held);
	chan_send_msg(&walproc->up, &msg);
}

/*
 * Says whether what stopped the intake has passed: 1, 0, or -1 when the disk
 * failed otherwise than by being full; logged.
 */
static int
has_passed(struct walproc *walproc)
{
	/* The event that waits, if one does, must find its room too. */
	if (walproc->block == WALPROC_FULL_LOG)
		return wal_is_relieved(&walproc->wal) &&
		       wal_room(&walproc->wal, walproc->wanted_bytes) ==
			   WAL_ROOM;
	if (loop_now_ns() < walproc->retry_ns)
		return 0;
	walproc->retry_ns = loop_now_ns() + DISK_RETRY_NS;
	/* What is damaged has the first of the room, or the intake would take
	 * it, and the delivery wait for ever. */
	if (walproc->damage_waits) {
		walproc->damage_waits = false;
		return 0;
	}
	/* Letters that were moved away hold their space while open here. */
	if (dead_refresh(&walproc->dead) == 0 && wal_probe(&walproc->wal) == 0)
		return 1;
	if (io_is_full_disk(errno))
		return 0;
	log_error("log: %m");
	return -1;
}

/* Starts the intake again if it can be. Returns 0, or -1 as has_passed. */
static int
unblock(struct walproc *walproc)
{
	struct msg msg = {.kind = MSG_BREAKER_CLOSED};
	int passed;

	if (walproc->block == WALPROC_TAKING)
		return 0;
	passed = has_passed(walproc);
	if (passed != 1)
		return passed;
	walproc->block = WALPROC_TAKING;
	walproc->wanted_bytes = 0;
	if (walproc->block_is_told)
		log_info("intake goes on");
	chan_send_msg(&walproc->up, &msg);
	return 0;
}

/* What became of an event at intake. */
enum taking {
	TAKING_DONE,	/* it is in the log or the dead letters, or dropped */
	TAKING_BLOCKED, /* it stays where it is */
	TAKING_FAILED,	/* the run is over; logged */
};

/* Turns a failed write into what it means for the intake. */
static enum taking
write_failed(struct walproc *walproc, const char *what)
{
	if (io_is_full_disk(errno)) {
		intake_block(walproc, WALPROC_FULL_DISK);
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
	walproc->refused_waits++;
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

/* What a limit has no room for: does what the operator chose. TAKING_DONE with
 * *is_taken set says that nothing more is to be done. */
static enum taking
make_room(struct walproc *walproc, size_t bytes, bool *is_taken)
{
	const struct layout_cursor *slot = &walproc->wal.cursor.slot;

	*is_taken = false;
	switch (walproc->options.on_full) {
	case WALPROC_PAUSE:
		break;
	case WALPROC_DROP_OLDEST:
		if (shed_for_room(walproc, bytes) == -1)
			return write_failed(walproc, "log");
		return TAKING_DONE;
	case WALPROC_DROP_NEWEST:
		wal_count_dropped(&walproc->wal);
		walproc->taken++;
		shed_tell(&walproc->shed, "log full",
		    slot->dropped + slot->dropped_newest);
		*is_taken = true;
		return TAKING_DONE;
	}
	intake_block(walproc, WALPROC_FULL_LOG);
	return TAKING_BLOCKED;
}

/* Appends an event that is fit for the log. `came` is it as it came. */
static enum taking
append(struct walproc *walproc, const uint8_t *event, size_t bytes,
    const uint8_t *came, size_t came_bytes)
{
	enum taking taking;
	bool is_taken;

	if (wal_append_quickly(&walproc->wal, event, bytes)) {
		walproc->taken++;
		return TAKING_DONE;
	}
	switch (wal_room(&walproc->wal, bytes)) {
	case WAL_ROOM:
		break;
	case WAL_FULL:
		walproc->wanted_bytes = bytes;
		taking = make_room(walproc, bytes, &is_taken);
		if (taking != TAKING_DONE || is_taken)
			return taking;
		break;
	case WAL_NEVER_FITS:
		return refuse(walproc, "does not fit into --max-bytes",
		    DEAD_NONE, came, came_bytes);
	}
	if (wal_append(&walproc->wal, event, bytes) == -1)
		return write_failed(walproc, "append");
	walproc->taken++;
	/* At once, not at the next event: the source is to know. */
	if (walproc->options.on_full == WALPROC_PAUSE &&
	    wal_elements(&walproc->wal) >= walproc->wal.limits.max_elements)
		intake_block(walproc, WALPROC_FULL_LOG);
	return TAKING_DONE;
}

/* Takes an event that is JSON, and patches it. */
static enum taking
take_patched(struct walproc *walproc, const uint8_t *event, size_t bytes,
    const struct json_outline *outline)
{
	const struct patch *patch = walproc->options.patch;
	struct patch_event about = {
	    .seq = walproc->wal.next_seq,
	    .ingest_ns = patch_uses_time(patch) ? loop_realtime_ns() : 0,
	    .log_id = walproc->log_id,
	};
	struct buf *patched = &walproc->patched;
	char text[WHY_BYTES];

	buf_drop(patched, buf_bytes(patched));
	if (patch_apply(patch, &about, event, bytes, outline, patched, text,
		sizeof(text)) == -1)
		return refuse(walproc, text, DEAD_NONE, event, bytes);
	return append(
	    walproc, buf_front(patched), buf_bytes(patched), event, bytes);
}

static enum taking
take_event(struct walproc *walproc, const uint8_t *event, size_t bytes)
{
	struct json_outline outline;
	char text[WHY_BYTES];
	const char *why;
	size_t at;

	if (bytes > walproc->options.max_event_bytes) {
		(void)snprintf(text, sizeof(text), "longer than %zu bytes",
		    walproc->options.max_event_bytes);
		return refuse(walproc, text, DEAD_NONE, event, bytes);
	}
	if (!json_outline(event, bytes, &outline, &why, &at))
		return refuse(walproc, why, at, event, bytes);
	if (patch_is_empty(walproc->options.patch))
		return append(walproc, event, bytes, event, bytes);
	return take_patched(walproc, event, bytes, &outline);
}

/* Takes the next piece of a line that is too long for an event. */
static enum taking
take_long_line(struct walproc *walproc)
{
	static const char why[] = "longer than an event may be";
	const uint8_t *piece;
	size_t bytes;
	bool is_last = chan_next_piece(&walproc->up, &piece, &bytes) ||
		       walproc->up.in_ended;

	if (!dead_is_open(&walproc->dead) &&
	    dead_begin(&walproc->dead, why) == -1)
		return write_failed(walproc, "dead letters");
	if (dead_add(&walproc->dead, piece, bytes) == -1)
		return write_failed(walproc, "dead letters");
	walproc->is_skipping = true;
	if (is_last && dead_end(&walproc->dead) == -1) {
		/* What was added must not be added again when the end is
		 * retried: only the line's end is left. */
		walproc->up.in_frame_bytes = bytes;
		chan_drop(&walproc->up);
		return write_failed(walproc, "dead letters");
	}
	chan_drop(&walproc->up);
	if (is_last) {
		walproc->is_skipping = false;
		count_refused(walproc, why);
	}
	return TAKING_DONE;
}

/* Drops what a source that left had of an event: it still has all of it. */
static void
forget_part(struct walproc *walproc)
{
	size_t bytes = buf_bytes(&walproc->up.in);

	log_debug("source left within an event bytes=%zu", bytes);
	walproc->up.in_frame_bytes = bytes;
	chan_drop(&walproc->up);
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
		if (streams_end(walproc, &walproc->up) == -1)
			walproc->exitcode = EXITCODE_AGAIN;
		walproc->up.in_ended = true;
	}
	return taking;
}

/* Says whether the line at the front has no end, and its source has it. */
static bool
is_half_line(const struct walproc *walproc, size_t bytes)
{
	return streams_are_given(walproc) &&
	       walproc->up.in_framing == FRAMING_NDJSON &&
	       walproc->up.in_frame_bytes == bytes;
}

/* Takes what is at the front of the input; *is_end when nothing is. */
static enum taking
take_next(struct walproc *walproc, size_t *bytes, bool *is_end)
{
	const uint8_t *event;
	enum taking taking;

	*bytes = 0;
	*is_end = false;
	if (walproc->is_skipping) {
		*is_end =
		    buf_bytes(&walproc->up.in) == 0 && !walproc->up.in_ended;
		return *is_end ? TAKING_DONE : take_long_line(walproc);
	}
	switch (chan_next(&walproc->up, &event, bytes)) {
	case FRAME_READY:
		if (is_half_line(walproc, *bytes)) {
			forget_part(walproc);
			return TAKING_DONE;
		}
		taking = take_event(walproc, event, *bytes);
		if (taking == TAKING_DONE)
			chan_drop(&walproc->up);
		return taking;
	case FRAME_TOO_LONG:
		if (walproc->up.in_framing == FRAMING_LENGTH)
			return take_broken(walproc, "not a length prefix");
		return take_long_line(walproc);
	case FRAME_PARTIAL:
		break;
	}
	*is_end = true;
	if (!walproc->up.in_ended || buf_bytes(&walproc->up.in) == 0)
		return TAKING_DONE;
	if (!streams_are_given(walproc))
		return take_broken(walproc, "ended within a frame");
	forget_part(walproc);
	return TAKING_DONE;
}

int
intake_take(struct walproc *walproc)
{
	size_t taken_bytes = 0, bytes;
	bool is_end = false;

	if (unblock(walproc) == -1)
		return -1;
	while (!is_end && walproc->block == WALPROC_TAKING &&
	       taken_bytes < TURN_BYTES) {
		if (take_next(walproc, &bytes, &is_end) == TAKING_FAILED)
			return -1;
		taken_bytes += bytes;
	}
	walproc->is_behind = !is_end && walproc->block == WALPROC_TAKING;
	walproc->input_is_over =
	    is_end && walproc->up.in_ended && walproc->block == WALPROC_TAKING;
	return 0;
}

/* Acks the events that a commit has made safe. */
static int
ack(struct walproc *walproc)
{
	uint64_t before = walproc->streams.taken_before;
	struct msg msg = {.kind = MSG_ACK};

	walproc->is_committing = false;
	if (wal_save(&walproc->wal) == -1) {
		log_error("cursor: %m");
		return -1;
	}
	/* Only now: this is the promise. What an earlier source sent is of no
	 * account to this one. */
	if (walproc->committing > before) {
		msg.n = walproc->committing - before;
		chan_send_msg(&walproc->up, &msg);
	}
	walproc->taken_acked = walproc->committing;
	return 0;
}

/* Takes the end of a commit, 1, 0 or -1 as wal_commit_end says. */
static int
take_commit(struct walproc *walproc, int result)
{
	if (result == 1)
		return ack(walproc);
	if (result == 0)
		return 0;
	if (io_is_full_disk(errno)) {
		intake_block(walproc, WALPROC_FULL_DISK);
		return 0;
	}
	log_error("log: write or sync: %m");
	return -1;
}

/* Dead letters that are not durable yet are made so first. */
static int
sync_dead(struct walproc *walproc)
{
	if (dead_sync(&walproc->dead) == 0) {
		/* Only now: a count on record means a letter that is there. */
		for (; walproc->refused_waits > 0; walproc->refused_waits--)
			wal_count_refused(&walproc->wal);
		wal_note_letters(&walproc->wal, walproc->dead.end_bytes);
		return 0;
	}
	log_error("dead letters: fdatasync: %m");
	return -1;
}

int
intake_commit(struct walproc *walproc)
{
	int result;

	if (walproc->is_committing &&
	    take_commit(walproc, wal_commit_end(&walproc->wal)) == -1)
		return -1;
	if (walproc->is_committing || walproc->taken == walproc->taken_acked)
		return 0;
	if (sync_dead(walproc) == -1)
		return -1;
	walproc->committing = walproc->taken;
	result = wal_commit_begin(&walproc->wal);
	walproc->is_committing = result == 0;
	return take_commit(walproc, result);
}

/* The same, to the end. */
static int
commit_all(struct walproc *walproc)
{
	if (walproc->taken == walproc->taken_acked)
		return 0;
	if (sync_dead(walproc) == -1)
		return -1;
	walproc->committing = walproc->taken;
	return take_commit(walproc, wal_commit(&walproc->wal) == -1 ? -1 : 1);
}

/* Puts what is left of a pipe's bytes into the dead letters. */
static enum taking
take_leftover(struct walproc *walproc)
{
	static const char whole[] = "stopped before there was room for it";
	static const char part[] = "stopped within it";
	const uint8_t *event;
	enum taking taking = TAKING_DONE;
	size_t bytes;

	if (walproc->is_skipping) {
		walproc->up.in_ended = true;
		return take_long_line(walproc);
	}
	while (taking == TAKING_DONE &&
	       chan_next(&walproc->up, &event, &bytes) == FRAME_READY) {
		taking = refuse(walproc, whole, DEAD_NONE, event, bytes);
		if (taking == TAKING_DONE)
			chan_drop(&walproc->up);
	}
	(void)chan_next_piece(&walproc->up, &event, &bytes);
	if (taking == TAKING_DONE && bytes > 0)
		taking = refuse(walproc, part, DEAD_NONE, event, bytes);
	return taking;
}

int
intake_leave(struct walproc *walproc)
{
	size_t bytes = buf_bytes(&walproc->up.in);
	enum taking taking = TAKING_DONE;

	/* Where acks go back, the source sends again what was not acked. */
	if (walproc->up.in_is_socket)
		return 0;
	if (bytes > 0 || walproc->is_skipping)
		taking = take_leftover(walproc);
	if (taking == TAKING_DONE && commit_all(walproc) == -1)
		return -1;
	if (taking == TAKING_DONE && walproc->taken == walproc->taken_acked)
		return 0;
	log_error("stopped with %" PRIu64
		  " events and %zu bytes of a pipe that are not safe",
	    walproc->taken - walproc->taken_acked, buf_bytes(&walproc->up.in));
	return -1;
}
