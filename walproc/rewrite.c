#include "walproc/rewrite.h"

#include "stage/buf.h"
#include "stage/frame.h"
#include "stage/loop.h"
#include "walproc/reader.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* Records gathered before they are written. */
#define BATCH_BYTES ((size_t)1 << 20)
#define BATCH_MAX_BYTES (2 * BATCH_BYTES + FRAME_MAX_BYTES)

/* The file that is made, and the batch that is gathered for it. */
struct rewrite {
	struct segment segment; /* has no name yet */
	struct buf batch;	/* header and records */
	uint32_t count;		/* records in it */
	uint64_t first_seq;	/* of the first of them */
	int64_t realtime_ns;
	bool is_gap; /* what is missing before the next batch is known */
};

/* Starts the file. Returns 0, or -1 with errno set and nothing left behind. */
static int
start(struct rewrite *rewrite, int dir_fd,
    const uint8_t log_id[LAYOUT_LOG_ID_BYTES], uint64_t first_seq,
    int64_t created_ns)
{
	struct layout_segment header = {
	    .first_seq = first_seq,
	    .created_ns = created_ns,
	};
	struct segment_zeros wanted = {.bytes = LAYOUT_DATA_OFFSET};
	uint64_t written;
	int fd, saved;

	*rewrite = (struct rewrite){.segment = {.fd = -1}};
	memcpy(header.log_id, log_id, LAYOUT_LOG_ID_BYTES);
	if (getrandom(&header.salt, sizeof(header.salt), 0) !=
	    sizeof(header.salt))
		return -1;
	/* It grows as it is written. */
	fd = segment_make_spare(dir_fd, &wanted, &written);
	if (fd == -1)
		return -1;
	if (segment_start(&rewrite->segment, fd, LAYOUT_DATA_OFFSET, &header) ==
	    -1) {
		saved = errno;
		(void)close(fd);
		(void)unlinkat(dir_fd, SEGMENT_SPARE, 0);
		errno = saved;
		return -1;
	}
	buf_init(&rewrite->batch, BATCH_MAX_BYTES);
	return 0;
}

/* Ends the work on the file; without a name it is gone. Keeps errno. */
static void
end(struct rewrite *rewrite, int dir_fd, bool has_name)
{
	int saved = errno;

	buf_fini(&rewrite->batch);
	segment_close(&rewrite->segment);
	if (!has_name)
		(void)unlinkat(dir_fd, SEGMENT_SPARE, 0);
	errno = saved;
}

/* Writes what is gathered. Returns 0, or -1 with errno set. */
static int
flush(struct rewrite *rewrite)
{
	size_t bytes = buf_bytes(&rewrite->batch);
	struct layout_batch batch = {
	    .count = rewrite->count,
	    .is_gap_known = rewrite->is_gap,
	    .first_seq = rewrite->first_seq,
	    .durable_seq = rewrite->first_seq - 1,
	    .realtime_ns = rewrite->realtime_ns,
	};

	if (rewrite->count == 0)
		return 0;
	batch.body_bytes = (uint32_t)(bytes - LAYOUT_BATCH_BYTES);
	memset(buf_reserve(&rewrite->batch, LAYOUT_ALIGN), 0, LAYOUT_ALIGN);
	if (segment_write_batch(&rewrite->segment,
		rewrite->batch.data + rewrite->batch.start, 0, &batch) == -1)
		return -1;
	buf_drop(&rewrite->batch, bytes);
	rewrite->count = 0;
	rewrite->is_gap = false;
	return 0;
}

/* Gathers an event into the batch that it was in. 0, or -1 with errno set. */
static int
gather(struct rewrite *rewrite, const struct reader_event *event)
{
	size_t bytes = LAYOUT_RECORD_BYTES + event->bytes;
	uint8_t *to;

	if (event->bytes > FRAME_MAX_BYTES) {
		errno = EFBIG;
		return -1;
	}
	if ((event->realtime_ns != rewrite->realtime_ns ||
		buf_bytes(&rewrite->batch) >= BATCH_BYTES) &&
	    flush(rewrite) == -1)
		return -1;
	if (rewrite->count == 0) {
		to = buf_reserve(&rewrite->batch, LAYOUT_BATCH_BYTES);
		memset(to, 0, LAYOUT_BATCH_BYTES);
		buf_commit(&rewrite->batch, LAYOUT_BATCH_BYTES);
		rewrite->first_seq = event->seq;
		rewrite->realtime_ns = event->realtime_ns;
	}
	to = buf_reserve(&rewrite->batch, bytes);
	layout_put_record(to, event->event, (uint32_t)event->bytes,
	    rewrite->segment.salt, event->seq);
	memcpy(to + LAYOUT_RECORD_BYTES, event->event, event->bytes);
	buf_commit(&rewrite->batch, bytes);
	rewrite->count++;
	return 0;
}

/*
 * Writes the mark behind the last event: all up to `next_seq` is durable once
 * the file has its name, and what is missing before it is known.
 */
static int
mark(struct rewrite *rewrite, uint64_t next_seq)
{
	uint8_t raw[LAYOUT_BATCH_BYTES];
	struct layout_batch batch = {
	    .is_gap_known = rewrite->is_gap,
	    .first_seq = next_seq,
	    .durable_seq = next_seq - 1,
	    .realtime_ns = loop_realtime_ns(),
	};

	if (flush(rewrite) == -1)
		return -1;
	return segment_write_batch(&rewrite->segment, raw, 0, &batch);
}

/*
 * Says whether damage is where the log ends: in a tail that is not proven, and
 * not only unreadable. Returns 1, 0, or -1 with errno set.
 */
static int
is_torn(const struct recovered *found, const struct reader_event *damage)
{
	if (damage->seq <= found->proven_seq)
		return 0;
	if (damage->segment == NULL || damage->from == damage->to)
		return 1;
	return segment_is_readable(damage->segment, damage->from, damage->to);
}

/*
 * Goes on behind damage, or ends there: then *next_seq is set. Returns 1 or 0,
 * or -1 with errno set.
 */
static int
pass_damage(struct rewrite *rewrite, const struct recovered *found,
    const struct reader_event *damage, uint64_t *next_seq)
{
	int torn = is_torn(found, damage);

	if (torn == -1 || flush(rewrite) == -1)
		return -1;
	if (torn == 1) {
		*next_seq = damage->seq;
		return 0;
	}
	rewrite->is_gap = true;
	return 1;
}

/* Copies what is sound, and ends it with a mark. 0, or -1 with errno set. */
static int
copy_sound(struct rewrite *rewrite, struct catalog *catalog,
    const struct recovered *found, const struct segment *segment,
    uint64_t *count)
{
	uint64_t next_seq = segment->next_seq;
	struct reader_event event;
	struct reader reader = {0};
	int more = 1;

	*count = 0;
	reader_init(&reader, catalog, segment->first_seq);
	reader.is_looking = true;
	while (more == 1) {
		switch (reader_next(&reader, next_seq - 1, &event)) {
		case READER_EVENT:
			more = gather(rewrite, &event) == -1 ? -1 : 1;
			++*count;
			break;
		case READER_DAMAGE:
			more = pass_damage(rewrite, found, &event, &next_seq);
			break;
		case READER_NONE:
			more = 0;
			break;
		case READER_ERROR:
			more = -1;
			break;
		}
	}
	reader_fini(&reader);
	return more == -1 ? -1 : mark(rewrite, next_seq);
}

int
rewrite_segment(struct catalog *catalog, const struct recovered *found,
    const struct segment *segment, struct rewrite_result *result)
{
	struct layout_segment header;
	struct segment opened;
	struct rewrite rewrite;
	char name[SEGMENT_NAME_BYTES];

	/* Found sound by the scan, so anything else is an error of the disk. */
	errno = EIO;
	if (segment_open(&opened, catalog->dir_fd, segment->first_seq,
		&header) != SEGMENT_OK)
		return -1;
	segment_close(&opened);
	if (start(&rewrite, catalog->dir_fd, found->log_id, segment->first_seq,
		header.created_ns) == -1)
		return -1;
	segment_name(name, segment->first_seq);
	if (copy_sound(&rewrite, catalog, found, segment, &result->events) ==
		-1 ||
	    quarantine_link(catalog->dir_fd, name, result->kept) == -1 ||
	    segment_publish(&rewrite.segment, catalog->dir_fd) == -1) {
		end(&rewrite, catalog->dir_fd, false);
		return -1;
	}
	end(&rewrite, catalog->dir_fd, true);
	return 0;
}

int
rewrite_gap(int dir_fd, const struct recovered *found, uint64_t first_seq,
    uint64_t next_seq)
{
	char name[SEGMENT_NAME_BYTES];
	struct rewrite rewrite;

	segment_name(name, first_seq);
	if (faccessat(dir_fd, name, F_OK, 0) == 0) {
		errno = EEXIST;
		return -1;
	}
	if (start(&rewrite, dir_fd, found->log_id, first_seq,
		loop_realtime_ns()) == -1)
		return -1;
	rewrite.is_gap = true;
	if (mark(&rewrite, next_seq) == -1 ||
	    segment_publish(&rewrite.segment, dir_fd) == -1) {
		end(&rewrite, dir_fd, false);
		return -1;
	}
	end(&rewrite, dir_fd, true);
	return 0;
}
