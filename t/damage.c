#include "t/damage.h"

#include "stage/log.h"
#include "t/must.h"
#include "t/rewind.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SPREAD 40

/* Room for a few batches of four small events. */
const struct wal_limits sound_limits = {
    .max_elements = 1000000,
    .max_bytes = 1 << 30,
    .segment_bytes = LAYOUT_DATA_OFFSET + 1024,
};

void
sound_init(struct sound *sound)
{
	*sound = (struct sound){0};
	log_dir_make(&sound->dir);
}

void
sound_begin(struct sound *sound)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_ne(dup2(fd, STDERR_FILENO), -1);
	(void)close(fd);
	log_init("damage", LOG_ERROR);
	log_dir_clear(&sound->dir);
}

void
sound_fini(struct sound *sound)
{
	log_image_free(&sound->image);
	log_dir_remove(&sound->dir);
}

void
harm_init(struct harm *harm, const char *format, ...)
{
	va_list args;

	*harm = (struct harm){0};
	va_start(args, format);
	(void)vsnprintf(harm->what, sizeof(harm->what), format, args);
	va_end(args);
}

static bool
overlap(uint64_t a, uint64_t a_to, uint64_t b, uint64_t b_to)
{
	return a < b_to && b < a_to;
}

void
harm_bytes(struct harm *harm, const struct sound *sound, size_t file,
    uint64_t from, uint64_t to)
{
	bool is_file_lost = overlap(from, to, 0, LAYOUT_SEGMENT_BYTES) &&
			    overlap(from, to, LAYOUT_COPY_OFFSET,
				LAYOUT_COPY_OFFSET + LAYOUT_SEGMENT_BYTES);

	if (file == sound->cursor) {
		harm->is_cursor_hit = true;
		return;
	}
	for (uint64_t seq = sound->first_seq; seq <= sound->last_seq; seq++) {
		const struct sound_place *place = &sound->places[seq];

		if (place->file != file)
			continue;
		if (is_file_lost || overlap(from, to, place->from, place->to) ||
		    overlap(from, to, place->header,
			place->header + LAYOUT_BATCH_BYTES))
			harm->is_hit[seq] = true;
	}
}

/* Appends a batch of `count` events and makes it durable. */
static void
append(struct wal *wal, unsigned int count)
{
	char event[LOG_EVENT_ROOM];

	for (unsigned int i = 0; i < count; i++) {
		size_t bytes = log_event(wal->next_seq, SPREAD, event);

		MUST(wal_append(wal, (const uint8_t *)event, bytes) == 0,
		    "append: %s", strerror(errno));
	}
	MUST(wal_sync(wal) == 0, "sync: %s", strerror(errno));
}

void
sound_end(struct wal *wal, uint64_t count)
{
	struct reader reader = {0};
	struct reader_event event;

	ck_assert_int_eq(rewind_reader(wal, &reader), 0);
	for (; count > 0; count--) {
		ck_assert_int_eq(reader_next(&reader, wal->durable_seq, &event),
		    READER_EVENT);
		wal_end(wal, 1, event.end_offset, WAL_DELIVERED);
	}
	ck_assert_int_eq(wal_save(wal), 0);
	reader_fini(&reader);
}

/* Notes where the records of one batch are. */
static void
find_records(struct sound *sound, const struct log_file *file, size_t index,
    uint64_t offset, const struct layout_batch *batch)
{
	uint64_t at = offset + LAYOUT_BATCH_BYTES;

	for (uint64_t i = 0; i < batch->count; i++) {
		uint64_t to = at + LAYOUT_RECORD_BYTES +
			      layout_record_bytes(file->data + at);

		sound->places[batch->first_seq + i] = (struct sound_place){
		    .file = index,
		    .header = offset,
		    .from = at,
		    .to = to,
		};
		at = to;
	}
	ck_assert_uint_eq(at, offset + LAYOUT_BATCH_BYTES + batch->body_bytes);
}

/* Finds out where all events of the sound log are. */
static void
find_places(struct sound *sound)
{
	uint64_t found = 0;

	for (size_t i = 0; i < sound->image.count; i++) {
		const struct log_file *file = &sound->image.files[i];
		uint64_t offset = LAYOUT_DATA_OFFSET;
		struct layout_segment header;
		struct layout_batch batch;

		if (strcmp(file->name, "cursor") == 0) {
			sound->cursor = i;
			continue;
		}
		ck_assert_int_eq(
		    layout_get_segment(file->data, &header), LAYOUT_OK);
		if (i == 0)
			sound->first_seq = header.first_seq;
		while (offset + LAYOUT_BATCH_BYTES <= file->bytes &&
		       layout_get_batch(file->data + offset, header.salt,
			   offset, &batch) == LAYOUT_OK) {
			find_records(sound, file, i, offset, &batch);
			found += batch.count;
			offset += layout_batch_bytes(&batch);
		}
	}
	ck_assert_uint_eq(found, sound->last_seq + 1 - sound->first_seq);
	ck_assert_uint_eq(sound->image.count, SOUND_SEGMENTS + 1);
}

void
sound_make(struct sound *sound, enum sound_end how)
{
	struct wal wal;

	ck_assert_int_eq(
	    wal_open(&wal, sound->dir.fd, &sound_limits), WAL_OPEN);
	while (wal.catalog.count < 2)
		append(&wal, 4);
	sound_end(&wal, wal.catalog.segments[1].first_seq - 1);
	ck_assert_uint_eq(wal.catalog.count, 1);
	while (wal.catalog.count < SOUND_SEGMENTS) {
		append(&wal, 3);
		ck_assert_int_eq(wal_mark(&wal), 0);
		append(&wal, 4);
	}
	append(&wal, 1);
	append(&wal, 5);
	/* Both slots of the cursor are to know of the segment unlinked. */
	sound_end(&wal, 2);
	sound_end(&wal, 2);
	sound_end(&wal, 1);
	if (how != SOUND_UNMARKED)
		ck_assert_int_eq(wal_mark(&wal), 0);
	sound->last_seq = wal.next_seq - 1;
	sound->acked_seq = wal_acked_seq(&wal);
	ck_assert_uint_eq(wal.catalog.count, SOUND_SEGMENTS);
	ck_assert_uint_lt(sound->last_seq, SOUND_EVENTS);
	if (how == SOUND_CLOSED)
		ck_assert_int_eq(wal_close(&wal), 0);
	else
		wal_abandon(&wal);
	log_image_free(&sound->image);
	log_image_take(&sound->image, &sound->dir);
	find_places(sound);
	ck_assert_uint_lt(sound->places[sound->acked_seq].from,
	    sound->places[sound->acked_seq + 1].from);
	ck_assert_uint_eq(sound->places[sound->acked_seq].header,
	    sound->places[sound->acked_seq + 1].header);
}

/* Holds one event against what was put in. */
static void
compare_event(const struct reader_event *event, const char *what)
{
	char expected[LOG_EVENT_ROOM];
	size_t bytes = log_event(event->seq, SPREAD, expected);

	MUST(
	    event->bytes == bytes && memcmp(event->event, expected, bytes) == 0,
	    "%s: event %" PRIu64 " is not what it was", what, event->seq);
}

struct harm_outcome
harm_read(const struct harm *harm, const struct sound *sound, struct wal *wal,
    uint64_t last_seq, bool is_ending)
{
	struct reader reader = {0};
	struct harm_outcome out = {.first_seq = wal_acked_seq(wal) + 1};
	uint64_t next = out.first_seq;

	MUST(wal->next_seq == last_seq + 1 && wal->durable_seq == last_seq,
	    "%s: next is %" PRIu64 ", durable %" PRIu64 ", last was %" PRIu64,
	    harm->what, wal->next_seq, wal->durable_seq, last_seq);
	MUST(rewind_reader(wal, &reader) == 0, "%s: rewind", harm->what);
	for (;;) {
		struct reader_event event;
		enum reader_status status =
		    reader_next(&reader, wal->durable_seq, &event);

		if (status == READER_NONE)
			break;
		MUST(status != READER_ERROR, "%s: %s", harm->what,
		    strerror(errno));
		MUST(event.seq == next && event.count > 0,
		    "%s: %" PRIu64 " (%" PRIu64 ") came for %" PRIu64,
		    harm->what, event.seq, event.count, next);
		next += event.count;
		if (status == READER_EVENT) {
			compare_event(&event, harm->what);
			out.delivered++;
		} else
			out.damaged += event.count;
		for (uint64_t seq = event.seq;
		     status == READER_DAMAGE && seq < next; seq++)
			MUST(seq <= sound->last_seq && harm->is_hit[seq],
			    "%s: event %" PRIu64 " is lost", harm->what, seq);
		if (is_ending)
			wal_end(wal, event.count, event.end_offset,
			    status == READER_EVENT ? WAL_DELIVERED
						   : WAL_QUARANTINED);
	}
	reader_fini(&reader);
	MUST(next == last_seq + 1,
	    "%s: the last event read is %" PRIu64 ", not %" PRIu64, harm->what,
	    next - 1, last_seq);
	return out;
}

void
harm_open(const struct harm *harm, const struct sound *sound, struct wal *wal)
{
	enum wal_status status = wal_open(wal, sound->dir.fd, &sound_limits);

	MUST(status == WAL_OPEN, "%s: does not open: %s", harm->what,
	    strerror(errno));
}

/* Reads the log that was just opened, and looks what is in quarantine. */
static struct harm_outcome
look(const struct harm *harm, const struct sound *sound, struct wal *wal)
{
	struct harm_outcome out =
	    harm_read(harm, sound, wal, sound->last_seq, false);
	size_t moved = log_dir_count(&sound->dir, "quarantine");

	MUST(out.first_seq <= sound->acked_seq + 1 &&
		 (harm->is_cursor_hit || out.first_seq == sound->acked_seq + 1),
	    "%s: starts at %" PRIu64, harm->what, out.first_seq);
	MUST(moved >= harm->strangers &&
		 (moved == harm->strangers || out.damaged > 0 ||
		     harm->is_unread) &&
		 (moved > harm->strangers || out.damaged == 0 || harm->is_gone),
	    "%s: %zu files in quarantine for %" PRIu64 " events", harm->what,
	    moved, out.damaged);
	return out;
}

void
harm_look(const struct harm *harm, const struct sound *sound)
{
	struct wal wal;

	harm_open(harm, sound, &wal);
	(void)look(harm, sound, &wal);
	wal_abandon(&wal);
}

static bool
is_same(const struct harm_outcome *a, const struct harm_outcome *b)
{
	return a->first_seq == b->first_seq && a->delivered == b->delivered &&
	       a->damaged == b->damaged;
}

void
harm_check(const struct harm *harm, const struct sound *sound)
{
	struct harm_outcome first, again;
	uint64_t last_seq = sound->last_seq + 1;
	const struct layout_cursor *slot;
	struct wal wal;

	harm_open(harm, sound, &wal);
	first = look(harm, sound, &wal);
	wal_abandon(&wal);

	harm_open(harm, sound, &wal);
	again = harm_read(harm, sound, &wal, sound->last_seq, false);
	MUST(is_same(&first, &again), "%s: not the same when opened again",
	    harm->what);
	append(&wal, 1);
	wal_abandon(&wal);

	harm_open(harm, sound, &wal);
	again = harm_read(harm, sound, &wal, last_seq, true);
	again.delivered--;
	MUST(is_same(&first, &again), "%s: not the same when continued",
	    harm->what);
	MUST(wal_elements(&wal) == 0 && wal_bytes(&wal) == 0 &&
		 wal_close(&wal) == 0,
	    "%s: not empty when all is ended", harm->what);

	harm_open(harm, sound, &wal);
	slot = &wal.cursor.slot;
	MUST(wal_elements(&wal) == 0 && wal.next_seq == last_seq + 1 &&
		 slot->acked_seq == slot->delivered + slot->quarantined &&
		 slot->quarantined == first.damaged,
	    "%s: not empty, or not all counted, in the end", harm->what);
	wal_abandon(&wal);
}

void
sound_put(const struct sound *sound)
{
	log_image_put(&sound->image, &sound->dir);
}

void
sound_put_changed(
    const struct sound *sound, size_t file, const uint8_t *data, size_t bytes)
{
	sound_put(sound);
	log_dir_write(&sound->dir, sound->image.files[file].name, data, bytes);
}

void
sound_check_names(const struct sound *sound, const char *what)
{
	struct log_image image;

	log_image_take(&image, &sound->dir);
	for (size_t i = 0; i < image.count; i++) {
		char name[SEGMENT_NAME_BYTES];
		struct layout_segment header;

		if (strcmp(image.files[i].name, "cursor") == 0)
			continue;
		ck_assert_int_eq(
		    layout_get_segment(image.files[i].data, &header),
		    LAYOUT_OK);
		segment_name(name, header.first_seq);
		MUST(strcmp(name, image.files[i].name) == 0,
		    "%s: %s is still not %s", what, image.files[i].name, name);
	}
	log_image_free(&image);
}
