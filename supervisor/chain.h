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
 *	RUN     all run. The WAL and the sinks start at once, each source when
 *	        the WAL is ready, the command (of an onramp that has one) when
 *	        its source is. One that dies starts again alone, after a delay.
 *	        A source that comes to its end leaves the others at work.
 *	FINISH  all sources have come to their end; the WAL drains, then the
 *	        sinks, for as long as that takes.
 *	STOP    all end, in the order of the stream: the sources side by side,
 *	        the WAL when all of them have, then the sinks side by side; from
 *	        a deadline on they are made to. None starts any more but the
 *	        WAL, for a source that has not given away all it has.
 *	OVER    no stage runs, and none will.
 *
 * Stages are told apart by their position in the order
 *
 *	command 0, source 0, command 1, source 1, ... WAL, sink 0, sink 1, ...
 *
 * where each source has a place for a command before it. With one source and
 * one sink that is the order of enum stage_kind. Sources and sinks can be added
 * and removed while it runs; what is removed keeps its place until it has ended
 * and is dropped.
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

/* What is particular to a source. */
struct chain_rules {
	bool has_command;	     /* it reads the output of one */
	enum config_restart restart; /* of the command, or else of the source:
				      * whether its end is that of the stream */
};

struct chain_stage {
	enum chain_state state;
	int64_t since_ns;    /* when it came to be in it */
	int64_t deadline_ns; /* until when it may be; or LOOP_NEVER */
	int64_t start_ns;    /* when it was last started */
	int64_t delay_ms;    /* before the last restart; 0: none yet */
	uint64_t starts;     /* how often it was started */
	bool is_again;	     /* its end is wanted, to start it anew at once */
	bool is_removed;     /* its end is wanted, for good */
};

/* The pipe between the command and the source. */
enum chain_pipe {
	CHAIN_PIPE_NONE,
	CHAIN_PIPE_FRESH, /* the source reads it, no command was run on it */
	CHAIN_PIPE_USED,  /* one was: another needs another pipe */
};

struct chain_source {
	struct chain_rules rules;
	enum chain_pipe pipe;
};

/* So many sources run at once, at most; sinks likewise. */
#define CHAIN_MAX_RUNNING ((size_t)CONFIG_MAX_LINKED)
/* As many again are on their way to their end, since they were removed. */
#define CHAIN_MAX_OF_KIND (2 * CHAIN_MAX_RUNNING)
#define CHAIN_MAX_STAGES (3 * CHAIN_MAX_OF_KIND + 1)

/* More never wait to be done: each stage twice. */
#define CHAIN_MAX_TASKS (2 * CHAIN_MAX_STAGES)

struct chain_task {
	size_t at; /* the position of the stage */
	enum chain_action action;
};

struct chain {
	enum chain_goal goal;
	int64_t shutdown_timeout_ns;
	struct chain_stage stage[CHAIN_MAX_STAGES];
	struct chain_source source[CHAIN_MAX_OF_KIND];
	size_t source_count;
	size_t sink_count;
	int64_t now_ns;	 /* of the call that is at work */
	int64_t stop_ns; /* STOP: when its time is over */
	bool has_failed; /* a stage ended for good: all must stop */
	bool is_drained; /* the WAL ended well, with nothing left */
	struct chain_task tasks[CHAIN_MAX_TASKS];
	size_t task_count;
};

/* Makes a chain that is to run, of a WAL alone: it needs a source. Nothing is
 * done before chain_turn. */
void chain_init(
    struct chain *chain, int64_t shutdown_timeout_ns, int64_t now_ns);

/* Returns how many stages there are: the positions are 0 to one less. */
size_t chain_stages(const struct chain *chain);

/* Returns how many stages of a kind there are; commands count as their sources
 * do. */
size_t chain_count(const struct chain *chain, enum stage_kind kind);

/* Returns the position of the stage of a kind at `index`, 0..chain_count() - 1;
 * and the other way round. */
size_t chain_at(const struct chain *chain, enum stage_kind kind, size_t index);
enum stage_kind chain_kind(const struct chain *chain, size_t at);
size_t chain_index(const struct chain *chain, size_t at);

/*
 * Takes the next thing that is to be done, in the order in which it is. Returns
 * whether there is one. Ask after each of the calls below, until there is none.
 */
bool chain_next(struct chain *chain, struct chain_task *task);

/* Goes on: starts what may start, and looks at the deadlines. */
void chain_turn(struct chain *chain, int64_t now_ns);

/* Returns when to call chain_turn at the latest; LOOP_NEVER: no matter. */
int64_t chain_deadline_ns(const struct chain *chain);

/* The stage at `at`, which was started, says that it is ready. */
void chain_ready(struct chain *chain, size_t at, int64_t now_ns);

/* A stage that was started has ended, and was reaped; or it could not be
 * started. */
void chain_ended(
    struct chain *chain, size_t at, enum chain_end end, int64_t now_ns);

/* Makes STOP the goal, if it is not yet. */
void chain_stop(struct chain *chain, int64_t now_ns);

/* Ends all that runs at once. The goal is STOP. */
void chain_kill(struct chain *chain, int64_t now_ns);

/*
 * Ends a stage in order and starts it again, without a delay: its command has
 * changed. Of a source and its command both are, whichever is named, and
 * `rules` are new as well. One that was removed is back; a source that had come
 * to its end begins another time. Nothing unless the goal is RUN, or FINISH and
 * it is the WAL or a sink. Nothing starts before chain_turn: a chain may be one
 * that has to wait for its turn.
 */
void chain_renew(struct chain *chain, size_t at,
    const struct chain_rules *rules, int64_t now_ns);

/*
 * Add a source, and a sink, as the last of their kind; what stands behind moves
 * on. There is room: those that were not removed are CHAIN_MAX_RUNNING at most.
 * All that was to be done is done (chain_next). Nothing starts before
 * chain_turn; while there are too many that were removed, it waits until they
 * are dropped.
 */
void chain_add_source(
    struct chain *chain, const struct chain_rules *rules, int64_t now_ns);
void chain_add_sink(struct chain *chain, int64_t now_ns);

/* Says that a source, which has not been started yet, has come to its end in an
 * earlier run, and so has its command. */
void chain_rest_source(struct chain *chain, size_t at, int64_t now_ns);

/* Ends a source and its command, or a sink, in order and for good. */
void chain_remove(struct chain *chain, size_t at, int64_t now_ns);

/* Says whether a stage was removed and has ended, and so has its command or
 * source; chain_drop takes it out, and what stands behind it moves up. All that
 * was to be done is done. */
bool chain_is_gone(const struct chain *chain, size_t at);
void chain_drop(struct chain *chain, size_t at);

/* Says whether a stage runs, as far as is known. */
bool chain_runs(const struct chain *chain, size_t at);

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
