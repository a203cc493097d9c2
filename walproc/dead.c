#include "walproc/dead.h"

#include "stage/io.h"
#include "stage/json.h"
#include "stage/log.h"
#include "stage/loop.h"

#include <openssl/evp.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART_NAME "dead-letter.tmp"
/* A line up to its base64, and what of that its numbers and so on take. */
#define LINE_START_BYTES ((size_t)512)
#define LINE_NUMBERS_BYTES ((size_t)96)
#define LINE_END "\"}\n"
#define LINE_END_BYTES (sizeof(LINE_END) - 1)
/* Encoded at a time; a multiple of three. */
#define PIECE_BYTES ((size_t)12288)
#define PIECE_TEXT_BYTES (PIECE_BYTES / 3 * 4 + 1)

/*
 * Writes at *end of a file and moves that on. On failure what was written is
 * cut off again.
 */
static int
append(int fd, uint64_t *end, const void *data, size_t bytes)
{
	if (io_pwrite_full(fd, data, bytes, *end) == -1) {
		int saved = errno;

		(void)!ftruncate(fd, (off_t)*end);
		errno = saved;
		return -1;
	}
	*end += bytes;
	return 0;
}

/* Takes back what was appended since the file was `end` long. */
static void
roll_back(int fd, uint64_t *end, uint64_t to)
{
	int saved = errno;

	(void)!ftruncate(fd, (off_t)to);
	*end = to;
	errno = saved;
}

/* Sets *end behind the last \n of the first `bytes` of the file. */
static int
find_last_line(int fd, uint64_t bytes, uint64_t *end)
{
	uint8_t piece[4096];

	while (bytes > 0) {
		uint64_t from =
		    bytes > sizeof(piece) ? bytes - sizeof(piece) : 0;
		ssize_t n =
		    io_pread_full(fd, piece, (size_t)(bytes - from), from);

		if (n == -1)
			return -1;
		for (size_t i = (size_t)n; i > 0; i--) {
			if (piece[i - 1] != '\n')
				continue;
			*end = from + i;
			return 0;
		}
		bytes = from;
	}
	*end = 0;
	return 0;
}

/*
 * Sets *end behind the whole lines from `from`, the start of one, up to the
 * first with a byte that is in no letter: a zero, where a power cut has left a
 * sector out.
 */
static int
find_torn_line(int fd, uint64_t from, uint64_t *end)
{
	uint8_t piece[4096];

	*end = from;
	for (;;) {
		ssize_t n = io_pread_full(fd, piece, sizeof(piece), from);

		if (n <= 0)
			return (int)n;
		for (size_t i = 0; i < (size_t)n; i++) {
			if (piece[i] == '\n')
				*end = from + i + 1;
			else if (piece[i] < 0x20)
				return 0;
		}
		from += (uint64_t)n;
	}
}

/* Says whether a line starts at `offset` of the file. */
static bool
is_line_start(int fd, uint64_t offset)
{
	uint8_t before;

	return offset == 0 || (io_pread_full(fd, &before, 1, offset - 1) == 1 &&
				  before == '\n');
}

/* Finds where the letters end in the file that is open, `bytes` long. Returns
 * 0, or -1 with errno set. */
static int
find_end(struct dead *dead, uint64_t bytes, uint64_t durable_bytes)
{
	int result;

	if (durable_bytes <= bytes && is_line_start(dead->fd, durable_bytes))
		result =
		    find_torn_line(dead->fd, durable_bytes, &dead->end_bytes);
	else
		result = find_last_line(dead->fd, bytes, &dead->end_bytes);
	if (result == 0 || !io_is_unreadable(errno))
		return result;
	/* How its last line ends cannot be known: a new one. */
	dead->end_bytes = bytes;
	return append(dead->fd, &dead->end_bytes, "\n", 1);
}

/* Opens the file under its name. 0, or -1 with errno set. */
static int
open_letters(struct dead *dead, uint64_t durable_bytes)
{
	struct stat st;
	int saved;

	dead->fd =
	    openat(dead->dir_fd, DEAD_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (dead->fd == -1)
		return -1;
	if (fstat(dead->fd, &st) == -1 ||
	    find_end(dead, (uint64_t)st.st_size, durable_bytes) == -1)
		goto fail;
	if (dead->end_bytes < (uint64_t)st.st_size &&
	    ftruncate(dead->fd, (off_t)dead->end_bytes) == -1)
		goto fail;
	/* The name is durable before a letter in it is acked. */
	if (fsync(dead->fd) == -1 || fsync(dead->dir_fd) == -1)
		goto fail;
	return 0;

fail:
	saved = errno;
	(void)close(dead->fd);
	dead->fd = -1;
	errno = saved;
	return -1;
}

int
dead_open(struct dead *dead, int dir_fd, uint64_t durable_bytes)
{
	*dead = (struct dead){
	    .dir_fd = dir_fd,
	    .fd = -1,
	    .is_synced = true,
	};
	return open_letters(dead, durable_bytes) == -1 &&
		       !io_is_full_disk(errno)
		   ? -1
		   : 0;
}

int
dead_refresh(struct dead *dead)
{
	struct stat named, open;

	if (dead->fd == -1)
		return open_letters(dead, UINT64_MAX);
	if (fstat(dead->fd, &open) == -1)
		return -1;
	if (fstatat(dead->dir_fd, DEAD_NAME, &named, 0) == -1) {
		if (errno != ENOENT)
			return -1;
		named.st_ino = 0;
	}
	if (named.st_ino == open.st_ino && named.st_dev == open.st_dev) {
		if ((uint64_t)open.st_size < dead->end_bytes)
			dead->end_bytes = (uint64_t)open.st_size;
		return 0;
	}
	if (dead_sync(dead) == -1)
		return -1;
	(void)close(dead->fd);
	dead->fd = -1;
	return open_letters(dead, UINT64_MAX);
}

void
dead_close(struct dead *dead)
{
	if (dead->fd != -1)
		(void)close(dead->fd);
	dead->fd = -1;
}

void
dead_part_init(struct dead_part *part)
{
	*part = (struct dead_part){.fd = -1};
}

bool
dead_part_is_open(const struct dead_part *part)
{
	return part->fd != -1;
}

void
dead_part_close(struct dead_part *part)
{
	if (part->fd != -1)
		(void)close(part->fd);
	part->fd = -1;
}

/* Adds `,"name":value` to `line`, unless there is no value. */
static size_t
put_number(char *line, size_t room, const char *name, uint64_t value)
{
	if (value == DEAD_NONE)
		return 0;
	return (size_t)snprintf(line, room, ",\"%s\":%" PRIu64, name, value);
}

/* Writes a line up to where its base64 starts; returns its length. */
static size_t
put_start(
    char line[LINE_START_BYTES], const char *reason, uint64_t at, uint64_t seq)
{
	char now[LOG_TIME_BYTES];
	size_t n;

	log_time(now, loop_realtime_ns());
	n = (size_t)snprintf(
	    line, LINE_START_BYTES, "{\"time\":\"%s\",\"reason\":\"", now);
	for (const char *p = reason; *p != '\0'; p++) {
		uint8_t text[6];
		size_t k;

		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			continue;
		k = json_escape(text, p, 1);
		if (n + k > LINE_START_BYTES - LINE_NUMBERS_BYTES)
			break;
		memcpy(line + n, text, k);
		n += k;
	}
	line[n++] = '"';
	n += put_number(line + n, LINE_START_BYTES - n, "at", at);
	n += put_number(line + n, LINE_START_BYTES - n, "seq", seq);
	n += (size_t)snprintf(line + n, LINE_START_BYTES - n, ",\"bytes\":\"");
	return n;
}

/* Appends `count` bytes in base64. All but the last call for a letter give a
 * multiple of three. What was appended before a failure stays. */
static int
append_base64(int fd, uint64_t *end, const uint8_t *bytes, size_t count)
{
	unsigned char text[PIECE_TEXT_BYTES];

	while (count > 0) {
		size_t piece = count < PIECE_BYTES ? count : PIECE_BYTES;
		int n = EVP_EncodeBlock(text, bytes, (int)piece);

		if (append(fd, end, text, (size_t)n) == -1)
			return -1;
		bytes += piece;
		count -= piece;
	}
	return 0;
}

int
dead_write(struct dead *dead, const char *reason, uint64_t at, uint64_t seq,
    const void *bytes, size_t count)
{
	char line[LINE_START_BYTES];
	size_t n = put_start(line, reason, at, seq);
	uint64_t before;

	if (dead_refresh(dead) == -1)
		return -1;
	before = dead->end_bytes;
	dead->is_synced = false;
	if (append(dead->fd, &dead->end_bytes, line, n) == -1 ||
	    append_base64(dead->fd, &dead->end_bytes, bytes, count) == -1 ||
	    append(dead->fd, &dead->end_bytes, LINE_END, LINE_END_BYTES) ==
		-1) {
		roll_back(dead->fd, &dead->end_bytes, before);
		return -1;
	}
	return 0;
}

int
dead_begin(const struct dead *dead, struct dead_part *part, const char *reason)
{
	char line[LINE_START_BYTES];
	size_t n = put_start(line, reason, DEAD_NONE, DEAD_NONE);
	int saved;

	assert(!dead_part_is_open(part));
	part->fd = openat(dead->dir_fd, PART_NAME,
	    O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (part->fd == -1)
		return -1;
	part->bytes = 0;
	part->rest_bytes = 0;
	if (unlinkat(dead->dir_fd, PART_NAME, 0) == 0 &&
	    append(part->fd, &part->bytes, line, n) == 0)
		return 0;
	saved = errno;
	dead_part_close(part);
	errno = saved;
	return -1;
}

int
dead_add(struct dead_part *part, const void *bytes, size_t count)
{
	const uint8_t *from = bytes;
	uint64_t before = part->bytes;
	uint8_t group[3];
	size_t fill = part->rest_bytes == 0 ? 0 : 3 - part->rest_bytes;
	size_t whole;

	if (part->rest_bytes + count < sizeof(group)) {
		memcpy(part->rest + part->rest_bytes, from, count);
		part->rest_bytes += count;
		return 0;
	}
	/* The group that the last piece began, then all whole groups. */
	memcpy(group, part->rest, part->rest_bytes);
	memcpy(group + part->rest_bytes, from, fill);
	whole = (count - fill) / 3 * 3;
	if (append_base64(part->fd, &part->bytes, group,
		fill == 0 ? 0 : sizeof(group)) == -1 ||
	    append_base64(part->fd, &part->bytes, from + fill, whole) == -1) {
		roll_back(part->fd, &part->bytes, before);
		return -1;
	}
	part->rest_bytes = count - fill - whole;
	memcpy(part->rest, from + fill + whole, part->rest_bytes);
	return 0;
}

/* Appends all of the part to the letters. */
static int
copy_part(struct dead *dead, const struct dead_part *part)
{
	uint8_t piece[PIECE_BYTES];

	for (uint64_t at = 0; at < part->bytes;) {
		ssize_t n = io_pread_full(part->fd, piece, sizeof(piece), at);

		if (n > 0 &&
		    append(dead->fd, &dead->end_bytes, piece, (size_t)n) == 0) {
			at += (uint64_t)n;
			continue;
		}
		if (n == 0)
			errno = EIO;
		return -1;
	}
	return 0;
}

int
dead_end(struct dead *dead, struct dead_part *part)
{
	uint64_t before;

	if (dead_refresh(dead) == -1)
		return -1;
	before = dead->end_bytes;
	dead->is_synced = false;
	if (copy_part(dead, part) == -1 ||
	    append_base64(dead->fd, &dead->end_bytes, part->rest,
		part->rest_bytes) == -1 ||
	    append(dead->fd, &dead->end_bytes, LINE_END, LINE_END_BYTES) ==
		-1) {
		roll_back(dead->fd, &dead->end_bytes, before);
		return -1;
	}
	dead_part_close(part);
	return 0;
}

int
dead_sync(struct dead *dead)
{
	if (dead->is_synced)
		return 0;
	if (fdatasync(dead->fd) == -1) {
		/* Never to be tried again, so not as a disk full for now. */
		if (io_is_full_disk(errno))
			errno = EIO;
		return -1;
	}
	dead->is_synced = true;
	return 0;
}
