/*
 * The streams of a walproc that a supervisor has started: neighbours leave and
 * others come in their place, while the log stays open. A source that left has
 * its stream read to the end before the next one's begins, since nobody sends
 * that again; a sink that left has its answers read to the end before what it
 * has not ended goes to the next one. Without a supervisor there is one stream
 * each way, and none of this.
 */
#ifndef WALPROC_STREAMS_H
#define WALPROC_STREAMS_H

#include "stage/chan.h"
#include "stage/control.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct walproc;

/* Sources that may wait for the streams before theirs to be read to the end:
 * they leave again, one after the other, where the intake is stopped. */
#define STREAMS_WAITING 16

struct streams_source {
	int fd;	      /* owned */
	bool is_told; /* that its breaker is open */
};

struct streams {
	struct control control; /* the supervisor's orders */
	struct streams_source waiting[STREAMS_WAITING]; /* in order */
	size_t waiting_count;				/* of them */
	int sink_fd;	       /* owned: the next sink; -1: none waits */
	bool is_last;	       /* no source will come any more */
	bool source_is_missed; /* that it left is logged */
	bool sink_is_missed;   /* the same */
	uint64_t taken_before; /* events, when this input stream began */
	uint64_t acked_before; /* events, by the sinks before this one */
};

/* Starts with the neighbours that are there, and the supervisor's channel. */
void streams_init(struct streams *streams, const struct control *control);

/* Closes what waits. */
void streams_fini(struct streams *streams);

/* Says whether a supervisor gives the neighbours. */
bool streams_are_given(const struct walproc *walproc);

/* Says whether a source may come that is not here yet. */
bool streams_may_follow(const struct walproc *walproc);

/* Does what the supervisor asks for. */
void streams_take_orders(struct walproc *walproc);

/*
 * Puts the next sink in the place of one that has left and whose answers are
 * all taken. Returns 0, also if there is nothing to do, or -1; logged.
 */
int streams_change_sink(struct walproc *walproc);

/*
 * Puts the next source in the place of one that has left and whose events are
 * all taken, and tells those that wait when the intake is stopped. Returns 0,
 * also if there is nothing to do, or -1; logged.
 */
int streams_change_source(struct walproc *walproc);

/*
 * Ends the streams of a neighbour that has sent what it must not, so that
 * another takes its place, and returns 0. Without a supervisor none would: -1.
 */
int streams_end(struct walproc *walproc, struct chan *chan);

/* Says whether a source, or a sink, is there. */
bool streams_have_source(const struct walproc *walproc);
bool streams_have_sink(const struct walproc *walproc);

#endif
