#include "supervisor/hear.h"

#include "stage/control.h"

#include <signal.h>
#include <string.h>

/* Reads of a dead stage's log: more than a pipe holds. */
#define LAST_READS 16
/* Control messages taken from a stage in a turn, at most. */
#define MESSAGES 16

/* Passes on the lines that a stage's log has ready. */
static void
pass_lines(struct crew *crew, struct crew_stage *stage)
{
	const char *line;
	size_t bytes;

	while (relay_next(&stage->relay, &line, &bytes)) {
		memcpy(stage->last_line, line, bytes);
		stage->last_line[bytes] = '\0';
		journal_pass(crew->shared->journal, &stage->name, line, bytes);
	}
}

void
hear_log(struct crew *crew, size_t at)
{
	struct crew_stage *stage = crew->stage[at];

	(void)relay_read(&stage->relay);
	pass_lines(crew, stage);
}

/* Ends the neighbour at `at`, with which the one at `teller` can do nothing any
 * more: only its successor is given a new stream. */
static void
end_faulty(struct crew *crew, size_t teller, size_t at)
{
	const struct crew_stage *stage = crew->stage[at];

	if (stage->name.pid == 0 || stage->has_ended)
		return;
	journal_say_about(crew->shared->journal, LOG_ERROR, &stage->name,
	    "has broken the protocol with %s: killed", crew->stage[teller]->id);
	crew_signal(crew, at, SIGKILL);
}

/* Finds which of the neighbours on a side of the WAL has a name; without one it
 * is the only one. Returns whether there is one. */
static bool
find_named(
    const struct crew *crew, enum stage_kind kind, const char *name, size_t *at)
{
	size_t count = chain_count(&crew->chain, kind);

	for (size_t i = 0; i < count; i++) {
		*at = chain_at(&crew->chain, kind, i);
		if (name[0] == '\0' ? count == 1
				    : strcmp(crew->stage[*at]->id, name) == 0)
			return true;
	}
	return false;
}

/* Takes the word of the stage at `at` that the neighbour from which it reads
 * (`is_in`), or to which it writes, has broken the protocol. */
static void
take_fault(struct crew *crew, size_t at, bool is_in, const char *name)
{
	enum stage_kind kind = chain_kind(&crew->chain, at);
	size_t wal = chain_at(&crew->chain, STAGE_WAL, 0), other;

	if (kind == STAGE_WAL) {
		if (find_named(
			crew, is_in ? STAGE_SOURCE : STAGE_SINK, name, &other))
			end_faulty(crew, at, other);
	} else if (kind == (is_in ? STAGE_SINK : STAGE_SOURCE)) {
		end_faulty(crew, at, wal);
	}
}

/* Takes the word of a stage that it is ready. */
static void
take_ready(struct crew *crew, size_t at)
{
	const struct chain_stage *chain = &crew->chain.stage[at];

	/* One that is to end is not of the new command. */
	if (chain->state == CHAIN_STARTING && !chain->is_again)
		command_fini(&crew->stage[at]->before);
	chain_ready(&crew->chain, at, loop_now_ns());
	crew_judge_trial(crew);
}

/* Takes one message of a stage. */
static void
take_message(struct crew *crew, size_t at, struct control_msg *msg)
{
	struct crew_stage *stage = crew->stage[at];

	switch (msg->what.kind) {
	case CTLMSG_READY:
		if (!stage->has_ended)
			take_ready(crew, at);
		break;
	case CTLMSG_REPORT:
		cJSON_Delete(stage->report);
		stage->report = msg->what.body;
		stage->owes_report = false;
		msg->what.body = NULL;
		break;
	case CTLMSG_FAULT_IN:
	case CTLMSG_FAULT_OUT:
		take_fault(crew, at, msg->what.kind == CTLMSG_FAULT_IN,
		    msg->what.name);
		break;
	default:
		break;
	}
	cJSON_Delete(msg->what.body);
	link_close_fd(&msg->fd);
}

void
hear_messages(struct crew *crew, size_t at)
{
	struct crew_stage *stage = crew->stage[at];
	struct control_msg msg;

	for (int i = 0; i < MESSAGES && stage->control_fd != -1; i++) {
		switch (control_recv(stage->control_fd, &msg)) {
		case CONTROL_GOT:
			take_message(crew, at, &msg);
			break;
		case CONTROL_NOTHING:
			return;
		case CONTROL_ENDED:
			/* Its exit follows, or must: nothing can be told to
			 * it any more. One that exits keeps its status. */
			link_close_fd(&stage->control_fd);
			crew_signal(crew, at, SIGKILL);
			break;
		}
	}
}

void
hear_last(struct crew *crew, size_t at)
{
	struct crew_stage *stage = crew->stage[at];

	hear_messages(crew, at);
	for (int i = 0; i < LAST_READS && relay_read(&stage->relay); i++)
		pass_lines(crew, stage);
	stage->relay.has_ended = true;
	pass_lines(crew, stage);
	relay_close(&stage->relay);
}
