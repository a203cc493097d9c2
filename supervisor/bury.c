#include "supervisor/bury.h"

#include "stage/exitcode.h"
#include "supervisor/hear.h"
#include "supervisor/logline.h"

#include <poll.h>
#include <string.h>

/* Says that a stage has ended for good, with its last words; or that it would
 * have, if there were no other arguments to try. */
static enum chain_end
end_finally(struct crew *crew, size_t at)
{
	struct crew_stage *stage = crew->stage[at];
	bool is_final = stage->before.count == 0;
	const char *means = is_final ? "is final"
				     : "with its new arguments: those of "
				       "before are used";
	const char *said = stage->last_line;
	struct logline line;

	if (said[0] != '\0' && logline_parse(said, strlen(said), &line))
		said = line.message;
	if (said[0] == '\0')
		journal_say_about(crew->shared->journal, LOG_ERROR,
		    &stage->name, "%s %s; it said nothing", stage->last_exit,
		    means);
	else
		journal_say_about(crew->shared->journal, LOG_ERROR,
		    &stage->name, "%s %s; its last line: %s", stage->last_exit,
		    means, said);
	if (is_final)
		return CHAIN_END_FINAL;
	command_fini(&stage->command);
	crew_set_command(stage, &stage->before);
	stage->before = (struct command){0};
	return CHAIN_END_BAD;
}

/* Says how a stage that exited with 0 came to its end. */
static enum chain_end
end_well(const struct crew *crew, size_t at)
{
	struct pollfd poll_fd = {
	    .fd = crew->stage[at]->read_fd, .events = POLLIN};

	if (chain_kind(&crew->chain, at) != STAGE_SOURCE ||
	    poll(&poll_fd, 1, 0) != 1)
		return CHAIN_END_GOOD;
	/* What is left in a pipe can be read beside the hang-up. */
	return poll_fd.revents == POLLHUP ? CHAIN_END_DRY : CHAIN_END_GOOD;
}

/* Says when a stage that has ended is started again, if it is. */
static void
tell_restart(struct crew *crew, size_t at)
{
	const struct chain_stage *stage = &crew->chain.stage[at];
	struct journal_stage name = crew->stage[at]->name;

	name.pid = 0;
	if (stage->state == CHAIN_WAITING)
		journal_say_about(crew->shared->journal, LOG_INFO, &name,
		    "starts again in %.1f s", (double)stage->delay_ms / 1000);
}

/* Tells the automaton, and what that makes of it. */
static void
conclude(struct crew *crew, size_t at, enum chain_end end)
{
	chain_ended(&crew->chain, at, end, loop_now_ns());
	tell_restart(crew, at);
}

void
bury_unborn(struct crew *crew, size_t at, enum chain_end end)
{
	conclude(crew, at, end);
}

void
bury(struct crew *crew, size_t at)
{
	struct crew_stage *stage = crew->stage[at];
	const struct chain_stage *chain = &crew->chain.stage[at];
	bool is_command = chain_kind(&crew->chain, at) == STAGE_COMMAND;
	bool was_told = chain->state >= CHAIN_DRAINING;
	bool is_good = child_exited_with(stage->status, EXITCODE_DONE);
	enum chain_end end = is_good ? end_well(crew, at) : CHAIN_END_BAD;

	hear_last(crew, at);
	(void)child_describe(stage->status, stage->last_exit);
	/* What a command means by its status is for `restart` to say; and one
	 * that is to be started anew says nothing of its new arguments, as one
	 * that was removed has none. */
	if (!is_command && !chain->is_again && !chain->is_removed &&
	    child_exited_with(stage->status, EXITCODE_FINAL)) {
		end = end_finally(crew, at);
	} else {
		/* A command may well end by the signal that it was sent. */
		if (is_command && was_told)
			is_good = true;
		journal_say_about(crew->shared->journal,
		    is_good ? LOG_INFO : LOG_WARN, &stage->name, "ended: %s",
		    stage->last_exit);
	}
	link_close_fd(&stage->control_fd);
	stage->owes_report = false;
	stage->has_ended = false;
	stage->name.pid = 0;
	crew_set_program(stage);
	conclude(crew, at, end);
}
