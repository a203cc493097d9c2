#include "wssink/wsrefusal.h"

#include "stage/log.h"
#include "stage/loop.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Of the reason and of the place of a redirection. */
#define EXCERPT_BYTES 200
#define DATE_BYTES 40
#define MS_PER_S 1000

/* Leaves out the size of the first chunk, RFC 9112 section 7.1. */
static void
skip_chunk_size(const uint8_t **body, size_t *bytes)
{
	const uint8_t *end = NULL;

	if (*bytes > 0)
		end = memchr(*body, '\n', *bytes);
	if (end == NULL) {
		*bytes = 0;
		return;
	}
	*bytes -= (size_t)(end + 1 - *body);
	*body = end + 1;
}

void
wsrefusal_tell(char text[WSREFUSAL_BYTES],
    const struct wshandshake_reply *reply, const uint8_t *body,
    size_t body_bytes)
{
	char reason[EXCERPT_BYTES], excerpt[EXCERPT_BYTES],
	    where[EXCERPT_BYTES];
	int n;

	if (reply->is_chunked)
		skip_chunk_size(&body, &body_bytes);
	if (body_bytes > WSREFUSAL_BODY_BYTES)
		body_bytes = WSREFUSAL_BODY_BYTES;
	n = snprintf(text, WSREFUSAL_BYTES, "%u %s \"%s\"", reply->status,
	    log_escape(
		reason, sizeof(reason), reply->reason, reply->reason_bytes),
	    log_escape(excerpt, sizeof(excerpt), body, body_bytes));
	if (reply->location == NULL || reply->status / 100 != 3)
		return;
	(void)snprintf(text + n, WSREFUSAL_BYTES - (size_t)n,
	    ", a redirection to \"%s\", which is not followed",
	    log_escape(
		where, sizeof(where), reply->location, reply->location_bytes));
}

/* Reads seconds; returns whether `text` is a number of them. */
static bool
read_seconds(const char *text, size_t bytes, uint64_t *ms)
{
	uint64_t s = 0;

	for (size_t i = 0; i < bytes; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		s = 10 * s + (uint64_t)(text[i] - '0');
		if (s > WSREFUSAL_WAIT_MAX_MS / MS_PER_S)
			s = WSREFUSAL_WAIT_MAX_MS / MS_PER_S;
	}
	*ms = s * MS_PER_S;
	return bytes > 0;
}

/* Reads a date in the form that servers must write, RFC 9110 section 5.6.7.
 * Returns how long it is from now, 0 if it is over or no date. */
static uint64_t
read_date(const char *at, size_t bytes, int64_t now_ns)
{
	char text[DATE_BYTES];
	struct tm tm = {0};
	const char *end;
	int64_t ms;

	if (bytes >= sizeof(text))
		return 0;
	memcpy(text, at, bytes);
	text[bytes] = '\0';
	end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (end == NULL || *end != '\0')
		return 0;
	ms = (int64_t)timegm(&tm) * MS_PER_S - now_ns / LOOP_NS_PER_MS;
	return ms > 0 ? (uint64_t)ms : 0;
}

uint64_t
wsrefusal_wait_ms(const struct wshandshake_reply *reply, int64_t now_ns)
{
	uint64_t ms;

	if (reply->retry_after == NULL ||
	    (reply->status != 429 && reply->status != 503))
		return 0;
	if (!read_seconds(reply->retry_after, reply->retry_after_bytes, &ms))
		ms = read_date(
		    reply->retry_after, reply->retry_after_bytes, now_ns);
	return ms < WSREFUSAL_WAIT_MAX_MS ? ms : WSREFUSAL_WAIT_MAX_MS;
}
