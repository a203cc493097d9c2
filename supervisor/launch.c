#include "supervisor/launch.h"

#include "stage/control.h"
#include "stage/mem.h"
#include "supervisor/bury.h"
#include "supervisor/program.h"
#include "supervisor/roster.h"
#include "supervisor/state_dir.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A socket on its way to a stage that runs, or is about to. */
struct offer {
	size_t to;
	struct ctlmsg what; /* an attach */
	int fd;		    /* owned */
};

/* Those that the start of one stage brings about: the WAL and each of its
 * neighbours get one at most. */
#define MAX_OFFERS ((size_t)4 * CHAIN_MAX_OF_KIND)

struct offers {
	struct offer list[MAX_OFFERS];
	size_t count;
};

static void
close_offers(struct offers *offers)
{
	for (size_t i = 0; i < offers->count; i++)
		link_close_fd(&offers->list[i].fd);
	offers->count = 0;
}

/* Offers an end of a stream to the stage at `to`, which owns it then; `name` is
 * which of its neighbours is at the other end, or "". */
static void
add_offer(struct offers *offers, size_t to, enum ctlmsg_kind kind,
    const char *name, int fd)
{
	struct offer *offer = &offers->list[offers->count++];

	assert(offers->count <= MAX_OFFERS);
	*offer = (struct offer){.to = to, .what.kind = kind, .fd = fd};
	(void)snprintf(offer->what.name, sizeof(offer->what.name), "%s", name);
}

/* Opens the stream between the source or sink at `at`, which is being started,
 * and the WAL. The end of the WAL is closed where that does not run. */
static int
open_stream(struct crew *crew, size_t at, int *fd, struct offers *offers)
{
	bool is_source = chain_kind(&crew->chain, at) == STAGE_SOURCE;
	size_t wal = chain_at(&crew->chain, STAGE_WAL, 0);
	int wal_fd = -1;
	int result =
	    is_source ? link_stream(fd, &wal_fd) : link_stream(&wal_fd, fd);

	if (result == -1)
		return -1;
	if (crew_can_tell(crew, wal))
		add_offer(offers, wal,
		    is_source ? CTLMSG_ATTACH_IN : CTLMSG_ATTACH_OUT,
		    crew->stage[at]->id, wal_fd);
	else
		link_close_fd(&wal_fd);
	return 0;
}

/* Opens the stream between the WAL, which is being started, and the source or
 * sink at `at`. One that was removed has seen the last of its streams if it is
 * a sink. */
static int
open_neighbour(struct crew *crew, size_t at, struct offers *offers)
{
	bool is_source = chain_kind(&crew->chain, at) == STAGE_SOURCE;
	size_t wal = chain_at(&crew->chain, STAGE_WAL, 0);
	int up_fd, down_fd;

	if (!crew_can_tell(crew, at) ||
	    (!is_source && crew->chain.stage[at].is_removed))
		return 0;
	if (link_stream(&up_fd, &down_fd) == -1)
		return -1;
	if (is_source) {
		add_offer(offers, at, CTLMSG_ATTACH_OUT, "", up_fd);
		add_offer(offers, wal, CTLMSG_ATTACH_IN, crew->stage[at]->id,
		    down_fd);
	} else {
		add_offer(offers, at, CTLMSG_ATTACH_IN, "", down_fd);
		add_offer(
		    offers, wal, CTLMSG_ATTACH_OUT, crew->stage[at]->id, up_fd);
	}
	return 0;
}

/* Opens the streams of the WAL, which is given none at its start. */
static int
open_wal_ends(struct crew *crew, struct link *link, struct offers *offers)
{
	const struct chain *chain = &crew->chain;

	if (link_null(&link->in_fd) == -1 || link_null(&link->out_fd) == -1)
		return -1;
	for (size_t i = 0; i < chain->source_count; i++)
		if (open_neighbour(
			crew, chain_at(chain, STAGE_SOURCE, i), offers) == -1)
			return -1;
	for (size_t i = 0; i < chain->sink_count; i++)
		if (open_neighbour(
			crew, chain_at(chain, STAGE_SINK, i), offers) == -1)
			return -1;
	return 0;
}

/* Opens what the source at `at` reads. */
static int
open_source_input(struct crew *crew, size_t at, int *fd)
{
	struct crew_stage *stage = crew->stage[at];
	size_t index = chain_index(&crew->chain, at);
	enum chain_pipe pipe = crew->chain.source[index].pipe;

	if (pipe == CHAIN_PIPE_NONE && !stage->has_stdin)
		return link_null(fd);
	if (pipe == CHAIN_PIPE_FRESH) {
		link_close_fd(&stage->read_fd);
		link_close_fd(&stage->write_fd);
		if (link_pipe(&stage->read_fd, &stage->write_fd) == -1)
			return -1;
	}
	*fd = fcntl(stage->has_stdin ? STDIN_FILENO : stage->read_fd,
	    F_DUPFD_CLOEXEC, LINK_LOCK_FD + 1);
	return *fd == -1 ? -1 : 0;
}

/* Opens both ends of what a stage works on, and what others get. */
static int
open_ends(
    struct crew *crew, size_t at, struct link *link, struct offers *offers)
{
	switch (chain_kind(&crew->chain, at)) {
	case STAGE_COMMAND:
		link->out_fd = fcntl(crew->stage[at + 1]->write_fd,
		    F_DUPFD_CLOEXEC, LINK_LOCK_FD + 1);
		return link->out_fd == -1 ? -1 : link_null(&link->in_fd);
	case STAGE_SOURCE:
		if (open_source_input(crew, at, &link->in_fd) == -1)
			return -1;
		return open_stream(crew, at, &link->out_fd, offers);
	case STAGE_WAL:
		return open_wal_ends(crew, link, offers);
	default:
		if (link_null(&link->out_fd) == -1)
			return -1;
		return open_stream(crew, at, &link->in_fd, offers);
	}
}

/* Gives all their ends. One that does not take it, since it has not read its
 * messages for long, is of no use any more. */
static void
give(struct crew *crew, struct offers *offers)
{
	for (size_t i = 0; i < offers->count; i++) {
		const struct offer *offer = &offers->list[i];
		struct crew_stage *to = crew->stage[offer->to];

		if (control_send(to->control_fd, &offer->what, offer->fd) ==
			0 ||
		    errno == EPIPE || errno == ECONNRESET)
			continue;
		journal_say_about(crew->shared->journal, LOG_ERROR, &to->name,
		    "cannot be given a new stream (%m): killed");
		crew_signal(crew, offer->to, SIGKILL);
	}
	close_offers(offers);
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
spawn_on(struct crew *crew, size_t at, const struct link *link)
{
	struct crew_stage *stage = crew->stage[at];
	struct child_setup setup = {
	    .link = link,
	    .lock_fd = crew->shared->lock_fd,
	    .mask = &crew->shared->mask,
	    .identity = &crew->shared->identity,
	    .fd_limit = &crew->shared->fd_limit,
	    .shares_group = stage->has_stdin && is_in_foreground(),
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

/* Starts a stage. Returns 0; or -1 with errno set, and nothing of it open: what
 * program_find and child_spawn say, or what there is too little of. */
static int
start(struct crew *crew, size_t at)
{
	struct crew_stage *stage = crew->stage[at];
	enum stage_kind kind = chain_kind(&crew->chain, at);
	struct offers offers = {.count = 0};
	struct link link;
	int log_fd = -1, control_fd = -1, saved;

	link_init(&link);
	if (open_ends(crew, at, &link, &offers) == -1 ||
	    link_log(&log_fd, &link.log_fd) == -1)
		goto fail;
	if (kind != STAGE_COMMAND &&
	    link_control(&control_fd, &link.control_fd) == -1)
		goto fail;
	if (spawn_on(crew, at, &link) == -1)
		goto fail;
	link_close(&link);
	relay_init(&stage->relay, log_fd);
	cJSON_Delete(stage->report);
	stage->report = NULL;
	stage->last_line[0] = '\0';
	stage->control_fd = control_fd;
	/* The only one that writes into the pipe from here on. */
	if (kind == STAGE_COMMAND)
		link_close_fd(&crew->stage[at + 1]->write_fd);
	if (kind == STAGE_WAL)
		roster_forget(crew);
	/* The names come before the streams that have them. */
	roster_tell(crew);
	give(crew, &offers);
	return 0;

fail:
	saved = errno;
	link_close(&link);
	link_close_fd(&log_fd);
	link_close_fd(&control_fd);
	close_offers(&offers);
	errno = saved;
	return -1;
}

/* Says whether a program that could not be started never can be. */
static bool
is_final_error(int error)
{
	return error == ENOENT || error == EACCES || error == ENOEXEC ||
	       error == E2BIG || error == ENOTDIR || error == ELOOP;
}

/*
 * Gives the directory of the instance to who the stages are. Back to root, too:
 * what root makes in another's directory would not be given to that user when
 * it comes back, since the directory is its own already.
 */
static int
give_directory(const struct crew *crew, const char *path)
{
	const struct identity *who = &crew->shared->identity;

	if (who->is_given) {
		if (state_dir_give(path, who->uid, who->gid) == 0)
			return 0;
		journal_say_about(crew->shared->journal, LOG_ERROR, &crew->name,
		    "cannot give %s to the user of the stages: %m", path);
		return -1;
	}
	/* Some file systems let nobody do that; root can work there still. */
	if (geteuid() == 0 && state_dir_give(path, 0, (gid_t)-1) == -1)
		journal_say_about(crew->shared->journal, LOG_WARN, &crew->name,
		    "cannot take %s back from its owner: %m", path);
	return 0;
}

/* Makes the directory of the instance, in which walproc makes its own. */
static int
make_directory(const struct crew *crew)
{
	char *path =
	    mem_printf("%s/%s", crew->shared->state_dir, crew->instance);
	int result = state_dir_make(path);

	if (result == -1)
		journal_say_about(crew->shared->journal, LOG_ERROR, &crew->name,
		    "cannot make the directory %s: %m", path);
	else
		result = give_directory(crew, path);
	free(path);
	return result;
}

/* Says where a limit is that keeps a process from being started. */
static const char *
hint_for(int error)
{
	switch (error) {
	case EAGAIN:
		return " (no more processes may run: see ulimit -u, pids.max)";
	case EMFILE:
		return " (too many for the supervisor: see ulimit -n)";
	case ENFILE:
		return " (too many on the whole system: see fs.file-max)";
	default:
		return "";
	}
}

void
launch(struct crew *crew, size_t at)
{
	enum stage_kind kind = chain_kind(&crew->chain, at);
	struct crew_stage *stage = crew->stage[at];
	enum chain_end end = CHAIN_END_UNBORN;

	if (kind != STAGE_WAL || make_directory(crew) == 0) {
		if (start(crew, at) == 0)
			return;
		/* A command was there when the configuration was read. */
		if (kind != STAGE_COMMAND && is_final_error(errno))
			end = CHAIN_END_BURIED;
		journal_say_about(crew->shared->journal, LOG_ERROR,
		    &stage->name, "cannot start %.200s: %m%s",
		    stage->command.argv[0], hint_for(errno));
	}
	bury_unborn(crew, at, end);
}
