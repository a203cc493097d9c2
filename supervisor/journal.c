#include "supervisor/journal.h"

#include "stage/io.h"
#include "stage/loop.h"
#include "supervisor/logline.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char own_program[] = "supervisor";

/* Opens what lines on stderr are written to. */
static int
open_stderr(void)
{
	int fd = isatty(STDERR_FILENO) ? io_open_again(STDERR_FILENO) : -1;

	/* Another user's terminal cannot be opened, but written to. */
	return fd == -1 ? STDERR_FILENO : fd;
}

void
journal_init(
    struct journal *journal, enum journal_format format, enum log_level level)
{
	int fd = open_stderr();

	*journal = (struct journal){
	    .fd = fd,
	    .stderr_fd = fd,
	    .format = format,
	    .level = level,
	};
}

/* Says whether a line can be written without waiting. */
static bool
is_writable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT) != 0;
}

/*
 * Writes a line, by one call: others may write to the same file or pipe. A
 * line that stands there in part, as a full disk leaves it, is ended first.
 * Returns 0; or -1 if the line is lost, which is then counted.
 */
static int
write_line(struct journal *journal, const char *line, size_t bytes)
{
	size_t end_bytes = journal->is_torn ? 1 : 0;
	char whole[1 + LOGLINE_BYTES];
	ssize_t n = -1;

	whole[0] = '\n';
	memcpy(whole + end_bytes, line, bytes);
	errno = EAGAIN;
	if (is_writable(journal->fd))
		n = write(journal->fd, whole, end_bytes + bytes);
	if (n == (ssize_t)(end_bytes + bytes)) {
		journal->is_torn = false;
		return 0;
	}
	journal->lost_errno = n == -1 ? errno : ENOSPC;
	journal->lost++;
	if (n > 0)
		journal->is_torn = (size_t)n > end_bytes;
	return -1;
}

/* Writes a line in the journal's format, as write_line does. `stage` may be
 * NULL. */
static int
put(struct journal *journal, const struct logline *line,
    const struct journal_stage *stage)
{
	char out[LOGLINE_BYTES], message[LOG_LINE_BYTES];
	int n;

	if (journal->format == JOURNAL_JSON) {
		n = (int)logline_put_json(out, line,
		    stage == NULL ? NULL : stage->instance,
		    stage == NULL ? NULL : stage->id);
		return write_line(journal, out, (size_t)n);
	}
	(void)log_printable(
	    message, sizeof(message), line->message, line->message_bytes);
	n = snprintf(out, LOG_LINE_BYTES, "%.*s %.*s[%ld] %s %s",
	    LOGLINE_TIME_BYTES, line->time, (int)line->program_bytes,
	    line->program, line->pid, log_level_name(line->level), message);
	if (n > LOG_LINE_BYTES - 1)
		n = LOG_LINE_BYTES - 1;
	out[n++] = '\n';
	return write_line(journal, out, (size_t)n);
}

/* Writes a line of our own, about `stage` if that is not NULL. */
static int
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
	return put(journal, &line, stage);
}

/*
 * Tells how many lines were lost, if any. Returns 0 if a line may follow; or
 * -1 if there is no way still, so that the next line is lost as well.
 */
static int
tell_lost(struct journal *journal)
{
	unsigned long lost = journal->lost;
	char message[128];

	if (lost == 0)
		return 0;
	(void)snprintf(message, sizeof(message), "%lu log lines were lost: %s",
	    lost,
	    journal->lost_errno == EAGAIN ? "nobody took them"
					  : strerror(journal->lost_errno));
	journal->lost = 0;
	if (put_own(journal, LOG_WARN, NULL, message) == 0)
		return 0;
	journal->lost = lost;
	return -1;
}

/* Makes way for a line. Returns 0; or -1 if it is lost, which is counted. */
static int
make_way(struct journal *journal)
{
	if (tell_lost(journal) == 0)
		return 0;
	journal->lost++;
	return -1;
}

/* Says whether a file ends within a line, as one does whose disk was full. */
static bool
ends_within_line(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	char last = '\n';

	if (fd == -1)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		(void)!pread(fd, &last, 1, st.st_size - 1);
	(void)close(fd);
	return last != '\n';
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
	journal->is_torn = ends_within_line(path);
	return 0;
}

void
journal_close(struct journal *journal)
{
	(void)tell_lost(journal);
	if (journal->fd != journal->stderr_fd)
		(void)close(journal->fd);
	journal->fd = journal->stderr_fd;
	journal->is_torn = false;
	journal->path = NULL;
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
	va_start(args, format);
	(void)vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (make_way(journal) == 0)
		(void)put_own(journal, level, NULL, message);
	errno = saved;
}

void
journal_say_faults(
    struct journal *journal, enum log_level level, const struct faults *faults)
{
	for (size_t i = 0; i < faults->count; i++)
		journal_say(journal, level, "%s", faults->text[i]);
	if (faults->more > 0)
		journal_say(journal, level, "and %zu more", faults->more);
}

void
journal_say_about(struct journal *journal, enum log_level level,
    const struct journal_stage *stage, const char *format, ...)
{
	char message[LOG_LINE_BYTES];
	int saved = errno, n;
	va_list args;

	journal_tell_held(journal, stage);
	if (level > journal->level)
		return;
	if (stage->id == NULL)
		n = snprintf(message, sizeof(message), "%s: ", stage->instance);
	else if (stage->pid == 0)
		n = snprintf(message, sizeof(message),
		    "%s/%s %s: ", stage->instance, stage->id, stage->program);
	else
		n = snprintf(message, sizeof(message),
		    "%s/%s %s[%d]: ", stage->instance, stage->id,
		    stage->program, (int)stage->pid);
	/* The name of a program is the user's, and of any length. */
	if (n > (int)sizeof(message) / 2)
		n = (int)sizeof(message) / 2;
	errno = saved;
	va_start(args, format);
	(void)vsnprintf(message + n, sizeof(message) - (size_t)n, format, args);
	va_end(args);
	if (make_way(journal) == 0)
		(void)put_own(journal, level, stage, message);
	errno = saved;
}

void
journal_tell_held(struct journal *journal, const struct journal_stage *stage)
{
	char message[LOG_LINE_BYTES];
	int saved = errno;

	if (stage->flood == NULL || stage->flood->held == 0)
		return;
	(void)snprintf(message, sizeof(message), "%lu lines of %s/%s held back",
	    stage->flood->held, stage->instance, stage->id);
	if (tell_lost(journal) == 0 &&
	    put_own(journal, LOG_WARN, stage, message) == 0)
		stage->flood->held = 0;
	errno = saved;
}

/* Says whether a line is an error that the stage's program logs itself, and
 * not the text of another that merely looks so. */
static bool
is_own_error(const struct journal_stage *stage, const struct logline *line)
{
	return line->level == LOG_ERROR && line->pid == (long)stage->pid &&
	       line->program_bytes == strlen(stage->program) &&
	       memcmp(line->program, stage->program, line->program_bytes) == 0;
}

/* Says whether a line of a stage may be written now; else it is counted. */
static bool
may_pass(struct journal *journal, const struct journal_stage *stage,
    const struct logline *line)
{
	if (line->level > journal->level)
		return false;
	if (stage->flood == NULL || is_own_error(stage, line))
		return true;
	if (!flood_passes(stage->flood, loop_now_ns()))
		return false;
	journal_tell_held(journal, stage);
	return true;
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
	if (!may_pass(journal, stage, &line) || make_way(journal) == -1)
		return;
	if (journal->format == JOURNAL_JSON) {
		(void)put(journal, &line, stage);
		return;
	}
	(void)log_printable(text, sizeof(text), in, bytes);
	n = snprintf(
	    out, sizeof(out), "%s/%s %s\n", stage->instance, stage->id, text);
	(void)write_line(journal, out, (size_t)n);
}
