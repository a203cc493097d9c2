/*
 * Shedding: events given up by the operator's choice, oldest first: at a limit
 * (--on-full drop_oldest), or when they are too old (--max-age). Those that the
 * sink was given already are among them: its answer then changes nothing. Each
 * one is counted as dropped, and the log says so, at most once a second.
 */
#ifndef WALPROC_SHED_H
#define WALPROC_SHED_H

#include "stage/log.h"
#include "walproc/reader.h"

struct walproc;

/* All zero before its first use. */
struct shed {
	struct reader reader;	    /* stands behind `oldest` */
	struct reader_event oldest; /* its bytes are gone */
	bool has_oldest;	    /* one was read, though maybe ended since */
	int64_t check_ns;	    /* CLOCK_REALTIME when one may be too old */
	uint64_t commits;	    /* made to drop what was not ready */
	struct log_limit limit;	    /* lines about it */
};

/* Frees the memory. */
void shed_fini(struct shed *shed);

/*
 * Drops as many of the oldest events as an event of `bytes` needs to fit into
 * the log. What is not ready yet is made so first. Returns 0, or -1 with errno
 * set.
 */
int shed_for_room(struct walproc *walproc, size_t bytes);

/* Drops the events that are older than --max-age. 0, or -1 with errno set. */
int shed_expired(struct walproc *walproc);

/* Returns when shed_expired is due, CLOCK_MONOTONIC; or LOOP_NEVER. */
int64_t shed_due_ns(const struct walproc *walproc);

/* Logs that an event is dropped for the reason `why`, of `total` so far. */
void shed_tell(struct shed *shed, const char *why, uint64_t total);

#endif
