#include "walproc/wal_sinks.h"

#include "stage/io.h"
#include "stage/log.h"
#include "stage/loop.h"
#include "stage/mem.h"
#include "walproc/quarantine.h"
#include "walproc/wal.h"

#include <xxhash.h>

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Between tries to make files on a disk that is full. */
#define RETRY_NS LOOP_NS_PER_S
/* The name of a sink's file. */
#define FILE_BYTES (sizeof(CURSOR_SINK_NAME) + WAL_SINKS_NAME_BYTES)

static void
file_name(char out[FILE_BYTES], const char *name)
{
	(void)snprintf(out, FILE_BYTES, "%s%s", CURSOR_SINK_NAME, name);
}

static struct wal_sink *
find(const struct wal_sinks *sinks, const char *name)
{
	for (size_t i = 0; i < sinks->count; i++)
		if (strcmp(sinks->list[i].name, name) == 0)
			return &sinks->list[i];
	return NULL;
}

/* Adds one at the end, which has no file. */
static struct wal_sink *
add(struct wal_sinks *sinks, const char *name)
{
	struct wal_sink *sink;

	sinks->list =
	    mem_realloc(sinks->list, sinks->count + 1, sizeof(*sinks->list));
	sink = &sinks->list[sinks->count++];
	*sink = (struct wal_sink){.cursor = {.fd = -1}};
	(void)snprintf(sink->name, sizeof(sink->name), "%s", name);
	return sink;
}

static void
drop(struct wal_sinks *sinks, size_t place)
{
	cursor_close(&sinks->list[place].cursor);
	sinks->count--;
	memmove(&sinks->list[place], &sinks->list[place + 1],
	    (sinks->count - place) * sizeof(sinks->list[0]));
}

/* Writes the log id that the cursor of a sink has: one that was copied to
 * another's name is not taken for that one's. */
static void
mix_log_id(
    uint8_t out[LAYOUT_LOG_ID_BYTES], const uint8_t *log_id, const char *name)
{
	memcpy(out, log_id, LAYOUT_LOG_ID_BYTES);
	put_be64(out, get_be64(log_id) ^ XXH3_64bits(name, strlen(name)));
}

/* Says whether the cursor of a sink is of that log. */
static bool
is_of_log(
    const struct layout_cursor *slot, const uint8_t *log_id, const char *name)
{
	uint8_t mixed[LAYOUT_LOG_ID_BYTES];

	mix_log_id(mixed, log_id, name);
	return memcmp(slot->log_id, mixed, LAYOUT_LOG_ID_BYTES) == 0;
}

/* Says that a cursor is of no use. */
static void
tell_lost(const char *file, const char *why)
{
	char printable[4 * FILE_BYTES];

	log_warn("%s: %s: what is stored for that sink is sent again",
	    log_printable(printable, sizeof(printable), file, strlen(file)),
	    why);
}

/* Reads the cursor in the file `name`, if it is one. 0, or -1, errno set. */
static int
find_one(struct wal_sinks *sinks, int dir_fd, const char *name,
    const uint8_t *log_id)
{
	size_t head_bytes = strlen(CURSOR_SINK_NAME);
	char printable[4 * FILE_BYTES];
	struct layout_cursor slot;
	enum cursor_slot slots[2];
	int saved;

	if (strncmp(name, CURSOR_SINK_NAME, head_bytes) != 0 ||
	    strlen(name) - head_bytes > WAL_SINKS_NAME_BYTES)
		return 0;
	switch (cursor_look(dir_fd, name, &slot, slots)) {
	case CURSOR_OK:
		break;
	case CURSOR_ERROR:
		saved = errno;
		log_error("%s: %m", log_printable(printable, sizeof(printable),
					name, strlen(name)));
		errno = saved;
		return -1;
	case CURSOR_NONE:
		if (slots[0] != CURSOR_SLOT_EMPTY ||
		    slots[1] != CURSOR_SLOT_EMPTY)
			tell_lost(name, "damaged");
		return 0;
	case CURSOR_NEWER:
		tell_lost(name, "of a format version that is not known");
		return 0;
	}
	if (log_id != NULL && !is_of_log(&slot, log_id, name + head_bytes)) {
		tell_lost(name, "of another log or another sink");
		return 0;
	}
	add(sinks, name + head_bytes)->cursor.slot = slot;
	return 0;
}

int
wal_sinks_find(struct wal_sinks *sinks, int dir_fd, const uint8_t *log_id)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int result = 0, saved;

	if (dir == NULL) {
		saved = errno;
		if (fd != -1)
			(void)close(fd);
		errno = saved;
		return -1;
	}
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (entry == NULL)
			break;
		result = find_one(sinks, dir_fd, entry->d_name, log_id);
		if (result == -1)
			break;
	}
	saved = errno;
	(void)closedir(dir);
	errno = saved;
	return result == -1 || saved != 0 ? -1 : 0;
}

void
wal_sinks_keep(struct wal_sinks *sinks, const uint8_t *log_id)
{
	for (size_t i = sinks->count; i > 0; i--)
		if (!is_of_log(&sinks->list[i - 1].cursor.slot, log_id,
			sinks->list[i - 1].name))
			drop(sinks, i - 1);
}

uint64_t
wal_sinks_durable_seq(const struct wal *wal)
{
	uint64_t seq = 0;

	for (size_t i = 0; i < wal->sinks.count; i++)
		if (wal->sinks.list[i].cursor.slot.durable_seq > seq)
			seq = wal->sinks.list[i].cursor.slot.durable_seq;
	return seq;
}

uint64_t
wal_sinks_acked_seq(const struct wal *wal)
{
	uint64_t seq = 0;

	for (size_t i = 0; i < wal->sinks.count; i++)
		if (wal->sinks.list[i].cursor.slot.acked_seq > seq)
			seq = wal->sinks.list[i].cursor.slot.acked_seq;
	return seq;
}

/*
 * Stands a sink where the log's own cursor is, unless its own is further. The
 * log is what can be relied on: nothing before its oldest event is there. What
 * its own says is older than that is taken as delivered since; without one, or
 * where it was the only sink, it has the counts of the log.
 */
static void
stand(const struct wal *wal, struct wal_sink *sink)
{
	const struct layout_cursor *floor = &wal->cursor.slot;
	struct layout_cursor *slot = &sink->cursor.slot;
	bool has_counts = slot->generation > 0 && !sink->is_named;

	if (has_counts && slot->acked_seq <= floor->acked_seq) {
		slot->delivered += floor->acked_seq - slot->acked_seq;
		slot->acked_seq = floor->acked_seq;
	} else if (slot->acked_seq <= floor->acked_seq) {
		*slot = (struct layout_cursor){
		    .acked_seq = floor->acked_seq,
		    .delivered = floor->delivered,
		    .rejected = floor->rejected,
		    .dropped = floor->dropped,
		    .quarantined = floor->quarantined,
		};
	}
	mix_log_id(slot->log_id, wal->log_id, sink->name);
	/* What it counts of the whole log is said there. */
	slot->refused = 0;
	slot->dropped_newest = 0;
	slot->letters_bytes = 0;
}

/* Opens the file, and takes over how often it was written. */
static enum cursor_status
open_cursor(const struct wal *wal, struct wal_sink *sink, const char *name)
{
	struct layout_cursor slot = sink->cursor.slot;
	enum cursor_status status;
	bool lost;

	status = cursor_open(&sink->cursor, wal->catalog.dir_fd, name, &lost);
	slot.generation = sink->cursor.slot.generation;
	sink->cursor.slot = slot;
	return status;
}

/* Makes the file of a sink, with both slots in it. 0, or -1, errno set. */
static int
make_file(const struct wal *wal, struct wal_sink *sink)
{
	char name[FILE_BYTES];
	enum cursor_status status;
	int saved;

	file_name(name, sink->name);
	if (quarantine_odd(wal->catalog.dir_fd, name) == -1)
		return -1;
	status = open_cursor(wal, sink, name);
	/* The log's own is not: it is of no use to whoever has made it. */
	if (status == CURSOR_NEWER) {
		if (unlinkat(wal->catalog.dir_fd, name, 0) == -1)
			return -1;
		status = open_cursor(wal, sink, name);
	}
	if (status == CURSOR_ERROR || status == CURSOR_NEWER)
		return -1;
	sink->cursor.slot.durable_seq = wal->durable_seq;
	if (cursor_claim(&sink->cursor) == 0) {
		sink->saved_seq = sink->cursor.slot.acked_seq;
		return 0;
	}
	saved = errno;
	cursor_close(&sink->cursor);
	errno = saved;
	return -1;
}

/* Makes the files that are missing. For want of room on the disk they can be
 * so: without one a sink starts further back. 0, or -1, errno set. */
static int
make_files(struct wal *wal)
{
	struct wal_sinks *sinks = &wal->sinks;

	for (size_t i = 0; i < sinks->count; i++)
		if (sinks->list[i].cursor.fd == -1 &&
		    make_file(wal, &sinks->list[i]) == -1) {
			if (!io_is_full_disk(errno))
				return -1;
			sinks->retry_ns = loop_now_ns() + RETRY_NS;
			return 0;
		}
	sinks->retry_ns = LOOP_NEVER;
	return 0;
}

/* Returns by how much `one` is above `other`, at most *left, which it takes. */
static uint64_t
take_above(uint64_t *left, uint64_t one, uint64_t other)
{
	uint64_t above = one > other ? one - other : 0;

	if (above > *left)
		above = *left;
	*left -= above;
	return above;
}

/*
 * Ends in the log what all sinks have ended: one that is gone held it back, or
 * the log's cursor is older than theirs. How the last of them did it is known
 * in sum only.
 */
static void
raise_floor(struct wal *wal)
{
	struct layout_cursor *floor = &wal->cursor.slot;
	const struct wal_sink *last = wal_sinks_last(wal);
	const struct layout_cursor *slot = &last->cursor.slot;
	uint64_t left;

	if (slot->acked_seq <= floor->acked_seq)
		return;
	left = slot->acked_seq - floor->acked_seq;
	floor->acked_seq = slot->acked_seq;
	floor->quarantined +=
	    take_above(&left, slot->quarantined, floor->quarantined);
	floor->rejected += take_above(&left, slot->rejected, floor->rejected);
	floor->dropped += take_above(&left, slot->dropped, floor->dropped);
	floor->delivered += left;
	wal->ended_offset = last->ended_offset;
	/* More may fit than was said before, or less. */
	wal->batch_left = 0;
}

/* Takes away the cursor of a sink that is not named, or is the only one. 0, or
 * -1 with errno set. */
static int
remove_file(const struct wal *wal, struct wal_sink *sink)
{
	char name[FILE_BYTES];

	cursor_close(&sink->cursor);
	file_name(name, sink->name);
	/* A directory is no cursor, whoever made it, and stays. */
	if (unlinkat(wal->catalog.dir_fd, name, 0) == -1)
		return errno == ENOENT || errno == EISDIR ? 0 : -1;
	/* Else it could come back, and hold nothing for a namesake. */
	return fsync(wal->catalog.dir_fd);
}

/* Finds where what a sink has not ended starts. 0, or -1, errno set. */
static int
find_ended(struct wal *wal, struct wal_sink *sink)
{
	return wal_find_offset(
	    wal, sink->cursor.slot.acked_seq + 1, &sink->ended_offset);
}

int
wal_sinks_find_ended(struct wal *wal)
{
	for (size_t i = 0; i < wal->sinks.count; i++)
		if (find_ended(wal, &wal->sinks.list[i]) == -1)
			return -1;
	return 0;
}

/* Stands a sink that is named where it belongs. 0, or -1, errno set. */
static int
name_one(struct wal *wal, const char *name)
{
	struct wal_sink *sink = find(&wal->sinks, name);

	if (sink == NULL)
		sink = add(&wal->sinks, name);
	if (sink->is_named && wal->sinks.are_many)
		return 0;
	stand(wal, sink);
	sink->is_named = true;
	return find_ended(wal, sink);
}

/* Forgets the sinks that are not among the names. 0, or -1, errno set. */
static int
forget_others(struct wal *wal, const char *const *names, size_t count)
{
	struct wal_sinks *sinks = &wal->sinks;

	for (size_t i = sinks->count; i > 0; i--) {
		struct wal_sink *sink = &sinks->list[i - 1];
		bool is_named = false;

		for (size_t j = 0; j < count; j++)
			if (strcmp(sink->name, names[j]) == 0)
				is_named = true;
		if (is_named)
			continue;
		if (!sink->is_named)
			log_info(CURSOR_SINK_NAME
			    "%s: no sink has that name any more: removed",
			    sink->name);
		if (remove_file(wal, sink) == -1)
			return -1;
		drop(sinks, i - 1);
	}
	return 0;
}

int
wal_sinks_name(struct wal *wal, const char *const *names, size_t count)
{
	struct wal_sinks *sinks = &wal->sinks;

	assert(count <= WAL_SINKS_MAX);
	for (size_t i = 0; i < count; i++)
		if (name_one(wal, names[i]) == -1)
			return -1;
	if (forget_others(wal, names, count) == -1)
		return -1;
	sinks->are_many = sinks->count > 1;
	if (sinks->count > 0)
		raise_floor(wal);
	if (sinks->are_many && make_files(wal) == -1)
		return -1;
	if (wal_save(wal) == -1)
		return -1;
	/* Its place is the log's from here on. */
	return sinks->count == 1 ? remove_file(wal, &sinks->list[0]) : 0;
}

const struct wal_sink *
wal_sinks_last(const struct wal *wal)
{
	const struct wal_sink *last = &wal->sinks.list[0];

	for (size_t i = 1; i < wal->sinks.count; i++)
		if (wal->sinks.list[i].cursor.slot.acked_seq <
		    last->cursor.slot.acked_seq)
			last = &wal->sinks.list[i];
	return last;
}

size_t
wal_sinks_place(const struct wal *wal, const char *name)
{
	const struct wal_sink *sink = find(&wal->sinks, name);

	return sink == NULL ? WAL_SINKS_NONE : (size_t)(sink - wal->sinks.list);
}

const struct layout_cursor *
wal_sinks_slot(const struct wal *wal, size_t place)
{
	return wal->sinks.are_many ? &wal->sinks.list[place].cursor.slot
				   : &wal->cursor.slot;
}

uint64_t
wal_sinks_acked_of(const struct wal *wal, size_t place)
{
	return wal_sinks_slot(wal, place)->acked_seq;
}

int
wal_sinks_save(struct wal *wal)
{
	struct wal_sinks *sinks = &wal->sinks;

	if (!sinks->are_many)
		return 0;
	if (sinks->retry_ns != LOOP_NEVER && loop_now_ns() >= sinks->retry_ns &&
	    make_files(wal) == -1)
		return -1;
	for (size_t i = 0; i < sinks->count; i++) {
		struct wal_sink *sink = &sinks->list[i];

		if (sink->cursor.fd == -1 ||
		    sink->saved_seq == sink->cursor.slot.acked_seq)
			continue;
		sink->cursor.slot.durable_seq = wal->durable_seq;
		/* For want of room it can wait: what nothing needs any more is
		 * to go, or there would never be any. */
		if (cursor_write(&sink->cursor) == -1) {
			if (io_is_full_disk(errno))
				continue;
			return -1;
		}
		sink->saved_seq = sink->cursor.slot.acked_seq;
	}
	return 0;
}

int
wal_sinks_sync(struct wal *wal)
{
	for (size_t i = 0; i < wal->sinks.count; i++)
		if (wal->sinks.list[i].cursor.fd != -1 &&
		    cursor_sync(&wal->sinks.list[i].cursor) == -1)
			return -1;
	return 0;
}

void
wal_sinks_fini(struct wal_sinks *sinks)
{
	for (size_t i = 0; i < sinks->count; i++)
		cursor_close(&sinks->list[i].cursor);
	free(sinks->list);
	*sinks = (struct wal_sinks){0};
}
