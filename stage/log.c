#include "stage/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

static const char *log_program = "walpipe";
static enum log_level log_level = LOG_INFO;

static const char *const level_names[LOG_DEBUG + 1] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

static int64_t
clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

void
log_init(const char *program, enum log_level level)
{
	log_program = program;
	log_level = level;
}

const char *
log_level_name(enum log_level level)
{
	return level_names[level];
}

void
log_time(char out[LOG_TIME_BYTES], int64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / NS_PER_S);
	struct tm tm;
	size_t n;

	(void)gmtime_r(&seconds, &tm);
	n = strftime(out, LOG_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out + n, LOG_TIME_BYTES - n, ".%03dZ",
	    (int)(realtime_ns % NS_PER_S / NS_PER_MS));
}

/* Writes a line if that cannot block: a pipe that poll(2) found ready takes
 * PIPE_BUF bytes, and no line is longer. */
static void
write_line(const char *line, size_t bytes)
{
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0)
		return;
	/* Nobody is left to be told when stderr itself is gone. */
	(void)!write(STDERR_FILENO, line, bytes);
}

static void __attribute__((format(printf, 2, 0)))
log_line(enum log_level level, const char *format, va_list args)
{
	char line[LOG_LINE_BYTES], text[LOG_LINE_BYTES], now[LOG_TIME_BYTES];
	int saved = errno;
	size_t n;
	int k;

	if (level > log_level)
		return;
	log_time(now, clock_ns(CLOCK_REALTIME));
	k = snprintf(line, sizeof(line), "%s %s[%d] %s ", now, log_program,
	    (int)getpid(), level_names[level]);
	n = (size_t)k;
	errno = saved;
	(void)vsnprintf(text, sizeof(text), format, args);
	/* Words from outside may be anywhere in it, and must neither end the
	 * line nor reach a terminal as they are. */
	(void)log_printable(line + n, sizeof(line) - n - 1, text, strlen(text));
	n += strlen(line + n);
	line[n++] = '\n';
	write_line(line, n);
	errno = saved;
}

void
log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LOG_ERROR, format, args);
	va_end(args);
}

void
log_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LOG_WARN, format, args);
	va_end(args);
}

void
log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LOG_INFO, format, args);
	va_end(args);
}

void
log_debug(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LOG_DEBUG, format, args);
	va_end(args);
}

/*
 * Writes one byte as text into `text` and returns how many characters that
 * took; `is_quoted` as between quotes in C.
 */
static size_t
escape_byte(char text[5], unsigned char byte, bool is_quoted)
{
	static const char plain[] = "\n\r\t\\\"", letter[] = "nrt\\\"";
	const char *at = byte == '\0' ? NULL : strchr(plain, byte);

	if (is_quoted && at != NULL) {
		text[0] = '\\';
		text[1] = letter[at - plain];
		return 2;
	}
	if (byte >= 0x20 && byte < 0x7f) {
		text[0] = (char)byte;
		return 1;
	}
	return (size_t)snprintf(text, 5, "\\x%02x", byte);
}

static const char *
escape(char *out, size_t out_bytes, const void *in, size_t in_bytes,
    bool is_quoted)
{
	static const char cut[] = "...";
	const unsigned char *p = in;
	size_t used = 0, safe = 0;

	for (size_t i = 0; i < in_bytes; i++) {
		char text[5];
		size_t n = escape_byte(text, p[i], is_quoted);

		if (used + n >= out_bytes) {
			memcpy(out + safe, cut, sizeof(cut));
			return out;
		}
		memcpy(out + used, text, n);
		used += n;
		if (used + sizeof(cut) <= out_bytes)
			safe = used;
	}
	out[used] = '\0';
	return out;
}

const char *
log_escape(char *out, size_t out_bytes, const void *in, size_t in_bytes)
{
	return escape(out, out_bytes, in, in_bytes, true);
}

const char *
log_printable(char *out, size_t out_bytes, const void *in, size_t in_bytes)
{
	return escape(out, out_bytes, in, in_bytes, false);
}

bool
log_limit_passes(struct log_limit *limit, unsigned long *held)
{
	int64_t now = clock_ns(CLOCK_MONOTONIC);

	if (now < limit->next_ns) {
		limit->held++;
		return false;
	}
	*held = limit->held;
	limit->held = 0;
	limit->next_ns = now + NS_PER_S;
	return true;
}
