/*
 * One instance: its three stages as a chain, and the automaton of its life.
 *
 *	WAITING -> RUNNING -> FINISHING -> DONE      all went well
 *	   ^          |           |
 *	   |          v           v
 *	   +------- CLEARING <----+                  a stage died
 *
 *	any -> STOPPING -> ENDING -> KILLING -> DONE  asked to stop
 *
 * When a stage dies, the whole chain is ended and started anew after a delay.
 * What the WAL has taken over stays in its log through that; an event that it
 * has not taken over yet ends with its source.
 */
#ifndef SUPERVISOR_CHAIN_H
#define SUPERVISOR_CHAIN_H

#include "stage/loop.h"
#include "supervisor/child.h"
#include "supervisor/command.h"
#include "supervisor/journal.h"
#include "supervisor/relay.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum chain_life {
	CHAIN_WAITING,	 /* no stage runs; all start at deadline_ns */
	CHAIN_RUNNING,	 /* all stages run */
	CHAIN_FINISHING, /* the source has come to its end, the rest drains,
			  * for as long as that takes */
	CHAIN_CLEARING,	 /* a stage died, the others were sent SIGTERM;
			  * SIGKILL follows at deadline_ns */
	CHAIN_STOPPING,	 /* the source was sent SIGTERM, the rest drains up
			  * to deadline_ns */
	CHAIN_ENDING,	 /* the WAL was sent SIGTERM, the sink is when the WAL
			  * has ended; SIGKILL follows at deadline_ns */
	CHAIN_KILLING,	 /* all were sent SIGKILL */
	CHAIN_DONE,	 /* no stage runs, none will */
	CHAIN_LIVES,
};

/* What all chains share. All borrowed. */
struct chain_shared {
	struct journal *journal;
	const char *state_dir;
	int lock_fd;
	sigset_t mask;		     /* the stages' signal mask */
	int64_t shutdown_timeout_ns; /* how long STOPPING and CLEARING last */
};

/* One stage; what stays over its restarts, and its process if it runs. */
struct chain_stage {
	struct command command;
	struct journal_stage name; /* .pid 0: it does not run */
	struct relay relay;	   /* its log */
	struct flood flood;	   /* how much of that is passed on */
	char last_line[RELAY_LINE_BYTES + 1];
	bool has_ended; /* it was reaped, and not judged yet */
	int status;	/* then, as waitpid(2) has it */
};

struct chain {
	enum chain_life life;
	const struct chain_shared *shared;
	const struct config_instance *instance; /* borrowed */
	struct chain_stage stage[STAGE_KINDS];
	int64_t start_ns;    /* when it last started */
	int64_t deadline_ns; /* when `life` has had its time, or LOOP_NEVER */
	int64_t delay_ms;    /* before the last restart; 0: none yet */
	bool source_is_done; /* the source came to its end: not started again */
	bool must_stop;	     /* no restart */
	bool has_failed;     /* a stage ended for good: all must stop */
};

/*
 * Makes the chain of an instance, WAITING to start at once. `shared`,
 * `instance` and what they point to are borrowed as long as the chain lives.
 */
void chain_init(struct chain *chain, const struct config_instance *instance,
    const struct command_context *context, const struct chain_shared *shared);

/* Frees it. No stage runs any more. */
void chain_fini(struct chain *chain);

/* States what the chain waits for: its deadline. */
void chain_watch(const struct chain *chain, struct loop *loop);

/*
 * Says that the child `pid` has ended. Returns whether it was one of this
 * chain; then chain_turn judges what that means, once all were told.
 */
bool chain_ended(struct chain *chain, pid_t pid, int status);

/* Does what is due: judges stages that ended, starts, or goes on to the next
 * means when a deadline has passed. */
void chain_turn(struct chain *chain, int64_t now_ns);

/* Begins an orderly stop: source, WAL, sink. */
void chain_stop(struct chain *chain);

/* Kills what runs. */
void chain_kill(struct chain *chain);

/* Reads the logs of the stages, a bounded piece of each, and passes them on. */
void chain_read_logs(struct chain *chain);

/*
 * Returns the delay before a restart in ms, 100..30000: twice the one before,
 * `last_ms` (0: none), or the shortest if the chain ran for `ran_ms` of a
 * minute or more.
 */
int64_t chain_delay_ms(int64_t last_ms, int64_t ran_ms);

#endif
