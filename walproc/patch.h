/*
 * The patch: what `--insert KEY=VALUE` and `--upsert KEY=VALUE` do to an
 * event. The event is not parsed into a tree and written again: the new bytes
 * are put between the old ones, which stay as they are to the letter.
 *
 * VALUE is JSON if it parses as JSON, else a string. In it stand placeholders:
 * ${hostname} ${instance} ${log_id} ${env:NAME}, which are text, and ${seq}
 * ${ingest_ns}, which are numbers where one is all of VALUE and text otherwise.
 */
#ifndef WALPROC_PATCH_H
#define WALPROC_PATCH_H

#include "stage/buf.h"
#include "stage/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum patch_how {
	PATCH_INSERT, /* a key that exists is an error of that event */
	PATCH_UPSERT, /* a key that exists gets the new value */
};

struct patch;

/* What placeholders stand for, apart from the environment. */
struct patch_names {
	const char *hostname; /* borrowed until patch_free; valid UTF-8 */
	const char *instance; /* borrowed until patch_free; valid UTF-8 */
};

struct patch_event {
	uint64_t seq;	    /* of this event */
	int64_t ingest_ns;  /* CLOCK_REALTIME when it was taken; any where
			     * patch_uses_time says no */
	const char *log_id; /* borrowed: in hexadecimal */
};

/* Makes a patch that changes nothing; the caller frees it. `names` is copied,
 * its strings are not. */
struct patch *patch_new(const struct patch_names *names);
void patch_free(struct patch *patch);

/* Says whether there is anything to do. */
bool patch_is_empty(const struct patch *patch);

/* Says whether it makes a difference when an event was taken. */
bool patch_uses_time(const struct patch *patch);

/*
 * Adds one operation from "KEY=VALUE". Returns 0, or -1 with `why` of
 * `why_bytes` saying what is wrong with it: no KEY, a KEY given before, not
 * UTF-8, an unknown placeholder, or a variable that is not set.
 */
int patch_add(struct patch *patch, enum patch_how how, const char *key_value,
    char *why, size_t why_bytes);

/*
 * Applies the patch, which is not empty, to an event of `bytes` with its
 * outline by json_outline, and queues the result in `buf`, which is empty.
 * Returns 0, or -1 with `why` saying what is wrong with the event: not an
 * object, a key to insert exists, or the result does not fit into the buffer.
 * Then `buf` is empty.
 */
int patch_apply(const struct patch *patch, const struct patch_event *about,
    const uint8_t *event, size_t bytes, const struct json_outline *outline,
    struct buf *buf, char *why, size_t why_bytes);

#endif
