#include "t/bench_peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void
peer_event(char event[PEER_EVENT_BYTES], size_t n)
{
	static const char start[] = "{\"id\": ", middle[] = ", \"pad\": \"";
	char *at = event;

	memcpy(at, start, sizeof(start) - 1);
	at += sizeof(start) - 1;
	/* A number in JSON has no zeros in front. */
	memset(at, ' ', 10);
	at += 10;
	for (char *digit = at - 1;; n /= 10) {
		*digit-- = (char)('0' + n % 10);
		if (n < 10)
			break;
	}
	memcpy(at, middle, sizeof(middle) - 1);
	at += sizeof(middle) - 1;
	memset(at, 'x', (size_t)(event + PEER_EVENT_BYTES - 2 - at));
	memcpy(event + PEER_EVENT_BYTES - 2, "\"}", 2);
}

size_t
peer_number(const char *name, const char *text, size_t most)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || n < 1 || n > most)
		peer_fail(name, "no such number");
	return (size_t)n;
}

double
peer_seconds(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) == -1)
		peer_fail("clock_gettime", strerror(errno));
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void
peer_result(size_t events, double seconds)
{
	if (printf("%zu %.6f\n", events, seconds) < 0 || fflush(stdout) == EOF)
		peer_fail("stdout", strerror(errno));
}

void
peer_fail(const char *what, const char *why)
{
	(void)fprintf(
	    stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
	exit(1);
}
