#include "walproc/dead.h"

#include "stage/io.h"
#include "stage/json.h"
#include "stage/log.h"
#include "stage/loop.h"

#include <openssl/evp.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEAD_NAME "dead-letters.ndjson"
/* Encoded at a time; a multiple of three. */
#define PIECE_BYTES ((size_t)12288)
#define PIECE_TEXT_BYTES (PIECE_BYTES / 3 * 4 + 1)

/* Writes at the end; on failure the file is cut back to where it was. */
static int
write_end(struct dead *dead, const void *data, size_t bytes)
{
	if (io_pwrite_full(dead->fd, data, bytes, dead->end) == -1) {
		int saved = errno;

		(void)!ftruncate(dead->fd, (off_t)dead->end);
		errno = saved;
		return -1;
	}
	dead->end += bytes;
	dead->is_synced = false;
	return 0;
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

int
dead_open(struct dead *dead, int dir_fd)
{
	struct stat st;
	int saved;

	*dead = (struct dead){.fd = -1, .is_synced = true};
	dead->fd =
	    openat(dir_fd, DEAD_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (dead->fd == -1)
		return -1;
	if (fstat(dead->fd, &st) == -1 ||
	    find_last_line(dead->fd, (uint64_t)st.st_size, &dead->end) == -1)
		goto fail;
	if (dead->end < (uint64_t)st.st_size &&
	    ftruncate(dead->fd, (off_t)dead->end) == -1)
		goto fail;
	/* The name is durable before a letter in it is acked. */
	if (fsync(dead->fd) == -1 || fsync(dir_fd) == -1)
		goto fail;
	return 0;

fail:
	saved = errno;
	dead_close(dead);
	errno = saved;
	return -1;
}

void
dead_close(struct dead *dead)
{
	if (dead->fd != -1)
		(void)close(dead->fd);
	dead->fd = -1;
}

/* Writes a line up to where its base64 starts. */
static int
begin(struct dead *dead, const char *reason, uint64_t at, uint64_t seq)
{
	char line[512], now[LOG_TIME_BYTES], number[48];
	uint8_t text[6 * 32];
	size_t n = 0;

	log_time(now, loop_realtime_ns());
	n = (size_t)snprintf(
	    line, sizeof(line), "{\"time\":\"%s\",\"reason\":\"", now);
	/* A reason is ours or the sink's: printable, and cut. */
	for (const char *p = reason; *p != '\0' && n < 350; p++)
		if ((unsigned char)*p >= 0x20 && (unsigned char)*p < 0x7f) {
			size_t k = json_escape(text, p, 1);

			memcpy(line + n, text, k);
			n += k;
		}
	n += (size_t)snprintf(line + n, sizeof(line) - n, "\"");
	if (at != DEAD_NONE) {
		(void)snprintf(number, sizeof(number), ",\"at\":%" PRIu64, at);
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s", number);
	}
	if (seq != DEAD_NONE) {
		(void)snprintf(
		    number, sizeof(number), ",\"seq\":%" PRIu64, seq);
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s", number);
	}
	n += (size_t)snprintf(line + n, sizeof(line) - n, ",\"bytes\":\"");
	dead->rest_bytes = 0;
	if (write_end(dead, line, n) == -1)
		return -1;
	dead->is_open = true;
	return 0;
}

int
dead_begin(struct dead *dead, const char *reason)
{
	return begin(dead, reason, DEAD_NONE, DEAD_NONE);
}

/* Encodes up to PIECE_BYTES, a multiple of three unless they are the last. */
static int
write_base64(struct dead *dead, const uint8_t *bytes, size_t count)
{
	unsigned char text[PIECE_TEXT_BYTES];
	int n = EVP_EncodeBlock(text, bytes, (int)count);

	return write_end(dead, text, (size_t)n);
}

int
dead_add(struct dead *dead, const void *bytes, size_t count)
{
	uint8_t piece[PIECE_BYTES];
	const struct dead before = *dead;
	const uint8_t *from = bytes;

	while (dead->rest_bytes + count >= 3) {
		size_t n = dead->rest_bytes, take;

		memcpy(piece, dead->rest, n);
		take = count < PIECE_BYTES - n ? count : PIECE_BYTES - n;
		/* Whole groups of three only, but for what is the end. */
		take -= (n + take) % 3;
		memcpy(piece + n, from, take);
		if (write_base64(dead, piece, n + take) == -1) {
			*dead = before;
			(void)!ftruncate(dead->fd, (off_t)dead->end);
			return -1;
		}
		dead->rest_bytes = 0;
		from += take;
		count -= take;
	}
	memcpy(dead->rest + dead->rest_bytes, from, count);
	dead->rest_bytes += count;
	return 0;
}

int
dead_end(struct dead *dead)
{
	const struct dead before = *dead;

	if ((dead->rest_bytes > 0 &&
		write_base64(dead, dead->rest, dead->rest_bytes) == -1) ||
	    write_end(dead, "\"}\n", 3) == -1) {
		int saved = errno;

		*dead = before;
		(void)!ftruncate(dead->fd, (off_t)dead->end);
		errno = saved;
		return -1;
	}
	dead->rest_bytes = 0;
	dead->is_open = false;
	return 0;
}

int
dead_write(struct dead *dead, const char *reason, uint64_t at, uint64_t seq,
    const void *bytes, size_t count)
{
	const struct dead before = *dead;

	if (begin(dead, reason, at, seq) == -1)
		return -1;
	if (dead_add(dead, bytes, count) == -1 || dead_end(dead) == -1) {
		int saved = errno;

		*dead = before;
		(void)!ftruncate(dead->fd, (off_t)dead->end);
		errno = saved;
		return -1;
	}
	return 0;
}

int
dead_sync(struct dead *dead)
{
	if (dead->is_synced)
		return 0;
	if (fdatasync(dead->fd) == -1) {
		if (errno == ENOSPC || errno == EDQUOT)
			errno = EIO;
		return -1;
	}
	dead->is_synced = true;
	return 0;
}
