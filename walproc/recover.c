#include "walproc/recover.h"

#include "stage/log.h"
#include "stage/mem.h"
#include "walproc/quarantine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first sequence numbers that the directory's segment names carry. */
struct names {
	uint64_t *seq; /* owned */
	size_t count;
	size_t room;
};

static void
names_add(struct names *names, uint64_t seq)
{
	if (names->count == names->room) {
		names->room = names->room == 0 ? 64 : 2 * names->room;
		names->seq =
		    mem_realloc(names->seq, names->room, sizeof(*names->seq));
	}
	names->seq[names->count++] = seq;
}

static int
compare_seq(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Lists the segments by name, in order. 0, or -1 with errno set. */
static int
list_names(int dir_fd, struct names *names)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	uint64_t seq;
	DIR *dir;

	if (fd == -1)
		return -1;
	dir = fdopendir(fd);
	if (dir == NULL) {
		int saved = errno;

		(void)close(fd);
		errno = saved;
		return -1;
	}
	errno = 0;
	while ((entry = readdir(dir)) != NULL)
		if (segment_is_name(entry->d_name, &seq))
			names_add(names, seq);
	if (errno != 0) {
		int saved = errno;

		(void)closedir(dir);
		errno = saved;
		return -1;
	}
	(void)closedir(dir);
	if (names->count > 0)
		qsort(
		    names->seq, names->count, sizeof(*names->seq), compare_seq);
	return 0;
}

/*
 * Says whether a sound header at `offset` or behind it proves that the event
 * `seq` had been durable; if so *at is where reading goes on: the first sound
 * batch that holds no event before `seq`. 1, 0, or -1 with errno set.
 */
static int
find_proof(
    const struct segment *segment, uint64_t offset, uint64_t seq, uint64_t *at)
{
	struct layout_batch batch;
	uint64_t place, first = 0;
	int found;

	for (;;) {
		found =
		    segment_find_batch(segment, offset, seq, &place, &batch);
		if (found != 1)
			return found;
		if (first == 0)
			first = place;
		if (batch.durable_seq >= seq) {
			*at = first;
			return 1;
		}
		offset = place + layout_batch_bytes(&batch);
	}
}

/* Follows the batches of the last segment and sets its end and next_seq. */
static int
scan_last(struct segment *segment, uint64_t *proven_seq)
{
	uint64_t offset = segment->end_offset, expected = segment->first_seq;

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
			segment->end_offset = offset;
			segment->next_seq = expected;
			continue;
		}
		found = find_proof(
		    segment, offset + LAYOUT_ALIGN, expected, &offset);
		if (found != 1)
			return found;
	}
}

static void
log_segment(const char *what, uint64_t first_seq)
{
	char name[SEGMENT_NAME_BYTES];

	segment_name(name, first_seq);
	log_error("segment %s: %s", name, what);
}

/* Opens one segment and adds it, or moves it away if its header is lost. */
static enum recover_status
add_segment(struct catalog *catalog, uint64_t first_seq, uint64_t limit,
    struct recovered *found)
{
	struct segment segment;
	struct layout_segment header;
	enum segment_status status;

	status = segment_open(&segment, catalog->dir_fd, first_seq, &header);
	switch (status) {
	case SEGMENT_OK:
		memcpy(found->log_id, header.log_id, LAYOUT_LOG_ID_BYTES);
		found->has_log_id = true;
		break;
	case SEGMENT_BAD:
		log_segment("damaged: no sound header", first_seq);
		/* The numbers of its events are not used again. */
		if (limit == UINT64_MAX)
			found->next_seq =
			    segment_guess_next(catalog->dir_fd, first_seq);
		if (quarantine_segment(catalog->dir_fd, first_seq) == -1) {
			log_error("cannot move it to quarantine: %m");
			return RECOVER_ERROR;
		}
		return RECOVER_OK;
	case SEGMENT_NEWER:
		log_segment("made by a newer version", first_seq);
		return RECOVER_NEWER;
	case SEGMENT_ERROR:
		log_segment(strerror(errno), first_seq);
		return RECOVER_ERROR;
	}
	if (limit != UINT64_MAX) {
		/* All of it is proven: what follows was made after its sync.
		 * What it has from `limit` on was written again there. */
		segment.next_seq = limit;
		if (segment.bytes > segment.end_offset)
			segment.end_offset = segment.bytes;
		segment_close(&segment);
	}
	catalog_add(catalog, &segment);
	return RECOVER_OK;
}

enum recover_status
recover_scan(
    struct catalog *catalog, uint64_t acked_seq, struct recovered *found)
{
	struct names names = {0};
	enum recover_status status = RECOVER_OK;
	struct segment *last;
	uint64_t last_name = 1, torn_bytes;

	*found = (struct recovered){.next_seq = 1, .proven_seq = acked_seq};
	if (list_names(catalog->dir_fd, &names) == -1) {
		log_error("cannot list the log's directory: %m");
		free(names.seq);
		return RECOVER_ERROR;
	}
	for (size_t i = 0; i < names.count && status == RECOVER_OK; i++)
		status = add_segment(catalog, names.seq[i],
		    i + 1 < names.count ? names.seq[i + 1] : UINT64_MAX, found);
	/* A segment is made when all before it is durable: its name alone
	 * proves that. */
	if (names.count > 0)
		last_name = names.seq[names.count - 1];
	if (last_name - 1 > found->proven_seq)
		found->proven_seq = last_name - 1;
	free(names.seq);
	last = catalog_last(catalog);
	if (status != RECOVER_OK || last == NULL ||
	    last->first_seq != last_name) {
		/* There is no last segment, or it is lost. */
		if (found->next_seq <= found->proven_seq)
			found->next_seq = found->proven_seq + 1;
		found->proven_seq = found->next_seq - 1;
		return status;
	}
	if (segment_reopen(last, catalog->dir_fd) == -1)
		goto fail;
	last->next_seq = last->first_seq;
	last->end_offset = LAYOUT_DATA_OFFSET;
	if (scan_last(last, &found->proven_seq) == -1 ||
	    segment_trim(last, &torn_bytes) == -1)
		goto fail;
	if (torn_bytes > 0)
		log_warn("a torn tail of %" PRIu64
			 " bytes is cut behind event %" PRIu64,
		    torn_bytes, last->next_seq - 1);
	found->next_seq = last->next_seq;
	if (found->proven_seq >= found->next_seq)
		found->next_seq = found->proven_seq + 1;
	return RECOVER_OK;

fail:
	log_segment(strerror(errno), last->first_seq);
	return RECOVER_ERROR;
}
