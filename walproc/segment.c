#include "walproc/segment.h"

#include "stage/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_DIGITS 20
#define NAME_END ".seg"
/* Zeros written at a time. */
#define PIECE_BYTES ((size_t)1 << 20)
/* Read at a time in a search. */
#define SEARCH_BYTES ((size_t)8192)
/* What a disk can lose by itself. */
#define SECTOR_BYTES ((size_t)512)

/* At the start of a page, as writing past the page cache wants it. */
static const uint8_t zeros[PIECE_BYTES]
    __attribute__((aligned(SEGMENT_PAGE_BYTES)));

void
segment_name(char name[SEGMENT_NAME_BYTES], uint64_t first_seq)
{
	(void)snprintf(name, SEGMENT_NAME_BYTES, "%0*" PRIu64 NAME_END,
	    NAME_DIGITS, first_seq);
}

bool
segment_is_name(const char *name, uint64_t *first_seq)
{
	char again[SEGMENT_NAME_BYTES];
	uint64_t seq;

	if (sscanf(name, "%20" SCNu64, &seq) != 1)
		return false;
	if (seq == 0 || seq > LAYOUT_SEQ_MAX + 1)
		return false;
	segment_name(again, seq);
	if (strcmp(name, again) != 0)
		return false;
	*first_seq = seq;
	return true;
}

/* Says whether the zeros that are written are enough. */
static bool
is_enough(const struct segment_zeros *wanted, uint64_t at)
{
	return at >= wanted->bytes ||
	       (wanted->is_cut != NULL && at >= wanted->least &&
		   atomic_load(wanted->is_cut));
}

/*
 * Writes zeros past the page cache, as far as that can be done here, and sets
 * *at to how many. Where it cannot, what is written otherwise finds out why.
 * Returns 0, or -1 with errno set.
 */
static int
write_directly(int fd, const struct segment_zeros *wanted, uint64_t *at)
{
	ssize_t n = (ssize_t)PIECE_BYTES;
	int saved;

	*at = 0;
	/* Some file systems refuse it here, some with each write. */
	if (io_set_direct(fd, true) == -1)
		return 0;
	while (n == (ssize_t)PIECE_BYTES && !is_enough(wanted, *at) &&
	       wanted->bytes - *at >= PIECE_BYTES) {
		n = pwrite(fd, zeros, PIECE_BYTES, (off_t)*at);
		if (n == (ssize_t)PIECE_BYTES)
			*at += PIECE_BYTES;
	}
	saved = errno;
	if (io_set_direct(fd, false) == -1)
		return -1;
	errno = saved;
	return n == -1 && io_is_full_disk(errno) ? -1 : 0;
}

/* Writes zeros, and sets *written to how many. */
static int
write_zeros(int fd, const struct segment_zeros *wanted, uint64_t *written)
{
	uint64_t at = 0;

	if (wanted->is_direct && write_directly(fd, wanted, &at) == -1)
		return -1;
	while (!is_enough(wanted, at)) {
		uint64_t left = wanted->bytes - at;
		size_t n = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;

		if (io_pwrite_full(fd, zeros, n, at) == -1)
			return -1;
		at += n;
	}
	*written = at;
	return 0;
}

int
segment_make_spare(
    int dir_fd, const struct segment_zeros *wanted, uint64_t *written)
{
	int fd, saved;

	/* What a spare of an earlier run holds is never trusted again. */
	if (unlinkat(dir_fd, SEGMENT_SPARE, 0) == -1 && errno != ENOENT)
		return -1;
	fd = openat(
	    dir_fd, SEGMENT_SPARE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1)
		return -1;
	if (write_zeros(fd, wanted, written) == -1 || fdatasync(fd) == -1)
		goto fail;
	return fd;

fail:
	saved = errno;
	(void)close(fd);
	(void)unlinkat(dir_fd, SEGMENT_SPARE, 0);
	errno = saved;
	return -1;
}

int
segment_start(struct segment *segment, int spare_fd, uint64_t bytes,
    const struct layout_segment *header)
{
	uint8_t raw[LAYOUT_SEGMENT_BYTES];

	layout_put_segment(raw, header);
	if (io_pwrite_full(spare_fd, raw, sizeof(raw), 0) == -1)
		return -1;
	if (io_pwrite_full(spare_fd, raw, sizeof(raw), LAYOUT_COPY_OFFSET) ==
	    -1)
		return -1;
	*segment = (struct segment){
	    .fd = spare_fd,
	    .salt = header->salt,
	    .first_seq = header->first_seq,
	    .next_seq = header->first_seq,
	    .end_offset = LAYOUT_DATA_OFFSET,
	    .bytes = bytes,
	};
	return 0;
}

int
segment_publish(const struct segment *segment, int dir_fd)
{
	char name[SEGMENT_NAME_BYTES];

	/* Before it has its name: a segment that can be seen is sound. */
	if (fdatasync(segment->fd) == -1)
		return -1;
	segment_name(name, segment->first_seq);
	if (renameat(dir_fd, SEGMENT_SPARE, dir_fd, name) == -1)
		return -1;
	/* The name is data too: a power cut may lose it and all it holds. */
	return fsync(dir_fd);
}

/* Returns how many bytes there are between `offset` and the next page, or 0
 * where the file ends before. */
static uint64_t
bytes_to_page(const struct segment *segment, uint64_t offset)
{
	uint64_t page = (offset + SEGMENT_PAGE_BYTES - 1) &
			~(uint64_t)(SEGMENT_PAGE_BYTES - 1);

	return page <= segment->bytes ? page - offset : 0;
}

int
segment_write_batch(struct segment *segment, uint8_t *raw, size_t room,
    const struct layout_batch *batch)
{
	uint64_t bytes = layout_batch_bytes(batch);
	uint64_t more = bytes_to_page(segment, segment->end_offset + bytes);

	layout_put_batch(raw, batch, segment->salt, segment->end_offset);
	if (more > room || more >= bytes)
		more = 0;
	if (more > 0)
		memset(raw + bytes, 0, (size_t)more);
	if (io_pwrite_full(segment->fd, raw, (size_t)(bytes + more),
		segment->end_offset) == -1)
		return -1;
	segment->end_offset += bytes;
	segment->next_seq = batch->first_seq + batch->count;
	return 0;
}

/* Reads the copy of the header at `offset`. */
static enum segment_status
read_header(int fd, uint64_t offset, struct layout_segment *header)
{
	uint8_t raw[LAYOUT_SEGMENT_BYTES] = {0};

	if (io_pread_full(fd, raw, sizeof(raw), offset) == -1)
		return io_is_unreadable(errno) ? SEGMENT_BAD : SEGMENT_ERROR;
	switch (layout_get_segment(raw, header)) {
	case LAYOUT_OK:
		return SEGMENT_OK;
	case LAYOUT_NEWER:
		return SEGMENT_NEWER;
	case LAYOUT_BAD:
		break;
	}
	return SEGMENT_BAD;
}

enum segment_status
segment_open(struct segment *segment, int dir_fd, uint64_t first_seq,
    struct layout_segment *header)
{
	struct segment found = {.fd = -1, .first_seq = first_seq};
	enum segment_status status = SEGMENT_ERROR;
	struct stat st;
	int saved;

	if (segment_reopen(&found, dir_fd) == -1)
		return errno == EISDIR ? SEGMENT_BAD : SEGMENT_ERROR;
	if (fstat(found.fd, &st) == -1)
		goto fail;
	status = SEGMENT_BAD;
	if (!S_ISREG(st.st_mode))
		goto fail;
	status = read_header(found.fd, 0, header);
	if (status == SEGMENT_BAD)
		status = read_header(found.fd, LAYOUT_COPY_OFFSET, header);
	if (status != SEGMENT_OK)
		goto fail;
	found.salt = header->salt;
	found.next_seq = first_seq;
	found.end_offset = LAYOUT_DATA_OFFSET;
	found.bytes = (uint64_t)st.st_size;
	*segment = found;
	return SEGMENT_OK;

fail:
	saved = errno;
	segment_close(&found);
	errno = saved;
	return status;
}

int
segment_reopen(struct segment *segment, int dir_fd)
{
	char name[SEGMENT_NAME_BYTES];

	if (segment->fd != -1)
		return 0;
	segment_name(name, segment->first_seq);
	segment->fd = openat(dir_fd, name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	/* Who only looks needs no more. */
	if (segment->fd == -1 && (errno == EROFS || errno == EACCES))
		segment->fd =
		    openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return segment->fd == -1 ? -1 : 0;
}

void
segment_close(struct segment *segment)
{
	if (segment->fd != -1)
		(void)close(segment->fd);
	segment->fd = -1;
}

/* Reads sector by sector, those that cannot be read as zeros. */
static ssize_t
read_sectors(int fd, uint8_t *data, size_t bytes, uint64_t offset)
{
	size_t done = 0;

	while (done < bytes) {
		size_t want = SECTOR_BYTES - (offset + done) % SECTOR_BYTES;
		ssize_t n;

		if (want > bytes - done)
			want = bytes - done;
		n = io_pread_full(fd, data + done, want, offset + done);
		if (n == -1 && !io_is_unreadable(errno))
			return -1;
		if (n == -1) {
			memset(data + done, 0, want);
			n = (ssize_t)want;
		}
		done += (size_t)n;
		if ((size_t)n < want)
			break;
	}
	return (ssize_t)done;
}

ssize_t
segment_read(
    const struct segment *segment, void *data, size_t bytes, uint64_t offset)
{
	ssize_t n = io_pread_full(segment->fd, data, bytes, offset);

	if (n != -1 || !io_is_unreadable(errno))
		return n;
	/* No zeros behind the end of the file. */
	if (offset >= segment->bytes)
		return 0;
	if (segment->bytes - offset < bytes)
		bytes = (size_t)(segment->bytes - offset);
	return read_sectors(segment->fd, data, bytes, offset);
}

int
segment_is_readable(const struct segment *segment, uint64_t from, uint64_t to)
{
	uint8_t piece[SEARCH_BYTES];

	for (uint64_t at = from; at < to; at += sizeof(piece)) {
		uint64_t left = to - at;
		size_t bytes =
		    left < sizeof(piece) ? (size_t)left : sizeof(piece);

		if (io_pread_full(segment->fd, piece, bytes, at) == -1)
			return io_is_unreadable(errno) ? 0 : -1;
	}
	return 1;
}

int
segment_read_batch(const struct segment *segment, uint64_t offset,
    struct layout_batch *batch, enum layout_status *status)
{
	uint8_t raw[LAYOUT_BATCH_BYTES];
	ssize_t n = segment_read(segment, raw, sizeof(raw), offset);

	if (n == -1)
		return -1;
	*status = LAYOUT_BAD;
	if ((size_t)n == sizeof(raw))
		*status = layout_get_batch(raw, segment->salt, offset, batch);
	return 0;
}

int
segment_find_batch(const struct segment *segment, uint64_t offset,
    uint64_t min_seq, uint64_t *at, struct layout_batch *batch)
{
	uint8_t piece[SEARCH_BYTES];

	offset = layout_align(offset);
	for (;;) {
		ssize_t n = segment_read(segment, piece, sizeof(piece), offset);
		size_t i = 0;

		if (n == -1)
			return -1;
		for (; i + LAYOUT_BATCH_BYTES <= (size_t)n; i += LAYOUT_ALIGN) {
			struct layout_batch found;

			if (layout_get_batch(piece + i, segment->salt,
				offset + i, &found) != LAYOUT_OK ||
			    found.first_seq < min_seq)
				continue;
			*at = offset + i;
			*batch = found;
			return 1;
		}
		if (i == 0)
			return 0;
		offset += i;
	}
}

uint64_t
segment_guess_next(int dir_fd, uint64_t first_seq)
{
	struct segment segment = {.fd = -1, .first_seq = first_seq};
	uint64_t next_seq = first_seq, offset = LAYOUT_DATA_OFFSET;
	uint8_t raw[LAYOUT_BATCH_BYTES];
	struct stat st;

	if (segment_reopen(&segment, dir_fd) == -1)
		return next_seq;
	if (fstat(segment.fd, &st) == 0)
		segment.bytes = (uint64_t)st.st_size;
	while (
	    segment_read(&segment, raw, sizeof(raw), offset) == sizeof(raw)) {
		struct layout_batch batch;

		offset += LAYOUT_ALIGN;
		if (layout_guess_batch(raw, &batch) == LAYOUT_OK &&
		    batch.first_seq == next_seq)
			next_seq += batch.count;
	}
	segment_close(&segment);
	return next_seq;
}

int
segment_find_zeros(
    const struct segment *segment, uint64_t *end, bool *is_readable)
{
	uint8_t piece[SEARCH_BYTES];

	*is_readable = true;
	*end = segment->end_offset;
	for (uint64_t at = *end; at < segment->bytes;) {
		ssize_t n =
		    io_pread_full(segment->fd, piece, sizeof(piece), at);

		if (n == -1 && io_is_unreadable(errno)) {
			*is_readable = false;
			*end = segment->bytes;
			return 0;
		}
		if (n == -1)
			return -1;
		if (n == 0)
			break;
		for (size_t i = (size_t)n; i > 0; i--) {
			if (piece[i - 1] == 0)
				continue;
			*end = at + i;
			break;
		}
		at += (size_t)n;
	}
	return 0;
}

int
segment_cut(struct segment *segment, uint64_t end)
{
	if (end >= segment->bytes)
		return 0;
	if (ftruncate(segment->fd, (off_t)end) == -1)
		return -1;
	segment->bytes = end;
	return 0;
}
