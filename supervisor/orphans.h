/*
 * Orphans: logs in the state directory that no instance of the configuration
 * uses any more. What they hold would be forgotten, so that they are told.
 */
#ifndef SUPERVISOR_ORPHANS_H
#define SUPERVISOR_ORPHANS_H

#include <stdbool.h>
#include <stddef.h>

/* A log is in STATE_DIR/instance/pipeline. */
struct orphan {
	char *instance;	 /* owned */
	char *pipeline;	 /* owned */
	char *directory; /* owned */
};

struct orphans {
	struct orphan *list; /* owned */
	size_t count;
};

/* Says whether the log in STATE_DIR/instance/pipeline is in use. */
typedef bool orphans_is_used(
    const char *instance, const char *pipeline, const void *context);

/*
 * Finds the logs in the state directory `state_dir`, open as `dir_fd`, that
 * are not in use: directories that hold a cursor or a segment. In the order of
 * their names' bytes. What cannot be looked into counts as holding nothing.
 * Give *orphans to orphans_fini.
 */
void orphans_find(struct orphans *orphans, int dir_fd, const char *state_dir,
    orphans_is_used *is_used, const void *context);

/* Frees the list; it is empty again. */
void orphans_fini(struct orphans *orphans);

#endif
