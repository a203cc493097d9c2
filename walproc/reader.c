#include "walproc/reader.h"

#include "stage/mem.h"
#include "walproc/quarantine.h"

#include <stdlib.h>

/* Gives up the window. */
static void
drop_window(struct reader *reader)
{
	if (reader->piece != NULL)
		pieces_leave(reader->pieces, reader->piece);
	reader->piece = NULL;
	reader->is_recent = false;
	reader->window_bytes = 0;
}

void
reader_init(struct reader *reader, struct catalog *catalog, uint64_t seq)
{
	drop_window(reader);
	*reader = (struct reader){
	    .catalog = catalog,
	    .next_seq = seq,
	    .recent = reader->recent,
	    .pieces = reader->pieces,
	    .room = reader->room,
	    .room_bytes = reader->room_bytes,
	};
}

void
reader_fini(struct reader *reader)
{
	drop_window(reader);
	free(reader->room);
	*reader = (struct reader){0};
}

void
reader_leave(const struct reader *reader)
{
	struct catalog *catalog = reader->catalog;
	struct segment *left;

	if (catalog == NULL)
		return;
	left = catalog_find(catalog, reader->segment_seq);
	if (left != NULL && left != catalog_last(catalog))
		segment_close(left);
}

/* Starts anew at the first batch of a segment. The one left behind is closed,
 * so that a long log does not take a descriptor for each of its files. */
static void
enter_segment(struct reader *reader, const struct segment *segment)
{
	struct catalog *catalog = reader->catalog;
	struct segment *left = catalog_find(catalog, reader->segment_seq);

	if (left != NULL && left != segment && left != catalog_last(catalog))
		segment_close(left);
	reader->segment_seq = segment->first_seq;
	reader->salt = segment->salt;
	reader->log_offset = segment->log_offset;
	reader->offset = LAYOUT_DATA_OFFSET;
	reader->records_left = 0;
	drop_window(reader);
}

/* Says whether the window has the `bytes` at `offset`. */
static bool
has(const struct reader *reader, uint64_t offset, size_t bytes)
{
	/* What was written since has taken the place of what was recent. */
	if (reader->is_recent && reader->recent_taken != reader->recent->taken)
		return false;
	return offset >= reader->window_offset &&
	       offset + bytes <= reader->window_offset + reader->window_bytes;
}

/* Sets the window to the batch that `offset` is in, if that is in memory and
 * all of the `bytes` are. */
static bool
look_at_recent(struct reader *reader, const struct segment *segment,
    uint64_t offset, size_t bytes)
{
	const uint8_t *found;
	size_t n;

	if (reader->recent == NULL)
		return false;
	found = recent_find(reader->recent, segment->salt, offset, &n);
	if (found == NULL || n < bytes)
		return false;
	drop_window(reader);
	reader->is_recent = true;
	reader->recent_taken = reader->recent->taken;
	reader->window = found;
	reader->window_offset = offset;
	reader->window_bytes = n;
	return true;
}

/* Sets the window to the piece that has the `bytes`, or as many of them as are
 * there. Returns 0, or -1 with errno set. */
static int
look_at_pieces(struct reader *reader, const struct segment *segment,
    uint64_t offset, size_t bytes)
{
	struct piece *piece;

	/* First: where nobody else stands in it the next takes its memory. */
	drop_window(reader);
	piece = pieces_enter(reader->pieces, segment, offset, bytes);
	if (piece == NULL)
		return -1;
	reader->piece = piece;
	reader->window = piece->room;
	reader->window_offset = piece->offset;
	reader->window_bytes = piece->bytes;
	return 0;
}

/* Reads the window from the file, with the `bytes` at `offset` at its front, or
 * as many of them as are there. Returns 0, or -1 with errno set. */
static int
read_ahead(struct reader *reader, const struct segment *segment,
    uint64_t offset, size_t bytes)
{
	size_t wanted = bytes > PIECES_BYTES ? bytes : PIECES_BYTES;
	ssize_t n;

	if (reader->pieces != NULL)
		return look_at_pieces(reader, segment, offset, bytes);
	drop_window(reader);
	/* The memory of a long record is not kept for short ones. */
	if (wanted != reader->room_bytes) {
		free(reader->room);
		reader->room = mem_alloc(wanted);
		reader->room_bytes = wanted;
	}
	/* Not behind the end: what is there now may be written. */
	if (segment->end_offset - offset < wanted)
		wanted = (size_t)(segment->end_offset - offset);
	n = segment_read(segment, reader->room, wanted, offset);
	if (n == -1)
		return -1;
	reader->window = reader->room;
	reader->window_offset = offset;
	reader->window_bytes = (size_t)n;
	return 0;
}

/*
 * Gives the `bytes` at `offset` of the segment, up to its end. Returns 1 with
 * *data set, 0 if they are not all there, or -1 with errno set.
 */
static int
fetch(struct reader *reader, const struct segment *segment, uint64_t offset,
    size_t bytes, const uint8_t **data)
{
	if (offset > segment->end_offset ||
	    segment->end_offset - offset < bytes)
		return 0;
	if (!has(reader, offset, bytes) &&
	    !look_at_recent(reader, segment, offset, bytes)) {
		if (read_ahead(reader, segment, offset, bytes) == -1)
			return -1;
		if (!has(reader, offset, bytes))
			return 0;
	}
	*data = reader->window + (offset - reader->window_offset);
	return 1;
}

static int
quarantine(const struct reader *reader, const struct segment *segment,
    uint64_t from, uint64_t to)
{
	if (from == to || reader->is_looking)
		return 0;
	return quarantine_bytes(reader->catalog->dir_fd, segment, from, to);
}

/*
 * Gives up on the bytes from..to of the segment and the events from next_seq
 * up to `seq`, and stands at `to`, a batch header or the segment's end.
 */
static enum reader_status
give_up(struct reader *reader, const struct segment *segment, uint64_t from,
    uint64_t to, uint64_t seq, struct reader_event *out)
{
	bool is_cut;

	/* A header may say anything: what the next segment has is not lost. */
	if (seq > segment->next_seq)
		seq = segment->next_seq;
	is_cut = seq > reader->last_seq + 1;
	if (is_cut)
		seq = reader->last_seq + 1;
	if (quarantine(reader, segment, from, to) == -1)
		return READER_ERROR;
	*out = (struct reader_event){
	    .seq = reader->next_seq,
	    .count = seq - reader->next_seq,
	    .end_offset = segment->log_offset + to,
	    .segment = segment,
	    .from = from,
	    .to = to,
	};
	reader->next_seq = seq;
	reader->offset = to;
	reader->records_left = 0;
	/* Where the file cannot be read as it was written it alone says what
	 * comes, or what comes from memory now would be out of order should a
	 * later start find the rest. */
	drop_window(reader);
	reader->recent = NULL;
	reader->pieces = NULL;
	/* What comes behind is perhaps just being written: it is looked for
	 * from the start of the segment when it is asked for. */
	if (is_cut)
		reader->segment_seq = 0;
	return READER_DAMAGE;
}

/* Notes for all readers that what is before `to` is sound, from where it stands
 * on. */
static void
prove(const struct reader *reader, uint64_t to)
{
	if (reader->piece != NULL)
		piece_prove(reader->piece, reader->offset, to);
}

/* Where what is not sound was read for others too it is read once more, by this
 * one alone: the file may be sound now. Says whether that is so; the next step
 * finds out. */
static bool
look_alone(struct reader *reader)
{
	if (reader->piece == NULL)
		return false;
	drop_window(reader);
	reader->pieces = NULL;
	return true;
}

/* What a step found: an outcome to return, or that another step is due. */
enum step {
	STEP_ON,
	STEP_OUT,
};

/* Looks behind a bad batch header for where the segment goes on. */
static enum step
skip_bad_batch(struct reader *reader, const struct segment *segment,
    struct reader_event *out, enum reader_status *status)
{
	struct layout_batch batch;
	uint64_t at = segment->end_offset, seq = segment->next_seq;
	uint64_t offset = reader->offset + LAYOUT_ALIGN;
	int found;

	/* The first that ends behind what is asked for: it may start before it,
	 * where part of a batch is ended already. */
	while ((found = segment_find_batch(segment, offset, 0, &at, &batch)) ==
		   1 &&
	       batch.first_seq < reader->next_seq &&
	       batch.first_seq + batch.count <= reader->next_seq)
		offset = at + layout_batch_bytes(&batch);
	if (found == -1) {
		*status = READER_ERROR;
		return STEP_OUT;
	}
	if (found == 0 || at >= segment->end_offset || batch.first_seq > seq) {
		at = segment->end_offset;
		batch.first_seq = seq;
	}
	if (batch.first_seq <= reader->next_seq) {
		/* What is damaged was before what is asked for. */
		reader->offset = at;
		return STEP_ON;
	}
	*status =
	    give_up(reader, segment, reader->offset, at, batch.first_seq, out);
	return STEP_OUT;
}

/* Reads the batch header at reader->offset. */
static enum step
step_batch(struct reader *reader, const struct segment *segment,
    struct reader_event *out, enum reader_status *status)
{
	struct layout_batch batch;
	const uint8_t *raw;
	int got =
	    fetch(reader, segment, reader->offset, LAYOUT_BATCH_BYTES, &raw);

	if (got == -1) {
		*status = READER_ERROR;
		return STEP_OUT;
	}
	if (got == 0 || layout_get_batch(raw, segment->salt, reader->offset,
			    &batch) != LAYOUT_OK)
		return look_alone(reader)
			   ? STEP_ON
			   : skip_bad_batch(reader, segment, out, status);
	if (batch.first_seq > reader->next_seq) {
		*status = give_up(reader, segment, reader->offset,
		    reader->offset, batch.first_seq, out);
		out->is_known = batch.is_gap_known;
		return STEP_OUT;
	}
	reader->batch_ns = batch.realtime_ns;
	/* Where the file was cut, what was left of the batch counts. */
	reader->batch_end = reader->offset + layout_batch_bytes(&batch);
	if (reader->batch_end > segment->end_offset)
		reader->batch_end = segment->end_offset;
	reader->record_seq = batch.first_seq;
	reader->records_left = batch.count;
	if (batch.first_seq + batch.count <= reader->next_seq)
		reader->records_left = 0;
	else
		prove(reader, reader->offset + LAYOUT_BATCH_BYTES);
	reader->offset += LAYOUT_BATCH_BYTES;
	if (reader->records_left == 0)
		reader->offset = reader->batch_end;
	return STEP_ON;
}

/* Moves behind the record at reader->offset, which is sound, `bytes` long with
 * its header. */
static void
pass_record(struct reader *reader, size_t bytes)
{
	uint64_t to = reader->offset + bytes;

	reader->record_seq++;
	reader->records_left--;
	/* Behind the last there may be zeros. */
	if (reader->records_left == 0)
		to = reader->batch_end;
	prove(reader, to);
	reader->offset = to;
}

/*
 * Gives the record at `offset`, if it is sound and has one of the numbers from
 * `seq` to `last_seq`. Returns 1 with *raw and *bytes (header included) and
 * *found set, 0 if it is none of them, or -1 with errno set.
 */
static int
fetch_record(struct reader *reader, const struct segment *segment,
    uint64_t offset, uint64_t seq, uint64_t last_seq, const uint8_t **raw,
    size_t *bytes, uint64_t *found)
{
	uint32_t event_bytes;
	int got;

	if (reader->batch_end - offset < LAYOUT_RECORD_BYTES)
		return 0;
	got = fetch(reader, segment, offset, LAYOUT_RECORD_BYTES, raw);
	if (got != 1)
		return got;
	event_bytes = layout_record_bytes(*raw);
	if (event_bytes == 0 ||
	    event_bytes > reader->batch_end - offset - LAYOUT_RECORD_BYTES)
		return 0;
	*bytes = LAYOUT_RECORD_BYTES + event_bytes;
	got = fetch(reader, segment, offset, *bytes, raw);
	if (got != 1)
		return got;
	for (*found = seq; *found <= last_seq; (*found)++)
		if (layout_is_record(*raw, *raw + LAYOUT_RECORD_BYTES,
			event_bytes, segment->salt, *found))
			return 1;
	return 0;
}

/*
 * The record at reader->offset is bad, maybe in its length: looks in the rest
 * of the batch for the next that is sound, byte by byte.
 */
static enum step
skip_bad_record(struct reader *reader, const struct segment *segment,
    struct reader_event *out, enum reader_status *status)
{
	uint64_t start = reader->offset, at = start + 1;
	uint64_t after = reader->record_seq + reader->records_left;
	uint64_t seq = after;
	const uint8_t *raw;
	size_t bytes;
	int got = 0;

	while (got == 0 && at < reader->batch_end) {
		/* No more are missing than had room in between. */
		uint64_t last =
		    reader->record_seq + 1 + (at - start) / LAYOUT_RECORD_BYTES;

		if (last > after - 1)
			last = after - 1;
		got = fetch_record(reader, segment, at, reader->record_seq + 1,
		    last, &raw, &bytes, &seq);
		if (got == 0)
			at++;
	}
	*status = READER_ERROR;
	if (got == -1)
		return STEP_OUT;
	if (got == 0)
		seq = after;
	if (seq > reader->next_seq) {
		*status = give_up(reader, segment, start, at, seq, out);
		if (*status == READER_ERROR)
			return STEP_OUT;
	}
	reader->offset = at;
	reader->record_seq = seq;
	reader->records_left = (uint32_t)(after - seq);
	return *status == READER_DAMAGE ? STEP_OUT : STEP_ON;
}

/* Gives the event of the record `raw`, `bytes` long with its header, which
 * stands at reader->offset, and moves behind it. */
static void
give_event(struct reader *reader, const uint8_t *raw, size_t bytes,
    struct reader_event *out)
{
	*out = (struct reader_event){
	    .seq = reader->record_seq,
	    .count = 1,
	    .event = raw + LAYOUT_RECORD_BYTES,
	    .bytes = bytes - LAYOUT_RECORD_BYTES,
	    .realtime_ns = reader->batch_ns,
	    .end_offset = reader->log_offset + reader->offset + bytes,
	};
	pass_record(reader, bytes);
	reader->next_seq++;
}

/* Reads the record at reader->offset. */
static enum step
step_record(struct reader *reader, const struct segment *segment,
    struct reader_event *out, enum reader_status *status)
{
	uint64_t start = reader->offset, seq = reader->record_seq;
	const uint8_t *raw;
	size_t bytes;
	int got =
	    fetch_record(reader, segment, start, seq, seq, &raw, &bytes, &seq);

	if (got == -1) {
		*status = READER_ERROR;
		return STEP_OUT;
	}
	if (got == 0)
		return look_alone(reader)
			   ? STEP_ON
			   : skip_bad_record(reader, segment, out, status);
	if (seq < reader->next_seq) {
		pass_record(reader, bytes);
		return STEP_ON;
	}
	give_event(reader, raw, bytes, out);
	*status = READER_EVENT;
	return STEP_OUT;
}

/* Says whether a reader has found all before `to` sound. */
static bool
is_proven(const struct reader *reader, uint64_t to)
{
	return reader->piece != NULL && to <= reader->piece->proven_offset;
}

/*
 * Gives the next event where nothing stands in the way: its record is read
 * ahead, whole and sound. Returns false, with nothing done, where that is not
 * so; then the long way finds out.
 */
static bool
give_next(struct reader *reader, struct reader_event *out)
{
	uint64_t at = reader->offset - reader->window_offset;
	uint64_t left = reader->batch_end - reader->offset;
	const uint8_t *raw;
	uint32_t bytes;

	if (reader->records_left == 0 ||
	    reader->record_seq != reader->next_seq ||
	    !has(reader, reader->offset, LAYOUT_RECORD_BYTES))
		return false;
	if (left > reader->window_bytes - at)
		left = reader->window_bytes - at;
	raw = reader->window + at;
	bytes = layout_record_bytes(raw);
	if (left < LAYOUT_RECORD_BYTES || bytes == 0 ||
	    bytes > left - LAYOUT_RECORD_BYTES)
		return false;
	/* What comes from the memory that it was written from is as sound as
	 * any copy of it would be; and others may have looked at it already. */
	if (!reader->is_recent &&
	    !is_proven(reader, reader->offset + LAYOUT_RECORD_BYTES + bytes) &&
	    !layout_is_record(raw, raw + LAYOUT_RECORD_BYTES, bytes,
		reader->salt, reader->record_seq))
		return false;
	give_event(reader, raw, LAYOUT_RECORD_BYTES + bytes, out);
	return true;
}

/* Gives up on the events from next_seq up to `last_seq`: no file has them. */
static enum reader_status
miss(struct reader *reader, uint64_t last_seq, struct reader_event *out)
{
	const struct segment *last = catalog_last(reader->catalog);
	uint64_t end = last == NULL ? 0 : last->log_offset + last->end_offset;

	*out = (struct reader_event){
	    .seq = reader->next_seq,
	    .count = last_seq + 1 - reader->next_seq,
	    .end_offset = end,
	};
	reader->next_seq = last_seq + 1;
	return READER_DAMAGE;
}

void
reader_skip_to(struct reader *reader, uint64_t seq)
{
	/* What lies before it is passed when the next is read. */
	if (seq > reader->next_seq)
		reader->next_seq = seq;
}

enum reader_status
reader_next(struct reader *reader, uint64_t last_seq, struct reader_event *out)
{
	reader->last_seq = last_seq;
	for (;;) {
		enum reader_status status;
		struct segment *segment;
		enum step step;

		if (reader->next_seq > last_seq)
			return READER_NONE;
		if (give_next(reader, out))
			return READER_EVENT;
		segment = catalog_find(reader->catalog, reader->next_seq);
		if (segment == NULL)
			return miss(reader, last_seq, out);
		if (segment_reopen(segment, reader->catalog->dir_fd) == -1)
			return READER_ERROR;
		if (segment->first_seq != reader->segment_seq)
			enter_segment(reader, segment);
		if (segment->first_seq > reader->next_seq)
			return give_up(reader, segment, reader->offset,
			    reader->offset, segment->first_seq, out);
		if (reader->records_left > 0)
			step = step_record(reader, segment, out, &status);
		else
			step = step_batch(reader, segment, out, &status);
		if (step == STEP_OUT)
			return status;
	}
}
