#include "wssink/retry.h"

#include "stage/log.h"
#include "stage/loop.h"
#include "stage/mem.h"

#include <openssl/rand.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A connection that held this long lets the waits begin anew. */
#define STABLE_NS (5 * LOOP_NS_PER_S)
/* The same failure to connect is told again after this long. */
#define REPEAT_NS (60 * LOOP_NS_PER_S)

void
retry_init(
    struct retry *retry, const char *url, uint64_t max_ms, int64_t now_ns)
{
	*retry = (struct retry){
	    .url = url,
	    .max_ms = max_ms,
	    .next_ns = now_ns,
	};
}

/* Forgets what was told of failures. */
static void
forget(struct retry *retry)
{
	for (size_t i = 0; i < RETRY_TOLD; i++) {
		free(retry->told[i].why);
		retry->told[i].why = NULL;
	}
	retry->untold = 0;
}

void
retry_fini(struct retry *retry)
{
	forget(retry);
}

void
retry_dialed(struct retry *retry)
{
	retry->was_open = false;
}

void
retry_opened(struct retry *retry, int64_t now_ns)
{
	retry->was_open = true;
	retry->opened_ns = now_ns;
	log_info("connected to %s", retry->url);
	forget(retry);
}

/* The next wait. */
static uint64_t
next_wait_ms(const struct retry *retry)
{
	uint64_t last = retry->wait_ms, random = 0, span;

	if (last < RETRY_MIN_MS)
		last = RETRY_MIN_MS;
	span = 3 * last - RETRY_MIN_MS;
	(void)RAND_bytes((uint8_t *)&random, sizeof(random));
	last = RETRY_MIN_MS + random % (span + 1);
	return last < retry->max_ms ? last : retry->max_ms;
}

/* Skips the digits of a number of milliseconds. */
static const char *
skip_ms(const char *text)
{
	const char *end = text + strspn(text, "0123456789");

	return strncmp(end, " m", 2) == 0 ? end : text;
}

/* Says whether two reasons differ in how long something took at most, which
 * libcurl tells in ms, or in words. */
static bool
is_same_reason(const char *a, const char *b)
{
	for (;; a++, b++) {
		a = skip_ms(a);
		b = skip_ms(b);
		if (*a == '\0' || *a != *b)
			return *a == *b;
	}
}

/* Says whether a reason like `why` was told lately. */
static bool
was_told(const struct retry *retry, const char *why, int64_t now_ns)
{
	for (size_t i = 0; i < RETRY_TOLD; i++) {
		const struct retry_told *told = &retry->told[i];

		if (told->why != NULL && is_same_reason(told->why, why) &&
		    now_ns - told->at_ns < REPEAT_NS)
			return true;
	}
	return false;
}

/* Notes that a reason is told now, in place of the one told longest ago. */
static void
note_told(struct retry *retry, const char *why, int64_t now_ns)
{
	struct retry_told *oldest = &retry->told[0];

	for (size_t i = 1; i < RETRY_TOLD; i++)
		if (retry->told[i].why == NULL ||
		    (oldest->why != NULL &&
			retry->told[i].at_ns < oldest->at_ns))
			oldest = &retry->told[i];
	free(oldest->why);
	oldest->why = mem_strdup(why);
	oldest->at_ns = now_ns;
}

/* Logs that there is no connection, unless it was told lately. */
static void
tell(struct retry *retry, const char *why, uint64_t wait_ms, int64_t now_ns)
{
	if (retry->was_open) {
		log_warn("lost %s: %s; connecting again in %" PRIu64 " ms",
		    retry->url, why, wait_ms);
		return;
	}
	if (was_told(retry, why, now_ns)) {
		retry->untold++;
		log_debug("cannot connect to %s: %s; again in %" PRIu64 " ms",
		    retry->url, why, wait_ms);
		return;
	}
	log_warn("cannot connect to %s: %s; trying on, next in %" PRIu64
		 " ms failed_since=%lu",
	    retry->url, why, wait_ms, retry->untold);
	retry->untold = 0;
	note_told(retry, why, now_ns);
}

void
retry_lost(struct retry *retry, const char *why, uint64_t asked_ms,
    bool is_quiet, int64_t now_ns)
{
	uint64_t wait_ms;

	if (retry->was_open && now_ns - retry->opened_ns >= STABLE_NS)
		retry->wait_ms = 0;
	retry->wait_ms = next_wait_ms(retry);
	wait_ms = asked_ms + retry->wait_ms;
	retry->next_ns = now_ns + (int64_t)wait_ms * LOOP_NS_PER_MS;
	if (!is_quiet)
		tell(retry, why, wait_ms, now_ns);
}
