#include "supervisor/journal.h"

#include "stage/loop.h"
#include "supervisor/logline.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char own_program[] = "supervisor";

void
journal_init(
    struct journal *journal, enum journal_format format, enum log_level level)
{
	*journal = (struct journal){
	    .fd = STDERR_FILENO,
	    .format = format,
	    .level = level,
	};
}

int
journal_open_file(struct journal *journal, const char *path)
{
	int fd = open(path,
	    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
	    0600);

	if (fd == -1)
		return -1;
	journal_close(journal);
	journal->fd = fd;
	journal->path = path;
	return 0;
}

void
journal_close(struct journal *journal)
{
	if (journal->fd != STDERR_FILENO)
		(void)close(journal->fd);
	journal->fd = STDERR_FILENO;
	journal->path = NULL;
}

/* Says whether a line can be written without waiting. */
static bool
is_writable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT) != 0;
}

static void
write_line(struct journal *journal, const char *line, size_t bytes)
{
	if (!is_writable(journal->fd) ||
	    write(journal->fd, line, bytes) != (ssize_t)bytes)
		journal->lost++;
}

/* Writes a line in the journal's format. `stage` may be NULL. */
static void
put(struct journal *journal, const struct logline *line,
    const struct journal_stage *stage)
{
	char out[LOGLINE_BYTES], message[LOG_LINE_BYTES];
	int n;

	if (journal->format == JOURNAL_JSON) {
		write_line(journal, out,
		    logline_put_json(out, line,
			stage == NULL ? NULL : stage->instance,
			stage == NULL ? NULL : stage->id));
		return;
	}
	(void)log_printable(
	    message, sizeof(message), line->message, line->message_bytes);
	n = snprintf(out, LOG_LINE_BYTES, "%.*s %.*s[%ld] %s %s",
	    LOGLINE_TIME_BYTES, line->time, (int)line->program_bytes,
	    line->program, line->pid, log_level_name(line->level), message);
	if (n > LOG_LINE_BYTES - 1)
		n = LOG_LINE_BYTES - 1;
	out[n++] = '\n';
	write_line(journal, out, (size_t)n);
}

/* Writes a line of our own, about `stage` if that is not NULL. */
static void
put_own(struct journal *journal, enum log_level level,
    const struct journal_stage *stage, const char *message)
{
	char now[LOG_TIME_BYTES];
	struct logline line = {
	    .time = now,
	    .program = own_program,
	    .program_bytes = strlen(own_program),
	    .pid = (long)getpid(),
	    .level = level,
	    .message = message,
	    .message_bytes = strlen(message),
	};

	log_time(now, loop_realtime_ns());
	put(journal, &line, stage);
}

/* Tells how many lines were lost, if any, once lines can be written again. */
static void
tell_lost(struct journal *journal)
{
	char message[64];

	if (journal->lost == 0 || !is_writable(journal->fd))
		return;
	(void)snprintf(message, sizeof(message),
	    "%lu log lines were lost: nobody took them", journal->lost);
	journal->lost = 0;
	put_own(journal, LOG_WARN, NULL, message);
}

void
journal_say(
    struct journal *journal, enum log_level level, const char *format, ...)
{
	char message[LOG_LINE_BYTES];
	int saved = errno;
	va_list args;

	if (level > journal->level)
		return;
	tell_lost(journal);
	errno = saved;
	va_start(args, format);
	(void)vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	put_own(journal, level, NULL, message);
	errno = saved;
}

void
journal_say_about(struct journal *journal, enum log_level level,
    const struct journal_stage *stage, const char *format, ...)
{
	char message[LOG_LINE_BYTES];
	int saved = errno, n;
	va_list args;

	if (level > journal->level)
		return;
	tell_lost(journal);
	if (stage->id == NULL)
		n = snprintf(message, sizeof(message), "%s: ", stage->instance);
	else
		n = snprintf(message, sizeof(message),
		    "%s/%s %s[%d]: ", stage->instance, stage->id,
		    stage->program, (int)stage->pid);
	errno = saved;
	va_start(args, format);
	(void)vsnprintf(message + n, sizeof(message) - (size_t)n, format, args);
	va_end(args);
	put_own(journal, level, stage, message);
	errno = saved;
}

void
journal_pass(struct journal *journal, const struct journal_stage *stage,
    const char *in, size_t bytes)
{
	char now[LOG_TIME_BYTES], text[LOG_LINE_BYTES], out[LOGLINE_BYTES];
	struct logline line = {
	    .time = now,
	    .program = stage->program,
	    .program_bytes = strlen(stage->program),
	    .pid = (long)stage->pid,
	    .level = LOG_WARN,
	    .message = in,
	    .message_bytes = bytes,
	};
	int n;

	log_time(now, loop_realtime_ns());
	(void)logline_parse(in, bytes, &line);
	if (line.level > journal->level)
		return;
	tell_lost(journal);
	if (journal->format == JOURNAL_JSON) {
		put(journal, &line, stage);
		return;
	}
	(void)log_printable(text, sizeof(text), in, bytes);
	n = snprintf(
	    out, sizeof(out), "%s/%s %s\n", stage->instance, stage->id, text);
	write_line(journal, out, (size_t)n);
}
