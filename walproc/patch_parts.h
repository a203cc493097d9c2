/*
 * What a patch is made of, for the two files that share it: patch.c makes it
 * of what the operator gave, patch_apply.c puts it into events.
 */
#ifndef WALPROC_PATCH_PARTS_H
#define WALPROC_PATCH_PARTS_H

#include "stage/buf.h"
#include "walproc/patch.h"

#include <stdbool.h>
#include <stddef.h>

#define PATCH_MAX_OPERATIONS 256

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

/* The parts are what is put behind a member, piece by piece: a comma, the key
 * as JSON, a colon, the value. The first is text, of the comma at least. */
struct operation {
	enum patch_how how;
	char *key; /* owned */
	size_t key_bytes;
	bool key_has_backslash;
	size_t name_bytes;  /* of comma, key and colon */
	struct part *parts; /* owned */
	size_t count;
};

struct patch {
	struct patch_names names;
	struct operation *operations; /* owned */
	size_t count;
	bool uses[PART_KINDS]; /* one of them has such a part */
	/* For events that have none of the keys, as most have not: */
	bool may_begin[256]; /* a key that starts with this byte may be one of
			      * an operation */
	struct buf tail;     /* what all operations put, while all is text */
	bool has_tail;	     /* it is, and the tail holds it */
};

#endif
