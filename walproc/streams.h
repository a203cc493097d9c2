/*
 * The streams of a walproc: an inlet for each source and an outlet for each
 * sink, by what the supervisor says of them, while the log stays open. Without
 * a supervisor there is one of each, and none of this.
 */
#ifndef WALPROC_STREAMS_H
#define WALPROC_STREAMS_H

#include "stage/control.h"
#include "walproc/inlet.h"
#include "walproc/outlet.h"

#include <stdbool.h>
#include <stddef.h>

struct walproc;

struct streams {
	struct control control; /* the supervisor's orders */
	struct inlet **inlets;	/* owned, as are they */
	size_t inlet_count;
	uint64_t left_count;	 /* of sources, so far */
	size_t first_inlet;	 /* whose turn it is to be the first, modulo
				  * inlet_count */
	struct outlet **outlets; /* owned, as are they */
	size_t outlet_count;
	struct pieces pieces; /* of the log, for all outlets */
	bool is_last;	      /* no source will come any more */
	bool are_last;	      /* nor a sink that is not there */
	uint64_t acked_gone;  /* events, by sinks that are gone for good */
};

/* Starts with one of each, on fd 0 and fd 1. */
void streams_init(struct walproc *walproc, const struct control *control);

/* Closes and frees all. */
void streams_fini(struct streams *streams);

/* Says whether a supervisor gives the neighbours. */
bool streams_are_given(const struct walproc *walproc);

/* Says whether a source may come that is not here yet. */
bool streams_may_follow(const struct walproc *walproc);

/* Does what the supervisor asks for. Returns 0, or -1 if the disk failed;
 * logged. */
int streams_take_orders(struct walproc *walproc);

/* Lets sources and sinks follow those that have left. Returns 0, or -1;
 * logged. */
int streams_change_sinks(struct walproc *walproc);
int streams_change_sources(struct walproc *walproc);

/*
 * Ends the stream of a neighbour that has sent what it must not, so that
 * another takes its place, and returns 0. Without a supervisor none would: -1.
 */
int streams_end_source(struct walproc *walproc, struct inlet *inlet);
int streams_end_sink(struct walproc *walproc, struct outlet *outlet);

/* Say whether a source, or a sink, is there. */
bool streams_have_source(const struct walproc *walproc);
bool streams_have_sink(const struct walproc *walproc);

/* Says whether all input has ended, and all of it is taken. */
bool streams_are_over(const struct walproc *walproc);

/* Say whether all that is queued for sources, or sinks, was written. */
bool streams_have_told_sources(const struct walproc *walproc);
bool streams_have_told_sinks(const struct walproc *walproc);

/* Says whether all events are ended, as far as sinks are there or may come. */
bool streams_are_drained(const struct walproc *walproc);

/* Returns how many events the sinks have acked. */
uint64_t streams_acked(const struct walproc *walproc);

#endif
