/*
 * An outlet: what goes to one sink, and what it answers. Under a supervisor
 * sinks leave and others come in their place: one that left has its answers
 * read to the end before what it has not ended goes to the next one. There is
 * an outlet for each sink that the supervisor has named, each with its own
 * place in the log, window and breaker; without a supervisor there is one,
 * without a name, and one stream.
 */
#ifndef WALPROC_OUTLET_H
#define WALPROC_OUTLET_H

#include "stage/chan.h"
#include "stage/ctlmsg.h"
#include "stage/meter.h"
#include "walproc/flight.h"
#include "walproc/reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct walproc;

/* "sink" and a name. */
#define OUTLET_TITLE_BYTES (CTLMSG_NAME_BYTES + 8)

struct outlet {
	char name[CTLMSG_NAME_BYTES + 1]; /* "": it has none */
	char title[OUTLET_TITLE_BYTES];	  /* what the log calls the sink */
	size_t place;			  /* in the log: wal_sinks.h */
	struct chan chan;		  /* events out, answers in */
	int fd; /* of the stream; -1: none came yet. Under a supervisor it is
		 * owned */
	int next_fd;	       /* owned: the next sink; -1: none waits */
	struct reader reader;  /* where the delivery stands */
	struct reader lookup;  /* for events that the sink rejects */
	struct flight flight;  /* given to the sink, not ended */
	bool breaker_is_open;  /* the sink's: send nothing */
	bool has_held;	       /* `held` is to be looked at again */
	struct msg held;       /* a reject that a full disk did not let in */
	bool damage_waits;     /* damage ahead, and no room to quarantine it */
	bool is_missed;	       /* that it left is logged */
	uint64_t acked_before; /* events, by the sinks before this one */
	struct meter out;      /* events delivered */
	uint64_t metered;      /* in `out` so far, by the log's count */
};

/* Makes one without a stream, with a window of so many events; the caller gives
 * it to outlet_free. */
struct outlet *outlet_new(const char *name, size_t window);

/* Closes what it has, its stream too if it has a name, and frees it. */
void outlet_free(struct outlet *outlet);

/* Takes over the descriptor of the next sink, a socket. */
void outlet_add(struct outlet *outlet, int fd);

/* Stands before the first event that its sink has not ended. */
void outlet_rewind(struct walproc *walproc, struct outlet *outlet);

/* Returns how many events its sink has not ended. */
uint64_t outlet_elements(
    const struct walproc *walproc, const struct outlet *outlet);

/* Says whether a sink is there. */
bool outlet_has_sink(
    const struct walproc *walproc, const struct outlet *outlet);

/*
 * Puts the next sink in the place of one that has left and whose answers are
 * all taken. Returns 0, also if there is nothing to do, or -1; logged.
 */
int outlet_change(struct walproc *walproc, struct outlet *outlet);

#endif
