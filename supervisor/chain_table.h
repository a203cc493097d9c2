/*
 * The table of the automaton (chain.h): what an event does to a stage in each
 * of its states. When an event happens is for chain.c.
 */
#ifndef SUPERVISOR_CHAIN_TABLE_H
#define SUPERVISOR_CHAIN_TABLE_H

#include "supervisor/chain.h"

/* What can happen to a stage. */
enum chain_event {
	CHAIN_EVENT_START, /* it may start */
	CHAIN_EVENT_READY, /* it says that it has begun */
	CHAIN_EVENT_DRAIN, /* it is to finish what it has */
	CHAIN_EVENT_STOP,  /* it is to end */
	CHAIN_EVENT_KILL,  /* at once */
	CHAIN_EVENT_LATE,  /* its deadline has passed */
	CHAIN_EVENT_FAIL,  /* it ended, and is to start again after a delay */
	CHAIN_EVENT_AGAIN, /* it ended, and starts again as soon as it may */
	CHAIN_EVENT_END,   /* it ended, and that is that */
	CHAIN_EVENTS,
};

/* What follows from an event in a state. */
struct chain_table_rule {
	bool is_rule; /* else the event changes nothing */
	enum chain_state next;
	enum chain_action action;
};

/* Returns what follows from `event` in `state`; a constant. */
const struct chain_table_rule *chain_table_find(
    enum chain_state state, enum chain_event event);

#endif
