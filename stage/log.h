/*
 * The log: one event, one line, one write(2), under 1 KiB, on stderr.
 *
 *   2026-01-31T12:00:00.123Z walproc[812] error segment 7: fdatasync: ...
 *
 * The level and the program's name are the only mutable globals of a program.
 * A line that cannot be written is dropped: logging never blocks the flow and
 * never fails. errno is kept, and %m prints it.
 */
#ifndef STAGE_LOG_H
#define STAGE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_ERROR, /* someone must act */
	LOG_WARN,  /* handled, but odd */
	LOG_INFO,  /* start, stop, peer, roll */
	LOG_DEBUG, /* the rest */
};

/* One line is at most this long, newline included; the rest is cut. */
#define LOG_LINE_BYTES 1024

/*
 * Sets the name that lines carry (borrowed for ever) and the level up to which
 * they are written. Before the first call the name is "walpipe", the level
 * LOG_INFO.
 */
void log_init(const char *program, enum log_level level);

/* Returns the name of a level as lines carry it, e.g. "error". */
const char *log_level_name(enum log_level level);

/*
 * Write one line, formatted as by printf(3) with %m, at their level. What is
 * not printable ASCII in it is escaped, what is too long is cut.
 */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Writes `in_bytes` bytes from outside as printable text into `out`, NUL
 * terminated: printable ASCII as it is, \n \r \t \\ \" as in C, all else as
 * \xHH; what does not fit is cut and ends in "...". `out_bytes` is at least 8.
 * Returns `out`, so that it can stand in an argument list.
 */
const char *log_escape(
    char *out, size_t out_bytes, const void *in, size_t in_bytes);

/*
 * The same for a text that stays readable: only what is not printable ASCII is
 * written as \xHH. Every line that is logged goes through it.
 */
const char *log_printable(
    char *out, size_t out_bytes, const void *in, size_t in_bytes);

/*
 * Writes the wall clock `realtime_ns` (CLOCK_REALTIME) as
 * YYYY-MM-DDTHH:MM:SS.mmmZ, NUL terminated, into `out` of LOG_TIME_BYTES.
 */
#define LOG_TIME_BYTES 32
void log_time(char out[LOG_TIME_BYTES], int64_t realtime_ns);

/*
 * Holds back a line that could repeat per event: at most one a second passes.
 * Zero it to begin with.
 */
struct log_limit {
	int64_t next_ns;    /* CLOCK_MONOTONIC before which none passes */
	unsigned long held; /* lines held back since the last that passed */
};

/*
 * Says whether a line may be written now. If so, *held is the number of lines
 * held back since the last one, to be told in the line; if not, the line is
 * counted.
 */
bool log_limit_passes(struct log_limit *limit, unsigned long *held);

#endif
