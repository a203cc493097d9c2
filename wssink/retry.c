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
	free(retry->told);
	retry->told = NULL;
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

/* Says whether two reasons differ in their numbers at most: libcurl's tell how
 * many milliseconds a try took. */
static bool
is_same_reason(const char *a, const char *b)
{
	static const char digits[] = "0123456789";

	for (;; a++, b++) {
		a += strspn(a, digits);
		b += strspn(b, digits);
		if (*a == '\0' || *a != *b)
			return *a == *b;
	}
}

/* Logs that there is no connection, unless it was told lately. */
static void
tell(struct retry *retry, const char *why, uint64_t wait_ms, int64_t now_ns)
{
	if (retry->was_open) {
		log_warn("lost %s: %s; connecting again in %" PRIu64 " ms",
		    retry->url, why, wait_ms);
		forget(retry);
		return;
	}
	if (retry->told != NULL && is_same_reason(retry->told, why) &&
	    now_ns - retry->told_ns < REPEAT_NS) {
		retry->untold++;
		log_debug("cannot connect to %s: %s; again in %" PRIu64 " ms",
		    retry->url, why, wait_ms);
		return;
	}
	log_warn("cannot connect to %s: %s; trying on, next in %" PRIu64
		 " ms failed_since=%lu",
	    retry->url, why, wait_ms, retry->untold);
	forget(retry);
	retry->told = mem_strdup(why);
	retry->told_ns = now_ns;
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
