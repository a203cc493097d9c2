/*
 * What a patch is made of, for the files that share it: patch.c and
 * patch_compile.c make it of what the operator gave, patch_apply.c and
 * patch_steps.c put it into events.
 */
#ifndef WALPROC_PATCH_PARTS_H
#define WALPROC_PATCH_PARTS_H

#include "stage/buf.h"
#include "stage/json.h"
#include "stage/number.h"
#include "walproc/patch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What patch_apply.c works on at a time; more of them go another way. */
#define PATCH_MAX_PLAIN 256

/* What differs from event to event; all else is text by patch_add. */
enum part_kind {
	PART_TEXT,
	PART_SEQ,
	PART_INGEST_NS,
	PART_LOG_ID,
};
#define PART_KINDS (PART_LOG_ID + 1)

struct part {
	enum part_kind kind;
	struct buf text; /* PART_TEXT */
};

/*
 * One key and what is done to the member that it names. The parts are what is
 * put behind a member, piece by piece: a comma, the key as JSON, a colon, the
 * value. The first is text, of the comma at least; where there is no value, in
 * PATCH_ERASE and PATCH_MERGE, it is all. What PATCH_MERGE_EVENT does is done
 * by those of its record, which take its place.
 */
struct operation {
	enum patch_how how;
	bool key_has_backslash;
	bool begins_pass; /* an operation before it has the same key */
	bool is_too_long; /* the parts lack what had no room */
	uint8_t *key;	  /* owned; its escapes resolved, and a NUL behind it */
	size_t key_bytes;
	size_t name_bytes;  /* of comma, key and colon */
	struct part *parts; /* owned */
	size_t count;
	struct operation *inner; /* owned: PATCH_MERGE: one for each member of
				  * the record */
	uint32_t inner_count;
	uint32_t id; /* which one of all it is */
};

struct patch {
	struct patch_names names;
	struct operation *operations; /* owned */
	size_t count;
	bool uses[PART_KINDS]; /* one of them has such a part */
	/* All put a value under a key of their own; see patch_apply.c. */
	bool is_plain;
	/* For events that have none of the keys, as most have not: */
	bool may_begin[256]; /* a key that starts with this byte may be one of
			      * an operation */
	struct buf tail;     /* what all operations put, while all is text */
	bool has_tail;	     /* it is, and the tail holds it; is_plain */
	/* What patch_steps.c needs for the event that it works on: */
	struct buf *spare; /* owned: an event between two passes */
	bool *found;	   /* owned; by id: there is such a member */
	uint32_t ids;
};

/* What stands for the parts that are no text; set only if there is such a
 * part. */
struct part_values {
	const char *log_id;
	size_t log_id_bytes;
	uint8_t seq[NUMBER_MAX_BYTES]; /* in decimal */
	size_t seq_bytes;
	uint8_t ingest_ns[1 + NUMBER_MAX_BYTES];
	size_t ingest_ns_bytes;
};

/* Sets the time, in decimal. */
static inline void
part_values_set_time(struct part_values *values, int64_t ingest_ns)
{
	uint8_t *to = values->ingest_ns;
	uint64_t ns = (uint64_t)ingest_ns;

	if (ingest_ns < 0) {
		*to++ = '-';
		ns = 0 - ns;
	}
	values->ingest_ns_bytes =
	    (size_t)(number_put(to, ns) - values->ingest_ns);
}

/* Sets the values for an event. `about` is borrowed for as long. */
static inline void
part_values_init(struct part_values *values, const struct patch *patch,
    const struct patch_event *about)
{
	if (patch->uses[PART_LOG_ID]) {
		values->log_id = about->log_id;
		values->log_id_bytes = strlen(about->log_id);
	}
	if (patch->uses[PART_SEQ])
		values->seq_bytes =
		    (size_t)(number_put(values->seq, about->seq) - values->seq);
	if (patch->uses[PART_INGEST_NS])
		part_values_set_time(values, about->ingest_ns);
}

/* Returns what stands for a part, *bytes long. */
static inline const void *
part_bytes(
    const struct part_values *values, const struct part *part, size_t *bytes)
{
	switch (part->kind) {
	case PART_TEXT:
		break;
	case PART_SEQ:
		*bytes = values->seq_bytes;
		return values->seq;
	case PART_INGEST_NS:
		*bytes = values->ingest_ns_bytes;
		return values->ingest_ns;
	case PART_LOG_ID:
		*bytes = values->log_id_bytes;
		return values->log_id;
	}
	*bytes = buf_bytes(&part->text);
	return buf_front(&part->text);
}

/* Says whether a key as it stands in an event is that of the operation. */
static inline bool
operation_names(
    const struct operation *operation, const uint8_t *key, size_t key_bytes)
{
	/* An escape takes more bytes than what it stands for. */
	if (key_bytes < operation->key_bytes)
		return false;
	if (key_bytes == operation->key_bytes)
		return !operation->key_has_backslash &&
		       memcmp(key, operation->key, key_bytes) == 0;
	return memchr(key, '\\', key_bytes) != NULL &&
	       json_key_equals(
		   key, key_bytes, operation->key, operation->key_bytes);
}

/* A walk through the members of an object: those of the outline, if it has
 * all. */
struct member_walk {
	size_t next;
	struct json_member found;
	size_t at;
};

/* Returns the next member, or NULL behind the last; then walk->at is the
 * offset of the closing brace. The walk is zeroed to begin with. */
static inline const struct json_member *
member_walk_next(struct member_walk *walk, const uint8_t *in, size_t in_bytes,
    const struct json_outline *outline)
{
	if (!outline->is_whole)
		return json_next_member(in, in_bytes, &walk->at, &walk->found)
			   ? &walk->found
			   : NULL;
	if (walk->next < outline->count)
		return &outline->members[walk->next++];
	walk->at = outline->close;
	return NULL;
}

#endif
