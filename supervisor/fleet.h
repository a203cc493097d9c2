/*
 * The crews of a supervisor: one for each instance of the configuration, and
 * those of instances that were taken out of it and are still on their way to
 * their end.
 */
#ifndef SUPERVISOR_FLEET_H
#define SUPERVISOR_FLEET_H

#include "supervisor/crew.h"
#include "supervisor/orphans.h"
#include "supervisor/plan.h"

#include <cjson/cJSON.h>

#include <stdbool.h>
#include <stddef.h>

struct fleet {
	const struct crew_shared *shared; /* borrowed */
	struct crew **crews;		  /* owned, as are they */
	size_t count;
};

/* Makes a fleet without a crew. */
void fleet_init(struct fleet *fleet, const struct crew_shared *shared);

/* Frees it. No stage runs any more. */
void fleet_fini(struct fleet *fleet);

/*
 * Makes the fleet what `plan` says: new instances get a crew, those that have
 * changed start the stages anew that have, those that are gone stop in order.
 * What is the same is not touched. Returns the changes, an array of sentences
 * that the caller deletes. The state directory is that of before.
 */
cJSON *fleet_update(struct fleet *fleet, const struct plan *plan);

/* Finds the logs in the state directory, open as `dir_fd`, that no crew has.
 * Give them to orphans_fini. */
void fleet_find_orphans(
    const struct fleet *fleet, struct orphans *orphans, int dir_fd);

/* As the functions of crew.h with these names, of all crews. */
void fleet_watch(struct fleet *fleet, struct loop *loop);
void fleet_read(struct fleet *fleet, const struct loop *loop);
void fleet_reap(struct fleet *fleet);
void fleet_turn(struct fleet *fleet);
void fleet_stop(struct fleet *fleet);
void fleet_kill(struct fleet *fleet);
void fleet_ask(struct fleet *fleet);
bool fleet_owes_report(const struct fleet *fleet);

/* Says whether all crews do their job. */
bool fleet_is_up(const struct fleet *fleet);

/* Says whether a stage has ended for good; and whether one of an instance that
 * no reload has brought about, so that all have to stop. */
bool fleet_has_failed(const struct fleet *fleet);
bool fleet_must_stop(const struct fleet *fleet);

/* Says whether no stage runs, and none will. */
bool fleet_is_over(const struct fleet *fleet);

#endif
