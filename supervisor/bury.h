/*
 * The end of a stage: its last words, what its exit status means, and what is
 * told of it. What follows is for the automaton (chain.h).
 */
#ifndef SUPERVISOR_BURY_H
#define SUPERVISOR_BURY_H

#include "supervisor/crew.h"

/* Judges a stage that was reaped: says in the journal how it has ended, and
 * tells the automaton. Nothing of it is open then. */
void bury(struct crew *crew, size_t at);

/* Tells the automaton of a stage that could not be started, which the journal
 * knows: `end` is CHAIN_END_UNBORN or CHAIN_END_BURIED. */
void bury_unborn(struct crew *crew, size_t at, enum chain_end end);

#endif
