#include "walproc/repair.h"

#include "stage/log.h"
#include "stage/mem.h"
#include "walproc/check.h"
#include "walproc/place.h"
#include "walproc/print.h"
#include "walproc/rewrite.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Repairs in a row: the first does all, unless the disk gets worse. */
#define PASSES 3

/* One thing to be done. */
struct job {
	bool is_gap;	    /* a segment for what is missing; else one is to
			     * be written anew */
	uint64_t first_seq; /* of the segment */
	uint64_t next_seq;  /* of a gap: one behind it */
	uint64_t behind;    /* of a gap: the segment that it follows, or 0 */
};

struct repair {
	struct look look;
	struct job *jobs; /* owned */
	size_t count;
	size_t room;
};

static bool
is_planned(const struct repair *repair, uint64_t first_seq)
{
	for (size_t i = 0; i < repair->count; i++)
		if (!repair->jobs[i].is_gap &&
		    repair->jobs[i].first_seq == first_seq)
			return true;
	return false;
}

static void
add_job(struct repair *repair, struct job job)
{
	if (!job.is_gap && is_planned(repair, job.first_seq))
		return;
	if (repair->count == repair->room) {
		repair->room = 2 * repair->room + 16;
		repair->jobs = mem_realloc(
		    repair->jobs, repair->room, sizeof(*repair->jobs));
	}
	repair->jobs[repair->count++] = job;
}

static const struct segment *
find_segment(const struct look *look, uint64_t first_seq)
{
	const struct segment *found = catalog_find(&look->catalog, first_seq);

	/* An empty one is passed over by catalog_find. */
	if (found != NULL && found->first_seq == first_seq)
		return found;
	for (size_t i = 0; i < look->catalog.count; i++)
		if (look->catalog.segments[i].first_seq == first_seq)
			return &look->catalog.segments[i];
	return NULL;
}

/* Plans for events that no bytes are left of. */
static void
plan_missing(struct repair *repair, const struct check_finding *finding)
{
	uint64_t next_seq = finding->seq + finding->count;
	const struct segment *segment =
	    find_segment(&repair->look, finding->segment_seq);
	struct job gap = {
	    .is_gap = true,
	    .first_seq = finding->seq,
	    .next_seq = next_seq,
	};

	/* Before the first segment, or behind all. */
	if (segment == NULL || finding->seq < segment->first_seq) {
		add_job(repair, gap);
		return;
	}
	/* Between two: neither needs to be touched. */
	if (finding->seq > segment->first_seq &&
	    next_seq == segment->next_seq) {
		gap.behind = segment->first_seq;
		add_job(repair, gap);
		return;
	}
	add_job(repair, (struct job){.first_seq = segment->first_seq});
}

/* Hears what the check finds. */
static void
plan(void *context, const struct check_finding *finding)
{
	struct repair *repair = context;

	if (!check_is_damage(finding->kind))
		return;
	print_finding(finding);
	switch (finding->kind) {
	case CHECK_DAMAGED:
	case CHECK_UNREADABLE:
	case CHECK_BYTES:
	case CHECK_HEADER:
		add_job(
		    repair, (struct job){.first_seq = finding->segment_seq});
		break;
	case CHECK_MISSING:
		plan_missing(repair, finding);
		break;
	default:
		break;
	}
}

/* Does one job. Returns 0, or -1; logged. */
static int
do_job(struct repair *repair, const struct job *job)
{
	const struct look *look = &repair->look;
	struct rewrite_result result;
	char name[SEGMENT_NAME_BYTES];
	int dir_fd = look->catalog.dir_fd;

	segment_name(name, job->first_seq);
	if (job->is_gap) {
		/* Written anew, that one has it on record itself. */
		if (job->behind != 0 && is_planned(repair, job->behind))
			return 0;
		if (rewrite_gap(dir_fd, &look->found, job->first_seq,
			job->next_seq) == -1) {
			log_error("segment %s: cannot be made: %m", name);
			return -1;
		}
		(void)printf("%s: made: events %" PRIu64 "-%" PRIu64
			     " are on record as missing\n",
		    name, job->first_seq, job->next_seq - 1);
		return 0;
	}
	if (rewrite_segment(&repair->look.catalog, &look->found,
		find_segment(look, job->first_seq), &result) == -1) {
		log_error("segment %s: cannot be written anew: %m", name);
		return -1;
	}
	(void)printf("%s: written anew with %" PRIu64
		     " events; the damaged file is quarantine/%s\n",
	    name, result.events, result.kept);
	return 0;
}

/* Moves a cursor that is of no use to the quarantine. 0, or -1; errno set. */
static int
move_cursor(int dir_fd)
{
	char kept[QUARANTINE_NAME_BYTES];

	if (quarantine_link(dir_fd, CURSOR_NAME, kept) == -1)
		return errno == ENOENT ? 0 : -1;
	if (unlinkat(dir_fd, CURSOR_NAME, 0) == -1)
		return -1;
	(void)printf("cursor: moved to quarantine/%s\n", kept);
	return 0;
}

/*
 * Writes the cursor, both slots, with what the look knows. Durable there, the
 * numbers of events whose file is lost are not used again, whatever happens to
 * the file. Returns 0, or -1 with errno set.
 */
static int
write_cursor(const struct look *look)
{
	uint64_t durable_seq = look->found.proven_seq;
	struct cursor cursor;
	int result = -1, saved;
	bool lost;

	switch (
	    cursor_open(&cursor, look->catalog.dir_fd, CURSOR_NAME, &lost)) {
	case CURSOR_OK:
	case CURSOR_NONE:
		break;
	case CURSOR_NEWER:
	case CURSOR_ERROR:
		return -1;
	}
	if (durable_seq > look_last_seq(look))
		durable_seq = look_last_seq(look);
	if (look->cursor != LOOK_CURSOR_SOUND) {
		cursor.slot = look->slot;
		memcpy(cursor.slot.log_id, look->found.log_id,
		    LAYOUT_LOG_ID_BYTES);
		if (!look->found.has_log_id &&
		    getrandom(cursor.slot.log_id, LAYOUT_LOG_ID_BYTES, 0) !=
			LAYOUT_LOG_ID_BYTES)
			goto out;
	}
	if (cursor.slot.durable_seq < durable_seq)
		cursor.slot.durable_seq = durable_seq;
	result = cursor_claim(&cursor);
out:
	saved = errno;
	cursor_close(&cursor);
	errno = saved;
	return result;
}

/* Puts the cursor right. Returns 0, or -1; logged. */
static int
repair_cursor(const struct look *look)
{
	bool is_lost = look->cursor == LOOK_CURSOR_LOST ||
		       look->cursor == LOOK_CURSOR_FOREIGN;
	bool is_bad = look->slots[0] == CURSOR_SLOT_BAD ||
		      look->slots[1] == CURSOR_SLOT_BAD;

	if (!is_lost && !is_bad && look->fault_count == 0)
		return 0;
	if ((is_lost && move_cursor(look->catalog.dir_fd) == -1) ||
	    write_cursor(look) == -1) {
		log_error("cursor: %m");
		return -1;
	}
	if (is_lost)
		(void)printf("cursor: rebuilt: what is stored is given "
			     "again, from %" PRIu64 " on\n",
		    look->slot.acked_seq + 1);
	else if (is_bad)
		(void)printf("cursor: both slots written\n");
	return 0;
}

/* Puts files where they belong, as a start does. Returns 0, or -1; logged. */
static int
repair_files(const struct look *look)
{
	struct recovered found;
	struct catalog catalog;
	enum recover_status status;

	for (size_t i = 0; i < look->fault_count; i++) {
		struct check_finding finding = {
		    .kind = CHECK_FILE,
		    .segment_seq = look->faults[i].name_seq,
		    .what = look->faults[i].what,
		};

		print_finding(&finding);
	}
	if (look->fault_count == 0)
		return 0;
	catalog_init(&catalog, look->catalog.dir_fd);
	status = recover_scan(&catalog,
	    look->cursor == LOOK_CURSOR_SOUND ? &look->slot : NULL, NULL,
	    &found);
	catalog_fini(&catalog);
	if (status != RECOVER_OK)
		return -1;
	(void)printf("files: put where they belong\n");
	return 0;
}

/*
 * Puts files and cursor right. What the cursor knows is saved before a file is
 * moved; a cursor that is lost can only be rebuilt when the files are in order.
 * Returns 0, or -1; logged.
 */
static int
repair_order(struct look *look)
{
	bool is_sound = look->cursor == LOOK_CURSOR_SOUND;

	if (is_sound && repair_cursor(look) == -1)
		return -1;
	if (repair_files(look) == -1)
		return -1;
	if (look_again(look) != LOOK_OK)
		return -1;
	if (!is_sound && repair_cursor(look) == -1)
		return -1;
	return recover_clear(look->catalog.dir_fd);
}

/* Finds and does what is to be done. Returns what to exit with; logged. */
static enum exitcode
repair_all(struct repair *repair)
{
	struct check check = {.tell = plan, .context = repair};
	struct check_result result;

	if (repair_order(&repair->look) == -1)
		return EXITCODE_AGAIN;
	for (int pass = 0; pass < PASSES; pass++) {
		repair->count = 0;
		if (look_again(&repair->look) != LOOK_OK ||
		    check_log(&repair->look, &check, &result) == -1)
			return EXITCODE_AGAIN;
		if (!result.is_damaged)
			break;
		for (size_t i = 0; i < repair->count; i++)
			if (do_job(repair, &repair->jobs[i]) == -1)
				return EXITCODE_AGAIN;
	}
	print_result(&result);
	return result.is_damaged ? EXITCODE_DAMAGE : EXITCODE_DONE;
}

/*
 * As root in another's log this process becomes its owner, who could not open
 * what root would make there. It goes there first, since the owner may not pass
 * all that leads to it: *path is "." then.
 */
static int
become_owner(const char **path)
{
	const char *given = *path;
	struct stat st;

	if (geteuid() != 0 || stat(given, &st) == -1 || st.st_uid == 0 ||
	    !S_ISDIR(st.st_mode))
		return 0;
	*path = ".";
	if (chdir(given) == 0 && setgroups(0, NULL) == 0 &&
	    setresgid(st.st_gid, st.st_gid, st.st_gid) == 0 &&
	    setresuid(st.st_uid, st.st_uid, st.st_uid) == 0)
		return 0;
	log_error("%s: cannot become the user whose log it is: %m", given);
	return -1;
}

enum exitcode
repair_log(const char *path)
{
	struct repair repair = {0};
	enum exitcode exitcode, flushed;
	struct place place;

	if (become_owner(&path) == -1)
		return EXITCODE_AGAIN;
	exitcode = look_exitcode(look_open(&repair.look, path));
	if (exitcode != EXITCODE_DONE)
		return exitcode;
	/* Only now, since it would make a directory that is not there. */
	exitcode = place_open(&place, path, EXITCODE_FINAL);
	if (exitcode == EXITCODE_FINAL)
		log_error("%s: a repair is not safe while a walproc runs on it",
		    path);
	if (exitcode == EXITCODE_DONE) {
		exitcode = place_clear(&place);
		/* What was seen before the lock was taken does not count. */
		if (exitcode == EXITCODE_DONE)
			exitcode = look_exitcode(look_again(&repair.look));
		if (exitcode == EXITCODE_DONE)
			exitcode = repair_all(&repair);
		place_close(&place);
	}
	look_close(&repair.look);
	free(repair.jobs);
	flushed = print_flush();
	return flushed == EXITCODE_DONE ? exitcode : flushed;
}
