/*
 * A patch that does more than put values under keys of their own. It is done in
 * passes through the event, each with all the operations up to one whose key
 * the pass has already: what they do is the same then as one after the other.
 */
#ifndef WALPROC_PATCH_STEPS_H
#define WALPROC_PATCH_STEPS_H

#include "walproc/patch.h"

#include <stddef.h>
#include <stdint.h>

/* As patch_apply, for an event that is an object. Not inline: patch_apply is to
 * stay small. */
__attribute__((noinline)) int patch_steps_apply(const struct patch *patch,
    const struct patch_event *about, const uint8_t *event, size_t bytes,
    const struct json_outline *outline, struct buf *buf, char *why,
    size_t why_bytes);

#endif
