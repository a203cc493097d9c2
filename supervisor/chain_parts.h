/*
 * What the parts of the automaton (chain.h) share: chain.c has its time and
 * what is done from outside, chain_goal.c what a goal asks for, chain_end.c
 * what the end of a stage means, chain_change.c what a new configuration does.
 */
#ifndef SUPERVISOR_CHAIN_PARTS_H
#define SUPERVISOR_CHAIN_PARTS_H

#include "supervisor/chain_table.h"

/* Returns the state of the stage at `at`. */
enum chain_state chain_state_of(const struct chain *chain, size_t at);

/* Lets a stage go on by the table. Returns whether the event changed it. */
bool chain_happen(struct chain *chain, size_t at, enum chain_event event);

/* Returns until when the state that a stage has come to may last. */
int64_t chain_until(struct chain *chain, size_t at);

/* Does what the goal asks for, until there is nothing to do for now. */
void chain_settle(struct chain *chain);

/* Says whether a source has still time to give away what it has, and so needs a
 * WAL; the goal is STOP. */
bool chain_needs_wal(const struct chain *chain);

/* Lets a source whose command has changed read what is left of the output, if
 * it can be told so. Returns whether it was. */
bool chain_drain_source(struct chain *chain, size_t index);

#endif
