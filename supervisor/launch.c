#include "supervisor/launch.h"

#include "stage/control.h"
#include "supervisor/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* A socket on its way to a neighbour of a stage that is being started. */
struct offer {
	enum stage_kind to;
	enum ctlmsg_kind kind;
	int fd; /* owned; -1: the neighbour does not run */
};

/* A stage has a socket on each side at most. */
#define MAX_OFFERS 2

/* Opens a socket between a stage that is being started and a neighbour. */
static int
open_stream(struct crew *crew, enum stage_kind to, enum ctlmsg_kind kind,
    int *fd, struct offer *offer)
{
	int result;

	*offer = (struct offer){.to = to, .kind = kind, .fd = -1};
	if (kind == CTLMSG_ATTACH_IN)
		result = link_stream(fd, &offer->fd);
	else
		result = link_stream(&offer->fd, fd);
	if (result == 0 && !crew_can_tell(crew, to))
		link_close_fd(&offer->fd);
	return result;
}

/* Opens what the source reads. */
static int
open_source_input(struct crew *crew, int *fd)
{
	if (crew->chain.pipe == CHAIN_PIPE_NONE && !crew->has_stdin)
		return link_null(fd);
	if (crew->chain.pipe == CHAIN_PIPE_FRESH) {
		link_close_fd(&crew->read_fd);
		link_close_fd(&crew->write_fd);
		if (link_pipe(&crew->read_fd, &crew->write_fd) == -1)
			return -1;
	}
	*fd = fcntl(crew->has_stdin ? STDIN_FILENO : crew->read_fd,
	    F_DUPFD_CLOEXEC, LINK_LOCK_FD + 1);
	return *fd == -1 ? -1 : 0;
}

/* Opens both ends of what a stage works on, and what its neighbours get. */
static int
open_ends(struct crew *crew, enum stage_kind kind, struct link *link,
    struct offer offers[MAX_OFFERS])
{
	switch (kind) {
	case STAGE_COMMAND:
		link->out_fd =
		    fcntl(crew->write_fd, F_DUPFD_CLOEXEC, LINK_LOCK_FD + 1);
		return link->out_fd == -1 ? -1 : link_null(&link->in_fd);
	case STAGE_SOURCE:
		if (open_source_input(crew, &link->in_fd) == -1)
			return -1;
		return open_stream(crew, STAGE_WAL, CTLMSG_ATTACH_IN,
		    &link->out_fd, &offers[0]);
	case STAGE_WAL:
		if (open_stream(crew, STAGE_SOURCE, CTLMSG_ATTACH_OUT,
			&link->in_fd, &offers[0]) == -1)
			return -1;
		return open_stream(crew, STAGE_SINK, CTLMSG_ATTACH_IN,
		    &link->out_fd, &offers[1]);
	default:
		if (link_null(&link->out_fd) == -1)
			return -1;
		return open_stream(crew, STAGE_WAL, CTLMSG_ATTACH_OUT,
		    &link->in_fd, &offers[0]);
	}
}

/* Gives the neighbours their ends. One that does not take it, since it has not
 * read its messages for long, is of no use any more. */
static void
give(struct crew *crew, struct offer offers[MAX_OFFERS])
{
	for (int i = 0; i < MAX_OFFERS; i++) {
		struct offer *offer = &offers[i];
		struct crew_stage *to = &crew->stage[offer->to];

		if (offer->fd == -1)
			continue;
		if (control_send_kind(to->control_fd, offer->kind, offer->fd) ==
			-1 &&
		    errno != EPIPE && errno != ECONNRESET) {
			journal_say_about(crew->shared->journal, LOG_ERROR,
			    &to->name,
			    "cannot be given a new stream (%m): killed");
			crew_signal(crew, offer->to, SIGKILL);
		}
		link_close_fd(&offer->fd);
	}
}

/* Says whether standard input is a terminal that this process group may read,
 * and no other. */
static bool
is_in_foreground(void)
{
	return tcgetpgrp(STDIN_FILENO) == getpgrp();
}

/* Starts the process of a stage on `link`. Returns 0, or -1 with errno set. */
static int
spawn_on(struct crew *crew, enum stage_kind kind, const struct link *link)
{
	struct crew_stage *stage = &crew->stage[kind];
	struct child_setup setup = {
	    .link = link,
	    .lock_fd = crew->shared->lock_fd,
	    .mask = &crew->shared->mask,
	    .identity = &crew->shared->identity,
	    .fd_limit = &crew->shared->fd_limit,
	    .shares_group =
		kind == STAGE_SOURCE && crew->has_stdin && is_in_foreground(),
	};
	char *path = program_find(stage->command.argv[0]), *line;
	int result, saved;

	if (path == NULL)
		return -1;
	result =
	    child_spawn(path, stage->command.argv, &setup, &stage->name.pid);
	saved = errno;
	free(path);
	if (result == 0) {
		line = command_quote(&stage->command);
		journal_say_about(crew->shared->journal, LOG_INFO, &stage->name,
		    "started: %s", line);
		free(line);
	}
	errno = saved;
	return result;
}

int
launch(struct crew *crew, enum stage_kind kind)
{
	struct crew_stage *stage = &crew->stage[kind];
	struct offer offers[MAX_OFFERS] = {{.fd = -1}, {.fd = -1}};
	struct link link;
	int log_fd = -1, control_fd = -1, saved;

	link_init(&link);
	if (open_ends(crew, kind, &link, offers) == -1 ||
	    link_log(&log_fd, &link.log_fd) == -1)
		goto fail;
	if (kind != STAGE_COMMAND &&
	    link_control(&control_fd, &link.control_fd) == -1)
		goto fail;
	if (spawn_on(crew, kind, &link) == -1)
		goto fail;
	link_close(&link);
	relay_init(&stage->relay, log_fd);
	cJSON_Delete(stage->report);
	stage->report = NULL;
	stage->last_line[0] = '\0';
	stage->control_fd = control_fd;
	/* The only one that writes into the pipe from here on. */
	if (kind == STAGE_COMMAND)
		link_close_fd(&crew->write_fd);
	give(crew, offers);
	return 0;

fail:
	saved = errno;
	link_close(&link);
	link_close_fd(&log_fd);
	link_close_fd(&control_fd);
	for (int i = 0; i < MAX_OFFERS; i++)
		link_close_fd(&offers[i].fd);
	errno = saved;
	return -1;
}
