/*
 * Makes one operation of a patch of what the operator gave: the key and the
 * value become parts, and a record one operation for each of its members.
 */
#ifndef WALPROC_PATCH_COMPILE_H
#define WALPROC_PATCH_COMPILE_H

#include "walproc/patch_parts.h"

#include <stddef.h>

/*
 * Makes `operation` of `text`, which is as patch_add has it. Ids and passes are
 * the caller's to set. Returns 0, and the caller gives it to
 * patch_compile_fini; or -1 with `why`, and there is nothing to give.
 */
int patch_compile(struct operation *operation, const struct patch_names *names,
    enum patch_how how, const char *text, char *why, size_t why_bytes);

/* Frees what the operation owns. */
void patch_compile_fini(struct operation *operation);

#endif
