/*
 * The running stages of one instance: their processes and what is kept of them.
 * It does what the automaton (chain.h) asks for, and tells it what has
 * happened.
 *
 * Whenever a stage is started, each neighbour that runs is given the other end
 * of a new socket, and so starts a new stream; where none runs, that end is
 * closed, and the stage waits for one.
 *
 * A stage is named by its position in the chain, here as there.
 */
#ifndef SUPERVISOR_CREW_H
#define SUPERVISOR_CREW_H

#include "stage/loop.h"
#include "supervisor/chain.h"
#include "supervisor/child.h"
#include "supervisor/command.h"
#include "supervisor/config.h"
#include "supervisor/flood.h"
#include "supervisor/journal.h"
#include "supervisor/relay.h"

#include <cjson/cJSON.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What all crews share. All borrowed. */
struct crew_shared {
	struct journal *journal;
	const char *state_dir;
	int lock_fd;
	sigset_t mask;		  /* the stages' signal mask */
	struct identity identity; /* who the stages are */
	struct rlimit fd_limit;	  /* how many descriptors they may have */
};

/* One stage; what stays over its restarts, and its process if it runs. */
struct crew_stage {
	struct command command;
	struct command before;	   /* a reload: until it has begun its work with
				    * the new one; else empty */
	char *id;		   /* owned */
	char *program;		   /* owned: of what runs, or ran, by name */
	struct journal_stage name; /* .pid 0: it does not run */
	struct relay relay;	   /* its log */
	struct flood flood;	   /* how much of that is passed on */
	size_t log_slot;	   /* this turn's in the loop, or 0 */
	char last_line[RELAY_LINE_BYTES + 1];
	int control_fd;	     /* our end of its control channel; -1: none */
	size_t control_slot; /* this turn's in the loop, or 0 */
	cJSON *report;	     /* its last; NULL: none came */
	bool owes_report;    /* it was asked for one */
	bool has_ended;	     /* it is reaped, and the chain does not know yet */
	int status;	     /* then, as waitpid(2) has it */
	char last_exit[CHILD_DESCRIBE_BYTES]; /* "": it has not ended yet */
	/* Of a source: */
	bool is_other;	/* a reload has changed it, which its run that has
			 * come to its end did not know */
	bool has_stdin; /* it reads the supervisor's own */
	int read_fd;	/* of the pipe that its command writes; -1: none */
	int write_fd;	/* the same; -1 once a command was run on it */
};

struct crew {
	struct chain chain;
	const struct crew_shared *shared;
	char *instance; /* owned, as are the next three */
	char *pipeline;
	char *binding;
	char *directory;	   /* of the log */
	struct journal_stage name; /* of the whole instance */
	/* Each owned; chain_stages() of them, in that order. They stay where
	 * they are: pointers into them are about. */
	struct crew_stage *stage[CHAIN_MAX_STAGES];
	char *roster;	  /* owned: what walproc was told (roster.h), or NULL */
	bool is_removed;  /* it is not in the configuration any more */
	bool is_replaced; /* it is, but another crew comes in its place */
	bool is_trial;	  /* a reload has made or changed it, and it has not
			   * been at work since */
};

/*
 * Makes the crew of an instance. Nothing runs before crew_turn. `shared` is
 * borrowed as long as the crew lives, all else is copied.
 */
void crew_init(struct crew *crew, const struct config_instance *instance,
    const struct command_context *context, int64_t shutdown_timeout_ns,
    const struct crew_shared *shared);

/* Frees it. No stage runs any more. */
void crew_fini(struct crew *crew);

/* States what it waits for. */
void crew_watch(struct crew *crew, struct loop *loop);

/* Takes what poll found ready: log lines and control messages (hear.h). */
void crew_read(struct crew *crew, const struct loop *loop);

/* Reaps the child `pid`, which has ended, if it is one of this crew. Returns
 * whether it was; crew_turn judges what that means. */
bool crew_reap(struct crew *crew, pid_t pid);

/* Does what is due. */
void crew_turn(struct crew *crew);

/* Begins an orderly stop; kills what runs. */
void crew_stop(struct crew *crew);
void crew_kill(struct crew *crew);

/* Gives a stage its command, which it owns then. What it had is the caller's.
 */
void crew_set_command(struct crew_stage *stage, const struct command *command);

/* Calls a stage that does not run by the program that its command runs. */
void crew_set_program(struct crew_stage *stage);

/* Sends a signal to a stage, if it runs; of a command, to all that it has
 * started. */
void crew_signal(const struct crew *crew, size_t at, int number);

/* Says whether a stage runs and can be sent control messages. */
bool crew_can_tell(const struct crew *crew, size_t at);

/* Adds a source with a place for its command, or a sink: the one at `index` of
 * the configuration. Nothing of it runs before crew_turn. Returns its position.
 */
size_t crew_add(struct crew *crew, enum stage_kind kind, size_t index,
    const struct config_instance *instance,
    const struct command_context *context);

/* Forgets the stages that were removed and have ended. */
void crew_drop_gone(struct crew *crew);

/* Does what the chain asks for by now. */
void crew_obey(struct crew *crew);

/* Returns what the chain is to know of an onramp. */
struct chain_rules crew_rules_of(const struct config_onramp *onramp);

/* Ends the trial of one that is at work. To be called when one of its stages is
 * ready, and when a reload has gone through all of them. */
void crew_judge_trial(struct crew *crew);

/* Stops one that a reload has brought about and that has failed for good: the
 * others are not to suffer for that. */
void crew_stop_trial(struct crew *crew);

/* Asks each stage that runs for a report, and says whether one still owes it.
 */
void crew_ask(struct crew *crew);
bool crew_owes_report(const struct crew *crew);

/* Says whether it has begun its job (events are taken in, or that is over), or
 * has failed at it, and is tried again: nobody is to wait for that. */
bool crew_is_up(const struct crew *crew);

/*
 * Leaves at rest the sources of `crew`, in which nothing runs yet, that have
 * come to their end in `before`, the crew in whose place it comes, and are the
 * same: they are not run a second time.
 */
void crew_take_ends(struct crew *crew, const struct crew *before);

/* Says in the journal what an instance that is removed leaves behind. */
void crew_tell_left(const struct crew *crew);

/* Returns how many events the log held when its last report was made, or -1
 * where there was none. */
int64_t crew_left(const struct crew *crew);

#endif
