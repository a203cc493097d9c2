/*
 * Reading the configuration again while it runs: what has changed is done, what
 * cannot change is refused, and one that has faults changes nothing.
 */
#ifndef SUPERVISOR_RELOAD_H
#define SUPERVISOR_RELOAD_H

#include "supervisor/fleet.h"
#include "supervisor/journal.h"
#include "supervisor/plan.h"

/* All borrowed. */
struct reload {
	const struct plan_source *source; /* what is read */
	const struct plan *first;	  /* what the run began with */
	struct fleet *fleet;		  /* what runs */
};

/*
 * Reads the plan again and lets the fleet follow it. Each change and each fault
 * is a line of the journal. Returns a line of JSON without its newline, which
 * the caller frees: {"changes":[...],"faults":[...]}, where faults are of no
 * consequence, or {"error":"...","faults":[...]} if nothing was changed.
 */
char *reload_plan(const struct reload *reload, struct journal *journal);

#endif
