/*
 * A patch and an event, on which several ways to the same end are tried: all
 * operations at once and one after the other, as walproc does those that only
 * put values and as it does all others, and with trees. What comes of it has to
 * be JSON, and to have the bytes that nothing was done to.
 */
#ifndef T_PATCH_SAME_H
#define T_PATCH_SAME_H

#include "walproc/patch.h"

#include <stddef.h>
#include <stdint.h>

#define PATCH_SAME_MAX_STEPS 32

struct patch_same {
	struct {
		enum patch_how how;
		char *text; /* owned */
	} steps[PATCH_SAME_MAX_STEPS];
	size_t count;
	const uint8_t *event; /* borrowed; checked JSON, and an object */
	size_t bytes;
};

/* Adds an operation, unless patch_add refuses it or there is no room. */
void patch_same_add(struct patch_same *same, enum patch_how how,
    const char *text, size_t bytes);

/* Tries all the ways. Where two differ it says so on stderr, with what it
 * tried, and ends the process. There is one operation at least. */
void patch_same_try(const struct patch_same *same);

/* Frees the operations. */
void patch_same_fini(struct patch_same *same);

#endif
