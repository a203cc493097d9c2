#include "walproc/check.h"

#include "stage/log.h"
#include "stage/mem.h"
#include "walproc/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Looks at a segment that looks damaged while the log changes. */
#define DOUBTS 3

/* Where the walk met damage: what lies there was told. */
struct place_told {
	uint64_t segment_seq;
	uint64_t from;
};

struct state {
	const struct check *check;
	struct look *look;
	struct check_result *result;
	struct place_told *told; /* owned; in order */
	size_t told_count;
	size_t told_room;
};

bool
check_is_damage(enum check_kind kind)
{
	return kind < CHECK_KNOWN;
}

static void
tell(struct state *state, struct check_finding finding)
{
	struct check_result *result = state->result;
	uint64_t acked = state->look->slot.acked_seq;

	if (finding.count > 0 && finding.seq <= acked) {
		finding.ended = acked + 1 - finding.seq;
		if (finding.ended > finding.count)
			finding.ended = finding.count;
	}
	result->counts[finding.kind]++;
	result->is_damaged =
	    result->is_damaged || check_is_damage(finding.kind);
	if (check_is_damage(finding.kind))
		result->lost += finding.count;
	state->check->tell(state->check->context, &finding);
}

/* Tells of files and cursor. */
static void
check_files(struct state *state)
{
	const struct look *look = state->look;
	const struct layout_cursor *slot = &look->slot;

	for (size_t i = 0; i < look->fault_count; i++)
		tell(state, (struct check_finding){
				.kind = CHECK_FILE,
				.segment_seq = look->faults[i].name_seq,
				.what = look->faults[i].what,
			    });
	if (look->cursor == LOOK_CURSOR_LOST)
		tell(
		    state, (struct check_finding){
			       .kind = CHECK_CURSOR,
			       .what = look->slots[0] == CURSOR_SLOT_BAD ||
					       look->slots[1] == CURSOR_SLOT_BAD
					   ? "no slot is sound"
					   : "missing, or empty",
			   });
	if (look->cursor == LOOK_CURSOR_FOREIGN)
		tell(state, (struct check_finding){
				.kind = CHECK_CURSOR,
				.what = "of another log",
			    });
	if (slot->delivered + slot->rejected + slot->dropped +
		slot->quarantined !=
	    slot->acked_seq)
		tell(state, (struct check_finding){
				.kind = CHECK_COUNTS,
				.what = "its counts do not add up",
			    });
	for (int i = 0; i < 2; i++)
		if (look->cursor == LOOK_CURSOR_SOUND &&
		    look->slots[i] == CURSOR_SLOT_BAD)
			tell(state, (struct check_finding){
					.kind = CHECK_SLOT,
					.what = i == 0 ? "slot 0 is not sound"
						       : "slot 1 is not sound",
				    });
}

/* Tells of damage that the walk met. 0, or -1 with errno set. */
static int
tell_damage(struct state *state, const struct walk *walk,
    const struct reader_event *event)
{
	struct check_finding finding = {
	    .kind = CHECK_DAMAGED,
	    .from = event->from,
	    .to = event->to,
	    .seq = event->seq,
	    .count = event->count,
	};
	int is_readable = walk_is_readable(walk, event);

	if (is_readable == -1)
		return -1;
	if (event->segment != NULL)
		finding.segment_seq = event->segment->first_seq;
	if (event->is_known)
		finding.kind = CHECK_KNOWN;
	else if (event->from == event->to)
		finding.kind = CHECK_MISSING;
	else if (is_readable == 0)
		finding.kind = CHECK_UNREADABLE;
	if (event->from != event->to) {
		if (state->told_count == state->told_room) {
			state->told_room = 2 * state->told_room + 16;
			state->told = mem_realloc(state->told, state->told_room,
			    sizeof(*state->told));
		}
		state->told[state->told_count++] =
		    (struct place_told){finding.segment_seq, event->from};
	}
	tell(state, finding);
	return 0;
}

/* Reads all events. Returns 0, or -1; logged. */
static int
check_events(struct state *state)
{
	const struct catalog *catalog = &state->look->catalog;
	uint64_t bytes = catalog_bytes(catalog), last = 0;
	uint64_t last_seq = look_last_seq(state->look), proven;
	struct reader_event event;
	struct walk walk;
	int result = 1;

	walk_init(&walk, state->look, state->look->start_seq, last_seq);
	while (result == 1) {
		switch (walk_next(&walk, &event)) {
		case WALK_EVENT:
			state->result->sound++;
			last = event.end_offset;
			break;
		case WALK_DAMAGE:
			if (tell_damage(state, &walk, &event) == -1) {
				log_error("log: read: %m");
				result = -1;
			}
			break;
		case WALK_END:
			result = 0;
			break;
		case WALK_ERROR:
			result = -1;
			break;
		}
		if (state->check->progress != NULL)
			state->check->progress(
			    state->check->context, last, bytes);
	}
	proven = state->look->found.proven_seq;
	if (result == 0 && !state->look->is_running && proven < last_seq)
		tell(state, (struct check_finding){
				.kind = CHECK_UNPROVEN,
				.seq = proven + 1,
				.count = last_seq - proven,
				.what = walk.torn_seq == 0 ? NULL : "not whole",
			    });
	walk_fini(&walk);
	return result;
}

static bool
is_told(const struct state *state, uint64_t segment_seq, uint64_t from)
{
	for (size_t i = 0; i < state->told_count; i++)
		if (state->told[i].segment_seq == segment_seq &&
		    state->told[i].from == from)
			return true;
	return false;
}

/* Tells of a finding about bytes, if that is wanted. */
static void
find_bytes(struct state *state, const struct segment *segment,
    enum check_kind kind, uint64_t from, uint64_t to, bool is_telling)
{
	if (is_telling)
		tell(state, (struct check_finding){
				.kind = kind,
				.segment_seq = segment->first_seq,
				.from = from,
				.to = to,
			    });
}

/*
 * Follows the batch headers as far as events count, and looks at the zeros
 * between the batches. Returns how many damaged places it found that the walk
 * did not tell of, or -1 with errno set.
 */
static int
check_batches(
    struct state *state, const struct segment *segment, bool is_telling)
{
	uint64_t offset = LAYOUT_DATA_OFFSET, expected = segment->first_seq;
	int count = 0;

	while (expected < segment->next_seq && offset < segment->end_offset) {
		static const uint8_t zeros[LAYOUT_ALIGN];
		struct layout_batch batch;
		enum layout_status status;
		uint8_t pad[LAYOUT_ALIGN];
		uint64_t at = segment->end_offset, end;
		int found = 1;

		if (segment_read_batch(segment, offset, &batch, &status) == -1)
			return -1;
		if (status == LAYOUT_OK) {
			end = offset + LAYOUT_BATCH_BYTES + batch.body_bytes;
			at = layout_align(end);
			if (segment_read(segment, pad, at - end, end) == -1)
				return -1;
			if (memcmp(pad, zeros, at - end) != 0) {
				find_bytes(state, segment, CHECK_BYTES, end, at,
				    is_telling);
				count++;
			}
			expected = batch.first_seq + batch.count;
			offset = at;
			continue;
		}
		found = segment_find_batch(
		    segment, offset + LAYOUT_ALIGN, 0, &at, &batch);
		if (found == -1)
			return -1;
		/* At the end without its events: the walk told of those. */
		if (found == 0 || at >= segment->end_offset)
			break;
		if (!is_told(state, segment->first_seq, offset)) {
			find_bytes(state, segment, CHECK_BYTES, offset, at,
			    is_telling);
			count++;
		}
		offset = at;
	}
	return count;
}

/* The same for the two copies of the header. */
static int
check_header(
    struct state *state, const struct segment *segment, bool is_telling)
{
	static const uint64_t offsets[2] = {0, LAYOUT_COPY_OFFSET};
	struct look_header header;
	int count = 0;

	if (look_header(state->look, segment->first_seq, &header) == -1)
		return -1;
	for (size_t i = 0; i < 2; i++) {
		if (header.is_sound[i])
			continue;
		find_bytes(state, segment, CHECK_HEADER, offsets[i],
		    offsets[i] + LAYOUT_SEGMENT_BYTES, is_telling);
		count++;
	}
	return count;
}

/* Returns a copy of the first segment from `seq` on, with nothing open. */
static bool
find_segment(const struct look *look, uint64_t seq, struct segment *segment)
{
	for (size_t i = 0; i < look->catalog.count; i++) {
		if (look->catalog.segments[i].first_seq < seq)
			continue;
		*segment = look->catalog.segments[i];
		segment->fd = -1;
		return true;
	}
	return false;
}

/* Both of these, for the file as it is now. */
static int
check_segment(struct state *state, struct segment *segment, bool is_telling)
{
	int headers, batches, saved;

	if (segment_reopen(segment, state->look->catalog.dir_fd) == -1)
		return -1;
	headers = check_header(state, segment, is_telling);
	batches =
	    headers == -1 ? -1 : check_batches(state, segment, is_telling);
	saved = errno;
	segment_close(segment);
	errno = saved;
	return batches == -1 ? -1 : headers + batches;
}

/* Checks what the walk does not see: headers, marks, padding. 0, or -1;
 * logged. */
static int
check_segments(struct state *state)
{
	struct look *look = state->look;
	struct segment segment;
	unsigned int doubts = 0;

	for (uint64_t seq = 0; find_segment(look, seq, &segment);) {
		int count = check_segment(state, &segment, false);

		if (count == -1 && errno != ENOENT) {
			log_error("log: read: %m");
			return -1;
		}
		/* It may be another by now, or gone. */
		if (count != 0 && doubts < DOUBTS && look_has_changed(look)) {
			if (look_again(look) != LOOK_OK)
				return -1;
			seq = segment.first_seq;
			doubts++;
			continue;
		}
		if (count > 0)
			(void)check_segment(state, &segment, true);
		state->result->segments++;
		seq = segment.first_seq + 1;
		doubts = 0;
	}
	return 0;
}

/* Says whether files or cursor look wrong. */
static bool
has_fault(const struct look *look)
{
	return look->fault_count > 0 || look->cursor == LOOK_CURSOR_LOST ||
	       look->cursor == LOOK_CURSOR_FOREIGN;
}

int
check_log(
    struct look *look, const struct check *check, struct check_result *result)
{
	struct state state = {
	    .check = check,
	    .look = look,
	    .result = result,
	};
	int done = -1;

	*result = (struct check_result){0};
	for (int i = 0; i < DOUBTS && has_fault(look) && look_has_changed(look);
	     i++)
		if (look_again(look) != LOOK_OK)
			return -1;
	check_files(&state);
	if (check_events(&state) == 0)
		done = check_segments(&state);
	if (done == 0 && !look->is_running && look->found.torn_bytes > 0)
		tell(&state,
		    (struct check_finding){
			.kind = CHECK_TORN,
			.segment_seq = catalog_last(&look->catalog)->first_seq,
			.from = catalog_last(&look->catalog)->end_offset,
			.to = catalog_last(&look->catalog)->end_offset +
			      look->found.torn_bytes,
		    });
	free(state.told);
	return done;
}
