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
hear_log(struct crew *crew, enum stage_kind kind)
{
	struct crew_stage *stage = &crew->stage[kind];

	(void)relay_read(&stage->relay);
	pass_lines(crew, stage);
}

/* Ends the neighbour with which a stage can do nothing any more: only its
 * successor is given a new stream. */
static void
end_faulty(struct crew *crew, enum stage_kind teller, bool is_in)
{
	enum stage_kind kind = is_in ? teller - 1 : teller + 1;
	const struct crew_stage *stage = &crew->stage[kind];

	if (stage->name.pid == 0 || stage->has_ended)
		return;
	journal_say_about(crew->shared->journal, LOG_ERROR, &stage->name,
	    "has broken the protocol with %s: killed", crew->stage[teller].id);
	crew_signal(crew, kind, SIGKILL);
}

/* Says whether all stages have begun their work. */
static bool
is_at_work(const struct crew *crew)
{
	const struct chain_stage *stages = crew->chain.stage;

	return stages[STAGE_SOURCE].state == CHAIN_READY &&
	       stages[STAGE_WAL].state == CHAIN_READY &&
	       stages[STAGE_SINK].state == CHAIN_READY;
}

/* Takes one message of a stage. */
static void
take_message(struct crew *crew, enum stage_kind kind, struct control_msg *msg)
{
	struct crew_stage *stage = &crew->stage[kind];

	enum ctlmsg_kind what = msg->what.kind;

	if (what == CTLMSG_READY && !stage->has_ended) {
		/* One that is to end is not of the new command. */
		if (crew->chain.stage[kind].state == CHAIN_STARTING &&
		    !crew->chain.stage[kind].is_again)
			command_fini(&stage->before);
		chain_ready(&crew->chain, kind, loop_now_ns());
		crew->is_trial = crew->is_trial && !is_at_work(crew);
	} else if (what == CTLMSG_REPORT) {
		cJSON_Delete(stage->report);
		stage->report = msg->what.body;
		stage->owes_report = false;
		msg->what.body = NULL;
	} else if (kind > STAGE_SOURCE && what == CTLMSG_FAULT_IN) {
		end_faulty(crew, kind, true);
	} else if (kind < STAGE_SINK && what == CTLMSG_FAULT_OUT) {
		end_faulty(crew, kind, false);
	}
	cJSON_Delete(msg->what.body);
	link_close_fd(&msg->fd);
}

void
hear_messages(struct crew *crew, enum stage_kind kind)
{
	struct crew_stage *stage = &crew->stage[kind];
	struct control_msg msg;

	for (int i = 0; i < MESSAGES && stage->control_fd != -1; i++) {
		switch (control_recv(stage->control_fd, &msg)) {
		case CONTROL_GOT:
			take_message(crew, kind, &msg);
			break;
		case CONTROL_NOTHING:
			return;
		case CONTROL_ENDED:
			/* Its exit follows, or must: nothing can be told to
			 * it any more. One that exits keeps its status. */
			link_close_fd(&stage->control_fd);
			crew_signal(crew, kind, SIGKILL);
			break;
		}
	}
}

void
hear_last(struct crew *crew, enum stage_kind kind)
{
	struct crew_stage *stage = &crew->stage[kind];

	hear_messages(crew, kind);
	for (int i = 0; i < LAST_READS && relay_read(&stage->relay); i++)
		pass_lines(crew, stage);
	stage->relay.has_ended = true;
	pass_lines(crew, stage);
	relay_close(&stage->relay);
}
