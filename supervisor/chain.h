/*
 * The automaton of one instance: what its stages are to do, in which order, and
 * what follows when one ends. Pure: it runs nothing and knows no process. What
 * happens to the stages goes in; what is to be done comes out (chain_next).
 *
 * Each stage goes through its states by a table (chain_table.h):
 *
 *	IDLE -> STARTING -> READY ------------> DRAINING -> ENDED
 *	 ^         |          |                    |
 *	 |         v          v                    v
 *	 +--------- WAITING <-+          ENDING -> KILLED -> ENDED
 *
 * and the chain has a goal, which says which stage may start, and which is to
 * go on to its end:
 *
 *	RUN     all run. The WAL and the sink start at once, the source when the
 *	        WAL is ready, the command (of an onramp that has one) when the
 *	        source is. One that dies starts again alone, after a delay.
 *	FINISH  the source has come to its end; the WAL drains, then the sink,
 *	        for as long as that takes.
 *	STOP    all end, in the order of the stream, each when the one before it
 *	        has; from a deadline on they are made to. None starts any more
 *	        but the WAL, for a source that has not given away all it has.
 *	OVER    no stage runs, and none will.
 */
#ifndef SUPERVISOR_CHAIN_H
#define SUPERVISOR_CHAIN_H

#include "supervisor/config.h"
#include "supervisor/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chain_goal {
	CHAIN_RUN,
	CHAIN_FINISH,
	CHAIN_STOP,
	CHAIN_OVER,
	CHAIN_GOALS,
};

enum chain_state {
	CHAIN_IDLE,	/* does not run; starts as soon as it may */
	CHAIN_WAITING,	/* does not run; is idle again at its deadline */
	CHAIN_STARTING, /* runs, and has not said that it is ready */
	CHAIN_READY,	/* does its work */
	CHAIN_DRAINING, /* was told that no more input will come */
	CHAIN_ENDING,	/* was sent SIGTERM */
	CHAIN_KILLED,	/* was sent SIGKILL */
	CHAIN_ENDED,	/* does not run, and will not */
	CHAIN_STATES,
};

/* What is to be done to a stage. */
enum chain_action {
	CHAIN_NOTHING,
	CHAIN_SPAWN, /* run it; what comes of that is told by chain_ready, or
		      * chain_ended */
	CHAIN_DRAIN, /* tell it so */
	CHAIN_TERM,  /* send SIGTERM */
	CHAIN_KILL,  /* send SIGKILL */
};

/* How a stage came to its end. */
enum chain_end {
	CHAIN_END_GOOD,	  /* exit status 0 */
	CHAIN_END_DRY,	  /* the same, of a source whose pipe has been read to
			   * its end: nobody can write into it any more */
	CHAIN_END_BAD,	  /* another, or a signal */
	CHAIN_END_FINAL,  /* not to be tried again */
	CHAIN_END_UNBORN, /* it could not be started, which may pass */
	CHAIN_END_BURIED, /* it could not be started, which stays so */
};

/* What is particular to an instance. */
struct chain_rules {
	bool has_command;	     /* the source reads the output of one */
	enum config_restart restart; /* of the command, or else of the source:
				      * whether its end is that of the stream */
	int64_t shutdown_timeout_ns;
};

struct chain_stage {
	enum chain_state state;
	int64_t since_ns;    /* when it came to be in it */
	int64_t deadline_ns; /* until when it may be; or LOOP_NEVER */
	int64_t start_ns;    /* when it was last started */
	int64_t delay_ms;    /* before the last restart; 0: none yet */
	uint64_t starts;     /* how often it was started */
	bool is_again;	     /* its end is wanted, to start it anew at once */
};

/* The pipe between the command and the source. */
enum chain_pipe {
	CHAIN_PIPE_NONE,
	CHAIN_PIPE_FRESH, /* the source reads it, no command was run on it */
	CHAIN_PIPE_USED,  /* one was: another needs another pipe */
};

/* More never wait to be done: each stage twice. */
#define CHAIN_MAX_TASKS ((size_t)2 * STAGE_KINDS)

struct chain_task {
	enum stage_kind kind;
	enum chain_action action;
};

struct chain {
	enum chain_goal goal;
	struct chain_rules rules;
	struct chain_stage stage[STAGE_KINDS];
	enum chain_pipe pipe;
	int64_t now_ns;	 /* of the call that is at work */
	int64_t stop_ns; /* STOP: when its time is over */
	bool has_failed; /* a stage ended for good: all must stop */
	bool is_drained; /* the WAL ended well, with nothing left */
	struct chain_task tasks[CHAIN_MAX_TASKS];
	size_t task_count;
};

/* Makes a chain that is to run. Nothing is done before chain_turn. */
void chain_init(
    struct chain *chain, const struct chain_rules *rules, int64_t now_ns);

/*
 * Takes the next thing that is to be done, in the order in which it is. Returns
 * whether there is one. Ask after each of the calls below, until there is none.
 */
bool chain_next(struct chain *chain, struct chain_task *task);

/* Goes on: starts what may start, and looks at the deadlines. */
void chain_turn(struct chain *chain, int64_t now_ns);

/* Returns when to call chain_turn at the latest; LOOP_NEVER: no matter. */
int64_t chain_deadline_ns(const struct chain *chain);

/* A stage that was started says that it is ready. */
void chain_ready(struct chain *chain, enum stage_kind kind, int64_t now_ns);

/* A stage that was started has ended, and was reaped; or it could not be
 * started. */
void chain_ended(struct chain *chain, enum stage_kind kind, enum chain_end end,
    int64_t now_ns);

/* Makes STOP the goal, if it is not yet. */
void chain_stop(struct chain *chain, int64_t now_ns);

/* Ends all that runs at once. The goal is STOP. */
void chain_kill(struct chain *chain, int64_t now_ns);

/*
 * Ends a stage in order and starts it again, without a delay: its command has
 * changed. Of a source and its command both are, whichever is named, and
 * `rules` are new as well. Nothing unless the goal is RUN, or FINISH and it is
 * the WAL or the sink. Nothing starts before chain_turn: a chain may be one
 * that has to wait for its turn.
 */
void chain_renew(struct chain *chain, enum stage_kind kind,
    const struct chain_rules *rules, int64_t now_ns);

/* Says whether a stage runs, as far as is known. */
bool chain_runs(const struct chain *chain, enum stage_kind kind);

/* Return the names of a goal and a state, as people see them. */
const char *chain_goal_name(enum chain_goal goal);
const char *chain_state_name(enum chain_state state);

/*
 * Returns the delay before a restart in ms, 100..30000: twice the one before,
 * `last_ms` (0: none), or the shortest if the stage ran for `ran_ms` of a
 * minute or more.
 */
int64_t chain_delay_ms(int64_t last_ms, int64_t ran_ms);

#endif
