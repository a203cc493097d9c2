/*
 * What the stages of an instance say: the lines of their logs, which go to the
 * journal, and their messages on the control channels, which the automaton
 * (chain.h) is told of.
 */
#ifndef SUPERVISOR_HEAR_H
#define SUPERVISOR_HEAR_H

#include "supervisor/crew.h"

/* Reads once what a stage's log has ready, and passes on its lines. */
void hear_log(struct crew *crew, size_t at);

/*
 * Takes the messages of a stage that have come, a bounded number of them. One
 * whose channel has ended is killed: nothing can be told to it any more.
 */
void hear_messages(struct crew *crew, size_t at);

/*
 * Takes the last messages and log lines of a stage that has ended, and closes
 * the log: a process of its own may hold the other end open for long.
 */
void hear_last(struct crew *crew, size_t at);

#endif
