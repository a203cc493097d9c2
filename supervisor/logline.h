/*
 * Log lines as text and as JSON, and the reading of the lines that our own
 * programs write. Pure bytes.
 *
 *   2026-01-31T12:00:00.123Z walproc[812] error segment 7: fdatasync: ...
 */
#ifndef SUPERVISOR_LOGLINE_H
#define SUPERVISOR_LOGLINE_H

#include "stage/log.h"

#include <stdbool.h>
#include <stddef.h>

/* Room for one line in either form, newline included: a pipe takes it whole. */
#define LOGLINE_BYTES ((size_t)4096)

/* One line, taken apart. All strings are borrowed. */
struct logline {
	const char *time; /* as log_time has it, LOGLINE_TIME_BYTES */
	const char *program;
	size_t program_bytes;
	long pid;
	enum log_level level;
	const char *message;
	size_t message_bytes;
};

/* "2026-01-31T12:00:00.123Z" */
#define LOGLINE_TIME_BYTES 24

/*
 * Takes a line, `in_bytes` long and without its newline, apart. Returns true
 * with *line pointing into `in`, or false if it is no line of ours.
 */
bool logline_parse(const char *in, size_t in_bytes, struct logline *line);

/*
 * Writes a line as one JSON object with time, level, program, pid, instance,
 * stage (both left out if NULL) and message, and a newline. Returns its
 * length, at most LOGLINE_BYTES. The message is cut where needed.
 */
size_t logline_put_json(char out[LOGLINE_BYTES], const struct logline *line,
    const char *instance, const char *stage);

#endif
