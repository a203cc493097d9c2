#include "stage/io.h"

#include "stage/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux refuses more: MAX_TCP_KEEPIDLE. */
#define KEEPIDLE_MAX_S 32767

int
io_pwrite_full(int fd, const void *data, size_t bytes, uint64_t offset)
{
	const uint8_t *p = data;

	while (bytes > 0) {
		ssize_t n = pwrite(fd, p, bytes, (off_t)offset);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		if (n == 0) {
			/* No progress and no reason given: as a full disk. */
			errno = ENOSPC;
			return -1;
		}
		p += n;
		bytes -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

ssize_t
io_pread_full(int fd, void *data, size_t bytes, uint64_t offset)
{
	uint8_t *p = data;
	size_t done = 0;

	while (done < bytes) {
		ssize_t n =
		    pread(fd, p + done, bytes - done, (off_t)(offset + done));

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int
io_write_full(int fd, const void *data, size_t bytes)
{
	const uint8_t *p = data;

	while (bytes > 0) {
		ssize_t n = write(fd, p, bytes);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		if (n == 0) {
			errno = ENOSPC;
			return -1;
		}
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* Fills `text` from `fd` until the end of the file or one byte over the cap. */
static ssize_t
read_to_end(int fd, char *text, size_t room)
{
	size_t used = 0;

	while (used < room) {
		ssize_t n = read(fd, text + used, room - used);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

char *
io_read_file(const char *path, size_t max_bytes, size_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	ssize_t n;
	int saved;

	if (fd == -1)
		return NULL;
	text = mem_alloc(max_bytes + 1);
	n = read_to_end(fd, text, max_bytes + 1);
	if (n == -1)
		goto fail;
	if ((size_t)n > max_bytes) {
		errno = EFBIG;
		goto fail;
	}
	(void)close(fd);
	text[n] = '\0';
	*bytes = (size_t)n;
	return text;

fail:
	saved = errno;
	(void)close(fd);
	free(text);
	errno = saved;
	return NULL;
}

bool
io_is_full_disk(int error)
{
	return error == ENOSPC || error == EDQUOT;
}

bool
io_is_unreadable(int error)
{
	return error == EIO || error == ENODATA || error == EBADMSG ||
	       error == EUCLEAN;
}

int
io_replace(int fd, int *number)
{
	int result, saved;

	if (*number == -1) {
		*number = fd;
		return 0;
	}
	result = dup2(fd, *number);
	saved = errno;
	(void)close(fd);
	errno = saved;
	return result == -1 ? -1 : 0;
}

bool
io_is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

int
io_set_silence_timeout(int fd, uint64_t ms)
{
	int timeout_ms = ms < INT_MAX ? (int)ms : INT_MAX;
	int half_s = timeout_ms / 2000 > 1 ? timeout_ms / 2000 : 1;
	const struct {
		int level;
		int name;
		int value;
	} table[] = {
	    {IPPROTO_TCP, TCP_USER_TIMEOUT, timeout_ms},
	    {IPPROTO_TCP, TCP_KEEPINTVL, 1},
	    {IPPROTO_TCP, TCP_KEEPIDLE,
		half_s < KEEPIDLE_MAX_S ? half_s : KEEPIDLE_MAX_S},
	    {SOL_SOCKET, SO_KEEPALIVE, 1},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (setsockopt(fd, table[i].level, table[i].name,
			&table[i].value, sizeof(table[i].value)) == -1)
			return -1;
	return 0;
}

int
io_set_unsent_limit(int fd, int bytes)
{
	return setsockopt(
	    fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

bool
io_has_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return true;
	return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLRDHUP)) != 0;
}

int
io_set_direct(int fd, bool is_direct)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags == -1)
		return -1;
	flags = is_direct ? flags | O_DIRECT : flags & ~O_DIRECT;
	return fcntl(fd, F_SETFL, flags);
}

size_t
io_pipe_room(int fd)
{
	int room = fcntl(fd, F_GETPIPE_SZ), queued;
	struct stat st;

	if (room == -1)
		return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? SIZE_MAX
								  : PIPE_BUF;
	/* A page that is read in part is not free: pipe(7). */
	if (room < PIPE_BUF || ioctl(fd, FIONREAD, &queued) == -1 || queued > 0)
		return PIPE_BUF;
	return (size_t)room;
}

bool
io_is_open(int fd)
{
	return fcntl(fd, F_GETFD) != -1;
}

int
io_open_again(int fd)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int
io_claim_stdio(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (io_is_open(fd))
			continue;
		/* The lowest free number is `fd`: those below are open. */
		if (open("/dev/null", O_RDWR) == -1)
			return -1;
	}
	return 0;
}
