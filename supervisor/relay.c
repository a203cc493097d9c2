#include "supervisor/relay.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void
relay_init(struct relay *relay, int fd)
{
	relay->fd = fd;
	relay->has_ended = fd == -1;
	relay->is_cutting = false;
	relay->start = relay->end = 0;
}

void
relay_close(struct relay *relay)
{
	if (relay->fd != -1)
		(void)close(relay->fd);
	relay_init(relay, -1);
}

bool
relay_read(struct relay *relay)
{
	size_t left = relay->end - relay->start;
	ssize_t n;

	if (relay->has_ended)
		return false;
	memmove(relay->in, relay->in + relay->start, left);
	relay->start = 0;
	relay->end = left;
	do
		n = read(relay->fd, relay->in + left, sizeof(relay->in) - left);
	while (n == -1 && errno == EINTR);
	if (n > 0) {
		relay->end += (size_t)n;
		return true;
	}
	if (n == 0 || errno != EAGAIN)
		relay->has_ended = true;
	return false;
}

bool
relay_next(struct relay *relay, const char **line, size_t *bytes)
{
	while (relay->start < relay->end) {
		const char *at = relay->in + relay->start;
		size_t left = relay->end - relay->start;
		const char *newline = memchr(at, '\n', left);
		size_t n = newline == NULL ? left : (size_t)(newline - at);
		bool is_rest = relay->is_cutting;

		if (newline == NULL && !is_rest && !relay->has_ended &&
		    n < RELAY_LINE_BYTES)
			return false;
		relay->start += newline == NULL ? n : n + 1;
		relay->is_cutting = newline == NULL;
		if (is_rest)
			continue;
		*line = at;
		*bytes = n < RELAY_LINE_BYTES ? n : RELAY_LINE_BYTES;
		return true;
	}
	return false;
}
