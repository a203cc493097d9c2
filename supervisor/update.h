/*
 * What a reload changes in a crew: stages are added, removed and started anew,
 * those that are the same are not touched.
 */
#ifndef SUPERVISOR_UPDATE_H
#define SUPERVISOR_UPDATE_H

#include "supervisor/crew.h"

#include <cjson/cJSON.h>

/* What has changed for a crew. */
struct update_change {
	size_t anew;	    /* so many stages are started anew */
	bool is_source_new; /* a source is one of them, or was added */
	bool is_other;	    /* something by which none is: a name, or what
			     * follows an end */
	cJSON *parts;	    /* the caller's: what was added and removed, as
			     * sentences: "offramp ws: added" */
};

/*
 * Takes over what has changed in the configuration of the instance, which is
 * the same instance of the same pipeline: stages whose commands have changed
 * are started anew, those whose ids are new are started, those whose ids are
 * gone are ended in order, and no others; a source that has come to its end is
 * not run again by any of that. Each is named in the journal. Returns what it
 * was.
 */
struct update_change update_crew(struct crew *crew,
    const struct config_instance *instance,
    const struct command_context *context, int64_t shutdown_timeout_ns);

#endif
