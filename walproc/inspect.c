#include "walproc/inspect.h"

#include "stage/jsonout.h"
#include "stage/log.h"
#include "stage/loop.h"
#include "walproc/counts.h"
#include "walproc/look.h"
#include "walproc/print.h"
#include "walproc/walk.h"

#include <cjson/cJSON.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_ID_TEXT_BYTES (2 * LAYOUT_LOG_ID_BYTES + 1)

/* What is told beside what the look found itself. */
struct findings {
	const struct look *look;
	char log_id[LOG_ID_TEXT_BYTES];
	uint64_t stored_bytes;	     /* of the events not ended: wal_bytes */
	uint64_t disk_bytes;	     /* segment files and spare */
	int64_t oldest_ms;	     /* age of the oldest not ended; -1: none */
	uint64_t unproven;	     /* events */
	uint64_t dead_letters_bytes; /* size of the file */
	uint64_t quarantine_files;
	uint64_t quarantine_bytes;
	struct counts counts;
};

static uint64_t
file_bytes(int dir_fd, const char *name)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISREG(st.st_mode))
		return 0;
	return (uint64_t)st.st_size;
}

/* Sums up the quarantine. What cannot be listed counts as nothing. */
static void
count_quarantine(struct findings *findings)
{
	int fd = openat(findings->look->catalog.dir_fd, "quarantine",
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (dir == NULL) {
		if (fd != -1)
			(void)close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		findings->quarantine_files++;
		findings->quarantine_bytes += file_bytes(fd, entry->d_name);
	}
	(void)closedir(dir);
}

/*
 * Finds what the events that are not ended take, as wal_bytes counts after a
 * start: from the first batch that has one of them. Returns 0, or -1 with errno
 * set.
 */
static int
find_stored_bytes(struct findings *findings)
{
	const struct look *look = findings->look;
	const struct segment *last = catalog_last(&look->catalog);
	uint64_t seq = look->slot.acked_seq + 1, offset = LAYOUT_DATA_OFFSET;
	const struct segment *found = catalog_find(&look->catalog, seq);
	struct segment segment;

	findings->stored_bytes = 0;
	if (look_elements(look) == 0 || found == NULL)
		return 0;
	segment = *found;
	segment.fd = -1;
	if (segment_reopen(&segment, look->catalog.dir_fd) == -1)
		return -1;
	for (;;) {
		struct layout_batch batch;
		enum layout_status status;

		if (segment_read_batch(&segment, offset, &batch, &status) ==
		    -1) {
			segment_close(&segment);
			return -1;
		}
		if (status != LAYOUT_OK || batch.first_seq + batch.count > seq)
			break;
		offset += layout_batch_bytes(&batch);
	}
	segment_close(&segment);
	findings->stored_bytes =
	    last->log_offset + last->end_offset - segment.log_offset - offset;
	return 0;
}

/* Finds the age of the oldest event that is not ended. 0, or -1; logged. */
static int
find_oldest(struct findings *findings, struct look *look)
{
	struct reader_event event;
	enum walk_status status;
	struct walk walk;

	findings->oldest_ms = -1;
	walk_init(&walk, look, look->slot.acked_seq + 1, look_last_seq(look));
	while ((status = walk_next(&walk, &event)) == WALK_DAMAGE)
		;
	if (status == WALK_EVENT) {
		findings->oldest_ms =
		    (loop_realtime_ns() - event.realtime_ns) / LOOP_NS_PER_MS;
		/* The clock was set back meanwhile. */
		if (findings->oldest_ms < 0)
			findings->oldest_ms = 0;
	}
	walk_fini(&walk);
	return status == WALK_ERROR ? -1 : 0;
}

static void
count_all(struct findings *findings)
{
	const struct look *look = findings->look;
	uint64_t last_seq = look_last_seq(look);

	for (size_t i = 0; i < LAYOUT_LOG_ID_BYTES; i++)
		(void)snprintf(
		    findings->log_id + 2 * i, 3, "%02x", look->found.log_id[i]);
	findings->disk_bytes = catalog_bytes(&look->catalog) +
			       file_bytes(look->catalog.dir_fd, SEGMENT_SPARE);
	for (size_t i = 0; i < look->fault_count; i++) {
		char name[SEGMENT_NAME_BYTES];

		segment_name(name, look->faults[i].name_seq);
		findings->disk_bytes += file_bytes(look->catalog.dir_fd, name);
	}
	if (last_seq > look->found.proven_seq)
		findings->unproven = last_seq - look->found.proven_seq;
	findings->dead_letters_bytes =
	    file_bytes(look->catalog.dir_fd, "dead-letters.ndjson");
	count_quarantine(findings);
	findings->counts = counts_of(&look->slot, last_seq);
}

/* Adds a number, or null where it is -1. */
static void
add_maybe(cJSON *json, const char *name, int64_t value)
{
	if (value < 0)
		(void)cJSON_AddNullToObject(json, name);
	else
		counts_put_number(json, name, (uint64_t)value);
}

/* Reads when a segment was made. An unlinked one gives an empty text. */
static void
put_created(
    const struct look *look, uint64_t name_seq, char text[LOG_TIME_BYTES])
{
	struct look_header header;

	text[0] = '\0';
	if (look_header(look, name_seq, &header) == 0 &&
	    (header.is_sound[0] || header.is_sound[1]))
		log_time(text, header.header.created_ns);
}

static void
add_segments(cJSON *json, const struct look *look)
{
	cJSON *list = cJSON_AddArrayToObject(json, "segment_list");
	cJSON *faults = cJSON_AddArrayToObject(json, "faults");
	char name[SEGMENT_NAME_BYTES], created[LOG_TIME_BYTES];

	for (size_t i = 0; i < look->catalog.count; i++) {
		const struct segment *segment = &look->catalog.segments[i];
		cJSON *item = cJSON_CreateObject();

		segment_name(name, segment->first_seq);
		put_created(look, segment->first_seq, created);
		(void)cJSON_AddStringToObject(item, "name", name);
		counts_put_number(item, "first_seq", segment->first_seq);
		counts_put_number(item, "last_seq", segment->next_seq - 1);
		counts_put_number(item, "bytes", segment->bytes);
		(void)cJSON_AddStringToObject(item, "created", created);
		(void)cJSON_AddItemToArray(list, item);
	}
	for (size_t i = 0; i < look->fault_count; i++) {
		cJSON *item = cJSON_CreateObject();

		segment_name(name, look->faults[i].name_seq);
		(void)cJSON_AddStringToObject(item, "name", name);
		(void)cJSON_AddStringToObject(
		    item, "what", look->faults[i].what);
		(void)cJSON_AddItemToArray(faults, item);
	}
}

static const char *const cursor_states[] = {
    [LOOK_CURSOR_SOUND] = "sound",
    [LOOK_CURSOR_NEW] = "new",
    [LOOK_CURSOR_LOST] = "lost",
    [LOOK_CURSOR_FOREIGN] = "of another log",
};

static void
add_cursor(cJSON *json, const struct look *look)
{
	cJSON *cursor = cJSON_AddObjectToObject(json, "cursor");
	uint64_t sound = 0;

	for (int i = 0; i < 2; i++)
		sound += look->slots[i] == CURSOR_SLOT_SOUND ? 1 : 0;
	(void)cJSON_AddStringToObject(
	    cursor, "state", cursor_states[look->cursor]);
	counts_put_number(cursor, "acked_seq", look->slot.acked_seq);
	counts_put_number(cursor, "durable_seq", look->slot.durable_seq);
	counts_put_number(cursor, "generation", look->slot.generation);
	counts_put_number(cursor, "sound_slots", sound);
}

static void
add_counters(cJSON *json, const struct findings *findings)
{
	const struct layout_cursor *slot = &findings->look->slot;
	cJSON *counters = cJSON_AddObjectToObject(json, "counters");

	counts_put(counters, &findings->counts);
	/* What dropped and dead_lettered are made of. */
	counts_put_number(counters, "refused", slot->refused);
	counts_put_number(counters, "rejected", slot->rejected);
	counts_put_number(counters, "dropped_newest", slot->dropped_newest);
	counts_put_number(counters, "dropped_oldest", slot->dropped);
	(void)cJSON_AddBoolToObject(
	    counters, "adds_up", counts_add_up(&findings->counts));
}

/* Returns where a sink stands, with its counts: the log's own cursor may be
 * newer. */
static const struct layout_cursor *
sink_slot(const struct findings *findings, const struct wal_sink *sink)
{
	const struct layout_cursor *floor = &findings->look->slot;

	return sink->cursor.slot.acked_seq > floor->acked_seq
		   ? &sink->cursor.slot
		   : floor;
}

/* Returns how many events a sink has not ended. */
static uint64_t
sink_stored(const struct findings *findings, const struct wal_sink *sink)
{
	uint64_t acked_seq = sink_slot(findings, sink)->acked_seq;
	uint64_t last_seq = look_last_seq(findings->look);

	return last_seq > acked_seq ? last_seq - acked_seq : 0;
}

static void
add_sinks(cJSON *json, const struct findings *findings)
{
	cJSON *list = cJSON_AddArrayToObject(json, "sinks");

	for (size_t i = 0; i < findings->look->sinks.count; i++) {
		const struct wal_sink *sink = &findings->look->sinks.list[i];
		const struct layout_cursor *slot = sink_slot(findings, sink);
		cJSON *item = cJSON_CreateObject();

		jsonout_text(item, "name", sink->name);
		counts_put_number(item, "acked_seq", slot->acked_seq);
		counts_put_number(item, "stored", sink_stored(findings, sink));
		counts_put_number(item, "delivered", slot->delivered);
		counts_put_number(item, "rejected", slot->rejected);
		counts_put_number(item, "dropped", slot->dropped);
		counts_put_number(item, "quarantined", slot->quarantined);
		(void)cJSON_AddItemToArray(list, item);
	}
}

static void
print_json(const char *path, const struct findings *findings)
{
	const struct look *look = findings->look;
	cJSON *json = cJSON_CreateObject();
	char *text;

	jsonout_text(json, "directory", path);
	(void)cJSON_AddStringToObject(json, "log_id", findings->log_id);
	counts_put_number(json, "format", LAYOUT_MAJOR);
	(void)cJSON_AddBoolToObject(json, "is_running", look->is_running);
	add_maybe(json, "running", look->is_running ? look->holder : -1);
	counts_put_number(json, "segments", look->catalog.count);
	counts_put_number(json, "first_seq",
	    look->catalog.count > 0 ? look->catalog.segments[0].first_seq
				    : look->found.next_seq);
	counts_put_number(json, "last_seq", look_last_seq(look));
	counts_put_number(json, "elements", findings->counts.stored);
	counts_put_number(json, "bytes", findings->stored_bytes);
	counts_put_number(json, "disk_bytes", findings->disk_bytes);
	add_maybe(json, "oldest_age_ms", findings->oldest_ms);
	counts_put_number(json, "unproven", findings->unproven);
	counts_put_number(
	    json, "torn_bytes", look->is_running ? 0 : look->found.torn_bytes);
	add_cursor(json, look);
	add_counters(json, findings);
	add_sinks(json, findings);
	counts_put_number(
	    json, "dead_letters_bytes", findings->dead_letters_bytes);
	counts_put_number(json, "quarantine_files", findings->quarantine_files);
	counts_put_number(json, "quarantine_bytes", findings->quarantine_bytes);
	add_segments(json, look);
	text = cJSON_PrintUnformatted(json);
	(void)puts(text);
	cJSON_free(text);
	cJSON_Delete(json);
}

static void
print_segments(const struct look *look)
{
	char name[SEGMENT_NAME_BYTES], created[LOG_TIME_BYTES];

	for (size_t i = 0; i < look->catalog.count; i++) {
		const struct segment *segment = &look->catalog.segments[i];

		segment_name(name, segment->first_seq);
		put_created(look, segment->first_seq, created);
		(void)printf("segment        %s  %" PRIu64 " to %" PRIu64
			     ", %" PRIu64 " bytes, %s\n",
		    name, segment->first_seq, segment->next_seq - 1,
		    segment->bytes, created);
	}
}

/* Says what is wrong, where it shows without reading all. */
static void
print_faults(const struct findings *findings)
{
	const struct look *look = findings->look;

	if (look->fault_count > 0)
		(void)printf(
		    "damage         %zu files are not where or what they "
		    "should be: see walproc verify\n",
		    look->fault_count);
	if (look->found.torn_bytes > 0 && !look->is_running)
		(void)printf("torn           %" PRIu64
			     " bytes behind the last event\n",
		    look->found.torn_bytes);
	if (!counts_add_up(&findings->counts))
		(void)printf("damage         the counters do not add up\n");
}

static void
print_events(const struct findings *findings)
{
	const struct look *look = findings->look;
	uint64_t first_seq = look->catalog.count > 0
				 ? look->catalog.segments[0].first_seq
				 : look->found.next_seq;

	if (first_seq > look_last_seq(look))
		(void)printf("in the files   no event; the next is %" PRIu64
			     "\n",
		    look->found.next_seq);
	else
		(void)printf("in the files   %" PRIu64 " to %" PRIu64
			     ", ended up to %" PRIu64 "\n",
		    first_seq, look_last_seq(look), look->slot.acked_seq);
	(void)printf("to be given    %" PRIu64 " events, %" PRIu64 " bytes",
	    findings->counts.stored, findings->stored_bytes);
	if (findings->oldest_ms >= 0)
		(void)printf(", the oldest %" PRId64 ".%03d s old",
		    findings->oldest_ms / 1000,
		    (int)(findings->oldest_ms % 1000));
	(void)printf("\n");
	if (findings->unproven > 0)
		(void)printf("unproven       %" PRIu64
			     " events at the end, not on record as durable\n",
		    findings->unproven);
}

/* Says of each sink how far it is, where there are several. */
static void
print_sinks(const struct findings *findings)
{
	char name[4 * WAL_SINKS_NAME_BYTES + 1];

	for (size_t i = 0; i < findings->look->sinks.count; i++) {
		const struct wal_sink *sink = &findings->look->sinks.list[i];

		(void)printf("sink           %s: ended up to %" PRIu64
			     ", %" PRIu64 " events wait for it\n",
		    log_printable(
			name, sizeof(name), sink->name, strlen(sink->name)),
		    sink_slot(findings, sink)->acked_seq,
		    sink_stored(findings, sink));
	}
}

static void
print_text(const char *path, const struct findings *findings)
{
	const struct look *look = findings->look;
	const struct layout_cursor *slot = &look->slot;
	char printable[4096];

	(void)printf("directory      %s\n",
	    log_printable(printable, sizeof(printable), path, strlen(path)));
	(void)printf(
	    "log            %s, format %d\n", findings->log_id, LAYOUT_MAJOR);
	if (look->is_running)
		(void)printf(
		    "walproc        runs, pid %d\n", (int)look->holder);
	else
		(void)printf("walproc        none runs on it\n");
	(void)printf("segments       %zu, %" PRIu64
		     " bytes on disk with the spare\n",
	    look->catalog.count, findings->disk_bytes);
	print_events(findings);
	(void)printf("cursor         %s, generation %" PRIu64
		     ", durable up to %" PRIu64 "\n",
	    cursor_states[look->cursor], slot->generation, slot->durable_seq);
	print_sinks(findings);
	(void)printf(
	    "taken in       %" PRIu64 ", which are:\n", findings->counts.taken);
	(void)printf("  delivered    %" PRIu64 "\n", slot->delivered);
	(void)printf("  stored       %" PRIu64 "\n", findings->counts.stored);
	(void)printf("  dropped      %" PRIu64 " (oldest %" PRIu64
		     ", newest %" PRIu64 ")\n",
	    findings->counts.dropped, slot->dropped, slot->dropped_newest);
	(void)printf("  dead letters %" PRIu64 " (refused %" PRIu64
		     ", rejected %" PRIu64 ")\n",
	    findings->counts.dead_lettered, slot->refused, slot->rejected);
	(void)printf("  quarantined  %" PRIu64 "\n", slot->quarantined);
	(void)printf(
	    "dead letters   %" PRIu64 " bytes\n", findings->dead_letters_bytes);
	(void)printf("quarantine     %" PRIu64 " files, %" PRIu64 " bytes\n",
	    findings->quarantine_files, findings->quarantine_bytes);
	print_faults(findings);
}

enum exitcode
inspect_log(const char *path, const struct inspect_options *options)
{
	struct findings findings = {.oldest_ms = -1};
	enum exitcode exitcode;
	struct look look;

	exitcode = look_exitcode(look_open(&look, path));
	if (exitcode != EXITCODE_DONE)
		return exitcode;
	findings.look = &look;
	/* First: it may take a new look, which all the rest is then of. */
	if (find_oldest(&findings, &look) == -1)
		goto fail;
	while (find_stored_bytes(&findings) == -1) {
		if (errno != ENOENT || look_again(&look) != LOOK_OK) {
			log_error("log: read: %m");
			goto fail;
		}
	}
	count_all(&findings);
	if (options->is_json)
		print_json(path, &findings);
	else
		print_text(path, &findings);
	if (!options->is_json && options->with_segments)
		print_segments(&look);
	look_close(&look);
	return print_flush();

fail:
	look_close(&look);
	return EXITCODE_AGAIN;
}
