/*
 * Memory that is there or the process is not: every function here ends the
 * process with EXITCODE_AGAIN and one log line when memory is out, so NULL is
 * never a result. Sizes that come from a peer are held against a cap before
 * they get here.
 */
#ifndef STAGE_MEM_H
#define STAGE_MEM_H

#include <stdarg.h>
#include <stddef.h>

/*
 * Makes cJSON allocate through this module. Call once, first in main, before
 * any other use of cJSON.
 */
void mem_init(void);

/* Returns `bytes` (at least 1 is taken) of memory; the caller frees it. */
void *mem_alloc(size_t bytes);

/* Returns `count` zeroed elements of `bytes` each; the caller frees them. */
void *mem_calloc(size_t count, size_t bytes);

/*
 * Resizes `old` (NULL, or from this module) to `count` elements of `bytes`
 * each, as realloc(3); the old pointer is gone.
 */
void *mem_realloc(void *old, size_t count, size_t bytes);

/* Returns a copy of the string `s`; the caller frees it. */
char *mem_strdup(const char *s);

/* Returns a copy of the first `n` bytes of `s` with a NUL behind them. */
char *mem_strndup(const char *s, size_t n);

/* Returns a formatted string, as asprintf(3); the caller frees it. */
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
