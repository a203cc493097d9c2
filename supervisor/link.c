#include "supervisor/link.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static void
close_fd(int *fd)
{
	if (*fd != -1)
		(void)close(*fd);
	*fd = -1;
}

/* Joins the output of one stage to the input of the next. */
static int
open_pair(int *out_fd, int *in_fd)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
	*out_fd = pair[0];
	*in_fd = pair[1];
	return 0;
}

static int
open_null(int *fd)
{
	*fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return *fd == -1 ? -1 : 0;
}

/* Opens the log pipe of a stage; only the supervisor's end does not block. */
static int
open_log(struct link_stage *stage)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) == -1)
		return -1;
	stage->reader_fd = ends[0];
	stage->log_fd = ends[1];
	return fcntl(stage->reader_fd, F_SETFL, O_NONBLOCK);
}

static int
open_all(struct link *link, bool has_source)
{
	struct link_stage *source = &link->stage[STAGE_SOURCE];
	struct link_stage *wal = &link->stage[STAGE_WAL];
	struct link_stage *sink = &link->stage[STAGE_SINK];

	if (open_pair(&source->out_fd, &wal->in_fd) == -1)
		return -1;
	if (!has_source)
		close_fd(&source->out_fd);
	else if (open_null(&source->in_fd) == -1 || open_log(source) == -1)
		return -1;
	if (open_pair(&wal->out_fd, &sink->in_fd) == -1)
		return -1;
	if (open_null(&sink->out_fd) == -1)
		return -1;
	return open_log(wal) == -1 || open_log(sink) == -1 ? -1 : 0;
}

int
link_open(struct link *link, bool has_source)
{
	int saved;

	for (int kind = 0; kind < STAGE_KINDS; kind++)
		link->stage[kind] = (struct link_stage){-1, -1, -1, -1};
	if (open_all(link, has_source) == 0)
		return 0;
	saved = errno;
	link_close(link);
	errno = saved;
	return -1;
}

void
link_close_given(struct link *link)
{
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		close_fd(&link->stage[kind].in_fd);
		close_fd(&link->stage[kind].out_fd);
		close_fd(&link->stage[kind].log_fd);
	}
}

void
link_close(struct link *link)
{
	link_close_given(link);
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		close_fd(&link->stage[kind].reader_fd);
}
