#include "supervisor/link.h"

#include "stage/control.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

void
link_close_fd(int *fd)
{
	if (*fd != -1)
		(void)close(*fd);
	*fd = -1;
}

void
link_init(struct link *link)
{
	*link = (struct link){-1, -1, -1, -1};
}

void
link_close(struct link *link)
{
	link_close_fd(&link->in_fd);
	link_close_fd(&link->out_fd);
	link_close_fd(&link->log_fd);
	link_close_fd(&link->control_fd);
}

static int
open_pair(int type, int *one_fd, int *other_fd)
{
	int pair[2];

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
	*one_fd = pair[0];
	*other_fd = pair[1];
	return 0;
}

int
link_stream(int *up_fd, int *down_fd)
{
	return open_pair(SOCK_STREAM, up_fd, down_fd);
}

int
link_pipe(int *read_fd, int *write_fd)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) == -1)
		return -1;
	*read_fd = ends[0];
	*write_fd = ends[1];
	return 0;
}

int
link_log(int *read_fd, int *write_fd)
{
	if (link_pipe(read_fd, write_fd) == -1)
		return -1;
	/* Of a pipe this cannot fail; and only our end is not to block. */
	(void)fcntl(*read_fd, F_SETFL, O_NONBLOCK);
	return 0;
}

int
link_control(int *our_fd, int *stage_fd)
{
	int ours, theirs, saved;

	if (open_pair(SOCK_SEQPACKET, &ours, &theirs) == -1)
		return -1;
	if (control_send_kind(ours, CTLMSG_HELLO, -1) == -1) {
		saved = errno;
		(void)close(ours);
		(void)close(theirs);
		errno = saved;
		return -1;
	}
	*our_fd = ours;
	*stage_fd = theirs;
	return 0;
}

int
link_null(int *fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null == -1)
		return -1;
	*fd = null;
	return 0;
}
