/*
 * The patch: what `--insert KEY=VALUE` and the other operations do to an event.
 * They are done in their order, each to what those before it have made. The
 * event is not parsed into a tree and written again: the new bytes are put
 * between the old ones, which stay as they are to the letter.
 *
 * VALUE is JSON if it parses as JSON, else a string. In it stand placeholders:
 * ${hostname} ${instance} ${log_id} ${env:NAME}, which are text, and ${seq}
 * ${ingest_ns}, which are numbers where one is all of VALUE and text otherwise.
 * RECORD is a JSON object, with placeholders in its strings.
 *
 * Where an event has a key more than once, an operation on it is one on each of
 * these members.
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
	PATCH_UPDATE, /* and one that does not is an error of that event */
	PATCH_ERASE,  /* the member goes, and one comma with it */
	/* The value under the key is patched by RFC 7396: members that are null
	 * erase, records are merged, all else replaces or is added. */
	PATCH_MERGE,
	PATCH_MERGE_EVENT, /* the same, of the whole event */
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
 * Adds one operation behind the others. `text` is "KEY=VALUE", for PATCH_ERASE
 * "KEY", for PATCH_MERGE "KEY=RECORD" and for PATCH_MERGE_EVENT "RECORD".
 * Returns 0, or -1 with `why` of `why_bytes` saying what is wrong with it: no
 * KEY, not UTF-8, no RECORD or one that has a key twice, an unknown
 * placeholder, or a variable that is not set.
 */
int patch_add(struct patch *patch, enum patch_how how, const char *text,
    char *why, size_t why_bytes);

/*
 * Applies the patch, which is not empty, to an event of `bytes` with its
 * outline by json_outline, and queues the result in `buf`, which is empty.
 * Returns 0, or -1 with `why` saying what is wrong with the event: not an
 * object, a key to insert exists, a key to update does not, or what it becomes
 * on the way does not fit into the buffer. Then `buf` is empty. A patch is
 * applied by one thread at a time.
 */
int patch_apply(const struct patch *patch, const struct patch_event *about,
    const uint8_t *event, size_t bytes, const struct json_outline *outline,
    struct buf *buf, char *why, size_t why_bytes);

#endif
