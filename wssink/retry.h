/*
 * When to connect again, and what is said of a server that is away. The waits
 * grow with decorrelated jitter, which keeps many clients of a server that
 * comes back from meeting there. They begin anew only after a connection that
 * held for a while: time is what counts, not acks, since a server that takes
 * an event and closes, each time, would else be asked ten times a second for
 * ever. Times are CLOCK_MONOTONIC.
 */
#ifndef WSSINK_RETRY_H
#define WSSINK_RETRY_H

#include <stdbool.h>
#include <stdint.h>

/* Shortest wait, and the first at most three times that. */
#define RETRY_MIN_MS 100

/* Reasons that are remembered: they may come in turns. */
#define RETRY_TOLD 4

/* A reason for which there was no connection, as it was told. */
struct retry_told {
	char *why; /* owned; NULL: none */
	int64_t at_ns;
};

struct retry {
	const char *url;   /* as the log shows it; borrowed */
	uint64_t max_ms;   /* longest wait */
	uint64_t wait_ms;  /* the last one; 0: none yet */
	int64_t next_ns;   /* when to connect */
	bool was_open;	   /* the connection was, since the last dial */
	int64_t opened_ns; /* when; valid if was_open */
	struct retry_told told[RETRY_TOLD]; /* the last reasons */
	unsigned long untold;		    /* failures since */
};

/* Starts: the first try may be made now. */
void retry_init(
    struct retry *retry, const char *url, uint64_t max_ms, int64_t now_ns);

/* Frees its memory. */
void retry_fini(struct retry *retry);

/* Notes that a try is being made. */
void retry_dialed(struct retry *retry);

/* Notes, and logs, that there is a connection. */
void retry_opened(struct retry *retry, int64_t now_ns);

/*
 * Notes that there is none any more, or none was to be had, for the reason
 * `why`, and sets next_ns: a wait at random from now, or from `asked_ms` on,
 * for which the server asked (0: it did not). Logs it, unless `is_quiet`; as
 * debug only, if the same was said within the last minute.
 */
void retry_lost(struct retry *retry, const char *why, uint64_t asked_ms,
    bool is_quiet, int64_t now_ns);

#endif
