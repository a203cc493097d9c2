#include "walproc/intake.h"

#include "stage/io.h"
#include "stage/json.h"
#include "walproc/block.h"
#include "walproc/commit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Taken in one turn before it is synced, so that acks are never long away. */
#define TURN_BYTES ((size_t)4 << 20)
/* And so many syncs for events that are dropped before anyone had them: a small
 * log is full again after a few events, and a disk may be slow. */
#define TURN_COMMITS 64
#define WHY_BYTES 256

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
		block_set(walproc, WALPROC_FULL_DISK);
		return TAKING_BLOCKED;
	}
	log_error("%s: %m", what);
	return TAKING_FAILED;
}

static void
count_taken(struct walproc *walproc, struct inlet *inlet)
{
	walproc->taken++;
	inlet->taken++;
}

static void
count_refused(struct walproc *walproc, struct inlet *inlet, const char *why)
{
	unsigned long held;

	count_taken(walproc, inlet);
	walproc->refused++;
	walproc->refused_waits++;
	if (log_limit_passes(&walproc->refuse_limit, &held))
		log_warn("event %" PRIu64
			 " of the input: %s: to dead-letters.ndjson held=%lu",
		    inlet->taken, why, held);
}

/* Puts an event of the input into the dead letters. */
static enum taking
refuse(struct walproc *walproc, struct inlet *inlet, const char *why,
    uint64_t at, const uint8_t *event, size_t bytes)
{
	if (dead_write(&walproc->dead, why, at, DEAD_NONE, event, bytes) == -1)
		return write_failed(walproc, "dead letters");
	count_refused(walproc, inlet, why);
	return TAKING_DONE;
}

/* What a limit has no room for: does what the operator chose. TAKING_DONE with
 * *is_taken set says that nothing more is to be done. */
static enum taking
make_room(
    struct walproc *walproc, struct inlet *inlet, size_t bytes, bool *is_taken)
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
		count_taken(walproc, inlet);
		shed_tell(&walproc->shed, "log full",
		    slot->dropped + slot->dropped_newest);
		*is_taken = true;
		return TAKING_DONE;
	}
	block_set(walproc, WALPROC_FULL_LOG);
	return TAKING_BLOCKED;
}

/* Appends an event that is fit for the log. `came` is it as it came. */
static enum taking
append(struct walproc *walproc, struct inlet *inlet, const uint8_t *event,
    size_t bytes, const uint8_t *came, size_t came_bytes)
{
	enum taking taking;
	bool is_taken;

	if (wal_append_quickly(&walproc->wal, event, bytes)) {
		count_taken(walproc, inlet);
		return TAKING_DONE;
	}
	switch (wal_room(&walproc->wal, bytes)) {
	case WAL_ROOM:
		break;
	case WAL_FULL:
		walproc->wanted_bytes = bytes;
		taking = make_room(walproc, inlet, bytes, &is_taken);
		if (taking != TAKING_DONE || is_taken)
			return taking;
		break;
	case WAL_NEVER_FITS:
		return refuse(walproc, inlet, "does not fit into --max-bytes",
		    DEAD_NONE, came, came_bytes);
	}
	if (wal_append(&walproc->wal, event, bytes) == -1)
		return write_failed(walproc, "append");
	count_taken(walproc, inlet);
	/* At once, not at the next event: the source is to know. */
	if (walproc->options.on_full == WALPROC_PAUSE &&
	    wal_elements(&walproc->wal) >= walproc->wal.limits.max_elements)
		block_set(walproc, WALPROC_FULL_LOG);
	return TAKING_DONE;
}

/* Takes an event that is JSON, and patches it. */
static enum taking
take_patched(struct walproc *walproc, struct inlet *inlet, const uint8_t *event,
    size_t bytes, const struct json_outline *outline)
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
		return refuse(walproc, inlet, text, DEAD_NONE, event, bytes);
	return append(walproc, inlet, buf_front(patched), buf_bytes(patched),
	    event, bytes);
}

static enum taking
take_event(struct walproc *walproc, struct inlet *inlet, const uint8_t *event,
    size_t bytes)
{
	struct json_outline outline;
	char text[WHY_BYTES];
	const char *why;
	size_t at;

	if (bytes > walproc->options.max_event_bytes) {
		(void)snprintf(text, sizeof(text), "longer than %zu bytes",
		    walproc->options.max_event_bytes);
		return refuse(walproc, inlet, text, DEAD_NONE, event, bytes);
	}
	if (!json_outline(event, bytes, &outline, &why, &at))
		return refuse(walproc, inlet, why, at, event, bytes);
	if (patch_is_empty(walproc->options.patch))
		return append(walproc, inlet, event, bytes, event, bytes);
	return take_patched(walproc, inlet, event, bytes, &outline);
}

/* Takes the next piece of a line that is too long for an event. */
static enum taking
take_long_line(struct walproc *walproc, struct inlet *inlet)
{
	static const char why[] = "longer than an event may be";
	const uint8_t *piece;
	size_t bytes;
	bool is_last = chan_next_piece(&inlet->chan, &piece, &bytes) ||
		       inlet->chan.in_ended;

	if (!dead_part_is_open(&inlet->part) &&
	    dead_begin(&walproc->dead, &inlet->part, why) == -1)
		return write_failed(walproc, "dead letters");
	if (dead_add(&inlet->part, piece, bytes) == -1)
		return write_failed(walproc, "dead letters");
	inlet->is_skipping = true;
	if (is_last && dead_end(&walproc->dead, &inlet->part) == -1) {
		/* What was added must not be added again when the end is
		 * retried: only the line's end is left. */
		inlet->chan.in_frame_bytes = bytes;
		chan_drop(&inlet->chan);
		return write_failed(walproc, "dead letters");
	}
	chan_drop(&inlet->chan);
	if (is_last) {
		inlet->is_skipping = false;
		count_refused(walproc, inlet, why);
	}
	return TAKING_DONE;
}

/* Drops what a source that left had of an event: it still has all of it. */
static void
forget_part(struct inlet *inlet)
{
	size_t bytes = buf_bytes(&inlet->chan.in);

	log_debug("%s left within an event bytes=%zu", inlet->title, bytes);
	inlet->chan.in_frame_bytes = bytes;
	chan_drop(&inlet->chan);
}

/*
 * The input cannot be followed, or ended within a frame. Where acks go back,
 * the source still has it and sends it again; a pipe cannot, so what is here
 * is kept.
 */
static enum taking
take_broken(struct walproc *walproc, struct inlet *inlet, const char *why)
{
	const uint8_t *piece;
	size_t bytes;
	enum taking taking = TAKING_DONE;

	(void)chan_next_piece(&inlet->chan, &piece, &bytes);
	if (!inlet->chan.in_is_socket && bytes > 0)
		taking = refuse(walproc, inlet, why, DEAD_NONE, piece, bytes);
	if (taking == TAKING_DONE) {
		log_error("input: %s bytes=%zu", why, bytes);
		inlet->chan.in_frame_bytes = bytes;
		chan_drop(&inlet->chan);
		if (streams_end_source(walproc, inlet) == -1)
			walproc->exitcode = EXITCODE_AGAIN;
		inlet->chan.in_ended = true;
	}
	return taking;
}

/* Says whether the line at the front has no end, and its source has it. */
static bool
is_half_line(
    const struct walproc *walproc, const struct inlet *inlet, size_t bytes)
{
	return streams_are_given(walproc) &&
	       inlet->chan.in_framing == FRAMING_NDJSON &&
	       inlet->chan.in_frame_bytes == bytes;
}

/* Takes what is at the front of the input; *is_end when nothing is. */
static enum taking
take_next(
    struct walproc *walproc, struct inlet *inlet, size_t *bytes, bool *is_end)
{
	const uint8_t *event;
	enum taking taking;

	*bytes = 0;
	*is_end = false;
	if (inlet->is_skipping) {
		*is_end =
		    buf_bytes(&inlet->chan.in) == 0 && !inlet->chan.in_ended;
		return *is_end ? TAKING_DONE : take_long_line(walproc, inlet);
	}
	switch (chan_next(&inlet->chan, &event, bytes)) {
	case FRAME_READY:
		if (is_half_line(walproc, inlet, *bytes)) {
			forget_part(inlet);
			return TAKING_DONE;
		}
		taking = take_event(walproc, inlet, event, *bytes);
		if (taking == TAKING_DONE)
			chan_drop(&inlet->chan);
		return taking;
	case FRAME_TOO_LONG:
		if (inlet->chan.in_framing == FRAMING_LENGTH)
			return take_broken(
			    walproc, inlet, "not a length prefix");
		return take_long_line(walproc, inlet);
	case FRAME_PARTIAL:
		break;
	}
	*is_end = true;
	if (!inlet->chan.in_ended || buf_bytes(&inlet->chan.in) == 0)
		return TAKING_DONE;
	if (!streams_are_given(walproc))
		return take_broken(walproc, inlet, "ended within a frame");
	forget_part(inlet);
	return TAKING_DONE;
}

/* Takes what is ready of one of so many sources, which is its share of a turn.
 * Returns 0, or -1 when the disk failed; logged. */
static int
take_from(struct walproc *walproc, struct inlet *inlet, size_t sources)
{
	uint64_t last_commit =
	    walproc->shed.commits + (TURN_COMMITS + sources - 1) / sources;
	size_t taken_bytes = 0, bytes;
	bool is_end = false;

	/* Until the next one begins, whatever stops the intake. */
	if (inlet->is_over)
		return 0;
	while (!is_end && walproc->block == WALPROC_TAKING &&
	       taken_bytes < TURN_BYTES / sources &&
	       walproc->shed.commits < last_commit) {
		if (take_next(walproc, inlet, &bytes, &is_end) == TAKING_FAILED)
			return -1;
		taken_bytes += bytes;
	}
	inlet->is_behind = !is_end && walproc->block == WALPROC_TAKING;
	inlet->is_over =
	    is_end && inlet->chan.in_ended && walproc->block == WALPROC_TAKING;
	return 0;
}

/*
 * Takes of each source its share. What little room there is at a limit is not
 * always another's: who has met it comes last the next time, or first if it had
 * not even room for one event. To count turns would not do, since it can take
 * as many of them as there are sources until there is room again. Returns as
 * take_from.
 */
static int
take_shares(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	size_t count = streams->inlet_count, first = streams->first_inlet;
	uint64_t before = walproc->taken;

	for (size_t i = 0; i < count; i++) {
		size_t at = (first + i) % count;
		struct inlet *inlet = streams->inlets[at];
		uint64_t taken = inlet->taken;
		bool is_taking = walproc->block == WALPROC_TAKING;

		if (take_from(walproc, inlet, count) == -1)
			return -1;
		if (is_taking && walproc->block != WALPROC_TAKING)
			streams->first_inlet =
			    inlet->taken == taken ? at : at + 1;
	}
	/* Where all is taken, though some of it be dropped. */
	if (walproc->block == WALPROC_TAKING && walproc->taken != before)
		streams->first_inlet = first + 1;
	return 0;
}

int
intake_take(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	size_t count = streams->inlet_count;

	if (block_lift(walproc) == -1)
		return -1;
	walproc->is_behind = false;
	if (take_shares(walproc) == -1)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (streams->inlets[i]->is_behind)
			walproc->is_behind = true;
	return 0;
}

/* Puts what is left of a pipe's bytes into the dead letters. */
static enum taking
take_leftover(struct walproc *walproc, struct inlet *inlet)
{
	static const char whole[] = "stopped before there was room for it";
	static const char part[] = "stopped within it";
	const uint8_t *event;
	enum taking taking = TAKING_DONE;
	size_t bytes;

	if (inlet->is_skipping) {
		inlet->chan.in_ended = true;
		return take_long_line(walproc, inlet);
	}
	while (taking == TAKING_DONE &&
	       chan_next(&inlet->chan, &event, &bytes) == FRAME_READY) {
		taking = refuse(walproc, inlet, whole, DEAD_NONE, event, bytes);
		if (taking == TAKING_DONE)
			chan_drop(&inlet->chan);
	}
	(void)chan_next_piece(&inlet->chan, &event, &bytes);
	if (taking == TAKING_DONE && bytes > 0)
		taking = refuse(walproc, inlet, part, DEAD_NONE, event, bytes);
	return taking;
}

int
intake_leave(struct walproc *walproc)
{
	struct inlet *inlet;
	enum taking taking = TAKING_DONE;
	size_t bytes;

	/* Where acks go back, the source sends again what was not acked. */
	if (streams_are_given(walproc) ||
	    walproc->streams.inlets[0]->chan.in_is_socket)
		return 0;
	inlet = walproc->streams.inlets[0];
	bytes = buf_bytes(&inlet->chan.in);
	if (bytes > 0 || inlet->is_skipping)
		taking = take_leftover(walproc, inlet);
	if (taking == TAKING_DONE && commit_all(walproc) == -1)
		return -1;
	if (taking == TAKING_DONE && walproc->taken == walproc->taken_acked)
		return 0;
	log_error("stopped with %" PRIu64
		  " events and %zu bytes of a pipe that are not safe",
	    walproc->taken - walproc->taken_acked, buf_bytes(&inlet->chan.in));
	return -1;
}
