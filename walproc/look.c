#include "walproc/look.h"

#include "stage/io.h"
#include "stage/lock.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "walproc/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Looks that disagree with themselves before the last is taken as it is. */
#define TRIES 20

/* When a file last changed; zeros if it is not there. */
static struct timespec
time_of(int dir_fd, const char *name)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, 0) == -1)
		return (struct timespec){0};
	return st.st_mtim;
}

static bool
is_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Looks whether another process has the log. 0, or -1 with errno set. */
static int
look_for_holder(const struct look *look, bool *is_running, pid_t *holder)
{
	int held;

	*holder = 0;
	held = lock_look(look->catalog.dir_fd, PLACE_LOCK_NAME, holder);
	*is_running = held == 1 && *holder != getpid();
	return held == -1 ? -1 : 0;
}

static void
tell_fault(void *context, uint64_t name_seq, const char *what)
{
	struct look *look = context;

	look->faults = mem_realloc(
	    look->faults, look->fault_count + 1, sizeof(*look->faults));
	look->faults[look->fault_count++] = (struct look_fault){
	    .name_seq = name_seq,
	    .what = mem_strdup(what),
	};
}

/* Frees what the last look found. */
static void
forget(struct look *look)
{
	for (size_t i = 0; i < look->fault_count; i++)
		free(look->faults[i].what);
	free(look->faults);
	look->faults = NULL;
	look->fault_count = 0;
	wal_sinks_fini(&look->sinks);
	catalog_fini(&look->catalog);
}

/* Reads the cursor, again where a slot is just being written. */
static enum cursor_status
read_cursor(struct look *look)
{
	enum cursor_status status = CURSOR_NONE;

	for (int i = 0; i < TRIES; i++) {
		status = cursor_look(look->catalog.dir_fd, CURSOR_NAME,
		    &look->slot, look->slots);
		if (!look->is_running || (look->slots[0] != CURSOR_SLOT_BAD &&
					     look->slots[1] != CURSOR_SLOT_BAD))
			break;
	}
	return status;
}

/* Judges the cursor, and finds where the events should begin. */
static void
judge_cursor(struct look *look, enum cursor_status status)
{
	struct recovered *found = &look->found;
	bool has_files = look->catalog.count > 0 || look->fault_count > 0;

	look->cursor = LOOK_CURSOR_SOUND;
	if (found->is_foreign)
		look->cursor = LOOK_CURSOR_FOREIGN;
	else if (status == CURSOR_NONE)
		look->cursor = has_files || look->slots[0] == CURSOR_SLOT_BAD ||
				       look->slots[1] == CURSOR_SLOT_BAD
				   ? LOOK_CURSOR_LOST
				   : LOOK_CURSOR_NEW;
	if (look->cursor != LOOK_CURSOR_SOUND) {
		look->slot = (struct layout_cursor){
		    .acked_seq = found->first_seq - 1,
		    .delivered = found->first_seq - 1,
		    /* Not known, so all: none of them is to be cut. */
		    .letters_bytes = UINT64_MAX,
		};
		memcpy(look->slot.log_id, found->log_id, LAYOUT_LOG_ID_BYTES);
	}
	if (!found->has_log_id)
		memcpy(found->log_id, look->slot.log_id, LAYOUT_LOG_ID_BYTES);
	look->start_seq = look->slot.acked_seq + 1;
	if ((look->catalog.count > 0 || found->first_seq > 1) &&
	    found->first_seq < look->start_seq)
		look->start_seq = found->first_seq;
}

/*
 * Takes the cursor as it is by now, if the events that were found are up to it:
 * so no more count as stored than were at any moment, and segments that were
 * unlinked before they were listed are not missed. Returns false, or true where
 * they are not up to it.
 */
static bool
catch_up(struct look *look)
{
	struct layout_cursor later = {0};
	enum cursor_slot slots[2];

	if (look->cursor != LOOK_CURSOR_SOUND ||
	    cursor_look(look->catalog.dir_fd, CURSOR_NAME, &later, slots) !=
		CURSOR_OK ||
	    later.generation <= look->slot.generation)
		return false;
	if (later.acked_seq > look_last_seq(look))
		return true;
	look->slot = later;
	judge_cursor(look, CURSOR_OK);
	return false;
}

/*
 * Says whether the last segment is not the one any more whose header was read:
 * a walproc that settles a tail puts another into its place.
 */
static bool
has_lost_last(const struct look *look)
{
	const struct segment *last = catalog_last(&look->catalog);
	struct look_header header;

	if (last == NULL)
		return !is_same_time(look->lock_time,
		    time_of(look->catalog.dir_fd, PLACE_LOCK_NAME));
	return look_header(look, last->first_seq, &header) == -1 ||
	       header.header.salt != last->salt;
}

/* One look. *is_torn is set if what it saw was changing under its eyes. */
static enum look_status
look_once(struct look *look, bool *is_torn)
{
	static const enum look_status statuses[] = {
	    [RECOVER_OK] = LOOK_OK,
	    [RECOVER_NEWER] = LOOK_NEWER,
	    [RECOVER_ERROR] = LOOK_ERROR,
	};
	struct recover_listener listener = {tell_fault, look};
	int dir_fd = look->catalog.dir_fd;
	enum cursor_status cursor;
	enum recover_status recover;

	*is_torn = false;
	look->slot = (struct layout_cursor){0};
	look->dir_time = time_of(dir_fd, ".");
	look->lock_time = time_of(dir_fd, PLACE_LOCK_NAME);
	if (look_for_holder(look, &look->is_running, &look->holder) == -1) {
		log_error(PLACE_LOCK_NAME ": %m");
		return LOOK_ERROR;
	}
	/* Before the segments: what it says is in them then. */
	cursor = read_cursor(look);
	if (cursor == CURSOR_ERROR) {
		log_error("cursor: %m");
		return LOOK_ERROR;
	}
	if (cursor == CURSOR_NEWER) {
		log_error("cursor: of a format version that this walproc does "
			  "not know");
		return LOOK_NEWER;
	}
	if (wal_sinks_find(&look->sinks, dir_fd, NULL) == -1) {
		log_error("cursors of the sinks: %m");
		return LOOK_ERROR;
	}
	recover = recover_scan(&look->catalog,
	    cursor == CURSOR_OK ? &look->slot : NULL, &listener, &look->found);
	*is_torn = recover == RECOVER_ERROR;
	if (recover != RECOVER_OK)
		return statuses[recover];
	judge_cursor(look, cursor);
	wal_sinks_keep(&look->sinks, look->found.log_id);
	*is_torn =
	    has_lost_last(look) || (cursor == CURSOR_OK && catch_up(look));
	return LOOK_OK;
}

enum look_status
look_again(struct look *look)
{
	enum look_status status = LOOK_ERROR;
	bool is_torn = true;
	int saved = 0;

	for (int i = 0; i < TRIES && is_torn; i++) {
		forget(look);
		status = look_once(look, &is_torn);
		saved = errno;
		if (status != LOOK_OK && !look_has_changed(look))
			break;
	}
	/* What the scan has not logged. */
	if (status == LOOK_ERROR && is_torn && saved == ENOENT)
		log_error("the last segment is gone at each look");
	errno = saved;
	return status;
}

/* Says whether the directory holds a log at all. */
static bool
has_log(const struct look *look)
{
	return look->catalog.count > 0 || look->fault_count > 0 ||
	       faccessat(look->catalog.dir_fd, CURSOR_NAME, F_OK, 0) == 0;
}

enum look_status
look_open(struct look *look, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), saved;
	enum look_status status;

	if (fd == -1) {
		log_error("%s: %m", path);
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES
			   ? LOOK_NONE
			   : LOOK_ERROR;
	}
	*look = (struct look){0};
	catalog_init(&look->catalog, fd);
	status = look_again(look);
	if (status == LOOK_OK && !has_log(look)) {
		log_error("%s: no log is there", path);
		status = LOOK_NONE;
	}
	if (status == LOOK_OK)
		return LOOK_OK;
	saved = errno;
	look_close(look);
	errno = saved;
	return status;
}

void
look_close(struct look *look)
{
	forget(look);
	(void)close(look->catalog.dir_fd);
	look->catalog.dir_fd = -1;
}

enum exitcode
look_exitcode(enum look_status status)
{
	switch (status) {
	case LOOK_OK:
		return EXITCODE_DONE;
	case LOOK_NONE:
	case LOOK_NEWER:
		return EXITCODE_FINAL;
	case LOOK_ERROR:
		break;
	}
	return EXITCODE_AGAIN;
}

bool
look_has_changed(const struct look *look)
{
	int dir_fd = look->catalog.dir_fd;
	bool is_running;
	pid_t holder;

	if (look->is_running ||
	    look_for_holder(look, &is_running, &holder) == -1 || is_running)
		return true;
	return !is_same_time(look->dir_time, time_of(dir_fd, ".")) ||
	       !is_same_time(look->lock_time, time_of(dir_fd, PLACE_LOCK_NAME));
}

uint64_t
look_last_seq(const struct look *look)
{
	return look->found.next_seq - 1;
}

uint64_t
look_elements(const struct look *look)
{
	if (look_last_seq(look) < look->slot.acked_seq)
		return 0;
	return look_last_seq(look) - look->slot.acked_seq;
}

int
look_header(const struct look *look, uint64_t name_seq, struct look_header *out)
{
	static const uint64_t offsets[2] = {0, LAYOUT_COPY_OFFSET};
	uint8_t raw[2][LAYOUT_SEGMENT_BYTES] = {0};
	char name[SEGMENT_NAME_BYTES];
	struct stat st;
	int fd, saved;

	*out = (struct look_header){0};
	segment_name(name, name_seq);
	fd = openat(look->catalog.dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1)
		goto fail;
	out->bytes = (uint64_t)st.st_size;
	for (size_t i = 0; i < 2; i++) {
		struct layout_segment found;

		if (io_pread_full(fd, raw[i], sizeof(raw[i]), offsets[i]) ==
			-1 &&
		    !io_is_unreadable(errno))
			goto fail;
		if (layout_get_segment(raw[i], &found) != LAYOUT_OK)
			continue;
		if (i == 1 && out->is_sound[0] &&
		    memcmp(raw[0], raw[1], sizeof(raw[0])) != 0)
			continue;
		out->header = found;
		out->is_sound[i] = true;
	}
	(void)close(fd);
	return 0;

fail:
	saved = errno;
	(void)close(fd);
	errno = saved;
	return -1;
}
