#include "walproc/recover.h"

#include "stage/log.h"
#include "walproc/files.h"
#include "walproc/quarantine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/*
 * At `offset` of the last segment no batch is sound, though the event `seq` is
 * expected there. Looks for the first sound one behind it that holds none
 * before `seq`. Returns 1 with *at set to it if going on there is right: one of
 * them proves that `seq` had been durable, or `is_proven` says so, or what is
 * in between cannot be read. Else 0, or -1 with errno set.
 */
static int
find_next(const struct segment *segment, uint64_t offset, uint64_t seq,
    bool is_proven, uint64_t *at)
{
	struct layout_batch batch;
	uint64_t place, first = 0, from = offset;
	int found;

	while ((found = segment_find_batch(
		    segment, from, seq, &place, &batch)) == 1) {
		if (first == 0)
			first = place;
		*at = first;
		if (is_proven || batch.durable_seq >= seq)
			return 1;
		from = place + layout_batch_bytes(&batch);
	}
	if (found == -1 || first == 0)
		return found;
	found = segment_is_readable(segment, offset, first);
	return found == -1 ? -1 : found == 0;
}

/* Follows the batches of the last segment from its end on, and moves that and
 * next_seq behind them. */
static int
scan_last(struct segment *segment, uint64_t *proven_seq)
{
	uint64_t offset = segment->end_offset, expected = segment->next_seq;

	for (;;) {
		enum layout_status status;
		struct layout_batch batch;
		int found;

		if (segment_read_batch(segment, offset, &batch, &status) == -1)
			return -1;
		if (status == LAYOUT_OK && batch.first_seq >= expected) {
			if (batch.durable_seq > *proven_seq)
				*proven_seq = batch.durable_seq;
			expected = batch.first_seq + batch.count;
			/* One write and one sync: proven in part, a batch is
			 * proven whole. */
			if (batch.first_seq <= *proven_seq &&
			    *proven_seq < expected - 1)
				*proven_seq = expected - 1;
			offset += layout_batch_bytes(&batch);
			if (offset > segment->bytes)
				offset = segment->bytes;
			segment->end_offset = offset;
			segment->next_seq = expected;
			continue;
		}
		found = find_next(segment, offset, expected,
		    *proven_seq >= expected, &offset);
		if (found != 1)
			return found;
	}
}

/*
 * Looks at what stands behind the end of the last segment, and cuts the zeros
 * there. Returns 0, or -1 with errno set.
 */
static int
end_last(int dir_fd, struct segment *segment, bool is_looking,
    struct recovered *found)
{
	bool is_damaged = found->proven_seq >= segment->next_seq;
	bool is_readable;
	uint64_t end;

	if (segment_find_zeros(segment, &end, &is_readable) == -1)
		return -1;
	if (!is_looking && segment_cut(segment, end) == -1)
		return -1;
	if (is_damaged) {
		/* Not torn. Who reads on takes it to the quarantine. */
		segment->next_seq = found->proven_seq + 1;
		segment->end_offset = end;
		return 0;
	}
	if (!is_readable) {
		files_log(segment->first_seq,
		    "its end cannot be read: what may stand there is not "
		    "known");
		return is_looking ? 0
				  : quarantine_keep(dir_fd, segment->first_seq);
	}
	found->torn_bytes = end - segment->end_offset;
	return 0;
}

/* Segments behind the last sound one that have lost their headers. */
struct lost {
	uint64_t first_seq; /* of the first of them; 0: there is none */
	uint64_t next_seq;  /* an estimate: one behind the last event */
};

/* Notes a file without a sound header, and tells of it. */
static void
note_bad(int dir_fd, uint64_t name_seq, const struct recover_listener *listener,
    struct lost *lost)
{
	static const char what[] = "damaged: no sound header";
	uint64_t next_seq = segment_guess_next(dir_fd, name_seq);

	if (lost->first_seq == 0)
		lost->first_seq = name_seq;
	if (next_seq > lost->next_seq)
		lost->next_seq = next_seq;
	if (listener != NULL)
		listener->tell(listener->context, name_seq, what);
	else
		files_log(name_seq, what);
}

/* Adds a segment to the catalog, as an empty one. */
static void
add_segment(struct catalog *catalog, const struct files_entry *entry)
{
	struct segment segment = {
	    .fd = -1,
	    .salt = entry->header.salt,
	    .first_seq = entry->name_seq,
	    .next_seq = entry->name_seq,
	    .end_offset = LAYOUT_DATA_OFFSET,
	    .bytes = entry->bytes,
	};

	catalog_add(catalog, &segment);
}

/* Ends a segment before `limit`. All of it is proven: what follows was made
 * after its sync. What it has from `limit` on was written again there. */
static void
limit_segment(struct segment *segment, uint64_t limit)
{
	segment->next_seq = limit;
	if (segment->bytes > segment->end_offset)
		segment->end_offset = segment->bytes;
}

/* Puts the files into the catalog. */
static void
fill_catalog(struct catalog *catalog, const struct files *files,
    const struct recover_listener *listener, struct lost *lost,
    struct recovered *found)
{
	for (size_t i = 0; i < files->count; i++) {
		const struct files_entry *entry = &files->entries[i];
		struct segment *last = catalog_last(catalog);

		if (entry->status != SEGMENT_OK) {
			note_bad(
			    catalog->dir_fd, entry->name_seq, listener, lost);
			found->has_bad = true;
			continue;
		}
		/* What is lost in between is missing, wherever it began. */
		*lost = (struct lost){0};
		if (last != NULL)
			limit_segment(last, entry->name_seq);
		add_segment(catalog, entry);
	}
}

/*
 * Says whether a file without a header, behind the last sound segment, had been
 * a segment. Where that one ends cleanly, before the file's number, and nothing
 * proves that there was more, it had not: any file may bear such a name.
 * Returns 1, 0, or -1 with errno set.
 */
static int
is_believed(
    const struct lost *lost, const struct segment *last, uint64_t proven_seq)
{
	bool is_readable;
	uint64_t end;

	if (last == NULL || last->next_seq == lost->first_seq)
		return 1;
	if (last->next_seq > lost->first_seq)
		return 0;
	if (segment_find_zeros(last, &end, &is_readable) == -1)
		return -1;
	return end > last->end_offset || proven_seq >= lost->first_seq - 1;
}

/*
 * Takes into account what was lost behind the last sound segment: all before
 * it had been durable. Returns 0, or -1 with errno set.
 */
static int
count_lost(
    const struct lost *lost, struct segment *last, struct recovered *found)
{
	int is_true;

	if (lost->first_seq == 0)
		return 0;
	is_true = is_believed(lost, last, found->proven_seq);
	if (is_true != 1)
		return is_true;
	if (lost->next_seq - 1 > found->proven_seq)
		found->proven_seq = lost->next_seq - 1;
	return last == NULL ? 0 : scan_last(last, &found->proven_seq);
}

/* Finds the end of the log in its last segment. */
static enum recover_status
find_end(struct catalog *catalog, const struct lost *lost, bool is_looking,
    struct recovered *found)
{
	struct segment *last = catalog_last(catalog);

	if (last != NULL && (segment_reopen(last, catalog->dir_fd) == -1 ||
				scan_last(last, &found->proven_seq) == -1))
		goto fail;
	if (count_lost(lost, last, found) == -1)
		goto fail;
	if (last != NULL) {
		if (end_last(catalog->dir_fd, last, is_looking, found) == -1)
			goto fail;
		found->next_seq = last->next_seq;
	}
	if (found->torn_bytes > 0 && !is_looking)
		log_warn("a torn tail of %" PRIu64
			 " bytes is cut behind event %" PRIu64,
		    found->torn_bytes, found->next_seq - 1);
	if (found->next_seq <= found->proven_seq)
		found->next_seq = found->proven_seq + 1;
	return RECOVER_OK;

fail:
	/* Unlinked meanwhile: who looks beside a walproc looks again. */
	if (!is_looking || errno != ENOENT)
		files_log(last == NULL ? lost->first_seq : last->first_seq,
		    strerror(errno));
	return RECOVER_ERROR;
}

enum recover_status
recover_scan(struct catalog *catalog, const struct layout_cursor *cursor,
    const struct recover_listener *listener, struct recovered *found)
{
	enum recover_status status = RECOVER_ERROR;
	struct lost lost = {0};
	struct files files;

	*found = (struct recovered){.first_seq = 1, .next_seq = 1};
	if (files_list(&files, catalog->dir_fd) == -1)
		goto out;
	status = RECOVER_NEWER;
	if (files_have_newer(&files))
		goto out;
	files_find_log(&files, cursor, found);
	status = RECOVER_ERROR;
	if (files_put_right(&files, found->log_id, listener) == -1)
		goto out;
	if (files.count > 0)
		found->first_seq = files.entries[0].name_seq;
	fill_catalog(catalog, &files, listener, &lost, found);
	/* A segment is made when all before it is durable: its name alone
	 * proves that. */
	if (catalog->count > 0)
		found->proven_seq = catalog_last(catalog)->first_seq - 1;
	if (cursor != NULL && !found->is_foreign &&
	    cursor->durable_seq > found->proven_seq)
		found->proven_seq = cursor->durable_seq;
	status = find_end(catalog, &lost, listener != NULL, found);
	/* Numbers that are ended are not used again, though where acks did not
	 * wait for the sync the events may be gone. */
	if (cursor != NULL && !found->is_foreign &&
	    cursor->acked_seq >= found->next_seq)
		found->next_seq = cursor->acked_seq + 1;
out:
	files_fini(&files);
	return status;
}

int
recover_clear(int dir_fd)
{
	struct files files;
	int result = files_list(&files, dir_fd);

	for (size_t i = 0; i < files.count && result == 0; i++) {
		if (files.entries[i].status != SEGMENT_BAD)
			continue;
		result = quarantine_segment(dir_fd, files.entries[i].name_seq);
		if (result == -1)
			log_error("cannot move a segment to quarantine: %m");
	}
	files_fini(&files);
	return result;
}
